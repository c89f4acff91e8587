//! What can go wrong with CRIU, in the words that `runc checkpoint` has for it.

use std::{path::PathBuf, process::ExitStatus};

use nix::errno::Errno;

use super::{cancel::Why, event::Event};
use crate::go_text::{go_errno, go_status};

/// Which of runc's two clients is mirrored: it asks for the version through go-criu, whose texts
/// differ from its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// `criuSwrk` of runc 1.5.2.
    Swrk,
    /// `GetCriuVersion` of go-criu v8.
    GoCriu,
}

/// How a conversation broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// CRIU closed its end.
    Closed,
    /// Nothing could be received.
    Receive(Errno),
    /// Nothing could be sent.
    Send(Errno),
}

/// Why this side ended a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The token was triggered.
    Cancelled(Why),
    /// The deadline of the whole request passed.
    TimedOut,
    /// Tasks stood still for too long.
    PauseTooLong,
    /// The handler said no.
    Refused(Event),
}

/// A request to CRIU that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such program in the search path.
    #[error("exec: {program:?}: executable file not found in $PATH")]
    NotFound {
        /// The name looked for.
        program: String,
    },
    /// Found only through a relative entry of the search path.
    #[error("exec: {program:?}: cannot run executable found relative to current directory")]
    Relative {
        /// The name looked for.
        program: String,
    },
    /// The program could not be started.
    #[error("fork/exec {}: {}", program.display(), go_errno(*source))]
    Start {
        /// What was started.
        program: PathBuf,
        /// Why not.
        source: Errno,
    },
    /// The cgroup that it is to be started in is not to be had.
    #[error("failed to start CRIU in a cgroup of its own")]
    Cgroup(#[source] crate::apart::CgroupError),
    /// A system call around the process failed.
    #[error("{call}: {}", go_errno(*source))]
    System {
        /// The call.
        call: &'static str,
        /// Why.
        source: Errno,
    },
    /// The conversation broke off: CRIU died, or was something else.
    #[error("{}", broken_text(*via, *how, *status))]
    Broken {
        /// Whose text it is.
        via: Via,
        /// How.
        how: Break,
        /// How CRIU ended, where it did.
        status: Option<ExitStatus>,
    },
    /// What CRIU sent is no message.
    #[error("failed to decode CRIU's response")]
    Decode(#[source] prost::DecodeError),
    /// CRIU says it failed.
    #[error("{}", failed_text(*via, request, *errno, message))]
    Failed {
        /// Whose text it is.
        via: Via,
        /// The response's type, such as `DUMP`.
        request: String,
        /// CRIU's error number, 0 when it has none.
        errno: i32,
        /// The first error line of CRIU's log; may be a harmless one. Empty when there is none.
        message: String,
    },
    /// A response that answers something else.
    #[error("{}", unexpected_text(*via, got))]
    Unexpected {
        /// Whose text it is.
        via: Via,
        /// The response's type.
        got: String,
    },
    /// CRIU answered, then ended badly.
    #[error("criu failed: {}", go_status(*status))]
    Exit {
        /// How it ended.
        status: ExitStatus,
    },
    /// This side ended it.
    #[error("{}", stopped_text(stop, *killed))]
    Stopped {
        /// Why.
        stop: Stop,
        /// CRIU had to be killed: what it set up may still be there.
        killed: bool,
    },
}

impl Error {
    /// A stable name for the class of failure.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound { .. } | Self::Relative { .. } => "CriuNotFound",
            Self::Start { .. } | Self::Cgroup(_) => "CriuNotStarted",
            Self::System { .. } => "SystemCallFailed",
            Self::Broken { .. } => "CriuDied",
            Self::Decode(_) | Self::Unexpected { .. } => "CriuUnintelligible",
            Self::Failed { .. } => "CriuFailed",
            Self::Exit { .. } => "CriuExitedBadly",
            Self::Stopped { stop, .. } => match stop {
                Stop::Cancelled(_) => "Cancelled",
                Stop::TimedOut => "TimedOut",
                Stop::PauseTooLong => "PauseTooLong",
                Stop::Refused(_) => "Refused",
            },
        }
    }

    /// Whether CRIU ended in the middle of what it was doing (killed by us, or died), so that what
    /// it had set up may still be there: lock rules, `link_remap` files, a frozen cgroup.
    #[must_use]
    pub fn left_things_behind(&self) -> bool {
        matches!(
            self,
            Self::Stopped { killed: true, .. } | Self::Broken { .. } | Self::Decode(_)
        ) || matches!(self, Self::Unexpected { .. } | Self::System { .. })
    }
}

