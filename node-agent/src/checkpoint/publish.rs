//! The end of a dump that succeeded: proof, disk, digest, name, and the report.

use std::time::{Duration, Instant};

use super::{
    Error, Image, Kind, Observer, Report, Step, lock::Method, repair, run::Dump, watch::Seen,
};
use crate::images::{self, DumpStats, Folder};

impl Dump<'_> {
    /// After CRIU's success: what goes on has been let go by now.
    pub(super) fn publish(
        &self,
        seen: Seen,
        responded: Instant,
        lock: Option<Method>,
        observer: &mut dyn Observer,
    ) -> Result<Report, Error> {
        observer.step(Step::Publishing);
        let kind = match self.request.kind {
            Kind::Dump => images::Kind::Dump,
            Kind::PreDump => images::Kind::PreDump,
        };
        if !self.ends_container() {
            self.proof(self.durable()).check(kind)?;
            let confirmed = observer.confirm(self.deadline());
            confirmed.map_err(Error::OtherHalf)?;
        }
        let pause = seen.pause();
        let mut warnings = seen.warnings;
        let stats = Folder::open(&self.dirs.work).and_then(|work| DumpStats::read(&work));
        let stats = stats.unwrap_or_else(|error| {
            warnings.push(repair::chain(&error));
            None
        });
        // CRIU's own figure is the longer one where the beginning was seen a moment late.
        let pause = pause.map(|pause| pause.max(stats.map_or(Duration::ZERO, stood_still)));
        let folder = Folder::open(&self.dirs.image).map_err(Error::Publish)?;
        let size = images::measure(&folder).map_err(Error::Publish)?;
        let digest = self.durable().then(|| images::digest(&folder)).transpose();
        let digest = digest.map_err(Error::Publish)?;
        let image_path = match &self.request.image {
            Image::InPlace { dir, .. } | Image::Publish { dir } => dir.clone(),
        };
        let work_path = match &self.request.work_dir {
            Some(work) => work.clone(),
            None => image_path.clone(),
        };
        let mut report = Report {
            image_path,
            work_path,
            size_bytes: size.bytes,
            files: size.files,
            digest,
            pause_microseconds: pause
                .filter(|_| self.request.kind == Kind::Dump)
                .map(micros),
            dump_microseconds: micros(responded - self.started),
            publish_microseconds: 0,
            stats,
            criu_version: self.version.to_string(),
            network_lock: lock.map(|method| method.as_str().to_owned()),
            warnings,
        };
        if let Image::Publish { dir } = &self.request.image {
            observer.complete(&report);
            images::name(&self.dirs.image, dir).map_err(Error::Publish)?;
        }
        if let Some(chain) = self.chain().filter(|_| !self.ends_container())
            && let Err(error) = chain.continue_with(&report.image_path)
        {
            let said = format!("no later checkpoint can build on this one: {error}");
            report.warnings.push(said);
        }
        if let Some(pause) = pause {
            observer.step(Step::Done(pause));
        }
        report.publish_microseconds = micros(responded.elapsed());
        Ok(report)
    }
}

/// How long tasks stood still by CRIU's count.
fn stood_still(stats: DumpStats) -> Duration {
    let micros = u64::from(stats.freezing_time) + u64::from(stats.frozen_time);
    Duration::from_micros(micros)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
