//! `PageReceiver`: a directory on another node that a checkpoint's memory goes to.

#![expect(
    clippy::duplicated_attributes,
    reason = "each printer column has a type and a path of its own"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{DeletionPolicy, Failure, RelativePath};

/// What is to receive. Immutable, but for `deletionPolicy`.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[kube(
    group = "stillframe.dev",
    version = "v1alpha1",
    kind = "PageReceiver",
    namespaced,
    status = "PageReceiverStatus",
    derive = "PartialEq",
    shortname = "pgrecv",
    category = "stillframe",
    doc = "PageReceiver has a node's agent receive the memory of one checkpoint that another node makes, and reports where it listens and what it received.",
    selectable = ".status.nodeName",
    printcolumn(
        name = "Node",
        type_ = "string",
        json_path = ".status.nodeName",
        description = "The node that receives and keeps the memory"
    ),
    printcolumn(
        name = "Address",
        type_ = "string",
        json_path = ".status.address",
        description = "Where its agent listens"
    ),
    printcolumn(
        name = "Port",
        type_ = "integer",
        json_path = ".status.port",
        description = "On which port"
    ),
    printcolumn(
        name = "Checkpoint",
        type_ = "string",
        json_path = ".status.checkpoint.name",
        description = "The checkpoint whose memory it is for"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the memory is complete"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Where it stands, or why it failed"
    ),
    printcolumn(
        name = "Size",
        type_ = "string",
        json_path = ".status.size",
        description = "Size of what was received"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "When it was asked for"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{"rule": "has(self.nodeName) == has(oldSelf.nodeName) && (!has(self.nodeName) || self.nodeName == oldSelf.nodeName) && has(self.imagePath) == has(oldSelf.imagePath) && (!has(self.imagePath) || self.imagePath == oldSelf.imagePath) && self.tls == oldSelf.tls && self.timeoutSeconds == oldSelf.timeoutSeconds", "message": "the spec is immutable but for deletionPolicy: create another PageReceiver instead"}]))]
pub struct PageReceiverSpec {
    /// The node that is to receive. Unset, one is chosen once a checkpoint names this receiver: a ready
    /// one, and another than that checkpoint's where there is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub node_name: Option<String>,
    /// The directory of the memory, relative to the namespace's directory below the agent's image root.
    /// Unset, it is the object's name and UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_path: Option<RelativePath>,
    /// Have the memory encrypted on its way, with the keys of both nodes.
    #[serde(default = "encrypted")]
    pub tls: bool,
    /// Bound on the whole, in seconds from the object's creation: from then on nobody is waited for.
    #[serde(default = "default_timeout_seconds")]
    #[schemars(range(min = 1, max = 86_400))]
    pub timeout_seconds: u32,
    /// What becomes of the memory when this object is deleted. May be changed at any time.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

fn encrypted() -> bool {
    true
}

/// Seconds that receiving may take unless the object says otherwise.
pub const DEFAULT_TIMEOUT_SECONDS: u32 = 600;

fn default_timeout_seconds() -> u32 {
    DEFAULT_TIMEOUT_SECONDS
}

impl Default for PageReceiverSpec {
    fn default() -> Self {
        Self {
            node_name: None,
            image_path: None,
            tls: true,
            timeout_seconds: DEFAULT_TIMEOUT_SECONDS,
            deletion_policy: DeletionPolicy::Delete,
        }
    }
}

/// What became of a receiver. The operator writes checkpoint and nodeName, and that node's agent the rest;
/// once completionTime is set it is final, but for the condition `ImageRemoved`.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PageReceiverStatus {
    /// The generation of the object that this status is about; -1 until somebody has seen it.
    #[serde(default = "unseen")]
    #[schemars(range(min = -1))]
    pub observed_generation: i64,
    /// The checkpoint whose memory it is for. It receives that of no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Sender>,
    /// The node whose agent receives and keeps the memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// The address that it listens on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The TCP port that it listens on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<u16>,
    /// The directory of the memory on that node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Bytes of its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub size_bytes: Option<i64>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// `sha256:…` over the sorted names and contents of its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// When the agent began to listen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it ended, well or not. What is set with it is final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Why nothing was received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Where it stands: Complete, Ready, Reconciling, Stalled, Listening, `ImageRemoved`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}

fn unseen() -> i64 {
    -1
}

/// The checkpoint that sends.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Sender {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The node that it is sent from.
    pub node_name: String,
}

impl PageReceiver {
    /// Whether it has ended, well or not. Such a status is final.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let status = self.status.as_ref();
        status.is_some_and(|status| status.completion_time.is_some())
    }

    /// Whether somebody has deleted the object, which its finalizer still holds.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }
}
