//! Brings one checkpoint a step further: observe, plan, apply, tell.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::runtime::controller::Action;
use stillframe_crds::ContainerCheckpoint;
use tracing::{debug, info};

use crate::{
    apply::{self, Applied, apply},
    context::Context,
    index::Key,
    metrics::Outcome,
    observe,
    plan::{Act, Plan, plan},
};

/// The longest that a timer is set for: timers beyond two years are more than the queue takes.
const LONGEST_TIMER: Duration = Duration::from_hours(30 * 24);

/// The wait before a failed reconciliation is tried again, doubled each time up to the longest.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// The longest wait before another try.
const LONGEST_RETRY: Duration = Duration::from_mins(1);

/// Why a step could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something could not be looked at.
    #[error("failed to observe")]
    Observe(#[from] observe::Error),
    /// Something could not be written.
    #[error("failed to apply")]
    Apply(#[from] apply::Error),
}

impl Error {
    /// The word for logs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Observe(error) => error.reason(),
            Self::Apply(error) => error.reason(),
        }
    }
}

/// Brings `checkpoint` as far as it can go now.
///
/// # Errors
/// When the API server does not answer, or refuses.
///
/// # Cancel safety
/// It may be dropped at any await and run again: each request counts only if the object is still
/// the one that was judged.
pub async fn reconcile(
    checkpoint: Arc<ContainerCheckpoint>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    if context.written.has_replaced(&checkpoint) {
        return Ok(Action::await_change());
    }
    let key = Key::of(&*checkpoint);
    let result = steps(&checkpoint, &context).await;
    match &result {
        Ok(_) => context.failures.clear(&key),
        Err(_) => context.metrics.decided(Outcome::error),
    }
    result
}

async fn steps(first: &ContainerCheckpoint, context: &Context) -> Result<Action, Error> {
    let builds_on_another = first.spec.options.parent_ref.is_some() && !first.is_finished();
    let _turn = if builds_on_another {
        Some(context.chains.lock().await)
    } else {
        None
    };
    let (plan, changed) = step(first, context).await?;
    // The finalizer alone brings nobody further, and waiting for its event would cost time.
    let (plan, changed) = match (plan.act, changed) {
        (Act::AddFinalizer, Some(held)) => step(&held, context).await?,
        (act, changed) => (Plan { act, ..plan }, changed),
    };
    // Nor does what was done to the receiver, whose events may have come by now.
    let plan = match (plan.act, changed) {
        (Act::Claim(..) | Act::DeleteReceiver { .. }, Some(same)) => step(&same, context).await?.0,
        (act, _) => Plan { act, ..plan },
    };
    Ok(plan.again.map_or_else(Action::await_change, |again| {
        Action::requeue(until(again, Timestamp::now()))
    }))
}

async fn step(
    checkpoint: &ContainerCheckpoint,
    context: &Context,
) -> Result<(Plan, Option<Box<ContainerCheckpoint>>), Error> {
    let around = observe::around(context, checkpoint).await?;
    let now = Timestamp::now();
    let plan = plan(checkpoint, &around, now);
    let applied = apply(&context.client, checkpoint, &plan.act).await?;
    let changed = match applied {
        Applied::Changed(changed) => Some(changed),
        Applied::Nothing => {
            context.metrics.decided(Outcome::nothing);
            return Ok((plan, None));
        }
        Applied::Deleted => None,
        Applied::Overtaken => {
            debug!("somebody else was faster");
            context.metrics.decided(Outcome::overtaken);
            return Ok((
                Plan {
                    again: None,
                    ..plan
                },
                None,
            ));
        }
    };
    if let Some(changed) = &changed {
        context.written.note(checkpoint, changed);
    }
    tell(checkpoint, &plan, context, now).await;
    Ok((plan, changed))
}

/// Logs, counts and publishes what was done.
async fn tell(checkpoint: &ContainerCheckpoint, plan: &Plan, context: &Context, now: Timestamp) {
    context.metrics.decided(Outcome::from(&plan.act));
    match &plan.act {
        Act::Nothing => {}
        Act::AddFinalizer => debug!("set the finalizer"),
        Act::DropFinalizer => info!("dropped the finalizer"),
        Act::Delete => info!("deleted the object, whose time to live was over"),
        Act::Claim(receiver, _) => {
            let receiver = receiver.metadata.name.as_deref().unwrap_or_default();
            info!(receiver, "made the receiver the checkpoint's");
        }
        Act::DeleteReceiver { name, .. } => info!(receiver = name, "deleted the receiver"),
        Act::Wait(_) => info!("the checkpoint waits"),
        Act::Observe(_) => debug!("has seen a change after the end"),
        Act::Assign(status) => {
            let node = status.node_name.as_deref().unwrap_or_default();
            info!(node, "assigned the checkpoint");
            if let Some(age) = context.index.age(&Key::of(checkpoint)) {
                context.metrics.assigned_after(age);
            }
        }
        Act::Fail(reason, _) => {
            info!(%reason, "the checkpoint has failed");
            context.metrics.failed(*reason);
        }
    }
    if let Some(notice) = &plan.notice {
        context.events.warn(checkpoint, notice, now).await;
    }
}

fn until(again: Timestamp, now: Timestamp) -> Duration {
    let span = again.duration_since(now);
    Duration::try_from(span)
        .unwrap_or_default()
        .min(LONGEST_TIMER)
}

/// When a failed reconciliation is tried again.
#[must_use]
pub fn retry(checkpoint: &ContainerCheckpoint, context: &Context) -> Action {
    let before = context.failures.count(Key::of(checkpoint));
    Action::requeue(backoff(before))
}

fn backoff(failures_before: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures_before).unwrap_or(u32::MAX);
    FIRST_RETRY.saturating_mul(factor).min(LONGEST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_come_later_each_time_up_to_a_minute() {
        assert_eq!(backoff(0), Duration::from_millis(500));
        assert_eq!(backoff(1), Duration::from_secs(1));
        assert_eq!(backoff(6), Duration::from_secs(32));
        for many in [7, 31, 32, 33, u32::MAX] {
            assert_eq!(backoff(many), LONGEST_RETRY, "{many}");
        }
    }

    #[test]
    fn a_timer_of_years_is_cut_and_one_in_the_past_fires_at_once() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(until(Timestamp::MAX, now), LONGEST_TIMER);
        assert_eq!(until(Timestamp::MIN, now), Duration::ZERO);
    }
}
