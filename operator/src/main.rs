//! The operator's binary: arguments, log, exit code.
#![forbid(unsafe_code)]

use std::{io, path::Path, process::ExitCode};

use clap::Parser;
use stillframe_operator::{
    args::{Args, CommandLine, Verb},
    check, cleanup,
    controller::chain,
    release, run, telemetry,
};
use tracing::error;

fn main() -> ExitCode {
    let CommandLine { args, verb } = CommandLine::parse();
    if let Err(error) = telemetry::init(args.log_format, &args.log_filter) {
        eprintln!("stillframe-operator: {}", chain(&error));
        return ExitCode::FAILURE;
    }
    // One thread is enough for what waits most of the time, and keeps the memory small.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(done(args, verb)),
        Err(error) => Err(format!("failed to start the event loop: {error}")),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            telemetry::last_word(Path::new(telemetry::TERMINATION_LOG), &text);
            ExitCode::FAILURE
        }
    }
}

/// Does what was asked for, and says whether it came to a good end.
async fn done(args: Args, verb: Option<Verb>) -> Result<bool, String> {
    let Some(verb) = verb else {
        let ended = run::run(args).await;
        return ended
            .map(|()| true)
            .map_err(|error| told(&error, error.reason()));
    };
    let client = stillframe_client::infer().await;
    let client = client.map_err(|error| told(&error, error.reason()))?;
    let out = &mut io::stdout();
    match verb {
        Verb::Check(options) => check::run(client, &options, out)
            .await
            .map_err(|error| told(&error, "NotPrinted")),
        Verb::CleanUp => cleanup::run(client, &args.namespace, out)
            .await
            .map(|()| true)
            .map_err(|error| told(&error, error.reason())),
        Verb::ReleaseFinalizers(options) => release::run(client, options, out)
            .await
            .map(|_| true)
            .map_err(|error| told(&error, error.reason())),
    }
}

fn told(error: &dyn std::error::Error, reason: &str) -> String {
    let text = chain(error);
    error!(reason, error = text, "ending");
    text
}
