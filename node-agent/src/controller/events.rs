//! Tells people what happened, where `kubectl describe` shows it: one event on the checkpoint, one on its pod.

use std::{path::Path, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, Resource as _, ResourceExt as _, api::PostParams};
use stillframe_crds::{ContainerCheckpoint, Reason, condition, names};
use tracing::debug;

/// The longest note that the API takes.
const NOTE_BYTES: usize = 1000;
/// The longest name of an instance that the API takes; a node's may be longer.
const INSTANCE_BYTES: usize = 128;
/// An event that takes longer than this is lost; nothing depends on it.
const WITHIN: Duration = Duration::from_secs(30);

/// Publishes events.
#[derive(Clone)]
pub struct Events {
    client: Client,
    node: String,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Events")
    }
}

impl Events {
    /// Publishes in the name of this node's agent.
    #[must_use]
    pub fn new(client: Client, node: &str) -> Self {
        Self {
            client,
            node: node.to_owned(),
        }
    }

    /// Tells how a checkpoint has ended, as its Ready condition says it. Best effort.
    pub async fn ended(&self, object: &ContainerCheckpoint) {
        let Some(status) = &object.status else {
            return;
        };
        let Some(ready) = condition::get(&status.conditions, condition::READY) else {
            return;
        };
        let well = ready.status == "True";
        self.tell(object, well, &ready.reason, &ready.message).await;
    }

    /// Tells that a dump was rolled back, which the status of an object that nobody wants any more does not. Best effort.
    pub async fn called_off(&self, object: &ContainerCheckpoint) {
        let note = "The dump was called off and rolled back: the object was deleted, or has ended in another way. The container goes on.";
        let reason = Reason::Cancelled.as_str();
        self.tell(object, false, reason, note).await;
    }

    /// Tells that an image is there of which the status, which is final, cannot tell any more: it is all that is left of its container.
    /// Best effort.
    pub async fn kept(&self, object: &ContainerCheckpoint, path: &Path) {
        let note = format!(
            "The image was complete when the checkpoint had been given up, and its container has ended: it is kept on node {} in {} until \
             the object is deleted",
            self.node,
            path.display()
        );
        self.tell(object, false, Reason::KeptTooLate.as_str(), &note)
            .await;
    }

    /// One event about the object, one about its pod.
    async fn tell(&self, object: &ContainerCheckpoint, well: bool, reason: &str, note: &str) {
        let name = object.name_any();
        // What to do next is the checkpoint's own; a pod may have many of these.
        let what = note.lines().next().unwrap_or_default();
        let on_pod = format!("ContainerCheckpoint {name}: {what}");
        let own = (object.object_ref(&()), note);
        for (about, note) in [own, (pod(object), on_pod.as_str())] {
            let api: Api<Event> = Api::namespaced(
                self.client.clone(),
                &about.namespace.clone().unwrap_or_default(),
            );
            let event = Event {
                type_: Some(if well { "Normal" } else { "Warning" }.to_owned()),
                reason: Some(reason.to_owned()),
                note: Some(condition::cut(note, NOTE_BYTES).to_owned()),
                ..self.event(about, Timestamp::now())
            };
            let parameters = PostParams::default();
            let sent = tokio::time::timeout(WITHIN, api.create(&parameters, &event)).await;
            if !matches!(sent, Ok(Ok(_))) {
                debug!(name, "an event was lost");
            }
        }
    }

    /// An event in the name of this node's agent.
    fn event(&self, about: ObjectReference, now: Timestamp) -> Event {
        let name = names::event_name(about.name.as_deref().unwrap_or_default(), now);
        Event {
            metadata: ObjectMeta {
                namespace: about.namespace.clone(),
                name: Some(name),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            action: Some("Checkpoint".to_owned()),
            regarding: Some(about),
            reporting_controller: Some(names::NODE_AGENT_EVENTS.to_owned()),
            reporting_instance: Some(condition::cut(&self.node, INSTANCE_BYTES).to_owned()),
            ..Event::default()
        }
    }
}

fn pod(object: &ContainerCheckpoint) -> ObjectReference {
    let status = object.status.as_ref();
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(object.spec.source.pod_name.clone()),
        namespace: object.namespace(),
        uid: status.and_then(|status| status.pod_uid.clone()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controller::{mocked::Server, sample};

    #[tokio::test]
    async fn both_events_are_in_the_name_of_this_node_s_agent() {
        const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";
        let (client, mut server) = Server::new();
        let mut object = sample::object(&json!({}));
        let conditions = &mut object.status.as_mut().unwrap().conditions;
        let reason = Reason::Checkpointed;
        condition::ended(conditions, true, reason, "m", None, Timestamp::UNIX_EPOCH);
        let play = async {
            for kind in ["ContainerCheckpoint", "Pod"] {
                let event = server
                    .expect("POST", EVENTS, (201, json!({"metadata": {}})))
                    .await;
                assert_eq!(event["regarding"]["kind"], kind);
                assert_eq!(event["regarding"]["namespace"], "shop");
                assert_eq!(event["reportingController"], "stillframe.dev/node-agent");
                assert_eq!(event["reportingInstance"], "n1");
            }
        };
        let events = Events::new(client, "n1");
        tokio::join!(events.ended(&object), play);
    }

    #[tokio::test]
    async fn the_longest_names_still_make_valid_events() {
        const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";
        let (client, mut server) = Server::new();
        let long = "a".repeat(253);
        let mut object = sample::object(&json!({
            "metadata": {"name": long}, "spec": {"source": {"podName": long}},
        }));
        let conditions = &mut object.status.as_mut().unwrap().conditions;
        let reason = Reason::Checkpointed;
        condition::ended(conditions, true, reason, "m", None, Timestamp::UNIX_EPOCH);
        let events = Events::new(client, &long);
        let play = async {
            for kind in ["ContainerCheckpoint", "Pod"] {
                let answer = (201, json!({"metadata": {}}));
                let event = server.expect("POST", EVENTS, answer).await;
                assert_eq!(event["regarding"]["kind"], kind);
                assert_eq!(event["regarding"]["name"], long);
                assert!(event["metadata"]["name"].as_str().unwrap().len() <= 253);
                assert!(event["reportingInstance"].as_str().unwrap().len() <= 128);
            }
        };
        tokio::join!(events.ended(&object), play);
    }
}
