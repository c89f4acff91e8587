use std::{fs, path::PathBuf};

use proptest::prelude::*;

use super::*;

fn cause_in(log: &str) -> Option<Cause> {
    classify_from(log.as_bytes()).map(|told| told.cause)
}

fn error(message: &str) -> String {
    format!("(00.012345)     42: Error (criu/some.c:1): {message}\n")
}

/// Logs of real dumps that failed, cut down to their errors and the two lines before each. The
/// name is the cause's, and what distinguishes it from others of the same.
fn real_logs() -> Vec<(PathBuf, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/logs");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    files
        .map(|file| {
            let name = file.file_name().into_string().unwrap();
            let cause = name.split('.').next().unwrap();
            (file.path(), cause.to_owned())
        })
        .collect()
}

#[test]
fn tells_the_cause_of_every_real_log() {
    let logs = real_logs();
    assert!(logs.len() > 20, "{}", logs.len());
    for (path, name) in logs {
        let cause = classify(&path).map(|told| told.cause.reason());
        assert_eq!(cause, Some(name.as_str()), "{}", path.display());
    }
}

#[test]
fn knows_every_message_that_it_lists() {
    for known in KNOWN {
        let message = known
            .text
            .replace("%d", "-12")
            .replace("%x", "0x1f")
            .replace('…', "/some/name");
        let line = match known.weight {
            Weight::Aside => format!("(00.012345) {message}\n"),
            Weight::Cause | Weight::Hint => error(&message),
        };
        assert_eq!(cause_in(&line), Some(known.cause), "{message}");
    }
}

#[test]
fn takes_nothing_from_a_line_that_is_no_error() {
    assert_eq!(cause_in("Connected TCP socket\n"), None);
    let known = "inet: Connected TCP socket, consider using --tcp-established option.";
    assert_eq!(cause_in(&format!("(00.01) {known}\n")), None);
    assert_eq!(
        cause_in(&format!("(00.01) Warn  (criu/a.c:1): {known}\n")),
        None
    );
    assert_eq!(cause_in(&error(known)), Some(Cause::EstablishedTcp));
}

#[test]
fn goes_by_what_ends_the_dump_rather_than_by_what_may_have_to_do_with_it() {
    let log = [
        error("zombie 7 (comm sh) found while seizing"),
        error("inet: In-flight connection (l) for 41406c"),
    ];
    assert_eq!(cause_in(&log.concat()), Some(Cause::InFlightTcp));
    assert_eq!(cause_in(&log[0]), Some(Cause::UnsupportedProcess));
}

#[test]
fn leaves_alone_what_also_stands_in_good_logs() {
    let log = error("rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted");
    assert_eq!(cause_in(&log), None);
    assert_eq!(cause_in(&error("Dumping FAILED.")), None);
}

#[test]
fn hears_the_code_that_criu_puts_into_a_process() {
    let line = "pie: 1: Error (criu/pie/parasite.c:588): send_fds failed (-22)\n";
    assert_eq!(cause_in(line), Some(Cause::IoUring));
}

#[test]
fn every_cause_has_a_name_of_its_own() {
    let mut causes: Vec<_> = KNOWN.iter().map(|known| known.cause).collect();
    causes.sort_by_key(|cause| cause.reason());
    causes.dedup();
    for cause in &causes {
        assert_eq!(format!("{cause:?}"), cause.reason());
    }
    assert_eq!(causes.len(), 23);
}

/// A message in which CRIU quotes a name, with everything that it says before the name.
fn quoting() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "Can't dump ghost file {} of 3002368 size, increase limit",
        "Can't open {}: No such file or directory",
        "Unable to open {}",
        "mnt: 199:./{} doesn't have a proper root mount",
        "Can't create link remap for /{}. Use link-remap option.",
        "Can't dump file 3 of that type [20600] (chr 1:11 /{})",
        "unix: Can't dump half of stream unix connection. name: {}; peer name: {}",
        "zombie 12 (comm {}) found while seizing",
    ])
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = classify_from(bytes.as_slice());
    }

    #[test]
    fn any_message_is_read_without_panic(message in ".{0,200}") {
        let _ = cause_in(&error(&message));
    }

    #[test]
    fn a_name_that_looks_like_a_message_changes_nothing(
        message in quoting(),
        known in prop::sample::select((0..KNOWN.len()).collect::<Vec<_>>()),
    ) {
        let name = KNOWN[known].text.replace('%', "").replace('…', "x");
        let with = |name: &str| cause_in(&error(&message.replace("{}", name)));
        prop_assert_eq!(with(&name), with("name"));
        prop_assert_eq!(with("Dumping FAILED."), with("name"));
        prop_assert_eq!(with(&error(&name).replace('\n', "")), with("name"));
    }

    #[test]
    fn a_name_in_any_other_line_is_no_cause(known in prop::sample::select((0..KNOWN.len()).collect::<Vec<_>>())) {
        let line = format!("(00.01) Dumping path for 6 fd via self 21 [{}]\n", KNOWN[known].text);
        prop_assert_eq!(cause_in(&line), None);
    }
}
