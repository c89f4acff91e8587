//! Whether a container is created, running, paused or stopped, by runc's rule.

use std::{fmt, fs, io, thread, time::Duration};

use crate::runtime::{
    Container, Error,
    cgroup::{self, Freezer, FreezerState},
    proc_stat,
};

/// The gate that holds a created container back from its program.
const EXEC_FIFO: &str = "exec.fifo";
/// How often a freezer that is just changing is asked again, once per millisecond. runc asks for
/// ever; ten seconds are enough for any machine that works.
const MAX_FREEZER_LOOKS: u32 = 10_000;

/// A container's state in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Set up, and waiting for its start.
    Created,
    /// Started.
    Running,
    /// Frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

impl Container {
    /// Where the container is in its life now. Mirrors `refreshState` and `hasInit` of runc 1.5.2:
    /// a frozen container is paused before anything else is looked at, a zombie counts as ended.
    ///
    /// # Errors
    /// The freezer, or the state directory, could not be read.
    pub fn status(&self) -> Result<Status, Error> {
        let version = cgroup::version();
        if let Some(dir) = self.freezer_dir(version) {
            let freezer = Freezer::new(dir, version);
            if settled(&freezer).map_err(Error::Freezer)? == FreezerState::Frozen {
                return Ok(Status::Paused);
            }
        }
        if !self.init_lives() {
            return Ok(Status::Stopped);
        }
        let gate = self.state_dir.join(EXEC_FIFO);
        match fs::metadata(&gate) {
            Ok(_) => Ok(Status::Created),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Status::Running),
            Err(source) => Err(Error::Stat { file: gate, source }),
        }
    }

    /// Whether the first process exists, is the recorded one, and has not ended (`hasInit` of
    /// runc, to which a process that cannot be read is none).
    #[must_use]
    pub fn init_lives(&self) -> bool {
        let Ok(Some(stat)) = proc_stat::read(self.init.pid) else {
            return false;
        };
        !stat.has_ended()
            && self
                .init
                .start_time
                .is_none_or(|start| start == stat.start_time)
    }
}

/// The freezer's state once it stops changing; a freezer that is gone is not frozen.
fn settled(freezer: &Freezer) -> Result<FreezerState, cgroup::Error> {
    let mut state = freezer.state()?;
    for _ in 0..MAX_FREEZER_LOOKS {
        if state != Some(FreezerState::Freezing) {
            break;
        }
        thread::sleep(Duration::from_millis(1));
        state = freezer.state()?;
    }
    Ok(state.unwrap_or(FreezerState::Thawed))
}
