//! Brings one receiver a step further: look, plan, write.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::{controller::Action, reflector::ObjectRef},
};
use serde_json::{Value, json};
use stillframe_crds::{
    ContainerCheckpoint, PageReceiver, condition, names, receiver::PageReceiverStatus,
};
use tracing::{debug, info};

use super::plan::{Act, Candidate, Plan, Standing, plan};
use crate::{apply::finalizer_patch, context::Context, observe};

/// The longest that a timer is set for.
const LONGEST_TIMER: Duration = Duration::from_hours(24);

/// The wait before a failed reconciliation is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Why a step could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something could not be looked at.
    #[error("failed to observe")]
    Observe(#[from] observe::Error),
    /// The object could not be written.
    #[error("failed to write the receiver")]
    Write(#[source] Box<kube::Error>),
    /// The status is no JSON.
    #[error("failed to write the status down")]
    Serialize(#[source] serde_json::Error),
}

impl Error {
    /// The word for logs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Observe(error) => error.reason(),
            Self::Write(_) => "ReceiverNotWritten",
            Self::Serialize(_) => "StatusNotSerialized",
        }
    }
}

/// Brings `receiver` as far as it can go now.
///
/// # Errors
/// When the API server does not answer, or refuses.
///
/// # Cancel safety
/// It may be dropped at any await and run again: a write counts only if the object is still the one that
/// was judged.
pub async fn reconcile(
    receiver: Arc<PageReceiver>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let mut receiver = (*receiver).clone();
    // The finalizer alone brings nobody further, and waiting for its event would cost time.
    for _ in 0..2 {
        let (made, written) = step(&receiver, &context).await?;
        match (made.act, written) {
            (Act::AddFinalizer, Some(held)) => receiver = held,
            _ => {
                return Ok(made.again.map_or_else(Action::await_change, |again| {
                    let span = again.duration_since(Timestamp::now());
                    let wait = Duration::try_from(span).unwrap_or_default();
                    Action::requeue(wait.min(LONGEST_TIMER))
                }));
            }
        }
    }
    Ok(Action::await_change())
}

async fn step(
    receiver: &PageReceiver,
    context: &Context,
) -> Result<(Plan, Option<PageReceiver>), Error> {
    let node = receiver
        .status
        .as_ref()
        .and_then(|status| status.node_name.as_deref());
    let exists = match node {
        Some(node) => observe::node_exists(context, node).await?,
        None => true,
    };
    let standing = standing(receiver, context).await?;
    let made = plan(
        receiver,
        &candidates(context),
        exists,
        standing,
        Timestamp::now(),
    );
    let written = write(receiver, &made.act, context).await?;
    Ok((made, written))
}

/// The nodes whose agents have reported.
fn candidates(context: &Context) -> Vec<Candidate> {
    let nodes = context.agents.state();
    let candidate = |node: &Arc<stillframe_crds::CheckpointNode>| {
        let status = node.status.clone().unwrap_or_default();
        Candidate {
            name: node.name_any(),
            ready: condition::holds(&status.conditions, condition::READY),
            free_bytes: status.images.map_or(0, |images| images.free_bytes),
        }
    };
    nodes.iter().map(candidate).collect()
}

/// How the checkpoint stands that it is for. One that the watch does not know is asked for: the watch may be
/// behind.
async fn standing(receiver: &PageReceiver, context: &Context) -> Result<Standing, Error> {
    let Some(sender) = receiver.status.as_ref().and_then(|s| s.checkpoint.as_ref()) else {
        return Ok(Standing::Unknown);
    };
    let namespace = receiver.namespace().unwrap_or_default();
    let key = ObjectRef::new(&sender.name).within(&namespace);
    let of = |checkpoint: &ContainerCheckpoint| {
        let conditions = checkpoint.status.as_ref().map(|s| s.conditions.as_slice());
        let ready = condition::holds(conditions.unwrap_or_default(), condition::READY);
        match () {
            () if checkpoint.metadata.uid.as_deref() != Some(sender.uid.as_str()) => None,
            () if checkpoint.is_finished() && ready => Some(Standing::Ready),
            () if checkpoint.is_finished() => Some(Standing::Lost),
            () => Some(Standing::UnderWay),
        }
    };
    if let Some(known) = context.checkpoints.get(&key).as_deref().and_then(of) {
        return Ok(known);
    }
    let found = observe::read_checkpoint(context, &namespace, &sender.name).await?;
    Ok(found.as_ref().and_then(of).unwrap_or(Standing::Lost))
}

async fn write(
    receiver: &PageReceiver,
    act: &Act,
    context: &Context,
) -> Result<Option<PageReceiver>, Error> {
    let namespace = receiver.namespace().unwrap_or_default();
    let api: Api<PageReceiver> = Api::namespaced(context.client.clone(), &namespace);
    let name = receiver.name_any();
    let manager = PatchParams::apply(names::OPERATOR);
    let answer = match act {
        Act::Nothing => return Ok(None),
        Act::AddFinalizer | Act::DropFinalizer => {
            let patch = finalizer_patch(&receiver.metadata, *act == Act::AddFinalizer);
            api.patch(&name, &manager, &Patch::Merge(patch)).await
        }
        Act::Write(status) | Act::Fail(_, status) => {
            let patch = status_patch(receiver, status).map_err(Error::Serialize)?;
            api.patch_status(&name, &manager, &Patch::Merge(patch))
                .await
        }
    };
    match answer {
        Ok(written) => {
            tell(&namespace, &name, act);
            Ok(Some(written))
        }
        // The event that tells is on its way.
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
            debug!(namespace, name, "somebody else was faster");
            Ok(None)
        }
        Err(error) => Err(Error::Write(Box::new(error))),
    }
}

fn tell(namespace: &str, name: &str, act: &Act) {
    match act {
        Act::Nothing | Act::AddFinalizer => {}
        Act::DropFinalizer => info!(namespace, name, "let the receiver go"),
        Act::Write(status) => {
            let node = status.node_name.as_deref().unwrap_or_default();
            info!(namespace, name, node, "wrote the receiver's status");
        }
        Act::Fail(reason, _) => info!(namespace, name, %reason, "the receiver has failed"),
    }
}

fn status_patch(receiver: &PageReceiver, status: &PageReceiverStatus) -> serde_json::Result<Value> {
    Ok(json!({
        "metadata": {"resourceVersion": receiver.metadata.resource_version},
        "status": serde_json::to_value(status)?,
    }))
}

/// When a failed reconciliation is tried again.
#[must_use]
pub fn retry() -> Action {
    Action::requeue(RETRY)
}
