//! Writing this node's `CheckpointNode`, when there is something new to say.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use stillframe_crds::{
    CheckpointNode, CheckpointNodeSpec, condition, names, node::CheckpointNodeStatus,
};

use super::patch;

/// How often the object may come and go under our hands before that is an error.
const TRIES: u32 = 3;

/// Why a node's object could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or did not answer.
    #[error("failed to {verb} the CheckpointNode {node}")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// The node.
        node: String,
        /// What the server said.
        source: kube::Error,
    },
    /// The status is no JSON.
    #[error("failed to write down the status of {node}")]
    Encode {
        /// The node.
        node: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// The object is removed as soon as it is made.
    #[error("failed to keep the CheckpointNode {node}: somebody else removes it")]
    Removed {
        /// The node.
        node: String,
    },
}

impl Error {
    /// A stable name for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Api { .. } => "NodeNotWritten",
            Self::Encode { .. } => "NodeNotEncoded",
            Self::Removed { .. } => "NodeRemoved",
        }
    }
}

/// Writes one node's object and remembers what it has written: this agent is the only writer.
#[derive(Debug)]
pub struct Publisher {
    api: Api<CheckpointNode>,
    node: String,
    /// As the server has it; null without a status, `None` when it has to be asked.
    last: Option<Value>,
}

impl Publisher {
    /// The writer of a node's object.
    #[must_use]
    pub fn new(client: Client, node: &str) -> Self {
        Self {
            api: Api::all(client),
            node: node.to_owned(),
            last: None,
        }
    }

    /// Makes the object where it is missing and brings its status up to date; says whether
    /// anything was written. An unchanged status costs no request.
    ///
    /// # Errors
    /// The API server refuses or is away. It can be tried again.
    ///
    /// # Cancel safety
    /// Dropped, it may have written; the next call writes the rest.
    pub async fn publish(&mut self, status: &CheckpointNodeStatus) -> Result<bool, Error> {
        for _ in 0..TRIES {
            let last = match self.last.take() {
                Some(last) => last,
                None => match self.look().await? {
                    Some(found) => found,
                    None => continue,
                },
            };
            let new = self.encode(status, &last)?;
            let Some(patch) = patch::between(&last, &new) else {
                self.last = Some(last);
                return Ok(false);
            };
            if self.write(patch).await? {
                self.last = Some(new);
                return Ok(true);
            }
        }
        Err(Error::Removed {
            node: self.node.clone(),
        })
    }

    /// The status that the server has, of an object made where it is missing; `None` when
    /// somebody else made one meanwhile.
    async fn look(&self) -> Result<Option<Value>, Error> {
        match self.api.get_opt(&self.node).await {
            Ok(Some(found)) => Ok(Some(json!(found.status))),
            // Written by somebody past the schema: everything is written anew.
            Err(kube::Error::SerdeError(_)) => Ok(Some(Value::Null)),
            Ok(None) => self.create().await,
            Err(source) => Err(self.failed("read", source)),
        }
    }

    async fn create(&self) -> Result<Option<Value>, Error> {
        let params = PostParams {
            field_manager: Some(names::NODE_AGENT.to_owned()),
            ..PostParams::default()
        };
        let object = CheckpointNode::new(&self.node, CheckpointNodeSpec::default());
        match self.api.create(&params, &object).await {
            Ok(_) => Ok(Some(Value::Null)),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
            Err(source) => Err(self.failed("create", source)),
        }
    }

    /// Says whether the object was still there.
    async fn write(&self, status: Value) -> Result<bool, Error> {
        let params = PatchParams {
            field_manager: Some(names::NODE_AGENT.to_owned()),
            ..PatchParams::default()
        };
        let body = Patch::Merge(json!({ "status": status }));
        match self.api.patch_status(&self.node, &params, &body).await {
            // It has written, whatever we make of the answer.
            Ok(_) | Err(kube::Error::SerdeError(_)) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
            Err(source) => Err(self.failed("patch", source)),
        }
    }

    fn encode(&self, status: &CheckpointNodeStatus, last: &Value) -> Result<Value, Error> {
        let mut status = status.clone();
        let earlier = last.get("conditions").cloned().unwrap_or_default();
        let earlier: Vec<Condition> = serde_json::from_value(earlier).unwrap_or_default();
        for now in &mut status.conditions {
            let then = condition::get(&earlier, &now.type_);
            if let Some(then) = then.filter(|then| then.status == now.status) {
                now.last_transition_time = then.last_transition_time.clone();
            }
        }
        serde_json::to_value(status).map_err(|source| Error::Encode {
            node: self.node.clone(),
            source,
        })
    }

