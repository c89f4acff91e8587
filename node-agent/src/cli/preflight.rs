//! `preflight`: what this node can do, for people and as JSON, and what is known to go wrong on it.

use std::{
    ffi::OsString,
    io::{self, Write},
};

use clap::{CommandFactory, Parser, ValueEnum};

mod render;

use super::verb;
use crate::{controller::engine::CriuOf, host};

/// How it is called.
const VERB: &str = "preflight";

/// Shows what this node can do: CRIU, cgroups, runtimes, rights, and pairs that are known to be bad.
///
/// Exits with 0 when containers can be checkpointed here, warnings or not, and with 1 when CRIU
/// cannot be used at all.
#[derive(Debug, Parser)]
#[command(name = VERB, bin_name = "stillframe-node-agent preflight")]
struct Arguments {
    /// What to print on stdout.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Whose CRIU is asked.
    #[arg(long, env = "STILLFRAME_CRIU", value_enum, default_value_t)]
    criu: CriuOf,
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
    let arguments: Arguments = match verb::arguments(VERB, args) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    let launch = match verb::launch(VERB, arguments.criu) {
        Ok(launch) => launch,
        Err(status) => return status,
    };
    let facts = host::gather(&launch, None, &host::programs());
    let warnings = host::warnings(&facts);
    let text = match arguments.output {
        Output::Text => render::text(&facts, &warnings),
        Output::Json => render::json(&facts, &warnings),
    };
    let written = io::stdout().write_all(text.as_bytes());
    u8::from(written.is_err() || facts.criu.version.is_none())
}
