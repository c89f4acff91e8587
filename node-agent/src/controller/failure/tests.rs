use std::{fs, path::PathBuf};

use super::*;

fn source(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The words that the `reason` functions in a source file give.
fn words_in(text: &str) -> Vec<String> {
    let bodies = text.split("fn reason(").skip(1);
    let bodies = bodies.filter_map(|body| body.split("\n    }\n").next());
    let words = bodies.flat_map(|body| body.split('"').skip(1).step_by(2));
    words.map(str::to_owned).collect()
}

/// Every source file of the engine that says why something failed. What `repair` and `destroy` could
/// not do is a warning beside the failure that they follow.
fn engine_sources() -> Vec<PathBuf> {
    let mut found = vec![source("src/layer.rs")];
    let mut folders: Vec<_> = ["criu", "images", "runtime", "checkpoint", "receive"]
        .map(|room| source("src").join(room))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                folders.push(path);
            } else if !["repair.rs", "destroy.rs", "classify.rs"].contains(&name) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn every_word_of_the_engine_has_one_of_the_api() {
    let mut seen = Vec::new();
    for path in engine_sources() {
        for word in words_in(&fs::read_to_string(&path).unwrap()) {
            // A variant that is matched by the feature's name.
            if word == "MemTrack" {
                continue;
            }
            assert!(
                words::WORDS.iter().any(|(engine, _)| *engine == word),
                "{word} of {} is not in the table of words",
                path.display()
            );
            seen.push(word);
        }
    }
    for (word, reason) in words::WORDS {
        assert!(seen.iter().any(|seen| seen == word), "nothing says {word}");
        assert_eq!(
            reason.kind(),
            stillframe_crds::reason::Kind::Failure,
            "{word}"
        );
    }
}

#[test]
fn every_cause_in_a_log_is_a_reason() {
    let text = fs::read_to_string(source("src/criu/log/classify.rs")).unwrap();
    let causes = words_in(&text);
    assert_eq!(causes.len(), 23, "{causes:?}");
    for cause in causes {
        let reason: Reason = cause.parse().unwrap();
        assert!(reason.hint().is_some(), "{cause} leaves one helpless");
    }
}

fn failed(log: &Path) -> checkpoint::Error {
    checkpoint::Error::Dump {
        source: criu::Error::Failed {
            via: criu::Via::Swrk,
            request: "DUMP".to_owned(),
            errno: 0,
            message: String::new(),
        },
        log: log.to_owned(),
        cause: log::cause(log),
        full: false,
        serving: false,
        connecting: false,
        ended: false,
    }
}

fn stopped(stop: Stop, killed: bool) -> checkpoint::Error {
    checkpoint::Error::Dump {
        source: criu::Error::Stopped { stop, killed },
        log: PathBuf::from("/nonexistent/dump.log"),
        cause: None,
        full: false,
        serving: false,
        connecting: false,
        ended: false,
    }
}

/// The failure of each kept log of a real dump, as the API would show it.
fn samples() -> Vec<(String, Failure)> {
    let mut samples: Vec<_> = fs::read_dir(source("tests/logs"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let mut failure = of(&failed(&path), None);
            failure.log_path = Some("/var/lib/stillframe/images/shop/x.work/dump.log".to_owned());
            (name, failure)
        })
        .collect();
    samples.sort_by(|a, b| a.0.cmp(&b.0));
    samples
}

#[test]
fn real_failures_read_as_the_committed_samples_do() {
    let path = source("tests/failures.json");
    let samples: serde_json::Map<_, _> = samples()
        .into_iter()
        .map(|(name, failure)| (name, serde_json::to_value(failure).unwrap()))
        .collect();
    let text = serde_json::to_string_pretty(&samples).unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == committed,
        "{} differs: UPDATE=1 cargo test writes it anew",
        path.display()
    );
}

