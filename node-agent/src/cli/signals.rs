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
}
