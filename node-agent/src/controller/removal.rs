//! The end of an image: removed when its object goes, or kept as asked.

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

impl<D: Dumper> Job<D> {
    /// Removes what the place holds, or leaves it as deletionPolicy says, and reports that. It is
    /// to be tried again where that cannot be done: as the object says then, which may have
    /// changed by that time.
    pub(super) async fn remove(self, place: Option<Place>) -> Ended {
        let done = match &place {
            Some(place) => self.put_away(place).await,
            None => Ok(Reason::NothingToRemove),
        };
        let reason = match done {
            Ok(reason) => reason,
            Err(error) => return self.not_removed(chain(&error)).await,
        };
        info!(object = report::reference(&self.object), %reason, "an object goes");
        let message = match (&place, reason) {
            (Some(place), Reason::ImageRetained) => {
                let path = place.image_dir();
                format!("{} stays on node {}", path.display(), self.context.node)
            }
            _ => reason.meaning().to_owned(),
        };
        self.say_of_removal(true, reason, &message).await
    }

    async fn put_away(&self, place: &Place) -> Result<Reason, place::Error> {
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
        done.await
    }

    async fn say_of_removal(&self, holds: bool, reason: Reason, message: &str) -> Ended {
        let say = |object: &ContainerCheckpoint| {
            let now = Timestamp::now();
            Some(report::removal(object, holds, reason, message, now))
        };
        removed(self.context.writer.write(&*self.object, say).await)
    }

    /// Says that other images build on this one.
    pub(super) async fn wait_for_children(self, children: &[String]) -> Ended {
        let message = format!(
            "{} ({})",
            Reason::ChildrenDepend.meaning(),
            children.join(", ")
        );
        let said = self.say_of_removal(false, Reason::ChildrenDepend, &message);
        Ended {
            // Nobody tells of images that go by hand.
            retry: true,
            ..said.await
        }
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

    /// Says why the image is still there.
    pub(super) async fn not_removed(&self, message: String) -> Ended {
        warn!(
            object = report::reference(&self.object),
            error = message,
            "could not remove an image, trying again"
        );
        let said = self.say_of_removal(false, Reason::RemovalFailed, &message);
        Ended {
            retry: true,
            // It is said again with the next try.
            refused: false,
            ..said.await
        }
    }
}

fn removed(written: Result<Written, status::Error>) -> Ended {
    match written {
        Ok(Written::Stored(object) | Written::Unwanted(object)) => Ended {
            object: Some(object),
            ..Ended::default()
        },
        Ok(Written::Gone) => Ended::default(),
        Err(error) => {
            warn!(error = chain(&error), "the API server refuses a status");
            Ended {
                refused: true,
                ..Ended::default()
            }
        }
    }
}
