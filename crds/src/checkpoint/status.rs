//! What became of a checkpoint.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of a checkpoint. Before a node is assigned the operator writes it, afterwards that
/// node's agent; once completionTime is set it is final, but for the conditions `ImageRemoved` and
/// Restorable.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ContainerCheckpointStatus {
    /// The generation of the object that this status is about; -1 until somebody has seen it.
    #[serde(default = "unseen")]
    #[schemars(range(min = -1))]
    pub observed_generation: i64,
    /// The node whose agent makes and keeps the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// The UID of the pod that was found.
    #[serde(default, rename = "podUID", skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// The pod's UID as the node's container runtime knows it. It differs from podUID for static
    /// pods alone, whose UID there is a hash of their manifest.
    #[serde(
        default,
        rename = "sandboxUID",
        skip_serializing_if = "Option::is_none"
    )]
    pub sandbox_uid: Option<String>,
    /// The container that was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// The container's id, as in the pod's status.
    #[serde(
        default,
        rename = "containerID",
        skip_serializing_if = "Option::is_none"
    )]
    pub container_id: Option<String>,
    /// The container's image, as in the pod's status: with its digest where the runtime tells it.
    #[serde(default, rename = "imageID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub image_id: Option<String>,
    /// How long the container may stand still, in seconds: as asked for, or as its liveness probes
    /// allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub max_pause_seconds: Option<u32>,
    /// Where the memory goes, of a checkpoint that names a receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_server: Option<PinnedServer>,
    /// How often a dump was tried. Only what failed before the container first stood still is
    /// tried again.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub attempts: u32,
    /// When the first dump began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the checkpoint ended, well or not. What is set with it is final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// How long the container stood still, in milliseconds, measured by the agent from the first
    /// freeze to the thaw. Unset when it never stood still, for a pre-dump, and where the agent
    /// that would have measured it was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub pause_milliseconds: Option<i64>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<String>,
    /// The image's size for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Where lazy pages are served, or were: `LazyPagesReady` tells which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lazy_pages: Option<LazyPages>,
    /// Where the image is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// CRIU's own figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<DumpStats>,
    /// What autoDedup has removed from the images that this one builds on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup: Option<Dedup>,
    /// The CRIU that made the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub criu: Option<CriuFacts>,
    /// The runtime that ran the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeFacts>,
    /// Why the checkpoint failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Worth knowing, and no failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub warnings: Vec<String>,
    /// Where the checkpoint stands: Complete, Ready, Reconciling, Stalled, `LazyPagesReady`,
    /// Restorable, `ImageRemoved`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}

/// A receiver that a checkpoint's memory goes to, as it was when the checkpoint was assigned.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PinnedServer {
    /// The receiver's name.
    pub receiver: String,
    /// The receiver's UID.
    #[serde(rename = "receiverUID")]
    pub receiver_uid: String,
    /// The node that receives.
    pub node_name: String,
    /// Its address.
    pub address: String,
    /// Its TCP port.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: u16,
    /// Whether the memory is encrypted on its way.
    pub tls: bool,
}

fn unseen() -> i64 {
    -1
}

/// Lazy pages that are being served.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LazyPages {
    /// The node's address; unset where the agent does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The TCP port.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: u16,
    /// The directory on the node that holds everything but the pages. It is to be copied while they are
    /// served, and has another name afterwards.
    pub path: String,
}

/// An image, which may lie in several places.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Its parts.
    #[schemars(length(max = 4))]
    pub parts: Vec<Part>,
    /// The checkpoint that this one builds on; it has to stay as long as this one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

/// A directory of an image on one node.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// The node.
    pub node: String,
    /// The directory there.
    pub path: String,
    /// Bytes of its files.
    #[schemars(range(min = 0))]
    pub size_bytes: i64,
    /// `sha256:…` over the sorted names and contents of its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// CRIU's figures of a dump. Times are in microseconds, pages are of 4 KiB.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DumpStats {
    /// From collecting the processes until each was seized.
    pub freezing_time: i64,
    /// From then until they went on or ended.
    pub frozen_time: i64,
    /// Collecting pages.
    pub memdump_time: i64,
    /// Writing pages.
    pub memwrite_time: i64,
    /// Pages looked at.
    pub pages_scanned: i64,
    /// Pages that the parent's image holds already.
    pub pages_skipped_parent: i64,
    /// Pages written.
    pub pages_written: i64,
    /// Pages left to be served on demand.
    pub pages_lazy: i64,
    /// Pages of shared memory looked at.
    pub shpages_scanned: i64,
    /// Pages of shared memory that the parent's image holds already.
    pub shpages_skipped_parent: i64,
    /// Pages of shared memory written.
    pub shpages_written: i64,
}

/// What `criu dedup` has removed from the images that one builds on.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Dedup {
    /// Bytes that these images gave back to the disk.
    #[schemars(range(min = 0))]
    pub bytes_freed: i64,
}

/// The CRIU that made an image.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CriuFacts {
    /// Its version.
    pub version: String,
    /// How the network was held still: iptables, nftables or skip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_lock: Option<String>,
}

/// The runtime that ran a container.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeFacts {
    /// Its name: runc or crun.
    pub name: String,
    /// Its version, where it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Why a checkpoint failed.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// A stable word, one of those in the documentation.
    pub reason: String,
    /// What happened.
    #[schemars(length(max = 2048))]
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub hint: Option<String>,
    /// The error number that CRIU gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub criu_errno: Option<i32>,
    /// The last lines of CRIU's log that report errors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub log: Vec<String>,
    /// Where the whole log is on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_path: Option<String>,
}
