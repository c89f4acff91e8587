//! The end of an image: removed when its object goes, or kept as asked.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use stillframe_crds::{ContainerCheckpoint, Reason, checkpoint::DeletionPolicy};
use tracing::{info, warn};

use super::{
    dump::Dumper,
    failed::chain,
    job::{Ended, Job},
    place::{self, Place, Removed},
    report,
    status::{self, Written},
};

/// The first and the longest wait before a removal is tried again.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_mins(5);

impl<D: Dumper> Job<D> {
    /// Removes what the place holds, or leaves it as deletionPolicy says, and reports that.
    pub(super) async fn remove(self, place: Option<Place>) -> Ended {
        let reason = match &place {
            Some(place) => self.put_away(place).await,
            None => Reason::NothingToRemove,
        };
        info!(object = report::reference(&self.object), %reason, "an object goes");
        let message = match (&place, reason) {
            (Some(place), Reason::ImageRetained) => {
                let path = place.image_dir();
                format!("{} stays on node {}", path.display(), self.context.node)
            }
            _ => reason.meaning().to_owned(),
        };
        let say = |object: &ContainerCheckpoint| {
            let now = Timestamp::now();
            Some(report::removal(object, true, reason, &message, now))
        };
        let written = self.context.writer.write(&self.object, say).await;
        removed(written)
    }

    /// Tries until nothing is left that is to go.
    async fn put_away(&self, place: &Place) -> Reason {
        let mut wait = FIRST_WAIT;
        loop {
            let uid = self.object.uid().unwrap_or_default();
            let policy = self.object.spec.deletion_policy;
            let done = self.context.blocking(place, move |place| {
                Ok(match policy {
                    DeletionPolicy::Retain if place.keep(&uid)? => Reason::ImageRetained,
                    DeletionPolicy::Retain => Reason::NothingToRemove,
                    DeletionPolicy::Delete => match place.remove(&uid)? {
                        Removed::Image => Reason::ImageDeleted,
                        Removed::Leftovers | Removed::Nothing => Reason::NothingToRemove,
                    },
                })
            });
            match done.await {
                Ok(reason) => return reason,
                Err(error) => self.not_removed(&error).await,
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Says that other images build on this one.
    pub(super) async fn wait_for_children(self, children: &[String]) -> Ended {
        let message = format!(
            "{} ({})",
            Reason::ChildrenDepend.meaning(),
            children.join(", ")
        );
        let say = |object: &ContainerCheckpoint| {
            let reason = Reason::ChildrenDepend;
            Some(report::removal(
                object,
                false,
                reason,
                &message,
                Timestamp::now(),
            ))
        };
        let written = self.context.writer.write(&self.object, say).await;
        removed(written)
    }

    /// Removes the image of a checkpoint that has failed all the same.
    pub(super) async fn discard(self, place: Option<Place>) -> Ended {
        let uid = self.object.uid().unwrap_or_default();
        if let Some(place) = place
            && let Err(error) = self
                .context
                .blocking(&place, move |place| place.remove(&uid))
                .await
        {
            warn!(
                error = chain(&error),
                "could not remove the image of a failed checkpoint"
            );
        }
        Ended::default()
    }

    async fn not_removed(&self, error: &place::Error) {
        let message = chain(error);
        warn!(
            object = report::reference(&self.object),
            error = message,
            "could not remove an image, trying again"
        );
        let say = |object: &ContainerCheckpoint| {
            let reason = Reason::RemovalFailed;
            Some(report::removal(
                object,
                false,
                reason,
                &message,
                Timestamp::now(),
            ))
        };
        // It is said again with the next try.
        let _ = self.context.writer.write(&self.object, say).await;
    }
}

fn removed(written: Result<Written, status::Error>) -> Ended {
    match written {
        Ok(Written::Stored(object) | Written::Unwanted(object)) => Ended {
            object: Some(object),
            refused: false,
        },
        Ok(Written::Gone) => Ended::default(),
        Err(error) => {
            warn!(error = chain(&error), "the API server refuses a status");
            Ended {
                object: None,
                refused: true,
            }
        }
    }
}
