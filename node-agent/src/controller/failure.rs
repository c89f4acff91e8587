//! What the engine's errors are to somebody who applied an object.

use std::{io, path::Path};

use nix::errno::Errno;
use stillframe_crds::{Reason, checkpoint::Failure};

use crate::{
    checkpoint::{self, journal, lock},
    criu::{
        self, Stop, Why, config,
        log::{self, Told},
    },
    images, receive,
    runtime::{self, Status, guard, locate},
};

mod words;

/// Most lines of CRIU's log.
const LINES: usize = 10;
/// As many are looked at: CRIU says the same again and again while it waits.
const LINES_READ: usize = 256;
/// Longest line, bytes.
const LINE_BYTES: usize = 300;
/// All lines together, bytes.
const LINES_BYTES: usize = 2048;
/// Longest message, bytes.
const MESSAGE_BYTES: usize = 2048;

/// A checkpoint that failed. `work_log` is where CRIU's log is read and shown, where it is not
/// where the engine put it.
#[must_use]
pub fn of(error: &checkpoint::Error, work_log: Option<&Path>) -> Failure {
    let log = work_log.or(error.log()).filter(|log| log.is_file());
    let told = log
        .filter(|_| error.log().is_some())
        .and_then(log::classify);
    let reason = reason(error, told.as_ref());
    let detail = match (error, told) {
        (
            checkpoint::Error::Dump {
                serving: true,
                source,
                ..
            },
            told,
        ) if ends_serving(source) => {
            let why = told.map(|Told { message, .. }| format!("; CRIU says: {message}"));
            Some(format!(
                "lazy pages were served, and not all of them were fetched{}",
                why.unwrap_or_default()
            ))
        }
        (
            checkpoint::Error::Dump {
                source: criu::Error::Stopped { killed: false, .. },
                ..
            },
            _,
        ) => None,
        (checkpoint::Error::Dump { full: false, .. }, Some(Told { message, .. })) => {
            Some(format!("CRIU says: {message}"))
        }
        (checkpoint::Error::Dump { cause, full, .. }, _) => Some(match cause {
            Some(cause) if *full => cause.clone(),
            Some(cause) => format!("CRIU says: {cause}"),
            None => chain(error),
        }),
        _ => Some(chain(error)),
    };
    let criu_failed = error.log().is_some();
    Failure {
        criu_errno: error.criu_errno().filter(|errno| *errno != 0),
        log: log
            .filter(|_| criu_failed)
            .map(|log| bounded(log::errors(log, LINES_READ)))
            .unwrap_or_default(),
        log_path: log.map(|log| log.to_string_lossy().into_owned()),
        ..new(reason, detail.as_deref())
    }
}

/// A failure with a reason's own words, and what is known beside them.
#[must_use]
pub fn new(reason: Reason, detail: Option<&str>) -> Failure {
    let meaning = reason.meaning();
    let message = match detail {
        Some(detail) => {
            let (meaning, detail) = (without_dot(meaning), without_dot(detail));
            format!("{meaning} ({})", readable(detail))
        }
        None => meaning.to_owned(),
    };
    Failure::new(reason, cut(message, MESSAGE_BYTES))
}

/// A container that could not be found by the id that the object names.
#[must_use]
pub fn of_locate(error: &locate::Error) -> Failure {
    let reason = match error {
        locate::Error::NotFound { init_pid: None, .. }
        | locate::Error::State(runtime::Error::NotFound { .. }) => Reason::ContainerReplaced,
        // It is there, and what is kept of it is not where it should be.
        locate::Error::NotFound { .. } => Reason::StateUnreadable,
        other => words::reason(other.reason()),
    };
    new(reason, Some(&chain(error)))
}

/// A configuration file for CRIU that is not obeyed.
#[must_use]
pub fn of_config(error: &config::Error) -> Failure {
    new(words::reason(error.reason()), Some(&chain(error)))
}

/// Memory of another node's checkpoint that was not received.
#[must_use]
pub fn of_receiving(error: &receive::Error) -> Failure {
    let tls = error
        .log()
        .filter(|log| log.is_file())
        .and_then(log::classify)
        .is_some_and(|told| told.cause == log::Cause::PageServerTlsFailed);
    let reason = if tls {
        Reason::PageServerTlsFailed
    } else {
        words::reason(error.reason())
    };
    new(reason, Some(&chain(error)))
}

/// Why a container in this state is not dumped, if it is not.
#[must_use]
pub fn of_status(status: Status) -> Option<Failure> {
    let reason = match status {
        Status::Running => return None,
        Status::Paused => Reason::ContainerPaused,
        // The pod's status said that it runs.
        Status::Created | Status::Stopped => Reason::ContainerReplaced,
    };
    Some(new(reason, None))
}

