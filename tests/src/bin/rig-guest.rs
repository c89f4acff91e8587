//! Both sides of the port through which commands get into a virtual machine: without an argument the guest's, with a request (JSON) the node's.

use std::env;
use std::process::ExitCode;

/// The exit status when the guest cannot be reached.
const NO_GUEST: u8 = 125;

fn main() -> ExitCode {
    let done = match env::args().nth(1) {
        Some(request) => rig::vm::call(&request),
        None => rig::vm::serve().map(|()| 0),
    };
    match done {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(NO_GUEST)),
        Err(error) => {
            eprintln!("rig-guest: {error}");
            ExitCode::from(NO_GUEST)
        }
    }
}
