//! The program that runs inside a container under test: one mode per kind of state that a dump must carry.
//!
//! Every mode keeps its own state in memory and publishes it as `key=value` lines in a file, under a
//! `session` that is drawn once at start-up: a reader that sees the same session with higher
//! `ticks` after a restore knows that the original's memory went on, not a fresh start.

mod cli;
mod clock;
mod count;
mod dirty;
mod error;
mod locks;
mod memory;
mod pipes;
mod processes;
mod random;
mod state;
mod tcp;
mod threads;
mod tty;
mod unix;
mod unlinked;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("reason={} error={error}", error.reason());
            ExitCode::FAILURE
        }
    }
}
