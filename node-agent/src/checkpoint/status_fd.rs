//! The descriptor that tells a migration tool that lazy pages can be fetched.

use std::os::fd::{BorrowedFd, RawFd};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::{close, write},
};

use super::Error;

/// A descriptor of this process that the caller named by its number.
#[derive(Debug)]
pub(super) struct StatusFd(RawFd);

impl StatusFd {
    /// Checks the number as runc does: it must be open, and opened for writing only.
    ///
    /// Mirrors `Checkpoint` in `criu_linux.go` of runc 1.5.2, which tests one bit, so that a
    /// descriptor opened for reading and writing is refused.
    pub(super) fn new(fd: RawFd) -> Result<Self, Error> {
        let status = Self(fd);
        let flags = fcntl(status.borrow(), FcntlArg::F_GETFL)
            .map_err(|said| Error::StatusFd { fd, said })?;
        if OFlag::from_bits_retain(flags).contains(OFlag::O_WRONLY) {
            Ok(status)
        } else {
            Err(Error::StatusFdNotWritable { fd })
        }
    }

    /// Writes the one byte and closes. A reader that has gone is runc's warning, not a failure.
    pub(super) fn ready(self) -> Option<String> {
        let written = write(self.borrow(), &[0]);
        let _ = close(self.0);
        written
            .err()
            .map(|errno| format!("can't write \\0 to status fd: {}", errno.desc()))
    }

    #[expect(unsafe_code, reason = "the descriptor is known by its number alone")]
    fn borrow(&self) -> BorrowedFd<'_> {
        // SAFETY: the caller named this number as a descriptor that it left open for us; nothing in
        // this process owns it, so nothing else closes it while it is borrowed. Where it is not
        // open at all, the only calls made are answered with EBADF.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}
