//! Follows the receivers, and tells which receivers and checkpoints each event is about.

use kube::{
    Api,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt as _,
        reflector::{Store, store::Writer},
        watcher::{Event, watcher},
    },
};
use stillframe_crds::{ContainerCheckpoint, PageReceiver, PageReceiverSpec};

use crate::{
    context::Context,
    index::Key,
    watches::{Cache, Watches, config, follow, guard},
};

impl Watches {
    /// Follows the receivers until the process ends, and keeps them in the store.
    pub async fn receivers(self, mut writer: Writer<PageReceiver>) {
        let api: Api<DeserializeGuard<PageReceiver>> = Api::all(self.context.client.clone());
        let mut guard = guard::Guard::new(|metadata| {
            let mut receiver = PageReceiver::new("", PageReceiverSpec::default());
            receiver.metadata = metadata;
            receiver
        });
        let events = watcher(api, config()).backoff(stillframe_client::patience());
        follow(events, "receivers", |event| {
            let Some(event) = guard.pass(event) else {
                return;
            };
            let event = event.modify(|object| object.metadata.managed_fields = None);
            writer.apply_watcher_event(&event);
            match &event {
                Event::Init | Event::InitApply(_) => {}
                Event::InitDone => {
                    self.synced.mark(Cache::Receivers);
                    self.wake_receivers();
                }
                Event::Apply(receiver) | Event::Delete(receiver) => {
                    self.wake_receiver(Key::of(receiver));
                    self.wake(users(&self.context.checkpoints, &Key::of(receiver)));
                }
            }
        })
        .await;
    }

    /// Has one receiver decided about.
    pub(crate) fn wake_receiver(&self, key: Key) {
        // Nobody listens any more only when the process ends.
        let _ = self.receivers.send(key);
    }

    /// Has every receiver decided about that has not ended, or is being deleted.
    pub(crate) fn wake_receivers(&self) {
        for key in open(&self.context) {
            self.wake_receiver(key);
        }
    }
}

fn open(context: &Context) -> Vec<Key> {
    let all = context.receivers.state();
    let open = all
        .iter()
        .filter(|one| !one.is_finished() || one.is_deleted());
    open.map(|one| Key::of(&**one)).collect()
}

/// The checkpoints that wait for that receiver, or for its end.
fn users(checkpoints: &Store<ContainerCheckpoint>, receiver: &Key) -> Vec<Key> {
    let all = checkpoints.state();
    let uses = |one: &&std::sync::Arc<ContainerCheckpoint>| {
        let named = one.spec.options.receiver() == Some(receiver.name.as_str());
        let open = !one.is_finished() || one.is_deleted();
        let namespace = one.metadata.namespace.as_deref().unwrap_or_default();
        named && open && namespace == receiver.namespace
    };
    all.iter().filter(uses).map(|one| Key::of(&**one)).collect()
}
