//! The process that puts things right when the one that dumps is killed.
//!
//! A [`Sentinel`] over the journal's entry, whose file lock it shares: it lets CRIU roll back, ends it if it does not, and repairs.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::fd::AsFd as _,
    path::PathBuf,
    process::{ExitCode, Stdio},
};

use super::{journal::Record, repair::repair};
use crate::apart::{Cgroup, Sentinel, sentinel};

/// The name under which this binary is a guardian.
pub const NAME: &str = "stillframe-guardian";

/// A guardian on its post.
#[derive(Debug)]
pub(super) struct Guardian(Sentinel);

impl Guardian {
    /// Starts a guardian over an entry.
    ///
    /// # Errors
    /// See [`Sentinel::post`].
    pub(super) fn post(record: &Record, cgroup: Option<&Cgroup>) -> io::Result<Self> {
        let held = Stdio::from(record.file().try_clone_to_owned()?);
        Sentinel::post(NAME, record.path(), held, cgroup).map(Self)
    }

    /// Tells the guardian that there is nothing to do, and sees it off.
    pub(super) fn dismiss(mut self) {
        self.0.dismiss();
    }
}

/// Whether this process was started as a guardian.
#[must_use]
pub fn is_called(program: &OsStr) -> bool {
    sentinel::is_called(program, NAME)
}

/// Stands guard over the journal entry at `path`, which is open as standard output.
#[must_use]
pub fn run(path: PathBuf) -> ExitCode {
    if !sentinel::owner_has_died() {
        return ExitCode::SUCCESS;
    }
    let held = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    let Some(record) = held.ok().and_then(|file| Record::inherit(path, file).ok()) else {
        return ExitCode::FAILURE;
    };
    let left = repair(&record);
    if record.finish().is_ok() && left.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
