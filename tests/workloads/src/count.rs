//! A counter that lives in memory.

use std::thread;
use std::time::Duration;

use clap::Args;

use crate::cli::Publishing;
use crate::error::Error;
use crate::state::{StateFile, print_line};

#[derive(Debug, Args)]
pub(crate) struct CountArgs {
    #[command(flatten)]
    publishing: Publishing,
    /// Prints nothing.
    #[arg(long)]
    quiet: bool,
    /// The file that takes each number as text, written in place beside the state.
    #[arg(long, value_name = "FILE")]
    file: Option<std::path::PathBuf>,
}

/// Counts for ever: `ticks` in the state, `count=N` lines on the standard output.
pub(crate) fn run(args: &CountArgs) -> Result<(), Error> {
    let mut state = StateFile::create(&args.publishing.state, "count")?;
    let mut ticks: u64 = 0;
    loop {
        ticks += 1;
        state.publish(&[("ticks", &ticks)])?;
        if let Some(path) = &args.file {
            // Opened anew each time on purpose: the file is not part of the dump but for a moment.
            std::fs::write(path, format!("{ticks}\n"))
                .map_err(|source| Error::file("write", path.as_path(), source))?;
        }
        if !args.quiet {
            print_line(format_args!("count={ticks} session={}", state.session()));
        }
        thread::sleep(Duration::from_millis(args.publishing.tick_ms));
    }
}
