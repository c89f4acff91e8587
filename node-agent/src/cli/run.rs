//! `run`: the node agent of a cluster.

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser as _};

use crate::controller::{self, args::Arguments};

/// The verb's help.
pub(crate) fn help() -> String {
    Arguments::command().render_long_help().to_string()
}

/// Carries out the verb and says the exit status: 0 once it was told to end, 1 when it could not
/// run, 2 when the arguments cannot be read.
pub(crate) fn run(args: &[OsString]) -> u8 {
    let name = OsString::from("run");
    match Arguments::try_parse_from(std::iter::once(&name).chain(args)) {
        Ok(arguments) => controller::serve(arguments),
        Err(error) => {
            // clap knows whether this is help on stdout or an error on stderr.
            let _ = error.print();
            u8::try_from(error.exit_code()).unwrap_or(1)
        }
    }
}
