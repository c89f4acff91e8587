//! Turns a decision into its one request, which counts only if the object is still the one that
//! was judged.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::{Map, Value, json};
use stillframe_crds::{
    ContainerCheckpoint, PageReceiver, checkpoint::ContainerCheckpointStatus, names,
    receiver::Sender,
};

use crate::plan::Act;

/// What could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The finalizer.
    #[error("failed to write the finalizer")]
    Finalizer(#[source] Box<kube::Error>),
    /// The status.
    #[error("failed to write the status")]
    Status(#[source] Box<kube::Error>),
    /// The status, which is no JSON.
    #[error("failed to write the status down")]
    Serialize(#[source] serde_json::Error),
    /// The receiver, which was to become the checkpoint's own.
    #[error("failed to write the receiver's status")]
    Claim(#[source] Box<kube::Error>),
    /// The receiver, which was to go with the checkpoint.
    #[error("failed to delete the receiver")]
    DeleteReceiver(#[source] Box<kube::Error>),
    /// The deletion.
    #[error("failed to delete the object")]
    Delete(#[source] Box<kube::Error>),
}

impl Error {
    /// The word for logs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Finalizer(_) => "FinalizerNotWritten",
            Self::Status(_) => "StatusNotWritten",
            Self::Serialize(_) => "StatusNotSerialized",
            Self::Claim(_) => "ReceiverNotClaimed",
            Self::DeleteReceiver(_) => "ReceiverNotDeleted",
            Self::Delete(_) => "NotDeleted",
        }
    }
}

/// What became of a request.
#[derive(Debug)]
pub enum Applied {
    /// None was needed.
    Nothing,
    /// The object now looks so.
    Changed(Box<ContainerCheckpoint>),
    /// The object is on its way out.
    Deleted,
    /// Somebody else has changed the object, or it is gone. The event that tells is on its way.
    Overtaken,
}

/// Makes the one request of `act`.
///
/// # Errors
/// When the API server does not answer, or refuses for another reason than a change meanwhile.
///
/// # Cancel safety
/// The request may or may not have been made; deciding again on what the object then looks like
/// is always right.
pub async fn apply(
    client: &Client,
    checkpoint: &ContainerCheckpoint,
    act: &Act,
) -> Result<Applied, Error> {
    let namespace = checkpoint.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<ContainerCheckpoint> = Api::namespaced(client.clone(), namespace);
    let name = checkpoint.metadata.name.as_deref().unwrap_or_default();
    let manager = PatchParams::apply(names::OPERATOR);
    match act {
        Act::Nothing => Ok(Applied::Nothing),
        Act::AddFinalizer | Act::DropFinalizer => {
            let patch = Patch::Merge(finalizer_patch(
                &checkpoint.metadata,
                *act == Act::AddFinalizer,
            ));
            settle(api.patch(name, &manager, &patch).await, Error::Finalizer)
        }
        Act::Wait(status) | Act::Assign(status) | Act::Observe(status) | Act::Fail(_, status) => {
            let Some(patch) = status_patch(checkpoint, status).map_err(Error::Serialize)? else {
                return Ok(Applied::Nothing);
            };
            let patch = Patch::Merge(patch);
            let answer = api.patch_status(name, &manager, &patch).await;
            settle(answer, Error::Status)
        }
        Act::Claim(receiver, sender) => {
            let api: Api<PageReceiver> = Api::namespaced(client.clone(), namespace);
            let patch = Patch::Merge(claim_patch(receiver, sender));
            let name = receiver.metadata.name.as_deref().unwrap_or_default();
            let answer = api.patch_status(name, &manager, &patch).await;
            settle(answer.map(|_| checkpoint.clone()), Error::Claim)
        }
        Act::DeleteReceiver { name, uid } => {
            let api: Api<PageReceiver> = Api::namespaced(client.clone(), namespace);
            let only = DeleteParams::default().preconditions(Preconditions {
                uid: Some(uid.clone()),
                resource_version: None,
            });
            let answer = api.delete(name, &only).await;
            settle(answer.map(|_| checkpoint.clone()), Error::DeleteReceiver)
        }
        Act::Delete => {
            let answer = api.delete(name, &only(checkpoint)).await;
            match settle(answer.map(|_| checkpoint.clone()), Error::Delete)? {
                Applied::Changed(_) => Ok(Applied::Deleted),
                other => Ok(other),
            }
        }
    }
}

fn settle(
    answer: kube::Result<ContainerCheckpoint>,
    failed: impl FnOnce(Box<kube::Error>) -> Error,
) -> Result<Applied, Error> {
    match answer {
        Ok(changed) => Ok(Applied::Changed(Box::new(changed))),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
            Ok(Applied::Overtaken)
        }
        Err(error) => Err(failed(Box::new(error))),
    }
}

/// Makes a receiver somebody's, and only as it was when it was nobody's.
fn claim_patch(receiver: &PageReceiver, sender: &Sender) -> Value {
    json!({
        "metadata": {
            "uid": receiver.metadata.uid,
            "resourceVersion": receiver.metadata.resource_version,
        },
        "status": {"checkpoint": sender},
    })
}

/// Only the object that was judged, and only as it was then.
fn only(checkpoint: &ContainerCheckpoint) -> DeleteParams {
    DeleteParams::default().preconditions(Preconditions {
        uid: checkpoint.metadata.uid.clone(),
        resource_version: checkpoint.metadata.resource_version.clone(),
    })
}

/// With our finalizer or without, and only as the object is now; those of others stay.
pub(crate) fn finalizer_patch(metadata: &ObjectMeta, ours: bool) -> Value {
    let all = metadata.finalizers.as_deref().unwrap_or_default();
    let others = all.iter().map(String::as_str);
    let mut finalizers: Vec<&str> = others.filter(|one| *one != names::FINALIZER).collect();
    if ours {
        finalizers.push(names::FINALIZER);
    }
    json!({"metadata": {
        "resourceVersion": metadata.resource_version,
        "finalizers": finalizers,
    }})
}

/// The fields of `status` that differ from the object's; none when all are the same.
fn status_patch(
    checkpoint: &ContainerCheckpoint,
    status: &ContainerCheckpointStatus,
) -> serde_json::Result<Option<Value>> {
    let before = match &checkpoint.status {
        Some(before) => serde_json::to_value(before)?,
        None => Value::Null,
    };
    let mut changed = Map::new();
    if let Value::Object(fields) = serde_json::to_value(status)? {
        let differs = |field: &str, value: &Value| before.get(field) != Some(value);
        changed.extend(
            fields
                .into_iter()
                .filter(|(field, value)| differs(field, value)),
        );
    }
    let version = &checkpoint.metadata.resource_version;
    Ok((!changed.is_empty())
        .then(|| json!({"metadata": {"resourceVersion": version}, "status": changed})))
}
