//! Receives the memory of other nodes' checkpoints, as `PageReceiver` objects of this node ask.
//!
//! The loop hears of objects and has one task at work for each at a time; `decide` says what is to be done,
//! `serve` receives, `removal` gives back, `report` is what a status says.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{WatchStreamExt as _, watcher, watcher::Event},
};
use stillframe_crds::PageReceiver;
use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
};
use tracing::{debug, error};

mod decide;
mod removal;
pub mod report;
mod serve;

use super::{disk::Reserve, page_server::Keys, place::ImageRoot, status::Writer};
use crate::criu::{Cancel, Launch, Why};
use decide::Action;

/// How long until something is tried again that could not be done.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// An object's UID.
type Uid = String;

/// What every task of it works with.
#[derive(Debug)]
pub struct Context {
    /// This node.
    pub node: String,
    /// The address that it receives on; nothing is received without.
    pub address: Option<IpAddr>,
    /// The keys with which it is encrypted.
    pub keys: Option<Keys>,
    /// How CRIU is started.
    pub launch: Launch,
    /// Where it goes.
    pub images: ImageRoot,
    /// What stays free there.
    pub reserve: Reserve,
    /// Writes status.
    pub writer: Writer,
}

/// What a task comes back with.
#[derive(Debug, Default)]
struct Ended {
    /// It is to be tried again.
    retry: bool,
}

/// A task at work for an object.
#[derive(Debug)]
struct Task {
    /// Ends what it receives; what only waits has none.
    cancel: Option<Cancel>,
    /// The object has changed meanwhile.
    again: bool,
}

/// The loop's own state.
#[derive(Debug)]
struct Loop {
    context: Arc<Context>,
    objects: HashMap<Uid, Box<PageReceiver>>,
    listing: HashSet<Uid>,
    tasks: HashMap<Uid, Task>,
    set: JoinSet<Ended>,
    ids: HashMap<Id, Uid>,
}

/// Serves the receivers of this node until `stop` says so; what is received then is called off and reported
/// as failed.
pub async fn run(client: Client, context: Context, mut stop: watch::Receiver<bool>) {
    let api: Api<DeserializeGuard<PageReceiver>> = Api::all(client);
    let mine = watcher::Config::default()
        .any_semantic()
        .fields(&format!("status.nodeName={}", context.node));
    let mut events = pin!(watcher::watcher(api, mine).backoff(stillframe_client::patience()));
    let mut this = Loop {
        context: Arc::new(context),
        objects: HashMap::new(),
        listing: HashSet::new(),
        tasks: HashMap::new(),
        set: JoinSet::new(),
        ids: HashMap::new(),
    };
    loop {
        tokio::select! {
            // Ends as well when nobody is left to say so.
            _ = stop.wait_for(|stop| *stop) => break,
            Some(ended) = this.set.join_next_with_id() => this.ended(ended),
            Some(event) = events.next() => match event {
                Ok(event) => this.hear(event),
                Err(error) => debug!(%error, "the watch broke off and begins anew"),
            },
        }
    }
    for task in this.tasks.values() {
        if let Some(cancel) = &task.cancel {
            cancel.trigger(Why::Terminated);
        }
    }
    this.tasks.retain(|_, task| task.cancel.is_some());
    while !this.tasks.is_empty() {
        match this.set.join_next_with_id().await {
            Some(Ok((id, _))) => {
                this.ids.remove(&id).and_then(|uid| this.tasks.remove(&uid));
            }
            Some(Err(error)) => {
                this.ids
                    .remove(&error.id())
                    .and_then(|uid| this.tasks.remove(&uid));
            }
            None => break,
        }
    }
}

