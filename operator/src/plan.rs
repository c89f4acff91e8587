//! Decides what is to be done about a checkpoint, from what was observed and the time: nothing
//! here waits, asks or reads a clock.

use std::sync::Arc;

use jiff::Timestamp;
use stillframe_crds::{
    CheckpointNode, ContainerCheckpoint, PageReceiver, Reason,
    checkpoint::ContainerCheckpointStatus, receiver::Sender,
};

use crate::pod::Pod;

mod capability;
mod lifecycle;
mod parent;
mod probes;
mod receiver;
mod report;
mod resolve;
mod source;
#[cfg(test)]
mod tests;
mod verdict;

pub use lifecycle::{Look, look, names_an_object};
pub use resolve::node_of;

/// What is to be done about a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The one request that changes the object.
    pub act: Act,
    /// What people are told once that has been done.
    pub notice: Option<Notice>,
    /// When to decide anew although nothing has changed by then.
    pub again: Option<Timestamp>,
}

/// A request that changes an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// None.
    Nothing,
    /// Keep the object until its image is gone.
    AddFinalizer,
    /// Let the object go.
    DropFinalizer,
    /// Delete the object, whose time to live is over.
    Delete,
    /// Make the receiver that it names its own, unless that has changed meanwhile.
    Claim(Box<PageReceiver>, Sender),
    /// Delete the receiver that has its memory, which goes with it.
    DeleteReceiver {
        /// The receiver's name.
        name: String,
        /// The receiver's UID.
        uid: String,
    },
    /// Report that it waits.
    Wait(Box<ContainerCheckpointStatus>),
    /// Give it to its node's agent.
    Assign(Box<ContainerCheckpointStatus>),
    /// Report that a change of the finished object has been seen.
    Observe(Box<ContainerCheckpointStatus>),
    /// Report that it has failed.
    Fail(Reason, Box<ContainerCheckpointStatus>),
}

/// A warning for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its word.
    pub reason: Reason,
    /// What happened.
    pub note: String,
}

/// What was found around a checkpoint, as [`look`] asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Around {
    /// Nothing had to be looked at.
    Nothing,
    /// Whether its node exists.
    Node {
        /// It does.
        exists: bool,
    },
    /// What keeps an object that was deleted.
    Leaving {
        /// Its node exists.
        exists: bool,
        /// The receiver that has its memory.
        receiver: Receiver,
    },
    /// What it needs to be assigned.
    Source(Box<Surroundings>),
}

/// The receiver of a checkpoint that was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// There is none, or it is another of that name.
    Gone,
    /// It is being deleted.
    Going,
    /// It is there.
    There,
}

/// What an unassigned checkpoint needs to be assigned.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Surroundings {
    /// The pod of that name.
    pub pod: Option<Pod>,
    /// What the agent of the pod's node has reported.
    pub agent: Option<Arc<CheckpointNode>>,
    /// The object that parentRef names.
    pub parent: Option<Box<ContainerCheckpoint>>,
    /// The checkpoints of the namespace that were assigned to the parent's node, with the parent
    /// itself. Empty unless the parent is finished.
    pub others: Vec<ContainerCheckpoint>,
    /// The receiver that receiverRef names.
    pub receiver: Option<Box<PageReceiver>>,
}

impl Plan {
    fn nothing() -> Self {
        Self::only(Act::Nothing)
    }

    fn only(act: Act) -> Self {
        Self {
            act,
            notice: None,
            again: None,
        }
    }

    fn at(again: Timestamp) -> Self {
        Self {
            again: Some(again),
            ..Self::nothing()
        }
    }
}

/// What is to be done about `checkpoint`, given what is `around` it.
///
/// Deciding twice on the same facts gives the same plan, and deciding on what a plan has brought
/// about gives none, but for the time to look again.
#[must_use]
pub fn plan(checkpoint: &ContainerCheckpoint, around: &Around, now: Timestamp) -> Plan {
    use lifecycle::Stage;
    let exists = !matches!(
        around,
        Around::Node { exists: false } | Around::Leaving { exists: false, .. }
    );
    match lifecycle::stage(checkpoint) {
        Stage::Done => Plan::only(lifecycle::observe(checkpoint)),
        Stage::Unheld => lifecycle::hold(checkpoint),
        Stage::Removing { .. } if exists => Plan::nothing(),
        Stage::Removing { .. } | Stage::Released => lifecycle::let_go(checkpoint, around),
        Stage::Expiring { at } if at <= now => Plan::only(Act::Delete),
        Stage::Expiring { at } => Plan {
            act: lifecycle::observe(checkpoint),
            ..Plan::at(at)
        },
        Stage::Assigned { node } => lifecycle::watch(checkpoint, node, exists, now),
        Stage::Unassigned => match around {
            Around::Source(found) => source::decide(checkpoint, found, now),
            Around::Nothing | Around::Node { .. } | Around::Leaving { .. } => Plan::nothing(),
        },
    }
}
