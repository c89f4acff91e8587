//! A dumper that writes an empty image, and does as it is told.

use std::{
    collections::HashMap,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use stillframe_crds::{Reason, checkpoint::RuntimeFacts};

use crate::{
    checkpoint::Step,
    controller::{
        dump::{Bounds, Deduplicated, Dumper, Notes},
        failed::Failed,
        order::{Dirs, Order},
        place::SavedReport,
        restorable::Verdict,
    },
};

#[derive(Clone, Default)]
pub(super) struct Stub(Arc<Mutex<Told>>);

#[derive(Default)]
pub(super) struct Told {
    /// Objects whose dump goes on until somebody ends it.
    pub(super) hold: Vec<&'static str>,
    /// How often an object's dump fails before it touches anything.
    pub(super) fail: HashMap<&'static str, u32>,
    /// Objects whose container is not the one.
    pub(super) refuse: Vec<&'static str>,
    /// Every dump that began.
    pub(super) dumps: Vec<String>,
    /// What deduplication comes to.
    pub(super) dedup: Option<Deduplicated>,
    /// Every image that was deduplicated against.
    pub(super) deduplicated: Vec<PathBuf>,
}

impl Stub {
    pub(super) fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.0.lock().unwrap());
    }

    pub(super) fn dumps(&self) -> Vec<String> {
        self.0.lock().unwrap().dumps.clone()
    }

    pub(super) fn deduplicated(&self) -> Vec<PathBuf> {
        self.0.lock().unwrap().deduplicated.clone()
    }

    fn holds(&self, name: &str) -> bool {
        self.0.lock().unwrap().hold.contains(&name)
    }
}

pub(super) fn report() -> SavedReport {
    SavedReport {
        started: Time(Timestamp::UNIX_EPOCH),
        ended: Time(Timestamp::UNIX_EPOCH),
        pause_microseconds: Some(62_500),
        dump_microseconds: 100_000,
        publish_microseconds: 1000,
        size_bytes: 5_452_596,
        files: 9,
        digest: Some("sha256:00".to_owned()),
        stats: None,
        criu_version: "4.2".to_owned(),
        network_lock: Some("skip".to_owned()),
        runtime: Some(RuntimeFacts {
            name: "runc".to_owned(),
            version: None,
        }),
        warnings: Vec::new(),
        restorable: Some(Verdict {
            holds: true,
            message: "with what a stub has".to_owned(),
        }),
        dedup: None,
    }
}

impl Dumper for Stub {
    type Found = ();

    fn find(&self, order: &Order) -> Result<(), Failed> {
        if self
            .0
            .lock()
            .unwrap()
            .refuse
            .iter()
            .any(|one| *one == order.name)
        {
            return Err(Failed::of(Reason::IdentityMismatch, "another container"));
        }
        Ok(())
    }

    fn dump(
        &self,
        order: &Order,
        (): &(),
        dirs: Dirs,
        bounds: &Bounds,
        notes: &mut dyn Notes,
    ) -> Result<SavedReport, Failed> {
        let mut told = self.0.lock().unwrap();
        told.dumps.push(order.name.clone());
        if let Some(left) = told
            .fail
            .get_mut(order.name.as_str())
            .filter(|left| **left > 0)
        {
            *left -= 1;
            let mut failed = Failed::of(Reason::CheckpointUnderWay, "somebody else is at it");
            failed.retryable = true;
            return Err(failed);
        }
        drop(told);
        notes.step(Step::Freezing);
        let begun = Instant::now();
        while self.holds(&order.name) {
            // A test that fails is not to hang as well.
            assert!(begun.elapsed() < Duration::from_mins(2), "held for ever");
            if bounds.cancel.why().is_some() {
                return Err(Failed::of(Reason::Cancelled, "called off"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        let make = |dir| std::fs::DirBuilder::new().mode(0o700).create(dir);
        notes.complete(&report());
        make(dirs.image).map_err(|error| Failed::of(Reason::InternalError, error.to_string()))?;
        Ok(report())
    }

    fn deduplicate(&self, image: &Path) -> Option<Deduplicated> {
        let mut told = self.0.lock().unwrap();
        told.deduplicated.push(image.to_owned());
        told.dedup.clone()
    }

    fn sweep(&self) -> Vec<String> {
        Vec::new()
    }
}
