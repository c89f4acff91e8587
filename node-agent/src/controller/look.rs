//! What an object's place holds, looked at where a slow disk keeps nobody else waiting.

use std::sync::Arc;

use kube::ResourceExt as _;
use stillframe_crds::ContainerCheckpoint;
use tracing::warn;

use super::{
    context::Context,
    decide::Holds,
    dump::Dumper,
    failed::{Failed, chain},
    order,
    place::{Place, SavedReport},
};

/// What an object's place holds.
#[derive(Debug)]
pub(super) struct Look {
    /// The place, or why there can be none.
    pub(super) place: Result<Place, Failed>,
    /// What it holds of the object's own.
    pub(super) holds: Holds,
    /// What is known of an image that it holds.
    pub(super) report: SavedReport,
    /// Images whose link to a parent leads here; only looked for when the object goes.
    pub(super) children: Vec<String>,
}

/// Looks at an object's place.
pub(super) async fn look<D: Dumper>(
    context: &Arc<Context<D>>,
    object: &ContainerCheckpoint,
) -> Look {
    let namespace = object.namespace().unwrap_or_default();
    let place = context.place(&namespace, &order::image_path(object));
    let nothing = |place| Look {
        place,
        holds: Holds::Nothing,
        report: SavedReport::default(),
        children: Vec::new(),
    };
    let Ok(found) = place.clone() else {
        return nothing(place);
    };
    let uid = object.uid();
    let deleted = object.is_deleted();
    let images = context.images.clone();
    let seen = context.blocking(&found, move |place| {
        let owner = place
            .owner()
            .filter(|owner| Some(&owner.uid) == uid.as_ref());
        let Some(owner) = owner else {
            return Ok((Holds::Nothing, SavedReport::default(), Vec::new()));
        };
        let holds = if place.finished() {
            Holds::Image
        } else {
            Holds::Started
        };
        let unknown = || SavedReport {
            path: place.image_dir().display().to_string(),
            ..SavedReport::default()
        };
        let report = owner.report.unwrap_or_else(unknown);
        let mut children = Vec::new();
        if deleted && holds == Holds::Image {
            let found = images.children_of(place)?;
            children.extend(found.iter().map(|path| path.display().to_string()));
        }
        Ok((holds, report, children))
    });
    match seen.await {
        Ok((holds, report, children)) => Look {
            place,
            holds,
            report,
            children,
        },
        Err(error) => {
            warn!(error = chain(&error), "could not look at an image's place");
            nothing(Err(Failed::named(error.reason(), chain(&error))))
        }
    }
}