#[test]
fn every_real_failure_says_what_happened_and_what_to_do() {
    for (name, failure) in samples() {
        let reason = name.split('.').next().unwrap();
        assert_eq!(failure.reason, reason, "{name}");
        assert!(failure.hint.is_some(), "{name}");
        assert!(failure.message.contains("CRIU says: "), "{name}");
        assert!(!failure.log.is_empty(), "{name}");
        assert!(failure.log.len() <= LINES, "{name}");
        let bytes: usize = failure.log.iter().map(String::len).sum();
        assert!(bytes <= LINES_BYTES, "{name}");
    }
}

#[test]
fn a_hostile_log_stays_within_bounds_and_cannot_move_a_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump.log");
    let line = |n: usize| {
        format!(
            "(00.01) Error (criu/x.c:1): {n} \u{1b}[2J\u{9b}ü{}\n",
            "é".repeat(3000)
        )
    };
    fs::write(&path, (0..50).map(line).collect::<String>()).unwrap();
    let failure = of(&failed(&path), None);
    assert!(failure.message.len() <= MESSAGE_BYTES);
    assert!(failure.log.iter().all(|line| line.len() <= LINE_BYTES));
    assert!(failure.log.iter().map(String::len).sum::<usize>() <= LINES_BYTES);
    assert!(failure.log.last().unwrap().starts_with("49 "));
    let all = failure.log.concat() + &failure.message;
    assert!(!all.contains(char::is_control), "{all:?}");
    assert_eq!(failure.reason, "CriuFailed");
}

#[test]
fn being_stopped_says_who_wanted_it() {
    for (stop, reason) in [
        (Stop::Cancelled(Why::Withdrawn), Reason::Cancelled),
        (Stop::Cancelled(Why::Terminated), Reason::AgentStopping),
        (Stop::TimedOut, Reason::TimedOut),
        (Stop::PauseTooLong, Reason::PauseTooLong),
    ] {
        let failure = of(&stopped(stop.clone(), false), None);
        assert_eq!(failure.reason, reason.as_str());
        assert_eq!(failure.message, reason.meaning());
        assert!(failure.log.is_empty() && failure.log_path.is_none());
        assert!(!retryable(&stopped(stop, true)));
    }
}

#[test]
fn a_dead_criu_is_explained_by_its_log() {
    let log = source("tests/logs/PageServerUnreachable.name.log");
    let died = |log: &Path, ended| checkpoint::Error::Dump {
        source: criu::Error::Broken {
            via: criu::Via::Swrk,
            how: criu::Break::Closed,
            status: None,
        },
        cause: log::cause(log),
        log: log.to_owned(),
        full: false,
        serving: false,
        connecting: false,
        ended,
    };
    for ended in [false, true] {
        assert_eq!(of(&died(&log, ended), None).reason, "PageServerUnreachable");
    }
    // One that was killed with its tasks has said nothing.
    let none = Path::new("/nonexistent/dump.log");
    assert_eq!(of(&died(none, false), None).reason, "CriuDied");
    assert_eq!(of(&died(none, true), None).reason, "ContainerEnded");
    // Without a log there is CRIU's end alone.
    let gone = of(&stopped(Stop::PauseTooLong, true), Some(Path::new("/none")));
    assert!(gone.message.contains("killed"), "{}", gone.message);
}

#[test]
fn a_full_disk_is_one_wherever_it_shows() {
    let full = || io::Error::from_raw_os_error(libc::ENOSPC);
    let errors = [
        checkpoint::Error::Directory {
            call: "mkdir",
            path: "/images/a".into(),
            said: full(),
        },
        checkpoint::Error::Write {
            path: "/images/a/b".into(),
            source: full(),
        },
        checkpoint::Error::Publish(images::Error::Flush {
            name: "pages-1.img".to_owned(),
            source: Errno::ENOSPC,
        }),
    ];
    for error in errors {
        assert_eq!(of(&error, None).reason, "DiskFull", "{error}");
    }
}

