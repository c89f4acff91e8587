//! Where a checkpoint stands between its creation and its end, and what has to be looked at there.

use jiff::{SignedDuration, Timestamp};
use stillframe_crds::{
    ContainerCheckpoint, Reason,
    checkpoint::{DeletionPolicy, PinnedServer},
    condition, names,
};

use super::{Act, Around, Notice, Plan, Receiver, report, verdict::Refusal};

/// How long after a request's deadline its agent may still report the end before it is given up.
const AGENT_GRACE: SignedDuration = SignedDuration::from_secs(30);

/// The longest name of an object (RFC 1123 subdomain).
const NAME_LIMIT: usize = 253;

/// Where a checkpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage<'a> {
    /// Nothing is left to do.
    Done,
    /// New, or released by somebody: nothing keeps it from vanishing while its image stays.
    Unheld,
    /// To be given to an agent.
    Unassigned,
    /// Its agent has it.
    Assigned { node: &'a str },
    /// It has ended, and is to be deleted then.
    Expiring { at: Timestamp },
    /// Deleted, and its agent has to remove the image.
    Removing { node: &'a str },
    /// Deleted, and nothing is left of it.
    Released,
}

/// What has to be looked at before [`plan`](super::plan) can decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look<'a> {
    /// Nothing.
    Nothing,
    /// Whether the node of that name exists.
    Node(&'a str),
    /// Whether the node exists, where one is named, and whether the receiver does that has the memory.
    Leaving(Option<&'a str>, &'a PinnedServer),
    /// The pod, its node's agent, the parent, the receiver.
    Source,
}

pub(super) fn stage(checkpoint: &ContainerCheckpoint) -> Stage<'_> {
    let finalizers = checkpoint.metadata.finalizers.as_deref();
    let held = finalizers.is_some_and(|all| all.iter().any(|one| one == names::FINALIZER));
    let status = checkpoint.status.as_ref();
    let node = status
        .and_then(|status| status.node_name.as_deref())
        .filter(|node| !node.is_empty());
    let removed = status.is_some_and(|s| condition::holds(&s.conditions, condition::IMAGE_REMOVED));
    if checkpoint.is_deleted() {
        return match node {
            _ if !held => Stage::Done,
            Some(node) if !removed => Stage::Removing { node },
            _ => Stage::Released,
        };
    }
    if !held {
        return Stage::Unheld;
    }
    if let Some(completed) = status.and_then(|status| status.completion_time.as_ref()) {
        let outlives = names::outlives_its_ttl(&checkpoint.metadata).is_some();
        return match checkpoint.spec.ttl_seconds_after_finished {
            Some(ttl) if !outlives => Stage::Expiring {
                at: after(completed.0, SignedDuration::from_secs(ttl.into())),
            },
            Some(_) | None => Stage::Done,
        };
    }
    match node {
        Some(node) => Stage::Assigned { node },
        None => Stage::Unassigned,
    }
}

/// What has to be looked at to decide about `checkpoint`.
#[must_use]
pub fn look(checkpoint: &ContainerCheckpoint) -> Look<'_> {
    match (stage(checkpoint), half(checkpoint)) {
        (Stage::Removing { node }, Some(server)) => return Look::Leaving(Some(node), server),
        (Stage::Released, Some(server)) => return Look::Leaving(None, server),
        _ => {}
    }
    match stage(checkpoint) {
        Stage::Unassigned => Look::Source,
        Stage::Assigned { node } | Stage::Removing { node } => Look::Node(node),
        Stage::Done | Stage::Unheld | Stage::Expiring { .. } | Stage::Released => Look::Nothing,
    }
}

/// The receiver that goes with an object: it has the other half of its image.
fn half(checkpoint: &ContainerCheckpoint) -> Option<&PinnedServer> {
    let server = checkpoint.status.as_ref()?.page_server.as_ref()?;
    (checkpoint.spec.deletion_policy == DeletionPolicy::Delete).then_some(server)
}

