//! What is to be done about a receiver. Nothing here looks or acts.

use kube::ResourceExt as _;
use stillframe_crds::{PageReceiver, checkpoint::RelativePath, condition, names};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing.
    Nothing,
    /// Receive, or report what a former agent has received.
    Receive,
    /// Give back what was received, or keep it as deletionPolicy says, and report that.
    Remove,
    /// Put away what is left of one that has failed.
    Discard,
}

/// What is to be done about an object of this node's that nobody is at work for.
pub(super) fn decide(object: &PageReceiver) -> Action {
    let status = object.status.as_ref();
    let conditions = status.map(|s| s.conditions.as_slice()).unwrap_or_default();
    if object.is_deleted() {
        return if condition::holds(conditions, condition::IMAGE_REMOVED) {
            Action::Nothing
        } else {
            Action::Remove
        };
    }
    if !object.is_finished() {
        return Action::Receive;
    }
    match status.and_then(|s| s.failure.as_ref()) {
        Some(_) => Action::Discard,
        None => Action::Nothing,
    }
}

/// Where a receiver's directory is, below its namespace's.
pub(super) fn image_path(object: &PageReceiver) -> RelativePath {
    let asked = object.spec.image_path.clone();
    asked.unwrap_or_else(|| {
        let uid = object.uid().unwrap_or_default();
        RelativePath(names::default_image_path(&object.name_any(), &uid))
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use stillframe_crds::{
        PageReceiverSpec, Reason, checkpoint::Failure, condition::Said,
        receiver::PageReceiverStatus,
    };

    use super::*;

    #[test]
    fn each_stage_has_its_work() {
        let now = Timestamp::UNIX_EPOCH;
        let object = |finished: bool, failed: bool, deleted: bool, removed: bool| {
            let mut object = PageReceiver::new("pages", PageReceiverSpec::default());
            object.metadata.deletion_timestamp = deleted.then_some(Time(now));
            let mut status = PageReceiverStatus {
                completion_time: finished.then_some(Time(now)),
                failure: failed.then(Failure::default),
                ..PageReceiverStatus::default()
            };
            let said = Said {
                holds: removed,
                reason: Reason::ImageDeleted,
                message: "m".to_owned(),
            };
            let kind = condition::IMAGE_REMOVED;
            condition::set(&mut status.conditions, kind, &said, None, now);
            object.status = Some(status);
            object
        };
        for (finished, failed, deleted, removed, want) in [
            (false, false, false, false, Action::Receive),
            (true, false, false, false, Action::Nothing),
            (true, true, false, false, Action::Discard),
            (false, false, true, false, Action::Remove),
            (true, false, true, false, Action::Remove),
            (true, true, true, false, Action::Remove),
            (true, false, true, true, Action::Nothing),
        ] {
            let found = decide(&object(finished, failed, deleted, removed));
            assert_eq!(found, want, "{finished} {failed} {deleted} {removed}");
        }
    }
}
