//! Tells people what the operator has decided, as far as events can be had.

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, Resource, api::PostParams};
use stillframe_crds::{ContainerCheckpoint, condition, names};
use tracing::warn;

use crate::plan::Notice;

/// The longest note that the API server takes, in bytes.
const NOTE_LIMIT: usize = 1024;

/// Publishes events.
#[derive(Clone)]
pub struct Events {
    client: Client,
    instance: String,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let instance = &self.instance;
        out.debug_struct("Events")
            .field("instance", instance)
            .finish_non_exhaustive()
    }
}

impl Events {
    /// Events of this instance of the operator.
    #[must_use]
    pub fn new(client: Client, instance: String) -> Self {
        Self { client, instance }
    }

    /// Publishes a warning about `checkpoint`. That it could not be published is logged and no
    /// error: the object's status tells the same.
    pub async fn warn(&self, checkpoint: &ContainerCheckpoint, notice: &Notice, now: Timestamp) {
        let event = warning(checkpoint, notice, &self.instance, now);
        let namespace = checkpoint.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let parameters = PostParams {
            field_manager: Some(names::OPERATOR.to_owned()),
            ..PostParams::default()
        };
        if let Err(error) = api.create(&parameters, &event).await {
            warn!(reason = %notice.reason, %error, "could not publish an event");
        }
    }
}

fn warning(
    checkpoint: &ContainerCheckpoint,
    notice: &Notice,
    instance: &str,
    now: Timestamp,
) -> Event {
    let regarding: ObjectReference = checkpoint.object_ref(&());
    let name = checkpoint.metadata.name.as_deref().unwrap_or_default();
    Event {
        metadata: ObjectMeta {
            namespace: checkpoint.metadata.namespace.clone(),
            name: Some(names::event_name(name, now)),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        type_: Some("Warning".to_owned()),
        reason: Some(notice.reason.as_str().to_owned()),
        action: Some("Checkpoint".to_owned()),
        note: Some(condition::cut(&notice.note, NOTE_LIMIT).to_owned()),
        regarding: Some(regarding),
        reporting_controller: Some(names::OPERATOR.to_owned()),
        reporting_instance: Some(condition::cut(instance, 128).to_owned()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use stillframe_crds::Reason;

    use super::*;
    use crate::fixtures;

    #[test]
    fn the_longest_name_and_note_still_make_a_valid_event() {
        let notice = Notice {
            reason: Reason::PodNotFound,
            note: "ö".repeat(2000),
        };
        let checkpoint = fixtures::checkpoint(&"a".repeat(253));
        let event = warning(&checkpoint, &notice, &"i".repeat(300), Timestamp::MAX);
        assert!(event.metadata.name.unwrap().len() <= 253);
        assert!(event.note.unwrap().len() <= NOTE_LIMIT);
        assert!(event.reporting_instance.unwrap().len() <= 128);
        assert_eq!(
            event.regarding.unwrap().kind.as_deref(),
            Some("ContainerCheckpoint")
        );
    }
}
