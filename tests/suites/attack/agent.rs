//! An agent's token in the wrong hands: what a taken node can do to the others.

use std::sync::OnceLock;

use rig::Mission;
use rig::cluster::Manifest;
use serde_json::{Value, json};

use crate::identity::{AGENT, CHECKPOINTS, Identity, OPERATOR, cluster};

/// Nodes without a kubelet, so that nobody but the test acts for them.
const TAKEN: &str = "taken";
const OTHER: &str = "other";

/// The tokens of the two nodes' agents.
fn agents() -> &'static [Identity; 2] {
    static AGENTS: OnceLock<[Identity; 2]> = OnceLock::new();
    AGENTS.get_or_init(|| {
        Mission::shared();
        for name in [TAKEN, OTHER] {
            cluster().apply(
                &json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
                    .to_string(),
            );
        }
        [TAKEN, OTHER].map(Identity::agent_of)
    })
}

/// The path of a checkpoint's status.
fn status_of(name: &str) -> String {
    format!("{CHECKPOINTS}/{name}/status")
}

/// A checkpoint that the operator has given to this node, with more in its status.
fn given(name: &str, node: &str, more: &Value) {
    agents();
    let gates = json!([{"name": "rig.example.org/never"}]);
    let _ = cluster().create(&Manifest::new(name).spec("schedulingGates", gates));
    Mission::shared()
        .checkpoint_of(name, name)
        .wait_while("WaitingForContainer");
    let mut status = json!({
        "nodeName": node,
        "podUID": "11111111-1111-1111-1111-111111111111",
        "containerName": "app",
        "containerID": format!("containerd://{}", "a".repeat(64)),
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        status[field] = value.clone();
    }
    let operator = Identity::of(OPERATOR);
    operator.allowed(("PATCH", &status_of(name), json!({"status": status})));
}

fn patch(name: &str, status: &Value) -> (&'static str, String, Value) {
    ("PATCH", status_of(name), json!({"status": status}))
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_agent_of_a_node_writes_nothing_of_another_s_objects() {
    given("others", OTHER, &json!({}));
    let [taken, other] = agents();
    let (method, path, body) = patch("others", &json!({"attempts": 1}));
    taken.refused((method, &path, body.clone()), "is of node other");
    // It can even not take it over.
    let (_, _, mine) = patch("others", &json!({"nodeName": TAKEN}));
    taken.refused((method, &path, mine), "is of node other");
    // A token that tells no node is nobody's.
    Identity::of(AGENT).refused((method, &path, body.clone()), "bound to no node");
    other.allowed((method, &path, body));
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_agent_neither_hands_its_objects_on_nor_changes_what_they_name() {
    given("mine", TAKEN, &json!({}));
    let [taken, _] = agents();
    let another = format!("containerd://{}", "b".repeat(64));
    for (status, says) in [
        (
            json!({"nodeName": OTHER}),
            "hand a checkpoint to another node",
        ),
        (
            json!({"nodeName": null}),
            "hand a checkpoint to another node",
        ),
        (json!({"containerID": another}), "which container"),
        (json!({"containerName": "db"}), "which container"),
        (
            json!({"podUID": "22222222-2222-2222-2222-222222222222"}),
            "which container",
        ),
        (
            json!({"sandboxUID": "33333333-3333-3333-3333-333333333333"}),
            "which container",
        ),
    ] {
        let (method, path, body) = patch("mine", &status);
        taken.refused((method, &path, body), says);
    }
    let (method, path, body) = patch("mine", &json!({"attempts": 1}));
    taken.allowed((method, &path, body));
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_agent_writes_of_its_own_node_s_receivers_alone() {
    let [taken, other] = agents();
    let receivers = "/apis/stillframe.dev/v1alpha1/namespaces/default/pagereceivers";
    let object = json!({"apiVersion": "stillframe.dev/v1alpha1", "kind": "PageReceiver",
        "metadata": {"name": "theirs"}, "spec": {"nodeName": OTHER}});
    cluster().apply(&object.to_string());
    let path = format!("{receivers}/theirs/status");
    let operator = Identity::of(OPERATOR);
    let bound = json!({"status": {"nodeName": OTHER}});
    operator.allowed(("PATCH", &path, bound));
    let said = json!({"status": {"address": "10.0.0.1", "port": 1}});
    taken.refused(("PATCH", &path, said.clone()), "is of node other");
    other.allowed(("PATCH", &path, said));
    let mine = json!({"status": {"checkpoint": {"name": "two", "uid": "v", "nodeName": OTHER}}});
    other.refused(("PATCH", &path, mine), "whose memory");
    let away = json!({"status": {"nodeName": TAKEN}});
    other.refused(("PATCH", &path, away), "hand a receiver to another node");
    taken.refused(
        ("DELETE", &format!("{receivers}/theirs"), Value::Null),
        "forbidden",
    );

    let server = json!({"receiver": "theirs", "receiverUID": "r", "nodeName": OTHER,
        "address": "10.0.0.1", "port": 1, "tls": true});
    given("sends", TAKEN, &json!({"pageServer": server}));
    let elsewhere = json!({"pageServer": {"address": "10.6.6.6"}});
    let (method, path, body) = patch("sends", &elsewhere);
    taken.refused((method, &path, body), "where a checkpoint's memory goes");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_final_status_is_not_revived() {
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let failed = json!([
        condition("Complete", "True", "PauseTooLong"),
        condition("Ready", "False", "PauseTooLong"),
    ]);
    given(
        "final",
        TAKEN,
        &json!({"completionTime": "2026-01-01T00:00:00Z", "conditions": failed}),
    );
    let [taken, _] = agents();
    let ready = json!([
        condition("Complete", "True", "Checkpointed"),
        condition("Ready", "True", "Checkpointed"),
    ]);
    let operator = Identity::of(OPERATOR);
    for who in [taken, &operator] {
        for status in [
            json!({"completionTime": null}),
            json!({"completionTime": "2026-02-02T00:00:00Z"}),
            json!({"artifact": {"parts": [{"node": TAKEN, "path": "/etc", "sizeBytes": 1}]}}),
            json!({"conditions": ready}),
            json!({"conditions": []}),
        ] {
            let (method, path, body) = patch("final", &status);
            who.refused((method, &path, body), "has ended");
        }
    }
    // What is found out later about the image may be told.
    let mut later = failed.as_array().cloned().expect("a list");
    later.push(condition("Restorable", "False", "ImageGone"));
    let (method, path, body) = patch("final", &json!({"conditions": later}));
    taken.allowed((method, &path, body));
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_agent_makes_and_removes_no_checkpoint_and_reads_no_secret_or_pod() {
    given("kept", TAKEN, &json!({}));
    let [taken, _] = agents();
    let new = json!({"apiVersion": "stillframe.dev/v1alpha1", "kind": "ContainerCheckpoint",
        "metadata": {"name": "planted"}, "spec": {"source": {"podName": "kept"}}});
    let kept = format!("{CHECKPOINTS}/kept");
    for (method, path, body) in [
        ("POST", CHECKPOINTS, new),
        ("DELETE", kept.as_str(), Value::Null),
        ("DELETE", CHECKPOINTS, Value::Null),
        (
            "PATCH",
            &kept,
            json!({"spec": {"ttlSecondsAfterFinished": 0}}),
        ),
        ("PATCH", &kept, json!({"metadata": {"finalizers": null}})),
        ("GET", "/api/v1/secrets", Value::Null),
        (
            "GET",
            "/api/v1/namespaces/stillframe-agents/secrets",
            Value::Null,
        ),
        ("GET", "/api/v1/pods", Value::Null),
        ("GET", "/api/v1/namespaces/default/pods/kept", Value::Null),
        ("GET", "/api/v1/nodes", Value::Null),
        ("GET", "/api/v1/nodes/node-a/proxy/pods", Value::Null),
        ("GET", "/api/v1/namespaces/default/configmaps", Value::Null),
        ("GET", "/apis/coordination.k8s.io/v1/leases", Value::Null),
        (
            "POST",
            "/api/v1/namespaces/stillframe-agents/serviceaccounts/stillframe-node-agent/token",
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}),
        ),
    ] {
        taken.refused((method, path, body), "forbidden");
    }
    assert!(Mission::shared().existing("default", "kept").exists());
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_agent_speaks_for_its_own_node_alone() {
    let [taken, other] = agents();
    let nodes = "/apis/stillframe.dev/v1alpha1/checkpointnodes";
    let node = |name: &str| {
        json!({"apiVersion": "stillframe.dev/v1alpha1", "kind": "CheckpointNode",
            "metadata": {"name": name}, "spec": {}})
    };
    taken.refused(
        ("POST", nodes, node(OTHER)),
        "own node alone, which is taken",
    );
    taken.allowed(("POST", nodes, node(TAKEN)));
    other.allowed(("POST", nodes, node(OTHER)));
    let status = json!({"status": {"agentVersion": "9.9.9"}});
    let theirs = format!("{nodes}/{OTHER}/status");
    taken.refused(
        ("PATCH", &theirs, status.clone()),
        "own node alone, which is taken",
    );
    other.allowed(("PATCH", &theirs, status));

    let leases = "/apis/coordination.k8s.io/v1/namespaces/stillframe-agents/leases";
    let lease = |name: &str, holder: &str| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": format!("stillframe-node-{name}")}, "spec": {"holderIdentity": holder}})
    };
    taken.refused(
        ("POST", leases, lease(OTHER, TAKEN)),
        "stillframe-node-taken",
    );
    taken.refused(
        ("POST", leases, lease(TAKEN, OTHER)),
        "in the name of its own node",
    );
    other.allowed(("POST", leases, lease(OTHER, OTHER)));
    let theirs = format!("{leases}/stillframe-node-{OTHER}");
    let renewed = json!({"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}});
    taken.refused(("PATCH", &theirs, renewed), "stillframe-node-taken");
    let leader = "/apis/coordination.k8s.io/v1/namespaces/stillframe-system/leases";
    taken.refused(("POST", leader, lease(TAKEN, TAKEN)), "forbidden");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_agent_s_events_are_its_own_node_s() {
    let [taken, other] = agents();
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    let event = |controller: &str, instance: &str, kind: &str| {
        let version = if kind == "ContainerCheckpoint" {
            "stillframe.dev/v1alpha1"
        } else {
            "v1"
        };
        json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "type": "Normal",
            "metadata": {"generateName": "said-", "namespace": "default"},
            "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Dump", "reason": "Checkpointed",
            "reportingController": controller, "reportingInstance": instance,
            "regarding": {"apiVersion": version, "kind": kind, "name": "x", "namespace": "default"}})
    };
    let ours = "stillframe.dev/node-agent";
    taken.refused(
        ("POST", events, event(ours, OTHER, "Pod")),
        "own node alone",
    );
    taken.refused(
        ("POST", events, event("kubelet", TAKEN, "Pod")),
        "own node alone",
    );
    taken.refused(
        ("POST", events, event(ours, TAKEN, "Service")),
        "about ContainerCheckpoints and Pods alone",
    );
    for kind in ["Pod", "ContainerCheckpoint"] {
        taken.allowed(("POST", events, event(ours, TAKEN, kind)));
    }
    let made = other.allowed(("POST", events, event(ours, OTHER, "Pod")));
    let name = made["metadata"]["name"].as_str().unwrap_or_default();
    let theirs = format!("{events}/{name}");
    let again = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}});
    taken.refused(("PATCH", &theirs, again), "forbidden");
}
