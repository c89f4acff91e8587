//! What `dump.log` says went wrong: as runc quotes it, and the line that matters.
//!
//! CRIU writes names that the workload chose into this file, so everything read from it is bounded,
//! and control characters never reach a terminal.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use nix::fcntl::OFlag;

use crate::go_text::go_error;

mod classify;

pub use classify::{Cause, Told, classify};

/// The log's name, as runc asks for it.
pub const FILE_NAME: &str = "dump.log";

/// runc marks these.
const MARK: &str = "Error";
/// … and shows this many lines before them.
const BEFORE: usize = 5;
/// The longest line that Go's `bufio.Scanner` takes, its newline included.
const LINE_LIMIT: usize = 64 * 1024;
/// A log at level 4 of a large container has some ten megabytes.
const SIZE_LIMIT: u64 = 256 << 20;
/// No quote is longer than this; runc has no bound.
const QUOTE_LIMIT: usize = 4096;
/// The longest cause; longer ones are cut.
const CAUSE_LIMIT: usize = 1024;

/// Errors that also stand in the logs of dumps that worked.
const HARMLESS: [&str; 3] = [
    "Can't setup RLIMIT_NOFILE",
    "No parent image found, though parent directory is set",
    "The TCP_REPAIR_WINDOW option isn't supported",
];

/// Errors that only say that some earlier one happened.
const GENERIC: [&str; 9] = [
    "Dumping FAILED.",
    "Pre-dumping FAILED.",
    "Unlock network failed",
    "RPC client reported script error",
    "One of more action scripts failed",
    "Unable to detach from",
    "Can't send response",
    "Dump files (pid:",
    "Dump mappings (pid:",
];

/// What runc's `logCriuErrors` (1.5.2) prints about a log, line by line, all at warning level: each
/// line with an error and up to five before it, numbered; nothing when there is no error.
///
/// Two differences: runc's lines can be garbled, since it keeps slices of a buffer that moves, and
/// are as many as there are.
#[must_use]
pub fn quote(path: &Path) -> Vec<String> {
    match open(path) {
        Ok(file) => quote_from(BufReader::new(file.take(SIZE_LIMIT)), path),
        Err(error) => vec![format!("open {}: {}", path.display(), go_error(&error))],
    }
}

/// The message of the line that tells most: the first error that is neither one which good dumps
/// log as well nor a mere echo of another. `None` when there is no error.
#[must_use]
pub fn cause(path: &Path) -> Option<String> {
    cause_from(BufReader::new(open(path).ok()?.take(SIZE_LIMIT)))
}

/// The id of the run of CRIU that wrote the log; its nftables table is named after it. Known long
/// before the inventory is written, since CRIU 4.1.
#[must_use]
pub fn run_id(path: &Path) -> Option<String> {
    run_id_from(BufReader::new(open(path).ok()?.take(SIZE_LIMIT)))
}

/// CRIU makes one when it starts and another when it begins to serve: the latter counts.
fn run_id_from(mut log: impl BufRead) -> Option<String> {
    const MARK: &str = "CRIU run id = ";
    const UUID_LENGTH: usize = 36;
    /// It is among the first lines; what a workload can name comes later.
    const LINES: usize = 64;
    let mut found = None;
    for _ in 0..LINES {
        let Ok(Some(line)) = next_line(&mut log) else {
            break;
        };
        if line.contains("Dumping processes") {
            break;
        }
        let Some((_, id)) = line.split_once(MARK) else {
            continue;
        };
        let id = id.trim();
        let proper = id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if proper && id.len() == UUID_LENGTH {
            found = Some(id.to_owned());
        }
    }
    found
}

/// The last `count` error messages of a log, without the harmless ones.
#[must_use]
pub fn errors(path: &Path, count: usize) -> Vec<String> {
    let Ok(file) = open(path) else {
        return Vec::new();
    };
    let mut last = VecDeque::new();
    for_each_error(BufReader::new(file.take(SIZE_LIMIT)), |message| {
        if is_one_of(message, &HARMLESS) {
            return;
        }
        if last.len() == count {
            last.pop_front();
        }
        last.push_back(readable(&shortened(message)));
    });
    last.into()
}

fn open(path: &Path) -> io::Result<File> {
    // Not blocking: a fifo of that name must not hold us.
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    File::options().read(true).custom_flags(flags).open(path)
}

