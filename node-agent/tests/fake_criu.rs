//! The client against a CRIU that is a shell script: every way in which one can misbehave.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use node_agent::criu::{
    Answer, Cancel, Error, Event, Finished, Handler, Launch, Limits, Stop, Swrk, Why,
    messages::{CriuFeatures, CriuNotify, CriuReq, CriuResp, CriuVersion, ReqType},
};
use prost::Message as _;

/// A scratch folder with a script in it that is started as CRIU. The script's `hear` keeps a
/// message, `say` sends one.
struct Fake(tempfile::TempDir);

impl Fake {
    fn new(lines: &[String]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let text = format!(
            "#!/bin/sh\ncd '{}'\nn=0\nhear() {{ n=$((n+1)); dd bs=65536 count=1 <&3 >$$.$n 2>/dev/null; }}\n\
             say() {{ printf \"$1\" >&3; }}\n{}\n",
            scratch.path().display(),
            lines.join("\n")
        );
        // By another process, since a program that this one holds open cannot be executed.
        let write = "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\"";
        let program = scratch.path().join("criu");
        let status = Command::new("sh")
            .args(["-c", write])
            .arg(program)
            .arg(text)
            .status();
        assert!(status.unwrap().success());
        Self(scratch)
    }

    fn launch(&self) -> Launch {
        Launch {
            program: self.0.path().join("criu"),
            ..Launch::default()
        }
    }

    fn start(&self) -> Swrk {
        Swrk::start(&self.launch()).unwrap()
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// The `number`th message that process `pid` was sent.
    fn heard(&self, pid: u32, number: u32) -> CriuReq {
        let message = fs::read(self.path(format!("{pid}.{number}"))).unwrap();
        CriuReq::decode(message.as_slice()).unwrap()
    }
}

fn hear() -> String {
    "hear".to_owned()
}

fn sh(line: &str) -> String {
    line.to_owned()
}

fn say(response: &CriuResp) -> String {
    let octal: Vec<String> = response
        .encode_to_vec()
        .iter()
        .map(|byte| format!("\\{byte:03o}"))
        .collect();
    format!("say '{}'", octal.concat())
}

fn response(kind: ReqType, success: bool) -> CriuResp {
    CriuResp {
        r#type: kind.into(),
        success,
        ..CriuResp::default()
    }
}

fn notify(script: &str) -> String {
    let notify = CriuNotify {
        script: Some(script.to_owned()),
        pid: None,
    };
    say(&CriuResp {
        notify: Some(notify),
        ..response(ReqType::Notify, true)
    })
}

fn done() -> String {
    say(&response(ReqType::Dump, true))
}

fn failed() -> String {
    let message = Some("Error (criu/x.c:1): why\n".to_owned());
    say(&CriuResp {
        cr_errno: Some(5),
        cr_errmsg: message,
        ..response(ReqType::Dump, false)
    })
}

/// Answers the first event with `first`, the others with go.
struct First<F>(Option<F>, Vec<Event>, Option<Instant>);

impl<F: FnOnce() -> Answer> Handler for First<F> {
    fn on(&mut self, event: &Event) -> Answer {
        self.1.push(event.clone());
        self.0.take().map_or(Answer::Go, |first| first())
    }

