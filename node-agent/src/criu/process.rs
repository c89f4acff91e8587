//! One CRIU process and the socket to it.

use std::{
    cell::Cell,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    process::{Child, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        signal::{Signal, killpg},
        socket::{
            AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, getsockopt, recv, send,
            setsockopt, shutdown, socketpair, sockopt,
        },
        time::TimeSpec,
    },
    unistd::Pid,
};

use crate::pidfd;

use super::{error::Error, launch::Launch, transport::set_apart};

/// How long a process that was told to end may take before it is killed, where nobody says.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the kernel may take to end a killed process before waiting goes on in the background.
const AFTER_KILL: Duration = Duration::from_secs(5);
/// Messages are small; a longer one is no message of CRIU's.
const MESSAGE_LIMIT: usize = 16 << 20;

/// A running CRIU. Dropping it closes the socket, which makes CRIU roll back at its next
/// notification, gives it a moment, then kills it; it is always reaped.
#[derive(Debug)]
pub(super) struct Process {
    child: Option<Child>,
    pidfd: OwnedFd,
    socket: Option<OwnedFd>,
    status: Option<ExitStatus>,
    served: Cell<bool>,
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// A message, or the end of the conversation, can be received.
    Message,
    /// The other descriptor is readable; a message may be there as well.
    Other,
    /// The time is over.
    Time,
}

impl Process {
    /// Starts `criu swrk 3`.
    pub(super) fn swrk(launch: &Launch) -> Result<Self, Error> {
        Self::swrk_with(launch, None)
    }