    fn failed(&self, verb: &'static str, source: kube::Error) -> Error {
        Error::Api {
            verb,
            node: self.node.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::controller::{
        mocked::{Server, conflict, not_found},
        node::tests::facts,
    };

    const ALL: &str = "/apis/stillframe.dev/v1alpha1/checkpointnodes";
    const ONE: &str = "/apis/stillframe.dev/v1alpha1/checkpointnodes/n1";
    const STATUS: &str = "/apis/stillframe.dev/v1alpha1/checkpointnodes/n1/status";

    fn object(status: &Value) -> Value {
        json!({"apiVersion": "stillframe.dev/v1alpha1", "kind": "CheckpointNode",
               "metadata": {"name": "n1"}, "spec": {}, "status": status})
    }

    fn status(free: u64, second: i64) -> CheckpointNodeStatus {
        facts().status(Some(free), Timestamp::from_second(second).unwrap())
    }

    #[tokio::test]
    async fn a_missing_object_is_made_and_written_whole_and_then_only_what_changed() {
        let (client, mut server) = Server::new();
        let mut publisher = Publisher::new(client, "n1");
        let play = async {
            server.expect("GET", ONE, not_found()).await;
            let made = server.expect("POST", ALL, (201, object(&json!({})))).await;
            assert_eq!(made["metadata"]["name"], "n1");
            let written = server
                .expect("PATCH", STATUS, (200, object(&json!({}))))
                .await;
            assert_eq!(written["status"]["criu"]["version"], "4.2.1");
            let next = server
                .expect("PATCH", STATUS, (200, object(&json!({}))))
                .await;
            let images = json!({"freeBytes": 1024, "free": "1.0 KiB"});
            assert_eq!(next, json!({"status": {"images": images}}));
        };
        let publish = async {
            assert!(publisher.publish(&status(2048, 1)).await.unwrap());
            // The same at another time: no request, or the script would fail.
            assert!(!publisher.publish(&status(2048, 2)).await.unwrap());
            assert!(publisher.publish(&status(1024, 3)).await.unwrap());
        };
        tokio::join!(publish, play);
    }

    #[tokio::test]
    async fn what_the_server_has_already_is_not_written_again() {
        let (client, mut server) = Server::new();
        let mut publisher = Publisher::new(client, "n1");
        let there = object(&json!(status(2048, 1)));
        let play = server.expect("GET", ONE, (200, there));
        let publish = async {
            assert!(!publisher.publish(&status(2048, 9)).await.unwrap());
        };
        tokio::join!(publish, play);
    }

    #[tokio::test]
    async fn an_object_that_was_removed_or_made_meanwhile_is_looked_for_again() {
        let (client, mut server) = Server::new();
        let mut publisher = Publisher::new(client, "n1");
        let play = async {
            server.expect("GET", ONE, not_found()).await;
            server.expect("POST", ALL, conflict()).await;
            let there = object(&json!(status(1024, 1)));
            server.expect("GET", ONE, (200, there.clone())).await;
            server.expect("PATCH", STATUS, not_found()).await;
            server.expect("GET", ONE, (200, there.clone())).await;
            server.expect("PATCH", STATUS, (200, there)).await;
        };
        let publish = async {
            assert!(publisher.publish(&status(2048, 1)).await.unwrap());
        };
        tokio::join!(publish, play);
    }

    #[tokio::test]
    async fn a_malformed_status_is_written_anew() {
        let (client, mut server) = Server::new();
        let mut publisher = Publisher::new(client, "n1");
        let play = async {
            let broken = object(&json!({"kernel": 5}));
            server.expect("GET", ONE, (200, broken.clone())).await;
            let written = server.expect("PATCH", STATUS, (200, broken)).await;
            assert_eq!(written["status"]["kernel"], "6.18.5");
        };
        let publish = async {
            assert!(publisher.publish(&status(2048, 1)).await.unwrap());
        };
        tokio::join!(publish, play);
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_an_error_and_the_next_call_looks_again() {
        let (client, mut server) = Server::new();
        let mut publisher = Publisher::new(client, "n1");
        let play = async {
            server.expect("GET", ONE, (403, json!({}))).await;
            server
                .expect("GET", ONE, (200, object(&json!(status(2048, 1)))))
                .await;
        };
        let publish = async {
            let error = publisher.publish(&status(2048, 1)).await.unwrap_err();
            assert_eq!(error.reason(), "NodeNotWritten");
            assert!(!publisher.publish(&status(2048, 1)).await.unwrap());
        };
        tokio::join!(publish, play);
    }
}
