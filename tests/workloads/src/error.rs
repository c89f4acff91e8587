//! What a workload could not do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The operation that failed, with what it touched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file could not be opened, written, linked or removed.
    #[error("failed to {what} {}: {source}", path.display())]
    File {
        /// The operation, as a verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A TCP socket could not be bound, connected or set up.
    #[error("failed to {what} {address}: {source}")]
    Tcp {
        /// The operation, as a verb.
        what: &'static str,
        /// Its own or its peer's address.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// A call without a path or an address failed.
    #[error("failed to {what}: {source}")]
    System {
        /// The operation, as a verb and its object.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl Error {
    /// A file operation that failed.
    pub(crate) fn file(
        what: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::File {
            what,
            path: path.into(),
            source: source.into(),
        }
    }

    /// A socket operation that failed.
    pub(crate) fn tcp(
        what: &'static str,
        address: SocketAddr,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Tcp {
            what,
            address,
            source: source.into(),
        }
    }

    /// Any other call that failed.
    pub(crate) fn system(what: &'static str, source: impl Into<io::Error>) -> Self {
        Self::System {
            what,
            source: source.into(),
        }
    }

    /// A stable name for the kind of failure.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::File { .. } => "FileFailed",
            Self::Tcp { .. } => "TcpFailed",
            Self::System { .. } => "SystemCallFailed",
        }
    }
}
