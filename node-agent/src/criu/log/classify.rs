//! Why CRIU failed, told from the messages in `dump.log`.
//!
//! Names that the workload chose stand in these messages, so a message is known by the fixed text
//! of CRIU's format string, from its first character on, and what follows a name tells nothing. A
//! name with a line break can still forge a whole line: it then names a wrong cause for a dump of
//! that same workload which failed anyway.

use std::{
    io::{BufRead, BufReader, Read as _},
    path::Path,
};

use super::{SIZE_LIMIT, error_message, next_line, open, readable, shortened, text_of};

mod known;

use known::KNOWN;

/// Why CRIU failed. Its text is a reason's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Connections, and they were not asked for.
    EstablishedTcp,
    /// A connection that nobody has accepted yet.
    InFlightTcp,
    /// File locks, and they were not asked for.
    FileLocks,
    /// A unix socket with a peer outside.
    ExternalUnixSocket,
    /// Half of a stream over a unix socket, which no option helps.
    ExternalUnixStream,
    /// A terminal or session from outside.
    ShellJob,
    /// A mount that cannot be saved.
    ExternalMount,
    /// An `io_uring`.
    IoUring,
    /// A deleted file above the limit.
    GhostFileTooLarge,
    /// A deleted file with another name.
    LinkedFileDeleted,
    /// Something open or mapped that cannot be saved.
    UnsupportedFile,
    /// A process in a state that cannot be saved.
    UnsupportedProcess,
    /// No soft-dirty bits in this kernel.
    NoSoftDirty,
    /// The parent's image does not hold what it should.
    ParentImageMissing,
    /// The page server is not there, or went away.
    PageServerUnreachable,
    /// TLS with the page server came to nothing.
    PageServerTlsFailed,
    /// A security module.
    SecurityModule,
    /// The kernel refused something.
    PermissionDenied,
    /// No room for the image.
    DiskFull,
    /// The kernel, or this build of CRIU, lacks something.
    MissingFeature,
    /// The network could not be locked.
    NetworkLockUnavailable,
    /// The processes could not be stopped.
    NeverStill,
    /// The container was gone already.
    ContainerEnded,
}

impl Cause {
    /// A stable name for conditions, events and metrics.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::EstablishedTcp => "EstablishedTcp",
            Self::InFlightTcp => "InFlightTcp",
            Self::FileLocks => "FileLocks",
            Self::ExternalUnixSocket => "ExternalUnixSocket",
            Self::ExternalUnixStream => "ExternalUnixStream",
            Self::ShellJob => "ShellJob",
            Self::ExternalMount => "ExternalMount",
            Self::IoUring => "IoUring",
            Self::GhostFileTooLarge => "GhostFileTooLarge",
            Self::LinkedFileDeleted => "LinkedFileDeleted",
            Self::UnsupportedFile => "UnsupportedFile",
            Self::UnsupportedProcess => "UnsupportedProcess",
            Self::NoSoftDirty => "NoSoftDirty",
            Self::ParentImageMissing => "ParentImageMissing",
            Self::PageServerUnreachable => "PageServerUnreachable",
            Self::PageServerTlsFailed => "PageServerTlsFailed",
            Self::SecurityModule => "SecurityModule",
            Self::PermissionDenied => "PermissionDenied",
            Self::DiskFull => "DiskFull",
            Self::MissingFeature => "MissingFeature",
            Self::NetworkLockUnavailable => "NetworkLockUnavailable",
            Self::NeverStill => "NeverStill",
            Self::ContainerEnded => "ContainerEnded",
        }
    }
}

/// How much a message tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// It ends the dump.
    Cause,
    /// It may also stand in the log of a dump that something else ended.
    Hint,
    /// As [`Weight::Hint`], and CRIU does not mark it as an error.
    Aside,
}

/// A message that is known. In `text`, `%d` is a decimal number, `%x` a hexadecimal or octal one;
/// after `…` comes what a workload may have chosen, up to what follows, which ends the message.
#[derive(Debug)]
struct Known {
    text: &'static str,
    cause: Cause,
    weight: Weight,
}

/// What a log tells of why CRIU failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Why.
    pub cause: Cause,
    /// The message that says so: short, and fit for a terminal.
    pub message: String,
}

/// What a log tells, if it is something known: the first message that ends a dump, else the first
/// that may have to do with it.
#[must_use]
pub fn classify(log: &Path) -> Option<Told> {
    classify_from(BufReader::new(open(log).ok()?.take(SIZE_LIMIT)))
}

fn classify_from(mut log: impl BufRead) -> Option<Told> {
    let mut hint = None;
    while let Ok(Some(line)) = next_line(&mut log) {
        match told_by(&line) {
            Some((told, Weight::Cause)) => return Some(told),
            Some((told, Weight::Hint | Weight::Aside)) => {
                hint.get_or_insert(told);
            }
            None => {}
        }
    }
    hint
}

fn told_by(line: &str) -> Option<(Told, Weight)> {
    let error = error_message(line);
    let message = error.or_else(|| text_of(line))?;
    let known = KNOWN.iter().find(|known| {
        error.is_some() != (known.weight == Weight::Aside) && is(message, known.text)
    })?;
    let told = Told {
        cause: known.cause,
        message: readable(&shortened(message)),
    };
    Some((told, known.weight))
}

/// Whether a message is one of a known text's.
fn is(message: &str, text: &str) -> bool {
    let (start, end) = match text.split_once('…') {
        Some((start, end)) => (start, Some(end)),
        None => (text, None),
    };
    let Some(rest) = after(message, start) else {
        return false;
    };
    match end {
        Some(end) => rest.ends_with(end),
        None => rest.is_empty(),
    }
}

/// What follows `start` in a message that begins with it.
fn after<'m>(message: &'m str, start: &str) -> Option<&'m str> {
    let mut parts = start.split('%');
    let mut rest = message.strip_prefix(parts.next()?)?;
    for part in parts {
        let (kind, fixed) = part.split_at_checked(1)?;
        let number = match kind {
            "x" => rest.strip_prefix("0x").unwrap_or(rest),
            _ => rest.strip_prefix('-').unwrap_or(rest),
        };
        let digit = |c: char| c.is_ascii_digit() || (kind == "x" && c.is_ascii_hexdigit());
        let behind = number.trim_start_matches(digit);
        if behind.len() == number.len() {
            return None;
        }
        rest = behind.strip_prefix(fixed)?;
    }
    Some(rest)
}

#[cfg(test)]
mod tests;
