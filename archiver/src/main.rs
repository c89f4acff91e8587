//! The archiver alone: small, and linked statically, so that it starts in next to no time.
#![forbid(unsafe_code)]

use std::{ffi::OsString, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    archiver::run(&arguments)
}
