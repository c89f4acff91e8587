//! The life of an installation on two nodes, from `helm install` to a second one, and what a dump costs the agent's container.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rig::cluster::{Manifest, Pod, SYSTEM};
use rig::installation::{AGENTS, RELEASE};
use rig::mission::files;
use rig::node::PATIENCE;
use rig::{Checkpoint, Cluster, Gate, Mission, Values};
use serde_json::json;

/// Prints numbers.
const PRINT: &str = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done";

/// Lists what carries the release's label, but for the definitions, and what is in the release's namespace.
const LEFT: &str = r#"
kinds() { kubectl api-resources --verbs=list --output=name "$@" | grep -vE '^(events|customresourcedefinitions|componentstatuses)' | paste -sd,; }
kubectl get "$(kinds)" --all-namespaces --selector "$1" --output=name --ignore-not-found
kubectl get "$(kinds --namespaced=true)" --namespace "$2" --output=name --ignore-not-found | grep -vE '^(configmap/kube-root-ca.crt|serviceaccount/default)$' || true
kubectl get namespace "$3" --output=name --ignore-not-found
kubectl get checkpointnodes --output=name
"#;

/// Lists what the project could leave on a node: processes, cgroups, entries of the journal, mounts.
const ON_NODE: &str = r#"
for name in /proc/[0-9]*/comm; do
    read -r name <"$name" 2>/dev/null || continue
    case $name in stillframe* | criu) echo "process $name" ;; esac
done
find /sys/fs/cgroup -mindepth 1 -type d -name 'stillframe*'
find /run/stillframe/journal -type f 2>/dev/null || true
grep stillframe /proc/mounts || true
"#;

fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        sleep(Duration::from_millis(100));
    }
}

