//! From apply to Ready on a real pod, less the dump itself, against a bare round trip to the same server.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures::{Stream, TryStreamExt as _};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
    WatchEvent, WatchParams,
};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use rig::cluster::Pod;
use rig::pod::RUNC_ROOT;
use rig::{Cluster, Node};
use serde::Serialize;
use serde_json::{Value, json};

use super::client;
use crate::error::Error;
use crate::round::{TIMED, wall_micros};
use crate::summary::Spread;

/// How many bare round trips everything around a dump may cost.
pub(crate) const TARGET: f64 = 6.0;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// The namespace of the pod.
const NAMESPACE: &str = "default";

/// The container that is checkpointed.
const CONTAINER: &str = "app";

/// A small resource, with nobody behind it.
const BARE: &str = r#"{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
"metadata": {"name": "roundtrips.bench.stillframe.dev"},
"spec": {"group": "bench.stillframe.dev", "scope": "Namespaced",
  "names": {"kind": "RoundTrip", "plural": "roundtrips", "singular": "roundtrip", "listKind": "RoundTripList"},
  "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {
    "type": "object", "properties": {
      "spec": {"type": "object", "properties": {"text": {"type": "string"}}},
      "status": {"type": "object", "properties": {"text": {"type": "string"}}}}}}}]}}"#;

/// One round, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// From apply until a watch tells of Ready.
    pub(crate) apply: f64,
    /// The command on the same container.
    pub(crate) command: f64,
    /// A create, a patch of the status, and a watch that tells of it.
    pub(crate) bare: f64,
    /// The kubelet's own checkpoint API on the same container, where it works.
    pub(crate) kubelet: Option<f64>,
}

/// What the rounds come to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Latency {
    /// From apply to Ready.
    pub(crate) apply: Spread,
    /// The command.
    pub(crate) command: Spread,
    /// The first less the second, round by round.
    pub(crate) around: Spread,
    /// A bare round trip.
    pub(crate) bare: Spread,
    /// The kubelet's own, where it works.
    pub(crate) kubelet: Option<Spread>,
    /// Why it does not.
    pub(crate) kubelet_refuses: Option<String>,
    /// What is around the dump, in bare round trips.
    pub(crate) ratio: f64,
    /// Whether that is within the target.
    pub(crate) passed: bool,
    /// All of it.
    pub(crate) samples: Vec<Sample>,
}

impl Latency {
    /// The medians of some rounds, and what they come to.
    pub(crate) fn of(samples: Vec<Sample>, kubelet_refuses: Option<String>) -> Self {
        let spread = |pick: fn(&Sample) -> f64| Spread::of(samples.iter().map(pick));
        let around = spread(|sample| sample.apply - sample.command);
        let bare = spread(|sample| sample.bare);
        let kubelet: Vec<f64> = samples.iter().filter_map(|sample| sample.kubelet).collect();
        let ratio = if bare.median > 0.0 {
            around.median / bare.median
        } else {
            f64::INFINITY
        };
        Self {
            apply: spread(|sample| sample.apply),
            command: spread(|sample| sample.command),
            around,
            bare,
            kubelet: (!kubelet.is_empty()).then(|| Spread::of(kubelet)),
            kubelet_refuses,
            ratio,
            passed: ratio <= TARGET,
            samples,
        }
    }
}

/// What is measured against what.
struct Bench<'cluster> {
    node: &'cluster Node,
    pod: &'cluster Pod<'cluster>,
    container: String,
    /// Our command in the node.
    command: String,
    client: Client,
    kubelet: Client,
    kubelet_refuses: Option<String>,
}

/// Measures so many rounds after some that do not count. The operator and the node's agent run.
pub(crate) fn measure(
    cluster: &Cluster,
    pod: &Pod<'_>,
    warm_ups: usize,
    rounds: usize,
) -> Result<Latency, Error> {
    cluster.install_definition(BARE);
    let node = cluster.node(0);
    let container = pod.container_id(CONTAINER).ok_or_else(|| Error::Mission {
        what: "find the pod's container".to_owned(),
        why: "it does not run".to_owned(),
    })?;
    let command = node.install("stillframe-node-agent");
    let admin = client::admin(cluster)?;
    let address = cluster.node_address(0);
    client::within(cluster, async || {
        let mut bench = Bench {
            node,
            pod,
            container,
            command,
            client: client::client(&admin).await?,
            kubelet: client::kubelet(&admin, &address).await?,
            kubelet_refuses: None,
        };
        let mut samples = Vec::new();
        for round in 0..warm_ups + rounds {
            let sample = bench.round(round).await?;
            if round >= warm_ups {
                samples.push(sample);
            }
        }
        Ok(Latency::of(samples, bench.kubelet_refuses))
    })
}

