//! What every reconciliation works with.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use kube::{Client, runtime::reflector::Store};
use stillframe_crds::{CheckpointNode, ContainerCheckpoint, PageReceiver};

use crate::{
    events::Events,
    index::{Index, Key},
    metrics::Metrics,
    written::Written,
};

/// What every reconciliation works with.
#[expect(missing_debug_implementations, reason = "the client has none")]
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What the agents have reported.
    pub agents: Store<CheckpointNode>,
    /// The checkpoints, as their watch tells.
    pub checkpoints: Store<ContainerCheckpoint>,
    /// The receivers, as their watch tells.
    pub receivers: Store<PageReceiver>,
    /// The names of the nodes that exist.
    pub nodes: Nodes,
    /// The unfinished checkpoints.
    pub index: Index,
    /// What we have written.
    pub written: Written,
    /// Requests with a parent are decided one after the other: each has to see what the one
    /// before has assigned.
    pub chains: tokio::sync::Mutex<()>,
    /// Failures in a row, by object.
    pub failures: Failures,
    /// Tells people.
    pub events: Events,
    /// Tells monitors.
    pub metrics: Arc<Metrics>,
}

/// The names of the nodes that exist, as their watch tells.
#[derive(Debug, Default)]
pub struct Nodes(RwLock<HashSet<String>>);

impl Nodes {
    /// Whether a node of that name is known.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.contains(name)
    }

    /// Takes note of a node.
    pub fn insert(&self, name: String) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(name);
    }

    /// Forgets a node.
    pub fn remove(&self, name: &str) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.remove(name);
    }

    /// Knows these nodes and no others.
    pub fn replace(&self, names: HashSet<String>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *all = names;
    }
}

/// How often in a row the reconciliation of an object has failed.
#[derive(Debug, Default)]
pub struct Failures(Mutex<HashMap<Key, u32>>);

impl Failures {
    /// One more; the number of those before it.
    pub fn count(&self, key: Key) -> u32 {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = all.entry(key).or_default();
        let before = *failures;
        *failures = before.saturating_add(1);
        before
    }

    /// The object is well, or gone.
    pub fn clear(&self, key: &Key) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(key);
    }
}
