//! Error numbers and exit states in the words of Go, which runc's messages are made of.

use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

use nix::errno::Errno;

/// An error number in Go's words, which are the C library's in lower case.
pub(crate) fn go_errno(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        // "RPC …" and its like keep their capitals.
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

/// How a process ended, as Go's `os.ProcessState` prints it.
pub(super) fn go_status(status: ExitStatus) -> String {
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
    fn errno_texts_are_lower_case() {
        assert_eq!(go_errno(Errno::ENOENT), "no such file or directory");
        assert_eq!(go_errno(Errno::EPIPE), "broken pipe");
        assert_eq!(go_errno(Errno::ENOEXEC), "exec format error");
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
