//! Why a container's process cannot be held.

use std::{io, path::PathBuf};

/// Why the recorded process cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no process of that number.
    #[error("failed to find the container's process {pid}: it has ended")]
    Ended {
        /// The recorded pid.
        pid: i32,
    },
    /// The number belongs to another process now.
    #[error(
        "invalid pid {pid}: the container's process started at tick {recorded}, this one at tick \
         {actual}"
    )]
    PidReused {
        /// The recorded pid.
        pid: i32,
        /// The recorded start time, in clock ticks since boot.
        recorded: u64,
        /// The start time of the process that has the number now.
        actual: u64,
    },
    /// No start time is recorded, and the process is not in the recorded cgroup either, so that
    /// nothing shows that it is the container's.
    #[error(
        "invalid pid {pid}: its cgroup is {}, the container's {}", actual.display(),
        recorded.display()
    )]
    ForeignCgroup {
        /// The recorded pid.
        pid: i32,
        /// The recorded cgroup.
        recorded: PathBuf,
        /// The cgroup of the process that has the number.
        actual: PathBuf,
    },
    /// A process file or the pidfd could not be used.
    #[error("failed to {operation} process {pid}")]
    Process {
        /// What was tried.
        operation: &'static str,
        /// The recorded pid.
        pid: i32,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// A stable name for conditions, events and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Ended { .. } => "ContainerEnded",
            Self::PidReused { .. } => "PidReused",
            Self::ForeignCgroup { .. } => "ForeignCgroup",
            Self::Process { .. } => "ProcessInaccessible",
        }
    }
}
