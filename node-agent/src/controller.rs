//! `run`: checkpoints this node's containers as objects of the API ask, and reports what came of it.
//!
//! `watch` hears of this node's objects, `store` keeps what is needed of them, `look` sees what
//! their places on disk hold, `decide` says what is to be done, and a `job` does it: waits for its
//! turn (`work`), dumps (`attempt`, `dump`), reports (`report`, `status`, `events`). The API object is
//! the only contract with the operator.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use kube::Client;
use tracing::{error, warn};

mod act;
mod agent;
pub mod args;
mod attempt;
pub mod context;
pub mod decide;
mod dedup;
pub mod disk;
pub mod dump;
pub mod engine;
pub mod events;
pub mod failed;
pub mod failure;
pub mod health;
pub mod identity;
pub mod job;
pub mod kept;
mod lazy;
pub mod lease;
mod look;
pub mod metrics;
#[cfg(test)]
mod mocked;
pub mod node;
pub mod order;
pub mod page_server;
pub mod place;
mod removal;
pub mod report;
pub mod restorable;
mod retry;
mod salvage;
#[cfg(test)]
mod sample;
mod serve;
pub mod sole;
pub mod status;
pub mod stop;
pub mod store;
mod task;
pub mod watch;
pub mod work;

pub use dump::Dumper;
pub use serve::serve;

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No event loop.
    #[error("failed to start the event loop")]
    Runtime(#[source] io::Error),
    /// No way to the API server.
    #[error(transparent)]
    Client(#[from] stillframe_client::Error),
    /// CRIU cannot be started as the arguments say.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The image root cannot be used.
    #[error("failed to open the image root")]
    Images(#[source] place::Error),
    /// An address cannot be listened on.
    #[error(transparent)]
    Health(#[from] health::Error),
    /// Another agent runs on this node.
    #[error(transparent)]
    Sole(#[from] sole::Error),
    /// Signals cannot be heard.
    #[error("failed to listen for signals")]
    Signals(#[source] io::Error),
}

impl Error {
    /// A stable name.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Runtime(_) => "RuntimeNotStarted",
            Self::Client(error) => error.reason(),
            Self::Engine(error) => error.reason(),
            Self::Images(error) => error.reason().as_str(),
            Self::Health(error) => error.reason(),
            Self::Sole(error) => error.reason(),
            Self::Signals(_) => "SignalsUnusable",
        }
    }
}

/// An agent of one node.
#[derive(Clone)]
pub struct Config {
    /// The way to the API server.
    pub client: Client,
    /// The node's name.
    pub node: String,
    /// The address that the cluster knows it by.
    pub address: Option<IpAddr>,
    /// Where images go.
    pub images: place::ImageRoot,
    /// How many dumps run at once.
    pub concurrency: usize,
    /// How long running dumps may go on once the agent is told to end.
    pub grace: Duration,
    /// What is counted.
    pub metrics: metrics::Metrics,
    /// Set once all objects of this node are known.
    pub synced: Arc<AtomicBool>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Config")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// Runs the agent of one node until `told` is done and what ran has ended.
///
/// # Guarantees
/// A dump whose image is complete is never made again, whenever this is dropped or killed: its
/// successor reports it. At the end no dump of this agent runs, and what it locked is free.
pub async fn run<D: Dumper>(
    config: Config,
    dumper: D,
    told: impl Future<Output = ()> + Send + 'static,
) {
    let (stop, draining) = stop::Stop::new(told, config.grace);
    let dumper = Arc::new(dumper);
    sweep(&dumper).await;
    let context = context::Context {
        events: events::Events::new(config.client.clone(), &config.node),
        writer: status::Writer::new(config.client.clone()),
        queue: work::Queue::new(config.concurrency),
        dumper: Arc::clone(&dumper),
        images: config.images,
        metrics: config.metrics,
        draining,
        node: config.node,
        address: config.address,
    };
    let heard = watch::listen(config.client, &context.node);
    agent::Agent::new(Arc::new(context), config.synced)
        .run(heard, stop)
        .await;
    sweep(&dumper).await;
}

/// Puts right what killed agents left.
async fn sweep<D: Dumper>(dumper: &Arc<D>) {
    let dumper = Arc::clone(dumper);
    match tokio::task::spawn_blocking(move || dumper.sweep()).await {
        Ok(said) => said.iter().for_each(|said| warn!("{said}")),
        Err(error) => error!(%error, "the sweep broke"),
    }
}

#[cfg(test)]
mod tests;
