//! The end of an image: removed when its object goes, or kept as asked.

use std::time::Duration;

use jiff::Timestamp;
use stillframe_crds::{ContainerCheckpoint, Reason, checkpoint::DeletionPolicy};
use tracing::{info, warn};

use super::{
    decide::Holds,
    dump::Dumper,
    failed::chain,
    job::{Ended, Job},
    place::{self, Place},
    report,
};

/// The first and the longest wait before a removal is tried again.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What is to become of a place, by what it holds of its object's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It goes, and this is then said.
    Goes(Reason),
    /// It stays, or there is nothing.
    Stays(Reason),
}

fn fate(policy: DeletionPolicy, holds: Holds) -> Fate {
    match (policy, holds) {
        (_, Holds::Nothing) => Fate::Stays(Reason::NothingToRemove),
        (DeletionPolicy::Retain, Holds::Image) => Fate::Stays(Reason::ImageRetained),
        (DeletionPolicy::Delete, Holds::Image) => Fate::Goes(Reason::ImageDeleted),
        (_, Holds::Started) => Fate::Goes(Reason::NothingToRemove),
    }
}

impl<D: Dumper> Job<D> {
    /// Removes what the place holds, or leaves it as deletionPolicy says, and reports that.
    pub async fn remove(self, place: Option<Place>, holds: Holds) -> Ended {
        let fate = fate(self.object.spec.deletion_policy, holds);
        let mut wait = FIRST_WAIT;
        while let (Fate::Goes(_), Some(place)) = (fate, &place) {
            match self.context.blocking(place, Place::remove).await {
                Ok(()) => break,
                Err(error) => self.not_removed(&error).await,
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        let (Fate::Goes(reason) | Fate::Stays(reason)) = fate;
        info!(object = report::reference(&self.object), %reason, "an object goes");
        let message = match (&place, reason) {
            (Some(place), Reason::ImageRetained) => {
                let path = place.image_dir();
                format!("{} stays on node {}", path.display(), self.context.node)
            }
            _ => reason.meaning().to_owned(),
        };
        let say = |object: &ContainerCheckpoint| {
            Some(report::removal(
                object,
                true,
                reason,
                &message,
                Timestamp::now(),
            ))
        };
        let written = self.context.writer.write(&self.object, say).await;
        self.removed(written)
    }

    /// Says that other images build on this one.
    pub async fn wait_for_children(self, children: &[String]) -> Ended {
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
        self.removed(written)
    }

    /// Removes the image of a checkpoint that has failed all the same.
    pub async fn discard(self, place: Option<Place>) -> Ended {
        if let Some(place) = place
            && let Err(error) = self.context.blocking(&place, Place::remove).await
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

    fn removed(self, written: Result<super::status::Written, super::status::Error>) -> Ended {
        use super::status::Written;
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_goes_or_stays_as_the_policy_says_and_nothing_else_is_touched() {
        use DeletionPolicy::{Delete, Retain};
        for (policy, holds, want) in [
            (Delete, Holds::Image, Fate::Goes(Reason::ImageDeleted)),
            (Retain, Holds::Image, Fate::Stays(Reason::ImageRetained)),
            (Delete, Holds::Started, Fate::Goes(Reason::NothingToRemove)),
            (Retain, Holds::Started, Fate::Goes(Reason::NothingToRemove)),
            (Delete, Holds::Nothing, Fate::Stays(Reason::NothingToRemove)),
            (Retain, Holds::Nothing, Fate::Stays(Reason::NothingToRemove)),
        ] {
            assert_eq!(fate(policy, holds), want, "{policy:?} {holds:?}");
        }
    }
}
