//! autoDedup, once a child is complete: its parents lose what it holds anew, and their objects say so.

use std::sync::Arc;

use jiff::Timestamp;
use stillframe_crds::{ContainerCheckpoint, checkpoint::Dedup, condition};
use tracing::{error, info, warn};

use super::{
    dump::Dumper,
    failed::chain,
    job::Job,
    place::{Owner, Place, SavedReport},
    report,
    status::{Subject, Written},
};

impl<D: Dumper> Job<D> {
    /// Removes from the parents of a complete image what it holds anew, where that is asked for. Idempotent: an agent that adopts the image
    /// does it again.
    pub(super) async fn deduplicate(&self, place: &Place, saved: &mut SavedReport) {
        if !self.object.spec.options.auto_dedup {
            return;
        }
        let (dumper, image) = (Arc::clone(&self.context.dumper), place.image_dir());
        let work = tokio::task::spawn_blocking(move || dumper.deduplicate(&image));
        let done = match work.await {
            Ok(Some(done)) => done,
            Ok(None) => return,
            Err(broken) => {
                error!(%broken, "a thread ended");
                return;
            }
        };
        saved.warnings.extend(done.warning);
        saved.dedup = Some(Dedup {
            bytes_freed: i64::try_from(done.bytes_freed).unwrap_or(i64::MAX),
        });
        for parent in &done.parents {
            self.tell_of(parent).await;
        }
    }

    /// Has the object of a parent say that its image can be restored no more.
    async fn tell_of(&self, parent: &Owner) {
        let subject = Subject {
            namespace: parent.namespace.clone(),
            name: parent.name.clone(),
            uid: Some(parent.uid.clone()),
        };
        let by = self.object.metadata.name.clone().unwrap_or_default();
        let node = self.context.node.clone();
        let say = |object: &ContainerCheckpoint| {
            is_ready_on(object, &node).then(|| report::deduplicated(object, &by, Timestamp::now()))
        };
        match self.context.writer.write_unseen(subject, say).await {
            Ok(Written::Stored(_)) => info!(
                object = format!("{}/{}", parent.namespace, parent.name),
                by, "an image has given pages away"
            ),
            // An image that outlived its object, or whose object is about to go.
            Ok(Written::Unwanted(_) | Written::Gone) => {}
            Err(error) => warn!(
                error = chain(&error),
                "could not say that an image has given pages away"
            ),
        }
    }
}

/// Whether an object is one whose image this node's agent holds: what is said of others is theirs to say.
fn is_ready_on(object: &ContainerCheckpoint, node: &str) -> bool {
    let status = object.status.as_ref();
    let here = status.is_some_and(|status| status.node_name.as_deref() == Some(node));
    let ready = status.is_some_and(|s| condition::holds(&s.conditions, condition::READY));
    here && ready && !object.is_deleted()
}