    fn pause_deadline(&self) -> Option<Instant> {
        self.2
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

const PATIENT: Duration = Duration::from_mins(1);
const HASTY: Duration = Duration::from_millis(20);

fn dump(
    swrk: Swrk,
    kind: ReqType,
    grace: Duration,
    cancel: &Cancel,
    first: impl FnOnce() -> Answer,
) -> Result<Finished, Error> {
    let mut handler = First(Some(first), Vec::new(), None);
    converse(swrk, kind, (Some(soon()), grace), cancel, &mut handler)
}

fn converse(
    swrk: Swrk,
    kind: ReqType,
    (deadline, grace): (Option<Instant>, Duration),
    cancel: &Cancel,
    handler: &mut dyn Handler,
) -> Result<Finished, Error> {
    let limits = Limits {
        deadline,
        grace,
        cancel,
    };
    let request = CriuReq {
        r#type: kind.into(),
        ..CriuReq::default()
    };
    swrk.run(&request, handler, &limits)
}

/// How a dump ends whose CRIU never says anything.
fn silence(
    deadline: Option<Instant>,
    grace: Duration,
    cancel: &Cancel,
    handler: &mut dyn Handler,
) -> Error {
    let fake = Fake::new(&[sh("exec sleep 1000")]);
    let bounds = (deadline, grace);
    converse(fake.start(), ReqType::Dump, bounds, cancel, handler).unwrap_err()
}

fn plain_dump(fake: &Fake, grace: Duration) -> Result<Finished, Error> {
    dump(
        fake.start(),
        ReqType::Dump,
        grace,
        &Cancel::new().unwrap(),
        || Answer::Go,
    )
}

fn version_lines() -> [String; 2] {
    let version = CriuVersion {
        major_number: 4,
        minor_number: 2,
        ..CriuVersion::default()
    };
    [
        hear(),
        say(&CriuResp {
            version: Some(version),
            ..response(ReqType::Version, true)
        }),
    ]
}

#[test]
fn one_process_serves_the_version_the_features_and_the_dump() {
    let features = CriuFeatures {
        lazy_pages: Some(true),
        ..CriuFeatures::default()
    };
    let [first, second] = version_lines();
    let fake = Fake::new(&[
        first,
        second,
        hear(),
        say(&CriuResp {
            features: Some(features.clone()),
            ..response(ReqType::FeatureCheck, true)
        }),
        hear(),
        notify("pre-dump"),
        hear(),
        notify("query-ext-files"),
        hear(),
        done(),
    ]);
    let mut swrk = fake.start();
    let pid = swrk.pid().unwrap();
    assert_eq!(swrk.version(soon()).unwrap().to_string(), "4.2");
    let wanted = CriuFeatures {
        mem_track: Some(true),
        ..CriuFeatures::default()
    };
    assert_eq!(swrk.features(wanted.clone(), soon()).unwrap(), features);
    let finished = dump(
        swrk,
        ReqType::Dump,
        PATIENT,
        &Cancel::new().unwrap(),
        || Answer::Go,
    )
    .unwrap();
    let events: Vec<_> = finished.events.iter().map(|passed| &passed.event).collect();
    assert_eq!(events, [&Event::PreDump, &Event::QueryExtFiles]);
    assert!(
        finished
            .events
            .iter()
            .all(|passed| passed.arrived <= passed.answered)
    );
    assert_eq!(fake.heard(pid, 1).keep_open, Some(true));
    assert_eq!(fake.heard(pid, 2).features, Some(wanted));
    assert_eq!(fake.heard(pid, 3).keep_open, None);
    assert_eq!(fake.heard(pid, 4).notify_success, Some(true));
    assert_eq!(fake.heard(pid, 5).opts, None);
}

#[test]
fn a_process_that_ended_after_one_answer_is_replaced() {
    let fake = Fake::new(&version_lines());
    let mut swrk = fake.start();
    let first = swrk.pid();
    swrk.version(soon()).unwrap();
    swrk.version(soon()).unwrap();
    assert_ne!(swrk.pid(), first);
}

#[test]
fn further_externals_travel_with_the_answer_that_may_carry_them() {
    let fake = Fake::new(&[hear(), notify("query-ext-files"), hear(), done()]);
    let swrk = fake.start();
    let pid = swrk.pid().unwrap();
    let more = || Answer::GoWith(vec!["file[1:2]".to_owned()]);
    dump(swrk, ReqType::Dump, PATIENT, &Cancel::new().unwrap(), more).unwrap();
    assert_eq!(fake.heard(pid, 2).opts.unwrap().external, ["file[1:2]"]);
}

#[test]
fn a_cancel_during_a_notification_becomes_a_no() {
    let fake = Fake::new(&[hear(), notify("post-dump"), hear(), failed()]);
    let (swrk, cancel) = (fake.start(), Cancel::new().unwrap());
    let pid = swrk.pid().unwrap();
    let error = dump(swrk, ReqType::Dump, PATIENT, &cancel, || {
        cancel.trigger(Why::Terminated);
        Answer::Go
    });
    let stop = Stop::Cancelled(Why::Terminated);
    assert!(matches!(error, Err(Error::Stopped { stop: why, killed: false }) if why == stop));
    assert_eq!(fake.heard(pid, 2).notify_success, Some(false));
}

#[test]
fn a_cancel_before_the_first_notification_is_not_put_to_the_handler() {
    let fake = Fake::new(&[hear(), notify("pre-dump"), hear(), failed()]);
    let cancel = Cancel::new().unwrap();
    cancel.trigger(Why::Withdrawn);
    let limits = Limits {
        deadline: None,
        grace: PATIENT,
        cancel: &cancel,
    };
    let request = CriuReq {
        r#type: ReqType::Dump.into(),
        ..CriuReq::default()
    };
    let mut handler = First(None::<fn() -> Answer>, Vec::new(), None);
    let error = fake
        .start()
        .run(&request, &mut handler, &limits)
        .unwrap_err();
    assert_eq!(error.reason(), "Cancelled");
    assert!(handler.1.is_empty());
}

#[test]
fn tasks_being_let_go_is_told_to_the_handler_even_after_a_no() {
    let fake = Fake::new(&[
        hear(),
        notify("post-dump"),
        hear(),
        notify("network-unlock"),
        hear(),
        failed(),
    ]);
    let cancel = Cancel::new().unwrap();
    let limits = Limits {
        deadline: None,
        grace: PATIENT,
        cancel: &cancel,
    };
    let request = CriuReq {
        r#type: ReqType::Dump.into(),
        ..CriuReq::default()
    };
    let mut handler = First(Some(|| Answer::Refuse), Vec::new(), None);
    let error = fake
        .start()
        .run(&request, &mut handler, &limits)
        .unwrap_err();
    assert!(matches!(
        error,
        Error::Stopped {
            stop: Stop::Refused(Event::PostDump),
            ..
        }
    ));
    assert_eq!(handler.1, [Event::PostDump, Event::NetworkUnlock]);
}

#[test]
fn a_criu_that_does_not_give_way_is_killed_and_reaped() {
    let fake = Fake::new(&[hear(), notify("pre-dump"), hear(), sh("exec sleep 1000")]);
    let swrk = fake.start();
    let pid = swrk.pid().unwrap();
    let error = dump(swrk, ReqType::Dump, HASTY, &Cancel::new().unwrap(), || {
        Answer::Refuse
    });
    assert!(matches!(
        error,
        Err(Error::Stopped {
            stop: Stop::Refused(Event::PreDump),
            killed: true
        })
    ));
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn lazy_serving_is_not_waited_for_once_it_is_to_stop() {
    let fake = Fake::new(&[
        hear(),
        notify("status-ready"),
        hear(),
        sh("exec sleep 1000"),
    ]);
    let (swrk, cancel) = (fake.start(), Cancel::new().unwrap());
    let pid = swrk.pid().unwrap();
    let later = cancel.clone();
    let heard = fake.path(format!("{pid}.2"));
    let waiter = std::thread::spawn(move || {
        while fs::metadata(&heard).map_or(0, |about| about.len()) == 0 {
            std::thread::yield_now();
        }
        later.trigger(Why::Interrupted);
    });
    let error = dump(swrk, ReqType::Dump, PATIENT, &cancel, || Answer::Go).unwrap_err();
    waiter.join().unwrap();
    assert!(matches!(
        error,
        Error::Stopped {
            stop: Stop::Cancelled(_),
            killed: true
        }
    ));
}

#[test]
fn the_deadlines_of_the_request_and_of_the_pause_are_told_apart() {
    let past = Instant::now();
    for (deadline, pause, reason) in [
        (Some(past), None, "TimedOut"),
        (None, Some(past), "PauseTooLong"),
    ] {
        let mut handler = First(None::<fn() -> Answer>, Vec::new(), pause);
        let error = silence(deadline, HASTY, &Cancel::new().unwrap(), &mut handler);
        assert_eq!(error.reason(), reason);
        assert!(matches!(error, Error::Stopped { killed: true, .. }));
    }
}

#[test]
fn tasks_stand_still_no_longer_than_they_may_whatever_it_was_that_ends_the_dump() {
    for (deadline, cancelled, reason) in [
        (Some(Instant::now()), false, "TimedOut"),
        (None, true, "Cancelled"),
    ] {
        let cancel = Cancel::new().unwrap();
        if cancelled {
            cancel.trigger(Why::Withdrawn);
        }
        // They may for a moment yet: what ends the dump comes first.
        let pause = Instant::now() + Duration::from_millis(100);
        let mut handler = First(None::<fn() -> Answer>, Vec::new(), Some(pause));
        let begun = Instant::now();
        let error = silence(deadline, PATIENT, &cancel, &mut handler);
        assert_eq!(error.reason(), reason);
        assert!(begun.elapsed() < PATIENT, "the grace was waited for");
    }
}

/// Sees at its third look that tasks have stood still for too long.
struct Looks(usize, Instant);

impl Handler for Looks {
    fn on(&mut self, _: &Event) -> Answer {
        Answer::Go
    }

    fn look(&mut self) -> Option<Instant> {
        self.0 += 1;
        (self.0 < 3).then_some(self.1)
    }

    fn pause_deadline(&self) -> Option<Instant> {
        (self.0 >= 3).then_some(self.1)
    }
}

#[test]
fn a_pause_that_criu_does_not_announce_is_looked_for_and_bounded() {
    let mut handler = Looks(0, Instant::now());
    let cancel = Cancel::new().unwrap();
    let error = silence(Some(soon()), HASTY, &cancel, &mut handler);
    assert_eq!(error.reason(), "PauseTooLong");
    assert!(handler.0 >= 3, "it was not looked again");
}

#[test]
fn a_success_that_comes_after_the_wish_to_stop_stays_a_success() {
    let fake = Fake::new(&[hear(), notify("network-unlock"), hear(), done()]);
    let cancel = Cancel::new().unwrap();
    let finished = dump(fake.start(), ReqType::Dump, PATIENT, &cancel, || {
        cancel.trigger(Why::Interrupted);
        Answer::Go
    });
    assert_eq!(
        finished.unwrap().overtaken,
        Some(Stop::Cancelled(Why::Interrupted))
    );
}

#[test]
fn a_failure_keeps_criu_s_own_words_beside_runc_s() {
    let error = plain_dump(&Fake::new(&[hear(), failed()]), PATIENT).unwrap_err();
    assert_eq!(error.to_string(), "criu failed: type DUMP errno 5");
    assert!(matches!(error, Error::Failed { message, .. } if message.contains("why")));
}

#[test]
fn a_bad_exit_after_a_good_answer_is_a_failure_but_for_a_pre_dump() {
    let fake = Fake::new(&[hear(), done(), sh("exit 3")]);
    let error = plain_dump(&fake, PATIENT).unwrap_err();
    assert_eq!(error.to_string(), "criu failed: exit status 3");
    let killed = Fake::new(&[hear(), done(), sh("kill -9 $$")]);
    let error = plain_dump(&killed, PATIENT).unwrap_err();
    assert_eq!(error.to_string(), "criu failed: signal: killed");
    let pre = Fake::new(&[
        hear(),
        say(&response(ReqType::PreDump, true)),
        sh("hear; exit 1"),
    ]);
    let cancel = Cancel::new().unwrap();
    dump(pre.start(), ReqType::PreDump, PATIENT, &cancel, || {
        Answer::Go
    })
    .unwrap();
}

#[test]
fn a_conversation_that_breaks_off_reads_as_in_runc() {
    let error = plain_dump(&Fake::new(&[hear(), sh("exit 4")]), PATIENT).unwrap_err();
    assert_eq!(error.to_string(), "read unixpacket @->@: EOF");
    let error = Fake::new(&[hear(), sh("exit 4")])
        .start()
        .version(soon())
        .unwrap_err();
    assert_eq!(error.to_string(), "EOF\ncriu swrk failed: exit status 4");
}

#[test]
fn an_answer_to_something_else_and_no_answer_at_all_are_told_apart() {
    let fake = Fake::new(&[hear(), say(&response(ReqType::Restore, true))]);
    assert_eq!(
        plain_dump(&fake, PATIENT).unwrap_err().reason(),
        "CriuUnintelligible"
    );
    let fake = Fake::new(&[hear(), sh("say 'no message'"), sh("hear")]);
    assert_eq!(
        plain_dump(&fake, HASTY).unwrap_err().reason(),
        "CriuUnintelligible"
    );
    let fake = Fake::new(&[sh("exec sleep 1000")]);
    assert_eq!(
        fake.start().version(Instant::now()).unwrap_err().reason(),
        "TimedOut"
    );
}

#[test]
fn criu_starts_in_its_own_session_with_its_socket_and_nothing_else() {
    let stray = fs::File::open("/").unwrap();
    nix::fcntl::fcntl(
        &stray,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
    )
    .unwrap();
    let mut lines = vec![
        sh("readlink /proc/$$/fd/[0-35-9]* >fds; cut -d' ' -f6 /proc/$$/stat >session"),
        sh("grep -E '^Sig(Blk|Ign):' /proc/$$/status | cut -f2 >signals"),
    ];
    lines.extend(version_lines());
    let fake = Fake::new(&lines);
    let mut swrk = fake.start();
    swrk.version(soon()).unwrap();
    let read = |name: &str| fs::read_to_string(fake.path(name)).unwrap();
    assert_eq!(read("session").trim(), swrk.pid().unwrap().to_string());
    // The C library keeps two signals to itself and does not let them be reset.
    let of_the_c_library = 0b11_u64 << 31;
    for set in read("signals").lines() {
        assert_eq!(
            u64::from_str_radix(set, 16).unwrap() & !of_the_c_library,
            0,
            "{set}"
        );
    }
    let fds = read("fds");
    assert_eq!(fds.matches("socket:").count(), 1, "{fds}");
    assert!(!fds.lines().any(|target| target == "/"), "{fds}");
}

#[test]
fn a_dropped_conversation_leaves_no_process_behind() {
    let fake = Fake::new(&[sh("hear")]);
    let swrk = fake.start();
    let pid = swrk.pid().unwrap();
    drop(swrk);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_program_that_is_none_is_said_in_go_s_words() {
    let launch = Launch {
        program: "/nonexistent/criu".into(),
        ..Launch::default()
    };
    let error = Swrk::start(&launch).unwrap_err();
    assert_eq!(
        error.to_string(),
        "fork/exec /nonexistent/criu: no such file or directory"
    );
}
