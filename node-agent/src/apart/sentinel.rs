//! A process that acts when the one that posted it is killed.
//!
//! It is this binary under another name, in a session of its own, and waits on a pipe: a byte says that all is well, the end of the
//! pipe without one that its owner died.

use std::{
    ffi::OsStr,
    io::{self, PipeWriter, Read as _, Write as _},
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::{sys::signal::SigSet, unistd::setsid};

use super::Cgroup;

/// All is well.
const WELL: &[u8] = b"w";

/// A sentinel on its post.
#[derive(Debug)]
pub(crate) struct Sentinel {
    child: Child,
    pipe: Option<PipeWriter>,
}

impl Sentinel {
    /// Starts this binary as `name`, with what it guards as its argument and `held` as its standard output; in a cgroup of its own
    /// where one is given, so that whoever ends all of the owner's cgroup does not end it.
    ///
    /// # Errors
    /// This binary could not be started again.
    pub(crate) fn post(
        name: &str,
        charge: impl AsRef<OsStr>,
        held: Stdio,
        cgroup: Option<&Cgroup>,
    ) -> io::Result<Self> {
        let (reader, pipe) = io::pipe()?;
        let mut command = Command::new("/proc/self/exe");
        if let Some(cgroup) = cgroup {
            cgroup.open().map_err(io::Error::other)?.lead(&mut command);
        }
        let child = command
            .arg0(name)
            .arg(charge)
            .stdin(Stdio::from(OwnedFd::from(reader)))
            .stdout(held)
            .stderr(Stdio::null())
            .current_dir("/")
            .spawn()?;
        Ok(Self {
            child,
            pipe: Some(pipe),
        })
    }

    /// Tells it that there is nothing to do, and sees it off. Dropped without that, it acts.
    pub(crate) fn dismiss(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            // One that is gone needs no word.
            let _ = pipe.write_all(WELL);
        }
        let _ = self.child.wait();
    }
}

/// Whether this process was started under a name of this binary's.
#[must_use]
pub(crate) fn is_called(program: &OsStr, name: &str) -> bool {
    Path::new(program).file_name() == Some(OsStr::new(name))
}

/// Waits, as a sentinel, for a word of the owner; true once that has died without one.
pub(crate) fn owner_has_died() -> bool {
    // Whatever ends the owner must not end this; it ends by itself, in bounded time.
    let _ = SigSet::all().thread_block();
    let _ = setsid();
    let mut word = Vec::new();
    let heard = io::stdin().lock().read_to_end(&mut word);
    !(heard.is_ok() && word == WELL)
}
