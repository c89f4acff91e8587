//! Ctrl-C and its like: they ask the checkpoint to stop, and it stops in order.

use std::{fs, io, thread};

use nix::sys::signal::{SigSet, Signal};

use crate::criu::{Cancel, Why};

/// The signals that end a program politely, and what they mean here.
const STOPPING: [(Signal, Why); 3] = [
    (Signal::SIGINT, Why::Interrupted),
    (Signal::SIGTERM, Why::Terminated),
    (Signal::SIGHUP, Why::Terminated),
];

/// A token that is triggered by the first of [`STOPPING`]; a further one changes nothing, since
/// giving up half-way would leave the container as it is. Signals that are ignored, as `nohup`
/// has it, stay so.
///
/// To be called before any thread is started: all of them inherit the blocked signals.
///
/// # Errors
/// No descriptor, or no thread.
pub(super) fn cancel_on_signals() -> io::Result<Cancel> {
    let cancel = Cancel::new()?;
    // Without /proc nothing is known to be ignored.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored_mask(&status);
    let watched: Vec<_> = STOPPING
        .into_iter()
        .filter(|(signal, _)| !contains(ignored, *signal))
        .collect();
    if watched.is_empty() {
        return Ok(cancel);
    }
    let set: SigSet = watched.iter().map(|(signal, _)| *signal).collect();
    set.thread_block()?;
    let token = cancel.clone();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            while let Ok(signal) = set.wait() {
                let meaning = watched.iter().find(|(watched, _)| *watched == signal);
                if let Some((_, why)) = meaning {
                    tracing::debug!(signal = signal.as_str(), "asked to stop");
                    token.trigger(*why);
                }
            }
        })?;
    Ok(cancel)
}

/// `SigIgn` of a process's status: bit N stands for signal N + 1.
fn ignored_mask(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

fn contains(mask: u64, signal: Signal) -> bool {
    mask & (1 << (signal as u32 - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_nohup_ignores() {
        let mask = ignored_mask("Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n");
        assert!(contains(mask, Signal::SIGHUP));
        assert!(!contains(mask, Signal::SIGINT));
        assert_eq!(ignored_mask(""), 0);
        assert_eq!(ignored_mask("SigIgn:\tnonsense"), 0);
    }

    /// Set in the process that is to be signalled.
    const CHILD: &str = "STILLFRAME_SIGNALLED";

    /// The signals go to a process of its own: the other tests' threads do not block them.
    #[test]
    fn the_first_signal_triggers_the_token_and_a_second_does_no_harm() {
        if std::env::var_os(CHILD).is_some() {
            return be_signalled();
        }
        let name =
            "cli::signals::tests::the_first_signal_triggers_the_token_and_a_second_does_no_harm";
        // Its test runner's own thread must not take them either: it inherits this thread's mask.
        let set: SigSet = STOPPING.iter().map(|(signal, _)| *signal).collect();
        set.thread_block().unwrap();
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--test-threads=1"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{output:?}"
        );
    }

    fn be_signalled() {
        use std::os::fd::AsFd;

        use nix::{
            poll::{PollFd, PollFlags, PollTimeout, poll},
            sys::signal::kill,
            unistd::Pid,
        };
        let cancel = cancel_on_signals().unwrap();
        assert_eq!(cancel.why(), None);
        kill(Pid::this(), Signal::SIGTERM).unwrap();
        let mut fds = [PollFd::new(cancel.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(10_000_u16)).unwrap(), 1);
        assert_eq!(cancel.why(), Some(Why::Terminated));
        for signal in [Signal::SIGINT, Signal::SIGHUP] {
            kill(Pid::this(), signal).unwrap();
        }
        assert_eq!(cancel.why(), Some(Why::Terminated));
    }
}
