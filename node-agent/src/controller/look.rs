//! What an object's place holds, looked at where a slow disk keeps nobody else waiting.

use std::{path::PathBuf, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use stillframe_crds::ContainerCheckpoint;
use tracing::warn;

use super::{
    context::Context,
    decide::Holds,
    dump::Dumper,
    failed::{Failed, chain},
    kept,
    place::{Error, Place, SavedReport},
    salvage::salvage,
};
use crate::images::{self, Folder};

/// What an object's place holds.
#[derive(Debug)]
pub(super) struct Look {
    /// The place, where the object's paths can be meant.
    pub(super) place: Option<Place>,
    /// What it holds of the object's own.
    pub(super) holds: Holds,
    /// What is known of an image that it holds.
    pub(super) report: Option<SavedReport>,
    /// Images whose link to a parent leads here, or why nobody can tell; only looked for when the
    /// object goes.
    pub(super) children: Result<Vec<String>, String>,
    /// Why nobody can tell.
    pub(super) trouble: Option<Failed>,
}

impl Look {
    fn nothing(place: Option<Place>, trouble: Option<Failed>) -> Self {
        Self {
            place,
            holds: Holds::Nothing,
            report: None,
            children: Ok(Vec::new()),
            trouble,
        }
    }
}

/// Looks at an object's place.
pub(super) async fn look<D: Dumper>(
    context: &Arc<Context<D>>,
    object: &ContainerCheckpoint,
) -> Look {
    let place = match context.place(object) {
        Ok(place) => place,
        Err(error) => return Look::nothing(None, Some(error.into())),
    };
    let uid = object.uid().unwrap_or_default();
    let deleted = object.is_deleted();
    let salvageable = may_lack_its_name(object);
    let options = object.spec.options.clone();
    let images = context.images.clone();
    let seen = context.blocking(&place, move |place| -> Result<_, Error> {
        let Some(owner) = place.owner()?.filter(|owner| owner.uid == uid) else {
            return Ok(Look::nothing(Some(place.clone()), None));
        };
        let unnamed = salvageable && !place.finished()?;
        if unnamed && let Err(error) = salvage(&place.image_dir(), &options) {
            warn!(
                uid,
                error = chain(&error),
                "an unfinished image is not complete"
            );
        }
        let finished = place.finished()?;
        let children = if deleted && finished {
            let found = images.children_of(place);
            let shown = |found: Vec<PathBuf>| {
                found
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect()
            };
            found.map(shown).map_err(|error| unseen(&error))
        } else {
            Ok(Vec::new())
        };
        Ok(Look {
            holds: if finished {
                Holds::Image
            } else {
                Holds::Started
            },
            report: finished.then(|| owner.report.unwrap_or_else(|| measured(place))),
            place: Some(place.clone()),
            children,
            trouble: None,
        })
    });
    let begun = object.status.as_ref().and_then(|s| s.start_time.as_ref());
    match seen.await {
        Ok(look) => look,
        // A dump that found its way barred was never begun, and nothing of it is behind that.
        Err(Error::InTheWay { .. }) if deleted && begun.is_none() => Look::nothing(None, None),
        Err(error) => Look {
            // A place that is another's has no children of this object.
            children: match &error {
                Error::Taken { .. } => Ok(Vec::new()),
                error => Err(unseen(error)),
            },
            ..Look::nothing(Some(place), Some(error.into()))
        },
    }
}

/// Whether an image may be complete but for its name: its agent was lost, or it was given up while its agent was away and its container has
/// ended.
fn may_lack_its_name(object: &ContainerCheckpoint) -> bool {
    !object.is_deleted() && (!object.is_finished() || object.spec.options.ends_the_container())
}

/// Why nobody can tell which images build on this one.
fn unseen(error: &Error) -> String {
    let why = chain(error);
    format!("cannot tell whether other images build on this one: {why}")
}

/// What can be told of an image whose report was never written: its disk was full then.
fn measured(place: &Place) -> SavedReport {
    let now = Time(Timestamp::now());
    let size = Folder::open(&place.image_dir()).and_then(|folder| images::measure(&folder));
    let (size_bytes, files) = size.map_or((0, 0), |size| (size.bytes, size.files));
    SavedReport {
        started: now.clone(),
        ended: now,
        pause_microseconds: None,
        dump_microseconds: 0,
        publish_microseconds: 0,
        size_bytes,
        files,
        digest: None,
        stats: None,
        criu_version: String::new(),
        network_lock: None,
        runtime: None,
        warnings: vec!["the agent was restarted before it could note the dump's figures".into()],
        restorable: kept::judge(&place.image_dir()),
        dedup: None,
        other: None,
    }
}
