//! Pods and containers that are refused, at once, and are not touched.

use nix::sys::signal::Signal;
use rig::Mission;
use rig::cluster::Manifest;
use rig::installation::AGENTS;
use serde_json::{Value, json};

use crate::journey::{checkpoint_of, counts_on, images_like, node, source, until};

/// Fails unless nobody ever began a dump.
fn was_not_begun(status: &Value) {
    assert_eq!(status["attempts"].as_u64().unwrap_or(0), 0, "{status:#}");
    for field in ["startTime", "pauseMilliseconds", "artifact"] {
        assert!(status[field].is_null(), "{field}: {status:#}");
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_pod_that_took_the_name_of_the_one_that_is_meant_is_refused() {
    let mission = Mission::shared();
    let cluster = mission.cluster();
    let first = cluster.run(&Manifest::new("again"));
    let uid = first.uid();
    first.delete();
    let second = cluster.run(&Manifest::new("again"));
    let pinned = json!({"source": {"podName": "again", "podUID": uid}});
    let checkpoint = mission.checkpoint("pinned", &pinned);
    let said = checkpoint.wait_failed("PodReplaced");
    assert!(
        said.contains(&uid) && said.contains(&second.uid()),
        "{said}"
    );
    was_not_begun(&checkpoint.status());
    // Whoever pins none means the one that is there.
    checkpoint_of(&second, "app", &source(&second, None));
    let pinned = json!({"source": {"podName": "again", "podUID": second.uid()}});
    mission.checkpoint("pinned-well", &pinned).wait_ready();
    second.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_name_that_no_pod_or_container_has_is_refused() {
    let mission = Mission::shared();
    let pod = mission
        .cluster()
        .run(&Manifest::new("known").counting("other"));
    let spec = json!({"source": {"podName": "nobody"}});
    let checkpoint = mission.checkpoint("of-nobody", &spec);
    let said = checkpoint.wait_failed("PodNotFound");
    assert!(said.contains("nobody"), "{said}");
    was_not_begun(&checkpoint.status());

    let checkpoint = mission.checkpoint("of-nothing", &source(&pod, Some("nothing")));
    let said = checkpoint.wait_failed("UnknownContainer");
    assert!(
        said.contains("nothing") && said.contains("app, other"),
        "{said}"
    );
    was_not_begun(&checkpoint.status());

    let checkpoint = mission.checkpoint("of-either", &source(&pod, None));
    let said = checkpoint.wait_failed("ContainerNotNamed");
    assert!(said.contains("app, other"), "{said}");
    was_not_begun(&checkpoint.status());
    counts_on(&pod, "app", pod.count("app"));
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_pod_that_has_completed_is_refused() {
    let mission = Mission::shared();
    let manifest = Manifest::empty("completed")
        .script("app", "true")
        .spec("restartPolicy", json!("Never"));
    let pod = mission.cluster().create(&manifest);
    pod.wait("jsonpath={.status.phase}=Succeeded");
    let checkpoint = mission.checkpoint_of("of-completed", "completed");
    checkpoint.wait_failed("PodEnded");
    was_not_begun(&checkpoint.status());
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_that_was_restarted_before_its_dump_is_refused() {
    let mission = Mission::shared();
    let pod = mission.cluster().run(&Manifest::new("restarted"));
    let _ = pod.count_beyond("app", 3);
    let before = pod.container_id("app");
    mission.signal_agent("node-a", Signal::SIGSTOP);
    let checkpoint = mission.checkpoint_of("of-restarted", "restarted");
    checkpoint.wait("jsonpath={.status.nodeName}=node-a");
    let pid = pod.pid("app").expect("it runs").to_string();
    node().run(&["kill", "-KILL", &pid]).ok();
    pod.wait("jsonpath={.status.containerStatuses[0].restartCount}=1");
    until("the container is started again", || {
        let now = pod.container_id("app");
        now.is_some() && now != before
    });
    mission.signal_agent("node-a", Signal::SIGCONT);
    checkpoint.wait_failed("ContainerReplaced");
    was_not_begun(&checkpoint.status());
    assert_eq!(images_like("default", "of-restarted"), [""; 0]);
    counts_on(&pod, "app", pod.count("app"));
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_agents_own_container_is_refused() {
    let mission = Mission::shared();
    let cluster = mission.cluster();
    let output = "--output=jsonpath={.items[0].metadata.name}";
    let args = ["get", "pods", "--namespace", AGENTS, output];
    let agent = cluster.kubectl(&args);
    let restarts = ".status.containerStatuses[0].restartCount";
    let before = cluster.pod(AGENTS, &agent).field(restarts);
    let spec = json!({"source": {"podName": agent}});
    let checkpoint = mission.checkpoint_in(AGENTS, "of-own", &spec);
    checkpoint.wait_failed("SelfCheckpoint");
    was_not_begun(&checkpoint.status());
    assert_eq!(images_like(AGENTS, "of-own"), [""; 0]);
    assert_eq!(cluster.pod(AGENTS, &agent).field(restarts), before);
    // Others it may.
    let pod = cluster.run(&Manifest::new("other-than-own"));
    checkpoint_of(&pod, "app", &source(&pod, None));
    checkpoint.delete();
    pod.delete();
}