/// The last number that a pod has printed.
fn printed(pod: &Pod<'_>) -> u64 {
    let log = pod.logs("app");
    log.lines().last().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// A pod on each node that prints numbers.
fn printers(cluster: &Cluster) -> [Pod<'_>; 2] {
    ["node-a", "node-b"].map(|node| {
        let manifest = Manifest::empty(&format!("on-{node}")).script("app", PRINT);
        cluster.run(&manifest.on(node))
    })
}

/// Checkpoints a pod, restores the image with runc, and lets the pod go on.
fn there_and_back<'a>(mission: &Mission<'a>, name: &str, pod: &Pod<'_>) -> Checkpoint<'a> {
    until("the first numbers", || printed(pod) > 2);
    let before = printed(pod);
    let checkpoint = mission.checkpoint_of(name, pod.name());
    checkpoint.wait_ready();
    let after = printed(pod);
    checkpoint.must_come_back(before, after);
    until("the pod goes on", || printed(pod) > after);
    checkpoint
}

/// Fails unless the CRIU that the agent of the first node starts is the node's own, or is not.
fn must_use_the_nodes_criu(mission: &Mission<'_>, pod: &Pod<'_>, name: &str, does: bool) {
    let node = mission.cluster().node_called(&pod.node_name());
    // It stands before the node's CRIU alone.
    let gate = Gate::set(node, "pre-dump", "hold");
    let checkpoint = mission.checkpoint_of(name, pod.name());
    if does {
        let _ = gate.held();
        gate.release();
    }
    checkpoint.wait_ready();
    assert_eq!(gate.has_acted(), does, "whose CRIU it was");
    gate.withdraw();
    checkpoint.delete();
}

/// What there still is of a release that was uninstalled.
fn left(cluster: &Cluster) -> Vec<String> {
    let label = format!("app.kubernetes.io/instance={RELEASE}");
    let list = cluster
        .node(0)
        .command("bash")
        .args(["-euc", LEFT, "left", &label, SYSTEM, AGENTS])
        .env("KUBECONFIG", rig::cluster::ADMIN)
        .output()
        .ok();
    let mut left: Vec<String> = list.stdout.lines().map(str::to_owned).collect();
    for name in cluster.node_names() {
        let node = cluster.node_called(name);
        let found = node.shell(ON_NODE).ok().stdout;
        left.extend(found.lines().map(|line| format!("{name}: {line}")));
    }
    left
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_installation_is_upgraded_rolled_back_removed_and_made_again_around_the_users_checkpoints() {
    let cluster = Cluster::start_with(2);
    // Only with the node's own CRIU can a dump be held.
    let hosts = Gate::values(cluster.node(0));
    let bundled = Values::default();
    let mission = Mission::start_with(&cluster, &hosts);
    let release = mission.installation();
    let [a, b] = printers(&cluster);
    let first = there_and_back(&mission, "first", &a);
    let other = there_and_back(&mission, "other", &b);
    assert_eq!(other.status()["nodeName"], "node-b");

    // Upgraded in the middle of a dump, which is finished first.
    let gate = Gate::set(cluster.node(0), "query-ext-files", "hold");
    let under_way = mission.checkpoint_of("under-way", a.name());
    let _ = gate.held();
    release.upgrade(&bundled);
    until("the agent is told to end", || {
        mission.agent_log("node-a").contains("phase=Drain")
    });
    gate.release();
    under_way.wait_ready();
    mission.settle();
    assert_eq!(under_way.status()["attempts"], 1);
    must_use_the_nodes_criu(&mission, &a, "after-upgrade", false);
    there_and_back(&mission, "upgraded", &a).delete();

    release.helm(&["rollback", RELEASE, "1", "--wait"], None);
    mission.settle();
    must_use_the_nodes_criu(&mission, &a, "after-rollback", true);
    there_and_back(&mission, "rolled-back", &b).delete();

    let tested = release.helm(&["test", RELEASE], None);
    assert!(tested.contains("Succeeded"), "{tested}");

    // What its users have made stays, and nothing else.
    let image = first.image();
    let before = first.image_files();
    release.uninstall();
    let until_gone = Instant::now() + PATIENCE / 4;
    let left = loop {
        let left = left(&cluster);
        if left.is_empty() || Instant::now() >= until_gone {
            break left;
        }
        sleep(Duration::from_secs(1));
    };
    for checkpoint in [&first, &other, &under_way] {
        assert!(checkpoint.exists());
    }
    assert_eq!(files(cluster.node(0), &image), before);
    until("the pods go on", || {
        let (now_a, now_b) = (printed(&a), printed(&b));
        now_a > 0 && now_b > 0
    });

    release.install_again(&bundled);
    mission.settle();
    first.wait_ready();
    first.delete();
    assert_eq!(files(cluster.node(0), &image), [""; 0]);
    there_and_back(&mission, "again", &b).delete();
    for checkpoint in [other, under_way] {
        checkpoint.delete();
    }
    // Last, so that all else is known when something stays.
    assert!(left.is_empty(), "{left:#?}");
}

/// The memory cgroup of the agent's container, as the node sees it.
fn agents_memory(mission: &Mission<'_>) -> String {
    let pid = mission.agent_pid("node-a").to_string();
    let script = "sed -nE 's|^[0-9]+:memory:(.*)$|/sys/fs/cgroup/memory\\1|p; s|^0::(/.+)$|/sys/fs/cgroup\\1|p' /proc/$1/cgroup | head -n 1";
    let node = mission.cluster().node(0);
    let found = node.run(&["bash", "-euc", script, "cgroup", &pid]).ok();
    found.stdout.trim().to_owned()
}

#[test]
#[ignore = "needs the node root: run make test"]
fn half_a_gigabyte_is_dumped_under_the_charts_memory_limit() {
    let cluster = Cluster::start();
    // On disk, as images are: what is in memory would be counted elsewhere.
    let values = Values::default()
        .set("agent.imageRoot", "/run/rig/disk")
        .set("agent.reserve", "1Gi");
    let mission = Mission::start_with(&cluster, &values);
    let args = [
        "memory",
        "--mib=512",
        "--tick-ms=100",
        "--state=/dev/shm/counter-app",
    ];
    let up = json!({
        "exec": {"command": ["sh", "-c", "read line </dev/shm/counter-app && [ -n \"$line\" ]"]},
        "periodSeconds": 1, "failureThreshold": 120,
    });
    let manifest = Manifest::empty("half-gigabyte")
        .workload("app", &args)
        .of_container("app", "startupProbe", up);
    let pod = cluster.create(&manifest);
    pod.wait("condition=Ready");
    for criu in ["bundled", "host"] {
        mission.upgrade(&values.clone().set("agent.criu", criu));
        let cgroup = agents_memory(&mission);
        let checkpoint = mission.checkpoint_of(&format!("half-gigabyte-{criu}"), pod.name());
        let status = checkpoint.wait_ready();
        let size = status["artifact"]["parts"][0]["sizeBytes"].as_u64();
        assert!(size.is_some_and(|size| size >= 512 << 20), "{status:#}");
        assert_eq!(agents_memory(&mission), cgroup, "the agent is another");
        let node = cluster.node(0);
        let told = format!(
            "cd {cgroup}; cat memory.failcnt memory.max_usage_in_bytes memory.limit_in_bytes 2>/dev/null ||
             {{ sed -n 's/^max //p' memory.events; cat memory.peak memory.max; }}
             grep -h oom_kill memory.oom_control memory.events 2>/dev/null"
        );
        let told = node.run(&["bash", "-uc", &told]).stdout;
        println!("{criu}: {}", told.replace('\n', " "));
        let numbers: Vec<u64> = told.lines().filter_map(|n| n.parse().ok()).collect();
        let [failures, most, limit] = numbers[..] else {
            panic!("three numbers were expected: {told}");
        };
        assert_eq!((failures, limit), (0, 128 << 20), "{told}");
        assert!(most < limit, "{told}");
        assert!(told.contains("oom_kill 0"), "{told}");
        let restarts = "--output=jsonpath={.items[*].status.containerStatuses[*].restartCount}";
        let restarts = cluster.kubectl(&["get", "pods", "--namespace", AGENTS, restarts]);
        assert_eq!(restarts, "0");
        checkpoint.delete();
    }
    let state = pod.read("app", "/dev/shm/counter-app").unwrap_or_default();
    assert!(state.contains("corrupt=0"), "{state}");
}
