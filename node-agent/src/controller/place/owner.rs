//! Whose a place is, and what came of it: the file that outlives the agent.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};
use stillframe_crds::{
    checkpoint::{Dedup, DumpStats, RuntimeFacts},
    condition,
};

use super::{Error, dir::Dir};
use crate::{checkpoint::Report, controller::restorable::Verdict, images};

/// An owner file is far smaller; what is larger is none of ours.
const SIZE_LIMIT: u64 = 64 * 1024;
/// How many warnings are kept, and how many bytes of each: what the status takes.
const WARNINGS: usize = 16;
const WARNING_BYTES: usize = 512;

/// The object that a place belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// The object's UID: what ownership goes by.
    pub uid: String,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The UID of the container's pod.
    #[serde(rename = "podUID")]
    pub pod_uid: String,
    /// The container, as in the pod's status.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// How far the dump came.
    pub phase: Phase,
    /// What came of it, once it has finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<SavedReport>,
}

/// How far a dump came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The place is taken; the image may or may not be there.
    Started,
    /// The image is complete and the report is in the file.
    Finished,
}

/// What a status needs to be written again by an agent that did not see the dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedReport {
    /// When the dump began.
    pub started: Time,
    /// When the image was complete.
    pub ended: Time,
    /// How long the container stood still, in microseconds; unset for a pre-dump.
    #[serde(default)]
    pub pause_microseconds: Option<u64>,
    /// From the start to CRIU's answer, in microseconds.
    pub dump_microseconds: u64,
    /// From CRIU's answer to the published image, in microseconds.
    pub publish_microseconds: u64,
    /// Bytes of all files of the image.
    pub size_bytes: u64,
    /// Files of the image.
    pub files: u64,
    /// `sha256:…`.
    #[serde(default)]
    pub digest: Option<String>,
    /// CRIU's own figures.
    #[serde(default)]
    pub stats: Option<DumpStats>,
    /// CRIU's version.
    pub criu_version: String,
    /// The network lock that was used.
    #[serde(default)]
    pub network_lock: Option<String>,
    /// The runtime that ran the container.
    #[serde(default)]
    pub runtime: Option<RuntimeFacts>,
    /// Worth knowing, and no failure.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Whether it can be restored once its pod is gone.
    #[serde(default)]
    pub restorable: Option<Verdict>,
    /// What autoDedup has removed from the images that it builds on.
    #[serde(default)]
    pub dedup: Option<Dedup>,
}

impl SavedReport {
    /// What is kept of an engine's report.
    #[must_use]
    pub fn of(report: &Report, runtime: Option<RuntimeFacts>, started: Time, ended: Time) -> Self {
        let warnings = report.warnings.iter().take(WARNINGS);
        Self {
            started,
            ended,
            pause_microseconds: report.pause_microseconds,
            dump_microseconds: report.dump_microseconds,
            publish_microseconds: report.publish_microseconds,
            size_bytes: report.size_bytes,
            files: report.files,
            digest: report.digest.clone(),
            stats: report.stats.as_ref().map(figures),
            criu_version: report.criu_version.clone(),
            network_lock: report.network_lock.clone(),
            runtime,
            warnings: warnings
                .map(|text| condition::cut(text, WARNING_BYTES).to_owned())
                .collect(),
            restorable: None,
            dedup: None,
        }
    }
}

/// CRIU's figures as the API has them.
#[must_use]
pub fn figures(stats: &images::DumpStats) -> DumpStats {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    DumpStats {
        freezing_time: stats.freezing_time.into(),
        frozen_time: stats.frozen_time.into(),
        memdump_time: stats.memdump_time.into(),
        memwrite_time: stats.memwrite_time.into(),
        pages_scanned: count(stats.pages_scanned),
        pages_skipped_parent: count(stats.pages_skipped_parent),
        pages_written: count(stats.pages_written),
        pages_lazy: count(stats.pages_lazy),
        shpages_scanned: count(stats.shpages_scanned),
        shpages_skipped_parent: count(stats.shpages_skipped_parent),
        shpages_written: count(stats.shpages_written),
    }
}

/// What an owner file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    #[serde(flatten)]
    pub(super) owner: Owner,
    /// The directory is CRIU's work directory, and no image.
    #[serde(default)]
    pub(super) work: bool,
}

impl Record {
    /// Reads the owner file of a name; `None` when nobody has taken it.
    pub(super) fn read(dir: &Dir, name: &str) -> Result<Option<Self>, Error> {
        let file = file_name(name);
        let Some(content) = dir.read(&file, SIZE_LIMIT)? else {
            return Ok(None);
        };
        let record = serde_json::from_slice(&content).map_err(|source| Error::Owner {
            path: dir.at(&file),
            source,
        })?;
        Ok(Some(record))
    }

    /// Writes the owner file of a name in one step, so that nobody ever reads half of it.
    pub(super) fn write(&self, dir: &Dir, name: &str, replace: bool) -> Result<(), Error> {
        let file = file_name(name);
        let path = || dir.at(&file);
        let content = serde_json::to_vec(self).map_err(|source| Error::Owner {
            path: path(),
            source,
        })?;
        if content.len() as u64 > SIZE_LIMIT {
            return Err(Error::TooLarge {
                path: path(),
                limit: SIZE_LIMIT,
            });
        }
        let scratch = scratch_name(name);
        dir.unlink(&scratch)?;
        dir.create(&scratch, &content)?;
        let named = dir.rename(&scratch, &file, replace);
        if let Err(source) = named {
            // It is found again, and removed, the next time.
            let _ = dir.unlink(&scratch);
            return Err(Error::System {
                call: "name",
                path: path(),
                source,
            });
        }
        dir.sync()
    }

    /// Removes the owner file of a name: nobody has it any more.
    pub(super) fn remove(dir: &Dir, name: &str) -> Result<(), Error> {
        dir.unlink(scratch_name(name))?;
        dir.unlink(file_name(name))
    }
}

/// The owner file beside a directory.
pub(super) fn file_name(name: &str) -> String {
    format!("{name}.owner")
}

/// No image is called so: no part of a path may end with `.owner`, so that this is nobody's
/// unfinished image either.
fn scratch_name(name: &str) -> String {
    format!("{name}.owner.partial")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_content_is_read_without_panic(content in ".{0,200}", uid in ".{0,40}") {
            let _ = serde_json::from_str::<Record>(&content);
            let record = Record {
                owner: Owner {
                    uid,
                    namespace: content.clone(),
                    name: content.clone(),
                    pod_uid: String::new(),
                    container_id: content,
                    phase: Phase::Started,
                    report: None,
                },
                work: true,
            };
            let text = serde_json::to_string(&record).unwrap();
            prop_assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        }
    }

    #[test]
    fn a_report_of_another_type_is_refused_with_its_file() {
        let text = r#"{"uid":"u","namespace":"n","name":"n","podUID":"p","containerID":"c",
            "phase":"Finished","report":{"sizeBytes":-1}}"#;
        assert!(serde_json::from_str::<Record>(text).is_err());
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.owner"), text).unwrap();
        let error = Record::read(&Dir::root(dir.path()).unwrap(), "x").unwrap_err();
        assert!(error.to_string().ends_with("x.owner"), "{error}");
    }
}
