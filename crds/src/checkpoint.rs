//! `ContainerCheckpoint`: one dump of one container, asked for and reported.

#![expect(
    clippy::duplicated_attributes,
    reason = "each printer column has a type and a path of its own"
)]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod bytes;
mod options;
mod status;

pub use bytes::ByteCount;
pub use options::{
    CgroupsMode, EmptyNamespace, NetworkLock, ObjectName, Options, PageServer, Peer, RelativePath,
};
pub use status::{
    Artifact, ContainerCheckpointStatus, CriuFacts, Dedup, DumpStats, Failure, LazyPages, Part,
    RuntimeFacts,
};

/// What is asked for. Immutable, but for `ttlSecondsAfterFinished` and `deletionPolicy`.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[kube(
    group = "stillframe.dev",
    version = "v1alpha1",
    kind = "ContainerCheckpoint",
    namespaced,
    status = "ContainerCheckpointStatus",
    derive = "PartialEq",
    shortname = "cckpt",
    category = "stillframe",
    doc = "ContainerCheckpoint asks for one checkpoint of one running container, with any of runc's options, and reports what became of it.",
    selectable = ".status.nodeName",
    printcolumn(
        name = "Node",
        type_ = "string",
        json_path = ".status.nodeName",
        description = "The node whose agent makes or keeps the checkpoint"
    ),
    printcolumn(
        name = "Pod",
        type_ = "string",
        json_path = ".spec.source.podName",
        description = "The pod of the container"
    ),
    printcolumn(
        name = "Container",
        type_ = "string",
        json_path = ".status.containerName",
        description = "The container"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the image is complete"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Where the checkpoint stands, or why it failed"
    ),
    printcolumn(
        name = "Pause",
        type_ = "string",
        json_path = ".status.pause",
        description = "How long the container stood still"
    ),
    printcolumn(
        name = "Size",
        type_ = "string",
        json_path = ".status.size",
        description = "Size of the image"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "When it was asked for"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{"rule": "self.source == oldSelf.source && self.options == oldSelf.options && self.rootfs == oldSelf.rootfs && self.timeoutSeconds == oldSelf.timeoutSeconds", "message": "the spec is immutable but for ttlSecondsAfterFinished and deletionPolicy: create another ContainerCheckpoint instead"}, {"rule": "self.rootfs != 'Diff' || !self.options.preDump", "message": "a pre-dump saves the memory alone: take rootfs Diff with the dump that ends the chain"}]))]
pub struct ContainerCheckpointSpec {
    /// The container to checkpoint.
    pub source: Source,
    /// The options of `runc checkpoint` under their own names, and some beyond. None is needed.
    #[serde(default)]
    pub options: Options,
    /// Whether the container's changed files are kept as well.
    #[serde(default)]
    pub rootfs: Rootfs,
    /// Bound on the whole request, in seconds from the object's creation. Once it has passed, the
    /// checkpoint has failed and the container runs on.
    #[serde(default = "default_timeout_seconds")]
    #[schemars(range(min = 1, max = 86_400))]
    pub timeout_seconds: u32,
    /// Delete this object so many seconds after it has finished. Unset, it stays until it is
    /// deleted. May be changed at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub ttl_seconds_after_finished: Option<u32>,
    /// What becomes of the image when this object is deleted. May be changed at any time.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// A container, named as its pod names it.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The pod, in the namespace of this object.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub pod_name: String,
    /// The pod's UID. A pod of the same name with another UID is then refused; without it, the pod
    /// that has the name when this object is first seen is meant.
    #[serde(default, rename = "podUID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub pod_uid: Option<String>,
    /// The container in the pod. Needed when the pod has several; sidecars and init containers
    /// that run can be named as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container_name: Option<String>,
}

/// Whether the container's changed files are kept.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rootfs {
    /// Only the processes are saved.
    #[default]
    None,
    /// The files that the container changed are saved as well, before it goes on: as
    /// `rootfs-diff.tar` in the image's directory. It stands still for as long as they take.
    Diff,
}

/// What becomes of the image when its object is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// The image is removed from its node.
    #[default]
    Delete,
    /// The image stays where it is.
    Retain,
}

/// Seconds that a request may take unless it says otherwise.
pub const DEFAULT_TIMEOUT_SECONDS: u32 = 120;

fn default_timeout_seconds() -> u32 {
    DEFAULT_TIMEOUT_SECONDS
}

impl ContainerCheckpoint {
    /// The container that was asked for, or that the operator has found for it.
    #[must_use]
    pub fn container_name(&self) -> Option<&str> {
        let found = self
            .status
            .as_ref()
            .and_then(|s| s.container_name.as_deref());
        found.or(self.spec.source.container_name.as_deref())
    }

    /// Whether the checkpoint has ended, well or not. Such a status is final.
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