impl Bench<'_> {
    /// All of them once, each of them first in turn.
    async fn round(&mut self, round: usize) -> Result<Sample, Error> {
        let mut sample = Sample {
            apply: 0.0,
            command: 0.0,
            bare: 0.0,
            kubelet: None,
        };
        for turn in 0..4 {
            match (round + turn) % 4 {
                0 => sample.bare = self.bare(round).await?,
                1 => sample.apply = self.apply(round).await?,
                2 => sample.command = self.command()?,
                _ => sample.kubelet = self.checkpoint_by_kubelet().await,
            }
        }
        Ok(sample)
    }

    async fn bare(&self, round: usize) -> Result<f64, Error> {
        let kind = GroupVersionKind::gvk("bench.stillframe.dev", "v1", "RoundTrip");
        let kind = ApiResource::from_gvk_with_plural(&kind, "roundtrips");
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), NAMESPACE, &kind);
        let failed = |error| Error::kube("make a bare round trip", error);
        let name = format!("bare-{round}");
        let seen = listen(&api, &name).await?;
        let mut object = DynamicObject::new(&name, &kind);
        object.data = json!({"spec": {"text": "small"}});
        let start = Instant::now();
        api.create(&PostParams::default(), &object)
            .await
            .map_err(failed)?;
        let patch = Patch::Merge(json!({"status": {"text": "seen"}}));
        api.patch_status(&name, &PatchParams::default(), &patch)
            .await
            .map_err(failed)?;
        until(seen, &name, |object| object["status"]["text"] == "seen").await?;
        let took = milliseconds(start.elapsed());
        api.delete(&name, &DeleteParams::default())
            .await
            .map_err(failed)?;
        Ok(took)
    }

    async fn apply(&self, round: usize) -> Result<f64, Error> {
        let kind = GroupVersionKind::gvk("stillframe.dev", "v1alpha1", "ContainerCheckpoint");
        let kind = ApiResource::from_gvk_with_plural(&kind, "containercheckpoints");
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), NAMESPACE, &kind);
        let failed = |error| Error::kube("apply a checkpoint", error);
        let name = format!("bench-{round}");
        let seen = listen(&api, &name).await?;
        let object = json!({
            "apiVersion": "stillframe.dev/v1alpha1", "kind": "ContainerCheckpoint", "metadata": {"name": name},
            "spec": {"source": {"podName": self.pod.name(), "containerName": CONTAINER}},
        });
        let manager = PatchParams::apply("bench");
        let start = Instant::now();
        api.patch(&name, &manager, &Patch::Apply(&object))
            .await
            .map_err(failed)?;
        let done = until(seen, &name, |object| holds(object, "Complete")).await?;
        let took = milliseconds(start.elapsed());
        if !holds(&done, "Ready") {
            return Err(Error::Mission {
                what: format!("checkpoint pod {}", self.pod.name()),
                why: done["status"]["failure"].to_string(),
            });
        }
        self.remove(&api, &name).await?;
        Ok(took)
    }

    /// Deletes an object and waits until it is gone, and its image with it.
    async fn remove(&self, api: &Api<DynamicObject>, name: &str) -> Result<(), Error> {
        let failed = |error| Error::kube("delete a checkpoint", error);
        let mut events = pin!(listen(api, name).await?);
        api.delete(name, &DeleteParams::default())
            .await
            .map_err(failed)?;
        let gone = async {
            while let Some(event) = events.try_next().await.map_err(failed)? {
                if matches!(event, WatchEvent::Deleted(_)) {
                    return Ok(());
                }
            }
            Err(late("delete a checkpoint"))
        };
        tokio::time::timeout(PATIENCE, gone)
            .await
            .unwrap_or_else(|_| Err(late("delete a checkpoint")))
    }

    /// The same dump by the command line: on the same disk, with the agent's cgroups mode, synced and digested.
    fn command(&self) -> Result<f64, Error> {
        let image = "/var/lib/stillframe/bench/image";
        self.node
            .run(&["mkdir", "-p", "/var/lib/stillframe/bench"])
            .ok();
        let command = [
            &self.command,
            "--root",
            RUNC_ROOT,
            "checkpoint",
            "--leave-running",
            "--durable",
            "--manage-cgroups-mode",
            "ignore",
            "--image-path",
            image,
            &self.container,
        ];
        let timed = self.node.command("bash").args(["-c", TIMED, "timed"]);
        let output = timed.args(command).output();
        self.node.run(&["rm", "-rf", image]).ok();
        let wall = wall_micros(&output.stdout).filter(|_| output.succeeded());
        let wall = wall.ok_or_else(|| Error::Mission {
            what: "checkpoint the pod's container with the command".to_owned(),
            why: output.stderr,
        })?;
        Ok(f64::from(wall) / 1000.0)
    }

    /// What the kubelet needs for it; nothing when it refuses, which some runtimes have it do.
    async fn checkpoint_by_kubelet(&mut self) -> Option<f64> {
        let path = format!("/checkpoint/{NAMESPACE}/{}/{CONTAINER}", self.pod.name());
        let request = http::Request::post(path).body(Vec::new()).ok()?;
        let start = Instant::now();
        let answer = self.kubelet.request_text(request).await;
        let took = milliseconds(start.elapsed());
        self.node
            .shell("rm -f /var/lib/kubelet/checkpoints/*.tar")
            .ok();
        match answer {
            Ok(_) => Some(took),
            Err(error) => {
                self.kubelet_refuses = Some(error.to_string());
                None
            }
        }
    }
}

