//! A task of the loop, and what it was begun on.

use stillframe_crds::ContainerCheckpoint;
use tokio::sync::watch;

use super::{decide::Busy, job::Wish};

/// A task of the loop.
#[derive(Debug)]
pub(super) struct Task {
    /// What is done.
    pub(super) busy: Busy,
    /// Whether it is to go on.
    pub(super) wishes: watch::Sender<Wish>,
    /// What it was begun on.
    pub(super) judged: Judged,
    /// The object, or what it waits for, has changed since the task began.
    pub(super) again: bool,
}

/// What of an object a removal depends on: unlike the status, nothing that we write ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Judged {
    generation: Option<i64>,
    deleted: bool,
}

impl Judged {
    /// Of the object as it is now.
    pub(super) fn of(object: &ContainerCheckpoint) -> Self {
        Self {
            generation: object.metadata.generation,
            deleted: object.is_deleted(),
        }
    }
}

impl Task {
    /// A task that begins.
    pub(super) fn new(busy: Busy, wishes: watch::Sender<Wish>, judged: Judged) -> Self {
        Self {
            busy,
            wishes,
            judged,
            again: false,
        }
    }

    /// The object is not as it was, or may not wait any longer: it is looked at again as soon as
    /// this is over, which a wait is at once.
    pub(super) fn stir(&mut self) {
        self.again = true;
        if self.busy == Busy::Waiting {
            self.wishes.send_replace(Wish::Withdrawn);
        }
    }
}
