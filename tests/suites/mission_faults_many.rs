//! Many objects at once, objects that nobody can read, and an operator that is restarted under way.

use std::time::Duration;

use nix::sys::signal::Signal;
use rig::cluster::Manifest;
use rig::mission::{Checkpoint, condition_of};
use rig::stage::{NODE, Stage, until};
use rig::witness::{Witness, must_be_gone};
use serde_json::{Value, json};

#[test]
#[ignore = "needs the node root: run make test"]
fn objects_for_one_container_are_served_one_after_the_other() {
    let stage = Stage::enter();
    let witness = Witness::start(stage.cluster, &Manifest::new("shared"));
    let gate = stage.gate("query-ext-files", "hold");
    let first = stage.mission.checkpoint_of("first", "shared");
    let _ = gate.held();
    let second = stage.mission.checkpoint_of("second", "shared");
    let third = stage.mission.checkpoint_of("third", "shared");
    second.wait_while("Queued");
    third.wait_while("Queued");
    // Out of the queue, without a dump.
    third.delete();
    gate.release();
    for checkpoint in [first, second] {
        let status = checkpoint.wait_ready();
        assert_eq!(status["attempts"], 1, "{status:#}");
        assert_eq!(stage.dumps(checkpoint.name()), 1);
        checkpoint.delete();
        must_be_gone(stage.node, checkpoint.name());
    }
    assert_eq!(stage.dumps("third"), 0);
    must_be_gone(stage.node, "third");
    witness.must_be_unharmed("two objects for one container");
    witness.pod.delete();
}

const PODS: usize = 5;
const OBJECTS: usize = 50;

/// As `kubectl` selects them.
const MANY: &str = "--selector=test=many";

fn many() -> Value {
    let object = |index: usize| {
        json!({
            "apiVersion": "stillframe.dev/v1alpha1",
            "kind": "ContainerCheckpoint",
            "metadata": {
                "name": format!("many-{index}"), "namespace": "default", "labels": {"test": "many"},
            },
            "spec": {
                "source": {"podName": format!("crowd-{}", index % PODS)}, "timeoutSeconds": 600,
            },
        })
    };
    let objects: Vec<Value> = (0..OBJECTS).map(object).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": objects})
}