fn quote_from(mut log: impl BufRead, path: &Path) -> Vec<String> {
    let mut quoted = Vec::new();
    let mut recent: VecDeque<(usize, String)> = VecDeque::with_capacity(BEFORE + 1);
    let mut printed = 0;
    let mut failure = None;
    let mut number = 0;
    loop {
        let line = match next_line(&mut log) {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => {
                failure = Some(error);
                break;
            }
        };
        number += 1;
        let marked = line.contains(MARK);
        if recent.len() > BEFORE {
            recent.pop_front();
        }
        recent.push_back((number, line));
        if !marked || quoted.len() >= QUOTE_LIMIT {
            continue;
        }
        if printed == 0 {
            quoted.push(format!("--- Quoting {:?}", path.to_string_lossy()));
        } else if number > printed + BEFORE + 1 {
            quoted.push("...".to_owned());
        }
        for (number, line) in recent.iter().filter(|(_, line)| !line.is_empty()) {
            if *number > printed {
                quoted.push(format!("{number}:{}", readable(line)));
                printed = *number;
            }
        }
    }
    if printed != 0 {
        quoted.push("---".to_owned());
    }
    quoted.extend(failure.map(|error| format!("read {:?}: {error}", path.to_string_lossy())));
    quoted
}

fn cause_from(log: impl BufRead) -> Option<String> {
    let (mut best, mut generic, mut harmless) = (None, None, None);
    for_each_error(log, |message| {
        let place = if is_one_of(message, &HARMLESS) {
            &mut harmless
        } else if is_one_of(message, &GENERIC) {
            &mut generic
        } else {
            &mut best
        };
        place.get_or_insert_with(|| readable(&shortened(message)));
    });
    // A harmless line alone explains nothing.
    best.or(generic)
}

fn for_each_error(mut log: impl BufRead, mut each: impl FnMut(&str)) {
    while let Ok(Some(line)) = next_line(&mut log) {
        if let Some(message) = error_message(&line) {
            each(message);
        }
    }
}

fn is_one_of(message: &str, known: &[&str]) -> bool {
    known.iter().any(|known| message.contains(known))
}

/// The text of a line such as `(00.012345)     42: Error (criu/file.c:123): text`. Only CRIU's own
/// form counts: the word may also be part of a file's name.
fn error_message(line: &str) -> Option<&str> {
    let (_place, text) = text_of(line)?.strip_prefix("Error (")?.split_once("): ")?;
    Some(text.trim())
}

/// A line without when it was written and by whom: `(00.012345)     42: text`, or `pie: 42: text`
/// where it is the code that speaks which CRIU puts into a process.
fn text_of(line: &str) -> Option<&str> {
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if let Some((pid, text)) = line.strip_prefix("pie: ").and_then(|r| r.split_once(": ")) {
        return is_number(pid).then_some(text);
    }
    let (time, rest) = line.strip_prefix('(')?.split_once(')')?;
    if !time.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let rest = rest.trim_start();
    Some(match rest.split_once(": ") {
        Some((pid, text)) if is_number(pid) => text.trim_start(),
        _ => rest,
    })
}

