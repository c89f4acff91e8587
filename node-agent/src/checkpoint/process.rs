//! A process by a name that no other process gets: its number and its start.

use std::time::{Duration, Instant};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use crate::runtime::start_time;

/// Between two looks at a process that is to end.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A process on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// Its start, in clock ticks since boot.
    pub start: u64,
}

impl ProcessId {
    /// The process that has this number now; `None` when there is none, or only its remains.
    #[must_use]
    pub fn now(pid: i32) -> Option<Self> {
        start_time(pid).map(|start| Self { pid, start })
    }

    /// This process.
    #[must_use]
    pub fn ours() -> Option<Self> {
        Self::now(Pid::this().as_raw())
    }

    /// Whether it still runs.
    #[must_use]
    pub fn lives(self) -> bool {
        Self::now(self.pid) == Some(self)
    }

    /// Waits until it has ended; whether it has.
    #[must_use]
    pub fn ended_within(self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while self.lives() {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        true
    }

    /// Kills it.
    ///
    /// # Errors
    /// The kernel refused; that it has ended already is no error.
    pub fn kill(self) -> Result<(), Errno> {
        if !self.lives() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), Signal::SIGKILL) {
            Err(Errno::ESRCH) => Ok(()),
            other => other,
        }
    }
}
