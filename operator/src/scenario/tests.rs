//! What reaches the API server, request by request.

use kube::runtime::controller::Action;
use stillframe_crds::Reason;

use super::*;
use crate::fixtures::{assigned, checkpoint, pod_json, ready};

const OBJECT: &str = "/apis/stillframe.dev/v1alpha1/namespaces/shop/containercheckpoints/one";
const POD: &str = "/api/v1/namespaces/shop/pods/counter";
const NODE: &str = "/api/v1/nodes/node-1";
const EVENTS: &str =
    "/apis/events.k8s.io/v1/namespaces/shop/events?&fieldManager=stillframe-operator";

fn object_path() -> String {
    format!("{OBJECT}?&fieldManager=stillframe-operator")
}

fn status_path() -> String {
    format!("{OBJECT}/status?&fieldManager=stillframe-operator")
}

fn answer(checkpoint: &ContainerCheckpoint, version: &str) -> Value {
    let mut object = serde_json::to_value(checkpoint).unwrap();
    object["metadata"]["resourceVersion"] = version.into();
    object
}

fn new() -> ContainerCheckpoint {
    let mut new = checkpoint("one");
    new.metadata.finalizers = None;
    new
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "observedGeneration": 1, "lastTransitionTime": "*",
    })
}

/// Objects of these tests were made just now, so that their deadlines are ahead.
fn fresh(mut checkpoint: ContainerCheckpoint) -> ContainerCheckpoint {
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::now());
    checkpoint.metadata.creation_timestamp = Some(now);
    checkpoint
}

#[tokio::test]
async fn a_new_object_gets_its_finalizer_and_its_agent_in_two_writes() {
    let message = "given to the agent on node node-1";
    let held = fresh(checkpoint("one"));
    let steps = vec![
        step(Method::PATCH, object_path(), answer(&held, "8")).with_body(json!({"metadata": {
            "resourceVersion": "7", "finalizers": ["stillframe.dev/image"],
        }})),
        step(Method::GET, POD, pod_json()),
        step(Method::PATCH, status_path(), answer(&assigned("one"), "9")).with_body(json!({
            "metadata": {"resourceVersion": "8"},
            "status": {
                "observedGeneration": 1, "attempts": 0, "nodeName": "node-1",
                "podUID": "pod-uid", "sandboxUID": "pod-uid", "containerName": "app",
                "containerID": fixtures::CONTAINER_ID,
                "imageID": "docker.io/library/app@sha256:1",
                "conditions": [
                    condition("Complete", "False", "Assigned", message),
                    condition("Ready", "False", "Assigned", message),
                    condition("Reconciling", "True", "Assigned", message),
                ],
            },
        })),
    ];
    let action = reconcile_once(fresh(new()), steps).await.unwrap();
    assert_eq!(action, Action::await_change());
}

#[tokio::test]
async fn a_cache_that_is_behind_our_own_writes_costs_no_request() {
    let held = answer(&fresh(checkpoint("one")), "8");
    let (client, server) = server(vec![
        step(Method::PATCH, object_path(), held),
        step(Method::GET, POD, pod_json()),
        step(Method::PATCH, status_path(), answer(&assigned("one"), "9")),
    ]);
    let context = context(client);
    for _ in 0..2 {
        let object = Arc::new(fresh(new()));
        let action = reconcile::reconcile(object, Arc::clone(&context))
            .await
            .unwrap();
        assert_eq!(action, Action::await_change());
    }
    drop(context);
    server.await.unwrap();
}

#[tokio::test]
async fn a_missing_pod_fails_the_object_and_is_told_in_an_event() {
    let pod = step(Method::GET, POD, Value::Null).failing(StatusCode::NOT_FOUND, "NotFound");
    let message = "there is no pod counter";
    let reason = "PodNotFound";
    let meaning = Reason::PodNotFound.meaning();
    let hint = Reason::PodNotFound.hint().unwrap();
    let whole = &format!("{message}. Hint: {hint}");
    let status = step(Method::PATCH, status_path(), answer(&ready("one"), "8")).with_body(json!({
        "metadata": {"resourceVersion": "7"},
        "status": {
            "observedGeneration": 1, "attempts": 0, "completionTime": "*",
            "failure": {"reason": reason, "message": message, "hint": hint},
            "conditions": [
                condition("Complete", "True", reason, meaning),
                condition("Ready", "False", reason, whole),
                condition("Reconciling", "False", reason, meaning),
                condition("Stalled", "True", reason, whole),
            ],
        },
    }));
    let event = step(Method::POST, EVENTS, json!({})).with_body(json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": "*", "namespace": "shop"},
        "action": "Checkpoint", "type": "Warning", "reason": reason, "note": whole,
        "eventTime": "*", "reportingController": "stillframe-operator", "reportingInstance": "test",
        "regarding": {
            "apiVersion": "stillframe.dev/v1alpha1", "kind": "ContainerCheckpoint", "name": "one",
            "namespace": "shop", "uid": "uid-of-one",
        },
    }));
    let action = reconcile_once(fresh(checkpoint("one")), vec![pod, status, event]).await;
    assert_eq!(action.unwrap(), Action::await_change());
}

