//! `clean-up`: removes what the programs themselves have made beside the checkpoints, once their release is gone. Helm removes what
//! Helm has made.

use std::io::{self, Write};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams},
};
use stillframe_crds::{CheckpointNode, names};

/// What went wrong. What was removed before that is gone, and the rest can be tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The nodes' objects could not be removed.
    #[error("failed to delete the CheckpointNodes")]
    Nodes(#[source] Box<kube::Error>),
    /// The leader's Lease could not be removed.
    #[error("failed to delete the Lease {namespace}/{name}", name = names::OPERATOR)]
    Lease {
        /// Its namespace.
        namespace: String,
        /// Why.
        source: Box<kube::Error>,
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
            Self::Nodes(_) => "CheckpointNodesNotDeleted",
            Self::Lease { .. } => "LeaseNotDeleted",
            Self::Print(_) => "NotPrinted",
        }
    }
}

/// Removes every `CheckpointNode`, and the leader's Lease from this namespace. Checkpoints, their images and
/// the definitions stay.
///
/// # Errors
/// The API server does not answer or refuses, or nobody reads what is printed. That something is
/// not there is none.
pub async fn run(client: Client, namespace: &str, out: &mut impl Write) -> Result<(), Error> {
    let nodes: Api<CheckpointNode> = Api::all(client.clone());
    let all = ListParams::default();
    let deleted = nodes
        .delete_collection(&DeleteParams::default(), &all)
        .await;
    gone(deleted).map_err(|source| Error::Nodes(Box::new(source)))?;
    writeln!(out, "deleted the CheckpointNodes")?;
    let leases: Api<Lease> = Api::namespaced(client, namespace);
    let deleted = leases
        .delete(names::OPERATOR, &DeleteParams::default())
        .await;
    gone(deleted).map_err(|source| Error::Lease {
        namespace: namespace.to_owned(),
        source: Box::new(source),
    })?;
    writeln!(out, "deleted the Lease {namespace}/{}", names::OPERATOR)?;
    Ok(())
}

/// What is not there is as good as removed.
fn gone<T>(deleted: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match deleted {
        Err(kube::Error::Api(status)) if !status.is_not_found() => Err(kube::Error::Api(status)),
        Err(kube::Error::Api(_)) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use serde_json::json;

    use super::*;
    use crate::scenario::{Step, server, step};

    const NODES: &str = "/apis/stillframe.dev/v1alpha1/checkpointnodes?";
    const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/s/leases/stillframe-operator?";

    async fn done(steps: Vec<Step>) -> (Result<(), Error>, String) {
        let (client, server) = server(steps);
        let mut out = Vec::new();
        let done = run(client, "s", &mut out).await;
        server.await.unwrap();
        (done, String::from_utf8(out).unwrap())
    }

    fn deleting(path: &str) -> Step {
        let answer =
            json!({"apiVersion": "v1", "kind": "Status", "status": "Success", "code": 200});
        step(Method::DELETE, path, answer)
    }

    #[tokio::test]
    async fn nodes_and_the_lease_go() {
        let (done, said) = done(vec![deleting(NODES), deleting(LEASE)]).await;
        done.unwrap();
        assert!(said.contains("s/stillframe-operator"), "{said}");
    }

    #[tokio::test]
    async fn what_is_gone_already_is_no_error_and_a_refusal_is() {
        let missing = |path| deleting(path).failing(StatusCode::NOT_FOUND, "NotFound");
        let (ended, _) = done(vec![missing(NODES), missing(LEASE)]).await;
        ended.unwrap();
        let refused = deleting(NODES).failing(StatusCode::FORBIDDEN, "Forbidden");
        let (ended, _) = done(vec![refused]).await;
        assert_eq!(ended.unwrap_err().reason(), "CheckpointNodesNotDeleted");
    }
}