/// Whether another attempt may help: something of the node's was short for a moment, or somebody
/// else was at work, and the container had not been touched yet.
#[must_use]
pub fn retryable(error: &checkpoint::Error) -> bool {
    use checkpoint::Error;
    match error {
        Error::Version(source) | Error::FeatureCheck(source) => match source {
            criu::Error::Start { source, .. } | criu::Error::System { source, .. } => {
                is_passing(*source)
            }
            criu::Error::Cgroup(_) | criu::Error::Broken { .. } | criu::Error::Exit { .. } => true,
            criu::Error::Stopped { stop, .. } => *stop == Stop::TimedOut,
            criu::Error::NotFound { .. }
            | criu::Error::Relative { .. }
            | criu::Error::Decode(_)
            | criu::Error::Failed { .. }
            | criu::Error::Unexpected { .. } => false,
        },
        Error::Journal(journal::Error::Busy { .. } | journal::Error::Unfinished { .. }) => true,
        Error::Journal(journal::Error::File { source, .. })
        | Error::Guardian(source)
        | Error::Rules(lock::Error::Start { source, .. })
        | Error::Guard(guard::Error::Process { source, .. }) => is_passing(errno(source)),
        Error::Directory { said, .. } => is_passing(errno(said)),
        Error::Journal(journal::Error::Invalid { .. })
        | Error::Guard(_)
        | Error::Rules(_)
        | Error::Fence(_)
        | Error::CriuTooOld { .. }
        | Error::ExternalNamespaces { .. }
        | Error::ImageExists(_)
        | Error::State(_)
        | Error::External(_)
        | Error::Processes(_)
        | Error::MissingFeature(_)
        | Error::StatusFd { .. }
        | Error::StatusFdNotWritable { .. }
        | Error::Lock(_)
        | Error::Write { .. }
        | Error::Traced { .. }
        | Error::ParentNotLatest(_)
        // The container has stood still.
        | Error::Still(_)
        | Error::Rootfs(_)
        | Error::Dump { .. }
        | Error::Incomplete(_)
        | Error::OtherHalf(_)
        | Error::Publish(_) => false,
    }
}

/// The stable word for an error; CRIU's log tells more than its answer.
fn reason(error: &checkpoint::Error, told: Option<&Told>) -> Reason {
    use checkpoint::Error;
    match error {
        Error::Dump { full: true, .. } => Reason::DiskFull,
        // A server that refuses is told of by CRIU; for one that does not answer it waits.
        Error::Dump {
            source:
                criu::Error::Stopped {
                    stop: Stop::TimedOut,
                    ..
                },
            connecting: true,
            ..
        } => Reason::PageServerUnreachable,
        Error::Dump {
            source: criu::Error::Stopped { stop, .. },
            ..
        } => of_stop(stop),
        // What CRIU says of a page server then is about itself.
        Error::Dump {
            source: criu::Error::Failed { .. },
            serving: true,
            ..
        } if !is_tls(told) => Reason::LazyPagesNotFetched,
        Error::Dump { ended, .. } => {
            let cause = told.and_then(|told| told.cause.reason().parse().ok());
            match cause.unwrap_or_else(|| words::reason(error.reason())) {
                // What ends under CRIU takes its words along.
                Reason::CriuDied | Reason::CriuFailed if *ended => Reason::ContainerEnded,
                reason => reason,
            }
        }
        Error::Directory { said, .. } if is_full(errno(said)) => Reason::DiskFull,
        Error::Write { source, .. } if is_full(errno(source)) => Reason::DiskFull,
        Error::Rootfs(source) if source.errno().is_some_and(is_full) => Reason::DiskFull,
        Error::Publish(
            images::Error::Flush { source, .. }
            | images::Error::Change { source, .. }
            | images::Error::Name { source, .. },
        ) if is_full(*source) => Reason::DiskFull,
        Error::Guard(guard::Error::Process { source, .. })
            if matches!(errno(source), Errno::ESRCH | Errno::ENOENT) =>
        {
            Reason::ContainerReplaced
        }
        other => words::reason(other.reason()),
    }
}

/// Whether an error ends the serving of lazy pages because of how they were fetched.
fn ends_serving(source: &criu::Error) -> bool {
    matches!(
        source,
        criu::Error::Failed { .. } | criu::Error::Stopped { .. }
    )
}

fn is_tls(told: Option<&Told>) -> bool {
    let tls = Reason::PageServerTlsFailed.as_str();
    told.is_some_and(|told| told.cause.reason() == tls)
}

fn of_stop(stop: &Stop) -> Reason {
    match stop {
        Stop::Cancelled(Why::Withdrawn) => Reason::Cancelled,
        Stop::Cancelled(Why::Interrupted | Why::Terminated) => Reason::AgentStopping,
        Stop::TimedOut => Reason::TimedOut,
        Stop::PauseTooLong => Reason::PauseTooLong,
        Stop::Refused(_) => Reason::InternalError,
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}

fn is_full(errno: Errno) -> bool {
    matches!(errno, Errno::ENOSPC | Errno::EDQUOT)
}

fn is_passing(errno: Errno) -> bool {
    use Errno::{EAGAIN, EBUSY, EINTR, EMFILE, ENFILE, ENOMEM, ETXTBSY};
    [EAGAIN, EBUSY, EINTR, EMFILE, ENFILE, ENOMEM, ETXTBSY].contains(&errno)
}

/// An error with what caused it, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

/// The last lines that say something new, within the bounds of a status.
fn bounded(mut lines: Vec<String>) -> Vec<String> {
    lines.dedup();
    let mut left = LINES_BYTES;
    let mut kept: Vec<String> = lines
        .into_iter()
        .rev()
        .take(LINES)
        .map(|line| cut(readable(&line), LINE_BYTES))
        .take_while(|line| {
            let fits = line.len() <= left;
            left = left.saturating_sub(line.len());
            fits
        })
        .collect();
    kept.reverse();
    kept
}

/// A sentence as a part of another.
fn without_dot(sentence: &str) -> &str {
    sentence.strip_suffix('.').unwrap_or(sentence)
}

/// Control characters as escapes.
fn readable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

/// A text of at most `limit` bytes, marked where it was cut.
fn cut(mut text: String, limit: usize) -> String {
    const MARK: &str = "…";
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit - MARK.len()));
        text.push_str(MARK);
    }
    text
}

#[cfg(test)]
mod tests;
