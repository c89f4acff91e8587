//! Descriptors that name one process and no later one of its number; neither std nor nix has them.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;

/// A descriptor of a process (`pidfd_open`, Linux 5.3), closed on exec by its nature.
///
/// # Errors
/// The kernel's: ESRCH when there is no such process, EINVAL or ENOENT when the number is a thread's.
#[expect(unsafe_code, reason = "pidfd_open has no wrapper")]
pub(crate) fn open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: two integers; no memory of ours is touched.
    own(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// A copy of a process's descriptor (`pidfd_getfd`, Linux 5.6).
///
/// # Errors
/// The kernel's: EBADF when the process has none of that number.
#[expect(unsafe_code, reason = "pidfd_getfd has no wrapper")]
pub(crate) fn copy(process: &OwnedFd, number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: three integers; the first is a descriptor that is open for the whole call.
    own(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
}

#[expect(unsafe_code, reason = "the kernel returns a plain number")]
fn own(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let number = RawFd::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_a_process_and_copies_its_descriptors() {
        let ours = open(std::process::id().cast_signed()).unwrap();
        assert!(copy(&ours, ours.as_raw_fd()).is_ok());
        assert_eq!(copy(&ours, RawFd::MAX).unwrap_err(), Errno::EBADF);
        assert_eq!(open(i32::MAX).unwrap_err(), Errno::ESRCH);
    }
}
