//! Tells people what happened, where `kubectl describe` shows it: one event on the checkpoint, one on its pod.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource as _, ResourceExt as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use stillframe_crds::{ContainerCheckpoint, condition, names};
use tracing::debug;

/// The longest note that the API takes.
const NOTE_BYTES: usize = 1000;
/// An event that takes longer than this is lost; nothing depends on it.
const WITHIN: Duration = Duration::from_secs(30);

/// Publishes events.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
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
        let reporter = Reporter {
            controller: names::NODE_AGENT_EVENTS.to_owned(),
            instance: Some(node.to_owned()),
        };
        Self {
            recorder: Recorder::new(client, reporter),
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
        let name = object.name_any();
        let on_pod = format!("ContainerCheckpoint {name}: {}", ready.message);
        let own = (object.object_ref(&()), ready.message.as_str());
        for (about, note) in [own, (pod(object), on_pod.as_str())] {
            let event = Event {
                type_: if well {
                    EventType::Normal
                } else {
                    EventType::Warning
                },
                reason: ready.reason.clone(),
                note: Some(condition::cut(note, NOTE_BYTES).to_owned()),
                action: "Checkpoint".to_owned(),
                secondary: None,
            };
            let sent = tokio::time::timeout(WITHIN, self.recorder.publish(&event, &about)).await;
            if !matches!(sent, Ok(Ok(()))) {
                debug!(name, "an event was lost");
            }
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
    use jiff::Timestamp;
    use serde_json::json;
    use stillframe_crds::Reason;

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
}
