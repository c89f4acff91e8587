//! `CheckpointNode`: what the agent of one node can do, written by that agent.

#![expect(
    clippy::duplicated_attributes,
    reason = "each printer column has a type and a path of its own"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Nothing is asked of a node.
#[derive(
    CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq,
)]
#[kube(
    group = "stillframe.dev",
    version = "v1alpha1",
    kind = "CheckpointNode",
    status = "CheckpointNodeStatus",
    derive = "PartialEq",
    shortname = "ckptnode",
    category = "stillframe",
    doc = "CheckpointNode tells what the agent on the node of the same name can do. The agent writes it; it is gone once the node is.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether containers on this node can be checkpointed"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why, or why not"
    ),
    printcolumn(
        name = "CRIU",
        type_ = "string",
        json_path = ".status.criu.version",
        description = "The version of CRIU"
    ),
    printcolumn(
        name = "Locks",
        type_ = "string",
        json_path = ".status.criu.networkLocks",
        description = "How the network can be held still"
    ),
    printcolumn(
        name = "Cgroup",
        type_ = "string",
        json_path = ".status.cgroupVersion",
        description = "The node's cgroup hierarchies"
    ),
    printcolumn(
        name = "Free",
        type_ = "string",
        json_path = ".status.images.free",
        description = "Room for images, coarsely"
    ),
    printcolumn(
        name = "Agent",
        type_ = "string",
        json_path = ".status.agentVersion",
        priority = 1,
        description = "The agent's version"
    ),
    printcolumn(
        name = "Kernel",
        type_ = "string",
        json_path = ".status.kernel",
        priority = 1,
        description = "The node's kernel"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "When the node was first seen"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointNodeSpec {}

/// What a node's agent can do.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointNodeStatus {
    /// The agent's version.
    #[serde(default)]
    pub agent_version: String,
    /// When this agent started. A restarted agent changes it, which wakes what waited for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// The CRIU that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub criu: Option<NodeCriu>,
    /// The container runtimes whose containers it can read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub runtimes: Vec<super::checkpoint::RuntimeFacts>,
    /// The kernel's release.
    #[serde(default)]
    pub kernel: String,
    /// The processor's architecture, as Kubernetes writes it: amd64 or arm64.
    #[serde(default)]
    pub architecture: String,
    /// The cgroup hierarchies: v1, v2 or hybrid.
    #[serde(default)]
    pub cgroup_version: String,
    /// Where images are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<ImageStore>,
    /// How many dumps run at once on this node.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1024))]
    pub concurrency: u32,
    /// Ready: whether containers on this node can be checkpointed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}

/// The CRIU of a node.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NodeCriu {
    /// Its version.
    pub version: String,
    /// What it and the kernel can do: memTrack (pre-dumps, parents), lazyPages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "set"))]
    pub features: Vec<String>,
    /// How it can hold a network still: iptables, nftables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub network_locks: Vec<String>,
}

impl NodeCriu {
    /// The feature that pre-dumps, parents and trackMemory need.
    pub const MEM_TRACK: &str = "memTrack";
    /// The feature that lazyPages needs.
    pub const LAZY_PAGES: &str = "lazyPages";
}

/// Where a node keeps images.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ImageStore {
    /// The directory that holds one for each namespace.
    pub root: String,
    /// Bytes that images may still take, the reserve left out, rounded down to a step of an eighth of a power of
    /// two, so that it changes seldom.
    #[schemars(range(min = 0))]
    pub free_bytes: i64,
    /// The same for people.
    #[serde(default)]
    pub free: String,
}
