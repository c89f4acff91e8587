//! The loop: hears of objects, looks at their places, decides, and has jobs do what was decided.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
};

use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use kube::ResourceExt as _;
use stillframe_crds::ContainerCheckpoint;
use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
};
use tracing::{debug, error, info, warn};

use super::{
    act::{self, Around},
    attempt::called,
    context::Context,
    decide::{self, Action, Busy, Children, Holds, Local},
    dump::Dumper,
    job::{Ended, Job, Wish},
    look::{self, Look},
    report,
    retry::Waits,
    stop::{Phase, Stop},
    store::{Store, Uid},
    task::{Judged, Task},
    watch::Heard,
};

/// What a task of the loop comes back with.
#[derive(Debug)]
enum Message {
    Looked(Box<ContainerCheckpoint>, Box<Look>),
    Ended(Ended),
    /// It is time to look again.
    Waited,
}

/// The loop's own state.
#[derive(Debug)]
pub(super) struct Agent<D: Dumper> {
    context: Arc<Context<D>>,
    store: Store,
    synced: bool,
    ready: Arc<AtomicBool>,
    tasks: HashMap<Uid, Task>,
    set: JoinSet<Message>,
    ids: HashMap<Id, Uid>,
    waits: Waits,
    stopping: bool,
}

impl<D: Dumper> Agent<D> {
    /// A loop; `ready` is set once all objects are known.
    pub(super) fn new(context: Arc<Context<D>>, ready: Arc<AtomicBool>) -> Self {
        Self {
            context,
            store: Store::default(),
            synced: false,
            ready,
            tasks: HashMap::new(),
            set: JoinSet::new(),
            ids: HashMap::new(),
            waits: Waits::default(),
            stopping: false,
        }
    }

