//! The node agent's binary: finds out under which name it was started, and is that program.

use std::{ffi::OsString, process::ExitCode};

use node_agent::{
    checkpoint::{copier, guardian},
    cli,
};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    match args.split_first() {
        Some((program, rest)) if archiver::is_called(program) => archiver::run(rest),
        Some((program, [entry])) if guardian::is_called(program) => guardian::run(entry.into()),
        Some((program, [])) if copier::is_called(program) => copier::run(),
        _ => cli::run(args),
    }
}
