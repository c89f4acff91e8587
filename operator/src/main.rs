//! The operator's binary: arguments, log, exit code.
#![forbid(unsafe_code)]

use std::{path::Path, process::ExitCode};

use clap::Parser;
use stillframe_operator::{args::Args, controller::chain, run, telemetry};
use tracing::error;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = telemetry::init(args.log_format, &args.log_filter) {
        eprintln!("stillframe-operator: {}", chain(&error));
        return ExitCode::FAILURE;
    }
    // One thread is enough for what waits most of the time, and keeps the memory small.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run::run(args)).map_err(|error| {
            let text = chain(&error);
            error!(reason = error.reason(), error = text, "ending");
            text
        }),
        Err(error) => Err(format!("failed to start the event loop: {error}")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            telemetry::last_word(Path::new(telemetry::TERMINATION_LOG), &text);
            ExitCode::FAILURE
        }
    }
}
