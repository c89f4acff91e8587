//! The process that writes the archive of changed files, in CRIU's cgroup.
//!
//! It is this binary under another name, and copies a pipe into a file. Pages of files count for the cgroup of whoever writes them,
//! so that a large archive would be held up by the agent's memory limit, with the container standing still; and whoever waits for a
//! slow disk cannot be interrupted, while whoever waits for a pipe can.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, PipeWriter, Write},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::keep::Until;
use crate::apart::{Cgroup, sentinel};

/// The name under which this binary is a copier.
pub const NAME: &str = "stillframe-copier";

/// What the pipe holds: the most that everybody may have.
const PIPE_BYTES: i32 = 1 << 20;
/// How often it is looked whether it is too late.
const LOOK_EVERY: u16 = 20;
/// How often it is looked whether the copier has ended.
const ENDED_EVERY: Duration = Duration::from_millis(1);

/// A copier that waits for what is to be written.
#[derive(Debug)]
pub(super) struct Copier {
    child: Option<Child>,
    pipe: Option<PipeWriter>,
}

impl Until<'_> {
    pub(super) fn passed(&self) -> bool {
        self.cancel.why().is_some() || self.deadline.is_some_and(|at| at <= Instant::now())
    }
}

impl Copier {
    /// Starts a copier into a file, in a cgroup of its own where one is given.
    ///
    /// # Errors
    /// This binary could not be started again.
    pub(super) fn start(file: File, cgroup: Option<&Cgroup>) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        if let Some(cgroup) = cgroup {
            cgroup.open().map_err(io::Error::other)?.lead(&mut command);
        }
        command.arg0(NAME);
        Self::spawn(command, file)
    }

    fn spawn(mut command: Command, file: File) -> io::Result<Self> {
        let (reader, pipe) = io::pipe()?;
        // Larger is quicker, and no more than that.
        let _ = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let child = command
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(reader)))
            .stdout(Stdio::from(file))
            .stderr(Stdio::null())
            .current_dir("/")
            .spawn()?;
        Ok(Self {
            child: Some(child),
            pipe: Some(pipe),
        })
    }

    /// Where what is to be written goes, until it is too late.
    pub(super) fn sink<'a>(&'a self, until: Until<'a>) -> Sink<'a> {
        Sink {
            pipe: self.pipe.as_ref(),
            until,
        }
    }

    /// Waits until everything is written; `None` is that it was too late.
    ///
    /// # Errors
    /// It could not be written.
    pub(super) fn finish(mut self, until: Until<'_>) -> Option<io::Result<()>> {
        self.pipe = None;
        let child = self.child.as_mut()?;
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Some(Ok(())),
                Ok(Some(status)) => {
                    let errno = status.code().unwrap_or(Errno::EIO as i32);
                    return Some(Err(io::Error::from_raw_os_error(errno)));
                }
                Ok(None) if until.passed() => return None,
                Ok(None) => thread::sleep(ENDED_EVERY),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        self.pipe = None;
        let Some(mut child) = self.child.take() else {
            return;
        };
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        let _ = child.kill();
        // One that waits for a disk ends when that has answered, and nobody waits for it meanwhile.
        thread::spawn(move || child.wait());
    }
}

/// The way to a copier.
#[derive(Debug)]
pub(super) struct Sink<'a> {
    pipe: Option<&'a PipeWriter>,
    until: Until<'a>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipe = self.pipe.ok_or(Errno::EPIPE)?;
        loop {
            match pipe.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            if self.until.passed() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut room = [PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)];
            match poll(&mut room, PollTimeout::from(LOOK_EVERY)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether this process was started as a copier.
#[must_use]
pub fn is_called(program: &OsStr) -> bool {
    sentinel::is_called(program, NAME)
}

/// Copies standard input to standard output. What went wrong is the exit status, by its number.
#[must_use]
pub fn run() -> ExitCode {
    let copied = io::copy(&mut io::stdin().lock(), &mut io::stdout().lock());
    match copied.and_then(|_| io::stdout().flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let errno = error
                .raw_os_error()
                .and_then(|errno| u8::try_from(errno).ok());
            ExitCode::from(errno.unwrap_or(Errno::EIO as u8))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criu::{Cancel, Why};

    fn copier(script: &str, file: File) -> Copier {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Copier::spawn(command, file).unwrap()
    }

    #[test]
    fn what_is_written_is_in_the_file_once_it_has_ended() {
        let (file, cancel) = (
            tempfile::NamedTempFile::new().unwrap(),
            Cancel::new().unwrap(),
        );
        let until = Until {
            deadline: None,
            cancel: &cancel,
        };
        let copier = copier("cat", file.as_file().try_clone().unwrap());
        let much = vec![7; 3 << 20];
        copier.sink(until).write_all(&much).unwrap();
        copier.finish(until).unwrap().unwrap();
        assert!(std::fs::read(file.path()).unwrap() == much);
    }

    #[test]
    fn one_that_is_held_up_is_not_waited_for_longer_than_asked() {
        let cancel = Cancel::new().unwrap();
        let until = Until {
            deadline: Some(Instant::now() + Duration::from_millis(100)),
            cancel: &cancel,
        };
        let begun = Instant::now();
        let slow = copier("exec sleep 100", tempfile::tempfile().unwrap());
        let error = slow.sink(until).write_all(&vec![7; 3 << 20]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let called_off = Cancel::new().unwrap();
        called_off.trigger(Why::Withdrawn);
        let until = Until {
            deadline: None,
            cancel: &called_off,
        };
        assert!(slow.finish(until).is_none());
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn why_one_has_ended_is_told_by_its_status() {
        let cancel = Cancel::new().unwrap();
        let until = Until {
            deadline: None,
            cancel: &cancel,
        };
        let full = copier("exit 28", tempfile::tempfile().unwrap());
        let _ = full.sink(until).write_all(&vec![7; 3 << 20]);
        let error = full.finish(until).unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::ENOSPC as i32));
    }
}
