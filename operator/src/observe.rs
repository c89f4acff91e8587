//! Looks at what a decision needs: consistent reads of what decides, caches of what is reported.

use kube::{
    Api,
    api::{GetParams, ListParams, PartialObjectMeta, Request},
    core::DeserializeGuard,
    runtime::reflector::ObjectRef,
};
use stillframe_crds::{ContainerCheckpoint, PageReceiver, checkpoint::PinnedServer};

use crate::{
    context::Context,
    index::Key,
    plan::{Around, Look, Receiver, Surroundings, look, names_an_object, node_of},
    pod::Pod,
};

/// What could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pod.
    #[error("failed to read pod {namespace}/{name}")]
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The node.
    #[error("failed to read node {name}")]
    Node {
        /// Its name.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// Another checkpoint: a parent, or one that a receiver is for.
    #[error("failed to read checkpoint {namespace}/{name}")]
    Parent {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The receiver.
    #[error("failed to read receiver {namespace}/{name}")]
    Receiver {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The checkpoints that could have broken a chain.
    #[error("failed to list the checkpoints of node {node} in namespace {namespace}")]
    Chain {
        /// Their namespace.
        namespace: String,
        /// Their node.
        node: String,
        /// Why.
        source: Box<kube::Error>,
    },
}

impl Error {
    /// The word for logs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Pod { .. } => "PodUnreadable",
            Self::Node { .. } => "NodeUnreadable",
            Self::Parent { .. } => "ParentUnreadable",
            Self::Receiver { .. } => "ReceiverUnreadable",
            Self::Chain { .. } => "ChainUnreadable",
        }
    }
}

/// What is around `checkpoint`, as far as a decision needs it.
///
/// # Errors
/// When the API server does not answer, or refuses. What is not there is no error.
///
/// # Cancel safety
/// It only reads.
pub async fn around(context: &Context, checkpoint: &ContainerCheckpoint) -> Result<Around, Error> {
    match look(checkpoint) {
        Look::Nothing => Ok(Around::Nothing),
        Look::Node(name) => Ok(Around::Node {
            exists: node_exists(context, name).await?,
        }),
        Look::Leaving(node, server) => Ok(Around::Leaving {
            exists: match node {
                Some(name) => node_exists(context, name).await?,
                None => true,
            },
            receiver: leaving(context, checkpoint, server).await?,
        }),
        Look::Source => {
            let found = surroundings(context, checkpoint).await?;
            Ok(Around::Source(Box::new(found)))
        }
    }
}

/// Asks the API server about nodes that the watch does not know alone: the watch may be behind.
pub(crate) async fn node_exists(context: &Context, name: &str) -> Result<bool, Error> {
    if context.nodes.contains(name) {
        return Ok(true);
    }
    if !names_an_object(name) {
        return Ok(false);
    }
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(context.client.clone());
    let found = nodes.get_metadata_opt(name).await;
    let found: Option<PartialObjectMeta<_>> = found.map_err(|source| Error::Node {
        name: name.to_owned(),
        source: Box::new(source),
    })?;
    Ok(found.is_some())
}

async fn surroundings(
    context: &Context,
    checkpoint: &ContainerCheckpoint,
) -> Result<Surroundings, Error> {
    let key = Key::of(checkpoint);
    let pod = read_pod(context, &key.namespace, &checkpoint.spec.source.pod_name).await?;
    let mut agent = None;
    if let Some(node) = pod.as_ref().and_then(node_of) {
        context.index.waits_on(&key, node);
        agent = context.agents.get(&ObjectRef::new(node));
    }
    let mut parent = None;
    let mut others = Vec::new();
    if let Some(reference) = &checkpoint.spec.options.parent_ref {
        parent = read_checkpoint(context, &key.namespace, &reference.name).await?;
        let finished = parent.as_ref().filter(|parent| parent.is_finished());
        let status = finished.and_then(|parent| parent.status.as_ref());
        if let Some(node) = status.and_then(|status| status.node_name.as_deref()) {
            others = read_chain(context, &key.namespace, node).await?;
        }
    }
    let receiver = match checkpoint.spec.options.receiver() {
        Some(name) => read_receiver(context, &key.namespace, name).await?,
        None => None,
    };
    Ok(Surroundings {
        pod,
        agent,
        parent: parent.map(Box::new),
        others,
        receiver: receiver.map(Box::new),
    })
}

/// The receiver; one that is not written as the API says counts as absent.
async fn read_receiver(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<PageReceiver>, Error> {
    if !names_an_object(name) {
        return Ok(None);
    }
    let api: Api<DeserializeGuard<PageReceiver>> =
        Api::namespaced(context.client.clone(), namespace);
    let found = api.get_opt(name).await.map_err(|source| Error::Receiver {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        source: Box::new(source),
    })?;
    Ok(found.and_then(|guarded| guarded.0.ok()))
}

/// What there still is of the receiver that has a deleted checkpoint's memory.
async fn leaving(
    context: &Context,
    checkpoint: &ContainerCheckpoint,
    server: &PinnedServer,
) -> Result<Receiver, Error> {
    let namespace = checkpoint.metadata.namespace.as_deref().unwrap_or_default();
    let found = read_receiver(context, namespace, &server.receiver).await?;
    let same = |receiver: &PageReceiver| {
        receiver.metadata.uid.as_deref() == Some(server.receiver_uid.as_str())
    };
    Ok(match found.filter(same) {
        Some(receiver) if receiver.is_deleted() => Receiver::Going,
        Some(_) => Receiver::There,
        None => Receiver::Gone,
    })
}

async fn read_pod(context: &Context, namespace: &str, name: &str) -> Result<Option<Pod>, Error> {
    if !names_an_object(name) {
        return Ok(None);
    }
    let failed = |source| Error::Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        source: Box::new(source),
    };
    let pods = Request::new(format!("/api/v1/namespaces/{namespace}/pods"));
    let request = pods
        .get(name, &GetParams::default())
        .map_err(|error| failed(kube::Error::BuildRequest(error)))?;
    match context.client.request::<Pod>(request).await {
        Ok(pod) => Ok(Some(pod)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// A checkpoint by its name; one that is not written as the API says counts as absent.
pub(crate) async fn read_checkpoint(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<ContainerCheckpoint>, Error> {
    if !names_an_object(name) {
        return Ok(None);
    }
    let api: Api<DeserializeGuard<ContainerCheckpoint>> =
        Api::namespaced(context.client.clone(), namespace);
    let found = api.get_opt(name).await.map_err(|source| Error::Parent {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        source: Box::new(source),
    })?;
    Ok(found.and_then(|guarded| guarded.0.ok()))
}

async fn read_chain(
    context: &Context,
    namespace: &str,
    node: &str,
) -> Result<Vec<ContainerCheckpoint>, Error> {
    let api: Api<DeserializeGuard<ContainerCheckpoint>> =
        Api::namespaced(context.client.clone(), namespace);
    let on_node = ListParams::default().fields(&format!("status.nodeName={node}"));
    let found = api.list(&on_node).await.map_err(|source| Error::Chain {
        namespace: namespace.to_owned(),
        node: node.to_owned(),
        source: Box::new(source),
    })?;
    let readable = found.items.into_iter().filter_map(|guarded| guarded.0.ok());
    Ok(readable.collect())
}
