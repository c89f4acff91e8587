//! Whose turn it is: so many dumps on the node, one for a container, and namespaces in turn.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// The queue of a node's dumps. Clones are one queue.
#[derive(Debug, Clone)]
pub struct Queue(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    busy: HashSet<String>,
    waiting: VecDeque<Waiting>,
    /// When a namespace was served last, counted in turns; only of namespaces that wait.
    served: HashMap<String, u64>,
    turns: u64,
}

#[derive(Debug)]
struct Waiting {
    namespace: String,
    container: String,
    go: oneshot::Sender<Turn>,
}

/// The right to dump a container, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    queue: Queue,
    container: String,
}

/// What somebody who comes to the queue gets.
#[derive(Debug)]
pub enum Entered {
    /// A turn at once.
    Now(Turn),
    /// A turn later. Dropping the receiver leaves the queue.
    Later {
        /// The turn.
        turn: oneshot::Receiver<Turn>,
        /// How many wait before.
        ahead: usize,
    },
}

impl Queue {
    /// A queue for `limit` dumps at a time, at least one.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            limit: limit.max(1),
            busy: HashSet::new(),
            waiting: VecDeque::new(),
            served: HashMap::new(),
            turns: 0,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds the lock can leave the queue half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a dump of the container could begin at once.
    #[must_use]
    pub fn is_free(&self, container: &str) -> bool {
        let inner = self.inner();
        inner.busy.len() < inner.limit && !inner.busy.contains(container)
    }

    /// Comes to the queue.
    #[must_use]
    pub fn enter(&self, namespace: &str, container: &str) -> Entered {
        let mut inner = self.inner();
        inner.waiting.retain(|other| !other.go.is_closed());
        let ahead = inner.waiting.len();
        if inner.busy.len() < inner.limit && !inner.busy.contains(container) {
            inner.busy.insert(container.to_owned());
            return Entered::Now(self.turn(container));
        }
        let (go, turn) = oneshot::channel();
        inner.waiting.push_back(Waiting {
            namespace: namespace.to_owned(),
            container: container.to_owned(),
            go,
        });
        Entered::Later { turn, ahead }
    }

    fn turn(&self, container: &str) -> Turn {
        Turn {
            queue: self.clone(),
            container: container.to_owned(),
        }
    }

    /// Gives turns to whoever can have one.
    fn serve(&self) {
        loop {
            let mut inner = self.inner();
            let Some(next) = inner.take_next() else {
                return;
            };
            inner.busy.insert(next.container.clone());
            drop(inner);
            // A turn that nobody takes any more is dropped, which gives it back.
            let _ = next.go.send(self.turn(&next.container));
        }
    }
}

impl Inner {
    /// Takes out the one whose turn it is: of those whose container is free, the first one of the
    /// namespace that was served longest ago.
    fn take_next(&mut self) -> Option<Waiting> {
        self.waiting.retain(|other| !other.go.is_closed());
        if self.busy.len() >= self.limit {
            return None;
        }
        let free = self.waiting.iter().enumerate();
        let free = free.filter(|(_, one)| !self.busy.contains(&one.container));
        let served = |one: &Waiting| self.served.get(&one.namespace).copied().unwrap_or(0);
        let (at, _) = free.min_by_key(|(at, one)| (served(one), *at))?;
        let next = self.waiting.remove(at)?;
        self.turns += 1;
        self.served.insert(next.namespace.clone(), self.turns);
        let waiting = &self.waiting;
        self.served
            .retain(|namespace, _| waiting.iter().any(|one| one.namespace == *namespace));
        Some(next)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.queue.inner().busy.remove(&self.container);
        self.queue.serve();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(queue: &Queue, namespace: &str, container: &str) -> oneshot::Receiver<Turn> {
        match queue.enter(namespace, container) {
            Entered::Later { turn, .. } => turn,
            Entered::Now(_) => panic!("{container} does not wait"),
        }
    }

    fn now(queue: &Queue, container: &str) -> Turn {
        match queue.enter("n", container) {
            Entered::Now(turn) => turn,
            Entered::Later { .. } => panic!("{container} waits"),
        }
    }

    #[test]
    fn no_more_than_the_limit_run_at_once_and_one_for_a_container() {
        let queue = Queue::new(2);
        let first = now(&queue, "a");
        let mut same = later(&queue, "n", "a");
        let second = now(&queue, "b");
        let mut third = later(&queue, "n", "c");
        assert!(same.try_recv().is_err() && third.try_recv().is_err());
        drop(second);
        let third = third.try_recv().unwrap();
        assert!(same.try_recv().is_err());
        drop(first);
        assert!(same.try_recv().is_ok());
        drop(third);
    }

    #[test]
    fn who_came_first_goes_first_and_namespaces_take_turns() {
        let queue = Queue::new(1);
        let running = now(&queue, "x");
        let mut many: Vec<_> = (0..3)
            .map(|n| later(&queue, "many", &n.to_string()))
            .collect();
        let mut one = later(&queue, "one", "y");
        drop(running);
        let first = many[0].try_recv().unwrap();
        drop(first);
        drop(one.try_recv().unwrap());
        drop(many[1].try_recv().unwrap());
        assert!(many[2].try_recv().is_ok());
    }

    #[test]
    fn who_has_left_is_passed_over() {
        let queue = Queue::new(1);
        let running = now(&queue, "x");
        let left = later(&queue, "n", "a");
        let mut stays = later(&queue, "n", "b");
        drop(left);
        drop(running);
        assert!(stays.try_recv().is_ok());
        assert!(queue.is_free("a"));
    }
}
