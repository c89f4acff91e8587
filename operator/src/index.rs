//! Remembers which unfinished checkpoints depend on which pod, node and parent, so that an event
//! of one of those finds them without a search.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use kube::runtime::reflector::ObjectRef;
use stillframe_crds::{ContainerCheckpoint, PageReceiver};

/// Something with a name in a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// That name in that namespace.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The key of an object.
    #[must_use]
    pub fn of(object: &impl kube::Resource) -> Self {
        let meta = object.meta();
        Self::new(
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        )
    }
}

impl From<Key> for ObjectRef<ContainerCheckpoint> {
    fn from(key: Key) -> Self {
        Self::new(&key.name).within(&key.namespace)
    }
}

impl From<Key> for ObjectRef<PageReceiver> {
    fn from(key: Key) -> Self {
        Self::new(&key.name).within(&key.namespace)
    }
}

/// Whether an unfinished checkpoint has a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Waiting,
    Assigned,
    Removing,
}

/// What an unfinished checkpoint depends on.
#[derive(Debug)]
struct Entry {
    standing: Standing,
    pod: Key,
    node: Option<String>,
    parent: Option<Key>,
    seen: Instant,
}

#[derive(Debug, Default)]
struct Inner {
    open: HashMap<Key, Entry>,
    by_pod: HashMap<Key, HashSet<Key>>,
    by_parent: HashMap<Key, HashSet<Key>>,
    by_node: HashMap<String, HashSet<Key>>,
    waiting: u32,
    assigned: u32,
}

/// The unfinished checkpoints and what they depend on.
#[derive(Debug, Default)]
pub struct Index(Mutex<Inner>);

/// How many checkpoints are unfinished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those without a node.
    pub waiting: u32,
    /// Those that their agents have.
    pub assigned: u32,
}

impl Index {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change leaves the maps whole, so what a panic left behind is usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of an object as it is now.
    pub fn put(&self, checkpoint: &ContainerCheckpoint) {
        let key = Key::of(checkpoint);
        let mut inner = self.lock();
        let earlier = inner.remove(&key);
        let Some(mut entry) = Entry::of(checkpoint) else {
            return;
        };
        if let Some(earlier) = earlier {
            entry.seen = earlier.seen;
            entry.node = entry.node.or(earlier.node);
        }
        inner.insert(key, entry);
    }

    /// Forgets an object that is gone.
    pub fn remove(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// Forgets every object but those.
    pub fn retain(&self, kept: &HashSet<Key>) {
        let mut inner = self.lock();
        let gone: Vec<Key> = inner
            .open
            .keys()
            .filter(|k| !kept.contains(k))
            .cloned()
            .collect();
        for key in gone {
            inner.remove(&key);
        }
    }

    /// Notes on which node the pod of a waiting checkpoint runs. To be called before that node's
    /// agent is looked up, so that what it reports afterwards is not missed.
    pub fn waits_on(&self, key: &Key, node: &str) {
        let mut inner = self.lock();
        if let Some(mut entry) = inner.remove(key) {
            entry.node = Some(node.to_owned());
            inner.insert(key.clone(), entry);
        }
    }

    /// The checkpoints that no agent has and that are of that pod.
    #[must_use]
    pub fn waiting_for_pod(&self, pod: &Key) -> Vec<Key> {
        let inner = self.lock();
        inner.by_pod.get(pod).map(listed).unwrap_or_default()
    }

    /// The checkpoints that wait for that one.
    #[must_use]
    pub fn waiting_for_parent(&self, parent: &Key) -> Vec<Key> {
        let inner = self.lock();
        inner.by_parent.get(parent).map(listed).unwrap_or_default()
    }

    /// The unfinished checkpoints of that node.
    #[must_use]
    pub fn on_node(&self, node: &str) -> Vec<Key> {
        let inner = self.lock();
        inner.by_node.get(node).map(listed).unwrap_or_default()
    }

    /// The checkpoints that no agent has and whose pod is known to run on that node: what an event
    /// of its agent may move.
    #[must_use]
    pub fn waiting_on_node(&self, node: &str) -> Vec<Key> {
        let inner = self.lock();
        let all = inner.by_node.get(node).map(listed).unwrap_or_default();
        let waits = |key: &Key| {
            let entry = inner.open.get(key);
            entry.is_some_and(|entry| entry.standing == Standing::Waiting)
        };
        all.into_iter().filter(waits).collect()
    }

    /// Every checkpoint without a node.
    #[must_use]
    pub fn waiting(&self) -> Vec<Key> {
        let inner = self.lock();
        let all = inner.by_pod.values().flatten();
        all.cloned().collect()
    }

    /// Every node that an unfinished checkpoint is on.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        self.lock().by_node.keys().cloned().collect()
    }

    /// How long ago the checkpoint was first seen.
    #[must_use]
    pub fn age(&self, key: &Key) -> Option<Duration> {
        self.lock().open.get(key).map(|entry| entry.seen.elapsed())
    }

    /// How many checkpoints are unfinished.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let inner = self.lock();
        Counts {
            waiting: inner.waiting,
            assigned: inner.assigned,
        }
    }
}

