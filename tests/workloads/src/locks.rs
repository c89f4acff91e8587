//! Locks on a file, of the three kinds that CRIU treats each in its own way.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Args;
use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};

use crate::cli::Publishing;
use crate::error::Error;
use crate::state::StateFile;

#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    #[command(flatten)]
    publishing: Publishing,
    /// The file that is locked; made when missing.
    #[arg(long, value_name = "FILE", default_value = "/out/locked")]
    file: PathBuf,
}

/// Holds an exclusive `flock`; `held` says whether another descriptor is still refused.
pub(crate) fn hold_flock(args: &LockArgs) -> Result<(), Error> {
    let state = StateFile::create(&args.publishing.state, "flock")?;
    let lock = Flock::lock(open(args)?, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, errno)| Error::file("lock", args.file.as_path(), errno))?;
    keep(args, state, || {
        let refused = Flock::lock(open(args)?, FlockArg::LockExclusiveNonblock).is_err();
        Ok(lock.metadata().is_ok() && refused)
    })
}

/// Holds a POSIX write lock on the first 100 bytes; `held` is what a second process would be told.
pub(crate) fn hold_posix_lock(args: &LockArgs) -> Result<(), Error> {
    let state = StateFile::create(&args.publishing.state, "posix-lock")?;
    let file = open(args)?;
    fcntl(&file, FcntlArg::F_SETLK(&first_bytes()))
        .map_err(|source| Error::file("lock", args.file.as_path(), source))?;
    keep(args, state, || {
        // A process is never in its own way: only /proc/locks says that the lock is still there.
        listed("POSIX", &file)
    })
}

/// Holds a write lease; `held` is the kernel's answer to `F_GETLEASE`.
pub(crate) fn hold_lease(args: &LockArgs) -> Result<(), Error> {
    let state = StateFile::create(&args.publishing.state, "lease")?;
    let file = open(args)?;
    lease(&file, libc::F_SETLEASE, libc::F_WRLCK)
        .map_err(|source| Error::file("lease", args.file.as_path(), source))?;
    keep(args, state, || {
        let kind = lease(&file, libc::F_GETLEASE, 0)
            .map_err(|source| Error::file("read the lease of", args.file.as_path(), source))?;
        Ok(kind == libc::F_WRLCK)
    })
}

fn keep(
    args: &LockArgs,
    mut state: StateFile,
    mut held: impl FnMut() -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut ticks: u64 = 0;
    loop {
        ticks += 1;
        state.publish(&[("ticks", &ticks), ("held", &held()?)])?;
        thread::sleep(Duration::from_millis(args.publishing.tick_ms));
    }
}

fn open(args: &LockArgs) -> Result<File, Error> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&args.file)
        .map_err(|source| Error::file("open", args.file.as_path(), source))
}

fn first_bytes() -> libc::flock {
    libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).unwrap_or_default(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: 0,
        l_len: 100,
        l_pid: 0,
    }
}

/// True when the kernel's list has a lock of this kind on this file.
fn listed(kind: &str, file: &File) -> Result<bool, Error> {
    use std::os::unix::fs::MetadataExt as _;
    let inode = file
        .metadata()
        .map_err(|source| Error::system("look at the locked file", source))?
        .ino()
        .to_string();
    let locks = std::fs::read_to_string("/proc/locks")
        .map_err(|source| Error::file("read", "/proc/locks", source))?;
    Ok(locks.lines().any(|line| {
        let mut words = line.split_ascii_whitespace();
        words.nth(1) == Some(kind)
            && words
                .any(|word| word.rsplit(':').next() == Some(inode.as_str()) && word.contains(':'))
    }))
}

/// `fcntl` with one of the two lease commands, which nix does not wrap.
fn lease(file: &File, command: libc::c_int, kind: libc::c_int) -> io::Result<libc::c_int> {
    #[expect(
        unsafe_code,
        reason = "nix has no wrapper for F_SETLEASE and F_GETLEASE"
    )]
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and both commands take
    // plain integers.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), command, kind) };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}
