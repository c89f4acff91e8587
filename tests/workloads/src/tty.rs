//! The terminal, the session and the process group that a job has.

use std::fmt::Display;
use std::io::BufRead as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::termios::tcgetsid;
use nix::unistd::{getpgrp, getsid, isatty, tcgetpgrp};

use crate::cli::Publishing;
use crate::error::Error;
use crate::state::{StateFile, print_line};

/// Publishes `tty`, `tty_name`, `tty_sid`, `tty_pgrp`, `sid`, `pgrp` and `lines`; answers each line it reads with `echo=LINE`.
pub(crate) fn run(publishing: &Publishing) -> Result<(), Error> {
    let mut state = StateFile::create(&publishing.state, "tty")?;
    let lines = Arc::new(AtomicU64::new(0));
    let heard = Arc::clone(&lines);
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            heard.fetch_add(1, Ordering::Relaxed);
            print_line(format_args!("echo={line}"));
        }
    });
    let mut ticks: u64 = 0;
    loop {
        ticks += 1;
        let stdin = std::io::stdin();
        let name = std::fs::read_link("/proc/self/fd/0")
            .map_or_else(|_| "-".to_owned(), |path| path.display().to_string());
        state.publish(&[
            ("ticks", &ticks),
            ("tty", &isatty(&stdin).unwrap_or(false)),
            ("tty_name", &name),
            ("tty_sid", &or_dash(tcgetsid(&stdin))),
            ("tty_pgrp", &or_dash(tcgetpgrp(&stdin))),
            ("sid", &or_dash(getsid(None))),
            ("pgrp", &getpgrp()),
            ("lines", &lines.load(Ordering::Relaxed)),
        ])?;
        thread::sleep(Duration::from_millis(publishing.tick_ms));
    }
}

/// A number, or a dash where the kernel has no answer.
fn or_dash<T: Display, E>(answer: Result<T, E>) -> String {
    answer.map_or_else(|_| "-".to_owned(), |value| value.to_string())
}