type Event = WatchEvent<DynamicObject>;

/// Watches an object that may not be there yet. What happens from now on is told.
async fn listen(
    api: &Api<DynamicObject>,
    name: &str,
) -> Result<impl Stream<Item = kube::Result<Event>> + use<>, Error> {
    let failed = |error| Error::kube("watch an object", error);
    let listed = api.list_metadata(&ListParams::default().limit(1)).await;
    let version = listed.map_err(failed)?.metadata.resource_version;
    let only = WatchParams::default().fields(&format!("metadata.name={name}"));
    api.watch(&only, &version.unwrap_or_default())
        .await
        .map_err(failed)
}

/// The object once it is as wanted.
async fn until(
    events: impl Stream<Item = kube::Result<Event>>,
    name: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value, Error> {
    let what = format!("wait for {name}");
    let mut events = pin!(events);
    let seen = async {
        while let Some(event) = events
            .try_next()
            .await
            .map_err(|error| Error::kube(&what, error))?
        {
            if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event
                && wanted(&object.data)
            {
                return Ok(object.data);
            }
        }
        Err(late(&what))
    };
    tokio::time::timeout(PATIENCE, seen)
        .await
        .unwrap_or_else(|_| Err(late(&what)))
}

fn late(what: &str) -> Error {
    Error::Mission {
        what: what.to_owned(),
        why: format!("it did not happen within {} s", PATIENCE.as_secs()),
    }
}

/// Whether a condition is true.
fn holds(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|one| one["type"] == condition && one["status"] == "True")
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(apply: f64) -> Sample {
        Sample {
            apply,
            command: 100.0,
            bare: 10.0,
            kubelet: None,
        }
    }

    #[test]
    fn six_bare_round_trips_around_the_dump_are_within_the_target_and_more_are_not() {
        assert!(Latency::of(vec![sample(160.0); 3], None).passed);
        assert!(!Latency::of(vec![sample(161.0); 3], None).passed);
        assert!(!Latency::of(Vec::new(), None).passed);
    }

    #[test]
    fn a_kubelet_that_refuses_has_no_figure() {
        let latency = Latency::of(vec![sample(110.0)], Some("no".to_owned()));
        assert!(latency.kubelet.is_none() && latency.kubelet_refuses.is_some());
    }

    #[test]
    fn a_condition_holds_only_when_it_is_true() {
        let object = json!({"status": {"conditions": [
            {"type": "Complete", "status": "True"}, {"type": "Ready", "status": "False"}]}});
        assert!(
            holds(&object, "Complete") && !holds(&object, "Ready") && !holds(&object, "Stalled")
        );
    }
}
