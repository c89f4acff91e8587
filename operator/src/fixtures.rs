//! The objects that tests are about: checkpoints of container `app` of pod `counter` in namespace
//! `shop`, on node `node-1`.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use serde_json::{Value, json};
use stillframe_crds::{
    CheckpointNode, ContainerCheckpoint, ContainerCheckpointSpec, Reason,
    checkpoint::{ContainerCheckpointStatus, ObjectName},
    condition, names,
};

use crate::pod::Pod;

pub(crate) const CONTAINER_ID: &str = "containerd://c0ffee";

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(crate) fn time(second: i64) -> Time {
    Time(at(second))
}

pub(crate) fn object_name(name: &str) -> ObjectName {
    ObjectName { name: name.into() }
}

/// Created at second 0, held by our finalizer, with the default timeout of 120 seconds.
pub(crate) fn checkpoint(name: &str) -> ContainerCheckpoint {
    let spec: ContainerCheckpointSpec =
        serde_json::from_value(json!({"source": {"podName": "counter"}})).unwrap();
    let mut checkpoint = ContainerCheckpoint::new(name, spec);
    checkpoint.metadata = ObjectMeta {
        name: Some(name.into()),
        namespace: Some("shop".into()),
        uid: Some(format!("uid-of-{name}")),
        resource_version: Some("7".into()),
        generation: Some(1),
        creation_timestamp: Some(time(0)),
        finalizers: Some(vec![names::FINALIZER.into()]),
        ..ObjectMeta::default()
    };
    checkpoint
}

pub(crate) fn assigned_status() -> ContainerCheckpointStatus {
    ContainerCheckpointStatus {
        observed_generation: 1,
        node_name: Some("node-1".into()),
        pod_uid: Some("pod-uid".into()),
        sandbox_uid: Some("pod-uid".into()),
        container_name: Some("app".into()),
        container_id: Some(CONTAINER_ID.into()),
        ..ContainerCheckpointStatus::default()
    }
}

pub(crate) fn assigned(name: &str) -> ContainerCheckpoint {
    let mut checkpoint = checkpoint(name);
    let mut status = assigned_status();
    condition::working(
        &mut status.conditions,
        Reason::Assigned,
        "m",
        Some(1),
        at(1),
    );
    checkpoint.status = Some(status);
    checkpoint
}

/// Dumped from second 10 to second 12.
pub(crate) fn ready(name: &str) -> ContainerCheckpoint {
    let mut checkpoint = assigned(name);
    let status = checkpoint.status.as_mut().unwrap();
    status.start_time = Some(time(10));
    status.completion_time = Some(time(12));
    condition::ended(
        &mut status.conditions,
        true,
        Reason::Checkpointed,
        "m",
        Some(1),
        at(12),
    );
    checkpoint
}

pub(crate) fn pod_json() -> Value {
    json!({
        "metadata": {"name": "counter", "namespace": "shop", "uid": "pod-uid"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "app"}]},
        "status": {"phase": "Running", "containerStatuses": [
            {"name": "app", "containerID": CONTAINER_ID, "imageID": "docker.io/library/app@sha256:1", "started": true, "state": {"running": {}}}
        ]},
    })
}

pub(crate) fn pod() -> Pod {
    serde_json::from_value(pod_json()).unwrap()
}

pub(crate) fn condition_of(kind: &str, status: &str, reason: &str) -> Condition {
    Condition {
        type_: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message: "m".into(),
        observed_generation: None,
        last_transition_time: time(0),
    }
}

pub(crate) fn agent() -> Arc<CheckpointNode> {
    let mut node: CheckpointNode = serde_json::from_value(json!({
        "apiVersion": "stillframe.dev/v1alpha1", "kind": "CheckpointNode",
        "metadata": {"name": "node-1"}, "spec": {},
        "status": {"criu": {"version": "4.2", "features": ["memTrack"], "networkLocks": ["nftables"]}},
    }))
    .unwrap();
    let conditions = &mut node.status.as_mut().unwrap().conditions;
    conditions.push(condition_of("Ready", "True", "NodeReady"));
    Arc::new(node)
}
