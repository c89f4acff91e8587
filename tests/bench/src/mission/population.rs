//! Pods and nodes that are there as objects alone: no kubelet knows of them.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stillframe_crds::CheckpointNode;

use crate::error::Error;

/// The namespace of the pods and their checkpoints.
pub(crate) const NAMESPACE: &str = "many";

/// Pods of each node.
pub(crate) const PODS_PER_NODE: usize = 10;

/// Requests under way at once.
const AT_ONCE: usize = 48;

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Population {
    /// Pods, each with a container that runs.
    pub(crate) pods: usize,
    /// Nodes, each with an agent that is ready.
    pub(crate) nodes: usize,
}

impl Population {
    /// So many pods, and the nodes that they need.
    pub(crate) fn of(pods: usize) -> Self {
        Self {
            pods,
            nodes: pods.div_ceil(PODS_PER_NODE),
        }
    }
}

/// The name of a node.
pub(crate) fn node(index: usize) -> String {
    format!("simulated-{index}")
}

/// The name of a pod.
pub(crate) fn pod(index: usize) -> String {
    format!("pod-{index}")
}

/// Makes all of them.
pub(crate) async fn create(client: &Client, population: Population) -> Result<(), Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = json!({"metadata": {"name": NAMESPACE}});
    make(&namespaces, namespace, None).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    make(&accounts, json!({"metadata": {"name": "default"}}), None).await?;
    let nodes: Api<Node> = Api::all(client.clone());
    let agents: Api<CheckpointNode> = Api::all(client.clone());
    each(population.nodes, async |index| {
        make(&nodes, json!({"metadata": {"name": node(index)}}), None).await?;
        let agent = json!({"metadata": {"name": node(index)}, "spec": {}});
        make(&agents, agent, Some(ready())).await
    })
    .await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    each(population.pods, async |index| {
        make(&pods, manifest(index), Some(running(index))).await
    })
    .await
}

async fn each(count: usize, work: impl AsyncFn(usize) -> Result<(), Error>) -> Result<(), Error> {
    stream::iter(0..count)
        .map(|index| work(index))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Makes an object, and gives it its status.
async fn make<K>(api: &Api<K>, object: Value, status: Option<Value>) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let what = format!("make {} {}", K::kind(&()), object["metadata"]["name"]);
    let name = object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let object: K = serde_json::from_value(object).map_err(Error::Json)?;
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => {}
        // The cluster's own controllers were faster.
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => return Err(Error::kube(&what, error)),
    }
    if let Some(status) = status {
        let patch = Patch::Merge(json!({"status": status}));
        api.patch_status(&name, &PatchParams::default(), &patch)
            .await
            .map_err(|error| Error::kube(&what, error))?;
    }
    Ok(())
}

fn ready() -> Value {
    json!({
        "agentVersion": "0.1.0", "kernel": "6.12.0", "architecture": "amd64", "cgroupVersion": "v2", "concurrency": 1,
        "started": Timestamp::now().to_string(),
        "criu": {"version": "4.2", "features": ["memTrack", "lazyPages"], "networkLocks": ["iptables", "nftables"]},
        "runtimes": [{"name": "runc", "version": "1.3.0"}],
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "AgentReady", "message": "",
            "lastTransitionTime": Timestamp::now().to_string(),
        }],
    })
}

/// A pod as a deployment makes it.
fn manifest(index: usize) -> Value {
    json!({
        "metadata": {
            "name": pod(index),
            "labels": {"app.kubernetes.io/name": "shop", "app.kubernetes.io/component": "web", "pod-template-hash": "6b7c9d8f5"},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
        },
        "spec": {
            "nodeName": node(index / PODS_PER_NODE),
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "app", "image": "registry.example/shop/web:1.42.0", "ports": [{"containerPort": 8080}],
                "env": [{"name": "GREETING", "value": "hello"}, {"name": "DATABASE", "value": "postgres://db.shop.svc:5432/shop"}],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10, "failureThreshold": 3, "timeoutSeconds": 5},
            }],
        },
    })
}

fn running(index: usize) -> Value {
    let now = Timestamp::now().to_string();
    json!({
        "phase": "Running", "startTime": now,
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
        "containerStatuses": [{
            "name": "app", "image": "registry.example/shop/web:1.42.0", "imageID": "sha256:0", "ready": true, "restartCount": 0,
            "containerID": format!("containerd://{index:064x}"),
            "state": {"running": {"startedAt": now}},
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pod_has_a_node() {
        for pods in [1, 9, 10, 11, 5000] {
            let population = Population::of(pods);
            assert!((pods - 1) / PODS_PER_NODE < population.nodes, "{pods}");
        }
        assert_eq!(Population::of(5000).nodes, 500);
    }
}
