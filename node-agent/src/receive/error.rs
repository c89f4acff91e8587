//! Why pages were not received.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{criu, images};

/// Pages that were not received. Nothing is left of them but a log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The final name is taken.
    #[error("directory {path} exists already", path = .0.display())]
    ImageExists(PathBuf),
    /// The unfinished name is taken.
    #[error("directory {path} is there, with files in it: somebody else receives, or was killed", path = .0.display())]
    InTheWay(PathBuf),
    /// A directory could not be made or opened.
    #[error("failed to {call} {path}", path = path.display())]
    Directory {
        /// `make` or `open`.
        call: &'static str,
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Nobody can be listened for there.
    #[error("failed to listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// No sender came in time.
    #[error("nobody has sent anything within {} s{}", waited.as_secs(), tail(trouble.as_deref()))]
    NobodyCame {
        /// For how long it was listened.
        waited: Duration,
        /// What was wrong with whoever came last.
        trouble: Option<String>,
    },
    /// It was called off before a sender came.
    #[error("called off")]
    CalledOff,
    /// CRIU's end could not be watched over.
    #[error("failed to start the warden")]
    Warden(#[source] io::Error),
    /// CRIU could not receive, or was stopped.
    #[error("failed to receive pages")]
    Serve {
        /// How.
        #[source]
        source: criu::Error,
        /// CRIU's log.
        log: PathBuf,
        /// That a disk is full, or the line of the log that tells most.
        cause: Option<String>,
        /// A disk is full.
        full: bool,
    },
    /// The transfer broke off, or CRIU could not write.
    #[error("the pages did not arrive completely{}", tail(cause.as_deref()))]
    Broken {
        /// CRIU's log.
        log: PathBuf,
        /// That a disk is full, or the line of the log that tells most.
        cause: Option<String>,
        /// A disk is full.
        full: bool,
    },
    /// The sender was told that all has arrived, and it is not so.
    #[error("what has arrived is not complete")]
    Incomplete(#[source] images::Error),
    /// The pages could not be flushed or named.
    #[error("the pages are complete and could not be published")]
    Publish(#[source] images::Error),
}

impl Error {
    /// A stable name for scripts and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ImageExists(_) => "ImageExists",
            Self::InTheWay(_) => "ImagePathTaken",
            Self::Directory { .. } => "DirectoryUnusable",
            Self::Listen { .. } => "ListenFailed",
            Self::NobodyCame { .. } => "NobodyCame",
            Self::CalledOff => "Cancelled",
            Self::Warden(_) => "GuardianNotStarted",
            Self::Serve { full: true, .. } | Self::Broken { full: true, .. } => "DiskFull",
            Self::Serve { source, .. } => source.reason(),
            Self::Broken { .. } => "TransferBroken",
            Self::Incomplete(_) => "ImageIncomplete",
            Self::Publish(_) => "PublishFailed",
        }
    }

    /// What the user can do, where that can be told.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::ImageExists(_) => Some("name a directory that is not there yet"),
            Self::InTheWay(_) => Some("remove it, unless somebody receives into it at this moment"),
            Self::Listen { .. } => {
                Some("name an address of this machine, and a port that is free (0: any)")
            }
            Self::NobodyCame { .. } => {
                Some("see that the sender is told this address and port, and may reach it")
            }
            Self::Serve { full: true, .. } | Self::Broken { full: true, .. } => {
                Some("make room on that disk")
            }
            Self::Broken { .. } => {
                Some("the sender's checkpoint has failed as well and says why; the log tells more")
            }
            Self::Serve { .. }
            | Self::Directory { .. }
            | Self::CalledOff
            | Self::Warden(_)
            | Self::Incomplete(_)
            | Self::Publish(_) => None,
        }
    }

    /// CRIU's log, where it tells something.
    #[must_use]
    pub fn log(&self) -> Option<&Path> {
        match self {
            Self::Serve { log, .. } | Self::Broken { log, .. } => Some(log),
            _ => None,
        }
    }
}

fn tail(text: Option<&str>) -> String {
    text.map_or_else(String::new, |text| format!(": {text}"))
}
