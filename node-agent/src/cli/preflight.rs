//! `preflight`: what this node can do, for people and as JSON, and what is known to go wrong on it.

use std::{
    ffi::OsString,
    io::{self, Write},
};

use clap::{CommandFactory, Parser, ValueEnum};

mod render;

use crate::{criu::Launch, host};

/// Shows what this node can do: CRIU, cgroups, runtimes, rights, and pairs that are known to be bad.
///
/// Exits with 0 when containers can be checkpointed here, warnings or not, and with 1 when CRIU
/// cannot be used at all.
#[derive(Debug, Parser)]
#[command(name = "preflight", bin_name = "stillframe-node-agent preflight")]
struct Arguments {
    /// What to print on stdout.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    /// Lines for people.
    Text,
    /// One JSON object.
    Json,
}

/// The verb's help.
pub(crate) fn help() -> String {
    Arguments::command().render_long_help().to_string()
}

/// Carries out the verb and says the exit status: 0, 1 when CRIU cannot be used, 2 when the
/// arguments cannot be read.
pub(crate) fn run(args: &[OsString]) -> u8 {
    let name = OsString::from("preflight");
    let arguments = match Arguments::try_parse_from(std::iter::once(&name).chain(args)) {
        Ok(arguments) => arguments,
        Err(error) => {
            // clap knows whether this is help on stdout or an error on stderr.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(1);
        }
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let facts = host::gather(&Launch::default(), None, &path);
    let warnings = host::warnings(&facts);
    let text = match arguments.output {
        Output::Text => render::text(&facts, &warnings),
        Output::Json => render::json(&facts, &warnings),
    };
    let written = io::stdout().write_all(text.as_bytes());
    u8::from(written.is_err() || facts.criu.version.is_none())
}