fn listed(keys: &HashSet<Key>) -> Vec<Key> {
    keys.iter().cloned().collect()
}

impl Entry {
    /// What an unfinished checkpoint depends on; none when it is finished and kept, or gone but
    /// for others.
    fn of(checkpoint: &ContainerCheckpoint) -> Option<Self> {
        let status = checkpoint.status.as_ref();
        let node = status.and_then(|status| status.node_name.clone());
        let standing = match (checkpoint.is_deleted(), checkpoint.is_finished(), &node) {
            (true, _, Some(_)) => Standing::Removing,
            (true, _, None) | (false, true, _) => return None,
            (false, false, Some(_)) => Standing::Assigned,
            (false, false, None) => Standing::Waiting,
        };
        let Key { namespace, .. } = Key::of(checkpoint);
        let spec = &checkpoint.spec;
        let parent = spec.options.parent_ref.as_ref();
        Some(Self {
            standing,
            pod: Key::new(&namespace, &spec.source.pod_name),
            node,
            parent: parent.map(|parent| Key::new(&namespace, &parent.name)),
            seen: Instant::now(),
        })
    }
}

impl Inner {
    fn insert(&mut self, key: Key, entry: Entry) {
        if let Some(node) = &entry.node {
            let of_node = self.by_node.entry(node.clone()).or_default();
            of_node.insert(key.clone());
        }
        match entry.standing {
            Standing::Waiting => {
                self.waiting += 1;
                let of_pod = self.by_pod.entry(entry.pod.clone()).or_default();
                of_pod.insert(key.clone());
                if let Some(parent) = &entry.parent {
                    let of_parent = self.by_parent.entry(parent.clone()).or_default();
                    of_parent.insert(key.clone());
                }
            }
            Standing::Assigned => self.assigned += 1,
            Standing::Removing => {}
        }
        self.open.insert(key, entry);
    }

    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.open.remove(key)?;
        if let Some(node) = &entry.node {
            unlink(&mut self.by_node, node, key);
        }
        match entry.standing {
            Standing::Waiting => {
                self.waiting -= 1;
                unlink(&mut self.by_pod, &entry.pod, key);
                if let Some(parent) = &entry.parent {
                    unlink(&mut self.by_parent, parent, key);
                }
            }
            Standing::Assigned => self.assigned -= 1,
            Standing::Removing => {}
        }
        Some(entry)
    }
}

fn unlink<K: std::hash::Hash + Eq>(map: &mut HashMap<K, HashSet<Key>>, from: &K, key: &Key) {
    if let Some(set) = map.get_mut(from) {
        set.remove(key);
        if set.is_empty() {
            map.remove(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn a_waiting_checkpoint_is_found_by_its_pod_its_parent_and_its_node() {
        let index = Index::default();
        let mut child = fixtures::checkpoint("child");
        child.spec.options.parent_ref = Some(fixtures::object_name("parent"));
        index.put(&child);
        let key = Key::of(&child);
        index.waits_on(&key, "node-1");
        assert_eq!(
            index.waiting_for_pod(&Key::new("shop", "counter")),
            *std::slice::from_ref(&key)
        );
        assert_eq!(
            index.waiting_for_parent(&Key::new("shop", "parent")),
            *std::slice::from_ref(&key)
        );
        assert_eq!(index.waiting_on_node("node-1"), *std::slice::from_ref(&key));
        assert!(
            index
                .waiting_for_pod(&Key::new("other", "counter"))
                .is_empty()
        );
        // What the next event says of it does not take the node away.
        index.put(&child);
        assert_eq!(index.waiting_on_node("node-1"), [key]);
    }

    #[test]
    fn an_assigned_checkpoint_is_found_by_its_node_alone() {
        let index = Index::default();
        let mut checkpoint = fixtures::checkpoint("one");
        index.put(&checkpoint);
        assert_eq!(
            index.counts(),
            Counts {
                waiting: 1,
                assigned: 0
            }
        );
        checkpoint.status = Some(fixtures::assigned_status());
        index.put(&checkpoint);
        assert_eq!(
            index.counts(),
            Counts {
                waiting: 0,
                assigned: 1
            }
        );
        assert!(
            index
                .waiting_for_pod(&Key::new("shop", "counter"))
                .is_empty()
        );
        assert_eq!(index.on_node("node-1"), [Key::of(&checkpoint)]);
        assert!(index.waiting_on_node("node-1").is_empty());
    }

    #[test]
    fn a_finished_checkpoint_is_forgotten_until_it_is_deleted() {
        let index = Index::default();
        let mut checkpoint = fixtures::ready("one");
        index.put(&checkpoint);
        assert!(index.on_node("node-1").is_empty());
        checkpoint.metadata.deletion_timestamp = Some(fixtures::time(100));
        index.put(&checkpoint);
        assert_eq!(index.on_node("node-1"), [Key::of(&checkpoint)]);
        index.retain(&HashSet::new());
        assert!(index.on_node("node-1").is_empty());
        assert_eq!(index.counts(), Counts::default());
    }
}
