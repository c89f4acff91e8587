//! What is to be done about an object. Nothing here looks or acts.

use jiff::Timestamp;
use stillframe_crds::{
    ContainerCheckpoint,
    checkpoint::DeletionPolicy,
    condition::{self, IMAGE_REMOVED},
};

use super::order;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Dump now.
    Start,
    /// Dump once it is its turn.
    Queue,
    /// End what runs for it: nobody wants it any more.
    Cancel,
    /// Report the image that a former agent has finished.
    Adopt,
    /// Report that a former agent was lost half-way.
    FailRestarted,
    /// Report that its time is up.
    TimeOut,
    /// Remove its image, where it is not to stay, and say so.
    Remove,
    /// Remove what is left of a checkpoint that has failed.
    Discard,
    /// Say that other images build on this one.
    WaitForChildren,
    /// Say that nobody can tell whether other images build on this one.
    FailRemoval,
    /// Nothing, until something changes.
    Nothing,
}

/// What this agent does for the object at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// Nothing.
    Idle,
    /// It waits for its turn, dumps or reports.
    Working,
    /// It has been told to stop.
    Ending,
    /// It removes the image.
    Removing,
    /// It could not remove the image, and tries again later.
    Waiting,
}

/// What the object's place holds of the object's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Nothing: it is empty, or another object's.
    Nothing,
    /// A dump that has begun, or what is left of one.
    Started,
    /// The image under its final name.
    Image,
}

/// Whether other images build on the object's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Children {
    /// None does.
    None,
    /// Some do.
    Some,
    /// Nobody can tell.
    Unknown,
}

/// What is known here about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// What this agent does for it.
    pub busy: Busy,
    /// What its place holds.
    pub holds: Holds,
    /// Other images build on its own.
    pub children: Children,
    /// It could be dumped at once.
    pub free: bool,
    /// No new work is taken.
    pub stopping: bool,
}

/// Whether an object's place has to be looked at before one can decide.
#[must_use]
pub fn needs_look(object: &ContainerCheckpoint) -> bool {
    if object.is_deleted() {
        return !is_removed(object);
    }
    let failed = || {
        let status = object.status.as_ref();
        status.is_some_and(|status| status.failure.is_some())
    };
    !object.is_finished() || failed()
}

/// What is to be done about an object of this node.
#[must_use]
pub fn decide(object: &ContainerCheckpoint, local: Local, now: Timestamp) -> Action {
    let Local {
        busy,
        holds,
        children,
        free,
        stopping,
    } = local;
    let unwanted = object.is_deleted() || object.is_finished();
    match busy {
        Busy::Working if unwanted => return Action::Cancel,
        Busy::Working | Busy::Ending | Busy::Removing | Busy::Waiting => return Action::Nothing,
        Busy::Idle => {}
    }
    if object.is_deleted() {
        return deleted(object, children);
    }
    if object.is_finished() {
        let failed = object.status.as_ref().is_some_and(|s| s.failure.is_some());
        // All that is left of a container that has ended is never thrown away unasked.
        let spare = object.spec.options.ends_the_container();
        return if failed && !spare && holds == Holds::Image {
            Action::Discard
        } else {
            Action::Nothing
        };
    }
    let begun = object
        .status
        .as_ref()
        .is_some_and(|status| status.start_time.is_some());
    match holds {
        Holds::Image => Action::Adopt,
        Holds::Started => Action::FailRestarted,
        Holds::Nothing if begun => Action::FailRestarted,
        Holds::Nothing if stopping => Action::Nothing,
        Holds::Nothing if now >= order::deadline(object) => Action::TimeOut,
        Holds::Nothing if free => Action::Start,
        Holds::Nothing => Action::Queue,
    }
}

fn deleted(object: &ContainerCheckpoint, children: Children) -> Action {
    if is_removed(object) {
        return Action::Nothing;
    }
    match (object.spec.deletion_policy, children) {
        (DeletionPolicy::Delete, Children::Some) => Action::WaitForChildren,
        (DeletionPolicy::Delete, Children::Unknown) => Action::FailRemoval,
        (DeletionPolicy::Delete, Children::None) | (DeletionPolicy::Retain, _) => Action::Remove,
    }
}

/// Whether it has been said that nothing of the image is left to remove.
pub(super) fn is_removed(object: &ContainerCheckpoint) -> bool {
    let status = object.status.as_ref();
    status.is_some_and(|status| condition::holds(&status.conditions, IMAGE_REMOVED))
}

#[cfg(test)]
mod tests;
