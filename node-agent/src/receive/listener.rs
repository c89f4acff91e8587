//! Waits for the sender, in bounded time.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd as _, OwnedFd},
    time::Instant,
};

use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        socket::{setsockopt, sockopt},
        time::TimeSpec,
    },
};

use super::Error;
use crate::criu::Bounds;

/// After how long a silent connection is asked whether its other end is still there, how often it is
/// asked, and how many times in vain: a sender that is cut off is given up after some twenty seconds.
const ASK_AFTER_SECONDS: u32 = 5;
const ASK_EVERY_SECONDS: u32 = 5;
const ASK_TIMES: u32 = 3;

/// What a wait for a sender came to.
#[derive(Debug)]
pub(super) enum Came {
    /// Somebody.
    Peer(OwnedFd, SocketAddr),
    /// The time is over.
    Nobody,
    /// It was called off.
    CalledOff,
}

/// Somebody who listens; for one sender after the other, since a port is closed while one of them sends.
#[derive(Debug)]
pub(super) struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    pub(super) fn open(address: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for somebody to connect.
    pub(super) fn wait(&self, bounds: Bounds<'_>) -> Result<Came, Error> {
        let failed = |source| Error::Listen {
            address: self.address,
            source,
        };
        loop {
            let mut fds = [
                PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
                PollFd::new(bounds.cancel.as_fd(), PollFlags::POLLIN),
            ];
            let left = bounds
                .deadline
                .map(|until| until.saturating_duration_since(Instant::now()));
            match ppoll(&mut fds, left.map(TimeSpec::from), None) {
                Ok(0) => return Ok(Came::Nobody),
                Ok(_) if bounds.cancel.why().is_some() => return Ok(Came::CalledOff),
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
            match self.listener.accept() {
                Ok((stream, peer)) => {
                    return Ok(Came::Peer(steady(stream).map_err(failed)?, peer));
                }
                // Gone again before it was taken.
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

/// A connection as CRIU expects it, which ends by itself once its other end is gone.
fn steady(stream: TcpStream) -> io::Result<OwnedFd> {
    stream.set_nonblocking(false)?;
    let connection = OwnedFd::from(stream);
    setsockopt(&connection, sockopt::KeepAlive, &true)?;
    setsockopt(&connection, sockopt::TcpKeepIdle, &ASK_AFTER_SECONDS)?;
    setsockopt(&connection, sockopt::TcpKeepInterval, &ASK_EVERY_SECONDS)?;
    setsockopt(&connection, sockopt::TcpKeepCount, &ASK_TIMES)?;
    Ok(connection)
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::criu::{Cancel, Why};

    #[test]
    fn waits_for_a_peer_the_time_or_a_word() {
        let cancel = Cancel::new().unwrap();
        let listener = Listener::open("127.0.0.1:0".parse().unwrap()).unwrap();
        let bounds = |milliseconds| Bounds {
            deadline: Some(Instant::now() + Duration::from_millis(milliseconds)),
            cancel: &cancel,
        };
        assert!(matches!(listener.wait(bounds(10)), Ok(Came::Nobody)));
        let stream = TcpStream::connect(listener.address()).unwrap();
        match listener.wait(bounds(60_000)) {
            Ok(Came::Peer(_, peer)) => assert_eq!(peer, stream.local_addr().unwrap()),
            other => panic!("{other:?}"),
        }
        cancel.trigger(Why::Withdrawn);
        assert!(matches!(listener.wait(bounds(60_000)), Ok(Came::CalledOff)));
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let error = Listener::open("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert_eq!(error.reason(), "ListenFailed");
    }
}
