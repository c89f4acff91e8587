//! Answers whether the agent lives and is ready, and what it has counted.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, http::StatusCode, routing::get};
use prometheus_client::{encoding::text, registry::Registry};
use tokio::net::TcpListener;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {address}")]
pub struct Error {
    /// The address.
    pub address: SocketAddr,
    /// What the kernel said.
    pub source: std::io::Error,
}

impl Error {
    /// A stable name.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        "AddressUnusable"
    }
}

/// What the agent is ready by.
#[derive(Debug, Clone, Default)]
pub struct Ready {
    /// No other agent runs on this node.
    pub alone: Arc<AtomicBool>,
    /// CRIU has answered.
    pub criu: Arc<AtomicBool>,
    /// All objects of this node are known.
    pub synced: Arc<AtomicBool>,
}

impl Ready {
    fn answer(&self) -> (StatusCode, &'static str) {
        if !self.alone.load(Ordering::Relaxed) {
            let text = "another agent of this node has not ended yet\n";
            (StatusCode::SERVICE_UNAVAILABLE, text)
        } else if !self.criu.load(Ordering::Relaxed) {
            (StatusCode::SERVICE_UNAVAILABLE, "CRIU cannot be used\n")
        } else if !self.synced.load(Ordering::Relaxed) {
            let text = "the API server has not listed this node's objects yet\n";
            (StatusCode::SERVICE_UNAVAILABLE, text)
        } else {
            (StatusCode::OK, "ok\n")
        }
    }
}

/// The probes.
pub fn probes(ready: Ready) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(async move || ready.answer()))
}

/// The metrics.
pub fn metrics(registry: Arc<Registry>) -> Router {
    let encode = async move || {
        let mut text = String::new();
        match text::encode(&mut text, &registry) {
            Ok(()) => (StatusCode::OK, text),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    };
    Router::new().route("/metrics", get(encode))
}

/// Answers in the background, for ever.
///
/// # Errors
/// The address cannot be had.
pub async fn answer(address: SocketAddr, router: Router) -> Result<(), Error> {
    let failed = |source| Error { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    tokio::spawn(async move {
        let _ = axum::serve(listener, router).await;
    });
    Ok(())
}
