//! What `kubectl describe` tells of a checkpoint, one golden file for each way that it can end.
//!
//! `UPDATE=1` writes the files in `mission_describe/` anew. Times, UIDs, versions, sizes, pauses and CRIU's own numbers are replaced by words.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "what goes wrong in a test ends it, with an explanation"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use node_agent::controller::{failure, report};
use rig::cluster::{Manifest, Pod};
use rig::mission::Mission;
use rig::node::PATIENCE;
use rig::scene::talk;
use rig::{Cluster, Node, Values};
use serde_json::{Value, json};
use stillframe_crds::reason::Kind;
use stillframe_crds::{ContainerCheckpoint, Reason};

#[path = "mission_describe/normal.rs"]
mod normal;

/// Where a page server listens that never answers.
const SILENT: u16 = 27_278;
/// A folder of the node that pods mount: it has a datagram and a stream socket of somebody outside.
const SOCKETS: &str = "/run/rig/sockets";

fn mission() -> &'static Mission<'static> {
    static MISSION: OnceLock<Mission<'static>> = OnceLock::new();
    MISSION.get_or_init(|| {
        let cluster = Cluster::shared();
        start_peers(cluster.node(0));
        cluster.node(0).run(&["mkdir", "-p", "/etc/criu"]).ok();
        Mission::start_with(cluster, &values())
    })
}

/// The policy lets more page servers pass than the agent: what that one says to the others is told here.
fn values() -> Values {
    Values::default()
        .set("agent.criuConfig", "/etc/criu")
        .set("pageServers.allowed", ["127.0.0.1", "10.9.9.9"])
        .agent_arg("--allow-page-server=127.0.0.1")
}

/// Starts those that containers are connected to; they end with the node.
fn start_peers(node: &'static Node) {
    let script = format!(
        "use Socket; mkdir '{SOCKETS}'; umask 0; socket(my $t, PF_INET, SOCK_STREAM, 0); \
         bind($t, sockaddr_in({SILENT}, INADDR_LOOPBACK)) or die; listen($t, 9) or die; \
         socket(my $d, PF_UNIX, SOCK_DGRAM, 0); bind($d, sockaddr_un('{SOCKETS}/datagram')) or die; \
         socket(my $s, PF_UNIX, SOCK_STREAM, 0); bind($s, sockaddr_un('{SOCKETS}/stream')) or die; \
         listen($s, 9) or die; \
         if (!fork) {{ my @c; while (accept(my $c, $s)) {{ push @c, $c; if (!fork) {{ 1 while sysread($c, my $x, 4096) }} }} }} \
         1 while defined recv($d, my $x, 4096, 0)"
    );
    let _ = node.command("perl").args(["-e", &script]).daemon("peers");
    let deadline = Instant::now() + PATIENCE;
    while !node
        .run(&["test", "-e", &format!("{SOCKETS}/stream")])
        .succeeded()
    {
        assert!(Instant::now() < deadline, "nobody listens");
        sleep(Duration::from_millis(20));
    }
}

/// One way to end: the golden file's name, the pod that is checkpointed, and the rest of the spec.
struct Case {
    /// The reason, and where a reason has several cases what distinguishes this one.
    file: &'static str,
    pod: &'static str,
    spec: Value,
}

fn case(file: &'static str, pod: &'static str, spec: Value) -> Case {
    Case { file, pod, spec }
}

impl Case {
    fn reason(&self) -> &'static str {
        self.file.split('.').next().unwrap_or_default()
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is called with values made on the spot"
)]
fn options(options: Value) -> Value {
    json!({"options": options})
}

/// The name of the object that ends for this reason: `FileLocks` is `file-locks`.
fn name_of(reason: &str) -> String {
    let mut name = String::new();
    for c in reason.chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.extend(if c == '.' { '-' } else { c }.to_lowercase());
    }
    name
}

