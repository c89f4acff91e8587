//! The rig's cluster: that what the other suites take for granted is so.

use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rig::Cluster;
use rig::cluster::{BUSYBOX, Manifest, Options};
use rig::node::PATIENCE;
use serde_json::json;

/// A resource with selectable fields in its status, as the project's own has.
const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: jobs.rig.example.org}
spec:
  group: rig.example.org
  scope: Namespaced
  names: {plural: jobs, singular: job, kind: Job}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    selectableFields: [{jsonPath: .status.nodeName}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          status: {type: object, properties: {nodeName: {type: string}}}
";

#[test]
#[ignore = "needs the node root: run make test"]
fn a_pod_counts_and_can_be_looked_into() {
    let cluster = Cluster::shared();
    assert_eq!(
        cluster.kubectl(&["get", "nodes", "--output=name"]),
        "node/node-a\n"
    );
    let pod =
        cluster.run(&Manifest::new("counts").script("talks", "echo hello; exec sleep 1000000"));
    let seen = pod.count_beyond("app", 5);
    assert!(pod.count_beyond("app", seen) > seen);

    let answer = pod.exec("app", &["cat", &Manifest::counter("app")]).ok();
    assert!(
        answer
            .stdout
            .trim()
            .parse::<u64>()
            .is_ok_and(|count| count > seen)
    );
    assert_eq!(pod.exec("app", &["sh", "-c", "exit 7"]).status, 7);
    assert_eq!(pod.logs("talks"), "hello\n");
    let id = pod.field(".status.containerStatuses[?(@.name==\"app\")].containerID");
    assert_eq!(
        Some(id.trim_start_matches("containerd://")),
        pod.container_id("app").as_deref()
    );
    pod.delete();
    assert_eq!(pod.container_id("app"), None);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_pod_runs_the_workload() {
    let cluster = Cluster::shared();
    let args = ["count", "--state", "/dev/shm/state", "--quiet"];
    let pod = cluster.run(&Manifest::empty("works").workload("app", &args));
    let deadline = Instant::now() + PATIENCE;
    while !pod
        .read("app", "/dev/shm/state")
        .is_some_and(|state| state.contains("ticks="))
    {
        assert!(Instant::now() < deadline, "{:?}", pod.logs("app"));
        sleep(Duration::from_millis(20));
    }
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_whose_liveness_probe_fails_is_restarted() {
    let cluster = Cluster::shared();
    let probes = [
        (
            "exec",
            json!({"exec": {"command": ["sh", "-c", "[ ! -e /dev/shm/ill ]"]}}),
        ),
        ("http", json!({"httpGet": {"port": 8080, "path": "/"}})),
        ("tcp", json!({"tcpSocket": {"port": 8080}})),
    ];
    for (kind, mut probe) in probes {
        probe["periodSeconds"] = json!(1);
        probe["failureThreshold"] = json!(1);
        probe["initialDelaySeconds"] = json!(1);
        let serve = "rm -f /dev/shm/ill; mkdir -p /www; echo well >/www/index.html; \
                     httpd -p 8080 -h /www; exec sleep 1000000";
        let manifest = Manifest::empty(&format!("probed-by-{kind}"))
            .script("app", serve)
            .of_container("app", "livenessProbe", probe);
        let pod = cluster.run(&manifest);
        let before = pod.container_id("app");
        assert!(before.is_some());
        // Ends the server, and is what the first probe looks for.
        pod.exec(
            "app",
            &[
                "sh",
                "-c",
                "touch /dev/shm/ill; for p in /proc/[0-9]*; do \
            read name <$p/comm; [ $name != httpd ] || kill -9 ${p#/proc/}; done",
            ],
        )
        .ok();
        pod.wait("jsonpath={.status.containerStatuses[0].restartCount}=1");
        let deadline = Instant::now() + PATIENCE;
        while pod.container_id("app").is_none() || pod.container_id("app") == before {
            assert!(
                Instant::now() < deadline,
                "the container is not started again"
            );
            sleep(Duration::from_millis(50));
        }
        pod.delete();
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn objects_can_be_selected_by_a_field_of_their_status() {
    let cluster = Cluster::shared();
    cluster.install_definition(DEFINITION);
    for (name, node) in [("one", "node-a"), ("two", "node-b")] {
        cluster.apply(&format!(
            "{{apiVersion: rig.example.org/v1, kind: Job, metadata: {{name: {name}, namespace: default}}}}"
        ));
        let patch = json!({"status": {"nodeName": node}}).to_string();
        cluster.kubectl(&[
            "patch",
            "jobs.rig.example.org",
            name,
            "--subresource=status",
            "--type=merge",
            "--patch",
            &patch,
        ]);
    }
    let selected = cluster.kubectl(&[
        "get",
        "jobs.rig.example.org",
        "--field-selector=status.nodeName=node-b",
        "--output=name",
    ]);
    assert_eq!(selected, "job.rig.example.org/two\n");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_static_pod_runs_until_its_manifest_is_taken_away() {
    let cluster = Cluster::shared();
    cluster.put_static_pod("node-a", &Manifest::new("fixed"));
    cluster.wait("pod/fixed-node-a", "create");
    let pod = cluster.pod("default", "fixed-node-a");
    pod.wait("condition=Ready");
    let _ = pod.count_beyond("app", 3);
    assert_eq!(
        pod.field(".metadata.annotations.kubernetes\\.io/config\\.source"),
        "file"
    );
    cluster.remove_static_pod("node-a", "fixed");
    pod.wait("delete");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn somebody_can_debug_the_node() {
    let cluster = Cluster::shared();
    let image = format!("--image={BUSYBOX}");
    let said = cluster.kubectl(&[
        "debug",
        "node/node-a",
        &image,
        "--profile=sysadmin",
        "--quiet",
        "--attach=false",
        "--",
        "cat",
        "/host/etc/hostname",
    ]);
    let pods = cluster.kubectl(&["get", "pods", "--output=name"]);
    let name = pods
        .lines()
        .find_map(|line| line.strip_prefix("pod/node-debugger-node-a-"));
    let name = name.unwrap_or_else(|| panic!("no debugger was made: {said}"));
    let pod = cluster.pod("default", &format!("node-debugger-node-a-{name}"));
    pod.wait("jsonpath={.status.phase}=Succeeded");
    assert_eq!(pod.logs("debugger"), "stillframe-node\n");
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_kubelet_itself_takes_a_checkpoint() {
    let cluster = Cluster::shared();
    let pod = cluster.run(&Manifest::new("by-kubelet"));
    let _ = pod.count_beyond("app", 5);
    let url = format!(
        "https://{}:10250/checkpoint/default/by-kubelet/app",
        cluster.node_address(0)
    );
    let answer = cluster.node(0).run(&[
        "curl",
        "--silent",
        "--show-error",
        "--fail-with-body",
        "--insecure",
        "--request",
        "POST",
        "--cert",
        "/run/rig/pki/admin.crt",
        "--key",
        "/run/rig/pki/admin.key",
        &url,
    ]);
    assert!(
        answer.succeeded() && answer.stdout.contains("checkpoint-by-kubelet"),
        "{answer:#?}"
    );
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_audit_log_tells_who_asked_for_what() {
    let cluster = Cluster::shared();
    let mark = cluster.audit_mark();
    let token = cluster.token("stillframe-node-agent", Some("node-a"));
    let kubeconfig = cluster
        .node(0)
        .put("pki/try.conf", cluster.kubeconfig(&token));
    cluster
        .node(0)
        .command("kubectl")
        .args([
            "get",
            "configmap",
            "kube-root-ca.crt",
            "--kubeconfig",
            &kubeconfig,
        ])
        .output()
        .ok();
    let entries = cluster.audit_since(mark);
    let account = "system:serviceaccount:stillframe-system:stillframe-node-agent";
    let entry = entries
        .iter()
        .find(|entry| entry.user == account && entry.name == "kube-root-ca.crt")
        .unwrap_or_else(|| panic!("the request is not among {entries:#?}"));
    assert_eq!(
        (entry.verb.as_str(), entry.resource.as_str(), entry.code),
        ("get", "configmaps", 200)
    );
    assert_eq!(entry.node.as_deref(), Some("node-a"));
    assert!(entry.user_agent.starts_with("kubectl/") && entry.is_request() && !entry.is_write());
    let made = entries
        .iter()
        .find(|entry| entry.subresource == "token")
        .expect("the token was asked for");
    assert!(made.user == "admin" && made.is_write());
}

#[test]
#[ignore = "needs the node root: run make test"]
fn containers_go_on_while_api_server_and_kubelet_are_away() {
    let cluster = Cluster::start();
    let pod = cluster.run(&Manifest::new("goes-on"));
    let before = pod.count_beyond("app", 3);
    cluster.stop_api_server();
    cluster.stop_kubelet("node-a");
    assert!(!cluster.try_kubectl(&["get", "nodes"]).succeeded());
    assert!(pod.count_beyond("app", before) > before);
    cluster.start_api_server();
    cluster.start_kubelet("node-a");
    assert_eq!(pod.field(".metadata.name"), "goes-on");
    let later = cluster.run(&Manifest::new("later"));
    let _ = later.count_beyond("app", 3);
    assert!(pod.count_beyond("app", before) > before);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn two_nodes_and_their_pods_reach_each_other() {
    let cluster = Cluster::start_with(2);
    let serve = "mkdir /www; echo here >/www/index.html; exec httpd -f -p 8080 -h /www";
    let server = cluster.run(&Manifest::empty("server").script("app", serve).on("node-b"));
    let host = cluster.run(
        &Manifest::empty("host")
            .script("app", serve)
            .on("node-a")
            .host_network(),
    );
    let client = cluster.run(
        &Manifest::empty("client")
            .script("app", "exec sleep 1000000")
            .on("node-a"),
    );
    let other = cluster.run(
        &Manifest::empty("other")
            .script("app", "exec sleep 1000000")
            .on("node-b"),
    );
    for (from, to) in [
        (&client, server.field(".status.podIP")),
        (&other, cluster.node_address(0)),
        (&other, host.field(".status.podIP")),
    ] {
        let url = format!("http://{to}:8080/");
        assert_eq!(
            from.exec("app", &["wget", "-q", "-O", "-", &url])
                .ok()
                .stdout,
            "here\n"
        );
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_api_server_is_reached_through_the_address_of_its_service() {
    let cluster = Cluster::shared();
    let waits = |name: &str| Manifest::empty(name).script("app", "exec sleep 1000000");
    let inside = cluster.run(&waits("inside"));
    let beside = cluster.run(&waits("beside").host_network());
    for pod in [inside, beside] {
        // The proxy learns of the Service some time after the node is ready.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let url = "http://10.96.0.1:443/";
            let answer = pod.exec("app", &["wget", "-q", "-T", "2", "-O", "-", url]);
            // Its words to somebody who does not speak TLS.
            if answer.stderr.contains("400 Bad Request") {
                break;
            }
            assert!(Instant::now() < deadline, "{answer:#?}");
            sleep(Duration::from_millis(200));
        }
        pod.delete();
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_program_of_this_workspace_runs_and_can_be_ended() {
    let cluster = Cluster::shared();
    let arguments = Options::default()
        .arg("count")
        .arg("--state")
        .arg("/run/rig/program-state");
    let mut running = cluster.start_program(0, "workload", &[], "no-token", &arguments);
    let deadline = Instant::now() + PATIENCE;
    while !running.log().contains("count=3") {
        assert!(Instant::now() < deadline, "it says {}", running.log());
        sleep(Duration::from_millis(20));
    }
    assert_eq!(running.wait(Duration::ZERO), None);
    running.kill(Signal::SIGTERM);
    assert_eq!(running.wait(PATIENCE), Some(128 + Signal::SIGTERM as i32));
}

#[test]
#[ignore = "needs the node root: run make test"]
fn programs_on_the_machine_reach_the_api_server_while_the_cluster_is_up() {
    let cluster = Cluster::start();
    let kubeconfig = cluster.kubeconfig_on_the_machine();
    let kubectl = format!(
        "{}/bin/kubectl",
        std::env::var("STILLFRAME_RIG").expect("the rig")
    );
    let outside = || {
        std::process::Command::new(&kubectl)
            .args(["get", "nodes", "--output=name", "--cache-dir=/dev/null"])
            .env("KUBECONFIG", &kubeconfig)
            .output()
            .expect("kubectl starts")
    };
    let answer = outside();
    assert_eq!(
        String::from_utf8_lossy(&answer.stdout),
        "node/node-a\n",
        "{answer:?}"
    );
    drop(cluster);
    assert!(!kubeconfig.exists());
    assert!(!outside().status.success());
}
