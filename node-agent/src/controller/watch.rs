//! This node's objects as the API server tells of them; what cannot be read stops nobody else.

use std::collections::{HashMap, HashSet};

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Client,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use stillframe_crds::ContainerCheckpoint;
use tracing::{debug, error};

use super::store::Uid;

/// What was heard of this node's objects.
#[derive(Debug)]
pub enum Heard {
    /// An object as it is.
    Object(Box<ContainerCheckpoint>),
    /// An object is gone, or another node's.
    Gone(Uid),
    /// All objects have been told of; whoever is not among these is gone.
    Listed(HashSet<Uid>),
}

/// Gathers what a stream of events means.
#[derive(Debug, Default)]
pub struct Ear {
    listing: HashSet<Uid>,
    /// The version of what could not be read, which is said once.
    unreadable: HashMap<Uid, Option<String>>,
}

impl Ear {
    /// What an event means, if anything.
    pub fn hear(&mut self, event: Event<DeserializeGuard<ContainerCheckpoint>>) -> Option<Heard> {
        match event {
            Event::Init => {
                self.listing.clear();
                None
            }
            Event::InitApply(object) => {
                let metadata = match &object.0 {
                    Ok(object) => &object.metadata,
                    Err(invalid) => &invalid.metadata,
                };
                self.listing.extend(metadata.uid.clone());
                self.read(object)
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listing);
                self.unreadable.retain(|uid, _| listed.contains(uid));
                Some(Heard::Listed(listed))
            }
            Event::Apply(object) => self.read(object),
            Event::Delete(object) => {
                let uid = match object.0 {
                    Ok(object) => object.metadata.uid,
                    Err(invalid) => invalid.metadata.uid,
                }?;
                self.unreadable.remove(&uid);
                Some(Heard::Gone(uid))
            }
        }
    }

    fn read(&mut self, object: DeserializeGuard<ContainerCheckpoint>) -> Option<Heard> {
        match object.0 {
            Ok(object) => {
                if let Some(uid) = &object.metadata.uid {
                    self.unreadable.remove(uid);
                }
                Some(Heard::Object(Box::new(object)))
            }
            Err(invalid) => {
                let metadata = invalid.metadata;
                let version = metadata.resource_version;
                let before = self
                    .unreadable
                    .insert(metadata.uid.unwrap_or_default(), version.clone());
                if before != Some(version) {
                    error!(
                        namespace = metadata.namespace,
                        name = metadata.name,
                        error = invalid.error,
                        "cannot read a checkpoint, leaving it alone"
                    );
                }
                None
            }
        }
    }
}

/// Everything that is heard of the objects of `node`, for ever.
pub fn listen(client: Client, node: &str) -> impl Stream<Item = Heard> + Send + use<> {
    let api: Api<DeserializeGuard<ContainerCheckpoint>> = Api::all(client);
    let mine = watcher::Config::default()
        .any_semantic()
        .fields(&format!("status.nodeName={node}"));
    let mut ear = Ear::default();
    watcher::watcher(api, mine)
        .backoff(stillframe_client::patience())
        .filter_map(move |event| {
            let heard = match event {
                Ok(event) => ear.hear(event),
                Err(error) => {
                    debug!(%error, "the watch broke off and begins anew");
                    None
                }
            };
            std::future::ready(heard)
        })
}
