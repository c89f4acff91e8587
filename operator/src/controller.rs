//! Runs the reconciliations: what the watches wake is decided, one decision per object at a time.

use std::{convert::Infallible, sync::Arc};

use futures::{Stream, StreamExt, stream};
use kube::{
    Client,
    runtime::{
        applier,
        controller::{self, Config},
        reflector::{self, ObjectRef, Store, store::Writer},
    },
};
use stillframe_crds::{ContainerCheckpoint, PageReceiver};
use tokio::{sync::mpsc, task::JoinSet};
use tracing::{debug, info, warn};

use crate::{
    context::{Context, Failures, Nodes},
    events::Events,
    index::{Index, Key},
    metrics::Metrics,
    receivers,
    reconcile::{self, reconcile, retry},
    watches::{Synced, Watches},
    written::Written,
};

/// Decisions that wait for the API server at the same time.
const CONCURRENCY: u16 = 32;

/// Watches and reconciles until a watch ends, which none does by itself: whoever calls this ends
/// it by dropping it.
///
/// # Cancel safety
/// It may be dropped at any time; see [`reconcile`].
pub async fn run(client: Client, instance: String, metrics: Arc<Metrics>, synced: Synced) {
    let (agents, agents_writer) = reflector::store();
    let (checkpoints, checkpoints_writer) = reflector::store();
    let (receivers, receivers_writer) = reflector::store();
    let context = Arc::new(Context {
        events: Events::new(client.clone(), instance),
        client,
        agents,
        checkpoints: checkpoints.clone(),
        receivers: receivers.clone(),
        nodes: Nodes::default(),
        index: Index::default(),
        written: Written::default(),
        chains: tokio::sync::Mutex::default(),
        failures: Failures::default(),
        metrics,
    });
    let (queue, woken) = mpsc::unbounded_channel();
    let (receivers_queue, receivers_woken) = mpsc::unbounded_channel();
    let watches = Watches {
        context: Arc::clone(&context),
        queue,
        receivers: receivers_queue,
        synced: synced.clone(),
    };
    let mut tasks = spawn(&watches, checkpoints_writer, agents_writer);
    tasks.spawn(watches.clone().receivers(receivers_writer));
    drop(watches);
    let work = async {
        synced.wait().await;
        info!("the caches are complete");
        let receiving = receive(Arc::clone(&context), receivers, receivers_woken);
        let config = Config::default().concurrency(CONCURRENCY);
        let one = |object, context| Box::pin(reconcile(object, context));
        let on_error =
            |object: Arc<_>, _: &reconcile::Error, context: Arc<Context>| retry(&object, &context);
        let work = applier(one, on_error, context, checkpoints, requests(woken), config)
            .for_each(async |result| report(result));
        futures::join!(work, receiving);
    };
    tokio::select! {
        () = work => {}
        _ = tasks.join_next() => {}
    }
}

fn spawn(
    watches: &Watches,
    checkpoints: Writer<ContainerCheckpoint>,
    agents: Writer<stillframe_crds::CheckpointNode>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(watches.clone().checkpoints(checkpoints));
    tasks.spawn(watches.clone().agents(agents));
    tasks.spawn(watches.clone().pods());
    tasks.spawn(watches.clone().nodes());
    tasks
}

/// Decides about receivers, until nobody wakes any more.
async fn receive(
    context: Arc<Context>,
    receivers: Store<PageReceiver>,
    woken: mpsc::UnboundedReceiver<Key>,
) {
    let config = Config::default().concurrency(CONCURRENCY);
    let one = |object, context| Box::pin(receivers::reconcile(object, context));
    let on_error = |_: Arc<_>, _: &receivers::Error, _: Arc<Context>| receivers::retry();
    applier(one, on_error, context, receivers, requests(woken), config)
        .for_each(async |result| match result {
            Ok((object, _)) => debug!(%object, "decided"),
            Err(controller::Error::ObjectNotFound(_)) => {}
            Err(controller::Error::ReconcilerFailed(error, object)) => {
                let reason = error.reason();
                warn!(%object, reason, error = chain(&error), "could not decide; trying again");
            }
            Err(error) => warn!(error = chain(&error), "the controller stumbled"),
        })
        .await;
}

fn requests<K>(
    woken: mpsc::UnboundedReceiver<Key>,
) -> impl Stream<Item = Result<ObjectRef<K>, Infallible>>
where
    K: kube::Resource<DynamicType = ()>,
    ObjectRef<K>: From<Key>,
{
    stream::unfold(woken, |mut woken| async {
        let key = woken.recv().await?;
        Some((Ok(ObjectRef::from(key)), woken))
    })
}

type Reconciled = Result<
    (ObjectRef<ContainerCheckpoint>, controller::Action),
    controller::Error<reconcile::Error, Infallible>,
>;

fn report(result: Reconciled) {
    match result {
        Ok((object, _)) => debug!(%object, "decided"),
        // It was deleted between its event and its turn.
        Err(controller::Error::ObjectNotFound(_)) => {}
        Err(controller::Error::ReconcilerFailed(error, object)) => {
            let reason = error.reason();
            warn!(%object, reason, error = chain(&error), "could not decide; trying again");
        }
        Err(error) => warn!(error = chain(&error), "the controller stumbled"),
    }
}

/// An error and what caused it, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some of the client's errors repeat their source.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
