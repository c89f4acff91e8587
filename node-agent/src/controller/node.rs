//! What this node can do, for the operator.

use kube::Client;
use stillframe_crds::node::CheckpointNodeStatus;

use super::{disk::Reserve, place::ImageRoot};
use crate::checkpoint::Engine;

/// What this node can do.
#[derive(Debug)]
pub struct Facts;

impl Facts {
    /// Looks.
    #[must_use]
    pub fn gather(_: &Engine, _: &ImageRoot, _: &Reserve, _: u32) -> CheckpointNodeStatus {
        CheckpointNodeStatus::default()
    }
}

/// Tells the API server.
///
/// # Errors
/// It did not take it.
pub async fn publish(_: &Client, _: &str, _: &CheckpointNodeStatus) -> Result<(), kube::Error> {
    Ok(())
}
