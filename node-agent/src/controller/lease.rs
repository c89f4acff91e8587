//! The Lease that tells that this node's agent is alive.

use std::{
    future::Future,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    pin::pin,
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use stillframe_crds::names;
use tracing::{info, warn};

use crate::checkpoint::repair::chain;

/// How long a lease that is not renewed says that the agent is alive.
const DURATION: Duration = Duration::from_secs(40);
/// Three may be missed, and the fourth comes in time.
const EVERY: Duration = Duration::from_secs(10);
/// An answer that takes longer is given up, so that a server that hangs costs one renewal.
const WITHIN: Duration = Duration::from_secs(8);

/// The lease cannot be renewed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the API server did not answer in time")]
    Late,
    #[error(transparent)]
    Kube(#[from] kube::Error),
}

/// Keeps the lease of a node's agent until `stop` is ready, then gives it back: nobody has to wait
/// for it to run out. The first renewal comes early by chance, so that the agents of a cluster
/// that were started together do not renew together. An API server that is away is asked again at
/// the next turn; it is logged once that it is, and once that it is back.
///
/// # Cancel safety
/// Dropped, the lease runs out by itself.
pub async fn keep(client: Client, namespace: &str, node: &str, stop: impl Future<Output = ()>) {
    let chance = RandomState::new().build_hasher().finish();
    keep_every(client, namespace, node, stop, first_wait(chance), EVERY).await;
}

async fn keep_every(
    client: Client,
    namespace: &str,
    node: &str,
    stop: impl Future<Output = ()>,
    first: Duration,
    every: Duration,
) {
    let holder = Holder {
        api: Api::namespaced(client, namespace),
        name: names::lease_of(node),
        node,
    };
    let mut stop = pin!(stop);
    let mut wait = first;
    let mut away = false;
    loop {
        // A request that has been sent is not taken back: whether it arrived could not be told.
        match holder.renew(Timestamp::now()).await {
            Ok(()) if away => {
                info!(lease = %holder.name, "renewed the lease again");
                away = false;
            }
            Err(error) if !away => {
                let error = chain(&error);
                warn!(lease = %holder.name, error, "failed to renew the lease, will retry");
                away = true;
            }
            Ok(()) | Err(_) => {}
        }
        tokio::select! {
            () = &mut stop => break,
            () = tokio::time::sleep(wait) => {}
        }
        wait = every;
    }
    if let Err(error) = holder.release().await {
        let error = chain(&error);
        warn!(lease = %holder.name, error, "failed to give the lease back");
    }
}

/// Somewhere in the first turn.
fn first_wait(chance: u64) -> Duration {
    let turn = EVERY.as_millis();
    let part = u128::from(chance) % turn.max(1);
    Duration::from_millis(u64::try_from(part).unwrap_or(0))
}

struct Holder<'a> {
    api: Api<Lease>,
    name: String,
    node: &'a str,
}

impl Holder<'_> {
    /// One request, but where there is no lease yet.
    async fn renew(&self, now: Timestamp) -> Result<(), Error> {
        let spec = json!({
            "holderIdentity": self.node,
            "leaseDurationSeconds": DURATION.as_secs(),
            "renewTime": MicroTime(now),
        });
        match self.patch(spec.clone()).await {
            Err(Error::Kube(kube::Error::Api(status))) if status.is_not_found() => {
                self.create(spec).await
            }
            answer => answer,
        }
    }

    async fn release(&self) -> Result<(), Error> {
        self.patch(json!({ "holderIdentity": null })).await
    }

    async fn patch(&self, spec: Value) -> Result<(), Error> {
        let params = PatchParams {
            field_manager: Some(names::NODE_AGENT.to_owned()),
            ..PatchParams::default()
        };
        let body = Patch::Merge(json!({ "spec": spec }));
        in_time(self.api.patch_metadata(&self.name, &params, &body)).await
    }

    async fn create(&self, spec: Value) -> Result<(), Error> {
        let params = PostParams {
            field_manager: Some(names::NODE_AGENT.to_owned()),
            ..PostParams::default()
        };
        let lease = json!({ "metadata": { "name": self.name }, "spec": spec });
        let lease = serde_json::from_value(lease).map_err(kube::Error::SerdeError)?;
        in_time(self.api.create(&params, &lease)).await
    }
}

async fn in_time<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<(), Error> {
    match tokio::time::timeout(WITHIN, request).await {
        Ok(answer) => Ok(answer.map(|_| ())?),
        Err(_) => Err(Error::Late),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::controller::mocked::{Server, conflict, not_found};

    const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/system/leases";
    const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/system/leases/stillframe-node-n1";

    fn lease() -> Value {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
               "metadata": {"name": "stillframe-node-n1"}})
    }

    /// Runs [`keep_every`] with short turns until the script is through and gives back.
    async fn kept(script: impl AsyncFnOnce(&mut Server)) {
        let (client, mut server) = Server::new();
        let (tell, told) = oneshot::channel::<()>();
        let stop = async {
            let _ = told.await;
        };
        let turn = Duration::from_millis(5);
        let keep = keep_every(client, "system", "n1", stop, turn, turn);
        let play = async {
            script(&mut server).await;
            // Hold the next renewal until the stop has been told, so that it is the last.
            let (request, answer) = server.next().await;
            assert_eq!(request.body["spec"]["holderIdentity"], "n1");
            tell.send(()).unwrap();
            answer.send(200, &lease());
            let (request, answer) = server.next().await;
            assert_eq!(request.body, json!({"spec": {"holderIdentity": null}}));
            answer.send(200, &lease());
        };
        tokio::join!(keep, play);
    }

    #[tokio::test]
    async fn a_lease_is_made_once_and_then_renewed_with_one_request_each() {
        kept(async |server| {
            server.expect("PATCH", LEASE, not_found()).await;
            let made = server.expect("POST", PATH, (201, lease())).await;
            assert_eq!(made["metadata"]["name"], "stillframe-node-n1");
            assert_eq!(made["spec"]["leaseDurationSeconds"], 40);
            for _ in 0..3 {
                let renewed = server.expect("PATCH", LEASE, (200, lease())).await;
                assert_eq!(renewed["spec"]["holderIdentity"], "n1");
                assert!(renewed["spec"]["renewTime"].is_string());
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_server_that_fails_is_asked_again_at_the_next_turn() {
        kept(async |server| {
            server.expect("PATCH", LEASE, not_found()).await;
            server.expect("POST", PATH, conflict()).await;
            for _ in 0..3 {
                server.expect("PATCH", LEASE, (500, json!({}))).await;
            }
            server.expect("PATCH", LEASE, (200, lease())).await;
        })
        .await;
    }

    #[test]
    fn the_first_wait_is_somewhere_in_the_first_turn() {
        for chance in [0, 1, 12_345_678, u64::MAX] {
            assert!(first_wait(chance) < EVERY);
        }
        assert_ne!(first_wait(1), first_wait(2));
    }
}
