//! Keeps objects that are not written as the API says from stopping the others.

use std::collections::HashMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    core::{DeserializeGuard, error_boundary::InvalidObject},
    runtime::watcher::Event,
};
use stillframe_crds::{
    ContainerCheckpoint, ContainerCheckpointSpec,
    checkpoint::{DEFAULT_TIMEOUT_SECONDS, DeletionPolicy, Options, Rootfs, Source},
};
use tracing::warn;

/// Passes on what can be read, and logs the rest once per version.
#[derive(Debug)]
pub(crate) struct Guard<K> {
    /// The version of each unreadable object that was logged, by its UID.
    logged: HashMap<String, Option<String>>,
    /// Makes an object of the same name, which is all that a deletion is about.
    stand_in: fn(ObjectMeta) -> K,
}

impl<K> Guard<K> {
    pub(crate) fn new(stand_in: fn(ObjectMeta) -> K) -> Self {
        Self {
            logged: HashMap::new(),
            stand_in,
        }
    }

    /// The event without its guard. An object that can no longer be read is gone from the cache:
    /// nothing can be decided about it.
    pub(crate) fn pass(&mut self, event: Event<DeserializeGuard<K>>) -> Option<Event<K>> {
        match event {
            Event::Init => Some(Event::Init),
            Event::InitDone => Some(Event::InitDone),
            Event::InitApply(object) => self.readable(object).ok().map(Event::InitApply),
            Event::Apply(object) => Some(match self.readable(object) {
                Ok(object) => Event::Apply(object),
                Err(invalid) => Event::Delete((self.stand_in)(invalid.metadata)),
            }),
            Event::Delete(object) => Some(Event::Delete(match object.0 {
                Ok(object) => object,
                Err(invalid) => {
                    self.logged.remove(&uid(&invalid));
                    (self.stand_in)(invalid.metadata)
                }
            })),
        }
    }

    fn readable(&mut self, object: DeserializeGuard<K>) -> Result<K, Box<InvalidObject>> {
        let invalid = match object.0 {
            Ok(object) => return Ok(object),
            Err(invalid) => invalid,
        };
        let version = invalid.metadata.resource_version.clone();
        if self.logged.insert(uid(&invalid), version.clone()) != Some(version) {
            warn!(
                namespace = invalid.metadata.namespace.as_deref().unwrap_or_default(),
                name = invalid.metadata.name.as_deref().unwrap_or_default(),
                error = %invalid.error,
                "an object cannot be read and is passed over until it changes"
            );
        }
        Err(Box::new(invalid))
    }
}

fn uid(invalid: &InvalidObject) -> String {
    invalid.metadata.uid.clone().unwrap_or_default()
}

/// The stand-in of a checkpoint.
pub(crate) fn checkpoint(metadata: ObjectMeta) -> ContainerCheckpoint {
    let spec = ContainerCheckpointSpec {
        source: Source::default(),
        options: Options::default(),
        rootfs: Rootfs::default(),
        timeout_seconds: DEFAULT_TIMEOUT_SECONDS,
        ttl_seconds_after_finished: None,
        deletion_policy: DeletionPolicy::default(),
    };
    let mut object = ContainerCheckpoint::new("", spec);
    object.metadata = metadata;
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn guarded(spec: &serde_json::Value) -> DeserializeGuard<ContainerCheckpoint> {
        serde_json::from_value(json!({
            "apiVersion": "stillframe.dev/v1alpha1",
            "kind": "ContainerCheckpoint",
            "metadata": {"name": "one", "namespace": "shop", "uid": "u", "resourceVersion": "1"},
            "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn what_can_be_read_is_passed_on() {
        let event = Event::Apply(guarded(&json!({"source": {"podName": "counter"}})));
        let Some(Event::Apply(object)) = Guard::new(checkpoint).pass(event) else {
            panic!("the event was not passed on");
        };
        assert_eq!(object.spec.source.pod_name, "counter");
    }

    #[test]
    fn what_can_no_longer_be_read_leaves_the_cache() {
        let mut guard = Guard::new(checkpoint);
        let event = Event::Apply(guarded(&json!({"source": 5})));
        let Some(Event::Delete(object)) = guard.pass(event) else {
            panic!("the object was not taken out");
        };
        assert_eq!(object.metadata.name.as_deref(), Some("one"));
        assert!(guard.pass(Event::InitApply(guarded(&json!(7)))).is_none());
    }
}
