//! Clients of a cluster in this process, without a program's start between them and the API server.

use std::thread;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use nix::sched::{CloneFlags, setns};
use rig::Cluster;

use crate::error::Error;

/// Threads for what blocks: the simulated agents look at their disks there.
const BLOCKING_THREADS: usize = 16;

/// Runs this in the network of the cluster's first node, on an event loop and a thread of its own.
pub(crate) fn within<T, W>(cluster: &Cluster, work: W) -> Result<T, Error>
where
    T: Send,
    W: AsyncFnOnce() -> Result<T, Error> + Send,
{
    let network = cluster.node(0).network();
    let run = move || {
        // This thread, and those that it starts, are in the node's network from here on.
        setns(network, CloneFlags::CLONE_NEWNET).map_err(|error| Error::Loop(error.into()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()
            .map_err(Error::Loop)?;
        runtime.block_on(work())
    };
    thread::scope(|scope| match scope.spawn(run).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// The administrator's kubeconfig.
pub(crate) fn admin(cluster: &Cluster) -> Result<String, Error> {
    let path = cluster.node(0).path("pki/admin.conf");
    std::fs::read_to_string(&path).map_err(|source| Error::File {
        what: "read",
        path,
        source,
    })
}

/// A client of the API server with this kubeconfig.
pub(crate) async fn client(kubeconfig: &str) -> Result<Client, Error> {
    connect(config(kubeconfig).await?)
}

/// A client of a kubelet at this address, as whom this kubeconfig says.
pub(crate) async fn kubelet(kubeconfig: &str, address: &str) -> Result<Client, Error> {
    let mut config = config(kubeconfig).await?;
    config.cluster_url = format!("https://{address}:10250")
        .parse()
        .map_err(|error| Error::Mission {
            what: "name the kubelet".to_owned(),
            why: format!("{error}"),
        })?;
    // Its certificate is its own: nobody but this machine is there.
    config.accept_invalid_certs = true;
    connect(config)
}

fn connect(config: Config) -> Result<Client, Error> {
    stillframe_client::connect(config).map_err(|error| Error::Mission {
        what: "make a client".to_owned(),
        why: error.to_string(),
    })
}

async fn config(kubeconfig: &str) -> Result<Config, Error> {
    let unusable = |error: kube::config::KubeconfigError| Error::Mission {
        what: "read a kubeconfig".to_owned(),
        why: error.to_string(),
    };
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).map_err(unusable)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(unusable)
}