    /// Works until it is told to end and has nothing left to do.
    pub(super) async fn run(mut self, heard: impl Stream<Item = Heard>, mut stop: Stop) {
        let mut heard = std::pin::pin!(heard);
        loop {
            if self.stopping && self.tasks.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                phase = stop.next() => match phase {
                    Phase::Drain => self.drain(),
                    Phase::CallOff => self.call_off(),
                    Phase::Leave => {
                        warn!(tasks = self.tasks.len(), "leaves with work undone");
                        return;
                    }
                },
                Some(ended) = self.set.join_next_with_id() => self.ended(ended),
                Some(heard) = heard.next() => self.hear(heard),
            }
            self.context.metrics.jobs.set(count(self.tasks.len()));
        }
    }

    /// No new work is taken, and who only waits waits no more.
    fn drain(&mut self) {
        self.stopping = true;
        for task in self.tasks.values() {
            if task.busy == Busy::Waiting {
                task.wishes.send_replace(Wish::AgentEnds);
            }
        }
    }

    /// The grace period is over: what still runs is rolled back.
    fn call_off(&mut self) {
        for task in self
            .tasks
            .values()
            .filter(|task| task.busy == Busy::Working)
        {
            task.wishes.send_replace(Wish::AgentEnds);
        }
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Object(object) => {
                let assigned = object.status.as_ref().and_then(|s| s.node_name.as_deref());
                if assigned != Some(self.context.node.as_str()) {
                    return;
                }
                let about = object.clone();
                let settled = is_settled(&object);
                if self.store.put(*object) && (self.synced || settled) {
                    self.handle(about);
                    if settled {
                        self.handle_waiting();
                    }
                }
            }
            Heard::Gone(uid) => self.gone(&uid),
            Heard::Listed(listed) => self.listed(&listed),
        }
        self.context.metrics.objects.set(count(self.store.len()));
    }

    fn gone(&mut self, uid: &str) {
        self.store.remove(uid);
        self.waits.forget(uid);
        if let Some(task) = self.tasks.get(uid) {
            task.wishes.send_replace(Wish::Withdrawn);
        }
        self.handle_waiting();
    }

    fn listed(&mut self, listed: &HashSet<Uid>) {
        let missing = |uid: &&Uid| !listed.contains(*uid);
        let gone: Vec<Uid> = self.store.uids().filter(missing).cloned().collect();
        for uid in gone {
            self.gone(&uid);
        }
        if !self.synced {
            self.synced = true;
            self.ready.store(true, Ordering::Relaxed);
            debug!(objects = self.store.len(), "knows all objects of this node");
            for object in self.store.open() {
                self.handle(object);
            }
        }
    }

    /// Deleted objects may have waited for what has just been settled.
    fn handle_waiting(&mut self) {
        if !self.synced {
            return;
        }
        for object in self.store.open() {
            if !object.is_deleted() {
                continue;
            }
            if let Some(task) = object.uid().and_then(|uid| self.tasks.get_mut(&uid)) {
                task.stir();
            }
            self.handle(object);
        }
    }

    /// Sees to an object: at once where something runs for it, else after a look at its place.
    fn handle(&mut self, object: Box<ContainerCheckpoint>) {
        let Some(uid) = object.uid() else {
            return;
        };
        if let Some(task) = self.tasks.get_mut(&uid) {
            let local = Local {
                busy: task.busy,
                holds: Holds::Nothing,
                children: Children::None,
                free: false,
                stopping: self.stopping,
            };
            if decide::decide(&object, local, Timestamp::now()) == Action::Cancel {
                info!(
                    object = report::reference(&object),
                    "nobody wants a checkpoint any more, calling it off"
                );
                task.busy = Busy::Ending;
                task.wishes.send_replace(Wish::Withdrawn);
            }
            match task.busy {
                // Their own status is no news to them.
                Busy::Removing | Busy::Waiting if Judged::of(&object) == task.judged => {}
                Busy::Removing | Busy::Waiting => {
                    task.stir();
                    self.waits.forget(&uid);
                }
                Busy::Idle | Busy::Working | Busy::Ending => task.again = true,
            }
            return;
        }
        if !decide::needs_look(&object) {
            return;
        }
        let context = Arc::clone(&self.context);
        let (wishes, _) = watch::channel(Wish::GoOn);
        let task = Task::new(Busy::Removing, wishes, Judged::of(&object));
        self.spawn(uid, task, async move {
            let look = look::look(&context, &object).await;
            Message::Looked(object, Box::new(look))
        });
    }

    /// Has an object that could not be let go looked at again later.
    fn wait(&mut self, uid: Uid, object: &ContainerCheckpoint) {
        if self.stopping {
            return;
        }
        let wait = self.waits.next(&uid);
        let (wishes, mut wish) = watch::channel(Wish::GoOn);
        let task = Task::new(Busy::Waiting, wishes, Judged::of(object));
        self.spawn(uid, task, async move {
            // Over early where something changes.
            let _ = tokio::time::timeout(wait, called(&mut wish)).await;
            Message::Waited
        });
    }

    fn spawn(
        &mut self,
        uid: Uid,
        task: Task,
        work: impl Future<Output = Message> + Send + 'static,
    ) {
        let id = self.set.spawn(work).id();
        self.ids.insert(id, uid.clone());
        self.tasks.insert(uid, task);
    }

    fn ended(&mut self, ended: Result<(Id, Message), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(uid) = self.ids.remove(&id) else {
            return;
        };
        let Some(task) = self.tasks.remove(&uid) else {
            return;
        };
        match ended {
            Ok((_, Message::Looked(object, look))) => self.looked(&task, &uid, object, *look),
            Ok((_, Message::Ended(ended))) => self.done(&task, &uid, ended),
            Ok((_, Message::Waited)) => {
                if let Some(object) = self.store.get(&uid).filter(|_| !self.stopping) {
                    self.handle(Box::new(object.clone()));
                }
            }
            Err(error) => error!(uid, %error, "a task of the agent broke"),
        }
    }

    /// A look is over.
    fn looked(&mut self, task: &Task, uid: &str, object: Box<ContainerCheckpoint>, look: Look) {
        let known = self.store.get(uid).cloned().map(Box::new);
        match known {
            // What is looked for depends on that.
            Some(known) if Judged::of(&known) != task.judged => self.handle(known),
            known => self.act(known.unwrap_or(object), look),
        }
        // What was seen may have gone during the look.
        if task.again
            && let Some(next) = self.tasks.get_mut(uid)
        {
            next.again = true;
        }
    }

    /// A job is done.
    fn done(&mut self, task: &Task, uid: &str, ended: Ended) {
        let Ended {
            object,
            refused,
            retry,
        } = ended;
        let settled = object.as_deref().is_some_and(is_settled);
        let news = object.is_some_and(|object| self.store.put(*object));
        let known = self.store.get(uid).cloned().map(Box::new);
        if let Some(object) = known.filter(|_| !refused) {
            let changed = task.again || Judged::of(&object) != task.judged;
            if changed || (news && !retry) {
                self.handle(object);
            } else if retry {
                self.wait(uid.to_owned(), &object);
            }
        }
        if !retry {
            self.waits.forget(uid);
        }
        if settled {
            self.handle_waiting();
        }
    }

    fn act(&mut self, object: Box<ContainerCheckpoint>, look: Look) {
        let Some(uid) = object.uid() else {
            return;
        };
        let namespace = object.namespace().unwrap_or_default();
        let mut children = self.store.children_of(&namespace, &object.name_any());
        children.extend(look.children.iter().flatten().cloned());
        let any = match &look.children {
            _ if !children.is_empty() => Children::Some,
            Ok(_) => Children::None,
            Err(_) => Children::Unknown,
        };
        let status = object.status.as_ref();
        let container = status.and_then(|status| status.container_id.as_deref());
        let local = Local {
            busy: Busy::Idle,
            holds: look.holds,
            children: any,
            free: container.is_some_and(|id| self.context.queue.is_free(id)),
            stopping: self.stopping,
        };
        let action = decide::decide(&object, local, Timestamp::now());
        debug!(uid, ?action, ?local, "decided");
        let wanted = object.spec.options.parent_ref.as_ref();
        let parent = wanted.and_then(|parent| self.store.image_of(&namespace, &parent.name));
        let (wishes, wish) = watch::channel(Wish::GoOn);
        let judged = Judged::of(&object);
        let job = Job {
            context: Arc::clone(&self.context),
            object,
            wishes: wish,
        };
        let around = Around {
            look,
            parent,
            children,
        };
        if let Some((busy, work)) = act::work(action, job, around) {
            let task = Task::new(busy, wishes, judged);
            let message = async move { Message::Ended(work.await) };
            self.spawn(uid, task, message);
        }
    }
}

/// Whether nobody has to wait for an object any longer: its dump has ended, or its image is removed.
/// What a removal that waits says of itself settles nothing, or two that wait would wake each other
/// for ever.
fn is_settled(object: &ContainerCheckpoint) -> bool {
    if object.is_deleted() {
        decide::is_removed(object)
    } else {
        object.is_finished()
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
