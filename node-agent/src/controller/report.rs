//! What a status says at every turn of a checkpoint. Nothing here looks or acts.

use std::path::Path;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use stillframe_crds::{
    ContainerCheckpoint, Reason,
    checkpoint::{Artifact, ContainerCheckpointStatus, CriuFacts, Failure, LazyPages, Part},
    condition::{self, IMAGE_REMOVED, LAZY_PAGES_READY, RESTORABLE, Said},
};

use super::{
    place::SavedReport,
    restorable::{self, Verdict},
};

mod text;

pub use text::{fetch, pause, ready, size};

/// The most warnings that a status holds.
const WARNINGS: usize = 16;
/// The longest warning, in bytes.
const WARNING_BYTES: usize = 512;

/// A status that begins as the object's own and has seen its generation.
fn next(object: &ContainerCheckpoint) -> ContainerCheckpointStatus {
    let mut status = object.status.clone().unwrap_or_default();
    status.observed_generation = object.metadata.generation.unwrap_or(-1);
    status
}

fn working(
    object: &ContainerCheckpoint,
    reason: Reason,
    message: &str,
    now: Timestamp,
) -> ContainerCheckpointStatus {
    let mut status = next(object);
    let generation = object.metadata.generation;
    condition::working(&mut status.conditions, reason, message, generation, now);
    status
}

/// It waits for `ahead` other dumps of this node.
#[must_use]
pub fn queued(
    object: &ContainerCheckpoint,
    ahead: usize,
    now: Timestamp,
) -> ContainerCheckpointStatus {
    let message = format!("the node has other dumps to finish first; {ahead} before this one");
    working(object, Reason::Queued, &message, now)
}

/// Its dump begins for the `attempt`th time.
#[must_use]
pub fn dumping(
    object: &ContainerCheckpoint,
    attempt: u32,
    now: Timestamp,
) -> ContainerCheckpointStatus {
    let container = object.container_name().unwrap_or_default();
    let pod = &object.spec.source.pod_name;
    let message = format!("CRIU dumps container {container} of pod {pod}");
    let mut status = working(object, Reason::Dumping, &message, now);
    status.attempts = attempt;
    status.start_time.get_or_insert(Time(now));
    status
}

/// Its dump failed before the container stood still, and is tried again.
#[must_use]
pub fn retrying(
    object: &ContainerCheckpoint,
    failure: &Failure,
    now: Timestamp,
) -> ContainerCheckpointStatus {
    let message = format!(
        "the container was not touched and the dump is tried again: {}: {}",
        failure.reason, failure.message
    );
    working(object, Reason::Retrying, &message, now)
}

/// Its memory can be fetched.
#[must_use]
pub fn serving(
    object: &ContainerCheckpoint,
    served: &LazyPages,
    now: Timestamp,
) -> ContainerCheckpointStatus {
    let mut status = next(object);
    let LazyPages {
        address,
        port,
        path,
    } = served;
    let whence = address.as_deref().map_or_else(
        || format!("port {port}"),
        |address| format!("{address} port {port}"),
    );
    let message = format!(
        "lazy pages can be fetched from {whence}; everything else to restore from is in {path}, and the container stands still meanwhile"
    );
    status.lazy_pages = Some(served.clone());
    let said = Said {
        holds: true,
        reason: Reason::LazyPagesServed,
        message,
    };
    let generation = object.metadata.generation;
    condition::set(
        &mut status.conditions,
        LAZY_PAGES_READY,
        &said,
        generation,
        now,
    );
    status
}

/// Its image is complete, in the directory `path`.
#[must_use]
pub fn finished(
    object: &ContainerCheckpoint,
    node: &str,
    path: &Path,
    saved: &SavedReport,
    now: Timestamp,
) -> ContainerCheckpointStatus {
    let SavedReport {
        started,
        ended: _,
        pause_microseconds,
        dump_microseconds: _,
        publish_microseconds: _,
        size_bytes,
        files: _,
        digest: _,
        stats,
        criu_version,
        network_lock,
        runtime,
        warnings,
        restorable,
        dedup,
        other,
    } = saved;
    let mut status = next(object);
    let generation = object.metadata.generation;
    let (reason, message) = ready(object, node, path, saved);
    condition::ended(
        &mut status.conditions,
        true,
        reason,
        &message,
        generation,
        now,
    );
    say_restorable(&mut status, restorable.as_ref(), generation, now);
    status.completion_time = Some(Time(now));
    status.start_time.get_or_insert_with(|| started.clone());
    status.pause_milliseconds = pause_microseconds.map(milliseconds);
    status.pause = status.pause_milliseconds.map(pause);
    let elsewhere = other
        .as_ref()
        .and_then(|part| u64::try_from(part.size_bytes).ok());
    status.size = Some(size(size_bytes.saturating_add(elsewhere.unwrap_or(0))));
    status.artifact = Some(artifact(object, node, path, saved));
    status.stats.clone_from(stats);
    status.dedup.clone_from(dedup);
    status.criu = (!criu_version.is_empty()).then(|| CriuFacts {
        version: criu_version.clone(),
        network_lock: network_lock.clone(),
    });
    status.runtime.clone_from(runtime);
    let warnings = warnings.iter().take(WARNINGS);
    status.warnings = warnings
        .map(|text| condition::cut(text, WARNING_BYTES).to_owned())
        .collect();
    status
}