#[test]
fn a_container_that_is_another_by_now_was_replaced() {
    let ended = checkpoint::Error::Guard(guard::Error::Ended { pid: 7 });
    let reused = checkpoint::Error::Guard(guard::Error::PidReused {
        pid: 7,
        recorded: 1,
        actual: 2,
    });
    for error in [ended, reused] {
        assert_eq!(of(&error, None).reason, "ContainerReplaced", "{error}");
        assert!(!retryable(&error));
    }
    let gone = locate::Error::NotFound {
        id: "abc".parse().unwrap(),
        tried: Vec::new(),
        init_pid: None,
    };
    assert_eq!(of_locate(&gone).reason, "ContainerReplaced");
    let elsewhere = locate::Error::NotFound {
        id: "abc".parse().unwrap(),
        tried: Vec::new(),
        init_pid: Some(7),
    };
    assert_eq!(of_locate(&elsewhere).reason, "StateUnreadable");
    assert_eq!(of_status(Status::Running), None);
    let reason = |status| of_status(status).map(|failure| failure.reason);
    assert_eq!(reason(Status::Paused).as_deref(), Some("ContainerPaused"));
    assert_eq!(
        reason(Status::Stopped).as_deref(),
        Some("ContainerReplaced")
    );
}

#[test]
fn only_what_was_short_for_a_moment_before_the_freeze_is_tried_again() {
    let start = |source| {
        checkpoint::Error::Version(criu::Error::Start {
            program: "criu".into(),
            source,
        })
    };
    assert!(retryable(&start(Errno::EAGAIN)));
    assert!(!retryable(&start(Errno::ENOEXEC)));
    assert!(!retryable(&checkpoint::Error::Version(
        criu::Error::NotFound {
            program: "criu".to_owned()
        }
    )));
    assert!(retryable(&checkpoint::Error::Journal(
        journal::Error::Busy {
            path: PathBuf::new()
        }
    )));
    assert!(!retryable(&failed(Path::new("/none"))));
}

#[test]
fn what_caused_an_error_is_said_once() {
    let error = checkpoint::Error::Version(criu::Error::NotFound {
        program: "criu".to_owned(),
    });
    let failure = of(&error, None);
    assert_eq!(failure.reason, "CriuNotFound");
    assert_eq!(failure.message.matches("executable file").count(), 1);
}

#[test]
fn a_page_server_that_does_not_answer_is_told_from_a_dump_that_takes_too_long() {
    for (silent, reason) in [(true, "PageServerUnreachable"), (false, "TimedOut")] {
        let mut error = stopped(Stop::TimedOut, true);
        if let checkpoint::Error::Dump { connecting, .. } = &mut error {
            *connecting = silent;
        }
        assert_eq!(of(&error, None).reason, reason);
    }
}

#[test]
fn serving_that_ends_early_is_told_as_that() {
    let serving = |source| checkpoint::Error::Dump {
        source,
        log: PathBuf::from("/nonexistent/dump.log"),
        cause: Some("Error (criu/rlimit.c:1): not the cause".into()),
        full: false,
        serving: true,
        connecting: false,
        ended: false,
    };
    let refused = criu::Error::Failed {
        via: criu::Via::Swrk,
        request: "DUMP".to_owned(),
        errno: 0,
        message: String::new(),
    };
    let stopped = |stop| criu::Error::Stopped { stop, killed: true };
    for (source, reason) in [
        (refused, "LazyPagesNotFetched"),
        (stopped(Stop::TimedOut), "TimedOut"),
        (stopped(Stop::PauseTooLong), "PauseTooLong"),
    ] {
        let failure = of(&serving(source), None);
        assert_eq!(failure.reason, reason);
        let message = &failure.message;
        assert!(
            message.contains("not all of them were fetched"),
            "{message}"
        );
        assert!(!message.contains("rlimit"), "{message}");
    }
    let died = criu::Error::Broken {
        via: criu::Via::Swrk,
        how: criu::Break::Closed,
        status: None,
    };
    assert_eq!(of(&serving(died), None).reason, "CriuDied");
}
