//! Between the engine and whoever is told how a dump goes.

use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use stillframe_crds::checkpoint::RuntimeFacts;

use super::{Notes, restore::Restore};
use crate::{
    checkpoint::{Observer, Report, Step},
    controller::place::SavedReport,
};

/// Hands the engine's steps on.
pub(super) struct Adapter<'a> {
    pub(super) notes: &'a mut dyn Notes,
    pub(super) runtime: &'a RuntimeFacts,
    pub(super) started: &'a Time,
    pub(super) restorable: Restore<'a>,
}

impl std::fmt::Debug for Adapter<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Adapter")
    }
}

impl Observer for Adapter<'_> {
    fn step(&mut self, step: Step) {
        self.notes.step(step);
    }

    fn confirm(&mut self, until: Option<Instant>) -> Result<(), String> {
        self.notes.confirm(until)
    }

    fn complete(&mut self, report: &Report) {
        let (runtime, started) = (Some(self.runtime.clone()), self.started.clone());
        let mut saved = SavedReport::of(report, runtime, started, Time(Timestamp::now()));
        let verdict = self.restorable.judge();
        saved.restorable = Some(verdict.clone());
        self.restorable.verdict = Some(verdict);
        self.notes.complete(&saved);
    }
}
