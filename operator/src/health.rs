//! Serves what the kubelet and monitors ask for.

use std::{future::Future, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    http::{StatusCode, header},
    routing::get,
};
use tokio::net::TcpListener;

use crate::{metrics::Metrics, watches::Synced};

/// The media type of the metrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why something is not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("failed to listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The server has ended.
    #[error("failed to serve on {address}")]
    Serve {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    /// The word for logs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "NotListening",
            Self::Serve { .. } => "NotServing",
        }
    }
}

/// `/livez`: the process answers, so its one loop runs. `/readyz`: it stands by, or its caches
/// are complete.
pub fn probes(metrics: Arc<Metrics>, synced: Synced) -> Router {
    let ready = move || async move {
        if !metrics.is_leader() {
            (StatusCode::OK, "standing by\n")
        } else if synced.is_complete() {
            (StatusCode::OK, "working\n")
        } else {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the caches are not complete yet\n",
            )
        }
    };
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
}

/// `/metrics`.
pub fn monitoring(metrics: Arc<Metrics>) -> Router {
    let answer = move || async move {
        match metrics.text() {
            Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, OPEN_METRICS)], text),
            Err(error) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                [(header::CONTENT_TYPE, "text/plain")],
                error.to_string(),
            ),
        }
    };
    Router::new().route("/metrics", get(answer))
}

/// Listens on `address` at once; what is returned serves `router` there until it is dropped.
///
/// # Errors
/// When the address cannot be listened on; the future, when it cannot be served any more.
pub async fn serve(
    address: SocketAddr,
    router: Router,
) -> Result<impl Future<Output = Result<(), Error>>, Error> {
    let bound = TcpListener::bind(address).await;
    let listener = bound.map_err(|source| Error::Bind { address, source })?;
    Ok(async move {
        let served = axum::serve(listener, router).await;
        served.map_err(|source| Error::Serve { address, source })
    })
}
