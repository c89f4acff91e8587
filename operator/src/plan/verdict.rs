//! Why a checkpoint cannot be assigned, now or ever.

use stillframe_crds::Reason;

/// Why a checkpoint cannot be assigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It never can.
    Refuse(Refusal),
    /// It cannot now.
    Wait(Wait),
}

/// Why a checkpoint fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) message: String,
}

/// What a checkpoint waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) reason: Reason,
    pub(super) message: String,
    /// Why it fails when that has not come in time.
    pub(super) late: Reason,
}

pub(super) fn refuse(reason: Reason, message: impl Into<String>) -> Verdict {
    Verdict::Refuse(Refusal {
        reason,
        message: message.into(),
    })
}

pub(super) fn wait(reason: Reason, late: Reason, message: impl Into<String>) -> Verdict {
    Verdict::Wait(Wait {
        reason,
        message: message.into(),
        late,
    })
}

/// The verdict that counts: what can never be goes before what cannot be now, and otherwise what
/// was found first.
pub(super) fn weightiest(verdicts: impl IntoIterator<Item = Verdict>) -> Option<Verdict> {
    let mut first = None;
    for verdict in verdicts {
        match verdict {
            Verdict::Refuse(_) => return Some(verdict),
            Verdict::Wait(_) => first = first.or(Some(verdict)),
        }
    }
    first
}
