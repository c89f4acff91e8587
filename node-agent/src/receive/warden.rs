//! The process that ends CRIU's page server when the one that had it started is killed: what nobody is
//! there to publish must not look received to its sender.

use std::{
    ffi::OsStr,
    io,
    process::{ExitCode, Stdio},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::{
    apart::{Cgroup, Sentinel, sentinel},
    runtime::proc_stat,
};

/// The name under which this binary is a warden.
pub const NAME: &str = "stillframe-warden";

/// A warden on its post.
#[derive(Debug)]
pub(super) struct Warden(Sentinel);

impl Warden {
    /// Starts a warden over a process group, by the process that leads it.
    ///
    /// # Errors
    /// There is no such process, or see [`Sentinel::post`].
    pub(super) fn post(leader: i32, cgroup: Option<&Cgroup>) -> io::Result<Self> {
        let started = started(leader).ok_or(io::ErrorKind::NotFound)?;
        let charge = format!("{leader}:{started}");
        Sentinel::post(NAME, charge, Stdio::null(), cgroup).map(Self)
    }
}

impl Drop for Warden {
    /// Tells the warden that there is nothing to do, and sees it off.
    fn drop(&mut self) {
        self.0.dismiss();
    }
}

/// Whether this process was started as a warden.
#[must_use]
pub fn is_called(program: &OsStr) -> bool {
    sentinel::is_called(program, NAME)
}

/// Stands guard over the process group of `PID:START`, its leader and when that was started.
#[must_use]
pub fn run(leader: &OsStr) -> ExitCode {
    if !sentinel::owner_has_died() {
        return ExitCode::SUCCESS;
    }
    let leader = leader.to_str().and_then(|text| text.split_once(':'));
    let leader = leader.and_then(|(pid, start)| Some((pid.parse().ok()?, start)));
    let Some((pid, start)) = leader else {
        return ExitCode::FAILURE;
    };
    // Another process may have the number by now.
    if started(pid).is_some_and(|now| now.to_string() == start) {
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    ExitCode::SUCCESS
}

/// When a process started, also one that has ended and leads others that have not.
fn started(pid: i32) -> Option<u64> {
    let stat = proc_stat::read(pid).ok().flatten()?;
    Some(stat.start_time)
}
