//! The conditions of our objects, and how one is set.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::Reason;

/// True once the checkpoint has ended, well or not: `kubectl wait --for=condition=Complete` always
/// returns.
pub const COMPLETE: &str = "Complete";
/// True once the image is complete under its final name.
pub const READY: &str = "Ready";
/// True while somebody works on it or waits to (kstatus).
pub const RECONCILING: &str = "Reconciling";
/// True when it has failed and nobody will try again (kstatus).
pub const STALLED: &str = "Stalled";
/// True once lazy pages can be fetched.
pub const LAZY_PAGES_READY: &str = "LazyPagesReady";
/// True when the image can be restored once its pod is gone; False says what is missing then.
pub const RESTORABLE: &str = "Restorable";
/// True once the agent has removed the image, or kept it as deletionPolicy says.
pub const IMAGE_REMOVED: &str = "ImageRemoved";

/// The longest message that the API server takes is 32768 bytes; ours stay readable.
const MESSAGE_LIMIT: usize = 2048;

/// What a condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Whether it holds.
    pub holds: bool,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, for people.
    pub message: String,
}

/// Sets the condition `kind`, and moves its transition time only when its status changes.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: &str,
    said: &Said,
    generation: Option<i64>,
    now: Timestamp,
) {
    let status = if said.holds { "True" } else { "False" };
    let earlier = conditions.iter().position(|c| c.type_ == kind);
    let since = earlier
        .map(|at| &conditions[at])
        .filter(|c| c.status == status)
        .map_or(Time(now), |c| c.last_transition_time.clone());
    let condition = Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: said.reason.as_str().to_owned(),
        message: cut(&said.message, MESSAGE_LIMIT).to_owned(),
        observed_generation: generation,
        last_transition_time: since,
    };
    match earlier {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

/// The condition of that type.
#[must_use]
pub fn get<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == kind)
}

/// Whether the condition of that type is there and True.
#[must_use]
pub fn holds(conditions: &[Condition], kind: &str) -> bool {
    get(conditions, kind).is_some_and(|c| c.status == "True")
}

/// The four conditions of a checkpoint on which somebody works, or for which somebody waits.
pub fn working(
    conditions: &mut Vec<Condition>,
    reason: Reason,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    let mut put = |kind, holds| {
        let message = message.to_owned();
        let said = Said {
            holds,
            reason,
            message,
        };
        set(conditions, kind, &said, generation, now);
    };
    put(COMPLETE, false);
    put(READY, false);
    put(RECONCILING, true);
}

/// The conditions of a checkpoint that has ended: `ready`, or failed. The whole message is where people
/// and kstatus look for it; the others say what the reason means, since all are read together. Lazy
/// pages are served no longer.
pub fn ended(
    conditions: &mut Vec<Condition>,
    ready: bool,
    reason: Reason,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    let mut put = |kind, holds, message: &str| {
        let message = message.to_owned();
        let said = Said {
            holds,
            reason,
            message,
        };
        set(conditions, kind, &said, generation, now);
    };
    let meaning = reason.meaning();
    put(COMPLETE, true, meaning);
    put(READY, ready, message);
    put(RECONCILING, false, meaning);
    put(STALLED, !ready, if ready { meaning } else { message });
    if get(conditions, LAZY_PAGES_READY).is_some() {
        let said = Said {
            holds: false,
            reason: Reason::NotServing,
            message: "nobody serves lazy pages any more".to_owned(),
        };
        set(conditions, LAZY_PAGES_READY, &said, generation, now);
    }
}

/// The longest start of `text` with at most `limit` bytes that ends between two characters.
#[must_use]
pub fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(holds: bool) -> Said {
        Said {
            holds,
            reason: Reason::Dumping,
            message: "m".into(),
        }
    }

    #[test]
    fn the_transition_time_moves_only_when_the_status_changes() {
        let (first, second, third) = (
            Timestamp::from_second(1).unwrap(),
            Timestamp::from_second(2).unwrap(),
            Timestamp::from_second(3).unwrap(),
        );
        let mut conditions = Vec::new();
        set(&mut conditions, READY, &said(false), Some(1), first);
        set(&mut conditions, READY, &said(false), Some(2), second);
        assert_eq!(conditions[0].last_transition_time, Time(first));
        assert_eq!(conditions[0].observed_generation, Some(2));
        set(&mut conditions, READY, &said(true), Some(2), third);
        assert_eq!(conditions[0].last_transition_time, Time(third));
        assert_eq!(conditions.len(), 1);
    }

    #[test]
    fn an_end_is_complete_either_way_and_stalled_only_when_failed() {
        for ready in [true, false] {
            let mut conditions = Vec::new();
            working(
                &mut conditions,
                Reason::Dumping,
                "m",
                None,
                Timestamp::UNIX_EPOCH,
            );
            assert!(holds(&conditions, RECONCILING) && !holds(&conditions, COMPLETE));
            ended(
                &mut conditions,
                ready,
                Reason::Checkpointed,
                "m",
                None,
                Timestamp::UNIX_EPOCH,
            );
            assert!(holds(&conditions, COMPLETE) && !holds(&conditions, RECONCILING));
            assert_eq!(holds(&conditions, READY), ready);
            assert_eq!(holds(&conditions, STALLED), !ready);
        }
    }

    #[test]
    fn a_message_is_cut_between_two_characters() {
        assert_eq!(cut("aéb", 2), "a");
        assert_eq!(cut("aéb", 3), "aé");
        assert_eq!(cut("ab", 9), "ab");
    }
}
