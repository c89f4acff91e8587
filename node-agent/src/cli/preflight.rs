//! `preflight`: what this node can do, for people and as JSON, and what is known to go wrong on it.

use std::{
    ffi::OsString,
    io::{self, Write},
};

use clap::{CommandFactory, Parser, ValueEnum};

mod render;

use crate::{
    controller::{engine::CriuOf, failed::chain},
    host,
};

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
    let name = OsString::from("preflight");
    let arguments = match Arguments::try_parse_from(std::iter::once(&name).chain(args)) {
        Ok(arguments) => arguments,
        Err(error) => {
            // clap knows whether this is help on stdout or an error on stderr.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(1);
        }
    };
    let launch = match arguments.criu.launch() {
        Ok(launch) => launch,
        Err(error) => {
            // A closed stderr changes nothing about what is wrong.
            let _ = writeln!(io::stderr(), "preflight: {}", chain(&error));
            return 1;
        }
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