#[tokio::test]
async fn an_event_that_cannot_be_published_fails_nothing() {
    let steps = vec![
        step(Method::GET, POD, Value::Null).failing(StatusCode::NOT_FOUND, "NotFound"),
        step(Method::PATCH, status_path(), answer(&ready("one"), "8")),
        step(Method::POST, EVENTS, Value::Null).failing(StatusCode::FORBIDDEN, "Forbidden"),
    ];
    assert!(
        reconcile_once(fresh(checkpoint("one")), steps)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_write_that_comes_too_late_is_left_to_the_next_event() {
    for (code, reason) in [
        (StatusCode::CONFLICT, "Conflict"),
        (StatusCode::NOT_FOUND, "NotFound"),
    ] {
        let steps = vec![
            step(Method::GET, POD, pod_json()),
            step(Method::PATCH, status_path(), Value::Null).failing(code, reason),
        ];
        let action = reconcile_once(fresh(checkpoint("one")), steps)
            .await
            .unwrap();
        assert_eq!(action, Action::await_change(), "{reason}");
    }
}

#[tokio::test]
async fn what_the_server_refuses_otherwise_is_an_error() {
    let steps =
        vec![step(Method::GET, POD, Value::Null).failing(StatusCode::FORBIDDEN, "Forbidden")];
    let error = reconcile_once(fresh(checkpoint("one")), steps)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "PodUnreadable");
}

#[tokio::test]
async fn a_name_that_no_object_can_have_reaches_no_path() {
    let mut hostile = fresh(checkpoint("one"));
    hostile.spec.source.pod_name = "../secrets/password".into();
    hostile.spec.options.parent_ref = Some(fixtures::object_name("../../x"));
    let steps = vec![
        step(Method::PATCH, status_path(), answer(&ready("one"), "8")),
        step(Method::POST, EVENTS, json!({})),
    ];
    assert!(reconcile_once(hostile, steps).await.is_ok());
}

#[tokio::test]
async fn a_known_node_costs_no_request_and_an_unknown_one_is_asked_for() {
    let action = reconcile_once(fresh(assigned("one")), Vec::new())
        .await
        .unwrap();
    assert_ne!(
        action,
        Action::await_change(),
        "the agent's patience is timed"
    );
    let mut deleted = ready("one");
    deleted.metadata.deletion_timestamp = Some(fixtures::time(50));
    deleted.status.as_mut().unwrap().node_name = Some("node-2".into());
    let steps = vec![
        step(Method::GET, NODE.replace("node-1", "node-2"), Value::Null)
            .failing(StatusCode::NOT_FOUND, "NotFound"),
        step(Method::PATCH, object_path(), answer(&deleted, "8"))
            .with_body(json!({"metadata": {"resourceVersion": "7", "finalizers": []}})),
    ];
    assert!(reconcile_once(deleted, steps).await.is_ok());
}

#[tokio::test]
async fn other_finalizers_are_left_alone() {
    let mut deleted = checkpoint("one");
    deleted.metadata.deletion_timestamp = Some(fixtures::time(50));
    let finalizers = deleted.metadata.finalizers.as_mut().unwrap();
    finalizers.push("example.com/other".into());
    let steps = vec![
        step(Method::PATCH, object_path(), answer(&deleted, "8")).with_body(
            json!({"metadata": {"resourceVersion": "7", "finalizers": ["example.com/other"]}}),
        ),
    ];
    assert!(reconcile_once(deleted, steps).await.is_ok());
}

#[tokio::test]
async fn a_finished_object_that_somebody_released_is_held_again() {
    let mut released = ready("one");
    released.metadata.finalizers = Some(vec!["example.com/other".into()]);
    let steps = vec![
        step(Method::PATCH, object_path(), answer(&ready("one"), "8"))
            .with_body(json!({"metadata": {"resourceVersion": "7",
                                "finalizers": ["example.com/other", "stillframe.dev/image"]}})),
    ];
    assert!(reconcile_once(released, steps).await.is_ok());
}

#[tokio::test]
async fn an_expired_object_is_deleted_only_as_it_was_judged() {
    let mut expired = ready("one");
    expired.spec.ttl_seconds_after_finished = Some(1);
    let steps = vec![
        step(Method::DELETE, format!("{OBJECT}?"), answer(&expired, "8"))
            .with_body(json!({"preconditions": {"uid": "uid-of-one", "resourceVersion": "7"}})),
    ];
    assert!(reconcile_once(expired, steps).await.is_ok());
}

#[tokio::test]
async fn a_chain_is_judged_by_what_the_server_holds_of_the_node() {
    let mut child = fresh(checkpoint("one"));
    child.spec.options.parent_ref = Some(fixtures::object_name("parent"));
    let mut parent = ready("parent");
    parent.spec.options.pre_dump = true;
    let list = json!({
        "apiVersion": "stillframe.dev/v1alpha1", "kind": "ContainerCheckpointList",
        "metadata": {"resourceVersion": "9"},
        "items": [answer(&parent, "5"), {"metadata": {"name": "malformed"}, "spec": 7}],
    });
    let folder = "/apis/stillframe.dev/v1alpha1/namespaces/shop/containercheckpoints";
    let steps = vec![
        step(Method::GET, POD, pod_json()),
        step(
            Method::GET,
            format!("{folder}/parent"),
            answer(&parent, "5"),
        ),
        step(
            Method::GET,
            format!("{folder}?&fieldSelector=status.nodeName%3Dnode-1"),
            list,
        ),
        step(Method::PATCH, status_path(), answer(&assigned("one"), "8")),
    ];
    assert!(reconcile_once(child, steps).await.is_ok());
}