fn broken_text(via: Via, how: Break, status: Option<ExitStatus>) -> String {
    let text = match (via, how) {
        (Via::Swrk, Break::Closed) => "read unixpacket @->@: EOF".to_owned(),
        (Via::Swrk, Break::Receive(errno)) => {
            format!("read unixpacket @->@: recvmsg: {}", go_errno(errno))
        }
        (Via::Swrk, Break::Send(errno)) => {
            format!("write unixpacket @->@: write: {}", go_errno(errno))
        }
        (Via::GoCriu, Break::Closed) => "EOF".to_owned(),
        (Via::GoCriu, Break::Receive(errno)) => {
            format!("read criu-xprt-cln: {}", go_errno(errno))
        }
        (Via::GoCriu, Break::Send(errno)) => format!("write criu-xprt-cln: {}", go_errno(errno)),
    };
    match (via, status) {
        (Via::GoCriu, Some(status)) if !status.success() => {
            format!("{text}\ncriu swrk failed: {}", go_status(status))
        }
        _ => text,
    }
}

fn failed_text(via: Via, request: &str, errno: i32, message: &str) -> String {
    match via {
        Via::Swrk => format!("criu failed: type {request} errno {errno}"),
        Via::GoCriu => format!("operation failed (msg:{message} err:{errno})"),
    }
}

fn unexpected_text(via: Via, got: &str) -> String {
    match via {
        Via::Swrk => format!("unable to parse the response type:{got}"),
        Via::GoCriu => "unexpected CRIU RPC response".to_owned(),
    }
}

fn stopped_text(stop: &Stop, killed: bool) -> String {
    let text = match stop {
        Stop::Cancelled(Why::Interrupted) => "interrupted".to_owned(),
        Stop::Cancelled(Why::Terminated) => "terminated".to_owned(),
        Stop::Cancelled(Why::Withdrawn) => "cancelled".to_owned(),
        Stop::TimedOut => "timed out".to_owned(),
        Stop::PauseTooLong => "the container stood still for too long".to_owned(),
        Stop::Refused(event) => format!("refused at {}", event.script()),
    };
    if killed {
        format!("{text}; CRIU did not give way and was killed")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn a_failed_dump_reads_as_in_runc() {
        let error = Error::Failed {
            via: Via::Swrk,
            request: "DUMP".to_owned(),
            errno: 0,
            message: "whatever".to_owned(),
        };
        assert_eq!(error.to_string(), "criu failed: type DUMP errno 0");
    }

    #[test]
    fn a_conversation_that_broke_off_reads_as_in_runc() {
        let broken = |via, how, status| Error::Broken { via, how, status }.to_string();
        assert_eq!(
            broken(Via::Swrk, Break::Closed, None),
            "read unixpacket @->@: EOF"
        );
        assert_eq!(
            broken(Via::Swrk, Break::Receive(Errno::ECONNRESET), None),
            "read unixpacket @->@: recvmsg: connection reset by peer"
        );
        assert_eq!(
            broken(
                Via::GoCriu,
                Break::Receive(Errno::ECONNRESET),
                Some(ExitStatus::from_raw(3 << 8))
            ),
            "read criu-xprt-cln: connection reset by peer\ncriu swrk failed: exit status 3"
        );
    }

    #[test]
    fn a_missing_program_reads_as_in_runc() {
        let error = Error::NotFound {
            program: "criu".to_owned(),
        };
        assert_eq!(
            error.to_string(),
            "exec: \"criu\": executable file not found in $PATH"
        );
        let error = Error::Start {
            program: "/x/criu".into(),
            source: Errno::ENOEXEC,
        };
        assert_eq!(error.to_string(), "fork/exec /x/criu: exec format error");
    }

    #[test]
    fn being_stopped_says_why_and_whether_criu_was_killed() {
        let stopped = |stop, killed| Error::Stopped { stop, killed };
        assert_eq!(stopped(Stop::TimedOut, false).reason(), "TimedOut");
        assert!(!stopped(Stop::TimedOut, false).left_things_behind());
        assert!(stopped(Stop::PauseTooLong, true).left_things_behind());
        assert_eq!(
            stopped(Stop::Cancelled(Why::Interrupted), true).to_string(),
            "interrupted; CRIU did not give way and was killed"
        );
    }
}
