//! The way to the API server, for both binaries and the benchmark.
//!
//! The Kubernetes client's own connections leave Nagle's algorithm on: a request's body waits until
//! the server has acknowledged its head, which the server delays by 40 ms. Each of our writes would
//! take that long.
#![forbid(unsafe_code)]

use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{Builder, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, ConfigExt as _, retry::RetryPolicy},
};
use tower::{BoxError, ServiceBuilder, retry::RetryLayer};

mod patience;

pub use patience::patience;

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither the cluster around this process nor `$KUBECONFIG` names a server.
    #[error("failed to find the API server: run in a cluster, or set $KUBECONFIG")]
    Find(#[source] kube::config::InferConfigError),
    /// The server is named, and cannot be spoken to as the configuration says.
    #[error("failed to prepare the connection to the API server")]
    Prepare(#[source] kube::Error),
}

impl Error {
    /// A stable name.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Find(_) => "NoApiServer",
            Self::Prepare(_) => "ApiServerUnusable",
        }
    }
}

/// A client of the server that is found from within the cluster or through `$KUBECONFIG`.
///
/// # Errors
/// When none is found, or its configuration cannot be used.
pub async fn infer() -> Result<Client, Error> {
    connect(Config::infer().await.map_err(Error::Find)?)
}

/// A client of the server that a configuration names.
///
/// # Errors
/// When the configuration cannot be used: a certificate or a key that is none, a proxy.
pub fn connect(config: Config) -> Result<Client, Error> {
    if config.proxy_url.is_some() {
        // The stock client knows what proxies need, and says which it lacks.
        return Client::try_from(config).map_err(Error::Prepare);
    }
    let mut plain = HttpConnector::new();
    plain.enforce_http(false);
    plain.set_nodelay(true);
    let secured = config.rustls_https_connector_with_connector(plain);
    let mut connector = TimeoutConnector::new(secured.map_err(Error::Prepare)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let retry = config.default_retry.then(RetryPolicy::server_retry);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(retry.map(RetryLayer::new))
        .option_layer(config.auth_layer().map_err(Error::Prepare)?)
        .layer(config.extra_headers_layer().map_err(Error::Prepare)?)
        .map_err(BoxError::from)
        .service(Builder::new(TokioExecutor::new()).build::<_, Body>(connector));
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}
