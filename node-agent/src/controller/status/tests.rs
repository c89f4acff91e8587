use jiff::Timestamp;
use serde_json::{Value, json};

use stillframe_crds::checkpoint::ContainerCheckpointStatus;

use super::*;
use crate::controller::{
    mocked::{Server, conflict, not_found},
    report,
    sample::object,
};

const ONE: &str = "/apis/stillframe.dev/v1alpha1/namespaces/shop/containercheckpoints/a";
const STATUS: &str = "/apis/stillframe.dev/v1alpha1/namespaces/shop/containercheckpoints/a/status";

fn dumping(object: &ContainerCheckpoint) -> Option<ContainerCheckpointStatus> {
    let now = Timestamp::UNIX_EPOCH;
    (!object.is_finished()).then(|| report::dumping(object, 1, now))
}

fn json_of(patch: &Value) -> Value {
    serde_json::to_value(object(patch)).unwrap()
}

#[tokio::test]
async fn a_write_carries_the_version_and_uid_that_were_judged() {
    let (client, mut server) = Server::new();
    let play = async {
        let body = server
            .expect("PATCH", STATUS, (200, json_of(&json!({}))))
            .await;
        let lock = json!({"resourceVersion": "7", "uid": "u-1"});
        assert_eq!(body["metadata"], lock);
        assert_eq!(body["status"]["attempts"], 1);
    };
    let write = async {
        let written = Writer::new(client)
            .write(&object(&json!({})), dumping)
            .await;
        assert!(matches!(written, Ok(Written::Stored(_))));
    };
    tokio::join!(write, play);
}

#[tokio::test]
async fn a_conflict_is_looked_at_and_decided_anew() {
    let (client, mut server) = Server::new();
    let play = async {
        server.expect("PATCH", STATUS, conflict()).await;
        let newer = json_of(&json!({"metadata": {"resourceVersion": "8"}}));
        server.expect("GET", ONE, (200, newer.clone())).await;
        let body = server.expect("PATCH", STATUS, (200, newer)).await;
        assert_eq!(body["metadata"]["resourceVersion"], "8");
    };
    let write = async {
        let written = Writer::new(client)
            .write(&object(&json!({})), dumping)
            .await;
        assert!(matches!(written, Ok(Written::Stored(_))));
    };
    tokio::join!(write, play);
}

#[tokio::test]
async fn an_object_that_has_ended_meanwhile_is_left_alone() {
    let (client, mut server) = Server::new();
    let play = async {
        server.expect("PATCH", STATUS, conflict()).await;
        let ended = json_of(&json!({"status": {"completionTime": "2026-01-01T00:00:50Z"}}));
        server.expect("GET", ONE, (200, ended)).await;
    };
    let write = async {
        let written = Writer::new(client)
            .write(&object(&json!({})), dumping)
            .await;
        assert!(matches!(written, Ok(Written::Unwanted(object)) if object.is_finished()));
    };
    tokio::join!(write, play);
}

#[tokio::test]
async fn an_object_that_is_gone_or_another_is_not_written_to() {
    for answer in [
        not_found(),
        (200, json_of(&json!({"metadata": {"uid": "u-2"}}))),
    ] {
        let (client, mut server) = Server::new();
        let play = async {
            server.expect("PATCH", STATUS, conflict()).await;
            server.expect("GET", ONE, answer).await;
        };
        let write = async {
            let written = Writer::new(client)
                .write(&object(&json!({})), dumping)
                .await;
            assert!(matches!(written, Ok(Written::Gone)));
        };
        tokio::join!(write, play);
    }
}

#[tokio::test]
async fn what_the_server_will_never_take_is_given_up() {
    let (client, mut server) = Server::new();
    let invalid = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "message": "no",
                         "reason": "Invalid", "code": 422});
    let play = server.expect("PATCH", STATUS, (422, invalid));
    let write = async {
        let error = Writer::new(client)
            .write(&object(&json!({})), dumping)
            .await
            .unwrap_err();
        assert_eq!(error.reason(), "StatusRefused");
        assert_eq!(error.object, "shop/a");
    };
    tokio::join!(write, play);
}

#[tokio::test]
async fn a_status_that_says_so_already_is_not_written() {
    // Any request would go unanswered.
    let (client, _server) = Server::new();
    let same = |object: &ContainerCheckpoint| object.status.clone();
    let written = Writer::new(client).write(&object(&json!({})), same).await;
    assert!(matches!(written, Ok(Written::Stored(_))));
}
