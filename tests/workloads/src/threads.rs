//! Many threads, each with a counter that a restore must bring back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;

use crate::cli::Publishing;
use crate::error::Error;
use crate::state::StateFile;

#[derive(Debug, Args)]
pub(crate) struct ThreadsArgs {
    #[command(flatten)]
    publishing: Publishing,
    /// Threads beside the main one.
    #[arg(long, value_name = "N", default_value_t = 8)]
    threads: usize,
}

/// Publishes `threads`, and the smallest, largest and summed counter of all of them.
pub(crate) fn run(args: &ThreadsArgs) -> Result<(), Error> {
    let mut state = StateFile::create(&args.publishing.state, "threads")?;
    let tick = Duration::from_millis(args.publishing.tick_ms);
    let counters: Arc<Vec<AtomicU64>> =
        Arc::new((0..args.threads).map(|_| AtomicU64::new(0)).collect());
    for index in 0..args.threads {
        let counters = Arc::clone(&counters);
        thread::spawn(move || {
            while let Some(counter) = counters.get(index) {
                counter.fetch_add(1, Ordering::Relaxed);
                thread::sleep(tick);
            }
        });
    }
    let mut ticks: u64 = 0;
    loop {
        ticks += 1;
        let values: Vec<u64> = counters.iter().map(|c| c.load(Ordering::Relaxed)).collect();
        let least = values.iter().min().copied().unwrap_or(0);
        let most = values.iter().max().copied().unwrap_or(0);
        let sum: u64 = values.iter().sum();
        state.publish(&[
            ("ticks", &ticks),
            ("threads", &values.len()),
            ("least", &least),
            ("most", &most),
            ("sum", &sum),
        ])?;
        thread::sleep(tick);
    }
}
