//! Puts the parts of the binary together and ends with the first of them that does.

use std::{future::Future, pin::Pin, sync::Arc};

use futures::future::select_all;
use jiff::Timestamp;
use kube::Client;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::{
    args::{Args, Listen},
    controller,
    election::{self, Elector},
    health,
    metrics::Metrics,
    watches::Synced,
};

/// Why the operator ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no API server to talk to.
    #[error(transparent)]
    Client(#[from] stillframe_client::Error),
    /// Signals cannot be heard.
    #[error("failed to listen for signals")]
    Signals(#[source] std::io::Error),
    /// Health or metrics are not served.
    #[error("failed to serve")]
    Serve(#[from] health::Error),
    /// This instance does not lead any more.
    #[error("failed to lead")]
    Election(#[from] election::Error),
    /// A watch has ended, which none does.
    #[error("failed to watch: a watch has ended")]
    WatchEnded,
}

impl Error {
    /// The word for logs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Client(error) => error.reason(),
            Self::Signals(_) => "NoSignals",
            Self::Serve(error) => error.reason(),
            Self::Election(error) => error.reason(),
            Self::WatchEnded => "WatchEnded",
        }
    }
}

/// Runs the operator until it is told to end.
///
/// # Errors
/// When it ends for any other reason.
pub async fn run(args: Args) -> Result<(), Error> {
    let Args {
        namespace,
        health_address,
        metrics_address,
        leader_elect,
        log_format: _,
        log_filter: _,
    } = args;
    let (metrics, synced) = (Arc::new(Metrics::default()), Synced::default());
    let probes = health::probes(Arc::clone(&metrics), synced.clone());
    let monitoring = health::monitoring(Arc::clone(&metrics));
    let servers = [
        listen(health_address, probes).await?,
        listen(metrics_address, monitoring).await?,
    ];
    let mut interrupted = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let client = stillframe_client::infer().await?;
    let identity = identity(Timestamp::now());
    let mut elector =
        leader_elect.then(|| Elector::new(client.clone(), &namespace, identity.clone()));
    let ended = tokio::select! {
        (ended, ..) = select_all(servers) => ended.map_err(Error::from),
        ended = lead(elector.as_mut(), client, identity, metrics, synced) => ended,
        _ = interrupted.recv() => Ok(()),
        _ = terminated.recv() => Ok(()),
    };
    if let (Some(mut elector), Ok(())) = (elector, &ended) {
        info!("told to end");
        elector.release().await;
    }
    ended
}

/// Works once this instance leads, for as long as it does.
async fn lead(
    elector: Option<&mut Elector>,
    client: Client,
    identity: String,
    metrics: Arc<Metrics>,
    synced: Synced,
) -> Result<(), Error> {
    let work = |metrics: Arc<Metrics>| {
        metrics.leads(true);
        info!(%identity, "working");
        controller::run(client, identity, metrics, synced)
    };
    let Some(elector) = elector else {
        work(metrics).await;
        return Err(Error::WatchEnded);
    };
    elector.acquire().await;
    tokio::select! {
        () = work(metrics) => Err(Error::WatchEnded),
        lost = elector.hold() => Err(lost.into()),
    }
}

type Server = Pin<Box<dyn Future<Output = Result<(), health::Error>>>>;

async fn listen(at: Listen, router: axum::Router) -> Result<Server, health::Error> {
    match at {
        Listen::Off => Ok(Box::pin(std::future::pending())),
        Listen::At(address) => Ok(Box::pin(health::serve(address, router).await?)),
    }
}

/// A name that no other instance has: the host's, which is the pod's, and the time.
fn identity(now: Timestamp) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}_{:x}", host.trim(), now.as_nanosecond())
}
