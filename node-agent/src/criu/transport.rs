//! What a child goes through between fork and exec; the client's only unsafe code.

use std::{
    os::{
        fd::{FromRawFd as _, OwnedFd, RawFd},
        unix::process::CommandExt as _,
    },
    process::Command,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
};

/// The number of CRIU's end in CRIU, as runc has it.
const CHILD_FD: RawFd = 3;
/// Descriptors below this one are stdio's, the conversation's, or what std opens for a child.
const FIRST_FREE: RawFd = 10;

/// Has the child start in a session of its own (a terminal's Ctrl-C must not reach CRIU, which
/// would die on it in the middle of a dump), with default signals, ahead of others, and with no descriptor beyond
/// stdio but `socket`, as number 3, and `more`, under its own number.
#[expect(unsafe_code, reason = "only a hook between fork and exec can do this")]
pub(super) fn set_apart(command: &mut Command, socket: Option<RawFd>, more: Option<RawFd>) {
    let prepare = move || {
        if let Some(socket) = socket {
            place_socket(socket)?;
        }
        let first = if socket.is_some() {
            CHILD_FD + 1
        } else {
            CHILD_FD
        };
        // SAFETY: integers only. Marking instead of closing keeps std's own pipe, by which it
        // learns whether exec worked.
        let marked = unsafe {
            libc::syscall(
                libc::SYS_close_range,
                first,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            )
        };
        Errno::result(marked)?;
        if let Some(more) = more {
            // SAFETY: integers only; the parent keeps `more` open until the child has started.
            Errno::result(unsafe { libc::fcntl(more, libc::F_SETFD, 0) })?;
        }
        // SAFETY: no arguments; the child has just been forked and leads no group.
        Errno::result(unsafe { libc::setsid() })?;
        reset_signals();
        go_first();
        Ok(())
    };
    // SAFETY: the hook makes system calls alone: it takes no lock and allocates nothing, so it may
    // run in the forked child of a process with threads.
    unsafe { command.pre_exec(prepare) };
}

/// The parent makes the pair before anything else of the child, so that number 3 is taken then
/// (the kernel hands out the lowest) and std's pipe has another one. Should a thread close its
/// own 3 in between, the pipe goes: a failing exec is then reported as a broken conversation.
#[expect(
    unsafe_code,
    reason = "only libc moves a descriptor to a chosen number"
)]
fn place_socket(socket: RawFd) -> Result<(), Errno> {
    let placed = if socket == CHILD_FD {
        // SAFETY: integers only; clears the close-on-exec flag, the only one there is.
        unsafe { libc::fcntl(CHILD_FD, libc::F_SETFD, 0) }
    } else {
        // SAFETY: integers only; the parent keeps `socket` open until the child has started.
        unsafe { libc::dup2(socket, CHILD_FD) }
    };
    Errno::result(placed).map(drop)
}

/// Puts the child ahead of ordinary processes: while it works a container stands still, and on a
/// busy node it would wait its turn at every step. Where that is not allowed it takes its turn.
#[expect(unsafe_code, reason = "nix has no setpriority")]
fn go_first() {
    const NICE: libc::c_int = -10;
    // SAFETY: integers only; 0 is the calling process.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

/// Ignored signals and the signal mask survive exec; CRIU relies on SIGCHLD and SIGALRM.
#[expect(
    unsafe_code,
    reason = "nix has no call for every signal, real-time ones included"
)]
fn reset_signals() {
    const LAST_SIGNAL: libc::c_int = 64;
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: a default disposition refers to no code. The two signals that cannot be set, and
        // the C library's own, fail, which is right.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: a zeroed set is a valid one and is filled by sigemptyset before it is used; nothing
    // is read back.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// A copy of a descriptor, out of the way of those that a child is given.
#[expect(unsafe_code, reason = "nix returns a plain number")]
pub(super) fn raise(descriptor: &OwnedFd) -> Result<OwnedFd, Errno> {
    let number = fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(FIRST_FREE))?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
