//! Pods that can be checkpointed.

use rig::Mission;
use rig::cluster::{BUSYBOX, Manifest};
use serde_json::{Value, json};

use crate::journey::{checkpoint_of, images_like, node, printed, source, there_and_back, until};

/// Prints numbers.
const PRINT: &str = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done";

/// A container as the API has it that counts like [`Manifest::counting`], with its pipe in `folder`.
fn counting(name: &str, folder: &str) -> Value {
    let script = format!(
        "trap 'exit 0' TERM; rm -f {folder}/pause; mkfifo {folder}/pause; exec 3<>{folder}/pause; n=0; \
         while :; do n=$((n+1)); echo $n >{}; read -t 0.02 -u 3 x; done",
        Manifest::counter(name)
    );
    json!({
        "name": name,
        "image": BUSYBOX,
        "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", script],
    })
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_plain_pod_is_checkpointed_and_its_image_comes_back() {
    let cluster = Mission::shared().cluster();
    let pod = cluster.run(&Manifest::empty("plain").script("app", PRINT));
    there_and_back(&pod, &source(&pod, None));
    assert_eq!(
        images_like("default", "plain"),
        [""; 0],
        "the image goes with its object"
    );
    pod.delete();
}

fn security_context(user: u32) -> Value {
    json!({
        "runAsUser": user,
        "runAsGroup": user,
        "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
    })
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_without_rights_on_a_root_that_is_read_only_comes_back() {
    let manifest = Manifest::empty("read-only")
        .script("app", PRINT)
        .of_container("app", "securityContext", security_context(0));
    let pod = Mission::shared().cluster().run(&manifest);
    assert!(!pod.exec("app", &["touch", "/file"]).succeeded());
    there_and_back(&pod, &source(&pod, None));
    pod.delete();
}

/// Whether what runs in the node may look at the limits of other users' processes, as CRIU does.
fn node_has_sys_resource() -> bool {
    let status = node().run(&["grep", "CapEff", "/proc/self/status"]).ok();
    let set = status.stdout.split_whitespace().last().unwrap_or_default();
    u64::from_str_radix(set, 16).is_ok_and(|set| set & 1 << 24 != 0)
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_of_another_user_is_checkpointed_or_what_the_agent_lacks_is_named() {
    let mission = Mission::shared();
    let manifest = Manifest::empty("humble").script("app", PRINT).of_container(
        "app",
        "securityContext",
        security_context(1000),
    );
    let pod = mission.cluster().run(&manifest);
    let pid = pod.pid("app").expect("it runs");
    let status = node().run(&["cat", &format!("/proc/{pid}/status")]).ok();
    assert!(
        status.stdout.contains("Uid:\t1000\t1000\t1000\t1000"),
        "{status:?}"
    );
    if node_has_sys_resource() {
        there_and_back(&pod, &source(&pod, None));
    } else {
        eprintln!(
            "only the refusal is tested: to dump another user's process, CRIU needs CAP_SYS_RESOURCE, which this machine \
             does not give its nodes"
        );
        let checkpoint = mission.checkpoint_of("humble", "humble");
        let said = checkpoint.wait_failed("PermissionDenied");
        assert!(said.contains("Can't get rlimit"), "{said}");
        let then = printed(&pod, "app");
        until("the pod goes on", || printed(&pod, "app") > then);
        assert_eq!(pod.pid("app"), Some(pid));
        assert_eq!(checkpoint.status()["artifact"], json!(null));
    }
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_static_pod_is_found_by_its_mirror() {
    let mission = Mission::shared();
    let cluster = mission.cluster();
    cluster.put_static_pod("node-a", &Manifest::new("static"));
    let pod = cluster.pod("default", "static-node-a");
    pod.wait("create");
    pod.wait("condition=Ready");
    let checkpoint = checkpoint_of(&pod, "app", &source(&pod, None));
    let status = checkpoint.status();
    assert_ne!(status["sandboxUID"], status["podUID"]);
    assert_eq!(
        status["sandboxUID"],
        pod.field(r".metadata.annotations.kubernetes\.io/config\.hash")
    );
    cluster.remove_static_pod("node-a", "static");
    pod.wait("delete");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_pod_in_the_nodes_network_is_checkpointed() {
    let cluster = Mission::shared().cluster();
    let pod = cluster.run(&Manifest::new("in-host-network").host_network());
    checkpoint_of(&pod, "app", &source(&pod, None));
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn one_of_the_containers_that_share_their_processes_is_checkpointed() {
    let cluster = Mission::shared().cluster();
    let manifest = Manifest::new("shares-processes")
        .counting("other")
        .spec("shareProcessNamespace", json!(true));
    let pod = cluster.run(&manifest);
    let other = pod.count_beyond("other", 3);
    checkpoint_of(&pod, "app", &source(&pod, Some("app")));
    assert!(pod.count_beyond("other", other) > other);
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn volumes_in_memory_and_parts_of_volumes_are_no_obstacle() {
    let cluster = Mission::shared().cluster();
    let mut app = counting("app", "/memory");
    app["volumeMounts"] = json!([
        {"name": "memory", "mountPath": "/memory"},
        {"name": "disk", "mountPath": "/part", "subPath": "a/b"},
        {"name": "disk", "mountPath": "/again", "subPath": "a", "readOnly": true},
    ]);
    let manifest = Manifest::empty("volumes").container(app).spec(
        "volumes",
        json!([
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
            {"name": "disk", "emptyDir": {}},
        ]),
    );
    let pod = cluster.run(&manifest);
    checkpoint_of(&pod, "app", &source(&pod, None));
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_init_container_that_runs_is_checkpointed_by_name() {
    let cluster = Mission::shared().cluster();
    let manifest =
        Manifest::new("initialising").spec("initContainers", json!([counting("prepare", "")]));
    let pod = cluster.create(&manifest);
    pod.wait("jsonpath={.status.initContainerStatuses[0].state.running}");
    checkpoint_of(&pod, "prepare", &source(&pod, Some("prepare")));
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_sidecar_is_checkpointed_by_name_and_leaves_the_only_container_without_a_doubt() {
    let mission = Mission::shared();
    let cluster = mission.cluster();
    let mut proxy = counting("proxy", "");
    proxy["restartPolicy"] = json!("Always");
    let pod = cluster.run(&Manifest::new("with-sidecar").spec("initContainers", json!([proxy])));
    checkpoint_of(&pod, "proxy", &source(&pod, Some("proxy")));
    let only = mission.checkpoint("beside-sidecar", &source(&pod, None));
    assert_eq!(only.wait_ready()["containerName"], "app");
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_that_was_added_for_debugging_is_checkpointed_by_name() {
    let cluster = Mission::shared().cluster();
    let pod = cluster.run(&Manifest::new("debugged"));
    let counting = counting("debug", "");
    let script = counting["command"][2].as_str().expect("a script");
    let image = format!("--image={BUSYBOX}");
    cluster.kubectl(&[
        "debug",
        "debugged",
        &image,
        "--container=debug",
        "--profile=general",
        "--image-pull-policy=Never",
        "--attach=false",
        "--quiet",
        "--",
        "/bin/sh",
        "-c",
        script,
    ]);
    pod.wait("jsonpath={.status.ephemeralContainerStatuses[0].state.running}");
    checkpoint_of(&pod, "debug", &source(&pod, Some("debug")));
    pod.delete();
}
