//! Waits for the sender, in bounded time.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
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

/// How many connections are kept on which nothing has come yet; then the oldest goes.
const SILENT_MOST: usize = 64;

/// What a wait for a sender came to.
#[derive(Debug)]
pub(super) enum Came {
    /// Somebody who has begun to send.
    Peer(OwnedFd, SocketAddr),
    /// Somebody who may not send, and is not listened to.
    Stranger(SocketAddr),
    /// Somebody who has gone again without a word.
    Left(SocketAddr),
    /// The time is over.
    Nobody,
    /// It was called off.
    CalledOff,
}

/// Somebody who listens; for one sender after the other, since a port is closed while one of them sends. Who connects and says nothing
/// keeps nobody else from sending.
#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    /// Those who have said nothing yet, the oldest first.
    silent: Vec<(TcpStream, SocketAddr)>,
}

impl Listener {
    pub(super) fn open(address: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::Listen { address, source };
        let socket = TcpListener::bind(address).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self {
            socket,
            address,
            silent: Vec::new(),
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for somebody to connect who may, and to say something.
    pub(super) fn wait(
        &mut self,
        bounds: Bounds<'_>,
        admits: impl Fn(IpAddr) -> bool,
    ) -> Result<Came, Error> {
        let failed = |source| Error::Listen {
            address: self.address,
            source,
        };
        loop {
            let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut fds = vec![
                readable(self.socket.as_fd()),
                readable(bounds.cancel.as_fd()),
            ];
            fds.extend(self.silent.iter().map(|(peer, _)| readable(peer.as_fd())));
            let left = bounds
                .deadline
                .map(|until| until.saturating_duration_since(Instant::now()));
            match ppoll(&mut fds, left.map(TimeSpec::from), None) {
                Ok(0) => return Ok(Came::Nobody),
                Ok(_) if bounds.cancel.why().is_some() => return Ok(Came::CalledOff),
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
            let spoke = |(_, fd): &(usize, &PollFd<'_>)| fd.any().unwrap_or(false);
            let spoke = fds.iter().skip(2).enumerate().find(spoke);
            if let Some(at) = spoke.map(|(at, _)| at) {
                let (stream, peer) = self.silent.remove(at);
                return Ok(match stream.peek(&mut [0]) {
                    Ok(1..) => Came::Peer(steady(stream).map_err(failed)?, peer),
                    Ok(0) | Err(_) => Came::Left(peer),
                });
            }
            match self.socket.accept() {
                Ok((_, peer)) if !admits(peer.ip()) => return Ok(Came::Stranger(peer)),
                Ok(came) => {
                    if self.silent.len() == SILENT_MOST {
                        self.silent.remove(0);
                    }
                    self.silent.push(came);
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
    use std::{io::Write as _, time::Duration};

    use super::*;
    use crate::criu::{Cancel, Why};

    #[test]
    fn waits_for_a_peer_the_time_or_a_word() {
        let cancel = Cancel::new().unwrap();
        let anybody = |_| true;
        let mut listener = Listener::open("127.0.0.1:0".parse().unwrap()).unwrap();
        let bounds = |milliseconds| Bounds {
            deadline: Some(Instant::now() + Duration::from_millis(milliseconds)),
            cancel: &cancel,
        };
        assert!(matches!(
            listener.wait(bounds(10), anybody),
            Ok(Came::Nobody)
        ));
        // Who says nothing is no sender yet, and in nobody's way, however many there are.
        let address = listener.address();
        let connect = || TcpStream::connect(address).unwrap();
        let silent: Vec<_> = (0..SILENT_MOST + 3).map(|_| connect()).collect();
        let mut stream = connect();
        assert!(matches!(
            listener.wait(bounds(100), anybody),
            Ok(Came::Nobody)
        ));
        stream.write_all(b"x").unwrap();
        match listener.wait(bounds(60_000), anybody) {
            Ok(Came::Peer(_, peer)) => assert_eq!(peer, stream.local_addr().unwrap()),
            other => panic!("{other:?}"),
        }
        let last = silent.last().unwrap().local_addr().unwrap();
        let gone: Vec<_> = silent.into_iter().skip(SILENT_MOST + 2).collect();
        drop(gone);
        let mut left = Vec::new();
        while let Ok(Came::Left(peer)) = listener.wait(bounds(1000), anybody) {
            left.push(peer);
        }
        assert!(left.contains(&last), "{left:?}");
        let stranger = connect();
        match listener.wait(bounds(60_000), |_| false) {
            Ok(Came::Stranger(peer)) => assert_eq!(peer, stranger.local_addr().unwrap()),
            other => panic!("{other:?}"),
        }
        cancel.trigger(Why::Withdrawn);
        assert!(matches!(
            listener.wait(bounds(60_000), anybody),
            Ok(Came::CalledOff)
        ));
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let error = Listener::open("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert_eq!(error.reason(), "ListenFailed");
    }
}
