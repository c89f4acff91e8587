//! Looks at what a decision needs: consistent reads of what decides, caches of what is reported.

use kube::{
    Api,
    api::{GetParams, ListParams, PartialObjectMeta, Request},
    core::DeserializeGuard,
    runtime::reflector::ObjectRef,
};
use stillframe_crds::ContainerCheckpoint;

use crate::{
    context::Context,
    index::Key,
    plan::{Around, Look, Surroundings, look, names_an_object, node_of},
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
    /// The parent.
    #[error("failed to read checkpoint {namespace}/{name}, which is to be a parent")]
    Parent {
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
        Look::Source => {
            let found = surroundings(context, checkpoint).await?;
            Ok(Around::Source(Box::new(found)))
        }
    }
}

/// Asks the API server about nodes that the watch does not know alone: the watch may be behind.
async fn node_exists(context: &Context, name: &str) -> Result<bool, Error> {
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
        parent = read_parent(context, &key.namespace, &reference.name).await?;
        let finished = parent.as_ref().filter(|parent| parent.is_finished());
        let status = finished.and_then(|parent| parent.status.as_ref());
        if let Some(node) = status.and_then(|status| status.node_name.as_deref()) {
            others = read_chain(context, &key.namespace, node).await?;
        }
    }
    Ok(Surroundings {
        pod,
        agent,
        parent: parent.map(Box::new),
        others,
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

/// The parent; one that is not written as the API says counts as absent.
async fn read_parent(
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
