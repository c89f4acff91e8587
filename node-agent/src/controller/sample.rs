//! Tests: an assigned checkpoint.

use serde_json::{Value, json};
use stillframe_crds::ContainerCheckpoint;

/// An assigned object whose spec and status are patched.
pub(crate) fn object(patch: &Value) -> ContainerCheckpoint {
    let mut object = json!({
        "apiVersion": "stillframe.dev/v1alpha1", "kind": "ContainerCheckpoint",
        "metadata": {"name": "a", "namespace": "shop", "uid": "u-1", "generation": 1, "resourceVersion": "7",
                     "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"source": {"podName": "counter"}, "timeoutSeconds": 120},
        "status": {"observedGeneration": 1, "nodeName": "n1", "podUID": "pod-1", "containerName": "app",
                   "containerID": format!("containerd://{}", "ab".repeat(32))},
    });
    merge(&mut object, patch);
    serde_json::from_value(object).unwrap()
}

/// RFC 7386.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}
