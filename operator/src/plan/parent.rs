//! Holds a parent against what a chain of dumps needs: the same process, on the same node, and no
//! dump in between that has cleared the kernel's record of changed pages.

use jiff::Timestamp;
use stillframe_crds::{ContainerCheckpoint, Reason, condition};

use super::{
    Surroundings,
    capability::tracks_memory,
    resolve::Found,
    verdict::{Verdict, refuse, wait},
};

/// What stands in the way of building on the parent that the request names.
pub(super) fn check(
    checkpoint: &ContainerCheckpoint,
    found: &Found<'_>,
    around: &Surroundings,
) -> Option<Verdict> {
    let name = &checkpoint.spec.options.parent_ref.as_ref()?.name;
    if checkpoint.metadata.name.as_ref() == Some(name) {
        let message = "options.parentRef names this object itself";
        return Some(refuse(Reason::InvalidSpec, message));
    }
    let Some(parent) = around.parent.as_deref() else {
        let message = format!("there is no checkpoint {name}");
        return Some(refuse(Reason::ParentNotFound, message));
    };
    if let Some(verdict) = usable(name, parent, found) {
        return Some(verdict);
    }
    if !tracks_memory(&parent.spec.options) {
        let message = format!(
            "checkpoint {name} tracked no memory: only one with preDump or trackMemory can be a \
             parent"
        );
        return Some(refuse(Reason::ParentNotLatest, message));
    }
    let ancestors = ancestors(parent, &around.others);
    let others = around.others.iter().filter(|other| {
        let other_name = other.metadata.name.as_deref().unwrap_or_default();
        other_name != name
            && other.metadata.uid != checkpoint.metadata.uid
            && !ancestors.contains(&other_name)
            && tracks_memory(&other.spec.options)
            && is_of(other, found)
    });
    super::verdict::weightiest(others.filter_map(|other| between(name, parent, other)))
}

/// Whether the parent is there, done, and of that container.
fn usable(name: &str, parent: &ContainerCheckpoint, found: &Found<'_>) -> Option<Verdict> {
    let status = parent.status.as_ref();
    if parent.is_deleted() {
        let message = format!("checkpoint {name} is being deleted");
        return Some(refuse(Reason::ParentNotReady, message));
    }
    let ready = status.is_some_and(|s| condition::holds(&s.conditions, condition::READY));
    if parent.is_finished() && !ready {
        let message = format!("checkpoint {name} has failed");
        return Some(refuse(Reason::ParentNotReady, message));
    }
    if status.is_some_and(|s| s.container_id.is_some()) && !is_of(parent, found) {
        let message = format!(
            "checkpoint {name} is of another container than {} on node {}, or of an earlier start \
             of it",
            found.container.name, found.node
        );
        return Some(refuse(Reason::ParentMismatch, message));
    }
    (!parent.is_finished()).then(|| {
        let message = format!("checkpoint {name} has not finished yet");
        wait(Reason::WaitingForParent, Reason::ParentNotReady, message)
    })
}

fn is_of(checkpoint: &ContainerCheckpoint, found: &Found<'_>) -> bool {
    checkpoint.status.as_ref().is_some_and(|status| {
        status.container_id.as_deref() == Some(found.id)
            && status.node_name.as_deref() == Some(found.node)
    })
}

/// The names of the checkpoints that the parent builds on, which came before it.
fn ancestors<'a>(parent: &'a ContainerCheckpoint, all: &'a [ContainerCheckpoint]) -> Vec<&'a str> {
    let mut names = Vec::new();
    let mut next = Some(parent);
    while let Some(name) = next.and_then(|one| one.spec.options.parent_ref.as_ref())
        && !names.contains(&name.name.as_str())
    {
        names.push(name.name.as_str());
        next = all
            .iter()
            .find(|one| one.metadata.name.as_ref() == Some(&name.name));
    }
    names
}

/// Whether `other`, a tracked dump of the same process, came after the parent's.
///
/// The dumps of a container do not overlap, and times are kept in whole seconds: which of two came first that began in the same
/// one the agent knows, which holds the parent's image against its own note of the last tracked dump.
fn between(
    name: &str,
    parent: &ContainerCheckpoint,
    other: &ContainerCheckpoint,
) -> Option<Verdict> {
    let other_name = other.metadata.name.as_deref().unwrap_or_default();
    let Some(touched) = touched(other) else {
        return (!other.is_finished()).then(|| {
            let message = format!(
                "checkpoint {other_name} of the same container is under way; once it tracks \
                 memory, {name} cannot be a parent any more"
            );
            wait(Reason::WaitingForParent, Reason::ParentNotLatest, message)
        });
    };
    let began = parent.status.as_ref().and_then(|s| s.start_time.as_ref());
    (began.is_none_or(|began| touched > began.0)).then(|| {
        let message =
            format!("checkpoint {other_name} has tracked this container's memory since {name}");
        refuse(Reason::ParentNotLatest, message)
    })
}

/// When a dump may have cleared the record of changed pages; none when it never began, or the agent refused it for its own parent.
/// One whose agent was never heard of again may have.
fn touched(checkpoint: &ContainerCheckpoint) -> Option<Timestamp> {
    let status = checkpoint.status.as_ref()?;
    let failed = |reason: Reason| {
        let failure = status.failure.as_ref();
        failure.is_some_and(|failure| failure.reason == reason.as_str())
    };
    if failed(Reason::ParentNotLatest) {
        return None;
    }
    let began = status.start_time.as_ref();
    let lost = status.completion_time.as_ref();
    let lost = lost.filter(|_| failed(Reason::AgentNotResponding));
    began.or(lost).map(|time| time.0)
}
