//! `release-finalizers`: lets objects go that nobody looks after any more, once Stillframe has been
//! removed from a cluster. The images of what is let go stay on their nodes.

use std::io::{self, Write};

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::Value;
use stillframe_crds::{ContainerCheckpoint, PageReceiver, names};

use crate::apply::finalizer_patch;

/// Objects of one answer of the API server.
const PAGE: u32 = 500;

/// How often an object may change under our hands before that is an error.
const TRIES: u32 = 5;

/// What is let go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// All objects, those that nobody has deleted included; they and their data stay then.
    #[arg(long)]
    pub all: bool,
}

/// What went wrong. What was let go before that stays so, and the rest can be tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The objects could not be listed.
    #[error("failed to list the objects")]
    List(#[source] Box<kube::Error>),
    /// An object could not be read again.
    #[error("failed to read {name}")]
    Read {
        /// Its namespace and name.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// An object could not be let go.
    #[error("failed to release {name}")]
    Write {
        /// Its namespace and name.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// Somebody changes an object faster than it can be let go.
    #[error("failed to release {name}: somebody else keeps changing it")]
    Overtaken {
        /// Its namespace and name.
        name: String,
    },
    /// Nobody reads what was done.
    #[error("failed to print")]
    Print(#[from] io::Error),
}

impl Error {
    /// The word for logs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::List(_) => "CheckpointsUnreadable",
            Self::Read { .. } => "CheckpointUnreadable",
            Self::Write { .. } | Self::Overtaken { .. } => "FinalizerNotWritten",
            Self::Print(_) => "NotPrinted",
        }
    }
}

/// The request that lets an object go; none where we do not hold it, or are not to let go of it.
fn release(metadata: &ObjectMeta, Options { all }: Options) -> Option<Value> {
    let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
    let held = finalizers.iter().any(|one| one == names::FINALIZER);
    let deleted = metadata.deletion_timestamp.is_some();
    (held && (all || deleted)).then(|| finalizer_patch(metadata, false))
}

/// Lets objects of all namespaces go, prints each, and says how many there were.
///
/// # Errors
/// The API server does not answer or refuses, or nobody reads what is printed.
///
/// # Cancel safety
/// Dropped, it has let some go; the next run does the rest.
pub async fn run(client: Client, options: Options, out: &mut impl Write) -> Result<usize, Error> {
    let checkpoints = all::<ContainerCheckpoint>(&client, options, out).await?;
    let receivers = all::<PageReceiver>(&client, options, out).await?;
    writeln!(
        out,
        "released {checkpoints} ContainerCheckpoints and {receivers} PageReceivers; images that are left stay on \
         their nodes"
    )?;
    Ok(checkpoints + receivers)
}

/// Lets all objects of a kind go.
async fn all<K: Kept>(
    client: &Client,
    options: Options,
    out: &mut impl Write,
) -> Result<usize, Error> {
    let everywhere: Api<K> = Api::all(client.clone());
    let mut page = ListParams::default().limit(PAGE);
    let mut released = 0;
    loop {
        let list = everywhere.list_metadata(&page).await;
        let list = list.map_err(|source| Error::List(Box::new(source)))?;
        for object in list.items {
            if let Some(name) = one::<K>(client, object.metadata, options).await? {
                writeln!(out, "released {name}")?;
                released += 1;
            }
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(released),
        }
    }
}

/// A kind whose objects our finalizer keeps.
trait Kept:
    Clone
    + std::fmt::Debug
    + serde::de::DeserializeOwned
    + kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
{
}

impl Kept for ContainerCheckpoint {}
impl Kept for PageReceiver {}

/// Lets one object go where it is to, and says its name then.
async fn one<K: Kept>(
    client: &Client,
    mut metadata: ObjectMeta,
    options: Options,
) -> Result<Option<String>, Error> {
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let object = metadata.name.clone().unwrap_or_default();
    let name = format!("{namespace}/{object}");
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let manager = PatchParams::apply(names::OPERATOR);
    for _ in 0..TRIES {
        let Some(patch) = release(&metadata, options) else {
            return Ok(None);
        };
        let patch = Patch::Merge(patch);
        match api.patch_metadata(&object, &manager, &patch).await {
            Ok(_) => return Ok(Some(name)),
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(None),
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(source) => {
                let source = Box::new(source);
                return Err(Error::Write { name, source });
            }
        }
        let again = api.get_metadata_opt(&object).await;
        let again = again.map_err(|source| Error::Read {
            name: name.clone(),
            source: Box::new(source),
        })?;
        match again {
            Some(found) => metadata = found.metadata,
            None => return Ok(None),
        }
    }
    Err(Error::Overtaken { name })
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use serde_json::json;

    use super::*;
    use crate::{
        fixtures::{checkpoint, ready, time},
        scenario::{Step, server, step},
    };

    const LIST: &str = "/apis/stillframe.dev/v1alpha1/containercheckpoints?&limit=500";
    const RECEIVERS: &str = "/apis/stillframe.dev/v1alpha1/pagereceivers?&limit=500";
    const OBJECTS: &str = "/apis/stillframe.dev/v1alpha1/namespaces/shop/containercheckpoints";

    fn deleted(name: &str) -> ContainerCheckpoint {
        let mut deleted = ready(name);
        deleted.metadata.deletion_timestamp = Some(time(50));
        deleted
    }

    fn one_page(path: &str, objects: &[ContainerCheckpoint], next: &str) -> Step {
        let items = objects.iter().map(partial);
        let list = json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
            "metadata": {"continue": next}, "items": items.collect::<Vec<_>>(),
        });
        step(Method::GET, path, list)
    }

    fn partial(object: &ContainerCheckpoint) -> Value {
        json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": object.metadata,
        })
    }

    fn letting_go(object: &ContainerCheckpoint) -> Step {
        let name = object.metadata.name.as_deref().unwrap();
        let path = format!("{OBJECTS}/{name}?&fieldManager=stillframe-operator");
        step(Method::PATCH, path, partial(object))
            .with_body(json!({"metadata": {"resourceVersion": "7", "finalizers": []}}))
    }

    async fn told(options: Options, steps: Vec<Step>) -> (Result<usize, Error>, String) {
        let (client, server) = server(steps);
        let mut out = Vec::new();
        let done = run(client, options, &mut out).await;
        server.await.unwrap();
        (done, String::from_utf8(out).unwrap())
    }

    #[test]
    fn only_what_is_deleted_is_let_go_unless_all_is_and_others_finalizers_stay() {
        let mut other = deleted("other");
        other.metadata.finalizers = Some(vec!["example.com/other".into()]);
        let mut both = deleted("both");
        let finalizers = both.metadata.finalizers.as_mut().unwrap();
        finalizers.push("example.com/other".into());
        for (object, all, goes) in [
            (&ready("kept"), false, false),
            (&ready("kept"), true, true),
            (&deleted("gone"), false, true),
            (&other, true, false),
            (&both, false, true),
        ] {
            let patch = release(&object.metadata, Options { all });
            assert_eq!(patch.is_some(), goes, "{:?} {all}", object.metadata.name);
        }
        let patch = release(&both.metadata, Options::default()).unwrap();
        assert_eq!(
            patch["metadata"]["finalizers"],
            json!(["example.com/other"])
        );
    }

    #[tokio::test]
    async fn every_page_is_gone_through_and_each_object_told() {
        let (one, two) = (deleted("one"), deleted("two"));
        let steps = vec![
            one_page(LIST, &[one.clone(), ready("kept")], "next"),
            letting_go(&one),
            one_page(
                &format!("{LIST}&continue=next"),
                std::slice::from_ref(&two),
                "",
            ),
            letting_go(&two),
            one_page(RECEIVERS, &[], ""),
        ];
        let (done, text) = told(Options::default(), steps).await;
        assert_eq!(done.unwrap(), 2);
        assert_eq!(
            text,
            "released shop/one\nreleased shop/two\nreleased 2 ContainerCheckpoints and 0 PageReceivers; images that \
             are left stay on their nodes\n"
        );
    }

    #[tokio::test]
    async fn an_object_that_changes_meanwhile_is_looked_at_again() {
        let object = checkpoint("one");
        let path = format!("{OBJECTS}/one");
        let steps = vec![
            one_page(LIST, std::slice::from_ref(&object), ""),
            letting_go(&object).failing(StatusCode::CONFLICT, "Conflict"),
            step(Method::GET, &path, partial(&object)),
            letting_go(&object),
            one_page(RECEIVERS, &[], ""),
        ];
        let (done, _) = told(Options { all: true }, steps).await;
        assert_eq!(done.unwrap(), 1);
        let steps = vec![
            one_page(LIST, std::slice::from_ref(&object), ""),
            letting_go(&object).failing(StatusCode::NOT_FOUND, "NotFound"),
            one_page(RECEIVERS, &[], ""),
        ];
        let (done, _) = told(Options { all: true }, steps).await;
        assert_eq!(done.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_the_server_refuses_is_told_with_the_objects_name() {
        let object = deleted("one");
        let steps = vec![
            one_page(LIST, std::slice::from_ref(&object), ""),
            letting_go(&object).failing(StatusCode::FORBIDDEN, "Forbidden"),
        ];
        let (done, _) = told(Options::default(), steps).await;
        let error = done.unwrap_err();
        assert_eq!(error.reason(), "FinalizerNotWritten");
        assert!(error.to_string().ends_with("shop/one"), "{error}");
    }
}
