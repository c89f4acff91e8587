use std::{cell::RefCell, path::PathBuf};

use super::*;
use crate::{
    checkpoint::{CgroupsMode, Image, Kind, NetworkLock},
    cli::app::{Verb, read_verb},
};

/// An engine that notes what it is asked.
#[derive(Default)]
struct Fake {
    found: bool,
    state: Option<&'static str>,
    no_criu: bool,
    fails: bool,
    asked: RefCell<Vec<Request>>,
}

fn failure(reason: &'static str, message: &str) -> Failure {
    Failure {
        reason,
        message: message.to_owned(),
        ..Failure::default()
    }
}

impl Engine for Fake {
    type Container = ();

    fn load(&self, _: &Path, _: &OsStr) -> Result<(), Failure> {
        if self.found {
            Ok(())
        } else {
            Err(failure("ContainerNotFound", "container does not exist"))
        }
    }

    fn refused_state(&self, (): &()) -> Result<Option<String>, Failure> {
        Ok(self.state.map(str::to_owned))
    }

    fn require_criu(&self) -> Result<(), Failure> {
        if self.no_criu {
            Err(failure("CriuMissing", "no criu"))
        } else {
            Ok(())
        }
    }

    fn checkpoint(
        &self,
        (): (),
        request: Request,
        observe: &mut dyn FnMut(Step),
    ) -> Result<Report, Failure> {
        observe(Step::Requested);
        self.asked.borrow_mut().push(request);
        if self.fails {
            let quoted = vec!["--- Quoting \"x/dump.log\"".to_owned(), "---".to_owned()];
            return Err(Failure {
                quoted,
                criu_errno: Some(1),
                ..failure("DumpFailed", "criu failed")
            });
        }
        Ok(Report {
            image_path: "/i".into(),
            work_path: "/i".into(),
            size_bytes: 1,
            files: 1,
            digest: None,
            pause_microseconds: Some(5),
            dump_microseconds: 9,
            publish_microseconds: 0,
            stats: None,
            criu_version: "4.2".into(),
            network_lock: None,
            warnings: vec!["mind this".into()],
        })
    }
}

struct Ran {
    status: u8,
    out: String,
    log: String,
    asked: Vec<Request>,
    dir: tempfile::TempDir,
}

/// Runs the verb with `DIR` in the arguments standing for a scratch directory.
fn run_with(fake: Fake, args: &[&str]) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap().to_owned();
    let args: Vec<OsString> = args
        .iter()
        .map(|arg| arg.replace("DIR", &place).into())
        .collect();
    let names = Names::new(OsStr::new("/x/agent"));
    let args: Vec<OsString> = std::iter::once("checkpoint".into()).chain(args).collect();
    let Ok(Verb::Checkpoint(parsed)) = read_verb(&args, &names, Path::new("/run/runc")) else {
        panic!("not read");
    };
    let log = Log::new();
    log.write_to(&dir.path().join("log")).unwrap();
    let around = Surroundings {
        names,
        root: PathBuf::from("/r"),
        rootless: false,
        pwd: None,
        terminal: false,
    };
    let mut out = Vec::new();
    let status = run(&fake, &parsed, &around, &log, &mut out).unwrap();
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    Ran {
        status,
        out: String::from_utf8(out).unwrap(),
        log,
        asked: fake.asked.into_inner(),
        dir,
    }
}

fn found() -> Fake {
    Fake {
        found: true,
        ..Fake::default()
    }
}

