//! The end of what was received: removed when its object goes, or kept as asked; and never while a checkpoint needs it.

use jiff::Timestamp;
use kube::{Api, ResourceExt as _, core::DeserializeGuard};
use stillframe_crds::{
    ContainerCheckpoint, PageReceiver, Reason, checkpoint::DeletionPolicy, condition,
};
use tracing::{info, warn};

use super::{Context, Ended, decide::image_path, reference, report};
use crate::controller::{
    failed::chain,
    place::{self, Removed},
    status::Written,
};

/// Removes what the object's place holds, or leaves it as deletionPolicy says, and reports that.
pub(super) async fn remove(context: &Context, object: &PageReceiver) -> Ended {
    match needed(context, object).await {
        Ok(None) => {}
        Ok(Some(checkpoint)) => {
            let reason = Reason::CheckpointDepends;
            let message = format!("{} ({checkpoint})", reason.meaning());
            return say(context, object, false, reason, &message).await;
        }
        Err(why) => return say(context, object, false, Reason::RemovalFailed, &why).await,
    }
    match put_away(context, object).await {
        Ok(reason) => {
            info!(object = reference(object), %reason, "a receiver goes");
            say(context, object, true, reason, reason.meaning()).await
        }
        Err(error) => {
            let why = chain(&error);
            say(context, object, false, Reason::RemovalFailed, &why).await
        }
    }
}

/// The checkpoint whose image has its memory here, if it is to stay.
async fn needed(context: &Context, object: &PageReceiver) -> Result<Option<String>, String> {
    let status = object.status.as_ref();
    let Some(sender) = status.and_then(|status| status.checkpoint.as_ref()) else {
        return Ok(None);
    };
    let client = context.writer.client().clone();
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<DeserializeGuard<ContainerCheckpoint>> = Api::namespaced(client, &namespace);
    let found = api.get_opt(&sender.name).await;
    let found = found.map_err(|error| {
        format!(
            "cannot tell whether checkpoint {} needs it: {error}",
            sender.name
        )
    })?;
    let found = found.and_then(|guarded| guarded.0.ok());
    Ok(found
        .filter(|found| found.uid().as_deref() == Some(sender.uid.as_str()))
        .filter(needs)
        .map(|found| found.name_any()))
}

/// Whether a checkpoint is to stay that has its memory elsewhere.
fn needs(checkpoint: &ContainerCheckpoint) -> bool {
    let conditions = checkpoint.status.as_ref().map(|s| s.conditions.as_slice());
    let ready = condition::holds(conditions.unwrap_or_default(), condition::READY);
    !checkpoint.is_deleted() && (ready || !checkpoint.is_finished())
}

async fn put_away(context: &Context, object: &PageReceiver) -> Result<Reason, place::Error> {
    let namespace = object.namespace().unwrap_or_default();
    let Ok(place) = context.images.place(&namespace, &image_path(object)) else {
        // Nothing was ever written to what is no path.
        return Ok(Reason::NothingToRemove);
    };
    let uid = object.uid().unwrap_or_default();
    let policy = object.spec.deletion_policy;
    let done = tokio::task::spawn_blocking(move || {
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
        Ok(done) => done,
        // A thread ends early only in a panic, which is ours.
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}

async fn say(
    context: &Context,
    object: &PageReceiver,
    holds: bool,
    reason: Reason,
    message: &str,
) -> Ended {
    let now = Timestamp::now();
    let wanted = |object: &PageReceiver| Some(report::removal(object, holds, reason, message, now));
    match context.writer.write(object, wanted).await {
        Ok(Written::Stored(_) | Written::Unwanted(_) | Written::Gone) => Ended { retry: !holds },
        Err(error) => {
            warn!(
                object = reference(object),
                error = chain(&error),
                "cannot write a status"
            );
            Ended::default()
        }
    }
}

/// Puts away what is left of a receiver that somebody else has ended. Its log stays.
pub(super) async fn discard(context: &Context, object: &PageReceiver) -> Ended {
    let namespace = object.namespace().unwrap_or_default();
    let Ok(place) = context.images.place(&namespace, &image_path(object)) else {
        return Ended::default();
    };
    let uid = object.uid().unwrap_or_default();
    let done = tokio::task::spawn_blocking(move || {
        place.discard_partial(&uid)?;
        if place.finished()? {
            place.remove(&uid)?;
        }
        Ok::<_, place::Error>(())
    });
    match done.await {
        Ok(Ok(())) => Ended::default(),
        Ok(Err(error)) => {
            warn!(
                object = reference(object),
                error = chain(&error),
                "could not put away what a receiver has left"
            );
            Ended { retry: true }
        }
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}