#[test]
#[ignore = "needs the node root: run make test"]
fn fifty_objects_at_once_are_all_served_and_none_twice() {
    let stage = Stage::enter();
    let witnesses: Vec<_> = (0..PODS)
        .map(|index| {
            let pod = Manifest::new(&format!("crowd-{index}"));
            Witness::start(stage.cluster, &pod)
        })
        .collect();
    let gate = stage.gate("query-ext-files", "hold");
    stage.cluster.apply(&many().to_string());
    let _ = gate.held();
    until("all others wait for their turn", || {
        let path = "jsonpath={.items[*].status.conditions[?(@.type==\"Reconciling\")].reason}";
        let reasons = stage
            .cluster
            .kubectl(&["get", "cckpt", MANY, "--output", path]);
        reasons.matches("Queued").count() == OBJECTS - 1
    });
    gate.release();
    let args = [
        "wait",
        "cckpt",
        MANY,
        "--for=condition=Complete",
        "--timeout=240s",
    ];
    let wait = stage.cluster.kubectl_command(&args);
    wait.timeout(Duration::from_mins(5)).output().ok();
    let found = stage
        .cluster
        .kubectl(&["get", "cckpt", MANY, "--output=json"]);
    let found: Value = serde_json::from_str(&found).expect("JSON");
    let found = found["items"].as_array().expect("a list");
    assert_eq!(found.len(), OBJECTS);
    for object in found {
        let status = &object["status"];
        let name = object["metadata"]["name"].as_str().expect("a name");
        assert_eq!(condition_of(status, "Ready").status, "True", "{object:#}");
        assert_eq!(status["attempts"], 1, "{object:#}");
        assert_eq!(stage.dumps(name), 1, "{object:#}");
    }
    stage.cluster.kubectl(&["delete", "cckpt", MANY]);
    must_be_gone(stage.node, "many");
    for witness in &witnesses {
        witness.must_go_on("fifty objects");
    }
    for witness in &witnesses {
        witness.pod.delete();
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_operator_that_is_restarted_goes_on_where_it_was() {
    let stage = Stage::enter();
    // While an object waits for its container.
    let nowhere =
        Manifest::new("unborn").spec("schedulingGates", json!([{"name": "rig.example.org/wait"}]));
    let pod = stage.cluster.create(&nowhere);
    let waiting = stage.mission.checkpoint_of("waits", "unborn");
    waiting.wait_while("WaitingForContainer");
    stage.restart_operator();
    let open = r#"[{"op": "remove", "path": "/spec/schedulingGates"}]"#;
    stage
        .cluster
        .kubectl(&["patch", "pod", "unborn", "--type=json", "--patch", open]);
    pod.wait("condition=Ready");
    let status = waiting.wait_ready();
    assert_eq!(status["attempts"], 1, "{status:#}");
    let witness = Witness::of(stage.cluster, pod);

    // While the agent has one.
    let gate = stage.gate("query-ext-files", "hold");
    let assigned = stage.mission.checkpoint_of("assigned", "unborn");
    let _ = gate.held();
    stage.restart_operator();
    gate.release();
    let status = assigned.wait_ready();
    assert_eq!(status["attempts"], 1, "{status:#}");
    assert_eq!(stage.dumps("assigned"), 1);

    // While one is being deleted.
    stage.mission.end_operator(Signal::SIGKILL);
    assigned.begin_delete();
    assigned.wait("condition=ImageRemoved");
    must_be_gone(stage.node, "assigned");
    assert!(assigned.exists());
    stage.mission.start_operator();
    assigned.wait("delete");
    waiting.delete();
    must_be_gone(stage.node, "waits");
    witness.must_be_unharmed("an operator that was restarted");
    witness.pod.delete();
}

/// The definition of checkpoints, with a spec that may be anything.
fn lax(definition: &Value) -> String {
    let mut lax = json!({
        "apiVersion": definition["apiVersion"],
        "kind": definition["kind"],
        "metadata": {"name": definition["metadata"]["name"]},
        "spec": definition["spec"],
    });
    let versions = lax["spec"]["versions"].as_array_mut();
    for version in versions.into_iter().flatten() {
        let schema = &mut version["schema"]["openAPIV3Schema"];
        schema["properties"]["spec"] =
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        schema["x-kubernetes-validations"] = json!([]);
    }
    lax.to_string()
}

/// An object with this spec that says it has been given to the agent.
fn malformed(stage: &Stage, name: &str, spec: &Value) -> Checkpoint<'static> {
    let object = json!({
        "apiVersion": "stillframe.dev/v1alpha1",
        "kind": "ContainerCheckpoint",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    })
    .to_string();
    // The server takes a moment to go by another definition.
    until("the lax definition is in force", || {
        stage.cluster.try_apply(&object).succeeded()
    });
    let checkpoint = stage.mission.existing("default", name);
    checkpoint.patch_status_with(&stage.operator_token(), &json!({"nodeName": NODE}));
    checkpoint
}

#[test]
#[ignore = "needs the node root: run make test"]
fn objects_that_nobody_can_read_stop_no_other() {
    let stage = Stage::enter();
    let witness = Witness::start(stage.cluster, &Manifest::new("readable"));
    let definition = stage.cluster.kubectl(&[
        "get",
        "crd",
        "containercheckpoints.stillframe.dev",
        "--output=json",
    ]);
    let definition = serde_json::from_str(&definition).expect("JSON");
    // The policies would keep such objects out: these are from before there were any.
    let open = stage.values().set("policies.enabled", false);
    stage.mission.upgrade(&open);
    stage.cluster.install_definition(&lax(&definition));
    let specs = [
        json!({}),
        json!({"source": {"podName": "readable"}, "timeoutSeconds": "soon"}),
        json!({"source": {"podName": "readable"}, "options": [1, 2]}),
        json!({"source": {"podName": "readable"}, "options": {"imagePath": {"not": "a path"}}}),
        json!({"source": {"podName": "readable"}, "deletionPolicy": "Perhaps"}),
    ];
    let malformed: Vec<_> = specs
        .iter()
        .enumerate()
        .map(|(index, spec)| malformed(&stage, &format!("malformed-{index}"), spec))
        .collect();
    stage.cluster.install_crds();
    for life in ["before", "after"] {
        let name = format!("read-{life}");
        let checkpoint = stage.mission.checkpoint_of(&name, "readable");
        checkpoint.wait_ready();
        checkpoint.delete();
        must_be_gone(stage.node, &name);
        until("both say what they cannot read", || {
            let agent = stage.mission.agent_log(NODE);
            let operator = stage.mission.operator_log();
            malformed.iter().all(|checkpoint| {
                agent.contains(checkpoint.name()) && operator.contains(checkpoint.name())
            })
        });
        if life == "before" {
            // What is there when they begin is in their first list.
            stage.restart_operator();
            assert_eq!(stage.mission.end_agent(NODE, Signal::SIGTERM), 0);
            stage.start_agent();
        }
    }
    for checkpoint in &malformed {
        checkpoint.delete();
    }
    stage.mission.upgrade(&stage.values());
    witness.must_be_unharmed("malformed objects");
    witness.pod.delete();
}
