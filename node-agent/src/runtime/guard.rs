//! Makes sure, for as long as it is held, that the recorded pid is still the recorded process.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use crate::{
    pidfd,
    runtime::{Container, cgroup, proc_stat},
};

mod error;

pub use error::Error;

/// A hold on a container's first process. The pidfd names that process and no other, even when its
/// number is used again.
#[derive(Debug)]
pub struct Guard {
    pid: i32,
    pidfd: OwnedFd,
    /// As read after the pidfd was there, and equal to the recorded one where there is one.
    start_time: u64,
    cgroup: CgroupMatch,
}

/// How the process's cgroup compares with the recorded one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CgroupMatch {
    /// It is the recorded one.
    Recorded,
    /// It lies below the recorded one.
    Below {
        /// Where the process is.
        actual: PathBuf,
    },
    /// Somebody moved the process elsewhere.
    Moved {
        /// Where the runtime put it.
        recorded: PathBuf,
        /// Where the process is.
        actual: PathBuf,
    },
    /// Nothing is recorded, or the recorded hierarchy is not mounted here.
    Unknown,
}

impl Guard {
    /// Takes hold of the container's first process: the pidfd first, then the proof that what it
    /// holds is the recorded process (start time, not ended, cgroup).
    ///
    /// # Errors
    /// The process has ended, or is another one, or cannot be looked at.
    pub fn open(container: &Container) -> Result<Self, Error> {
        let pid = container.init.pid;
        let pidfd = pidfd_open(pid)?;
        let stat = read_stat(pid)?;
        if let Some(recorded) = container.init.start_time
            && recorded != stat.start_time
        {
            return Err(Error::PidReused {
                pid,
                recorded,
                actual: stat.start_time,
            });
        }
        let cgroup = compare_cgroup(container)?;
        if let (None, CgroupMatch::Moved { recorded, actual }) =
            (container.init.start_time, &cgroup)
        {
            let (recorded, actual) = (recorded.clone(), actual.clone());
            return Err(Error::ForeignCgroup {
                pid,
                recorded,
                actual,
            });
        }
        let guard = Self {
            pid,
            pidfd,
            start_time: stat.start_time,
            cgroup,
        };
        // What was read above was this process's only if the pidfd's process still lives: a number
        // is not given away before.
        guard.check()?;
        Ok(guard)
    }

    /// The process's number; it means this process as long as [`Guard::has_ended`] says no.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// When the process started, in clock ticks since boot.
    #[must_use]
    pub fn start_time(&self) -> u64 {
        self.start_time
    }

    /// How its cgroup compared with the recorded one when the guard was opened.
    #[must_use]
    pub fn cgroup(&self) -> &CgroupMatch {
        &self.cgroup
    }

    /// One system call: the process still lives.
    ///
    /// # Errors
    /// [`Error::Ended`], or the pidfd could not be polled.
    pub fn check(&self) -> Result<(), Error> {
        if self.has_ended()? {
            Err(Error::Ended { pid: self.pid })
        } else {
            Ok(())
        }
    }

    /// Whether the process has ended; a zombie has.
    ///
    /// # Errors
    /// The pidfd could not be polled.
    pub fn has_ended(&self) -> Result<bool, Error> {
        self.wait_ended(Duration::ZERO)
    }

    /// Waits for the end of the process; false when it did not come in time.
    ///
    /// # Errors
    /// The pidfd could not be polled.
    pub fn wait_ended(&self, within: Duration) -> Result<bool, Error> {
        let begun = Instant::now();
        loop {
            let left = within.saturating_sub(begun.elapsed());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout) {
                Ok(0) if left.is_zero() => return Ok(false),
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => return Err(self.failed("wait for", errno.into())),
            }
        }
    }

    /// Sends the process a signal; no other process can get it.
    ///
    /// # Errors
    /// [`Error::Ended`] when there is nobody left, or the kernel refused.
    #[expect(unsafe_code, reason = "pidfd_send_signal has no wrapper")]
    pub fn signal(&self, signal: nix::sys::signal::Signal) -> Result<(), Error> {
        // SAFETY: the descriptor is open for the whole call, as this value owns it; the kernel
        // takes no siginfo (null) and no flags (0).
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                signal as libc::c_int,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(libc::ESRCH) {
            return Err(Error::Ended { pid: self.pid });
        }
        Err(self.failed("signal", error))
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> Error {
        Error::Process {
            operation,
            pid: self.pid,
            source,
        }
    }
}

impl AsFd for Guard {
    /// The pidfd, readable once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

fn read_stat(pid: i32) -> Result<proc_stat::Stat, Error> {
    let stat = proc_stat::read(pid).map_err(|source| Error::Process {
        operation: "read the stat of",
        pid,
        source,
    })?;
    stat.filter(|stat| !stat.has_ended())
        .ok_or(Error::Ended { pid })
}

fn pidfd_open(pid: i32) -> Result<OwnedFd, Error> {
    pidfd::open(pid).map_err(|errno| match errno {
        // EINVAL and ENOENT: the number is that of a thread, not of a process.
        Errno::ESRCH | Errno::EINVAL | Errno::ENOENT => Error::Ended { pid },
        _ => Error::Process {
            operation: "open",
            pid,
            source: errno.into(),
        },
    })
}

fn compare_cgroup(container: &Container) -> Result<CgroupMatch, Error> {
    let pid = container.init.pid;
    let Some(recorded) = container.freezer_dir(cgroup::version()) else {
        return Ok(CgroupMatch::Unknown);
    };
    let failed = |source| Error::Process {
        operation: "read the cgroups of",
        pid,
        source,
    };
    let mounts = cgroup::own_mounts().map_err(failed)?;
    let membership = match cgroup::membership(pid) {
        Ok(membership) => membership,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::Ended { pid }),
        Err(error) => return Err(failed(error)),
    };
    let Some(actual) = cgroup::actual_dir(recorded, &mounts, &membership) else {
        return Ok(CgroupMatch::Unknown);
    };
    Ok(if actual == recorded {
        CgroupMatch::Recorded
    } else if actual.starts_with(recorded) {
        CgroupMatch::Below { actual }
    } else {
        CgroupMatch::Moved {
            recorded: recorded.to_owned(),
            actual,
        }
    })
}
