//! Why a container's state could not be read.

use crate::go_text::go_error;
use std::{io, path::PathBuf};

use crate::runtime::cgroup;

/// Why a container's state could not be read.
///
/// Where runc 1.5.2 has a text for the same failure, `Display` is that text or
/// [`Error::runc_text`] gives it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No id was given (`errEmptyID` of runc).
    #[error("container id cannot be empty")]
    EmptyId,
    /// The id has a character outside `[A-Za-z0-9_+.-]`, or is `.` or `..` (`ErrInvalidID`).
    #[error("invalid container ID format")]
    InvalidId,
    /// There is no state file for this id (`ErrNotExist`).
    #[error("container does not exist")]
    NotFound {
        /// The directory that was looked into.
        state_dir: PathBuf,
    },
    /// A state file could not be opened.
    #[error("failed to open {}", file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A state file could not be read.
    #[error("failed to read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A state file is larger than any runtime writes.
    #[error("invalid state file {}: larger than {limit} bytes", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The bound, in bytes.
        limit: u64,
    },
    /// A state file is not JSON, or nested too deeply.
    #[error("invalid JSON in {}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Nothing but white space was in it.
        empty: bool,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A field is missing, of the wrong type, or holds a value that cannot be meant.
    #[error("invalid {}: field {field} {problem}", file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// The field's path, such as `config.mounts[3].destination`.
        field: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The container's cgroups are systemd's, and systemd is not there (`NewWithPaths`).
    #[error("systemd not running on this host, cannot use systemd cgroups manager")]
    SystemdNotRunning,
    /// The freezer of the container could not be asked.
    #[error("failed to learn whether the container is paused")]
    Freezer(#[source] cgroup::Error),
    /// The state directory could not be asked for the start gate of a created container.
    #[error("failed to stat {}", file.display())]
    Stat {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// A stable name for conditions, events and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::EmptyId | Self::InvalidId => "InvalidContainerId",
            Self::NotFound { .. } => "ContainerNotFound",
            Self::Open { .. } | Self::Read { .. } | Self::Stat { .. } => "StateUnreadable",
            Self::TooLarge { .. } | Self::Syntax { .. } | Self::Field { .. } => "StateMalformed",
            Self::SystemdNotRunning => "SystemdNotRunning",
            Self::Freezer(source) => source.reason(),
        }
    }

    /// What runc 1.5.2 prints for this failure, where that is known and says less than `Display`.
    #[must_use]
    pub fn runc_text(&self) -> Option<String> {
        match self {
            // securejoin looks at the state directory, with its two slashes, before any file.
            Self::Open { file, source } if source.raw_os_error() == Some(libc::ENAMETOOLONG) => {
                let dir = file.parent()?;
                let (root, id) = (dir.parent()?.display(), dir.file_name()?.display());
                Some(format!("lstat {root}//{id}: {}", go_error(source)))
            }
            Self::Open { file, source } => {
                Some(format!("open {}: {}", file.display(), go_error(source)))
            }
            Self::Read { file, source } => {
                Some(format!("read {}: {}", file.display(), go_error(source)))
            }
            Self::Syntax { empty: true, .. } => Some("EOF".to_owned()),
            Self::Syntax { source, .. } if source.is_eof() => Some("unexpected EOF".to_owned()),
            _ => None,
        }
    }
}