impl Loop {
    fn hear(&mut self, event: Event<DeserializeGuard<PageReceiver>>) {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listing);
                let gone = self.objects.keys().filter(|uid| !listed.contains(*uid));
                for uid in gone.cloned().collect::<Vec<_>>() {
                    self.gone(&uid);
                }
            }
            Event::InitApply(object) => {
                if let Ok(object) = object.0 {
                    self.listing.extend(object.uid());
                    self.news(object);
                }
            }
            Event::Apply(object) => match object.0 {
                Ok(object) => self.news(object),
                Err(invalid) => {
                    let name = invalid.metadata.name;
                    error!(name, error = invalid.error, "cannot read a receiver");
                }
            },
            Event::Delete(object) => {
                let uid = match object.0 {
                    Ok(object) => object.uid(),
                    Err(invalid) => invalid.metadata.uid,
                };
                if let Some(uid) = uid {
                    self.gone(&uid);
                }
            }
        }
    }

    fn gone(&mut self, uid: &str) {
        self.objects.remove(uid);
        if let Some(cancel) = self.tasks.get(uid).and_then(|task| task.cancel.as_ref()) {
            cancel.trigger(Why::Withdrawn);
        }
    }

    fn news(&mut self, object: PageReceiver) {
        if let Some(uid) = object.uid() {
            self.objects.insert(uid.clone(), Box::new(object));
            self.handle(uid);
        }
    }

    fn handle(&mut self, uid: Uid) {
        let Some(object) = self.objects.get(&uid) else {
            return;
        };
        if let Some(task) = self.tasks.get_mut(&uid) {
            task.again = true;
            let unwanted = object.is_deleted() || object.is_finished();
            if let Some(cancel) = task.cancel.as_ref().filter(|_| unwanted) {
                cancel.trigger(Why::Withdrawn);
            }
            return;
        }
        let (context, object) = (Arc::clone(&self.context), object.clone());
        match decide::decide(&object) {
            Action::Nothing => {}
            Action::Receive => {
                let Ok(cancel) = Cancel::new() else {
                    self.again_later(&uid);
                    return;
                };
                let token = cancel.clone();
                let work = async move { serve::serve(&context, object, token).await };
                self.spawn(uid, Some(cancel), work);
            }
            Action::Remove => {
                let work = async move { removal::remove(&context, &object).await };
                self.spawn(uid, None, work);
            }
            Action::Discard => {
                let work = async move { removal::discard(&context, &object).await };
                self.spawn(uid, None, work);
            }
        }
    }

    fn again_later(&mut self, uid: &str) {
        let wait = async {
            tokio::time::sleep(AGAIN_AFTER).await;
            Ended::default()
        };
        self.spawn(uid.to_owned(), None, wait);
        if let Some(task) = self.tasks.get_mut(uid) {
            task.again = true;
        }
    }

    fn spawn(
        &mut self,
        uid: Uid,
        cancel: Option<Cancel>,
        work: impl Future<Output = Ended> + Send + 'static,
    ) {
        let id = self.set.spawn(work).id();
        self.ids.insert(id, uid.clone());
        let again = false;
        self.tasks.insert(uid, Task { cancel, again });
    }

    fn ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let (id, ended) = match ended {
            Ok((id, ended)) => (id, ended),
            Err(error) => {
                error!(%error, "a task of the receivers broke");
                (error.id(), Ended { retry: true })
            }
        };
        let Some(uid) = self.ids.remove(&id) else {
            return;
        };
        let again = self.tasks.remove(&uid).is_some_and(|task| task.again);
        if ended.retry {
            self.again_later(&uid);
        } else if again {
            self.handle(uid);
        }
    }
}

/// What is left of a receiver's time.
fn time_left(object: &PageReceiver, now: Timestamp) -> Duration {
    let created = object.metadata.creation_timestamp.as_ref();
    let allowed = jiff::SignedDuration::from_secs(i64::from(object.spec.timeout_seconds));
    let end = created.map(|created| created.0.checked_add(allowed));
    let end = end.and_then(Result::ok).unwrap_or(Timestamp::MAX);
    Duration::try_from(now.duration_until(end)).unwrap_or_default()
}

/// A receiver's namespace and name, for the log.
fn reference(object: &PageReceiver) -> String {
    format!(
        "{}/{}",
        object.namespace().unwrap_or_default(),
        object.name_any()
    )
}
