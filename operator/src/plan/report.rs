//! Writes the decisions down as the status that tells them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use stillframe_crds::{
    ContainerCheckpoint, Reason,
    checkpoint::{ContainerCheckpointStatus, Failure},
    condition,
};

use super::{Act, Notice, Plan, verdict::Refusal};

/// The object's status with the generation that this decision is about.
fn draft(checkpoint: &ContainerCheckpoint) -> ContainerCheckpointStatus {
    let mut status = checkpoint.status.clone().unwrap_or_default();
    status.observed_generation = checkpoint.metadata.generation.unwrap_or_default();
    status
}

/// A failure, which is final.
pub(super) fn failed(checkpoint: &ContainerCheckpoint, why: Refusal, now: Timestamp) -> Plan {
    let Refusal { reason, message } = why;
    let mut status = draft(checkpoint);
    let generation = checkpoint.metadata.generation;
    let failure = Failure::new(reason, message).of(checkpoint);
    let note = failure.advice();
    condition::ended(
        &mut status.conditions,
        false,
        reason,
        &note,
        generation,
        now,
    );
    status.completion_time = Some(Time(now));
    status.failure = Some(failure);
    Plan {
        notice: Some(Notice { reason, note }),
        ..Plan::only(Act::Fail(reason, Box::new(status)))
    }
}

/// A status that tells what somebody works on or waits for; `fill` adds what is known.
pub(super) fn working(
    checkpoint: &ContainerCheckpoint,
    reason: Reason,
    message: &str,
    now: Timestamp,
    fill: impl FnOnce(&mut ContainerCheckpointStatus),
) -> Box<ContainerCheckpointStatus> {
    let mut status = draft(checkpoint);
    let generation = checkpoint.metadata.generation;
    condition::working(&mut status.conditions, reason, message, generation, now);
    fill(&mut status);
    Box::new(status)
}
