//! What a status says at every turn of a checkpoint. Nothing here looks or acts.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use stillframe_crds::{
    ContainerCheckpoint, Reason,
    checkpoint::{
        Artifact, ContainerCheckpointStatus, CriuFacts, DumpStats, Failure, Part, RuntimeFacts,
    },
    condition::{self, IMAGE_REMOVED, LAZY_PAGES_READY, Said},
};

use super::place::SavedReport;
use crate::checkpoint::Report;

mod text;

pub use text::{fetch, pause, ready, size};

/// The most warnings that a status holds.
const WARNINGS: usize = 16;
/// The longest warning, in bytes.
const WARNING_BYTES: usize = 512;
/// The longest message and hint of a failure, in bytes.
const MESSAGE_BYTES: usize = 2048;
const HINT_BYTES: usize = 1024;

/// What a status says of a finished dump.
#[must_use]
pub fn saved(report: &Report, runtime: RuntimeFacts) -> SavedReport {
    let pause = report
        .pause_microseconds
        .map(|micros| micros.div_ceil(1000));
    SavedReport {
        path: report.image_path.display().to_string(),
        size_bytes: signed(report.size_bytes),
        digest: report.digest.clone(),
        pause_milliseconds: pause.map(signed),
        stats: report.stats.as_ref().map(stats),
        criu: CriuFacts {
            version: report.criu_version.clone(),
            network_lock: report.network_lock.clone(),
        },
        runtime,
        warnings: report.warnings.clone(),
    }
}

fn stats(stats: &crate::images::DumpStats) -> DumpStats {
    DumpStats {
        freezing_time: stats.freezing_time.into(),
        frozen_time: stats.frozen_time.into(),
        memdump_time: stats.memdump_time.into(),
        memwrite_time: stats.memwrite_time.into(),
        pages_scanned: signed(stats.pages_scanned),
        pages_skipped_parent: signed(stats.pages_skipped_parent),
        pages_written: signed(stats.pages_written),
        pages_lazy: signed(stats.pages_lazy),
        shpages_scanned: signed(stats.shpages_scanned),
        shpages_skipped_parent: signed(stats.shpages_skipped_parent),
        shpages_written: signed(stats.shpages_written),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

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
pub fn serving(object: &ContainerCheckpoint, now: Timestamp) -> ContainerCheckpointStatus {
    let mut status = next(object);
    let message = object.spec.options.page_server.as_ref().map_or_else(
        || "lazy pages can be fetched".to_owned(),
        |server| format!("lazy pages can be fetched from port {}", server.port),
    );
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

/// Its image is complete.
#[must_use]
pub fn finished(
    object: &ContainerCheckpoint,
    node: &str,
    saved: &SavedReport,
    now: Timestamp,
) -> ContainerCheckpointStatus {
    let mut status = next(object);
    let generation = object.metadata.generation;
    let (reason, message) = ready(object, node, saved);
    condition::ended(
        &mut status.conditions,
        true,
        reason,
        &message,
        generation,
        now,
    );
    no_longer_serving(&mut status, generation, now);
    status.completion_time = Some(Time(now));
    status.start_time.get_or_insert(Time(now));
    status.pause_milliseconds = saved.pause_milliseconds;
    status.pause = saved.pause_milliseconds.map(pause);
    status.size = Some(size(saved.size_bytes));
    let parent = object.spec.options.parent_ref.as_ref();
    status.artifact = Some(Artifact {
        parts: vec![Part {
            node: node.to_owned(),
            path: saved.path.clone(),
            size_bytes: saved.size_bytes,
            digest: saved.digest.clone(),
        }],
        parent: parent.map(|parent| parent.name.clone()),
    });
    status.stats.clone_from(&saved.stats);
    status.criu = Some(saved.criu.clone());
    status.runtime = Some(saved.runtime.clone());
    let warnings = saved.warnings.iter().take(WARNINGS);
    status.warnings = warnings
        .map(|text| condition::cut(text, WARNING_BYTES).to_owned())
        .collect();
    status
}

fn no_longer_serving(
    status: &mut ContainerCheckpointStatus,
    generation: Option<i64>,
    now: Timestamp,
) {
    if condition::get(&status.conditions, LAZY_PAGES_READY).is_some() {
        let said = Said {
            holds: false,
            reason: Reason::NotServing,
            message: "all lazy pages have been fetched, or nobody serves them any more".to_owned(),
        };
        condition::set(
            &mut status.conditions,
            LAZY_PAGES_READY,
            &said,
            generation,
            now,
        );
    }
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
    let mut failure = failure.clone();
    reason.as_str().clone_into(&mut failure.reason);
    failure.message = condition::cut(&failure.message, MESSAGE_BYTES).to_owned();
    failure.hint = failure
        .hint
        .map(|hint| condition::cut(&hint, HINT_BYTES).to_owned());
    let message = text::failed(object, &failure, pause_milliseconds);
    condition::ended(
        &mut status.conditions,
        false,
        reason,
        &message,
        generation,
        now,
    );
    no_longer_serving(&mut status, generation, now);
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
