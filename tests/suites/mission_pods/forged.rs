//! Objects whose status was written to have another's container dumped, by the only one who can: a taken operator.

use rig::cluster::{Manifest, Pod};
use rig::{Checkpoint, Mission};
use serde_json::{Value, json};

use crate::journey::{counts_on, images_like, node};

/// A pod that is never started: a checkpoint of it waits, and nothing of it is there to be mistaken.
fn never_started(name: &str) -> Manifest {
    Manifest::new(name).spec(
        "schedulingGates",
        json!([{"name": "rig.example.org/never"}]),
    )
}

/// A checkpoint of the pod that is never started, after somebody has written this assignment with the operator's rights.
fn forged(
    operator: &str,
    [namespace, name, pod]: [&str; 3],
    assignment: &Value,
) -> Checkpoint<'static> {
    let mission = Mission::shared();
    let spec = json!({"source": {"podName": pod}});
    let checkpoint = mission.checkpoint_in(namespace, name, &spec);
    checkpoint.wait_while("WaitingForContainer");
    let refused = mission.cluster().try_kubectl(&[
        "patch",
        "cckpt",
        name,
        "--namespace",
        namespace,
        "--subresource=status",
        "--type=merge",
        "--patch",
        &json!({"status": assignment}).to_string(),
    ]);
    let why = "written by the operator and the node agents alone";
    assert!(refused.stderr.contains(why), "{refused:#?}");
    checkpoint.patch_status_with(operator, assignment);
    checkpoint
}

fn sandbox_of(pod: &Pod<'_>) -> String {
    let filter = format!(
        "labels.\"io.kubernetes.pod.name\"=={},labels.\"io.cri-containerd.kind\"==sandbox",
        pod.name()
    );
    let listed = node()
        .run(&[
            "ctr",
            "--namespace",
            "k8s.io",
            "containers",
            "list",
            "--quiet",
            &filter,
        ])
        .ok();
    listed.stdout.trim().to_owned()
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_that_the_object_does_not_own_is_not_touched() {
    let cluster = Mission::shared().cluster();
    cluster.kubectl(&["create", "namespace", "attacker"]);
    cluster.wait_in("attacker", "serviceaccount/default", "create");
    let victim = cluster.run(&Manifest::new("victim"));
    let _ = cluster.create(&never_started("bait").namespace("attacker"));
    let _ = cluster.create(&never_started("victim").namespace("attacker"));
    let _ = cluster.create(&never_started("bait"));
    let before = victim.count_beyond("app", 3);
    let process = victim.pid("app");

    let id = victim.container_id("app").expect("it runs");
    let assignment = |id: &str, container: &str| {
        json!({
            "nodeName": "node-a",
            "podUID": victim.uid(),
            "sandboxUID": victim.uid(),
            "containerName": container,
            "containerID": format!("containerd://{id}"),
        })
    };
    let truth = assignment(&id, "app");
    let sandbox = assignment(&sandbox_of(&victim), "");
    let operator = Mission::shared().installation().operator_token();
    let cases = [
        (
            ["attacker", "other-namespace", "bait"],
            &truth,
            "sandbox-namespace",
        ),
        (
            ["attacker", "other-namespace-same-name", "victim"],
            &truth,
            "sandbox-namespace",
        ),
        (
            ["attacker", "sandbox", "victim"],
            &sandbox,
            "container-type",
        ),
        (["default", "other-pod", "bait"], &truth, "sandbox-name"),
    ];
    for (names, assignment, says) in cases {
        let [namespace, name, _] = names;
        let checkpoint = forged(&operator, names, assignment);
        let said = checkpoint.wait_failed("IdentityMismatch");
        assert!(said.contains(says), "{name}: {said}");
        let status = checkpoint.status();
        assert_eq!(status["attempts"].as_u64().unwrap_or(0), 0, "{status:#}");
        assert!(status["artifact"].is_null() && status["pauseMilliseconds"].is_null());
        assert_eq!(images_like(namespace, name), [""; 0], "{name}");
    }
    counts_on(&victim, "app", before);
    assert_eq!(victim.pid("app"), process);
    // Whoever may have it gets it.
    Mission::shared()
        .checkpoint_of("of-victim", "victim")
        .wait_ready();
    cluster.kubectl(&["delete", "namespace", "attacker", "--wait=false"]);
    victim.delete();
}