/// One line without its end, as Go's `bufio.ScanLines` cuts it.
fn next_line(log: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let got = log
        .by_ref()
        .take(LINE_LIMIT as u64)
        .read_until(b'\n', &mut line)?;
    if got == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if got == LINE_LIMIT {
        return Err(io::Error::other("bufio.Scanner: token too long"));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

/// Control characters, but for tabs, as escapes.
fn readable(line: &str) -> String {
    if !line.chars().any(|c| c.is_control() && c != '\t') {
        return line.to_owned();
    }
    line.chars()
        .flat_map(|c| {
            let escaped = (c.is_control() && c != '\t').then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

fn shortened(message: &str) -> String {
    let mut short: String = message.chars().take(CAUSE_LIMIT).collect();
    if short.len() < message.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(text: &str) -> Vec<String> {
        quote_from(text.as_bytes(), Path::new("/w/dump.log"))
    }

    #[test]
    fn a_log_without_errors_quotes_nothing() {
        assert!(quoted("one\ntwo\n").is_empty());
    }

    #[test]
    fn five_lines_before_an_error_are_quoted() {
        let log = "1\n2\n3\n4\n5\n6\n7\nError x\n9\n";
        assert_eq!(
            quoted(log),
            [
                "--- Quoting \"/w/dump.log\"",
                "3:3",
                "4:4",
                "5:5",
                "6:6",
                "7:7",
                "8:Error x",
                "---"
            ]
        );
    }

    #[test]
    fn errors_close_together_share_their_context_and_gaps_are_marked() {
        let log = "Error a\nb\nError c\n4\n5\n6\n7\n8\n9\nError d\n";
        assert_eq!(
            quoted(log),
            [
                "--- Quoting \"/w/dump.log\"",
                "1:Error a",
                "2:b",
                "3:Error c",
                "...",
                "5:5",
                "6:6",
                "7:7",
                "8:8",
                "9:9",
                "10:Error d",
                "---"
            ]
        );
    }

    #[test]
    fn adjoining_context_has_no_gap_mark_and_empty_lines_are_left_out() {
        let log = "Error a\n2\n\n4\n5\n6\nError b\n";
        assert_eq!(
            quoted(log),
            [
                "--- Quoting \"/w/dump.log\"",
                "1:Error a",
                "2:2",
                "4:4",
                "5:5",
                "6:6",
                "7:Error b",
                "---"
            ]
        );
    }

    #[test]
    fn a_line_that_is_too_long_ends_the_quote_as_in_go() {
        let log = format!("Error a\n{}\nError b\n", "x".repeat(LINE_LIMIT));
        assert_eq!(
            quoted(&log),
            [
                "--- Quoting \"/w/dump.log\"",
                "1:Error a",
                "---",
                "read \"/w/dump.log\": bufio.Scanner: token too long"
            ]
        );
    }

    #[test]
    fn a_missing_log_is_said_in_go_s_words() {
        assert_eq!(
            quote(Path::new("/nonexistent/dump.log")),
            ["open /nonexistent/dump.log: no such file or directory"]
        );
    }

    #[test]
    fn terminal_sequences_of_a_hostile_file_name_are_escaped() {
        assert_eq!(quoted("Error \u{1b}[2J\tx\n")[1], "1:Error \\u{1b}[2J\tx");
    }

    #[test]
    fn the_cause_is_neither_the_harmless_first_line_nor_the_echo_at_the_end() {
        let log = "(00.000100) Error (criu/rlimit.c:44): rlimit: Can't setup RLIMIT_NOFILE for self\n\
                   (00.010000) Warn  (criu/x.c:1): hm\n\
                   (00.020000) Error (criu/sk-inet.c:191): inet: Connected TCP socket, consider using --tcp-established option.\n\
                   (00.020100) Error (criu/cr-dump.c:1669): Dump files (pid: 34) failed with -1\n\
                   (00.030000) Error (criu/cr-dump.c:2093): Dumping FAILED.\n";
        assert_eq!(
            cause_from(log.as_bytes()).as_deref(),
            Some("inet: Connected TCP socket, consider using --tcp-established option.")
        );
    }

    #[test]
    fn a_worker_s_line_counts_and_a_file_name_does_not() {
        let log = "(00.02) Dumping path /tmp/(00.1) Error (a): b\n\
                   (00.03)     42: Error (criu/net.c:1): net: gone\n";
        assert_eq!(cause_from(log.as_bytes()).as_deref(), Some("net: gone"));
    }

    #[test]
    fn the_run_s_id_is_read_from_the_log_s_head_and_nothing_else_is_taken_for_it() {
        let line = |id: &str| format!("(00.000001) CRIU run id = {id}\n");
        let (first, second, late) = (
            "aaaaaaaa-bcbf-4bf8-ba12-0123456789ab",
            "dd794a9b-bcbf-4bf8-ba12-0123456789ab",
            "cccccccc-bcbf-4bf8-ba12-0123456789ab",
        );
        let log = [
            &line(first),
            &line(second),
            "(0) Dumping processes (pid: 1)\n",
            &line(late),
        ];
        assert_eq!(
            run_id_from(log.concat().as_bytes()).as_deref(),
            Some(second)
        );
        assert_eq!(run_id_from(&b"CRIU run id = x; flush ruleset\n"[..]), None);
    }

    #[test]
    fn an_echo_is_better_than_nothing_and_a_harmless_line_is_nothing() {
        let echo = "(00.03) Error (criu/cr-dump.c:2093): Dumping FAILED.\n";
        assert_eq!(
            cause_from(echo.as_bytes()).as_deref(),
            Some("Dumping FAILED.")
        );
        let harmless = "(00.03) Error (criu/rlimit.c:44): Can't setup RLIMIT_NOFILE for self\n";
        assert_eq!(cause_from(harmless.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = quote_from(bytes.as_slice(), Path::new("x"));
            let _ = cause_from(bytes.as_slice());
        }

        #[test]
        fn any_error_text_is_found(text in "[ -~]{1,80}") {
            let line = format!("(00.000001) Error (criu/a.c:1): {text}");
            prop_assert_eq!(error_message(&line), Some(text.trim()));
        }
    }
}