/// The pods.
fn pods() -> Vec<Manifest> {
    let workload = |name: &str, args: &[&str]| Manifest::empty(name).workload("app", args);
    let with_sockets = |manifest: Manifest| {
        manifest
            .of_container(
                "app",
                "volumeMounts",
                json!([{"name": "s", "mountPath": "/s"}]),
            )
            .spec(
                "volumes",
                json!([{"name": "s", "hostPath": {"path": SOCKETS}}]),
            )
    };
    let counter = Manifest::counter("app");
    let talks = talk(7000).replace("/dev/shm/counter", &counter);
    let two_names = "echo x >/a; ln /a /b; exec 6</a; rm /a; exec sleep 1000000";
    let probe = json!({"exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 2});
    vec![
        Manifest::new("counts"),
        Manifest::empty("talks").script("app", &talks),
        workload("locks", &["flock"]),
        Manifest::empty("two-names").script("app", two_names),
        workload("ghost", &["unlinked", "--size=3000000"]),
        with_sockets(workload("datagram", &["unix-dgram", "--peer=/s/datagram"])).host_network(),
        with_sockets(workload("stream", &["unix-stream", "--peer=/s/stream"])).host_network(),
        with_sockets(workload("logs", &["unix-dgram", "--peer=/s/datagram"])),
        Manifest::new("mounts"),
        Manifest::new("paused"),
        Manifest::new("two").counting("web"),
        Manifest::new("probed").of_container("app", "livenessProbe", probe),
        Manifest::new("site").annotation("org.criu.config", "/etc/criu/describe.conf"),
        Manifest::new("open-site").annotation("org.criu.config", "/etc/criu/open.conf"),
        Manifest::new("half-over")
            .script("job", "exit 3")
            .spec("restartPolicy", json!("Never")),
        Manifest::empty("over")
            .script("app", "true")
            .spec("restartPolicy", json!("Never")),
    ]
}

/// What is brought about for real. Each object is called after its reason.
fn cases() -> Vec<Case> {
    let mut all = of_containers();
    all.extend(of_requests());
    all.extend(of_the_node());
    all
}

/// What is found in containers.
fn of_containers() -> Vec<Case> {
    vec![
        case("Checkpointed", "counts", json!({})),
        case("EstablishedTcp", "talks", json!({})),
        case("FileLocks", "locks", json!({})),
        case("LinkedFileDeleted", "two-names", json!({})),
        case("GhostFileTooLarge", "ghost", json!({})),
        case("ExternalUnixSocket", "datagram", json!({})),
        case(
            "ExternalUnixStream",
            "stream",
            options(json!({"extUnixSk": true})),
        ),
        case("ExternalUnixStream.other-network", "logs", json!({})),
        case("ExternalMount", "mounts", json!({})),
        case("ContainerPaused", "paused", json!({})),
    ]
}

/// What the operator refuses.
fn of_requests() -> Vec<Case> {
    vec![
        case("PodNotFound", "nobody", json!({})),
        case(
            "PodReplaced",
            "counts",
            json!({"source": {"podName": "counts", "podUID": "an-earlier-pod"}}),
        ),
        case("PodEnded", "over", json!({})),
        case("ContainerNotNamed", "two", json!({})),
        case(
            "UnknownContainer",
            "two",
            json!({"source": {"podName": "two", "containerName": "db"}}),
        ),
        case(
            "ContainerNotRunning",
            "half-over",
            json!({"source": {"podName": "half-over", "containerName": "job"}}),
        ),
        case(
            "ProbeWouldFail",
            "probed",
            options(json!({"maxPauseSeconds": 30})),
        ),
        case("NoSoftDirty", "counts", options(json!({"preDump": true}))),
        case(
            "InvalidSpec",
            "counts",
            options(json!({"ghostLimit": "8Gi"})),
        ),
    ]
}

/// What the agent refuses, or meets outside of the container.
fn of_the_node() -> Vec<Case> {
    let silent = json!({"address": "127.0.0.1", "port": SILENT, "tls": false});
    let server = |address: &str, tls| json!({"address": address, "port": 9, "tls": tls});
    vec![
        case(
            "PageServerNotAllowed",
            "counts",
            options(json!({"pageServer": server("10.9.9.9", false)})),
        ),
        case(
            "PageServerKeysMissing",
            "counts",
            options(json!({"pageServer": server("127.0.0.1", true)})),
        ),
        case(
            "PageServerUnreachable",
            "counts",
            options(json!({"pageServer": server("127.0.0.1", false)})),
        ),
        case(
            "PauseTooLong",
            "counts",
            options(json!({"maxPauseSeconds": 1, "pageServer": silent})),
        ),
        case(
            "ImagePathTaken",
            "counts",
            options(json!({"imagePath": "a-file"})),
        ),
        case("CriuOptionNotAllowed", "site", json!({})),
        case("CriuConfigUnusable", "open-site", json!({})),
    ]
}

/// What is brought about one at a time.
fn alone() -> [Case; 2] {
    let silent = json!({"address": "127.0.0.1", "port": SILENT, "tls": false});
    let slow = json!({"timeoutSeconds": 4, "options": {"pageServer": silent}});
    [
        case("TimedOut", "counts", slow),
        case("InsufficientSpace", "counts", json!({})),
    ]
}

/// The spec of a case; its source is the pod unless it says more.
fn spec_of(case: &Case) -> Value {
    let mut spec = json!({"source": {"podName": case.pod}});
    for (key, value) in case.spec.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    spec
}

fn checkpoint(namespace: &str, name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "stillframe.dev/v1alpha1",
        "kind": "ContainerCheckpoint",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
    .to_string()
}

fn joined(manifests: impl IntoIterator<Item = String>) -> String {
    manifests.into_iter().collect::<Vec<_>>().join("\n---\n")
}

/// Makes the pods and waits until each does what it is there for.
fn start_pods(cluster: &'static Cluster) {
    let manifests = pods();
    cluster.apply(&joined(manifests.iter().map(ToString::to_string)));
    for manifest in &manifests {
        let pod = cluster.pod("default", manifest.name());
        match manifest.name() {
            "over" => pod.wait("jsonpath={.status.phase}=Succeeded"),
            "half-over" => {
                let path =
                    ".status.containerStatuses[?(@.name==\"job\")].state.terminated.exitCode";
                pod.wait(&format!("jsonpath={{{path}}}=3"));
            }
            _ => pod.wait("condition=Ready"),
        }
    }
    let node = cluster.node(0);
    for name in ["locks", "ghost", "datagram", "stream", "logs"] {
        works(&cluster.pod("default", name));
    }
    let talks = cluster.pod("default", "talks");
    let _ = talks.count_beyond("app", 3);
    let pid = cluster
        .pod("default", "mounts")
        .pid("app")
        .expect("it runs");
    let id = cluster.pod("default", "paused").container_id("app");
    let id = id.expect("it runs");
    node.shell(&format!(
        "nsenter -t {pid} -m /bin/mount -t ramfs none /tmp
         ctr --namespace k8s.io tasks pause {id}
         umask 022; mkdir -p /etc/criu; echo 'action-script /bin/x' >/etc/criu/describe.conf
         echo file-locks >/etc/criu/open.conf; chmod o+w /etc/criu/open.conf
         mkdir -p -m 700 /var/lib/stillframe/images/default; echo x >/var/lib/stillframe/images/default/a-file"
    ))
    .ok();
}

/// Waits until a container has published that it works.
fn works(pod: &Pod<'_>) {
    let deadline = Instant::now() + PATIENCE;
    while !pod
        .read("app", "/out/state")
        .is_some_and(|state| state.contains("ticks="))
    {
        assert!(Instant::now() < deadline, "{}", pod.name());
        sleep(Duration::from_millis(20));
    }
}

/// All checkpoints of a namespace, as `kubectl describe` and as the API tell of them, by their names.
fn all(cluster: &Cluster, namespace: &str) -> BTreeMap<String, (String, Value)> {
    let list = cluster.kubectl(&["get", "cckpt", "--namespace", namespace, "--output=json"]);
    let list: Value = serde_json::from_str(&list).expect("kubectl prints JSON");
    let described = cluster.kubectl(&["describe", "cckpt", "--namespace", namespace]);
    let texts = described
        .split("\n\n\n")
        .map(|text| format!("{}\n", text.trim_end()));
    let objects = list["items"].as_array().expect("a list");
    let named = texts.map(|text| {
        let name = text
            .lines()
            .next()
            .and_then(|line| line.split_whitespace().last());
        let name = name.unwrap_or_default().to_owned();
        let object = objects
            .iter()
            .find(|object| object["metadata"]["name"] == *name);
        let object = object.unwrap_or_else(|| panic!("{name:?} is described: {text}"));
        (name, (text, object.clone()))
    });
    named.collect()
}

/// Fails unless somebody who reads this knows what happened, how long it took, where to look, and what to do.
fn must_help(reason: &str, text: &str, object: &Value) {
    let status = &object["status"];
    let has = |part: &str| {
        assert!(
            text.contains(part),
            "{reason} does not tell {part:?}:\n{text}"
        );
    };
    has(reason);
    if let Some(pause) = status["pause"].as_str() {
        has("Pause Milliseconds:");
        has(&format!("stood still for {pause}"));
    }
    if let Some(path) = status["artifact"]["parts"][0]["path"].as_str() {
        has(path);
        has("kubectl debug node/");
        return;
    }
    let failure = &status["failure"];
    let message = failure["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty(), "{reason} says nothing");
    let hint = failure["hint"].as_str();
    has(hint.unwrap_or_else(|| panic!("{reason} does not say what to do next:\n{text}")));
    if failure["log"].is_array() {
        let log = failure["logPath"].as_str();
        has(log.unwrap_or_else(|| panic!("{reason} does not say where the log is:\n{text}")));
    }
}

/// Compares a text with its golden file, or writes that; says what differs.
fn differs(file: &str, text: &str) -> Option<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("suites/mission_describe")
        .join(format!("{file}.txt"));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, text).expect("a golden file");
        return None;
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    (golden != text).then(|| {
        let lines = golden.lines().zip(text.lines());
        let first = lines.into_iter().find(|(golden, text)| golden != text);
        format!("{file}: {first:#?}\n{text}")
    })
}

fn must_be_golden(found: impl IntoIterator<Item = (String, String, Value)>) {
    let mut wrong = Vec::new();
    for (file, text, object) in found {
        must_help(&normal::reason(&object), &text, &object);
        wrong.extend(differs(&file, &normal::of(&text)));
    }
    assert!(
        wrong.is_empty(),
        "UPDATE=1 writes the files anew, to be read before they are committed:\n{}",
        wrong.join("\n")
    );
}

#[test]
#[ignore = "needs the node root: run make test"]
fn what_happened_for_real_is_told() {
    let mission = mission();
    let cluster = mission.cluster();
    start_pods(cluster);
    let cases = cases();
    let objects = cases
        .iter()
        .map(|case| checkpoint("default", &name_of(case.file), &spec_of(case)));
    cluster.apply(&joined(objects));
    let done = [
        "wait",
        "--for=condition=Complete",
        "cckpt",
        "--all",
        "--timeout=100s",
    ];
    cluster
        .kubectl_command(&done)
        .timeout(PATIENCE * 2)
        .output()
        .ok();
    // When nothing else is to be done, so that it is the dump that takes too long.
    let [slow, large] = alone();
    let ask = |case: &Case| {
        let asked = mission.checkpoint(&name_of(case.file), &spec_of(case));
        let _ = asked.wait_failed(case.reason());
    };
    ask(&slow);
    // Another agent, for which the disk is never empty enough.
    mission.upgrade(&values().set("agent.reserve", "99%"));
    ask(&large);
    must_have_told_events(cluster, cases.len() + 2);
    let told = all(cluster, "default");
    let found = cases.iter().chain([&slow, &large]).map(|case| {
        let name = name_of(case.file);
        let (_, object) = &told[&name];
        // Of several at once kubectl shows no events.
        let text = mission.existing("default", &name).describe();
        assert_eq!(normal::reason(object), case.reason(), "{text}");
        (case.file.to_owned(), text, object.clone())
    });
    must_be_golden(found);
    let counts = cluster.pod("default", "counts");
    assert!(counts.count_beyond("app", counts.count("app")) > 3);
}

/// Waits until there is an event about each checkpoint: they come after the status.
fn must_have_told_events(cluster: &Cluster, checkpoints: usize) {
    let deadline = Instant::now() + PATIENCE;
    let selector = "--field-selector=involvedObject.kind=ContainerCheckpoint";
    let output = "--output=jsonpath={.items[*].involvedObject.name}";
    loop {
        let about = cluster.kubectl(&["get", "events", selector, output]);
        let about: BTreeSet<&str> = about.split_whitespace().collect();
        if about.len() >= checkpoints {
            return;
        }
        assert!(Instant::now() < deadline, "events are about {about:?} only");
        sleep(Duration::from_millis(200));
    }
}

/// The other reasons to fail, of a status as the agent writes it: they need another kernel, another CRIU, a lost node, a full disk, or
/// are brought about by the suites that end agents and containers in the middle of a dump.
#[test]
#[ignore = "needs the node root: run make test"]
fn what_cannot_be_brought_about_here_is_told_from_a_status_of_the_agent() {
    let mission = mission();
    let cluster = mission.cluster();
    cluster.kubectl(&["create", "namespace", "built"]);
    let cases = cases().into_iter().chain(alone());
    let real: BTreeSet<&str> = cases.map(|case| case.reason()).collect();
    let built: Vec<Reason> = Reason::ALL
        .iter()
        .copied()
        .filter(|reason| reason.kind() == Kind::Failure)
        .filter(|reason| !real.contains(reason.as_str()))
        .collect();
    cluster.wait_in("built", "serviceaccount/default", "create");
    // They wait for a pod that is never started: a status that is final stays as it is.
    let gate = json!([{"name": "rig.example.org/never"}]);
    let pod = Manifest::new("counts")
        .namespace("built")
        .spec("schedulingGates", gate);
    let _ = cluster.create(&pod);
    let spec = json!({"source": {"podName": "counts"}});
    let objects = built
        .iter()
        .map(|reason| checkpoint("built", &name_of(reason.as_str()), &spec));
    cluster.apply(&joined(objects));
    let waiting = "--for=jsonpath={.status.conditions[?(@.type==\"Reconciling\")].reason}=WaitingForContainer";
    let all_of_them = ["wait", waiting, "cckpt", "--all", "--namespace=built"];
    cluster.kubectl(&[&all_of_them[..], &["--timeout=50s"]].concat());
    let token = mission.installation().operator_token();
    for (name, (_, object)) in all(cluster, "built") {
        let reason = built.iter().find(|reason| name == name_of(reason.as_str()));
        let status = failed(&object, *reason.expect("one of ours"));
        let status = replacing(&object["status"], status);
        let checkpoint = mission.existing("built", &name);
        checkpoint.patch_status_with(&token, &status);
    }
    let told = all(cluster, "built");
    let found = built.iter().map(|reason| {
        let (text, object) = &told[&name_of(reason.as_str())];
        (reason.to_string(), text.clone(), object.clone())
    });
    must_be_golden(found);
}

/// The merge patch that makes this new status of an old one.
fn replacing(old: &Value, mut new: Value) -> Value {
    for key in old.as_object().into_iter().flat_map(|old| old.keys()) {
        if new.get(key).is_none() {
            new[key] = Value::Null;
        }
    }
    new
}

/// The status that the agent writes of a dump that failed for this reason.
fn failed(object: &Value, reason: Reason) -> Value {
    let mut fresh = object.clone();
    fresh["status"] = json!({
        "observedGeneration": 1, "nodeName": "node-a", "podUID": "u", "containerName": "app",
    });
    let fresh: ContainerCheckpoint = serde_json::from_value(fresh).expect("a checkpoint");
    let failure = failure::new(reason, None);
    let status = report::failed(&fresh, &failure, None, jiff::Timestamp::now());
    serde_json::to_value(status).expect("a status is JSON")
}
