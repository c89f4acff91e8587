//! Follows what the decisions depend on, and tells which checkpoints each event is about.

use std::{collections::HashSet, sync::Arc};

use futures::{Stream, StreamExt, pin_mut};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::PartialObjectMeta,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        reflector::{Store, store::Writer},
        watcher::{self, Event, watcher},
    },
};
use stillframe_crds::{CheckpointNode, CheckpointNodeSpec, ContainerCheckpoint};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::{
    context::Context,
    index::{Index, Key},
};

pub(crate) mod guard;

/// Objects in one answer to a list.
const PAGE: u32 = 250;

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// The checkpoints.
    Checkpoints = 1,
    /// What the agents report.
    Agents = 2,
    /// The pods.
    Pods = 4,
    /// The nodes.
    Nodes = 8,
    /// The receivers.
    Receivers = 16,
}

/// Which caches are complete.
#[derive(Debug, Clone)]
pub struct Synced(Arc<watch::Sender<u8>>);

impl Default for Synced {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Synced {
    const ALL: u8 = 31;

    /// Notes that a cache is complete.
    pub fn mark(&self, cache: Cache) {
        self.0.send_if_modified(|bits| {
            let before = *bits;
            *bits |= cache as u8;
            *bits != before
        });
    }

    /// Whether every cache is complete.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        *self.0.borrow() == Self::ALL
    }

    /// Waits until every cache is complete.
    pub async fn wait(&self) {
        // The sender lives in self, so that waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|bits| *bits == Self::ALL).await;
    }
}

/// Where the checkpoints to decide about are sent.
pub type Queue = mpsc::UnboundedSender<Key>;

/// What every watch works with.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "the client has none")]
pub struct Watches {
    /// What it updates.
    pub context: Arc<Context>,
    /// What it wakes.
    pub queue: Queue,
    /// The same for receivers.
    pub receivers: Queue,
    /// What it completes.
    pub synced: Synced,
}

pub(crate) fn config() -> watcher::Config {
    watcher::Config::default().page_size(PAGE)
}

