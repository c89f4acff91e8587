//! What a receiver's status says at every turn. Nothing here looks or acts.

use std::{net::SocketAddr, path::Path};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use stillframe_crds::{
    PageReceiver, Reason,
    checkpoint::Failure,
    condition::{self, IMAGE_REMOVED, LISTENING, Said},
    receiver::PageReceiverStatus,
};

use crate::controller::{place::SavedReport, report::size};

/// A status that begins as the object's own and has seen its generation.
fn next(object: &PageReceiver) -> PageReceiverStatus {
    let mut status = object.status.clone().unwrap_or_default();
    status.observed_generation = object.metadata.generation.unwrap_or(-1);
    status
}

fn set(
    status: &mut PageReceiverStatus,
    kind: &str,
    holds: bool,
    (reason, message): (Reason, &str),
    generation: Option<i64>,
    now: Timestamp,
) {
    let said = Said {
        holds,
        reason,
        message: message.to_owned(),
    };
    condition::set(&mut status.conditions, kind, &said, generation, now);
}

/// The sender may connect.
#[must_use]
pub fn listening(object: &PageReceiver, address: SocketAddr, now: Timestamp) -> PageReceiverStatus {
    let mut status = next(object);
    let generation = object.metadata.generation;
    let message = format!("the memory can be sent to {address}");
    let reason = Reason::Listening;
    condition::working(&mut status.conditions, reason, &message, generation, now);
    set(
        &mut status,
        LISTENING,
        true,
        (reason, &message),
        generation,
        now,
    );
    status.address = Some(address.ip().to_string());
    status.port = Some(address.port());
    status.start_time.get_or_insert(Time(now));
    status
}

/// All has come, and is in the directory `path`.
#[must_use]
pub fn received(
    object: &PageReceiver,
    path: &Path,
    saved: &SavedReport,
    now: Timestamp,
) -> PageReceiverStatus {
    let mut status = next(object);
    let generation = object.metadata.generation;
    let node = status.node_name.clone().unwrap_or_default();
    let path = path.display().to_string();
    let message = format!("{} are on node {node} in {path}", size(saved.size_bytes));
    let reason = Reason::Received;
    condition::ended(
        &mut status.conditions,
        true,
        reason,
        &message,
        generation,
        now,
    );
    no_longer_listening(&mut status, generation, now);
    status.completion_time = Some(Time(now));
    status
        .start_time
        .get_or_insert_with(|| saved.started.clone());
    status.path = Some(path);
    status.size_bytes = i64::try_from(saved.size_bytes).ok();
    status.size = Some(size(saved.size_bytes));
    status.digest.clone_from(&saved.digest);
    status
}

/// Nothing has been received.
#[must_use]
pub fn failed(object: &PageReceiver, failure: &Failure, now: Timestamp) -> PageReceiverStatus {
    let mut status = next(object);
    let generation = object.metadata.generation;
    let reason: Reason = failure.reason.parse().unwrap_or(Reason::InternalError);
    let failure = failure.clone().of(object);
    condition::ended(
        &mut status.conditions,
        false,
        reason,
        &failure.advice(),
        generation,
        now,
    );
    no_longer_listening(&mut status, generation, now);
    status.completion_time = Some(Time(now));
    status.failure = Some(Failure {
        reason: reason.as_str().to_owned(),
        ..failure
    });
    status
}

fn no_longer_listening(status: &mut PageReceiverStatus, generation: Option<i64>, now: Timestamp) {
    if condition::get(&status.conditions, LISTENING).is_some() {
        let reason = Reason::NotListening;
        set(
            status,
            LISTENING,
            false,
            (reason, "the agent listens no longer"),
            generation,
            now,
        );
    }
}

/// What has become of the directory of an object that goes.
#[must_use]
pub fn removal(
    object: &PageReceiver,
    holds: bool,
    reason: Reason,
    message: &str,
    now: Timestamp,
) -> PageReceiverStatus {
    let mut status = next(object);
    let generation = object.metadata.generation;
    set(
        &mut status,
        IMAGE_REMOVED,
        holds,
        (reason, message),
        generation,
        now,
    );
    status
}

#[cfg(test)]
mod tests {
    use stillframe_crds::PageReceiverSpec;

    use super::*;

    #[test]
    fn a_status_tells_where_it_listens_and_what_came() {
        let now = Timestamp::UNIX_EPOCH;
        let mut object = PageReceiver::new("pages", PageReceiverSpec::default());
        object.metadata.generation = Some(3);
        let status = listening(&object, "10.0.0.7:4711".parse().unwrap(), now);
        assert_eq!(status.address.as_deref(), Some("10.0.0.7"));
        assert_eq!((status.port, status.observed_generation), (Some(4711), 3));
        let holds = |status: &PageReceiverStatus, kind| condition::holds(&status.conditions, kind);
        assert!(holds(&status, LISTENING) && !holds(&status, condition::COMPLETE));
        object.status = Some(status);
        let failure = Failure {
            reason: "DiskFull".to_owned(),
            message: "no room".to_owned(),
            ..Failure::default()
        };
        let failed = failed(&object, &failure, now);
        assert!(holds(&failed, condition::COMPLETE) && holds(&failed, condition::STALLED));
        assert!(!holds(&failed, LISTENING) && !holds(&failed, condition::READY));
        object.status = Some(failed);
        let gone = removal(&object, true, Reason::ImageDeleted, "m", now);
        assert!(holds(&gone, IMAGE_REMOVED) && gone.completion_time.is_some());
    }
}
