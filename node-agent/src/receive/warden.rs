//! The process that ends CRIU's page server when the one that had it started is killed: what nobody is
//! there to publish must not look received to its sender.
//!
//! It is this binary under another name, in a session of its own, and waits on a pipe: a byte says that
//! all is well, the end of the pipe without one that its owner died.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, PipeWriter, Read as _, Write as _},
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
};

use nix::{
    sys::signal::{SigSet, Signal, killpg},
    unistd::{Pid, setsid},
};

use crate::apart::Cgroup;

/// The name under which this binary is a warden.
pub const NAME: &str = "stillframe-warden";

/// All is well.
const WELL: &[u8] = b"w";

/// A warden on its post.
#[derive(Debug)]
pub(super) struct Warden {
    child: Child,
    pipe: Option<PipeWriter>,
}

impl Warden {
    /// Starts a warden over a process group, by the process that leads it; in a cgroup of its own where
    /// one is given, so that whoever ends all of the owner's cgroup does not end it.
    ///
    /// # Errors
    /// This binary could not be started again, or there is no such process.
    pub(super) fn post(leader: u32, cgroup: Option<&Cgroup>) -> io::Result<Self> {
        let started = start_time(leader).ok_or(io::ErrorKind::NotFound)?;
        let (reader, pipe) = io::pipe()?;
        let mut command = Command::new("/proc/self/exe");
        if let Some(cgroup) = cgroup {
            cgroup.open().map_err(io::Error::other)?.lead(&mut command);
        }
        let child = command
            .arg0(NAME)
            .arg(format!("{leader}:{started}"))
            .stdin(Stdio::from(OwnedFd::from(reader)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .spawn()?;
        Ok(Self {
            child,
            pipe: Some(pipe),
        })
    }
}

impl Drop for Warden {
    /// Tells the warden that there is nothing to do, and sees it off.
    fn drop(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            // A warden that is gone needs no word.
            let _ = pipe.write_all(WELL);
        }
        let _ = self.child.wait();
    }
}

/// Whether this process was started as a warden.
#[must_use]
pub fn is_called(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new(NAME))
}

/// Stands guard over the process group of `PID:START`, its leader and when that was started.
#[must_use]
pub fn run(leader: &OsString) -> ExitCode {
    // Whatever ends the owner must not end this; it ends by itself.
    let _ = SigSet::all().thread_block();
    let _ = setsid();
    let mut word = Vec::new();
    if io::stdin().lock().read_to_end(&mut word).is_ok() && word == WELL {
        return ExitCode::SUCCESS;
    }
    let leader = leader.to_str().and_then(|text| text.split_once(':'));
    let leader = leader.and_then(|(pid, start)| Some((pid.parse().ok()?, start)));
    let Some((pid, started)) = leader else {
        return ExitCode::FAILURE;
    };
    // Another process may have the number by now.
    if start_time(pid).is_some_and(|now| now.to_string() == started) {
        let _ = killpg(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
    }
    ExitCode::SUCCESS
}

/// Field 22 of a process's `stat`: when it started, in ticks since the boot.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_when_a_process_started() {
        assert!(start_time(std::process::id()).is_some_and(|ticks| ticks > 0));
        assert_eq!(start_time(u32::MAX), None);
    }
}
