//! What monitors can know of the operator; every label comes from a closed set.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use stillframe_crds::Reason;

use crate::{index::Counts, plan::Act};

/// Upper bounds of the assignment histogram, in seconds.
const ASSIGNMENT_BUCKETS_SECONDS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0,
];

/// What a reconciliation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(
    non_camel_case_types,
    reason = "the variants are the labels as monitors see them"
)]
pub enum Outcome {
    /// There was nothing to do.
    nothing,
    /// The finalizer was set.
    finalizer_added,
    /// The finalizer was dropped.
    finalizer_dropped,
    /// The checkpoint was given to an agent.
    assigned,
    /// A receiver was made the checkpoint's.
    receiver_claimed,
    /// The receiver was deleted with the checkpoint.
    receiver_deleted,
    /// It was reported that the checkpoint waits.
    waiting,
    /// A change after the end was seen.
    observed,
    /// The checkpoint has failed.
    failed,
    /// The object was deleted, its time to live being over.
    expired,
    /// Somebody else was faster.
    overtaken,
    /// The API server did not do as asked.
    error,
}

impl From<&Act> for Outcome {
    fn from(act: &Act) -> Self {
        match act {
            Act::Nothing => Self::nothing,
            Act::AddFinalizer => Self::finalizer_added,
            Act::DropFinalizer => Self::finalizer_dropped,
            Act::Delete => Self::expired,
            Act::Claim(..) => Self::receiver_claimed,
            Act::DeleteReceiver { .. } => Self::receiver_deleted,
            Act::Wait(_) => Self::waiting,
            Act::Observe(_) => Self::observed,
            Act::Assign(_) => Self::assigned,
            Act::Fail(..) => Self::failed,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    result: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

/// The operator's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciliations: Family<ByOutcome, Counter>,
    failures: Family<ByReason, Counter>,
    waiting: Gauge,
    assigned: Gauge,
    assignment: Histogram,
    leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("stillframe_operator");
        let reconciliations = Family::default();
        let failures = Family::default();
        let (waiting, assigned, leader) = (Gauge::default(), Gauge::default(), Gauge::default());
        let assignment = Histogram::new(ASSIGNMENT_BUCKETS_SECONDS);
        registry.register(
            "reconciliations",
            "Decisions about checkpoints, by what they came to",
            reconciliations.clone(),
        );
        registry.register(
            "failures",
            "Checkpoints that the operator has failed, by reason",
            failures.clone(),
        );
        registry.register(
            "checkpoints_waiting",
            "Checkpoints that no agent has yet",
            waiting.clone(),
        );
        registry.register(
            "checkpoints_assigned",
            "Checkpoints that their agents have and have not finished",
            assigned.clone(),
        );
        registry.register(
            "assignment_seconds",
            "From when a checkpoint was first seen until its agent had it",
            assignment.clone(),
        );
        registry.register(
            "leader",
            "1 while this instance is the one that works",
            leader.clone(),
        );
        Self {
            registry,
            reconciliations,
            failures,
            waiting,
            assigned,
            assignment,
            leader,
        }
    }
}

impl Metrics {
    /// Counts a decision.
    pub fn decided(&self, result: Outcome) {
        self.reconciliations
            .get_or_create(&ByOutcome { result })
            .inc();
    }

    /// Counts a failed checkpoint.
    pub fn failed(&self, reason: Reason) {
        let reason = reason.as_str();
        self.failures.get_or_create(&ByReason { reason }).inc();
    }

    /// Notes how long an assignment took.
    pub fn assigned_after(&self, age: std::time::Duration) {
        self.assignment.observe(age.as_secs_f64());
    }

    /// Notes how many checkpoints are unfinished.
    pub fn unfinished(&self, counts: Counts) {
        let Counts { waiting, assigned } = counts;
        self.waiting.set(waiting.into());
        self.assigned.set(assigned.into());
    }

    /// Notes whether this instance leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// Whether this instance leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leader.get() == 1
    }

    /// The metrics in the `OpenMetrics` text format.
    ///
    /// # Errors
    /// When they cannot be written as text.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_what_was_counted() {
        let metrics = Metrics::default();
        metrics.decided(Outcome::finalizer_added);
        metrics.failed(Reason::PodNotFound);
        metrics.unfinished(Counts {
            waiting: 3,
            assigned: 2,
        });
        metrics.assigned_after(std::time::Duration::from_millis(7));
        metrics.leads(true);
        let text = metrics.text().unwrap();
        for line in [
            "stillframe_operator_reconciliations_total{result=\"finalizer_added\"} 1",
            "stillframe_operator_failures_total{reason=\"PodNotFound\"} 1",
            "stillframe_operator_checkpoints_waiting 3",
            "stillframe_operator_checkpoints_assigned 2",
            "stillframe_operator_assignment_seconds_bucket{le=\"0.01\"} 1",
            "stillframe_operator_leader 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
