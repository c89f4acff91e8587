//! What the harness and the node's first process say to each other, and how descriptors travel along.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};

/// The longest request in bytes; a sequenced-packet socket carries it in one piece.
pub const LONGEST_REQUEST: usize = 128 * 1024;

/// How many descriptors one message may carry.
const MOST_DESCRIPTORS: usize = 8;

/// A request to the node's first process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Start a command. Its stdin, stdout and stderr come along, in this order, and then the writing end of a pipe
    /// into which its exit status goes as a native `i32` (128 + N if signal N ended it).
    Run {
        /// The harness's name for this command, for [`Request::Kill`].
        job: u64,
        /// The program, looked up in the node's `PATH`, and its arguments.
        command: Vec<String>,
        /// Variables beside the node's own.
        env: BTreeMap<String, String>,
        /// Working directory in the node.
        cwd: String,
    },
    /// Send a signal to a command's process group, or to its first process alone.
    Kill {
        /// The command's name.
        job: u64,
        /// The signal's number.
        signal: i32,
        /// Whether all of its process group is meant.
        group: bool,
    },
}

/// Sends one message with descriptors.
///
/// # Errors
/// The error of `sendmsg(2)`.
pub fn send(socket: BorrowedFd<'_>, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let control = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() {
        &[][..]
    } else {
        &control[..]
    };
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(message)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// Receives one message with its descriptors, which are closed on exec. No bytes mean that the other side is gone.
///
/// # Errors
/// The error of `recvmsg(2)`.
pub fn receive(socket: &impl AsFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; LONGEST_REQUEST];
    let mut control = cmsg_space!([RawFd; MOST_DESCRIPTORS]);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received = recvmsg::<()>(
        socket.as_fd().as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let length = received.bytes;
    let mut fds = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = message {
            fds.extend(raw.into_iter().map(own));
        }
    }
    bytes.truncate(length);
    Ok((bytes, fds))
}

#[expect(
    unsafe_code,
    reason = "nix hands received descriptors out as plain numbers"
)]
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel made this descriptor for us in `recvmsg` just now, and nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
