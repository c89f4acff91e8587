//! The operator's binary. It does not reconcile yet: it says which API it will serve, and fails so
//! that nobody takes it for a running controller.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!(
        "stillframe-operator {}: this build holds no controller for {}/{} yet",
        env!("CARGO_PKG_VERSION"),
        stillframe_crds::GROUP,
        stillframe_crds::VERSION
    );
    ExitCode::FAILURE
}
