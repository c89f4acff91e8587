//! The node agent's binary: finds out under which name it was started, and is that program.

use std::{ffi::OsString, process::ExitCode};

use node_agent::{archive, cli};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    match args.split_first() {
        Some((program, rest)) if archive::is_called(program) => archive::run(rest),
        _ => cli::run(args),
    }
}
