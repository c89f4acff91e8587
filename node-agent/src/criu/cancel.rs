//! A token with which another thread ends a conversation with CRIU.

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use nix::{
    errno::Errno,
    sys::eventfd::{EfdFlags, EventFd},
};

/// Why a conversation is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Ctrl-C (SIGINT).
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// Whoever asked does not want it any more.
    Withdrawn,
}

/// A cloneable token; all clones are one. It becomes readable to `poll` once triggered, and stays so.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    signal: EventFd,
    why: AtomicU8,
}

impl Cancel {
    /// A token that is not triggered.
    ///
    /// # Errors
    /// When the kernel gives no descriptor.
    pub fn new() -> Result<Self, Errno> {
        let signal = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self(Arc::new(Inner {
            signal,
            why: AtomicU8::new(0),
        })))
    }

    /// Ends every conversation that holds this token. The first reason stays.
    pub fn trigger(&self, why: Why) {
        let code = match why {
            Why::Interrupted => 1,
            Why::Terminated => 2,
            Why::Withdrawn => 3,
        };
        let _ = self
            .0
            .why
            .compare_exchange(0, code, Ordering::SeqCst, Ordering::SeqCst);
        // It can only fail when the counter is full, and then it is readable already.
        let _ = self.0.signal.write(1);
    }

    /// The reason, once triggered.
    #[must_use]
    pub fn why(&self) -> Option<Why> {
        match self.0.why.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(Why::Interrupted),
            2 => Some(Why::Terminated),
            _ => Some(Why::Withdrawn),
        }
    }
}

impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.signal.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    #[test]
    fn a_triggered_token_is_readable_and_keeps_its_first_reason() {
        let cancel = Cancel::new().unwrap();
        let other = cancel.clone();
        assert_eq!(cancel.why(), None);
        other.trigger(Why::Interrupted);
        other.trigger(Why::Withdrawn);
        assert_eq!(cancel.why(), Some(Why::Interrupted));
        let mut fds = [PollFd::new(cancel.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::ZERO), Ok(1));
    }
}
