//! Containers that end with their dump, and what is left of them: nothing.

use rig::Mission;
use rig::cluster::{Manifest, Pod};
use rig::pod::RUNC_ROOT;
use serde_json::json;

use crate::journey::{is_whole, no_lock_is_left, node, until};

/// A number that a workload shows in its state file.
fn shown(pod: &Pod<'_>, container: &str, state: &str, key: &str) -> u64 {
    let text = pod.read(container, state).unwrap_or_default();
    text.lines()
        .find_map(|line| {
            line.strip_prefix(key)?
                .strip_prefix('=')?
                .trim()
                .parse()
                .ok()
        })
        .unwrap_or(0)
}

/// Fails unless the runtime has forgotten a container, its cgroups are gone and none of its processes is left.
fn nothing_is_left_of(id: &str, pid: i32) {
    let gone = |path: &str| !node().run(&["test", "-e", path]).succeeded();
    until("the runtime forgets the container", || {
        gone(&format!("{RUNC_ROOT}/{id}"))
    });
    let cgroups = node().run(&["find", "/sys/fs/cgroup", "-type", "d", "-name", id]);
    assert_eq!(cgroups.stdout, "", "cgroups are left");
    assert!(gone(&format!("/proc/{pid}/status")), "{pid} is left");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_sidecars_traffic_flows_after_a_dump_that_ends_the_container() {
    let mission = Mission::shared();
    let cluster = mission.cluster();
    let server = ["tcp-server", "--state", "/dev/shm/server"];
    let server = cluster.run(&Manifest::empty("server").workload("app", &server));
    let address = format!("{}:7001", server.field(".status.podIP"));
    let client = |state: &'static str| ["tcp-client", "--connect", &address, "--state", state];
    let manifest = Manifest::empty("ends")
        .workload("app", &client("/dev/shm/app"))
        .workload("peer", &client("/dev/shm/peer"));
    let pod = cluster.run(&manifest);
    let messages = |container: &str| {
        shown(
            &pod,
            container,
            &format!("/dev/shm/{container}"),
            "messages",
        )
    };
    until("both talk", || messages("app") > 3 && messages("peer") > 3);
    let (id, pid) = (pod.container_id("app"), pod.pid("app"));
    let (id, pid) = (id.expect("it runs"), pid.expect("it runs"));
    let peer = pod.pid("peer");

    let spec = json!({
        "source": {"podName": "ends", "containerName": "app"},
        "options": {"leaveRunning": false, "tcpEstablished": true, "acceptConnectionLoss": true},
    });
    let checkpoint = mission.checkpoint("ends", &spec);
    let status = checkpoint.wait_ready();
    is_whole(&checkpoint, &status);
    let before = messages("peer");
    until("the sidecar's traffic flows", || messages("peer") > before);
    assert_eq!(shown(&pod, "peer", "/dev/shm/peer", "mismatches"), 0);
    assert_eq!(pod.pid("peer"), peer, "the sidecar was restarted");
    no_lock_is_left(&pod, "peer");
    nothing_is_left_of(&id, pid);

    // restartPolicy is Always.
    pod.wait("jsonpath={.status.containerStatuses[?(@.name==\"app\")].restartCount}=1");
    until("the container is started again and talks", || {
        pod.container_id("app").is_some_and(|now| now != id) && messages("app") > 3
    });
    let ended = ".status.containerStatuses[?(@.name==\"app\")].lastState.terminated.containerID";
    assert_eq!(pod.field(ended), format!("containerd://{id}"));
    pod.delete();
    server.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_pod_that_is_never_restarted_ends_with_its_dump() {
    let mission = Mission::shared();
    let manifest = Manifest::new("ends-for-good").spec("restartPolicy", json!("Never"));
    let pod = mission.cluster().run(&manifest);
    let _ = pod.count_beyond("app", 3);
    let (id, pid) = (pod.container_id("app"), pod.pid("app"));
    let spec = json!({
        "source": {"podName": "ends-for-good"},
        "options": {"leaveRunning": false},
    });
    let checkpoint = mission.checkpoint("ends-for-good", &spec);
    let status = checkpoint.wait_ready();
    is_whole(&checkpoint, &status);
    pod.wait("jsonpath={.status.containerStatuses[0].state.terminated.exitCode}=137");
    nothing_is_left_of(&id.expect("it ran"), pid.expect("it ran"));
    pod.wait("jsonpath={.status.phase}=Failed");
    assert!(!checkpoint.image_files().is_empty(), "the image stays");
    pod.delete();
}
