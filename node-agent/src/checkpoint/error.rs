//! Why a checkpoint failed, in the words of `runc checkpoint` where it has any.

use std::{
    io,
    os::fd::RawFd,
    path::{Path, PathBuf},
};

use nix::errno::Errno;

use super::{fence, journal, lock, still};
use crate::{
    criu,
    go_text::{go_errno, go_error},
    images, layer,
    runtime::{self, external, guard, processes},
};

/// A checkpoint that failed. The container runs as before, unless the error says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// CRIU could not be asked for its version.
    #[error("CRIU version check failed: {0}")]
    Version(#[source] criu::Error),
    /// CRIU is older than anything runc works with.
    #[error("CRIU version {found} must be {wanted} or higher")]
    CriuTooOld {
        /// Its number.
        found: u32,
        /// The oldest that will do.
        wanted: u32,
    },
    /// CRIU knows no external namespaces; runc says so even where none is needed.
    #[error(
        "criu lacks support for external {kind} namespace during checkpointing process (old criu version?)"
    )]
    ExternalNamespaces {
        /// `network` or `pid`, as runc shortens them.
        kind: &'static str,
    },
    /// A directory could not be made or opened.
    #[error("{call} {path}: {why}", path = path.display(), why = go_error(said))]
    Directory {
        /// `mkdir` or `open`.
        call: &'static str,
        /// The directory.
        path: PathBuf,
        /// What the kernel said; no source, since the message has it in Go's words.
        said: io::Error,
    },
    /// The final name of an image is taken.
    #[error("image directory {path} exists already", path = .0.display())]
    ImageExists(PathBuf),
    /// The container's first process is not what its state says.
    #[error(transparent)]
    Guard(#[from] guard::Error),
    /// The container's state could not be told.
    #[error(transparent)]
    State(#[from] runtime::Error),
    /// What lies outside the container could not be told.
    #[error("{text}", text = .0.runc_text().unwrap_or_else(|| .0.to_string()))]
    External(#[source] external::Error),
    /// The container's processes could not be told.
    #[error(transparent)]
    Processes(#[from] processes::Error),
    /// A feature that the request needs could not be asked for.
    #[error("CRIU feature check failed: {0}")]
    FeatureCheck(#[source] criu::Error),
    /// A feature that the request needs is not there.
    #[error("criu is missing features: [{0}]")]
    MissingFeature(&'static str),
    /// `--status-fd` names no open descriptor.
    #[error("invalid --status-fd argument {fd}: {why}", why = go_errno(*said))]
    StatusFd {
        /// The descriptor.
        fd: RawFd,
        /// What the kernel said; no source, since the message has it in Go's words.
        said: Errno,
    },
    /// `--status-fd` names a descriptor that cannot be written.
    #[error("invalid --status-fd argument {fd}: not writable")]
    StatusFdNotWritable {
        /// The descriptor.
        fd: RawFd,
    },
    /// The network lock that was asked for cannot be had.
    #[error(transparent)]
    Lock(#[from] lock::Unavailable),
    /// The rules that are there before the dump could not be read.
    #[error("failed to read the network rules before the dump")]
    Rules(#[source] lock::Error),
    /// The port of the lazy pages could not be closed to those who may not fetch them.
    #[error("failed to close the port of the lazy pages to others")]
    Fence(#[source] fence::Error),
    /// The journal could not be kept, or names another dump of this container.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The process that repairs after a kill could not be started.
    #[error("failed to start the guardian")]
    Guardian(#[source] io::Error),
    /// `descriptors.json` or the runtime's marker could not be written.
    #[error("failed to write {path}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// CRIU could not attach to a process, and would try for ten seconds with the container frozen.
    #[error("process {pid} is traced by process {tracer}, a debugger or strace: detach that first")]
    Traced {
        /// The process, in the host's numbers.
        pid: i32,
        /// Who traces it.
        tracer: i32,
    },
    /// The parent is not the image that the kernel's record of changed pages goes back to.
    #[error("{} does not hold the last tracked dump of this process", .0.display())]
    ParentNotLatest(PathBuf),
    /// The container could not be made to stand still.
    #[error(transparent)]
    Still(#[from] still::Error),
    /// The files that the container has changed could not be saved while it stood still.
    #[error(transparent)]
    Rootfs(#[from] layer::Error),
    /// CRIU failed, or was stopped.
    #[error("{}", dump_text(source))]
    Dump {
        /// How.
        source: criu::Error,
        /// CRIU's log.
        log: PathBuf,
        /// That a disk is full, or the line of the log that tells most.
        cause: Option<String>,
        /// A disk is full. CRIU's log may be on the same one, and silent about it.
        full: bool,
        /// Lazy pages could be fetched, and not all were.
        serving: bool,
        /// CRIU had stopped no task yet: it was still connecting to the page server.
        connecting: bool,
        /// The container has ended, and not by this dump: CRIU, whose tasks are gone, cannot always say so.
        ended: bool,
    },
    /// CRIU reported success, and the image is not complete.
    #[error("the image is not complete: {0}")]
    Incomplete(#[source] images::Error),
    /// The memory was sent, and is not there.
    #[error("the memory did not arrive: {0}")]
    OtherHalf(String),
    /// The image is complete, and could not be flushed or named. Where the container has ended, it
    /// is kept under its unfinished name.
    #[error("the image is complete and could not be published: {0}")]
    Publish(#[source] images::Error),
}

impl Error {
    /// A stable name for scripts, conditions and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Version(source) | Self::FeatureCheck(source) | Self::Dump { source, .. } => {
                source.reason()
            }
            Self::CriuTooOld { .. } | Self::ExternalNamespaces { .. } => "CriuTooOld",
            Self::Directory { .. } => "DirectoryUnusable",
            Self::ImageExists(_) => "ImageExists",
            Self::Guard(source) => source.reason(),
            Self::State(_) => "StateUnreadable",
            Self::External(source) => source.reason(),
            Self::Processes(source) => source.reason(),
            Self::MissingFeature("MemTrack") => "NoSoftDirty",
            Self::MissingFeature(_) => "MissingFeature",
            Self::StatusFd { .. } | Self::StatusFdNotWritable { .. } => "InvalidStatusFd",
            Self::Lock(_) => "NetworkLockUnavailable",
            Self::Fence(_) => "LazyPagesUnguarded",
            Self::Rules(_) => "NetworkRulesUnreadable",
            Self::Journal(journal::Error::Busy { .. } | journal::Error::Unfinished { .. }) => {
                "CheckpointUnderWay"
            }
            Self::Journal(_) => "JournalUnusable",
            Self::Guardian(_) => "GuardianNotStarted",
            Self::Write { .. } => "WriteFailed",
            Self::Traced { .. } => "ProcessTraced",
            Self::ParentNotLatest(_) => "ParentNotLatest",
            Self::Still(_) => "NeverStill",
            Self::Rootfs(source) => source.reason(),
            Self::Incomplete(_) => "ImageIncomplete",
            Self::OtherHalf(_) => "ReceiverFailed",
            Self::Publish(_) => "PublishFailed",
        }
    }

    /// What the user can do, where that can be told.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Version(_) | Self::CriuTooOld { .. } | Self::ExternalNamespaces { .. } => Some(
                "install CRIU 4.2 or newer; the verb `preflight` shows what this node has".into(),
            ),
            Self::MissingFeature("MemTrack") => {
                Some("this kernel cannot track memory: take a full dump without a parent".into())
            }
            Self::MissingFeature(_) => Some("this kernel cannot serve lazy pages".into()),
            Self::Journal(journal::Error::Busy { .. } | journal::Error::Unfinished { .. }) => {
                Some("wait for the other checkpoint of this container to end".into())
            }
            Self::Dump {
                full: true, cause, ..
            } => cause.clone(),
            Self::Dump {
                source: criu::Error::Stopped { .. } | criu::Error::Failed { .. },
                serving: true,
                ..
            } => Some("lazy pages were served, and not all of them were fetched".into()),
            Self::Dump {
                source: criu::Error::Stopped { stop, .. },
                ..
            } => Some(stop_hint(stop).into()),
            Self::Dump { cause, log, .. } => Some(match cause {
                Some(cause) => format!("CRIU says: {cause}; the whole log is {}", log.display()),
                None => format!("see {}", log.display()),
            }),
            _ => None,
        }
    }

    /// CRIU's log, where CRIU was the one that failed: runc quotes it then. Where we stopped it, the
    /// log only tells how CRIU took that.
    #[must_use]
    pub fn log(&self) -> Option<&Path> {
        match self {
            Self::Dump {
                source: criu::Error::Stopped { .. },
                ..
            } => None,
            Self::Dump { log, .. } => Some(log),
            _ => None,
        }
    }

    /// CRIU's error number, where it gave one.
    #[must_use]
    pub fn criu_errno(&self) -> Option<i32> {
        match self {
            Self::Dump {
                source: criu::Error::Failed { errno, .. },
                ..
            } => Some(*errno),
            _ => None,
        }
    }
}

/// runc's text, but where we ended it, for which runc has none.
fn dump_text(source: &criu::Error) -> String {
    match source {
        criu::Error::Stopped { .. } => {
            format!("checkpoint stopped: {source}; the container goes on")
        }
        other => other.to_string(),
    }
}

fn stop_hint(stop: &criu::Stop) -> &'static str {
    match stop {
        criu::Stop::TimedOut => {
            "allow more time; a checkpoint is stopped at CRIU's next notification, so it may take longer than asked"
        }
        criu::Stop::PauseTooLong => "allow a longer pause, or dump less memory at once",
        criu::Stop::Cancelled(_) | criu::Stop::Refused(_) => "start it again",
    }
}
