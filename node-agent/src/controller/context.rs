//! What every job of this agent works with.

use std::{io, sync::Arc};

use stillframe_crds::{Reason, checkpoint::RelativePath};
use tokio::sync::watch;

use super::{
    dump::Dumper,
    events::Events,
    failed::{Failed, chain},
    metrics::Metrics,
    place::{self, ImageRoot, Place},
    status::Writer,
    work::Queue,
};

/// What every job of this agent works with.
#[derive(Debug)]
pub struct Context<D> {
    /// This node.
    pub node: String,
    /// Where images go.
    pub images: ImageRoot,
    /// Who dumps.
    pub dumper: Arc<D>,
    /// Whose turn it is.
    pub queue: Queue,
    /// Writes status.
    pub writer: Writer,
    /// Publishes events.
    pub events: Events,
    /// Counts.
    pub metrics: Metrics,
    /// No new work is taken.
    pub draining: watch::Receiver<bool>,
}

impl<D: Dumper> Context<D> {
    /// The place of an image.
    ///
    /// # Errors
    /// The path cannot be used.
    pub fn place(&self, namespace: &str, path: &RelativePath) -> Result<Place, Failed> {
        let place = self.images.place(namespace, path);
        place.map_err(|error| Failed::named(error.reason(), chain(&error)))
    }

    /// Does something about a place where waiting for a disk keeps nobody else waiting.
    ///
    /// # Errors
    /// The work's own, or its thread has ended.
    pub async fn blocking<T: Send + 'static>(
        &self,
        place: &Place,
        work: impl FnOnce(&Place) -> Result<T, place::Error> + Send + 'static,
    ) -> Result<T, place::Error> {
        let place = place.clone();
        let path = place.image_dir();
        let done = tokio::task::spawn_blocking(move || work(&place)).await;
        done.unwrap_or_else(|error| {
            Err(place::Error::File {
                path,
                source: io::Error::other(error),
            })
        })
    }

    /// The failure of a place that nobody can look at.
    #[must_use]
    pub fn unusable(error: &place::Error) -> Failed {
        Failed::of(Reason::ImagePathUnusable, chain(error))
    }
}
