//! Processes that come and go while a dump looks at them.

use std::process::{Child, Command, ExitCode};
use std::thread;
use std::time::Duration;

use clap::Args;

use crate::cli::Publishing;
use crate::error::Error;
use crate::state::StateFile;

#[derive(Debug, Args)]
pub(crate) struct ForkStormArgs {
    #[command(flatten)]
    publishing: Publishing,
    /// Children alive at the same time.
    #[arg(long, value_name = "N", default_value_t = 4)]
    parallel: usize,
    /// Milliseconds that each child lives.
    #[arg(long, value_name = "MS", default_value_t = 2)]
    live_ms: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ExitArgs {
    /// Milliseconds until the end.
    #[arg(value_name = "MS")]
    ms: u64,
    /// The exit status.
    #[arg(long, value_name = "N", default_value_t = 0)]
    status: u8,
}

/// Keeps `parallel` children alive, each for a moment; publishes `started`, `ended` and `failed`.
pub(crate) fn fork_storm(args: &ForkStormArgs) -> Result<(), Error> {
    let mut state = StateFile::create(&args.publishing.state, "fork-storm")?;
    let (mut started, mut ended, mut failed) = (0_u64, 0_u64, 0_u64);
    loop {
        let children: Vec<Child> = (0..args.parallel)
            .map(|_| start_child(args.live_ms))
            .collect::<Result<_, _>>()?;
        started += u64::try_from(children.len()).unwrap_or(0);
        for mut child in children {
            let status = child
                .wait()
                .map_err(|source| Error::system("wait for a child", source))?;
            ended += 1;
            failed += u64::from(!status.success());
        }
        state.publish(&[
            ("ticks", &ended),
            ("started", &started),
            ("ended", &ended),
            ("failed", &failed),
        ])?;
    }
}

fn start_child(live_ms: u64) -> Result<Child, Error> {
    Command::new("/proc/self/exe")
        .args(["exit-after-ms", &live_ms.to_string()])
        .spawn()
        .map_err(|source| Error::system("start a child", source))
}

/// Sleeps, then ends with the status asked for.
pub(crate) fn exit_after(args: &ExitArgs) -> ExitCode {
    thread::sleep(Duration::from_millis(args.ms));
    ExitCode::from(args.status)
}