#[test]
fn success_says_nothing_on_stdout_and_warns_in_the_log() {
    let ran = run_with(found(), &["--image-path", "DIR/a/b", "c"]);
    assert_eq!((ran.status, ran.out.as_str()), (0, ""));
    assert!(
        ran.log.ends_with("level=warning msg=\"mind this\"\n"),
        "{}",
        ran.log
    );
    assert!(ran.dir.path().join("a/b").is_dir());
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one table, in the order of the checks"
)]
fn the_first_check_that_fails_is_the_one_that_is_told() {
    let all_wrong = [
        "--image-path",
        "DIR/log",
        "--parent-path",
        "/x",
        "--page-server",
        "h",
        "--empty-ns",
        "ipc",
        "--manage-cgroups-mode",
        "Soft",
    ];
    let message = |fake: Fake, skip: usize, id: &[&str]| {
        let args: Vec<&str> = all_wrong[skip..].iter().chain(id).copied().collect();
        let args: Vec<&str> = if skip == 0 {
            args
        } else {
            [&["--image-path", "DIR/i"], &args[..]].concat()
        };
        let ran = run_with(fake, &args);
        assert_eq!(ran.status, 1);
        let line = ran.log.lines().last().unwrap().to_owned();
        line.split("msg=")
            .nth(1)
            .unwrap()
            .replace(ran.dir.path().to_str().unwrap(), "DIR")
    };
    assert_eq!(
        message(found(), 0, &[]),
        r#""/x/agent: \"checkpoint\" requires exactly 1 argument(s)""#
    );
    assert_eq!(
        message(found(), 0, &[""]),
        r#""container id cannot be empty""#
    );
    assert_eq!(
        message(Fake::default(), 0, &["c"]),
        r#""container does not exist""#
    );
    let created = Fake {
        state: Some("created"),
        ..found()
    };
    assert_eq!(
        message(created, 0, &["c"]),
        r#""Container cannot be checkpointed in created state""#
    );
    assert_eq!(
        message(found(), 0, &["c"]),
        r#""mkdir DIR/log: not a directory""#
    );
    assert_eq!(
        message(found(), 2, &["c"]),
        r#""--parent-path must be relative""#
    );
    assert_eq!(
        message(found(), 4, &["c"]),
        r#""Use --page-server ADDRESS:PORT to specify page server""#
    );
    assert_eq!(
        message(found(), 6, &["c"]),
        r#""namespace \"ipc\" is not supported""#
    );
    let no_criu = Fake {
        no_criu: true,
        ..found()
    };
    assert_eq!(message(no_criu, 8, &["c"]), r#""no criu""#);
    assert_eq!(
        message(found(), 8, &["c"]),
        r#""invalid manage-cgroups-mode value""#
    );
}

#[test]
fn a_wrong_number_of_arguments_shows_help() {
    for args in [&[][..], &["a", "b"]] {
        let ran = run_with(found(), args);
        assert!(
            ran.out
                .starts_with("Incorrect Usage.\n\nNAME:\n   agent checkpoint - "),
            "{}",
            ran.out
        );
        assert_eq!(ran.status, 1);
    }
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one line for each flag and for each field"
)]
fn every_flag_reaches_the_request() {
    let ran = run_with(
        found(),
        &[
            "--image-path=DIR/i",
            "--work-path",
            "w",
            "-leave-running",
            "--tcp-established",
            "--tcp-skip-in-flight",
            "--link-remap",
            "--ext-unix-sk",
            "--shell-job",
            "--lazy-pages",
            "--status-fd",
            "0x9",
            "--page-server",
            "[::1]:70000",
            "--file-locks",
            "--pre-dump",
            "--manage-cgroups-mode",
            "strict",
            "--empty-ns",
            "network",
            "--auto-dedup",
            "--network-lock",
            "nftables",
            "--ghost-limit",
            "2Mi",
            "--timeout",
            "90",
            "--durable",
            "--parent-path",
            "..",
            "c",
        ],
    );
    assert_eq!(ran.status, 0, "{}", ran.log);
    let [request] = ran.asked.as_slice() else {
        panic!("asked once")
    };
    let Request {
        kind,
        image,
        work_dir,
        parent,
        options,
        page_server,
        lazy_pages_for,
        status_fd,
        cgroups_mode,
        network_lock,
        ghost_limit,
        timeout,
        max_pause,
        site_config,
        unlock_after_end,
        keep,
    } = request;
    assert!(keep.files.is_empty() && keep.about.is_empty() && keep.rootfs.is_none());
    assert_eq!(*kind, Kind::PreDump);
    assert_eq!(
        *image,
        Image::InPlace {
            dir: ran.dir.path().join("i"),
            durable: true
        }
    );
    assert_eq!(work_dir.as_deref(), Some(Path::new("w")));
    assert_eq!(
        parent.as_ref().map(|parent| parent.path.as_path()),
        Some(Path::new(".."))
    );
    let want = crate::checkpoint::Options {
        leave_running: true,
        tcp_established: true,
        tcp_skip_in_flight: true,
        ext_unix_sk: true,
        shell_job: true,
        file_locks: true,
        link_remap: true,
        lazy_pages: true,
        auto_dedup: true,
        track_memory: false,
    };
    assert_eq!(*options, want);
    let server = page_server.as_ref().unwrap();
    assert_eq!(server.tls, None);
    assert_eq!(*lazy_pages_for, None, "whoever comes, as with runc");
    assert!(!unlock_after_end, "the lock is the restore's, as with runc");
    assert_eq!((server.address.as_str(), server.port), ("::1", 70000));
    assert_eq!((*status_fd, *cgroups_mode), (Some(9), CgroupsMode::Strict));
    assert_eq!(
        (*network_lock, *ghost_limit),
        (NetworkLock::Nftables, Some(2 << 20))
    );
    assert_eq!(
        (timeout.map(|t| t.as_secs()), *max_pause, *site_config),
        (Some(90), None, true)
    );
}

#[test]
fn defaults_are_those_of_runc() {
    let ran = run_with(found(), &["--image-path=DIR/i", "c"]);
    let [request] = ran.asked.as_slice() else {
        panic!("asked once")
    };
    assert_eq!(request.options, crate::checkpoint::Options::default());
    assert_eq!(
        (request.kind, request.status_fd, request.timeout),
        (Kind::Dump, None, None)
    );
    assert_eq!(
        (request.cgroups_mode, request.network_lock),
        (CgroupsMode::Unset, NetworkLock::Auto)
    );
    assert!(
        request.parent.is_none() && request.page_server.is_none() && request.work_dir.is_none()
    );
}

#[test]
fn a_failed_dump_quotes_the_log_before_the_error() {
    let ran = run_with(
        Fake {
            fails: true,
            ..found()
        },
        &["--image-path=DIR/i", "c"],
    );
    let lines: Vec<_> = ran
        .log
        .lines()
        .map(|line| line.split_once(" level=").unwrap().1)
        .collect();
    assert_eq!(
        lines,
        [
            r#"warning msg="--- Quoting \"x/dump.log\"""#,
            "warning msg=---",
            r#"error msg="criu failed""#,
        ]
    );
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
}

#[test]
fn json_tells_success_and_failure_on_stdout() {
    let ran = run_with(found(), &["--output", "json", "--image-path=DIR/i", "c"]);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["checkpoint"]["pauseMicroseconds"], 5);
    let ran = run_with(
        Fake {
            fails: true,
            ..found()
        },
        &["--output=json", "--image-path=DIR/i", "c"],
    );
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["failure"]["reason"], "DumpFailed");
    assert_eq!(value["failure"]["criuErrno"], 1);
    let ran = run_with(found(), &["--output=json"]);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["failure"]["reason"], "WrongArgumentCount");
    assert_eq!(value["failure"]["hint"], "name one container");
}