/// Lets an object go whose image is gone; its receiver first, which removes the other half.
pub(super) fn let_go(checkpoint: &ContainerCheckpoint, around: &Around) -> Plan {
    let receiver = match around {
        Around::Leaving { receiver, .. } => *receiver,
        Around::Nothing | Around::Node { .. } | Around::Source(_) => Receiver::Gone,
    };
    match (receiver, half(checkpoint)) {
        (Receiver::Going, _) => Plan::nothing(),
        (Receiver::There, Some(server)) => Plan::only(Act::DeleteReceiver {
            name: server.receiver.clone(),
            uid: server.receiver_uid.clone(),
        }),
        (Receiver::There | Receiver::Gone, _) => Plan::only(Act::DropFinalizer),
    }
}

/// Keeps a new object until its image is gone. This is done once with every object, and so is
/// telling that its time to live will not be honoured.
pub(super) fn hold(checkpoint: &ContainerCheckpoint) -> Plan {
    let expires = checkpoint.spec.ttl_seconds_after_finished.is_some();
    let mark = names::outlives_its_ttl(&checkpoint.metadata).filter(|_| expires);
    let note = |mark| {
        format!(
            "the object stays although it has ttlSecondsAfterFinished: by {mark} it is kept as it is in Git, so it \
             would be created anew and dumped again after every expiry. Hint: remove \
             ttlSecondsAfterFinished, or annotate the object with {}=true",
            names::ALLOW_TTL
        )
    };
    Plan {
        notice: mark.map(|mark| Notice {
            reason: Reason::TTLIgnored,
            note: note(mark),
        }),
        ..Plan::only(Act::AddFinalizer)
    }
}

/// Two fields of a spec may change after the end. That this has been seen is told, or kstatus calls
/// the object in progress for ever; nothing else of a final status is written.
pub(super) fn observe(checkpoint: &ContainerCheckpoint) -> Act {
    let generation = checkpoint.metadata.generation;
    let Some(mut status) = checkpoint.status.clone() else {
        return Act::Nothing;
    };
    let unseen = generation.filter(|now| *now != status.observed_generation);
    match unseen.filter(|_| checkpoint.is_finished() && !checkpoint.is_deleted()) {
        Some(generation) => {
            status.observed_generation = generation;
            Act::Observe(Box::new(status))
        }
        None => Act::Nothing,
    }
}

/// When a request that is not assigned has to fail.
pub(super) fn deadline(checkpoint: &ContainerCheckpoint, now: Timestamp) -> Timestamp {
    let created = checkpoint.metadata.creation_timestamp.as_ref();
    let timeout = SignedDuration::from_secs(checkpoint.spec.timeout_seconds.into());
    after(created.map_or(now, |time| time.0), timeout)
}

/// Bounds a request that its agent has.
pub(super) fn watch(
    checkpoint: &ContainerCheckpoint,
    node: &str,
    exists: bool,
    now: Timestamp,
) -> Plan {
    let failed = |reason, message| report::failed(checkpoint, Refusal { reason, message }, now);
    if !exists {
        let message = format!("node {node} no longer exists");
        return failed(Reason::NodeGone, message);
    }
    let patience = after(deadline(checkpoint, now), AGENT_GRACE);
    if patience > now {
        return Plan::at(patience);
    }
    let message = format!(
        "the agent on node {node} has not reported an end within timeoutSeconds ({}) and {} more",
        checkpoint.spec.timeout_seconds,
        AGENT_GRACE.as_secs()
    );
    failed(Reason::AgentNotResponding, message)
}

/// Whether an object can have that name, and a request's path take it. What users and other
/// writers of a status give as a name goes through here before it is put into a path.
#[must_use]
pub fn names_an_object(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    name.len() <= NAME_LIMIT
        && name.split('.').all(|part| {
            let (first, last) = (part.as_bytes().first(), part.as_bytes().last());
            part.bytes().all(allowed)
                && first.is_some_and(|c| *c != b'-')
                && last.is_some_and(|c| *c != b'-')
        })
}

fn after(time: Timestamp, span: SignedDuration) -> Timestamp {
    time.checked_add(span).unwrap_or(Timestamp::MAX)
}