impl Watches {
    pub(crate) fn wake(&self, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            // Nobody listens any more only when the process ends.
            let _ = self.queue.send(key);
        }
    }

    /// Follows the checkpoints until the process ends, and keeps them in the store.
    pub async fn checkpoints(self, mut writer: Writer<ContainerCheckpoint>) {
        let api: Api<DeserializeGuard<ContainerCheckpoint>> = Api::all(self.context.client.clone());
        let reader = writer.as_reader();
        let mut guard = guard::Guard::new(guard::checkpoint);
        let events = watcher(api, config()).backoff(stillframe_client::patience());
        follow(events, "checkpoints", |event| {
            if let Some(mut event) = guard.pass(event) {
                event = event.modify(|object| object.metadata.managed_fields = None);
                writer.apply_watcher_event(&event);
                self.on_checkpoint(&event, &reader);
            }
        })
        .await;
    }

    fn on_checkpoint(
        &self,
        event: &Event<ContainerCheckpoint>,
        reader: &Store<ContainerCheckpoint>,
    ) {
        let index = &self.context.index;
        match event {
            Event::Init | Event::InitApply(_) => {}
            Event::InitDone => {
                let all = reader.state();
                let keys: HashSet<Key> = all.iter().map(|object| Key::of(&**object)).collect();
                index.retain(&keys);
                for object in &all {
                    index.put(object);
                }
                self.synced.mark(Cache::Checkpoints);
                self.wake(keys);
            }
            Event::Apply(object) => {
                index.put(object);
                self.wake([Key::of(object)]);
                self.wake(concerned(index, object));
                self.wake_its_receiver(object);
            }
            Event::Delete(object) => {
                let key = Key::of(object);
                index.remove(&key);
                self.context.failures.clear(&key);
                if let Some(uid) = &object.metadata.uid {
                    self.context.written.forget(uid);
                }
                self.wake(concerned(index, object));
                self.wake_its_receiver(object);
            }
        }
        self.context.metrics.unfinished(index.counts());
    }

    fn wake_its_receiver(&self, object: &ContainerCheckpoint) {
        if let Some(name) = object.spec.options.receiver() {
            self.wake_receiver(Key::new(&Key::of(object).namespace, name));
        }
    }

    /// Follows what the agents report until the process ends.
    pub async fn agents(self, mut writer: Writer<CheckpointNode>) {
        let api: Api<DeserializeGuard<CheckpointNode>> = Api::all(self.context.client.clone());
        let mut guard = guard::Guard::new(|metadata| {
            let mut node = CheckpointNode::new("", CheckpointNodeSpec {});
            node.metadata = metadata;
            node
        });
        let events = watcher(api, config()).backoff(stillframe_client::patience());
        follow(events, "checkpoint nodes", |event| {
            let Some(event) = guard.pass(event) else {
                return;
            };
            let event = event.modify(|node| node.metadata.managed_fields = None);
            writer.apply_watcher_event(&event);
            match &event {
                Event::Init | Event::InitApply(_) => {}
                Event::InitDone => {
                    self.synced.mark(Cache::Agents);
                    self.wake(self.context.index.waiting());
                    self.wake_receivers();
                }
                Event::Apply(node) | Event::Delete(node) => {
                    self.wake_receivers();
                    let name = node.metadata.name.as_deref().unwrap_or_default();
                    self.wake(self.context.index.waiting_on_node(name));
                }
            }
        })
        .await;
    }

    /// Follows the pods until the process ends, and keeps none of them.
    pub async fn pods(self) {
        let api: Api<PartialObjectMeta<Pod>> = Api::all(self.context.client.clone());
        let index = &self.context.index;
        let events = watcher(api, config()).backoff(stillframe_client::patience());
        follow(
            events,
            "pods",
            |event: Event<PartialObjectMeta<Pod>>| match event {
                Event::Init | Event::InitApply(_) => {}
                // What happened to a pod while nobody watched is seen by looking.
                Event::InitDone => {
                    self.synced.mark(Cache::Pods);
                    self.wake(index.waiting());
                }
                Event::Apply(pod) | Event::Delete(pod) => {
                    self.wake(index.waiting_for_pod(&Key::of(&pod)));
                }
            },
        )
        .await;
    }

    /// Follows which nodes there are until the process ends.
    pub async fn nodes(self) {
        let api: Api<PartialObjectMeta<Node>> = Api::all(self.context.client.clone());
        let (index, nodes) = (&self.context.index, &self.context.nodes);
        let mut listed = HashSet::new();
        let events = watcher(api, config()).backoff(stillframe_client::patience());
        follow(
            events,
            "nodes",
            |event: Event<PartialObjectMeta<Node>>| match event {
                Event::Init => listed.clear(),
                Event::InitApply(node) => listed.extend(node.metadata.name),
                Event::InitDone => {
                    nodes.replace(std::mem::take(&mut listed));
                    self.synced.mark(Cache::Nodes);
                    let used = index.nodes();
                    let gone = used.iter().filter(|name| !nodes.contains(name));
                    gone.for_each(|name| self.wake(index.on_node(name)));
                    self.wake_receivers();
                }
                Event::Apply(node) => nodes.insert(Key::of(&node).name),
                Event::Delete(node) => {
                    let name = Key::of(&node).name;
                    nodes.remove(&name);
                    self.wake(index.on_node(&name));
                    self.wake_receivers();
                }
            },
        )
        .await;
    }
}

/// Who waits for that checkpoint: those that are to build on it, and once it has finished those of
/// the same pod, whose chain it may have broken or spared.
fn concerned(index: &Index, object: &ContainerCheckpoint) -> Vec<Key> {
    let key = Key::of(object);
    let mut all = index.waiting_for_parent(&key);
    if object.is_finished() {
        let pod = Key::new(&key.namespace, &object.spec.source.pod_name);
        all.extend(index.waiting_for_pod(&pod));
    }
    all.retain(|one| *one != key);
    all
}

/// Hands every event to `each`; what goes wrong in between is logged, and the stream, which backs
/// off, is polled again.
pub(crate) async fn follow<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    what: &'static str,
    mut each: impl FnMut(Event<K>),
) {
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => each(event),
            Err(error) => warn!(what, %error, "the watch was interrupted and is resumed"),
        }
    }
}