/// The image's parts: what is here, and what went to another node.
fn artifact(
    object: &ContainerCheckpoint,
    node: &str,
    path: &Path,
    saved: &SavedReport,
) -> Artifact {
    let here = Part {
        node: node.to_owned(),
        path: path.display().to_string(),
        size_bytes: i64::try_from(saved.size_bytes).unwrap_or(i64::MAX),
        digest: saved.digest.clone(),
    };
    let parent = object.spec.options.parent_ref.as_ref();
    Artifact {
        parts: std::iter::once(here).chain(saved.other.clone()).collect(),
        parent: parent.map(|parent| parent.name.clone()),
    }
}

/// The checkpoint `by`, which builds on this one, has removed pages from its image.
#[must_use]
pub fn deduplicated(
    object: &ContainerCheckpoint,
    by: &str,
    now: Timestamp,
) -> ContainerCheckpointStatus {
    let mut status = object.status.clone().unwrap_or_default();
    let verdict = restorable::deduplicated(by);
    let generation = object.metadata.generation;
    set_restorable(&mut status, &verdict, Reason::PagesRemoved, generation, now);
    status
}

fn say_restorable(
    status: &mut ContainerCheckpointStatus,
    verdict: Option<&Verdict>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let Some(verdict) = verdict else {
        return;
    };
    let reason = if verdict.holds {
        Reason::NothingMissing
    } else {
        Reason::PartsMissing
    };
    set_restorable(status, verdict, reason, generation, now);
}

fn set_restorable(
    status: &mut ContainerCheckpointStatus,
    verdict: &Verdict,
    reason: Reason,
    generation: Option<i64>,
    now: Timestamp,
) {
    let said = Said {
        holds: verdict.holds,
        reason,
        message: verdict.message.clone(),
    };
    condition::set(&mut status.conditions, RESTORABLE, &said, generation, now);
}

/// A pause as the API has it; one that was measured is never nothing.
#[must_use]
pub fn milliseconds(microseconds: u64) -> i64 {
    i64::try_from(microseconds.div_ceil(1000)).unwrap_or(i64::MAX)
}

/// It has failed. `pause_milliseconds` is how long the container stood still all the same.
#[must_use]
pub fn failed(
    object: &ContainerCheckpoint,
    failure: &Failure,
    pause_milliseconds: Option<i64>,
    now: Timestamp,
) -> ContainerCheckpointStatus {
    let mut status = next(object);
    let generation = object.metadata.generation;
    let reason: Reason = failure.reason.parse().unwrap_or(Reason::InternalError);
    let mut failure = failure.clone().of(object);
    reason.as_str().clone_into(&mut failure.reason);
    let message = text::failed(object, &failure, pause_milliseconds);
    condition::ended(
        &mut status.conditions,
        false,
        reason,
        &message,
        generation,
        now,
    );
    status.completion_time = Some(Time(now));
    status.pause_milliseconds = pause_milliseconds;
    status.pause = pause_milliseconds.map(pause);
    status.failure = Some(failure);
    status
}

/// What became of the image of a deleted object; `holds` once it is settled.
#[must_use]
pub fn removal(
    object: &ContainerCheckpoint,
    holds: bool,
    reason: Reason,
    message: &str,
    now: Timestamp,
) -> ContainerCheckpointStatus {
    let mut status = object.status.clone().unwrap_or_default();
    let said = Said {
        holds,
        reason,
        message: message.to_owned(),
    };
    let generation = object.metadata.generation;
    condition::set(
        &mut status.conditions,
        IMAGE_REMOVED,
        &said,
        generation,
        now,
    );
    status
}

/// The name that events and log lines know it by.
#[must_use]
pub fn reference(object: &ContainerCheckpoint) -> String {
    format!(
        "{}/{}",
        object.namespace().unwrap_or_default(),
        object.name_any()
    )
}

#[cfg(test)]
mod tests;
