//! Error numbers and exit states in the words of Go, which runc's messages are made of.

use std::{io, os::unix::process::ExitStatusExt as _, process::ExitStatus};

use nix::errno::Errno;

/// A system error in Go's words: the C library's text with its first letter in lower case, unless
/// the word is all capitals.
pub(crate) fn go_error(error: &io::Error) -> String {
    let text = error.to_string();
    // Rust adds the number.
    let text = text
        .rfind(" (os error ")
        .map_or(text.as_str(), |at| &text[..at]);
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

/// An error number in Go's words.
pub(crate) fn go_errno(errno: Errno) -> String {
    go_error(&errno.into())
}

/// How a process ended, as Go's `os.ProcessState` prints it.
pub(crate) fn go_status(status: ExitStatus) -> String {
    let dumped = if status.core_dumped() {
        " (core dumped)"
    } else {
        ""
    };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {}{dumped}", go_signal(signal)),
        (None, None) => format!("{status}"),
    }
}

/// The names of Go's `syscall` package on Linux.
fn go_signal(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "hangup",
        libc::SIGINT => "interrupt",
        libc::SIGQUIT => "quit",
        libc::SIGILL => "illegal instruction",
        libc::SIGTRAP => "trace/breakpoint trap",
        libc::SIGABRT => "aborted",
        libc::SIGBUS => "bus error",
        libc::SIGFPE => "floating point exception",
        libc::SIGKILL => "killed",
        libc::SIGUSR1 => "user defined signal 1",
        libc::SIGSEGV => "segmentation fault",
        libc::SIGUSR2 => "user defined signal 2",
        libc::SIGPIPE => "broken pipe",
        libc::SIGALRM => "alarm clock",
        libc::SIGTERM => "terminated",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_errors_in_go_words() {
        for (errno, want) in [
            (libc::ENOENT, "no such file or directory"),
            (libc::ENOTDIR, "not a directory"),
            (libc::EROFS, "read-only file system"),
            (libc::ENOSPC, "no space left on device"),
            (libc::EACCES, "permission denied"),
            (libc::ELOOP, "too many levels of symbolic links"),
            (libc::EBADF, "bad file descriptor"),
            (libc::ENAMETOOLONG, "file name too long"),
            (libc::EDOM, "numerical argument out of domain"),
            (libc::ENOSTR, "device not a stream"),
            (libc::EPIPE, "broken pipe"),
            (libc::ENOEXEC, "exec format error"),
            // Its first word is an abbreviation.
            (libc::EDOTDOT, "RFS specific error"),
        ] {
            assert_eq!(go_error(&io::Error::from_raw_os_error(errno)), want);
            assert_eq!(go_errno(Errno::from_raw(errno)), want);
        }
    }

    #[test]
    fn exit_states_read_as_in_go() {
        assert_eq!(go_status(ExitStatus::from_raw(1 << 8)), "exit status 1");
        assert_eq!(
            go_status(ExitStatus::from_raw(libc::SIGKILL)),
            "signal: killed"
        );
        assert_eq!(
            go_status(ExitStatus::from_raw(libc::SIGSEGV | 0x80)),
            "signal: segmentation fault (core dumped)"
        );
    }
}