    /// The same with one descriptor more, under the number that it has here, which is above those of
    /// stdio and the conversation.
    pub(super) fn swrk_with(launch: &Launch, more: Option<BorrowedFd<'_>>) -> Result<Self, Error> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(|source| Error::System {
            call: "socketpair",
            source,
        })?;
        Self::start(launch, &["swrk", "3"], Some((ours, theirs)), more)
    }

    /// Starts CRIU's program as a plain command, without a conversation.
    pub(super) fn command(launch: &Launch, arguments: &[&str]) -> Result<Self, Error> {
        Self::start(launch, arguments, None, None)
    }

    fn start(
        launch: &Launch,
        arguments: &[&str],
        ends: Option<(OwnedFd, OwnedFd)>,
        more: Option<BorrowedFd<'_>>,
    ) -> Result<Self, Error> {
        let (socket, theirs) = ends.unzip();
        let mut command = launch.command()?;
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Last: the socket takes the number of whatever else was opened for the child.
        let raw = |fd: &OwnedFd| fd.as_raw_fd();
        set_apart(
            &mut command,
            theirs.as_ref().map(raw),
            more.map(|more| more.as_raw_fd()),
        );
        let child = command.spawn().map_err(|source| Error::Start {
            program: command.get_program().into(),
            source: Errno::from_raw(source.raw_os_error().unwrap_or(libc::EINVAL)),
        })?;
        // From here on the child holds the only copy of its end: its death is the end of the file.
        drop(theirs);
        let pidfd = match pidfd::open(child.id().cast_signed()) {
            Ok(pidfd) => pidfd,
            Err(source) => {
                reap_later(child);
                return Err(Error::System {
                    call: "pidfd_open",
                    source,
                });
            }
        };
        Ok(Self {
            child: Some(child),
            pidfd,
            socket,
            status: None,
            served: Cell::new(false),
        })
    }

    /// CRIU's pid.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether CRIU has ended the conversation.
    pub(super) fn is_closed(&self) -> bool {
        let Some(socket) = &self.socket else {
            return true;
        };
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::empty())];
        let now = Some(TimeSpec::from(Duration::ZERO));
        ppoll(&mut fds, now, None).is_ok_and(|ready| ready > 0)
    }

    /// Whether it has ever answered.
    pub(super) fn has_served(&self) -> bool {
        self.served.get()
    }

    /// Sends one message. Never waits: one that does not fit is an error.
    pub(super) fn send(&self, message: &[u8]) -> Result<(), Errno> {
        let socket = self.socket.as_ref().ok_or(Errno::EPIPE)?;
        make_room(socket, message.len());
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        again(|| send(socket.as_raw_fd(), message, flags)).map(drop)
    }

    /// Waits for a message, for `other` to become readable, or until a point in time. A readable
    /// `other` wins.
    pub(super) fn wait_for_message(
        &self,
        other: Option<BorrowedFd<'_>>,
        until: Option<Instant>,
    ) -> Result<Woken, Errno> {
        let Some(socket) = &self.socket else {
            return Ok(Woken::Message);
        };
        let mut fds = vec![PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        fds.extend(other.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        if !poll_until(&mut fds, until)? {
            return Ok(Woken::Time);
        }
        let other = fds.get(1).is_some_and(|fd| fd.any() == Some(true));
        Ok(if other { Woken::Other } else { Woken::Message })
    }

    /// Receives one message; `None` at the end of the conversation.
    pub(super) fn receive(&self) -> Result<Option<Vec<u8>>, Errno> {
        let Some(socket) = &self.socket else {
            return Ok(None);
        };
        let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT;
        let length = again(|| recv(socket.as_raw_fd(), &mut [], look))?;
        if length == 0 {
            return Ok(None);
        }
        if length > MESSAGE_LIMIT {
            return Err(Errno::EMSGSIZE);
        }
        let mut message = vec![0; length];
        let got = again(|| recv(socket.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT))?;
        message.truncate(got);
        self.served.set(true);
        Ok(Some(message))
    }

    /// Says that nothing more will be sent.
    pub(super) fn finish_sending(&self) {
        if let Some(socket) = &self.socket {
            // It fails when CRIU has closed its end already, which is as good.
            let _ = shutdown(socket.as_raw_fd(), Shutdown::Write);
        }
    }

    /// Waits for the process to end and reaps it; `None` when it has not by then.
    pub(super) fn wait(&mut self, until: Instant) -> Result<Option<ExitStatus>, Errno> {
        if self.status.is_some() {
            return Ok(self.status);
        }
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        poll_until(&mut fds, Some(until))?;
        let Some(child) = self.child.as_mut() else {
            return Ok(None);
        };
        self.status = child.try_wait().map_err(|error| errno(&error))?;
        Ok(self.status)
    }

    /// Closes the socket, waits until then, kills what still runs, and reaps it. The status is
    /// unknown only when the kernel cannot end the process; it is then reaped in the background.
    pub(super) fn end(&mut self, until: Instant) -> Option<ExitStatus> {
        drop(self.socket.take());
        if let Ok(Some(status)) = self.wait(until) {
            return Some(status);
        }
        if let Some(child) = self.child.as_mut() {
            // Not reaped yet, so the pid is still its own.
            let _ = child.kill();
        }
        if let Ok(Some(status)) = self.wait(Instant::now() + AFTER_KILL) {
            return Some(status);
        }
        if let Some(child) = self.child.take() {
            reap_later(child);
        }
        None
    }

    /// Kills CRIU and whatever it has started, which share a process group that CRIU leads, and reaps
    /// it.
    pub(super) fn end_all(&mut self) {
        if let Some(child) = self.child.as_ref().filter(|_| self.status.is_none()) {
            // Not reaped yet, so the number is still its own.
            let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
        }
        self.end(Instant::now() + AFTER_KILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() && self.child.is_some() {
            self.end(Instant::now() + PATIENCE);
        }
    }
}

/// Kills a child and waits for it on a thread of its own, so that nobody hangs on it.
fn reap_later(mut child: Child) {
    let _ = child.kill();
    // Without a thread the child stays a zombie until this process ends; there is nothing better.
    let _ = std::thread::Builder::new()
        .name("reap-criu".to_owned())
        .spawn(move || child.wait());
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EINVAL))
}

fn again<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// True when something is ready, false when the time is over.
fn poll_until(fds: &mut [PollFd<'_>], until: Option<Instant>) -> Result<bool, Errno> {
    let ready = again(|| {
        let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
        ppoll(fds, rest.map(TimeSpec::from), None)
    })?;
    Ok(ready > 0)
}

/// A long list of mounts may exceed the default buffer; the kernel wants about twice the message.
fn make_room(socket: &OwnedFd, length: usize) {
    let wanted = length.saturating_mul(2).saturating_add(4096);
    if getsockopt(socket, sockopt::SndBuf).is_ok_and(|have| have >= wanted) {
        return;
    }
    // The first needs CAP_NET_ADMIN, the second is bounded by net.core.wmem_max; if neither is
    // enough the send says so.
    if setsockopt(socket, sockopt::SndBufForce, &wanted).is_err() {
        let _ = setsockopt(socket, sockopt::SndBuf, &wanted);
    }
}
