//! How a verb of our own begins: its arguments, and the CRIU that it works with. Where either is not to be had, that is said and the
//! exit status comes back.

use std::{
    ffi::OsString,
    io::{self, Write as _},
};

use clap::Parser;

use crate::{
    controller::{engine::CriuOf, failed::chain},
    criu::Launch,
};

/// Reads the arguments that follow the verb.
pub(super) fn arguments<A: Parser>(verb: &str, args: &[OsString]) -> Result<A, u8> {
    let name = OsString::from(verb);
    A::try_parse_from(std::iter::once(&name).chain(args)).map_err(|error| {
        // clap knows whether this is help on stdout or an error on stderr.
        let _ = error.print();
        u8::try_from(error.exit_code()).unwrap_or(1)
    })
}

/// How CRIU is started.
pub(super) fn launch(verb: &str, criu: CriuOf) -> Result<Launch, u8> {
    criu.launch().map_err(|error| {
        // A closed stderr changes nothing about what is wrong.
        let _ = writeln!(io::stderr(), "{verb}: {}", chain(&error));
        1
    })
}
