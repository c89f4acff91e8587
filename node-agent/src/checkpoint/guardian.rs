//! The process that puts things right when the one that dumps is killed.
//!
//! It is this binary under another name, in a session of its own, and waits on a pipe: a byte says
//! that all is well, the end of the pipe without one that its owner died. Then it lets CRIU roll
//! back, ends it if it does not, and repairs from the journal, whose file lock it shares.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, PipeWriter, Read, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
};

use nix::{sys::signal::SigSet, unistd::setsid};

use super::{journal::Record, repair::repair};
use crate::apart::Cgroup;

/// The name under which this binary is a guardian.
pub const NAME: &str = "stillframe-guardian";

/// All is well.
const WELL: &[u8] = b"w";

/// A guardian on its post.
#[derive(Debug)]
pub(super) struct Guardian {
    child: Child,
    pipe: Option<PipeWriter>,
}

impl Guardian {
    /// Starts a guardian over an entry, in a cgroup of its own where one is given: whoever ends all
    /// of the owner's cgroup does not end it.
    ///
    /// # Errors
    /// This binary could not be started again.
    pub(super) fn post(record: &Record, cgroup: Option<&Cgroup>) -> io::Result<Self> {
        let (reader, pipe) = io::pipe()?;
        let mut command = Command::new("/proc/self/exe");
        if let Some(cgroup) = cgroup {
            cgroup.open().map_err(io::Error::other)?.lead(&mut command);
        }
        let child = command
            .arg0(NAME)
            .arg(record.path())
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(reader)))
            .stdout(Stdio::from(record.file().try_clone_to_owned()?))
            .stderr(Stdio::null())
            .current_dir("/")
            .spawn()?;
        Ok(Self {
            child,
            pipe: Some(pipe),
        })
    }

    /// Tells the guardian that there is nothing to do, and sees it off.
    pub(super) fn dismiss(mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            // A guardian that is gone needs no word.
            let _ = pipe.write_all(WELL);
        }
        let _ = self.child.wait();
    }
}

/// Whether this process was started as a guardian.
#[must_use]
pub fn is_called(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new(NAME))
}

/// Stands guard over the journal entry at `path`, which is open as standard output.
#[must_use]
pub fn run(path: PathBuf) -> ExitCode {
    // Whatever ends the owner must not end this; it ends by itself, in bounded time.
    let _ = SigSet::all().thread_block();
    let _ = setsid();
    let mut word = Vec::new();
    if io::stdin().lock().read_to_end(&mut word).is_ok() && word == WELL {
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
