//! What every job of this agent works with.

use std::{net::IpAddr, sync::Arc};

use kube::ResourceExt as _;
use stillframe_crds::ContainerCheckpoint;
use tokio::sync::watch;

use super::{
    dump::Dumper,
    events::Events,
    metrics::Metrics,
    order,
    place::{self, ImageRoot, Place},
    status::Writer,
    work::Queue,
};

/// What every job of this agent works with.
#[derive(Debug)]
pub struct Context<D> {
    /// This node.
    pub node: String,
    /// The address that the cluster knows it by.
    pub address: Option<IpAddr>,
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
    /// The place of an object's image. The disk is not looked at.
    ///
    /// # Errors
    /// The paths cannot be meant.
    pub fn place(&self, object: &ContainerCheckpoint) -> Result<Place, place::Error> {
        let namespace = object.namespace().unwrap_or_default();
        let place = self.images.place(&namespace, &order::image_path(object))?;
        place.with_work(object.spec.options.work_path.as_ref())
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
        let done = tokio::task::spawn_blocking(move || work(&place)).await;
        match done {
            Ok(done) => done,
            // A thread ends early only in a panic, which is ours.
            Err(broken) => std::panic::resume_unwind(broken.into_panic()),
        }
    }
}
