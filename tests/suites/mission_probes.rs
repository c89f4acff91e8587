//! Containers that somebody watches while they stand still: liveness probes, bounds on the pause, live connections.

#![expect(
    clippy::panic,
    reason = "what goes wrong in a test ends it, with an explanation"
)]

use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rig::cluster::{Manifest, Pod};
use rig::mission::{Checkpoint, Mission, files};
use rig::node::PATIENCE;
use rig::scene::talk;
use rig::{Cluster, Values};
use serde_json::{Value, json};

/// Where the agent puts images: on disk, since a gigabyte is one of them.
const DISK: &str = "/run/rig/disk";

/// The folder for images in that.
const IMAGES: &str = "/run/rig/disk/images";

/// Where a page server listens that never answers: what is sent to it takes for ever.
const SILENT: u16 = 27_278;

fn mission() -> &'static Mission<'static> {
    static MISSION: OnceLock<Mission<'static>> = OnceLock::new();
    MISSION.get_or_init(|| {
        let cluster = Cluster::shared();
        let values = Values::default()
            .set("agent.imageRoot", DISK)
            .set("agent.reserve", "1Gi")
            .set("agent.concurrency", 4)
            .set("pageServers.allowed", ["127.0.0.1"]);
        let script = format!(
            "use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0); setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1); \
             bind($s, sockaddr_in({SILENT}, INADDR_LOOPBACK)) or die; listen($s, 9) or die; sleep 1000 while 1"
        );
        // It ends with the node.
        let _ = cluster
            .node(0)
            .command("perl")
            .args(["-e", &script])
            .daemon("silent");
        Mission::start_with(cluster, &values)
    })
}

fn silent() -> Value {
    json!({"address": "127.0.0.1", "port": SILENT, "tls": false})
}

fn ask(name: &str, pod: &Pod<'_>, options: &Value) -> Checkpoint<'static> {
    let source = json!({"podName": pod.name(), "containerName": "app"});
    mission().checkpoint(name, &json!({"source": source, "options": options}))
}

/// A probe that looks into the container each second and takes so many failures.
fn probe(failures: u32) -> Value {
    json!({
        "exec": {"command": ["cat", "/dev/shm/counter-app"]},
        "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": failures,
    })
}

fn restarts(pod: &Pod<'_>) -> String {
    pod.field(".status.containerStatuses[?(@.name==\"app\")].restartCount")
}

/// The events about a checkpoint with this reason, as their notes.
fn events(checkpoint: &Checkpoint<'_>, reason: &str) -> Vec<String> {
    let selector = format!(
        "--field-selector=involvedObject.kind=ContainerCheckpoint,involvedObject.name={},reason={reason}",
        checkpoint.name()
    );
    let output = "--output=jsonpath={range .items[*]}{.type}: {.message}{\"\\n\"}{end}";
    let text = mission()
        .cluster()
        .kubectl(&["get", "events", &selector, output]);
    text.lines().map(str::to_owned).collect()
}

/// Fails unless the bound was kept, or the dump rolled back because it could not be.
fn kept_or_rolled_back(checkpoint: &Checkpoint<'_>, bound: u64) {
    let status = checkpoint.wait_complete();
    let pause = status["pauseMilliseconds"].as_u64();
    let pause = pause.unwrap_or_else(|| panic!("it tells no pause: {status:#}"));
    match checkpoint.reason().as_str() {
        "Checkpointed" => {
            println!("{}: ready after a pause of {pause} ms", checkpoint.name());
            assert!(pause <= bound * 1000, "{status:#}");
            assert!(
                checkpoint
                    .image_files()
                    .contains(&"inventory.img".to_owned())
            );
        }
        "PauseTooLong" => {
            println!("{}: rolled back after {pause} ms", checkpoint.name());
            must_be_rolled_back(checkpoint, bound);
        }
        other => panic!("{other}: {status:#}"),
    }
}

/// Fails unless it was ended for its pause, and nothing but CRIU's log is left of it.
fn must_be_rolled_back(checkpoint: &Checkpoint<'_>, bound: u64) {
    let message = checkpoint.wait_failed("PauseTooLong");
    let status = checkpoint.status();
    let pause = status["pauseMilliseconds"].as_u64().unwrap_or_default();
    // A tenth of the bound, 400 ms at least and a second at most, is kept for rolling back.
    let kept = (bound * 100).clamp(400, 1000);
    assert!(
        pause >= bound * 1000 - kept,
        "it stood still for {pause} ms only: {message}"
    );
    assert!(status["artifact"].is_null(), "{status:#}");
    let node = mission().cluster().node(0);
    let left = files(node, &format!("{IMAGES}/default"));
    let beside = [".work", ".owner"];
    let image = |name: &&String| {
        let ours = name.starts_with(checkpoint.name());
        ours && !beside.iter().any(|ending| name.ends_with(ending))
    };
    let images: Vec<&String> = left.iter().filter(image).collect();
    assert!(images.is_empty(), "{images:?}");
}

/// Waits until the kubelet has asked a container several times more. It asks once a second.
fn let_it_be_probed(pod: &Pod<'_>) {
    let ticks = || {
        let state = pod.read("app", "/dev/shm/counter-app").unwrap_or_default();
        let line = state.lines().find_map(|line| line.strip_prefix("ticks="));
        line.and_then(|ticks| ticks.trim().parse::<u64>().ok())
    };
    let from = Instant::now();
    let before = ticks();
    while from.elapsed() < Duration::from_secs(5) || ticks() <= before {
        assert!(
            from.elapsed() < PATIENCE,
            "it does not go on: {before:?} {:?}",
            ticks()
        );
        sleep(Duration::from_millis(100));
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_gigabyte_under_a_probe_each_second_is_never_restarted() {
    let cluster = mission().cluster();
    let args = [
        "memory",
        "--mib=1024",
        "--tick-ms=100",
        "--state=/dev/shm/counter-app",
    ];
    let manifest = Manifest::empty("gigabyte")
        .workload("app", &args)
        .of_container(
            "app",
            "startupProbe",
            json!({
                "exec": {"command": ["sh", "-c", "read line </dev/shm/counter-app && [ -n \"$line\" ]"]},
                "periodSeconds": 1, "failureThreshold": 120,
            }),
        )
        .of_container("app", "livenessProbe", probe(3));
    let pod = cluster.create(&manifest);
    pod.wait("condition=Ready");
    // Two failures more than none, and the third's own second.
    let checkpoint = ask("gigabyte", &pod, &json!({}));
    kept_or_rolled_back(&checkpoint, 3);
    assert_eq!(checkpoint.status()["maxPauseSeconds"], 3);
    let warned = events(&checkpoint, "PauseBounded");
    assert!(
        warned.len() == 1 && warned[0].starts_with("Warning: "),
        "{warned:?}"
    );
    let_it_be_probed(&pod);
    let short = ask("gigabyte-short", &pod, &json!({"maxPauseSeconds": 1}));
    kept_or_rolled_back(&short, 1);
    let_it_be_probed(&pod);
    let lost = json!({"maxPauseSeconds": 1, "pageServer": silent()});
    must_be_rolled_back(&ask("gigabyte-lost", &pod, &lost), 1);
    let_it_be_probed(&pod);
    assert_eq!(restarts(&pod), "0");
    let corrupt = pod.read("app", "/dev/shm/counter-app").unwrap_or_default();
    assert!(corrupt.contains("corrupt=0"), "{corrupt}");
    checkpoint.delete();
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_pause_that_a_probe_would_not_outlast_is_refused() {
    let manifest = Manifest::new("impatient").of_container("app", "livenessProbe", probe(2));
    let pod = mission().cluster().run(&manifest);
    let before = pod.count_beyond("app", 3);
    let checkpoint = ask("impatient-long", &pod, &json!({"maxPauseSeconds": 5}));
    let message = checkpoint.wait_failed("ProbeWouldFail");
    for part in ["is 5", "liveness probe of container app", "allows 2 s"] {
        assert!(message.contains(part), "{message}");
    }
    let status = checkpoint.status();
    assert!(
        status["nodeName"].is_null() && status["startTime"].is_null(),
        "{status:#}"
    );
    let checkpoint = ask("impatient-short", &pod, &json!({"maxPauseSeconds": 2}));
    assert_eq!(checkpoint.wait_ready()["maxPauseSeconds"], 2);
    assert_eq!(events(&checkpoint, "PauseBounded"), Vec::<String>::new());
    assert!(pod.count_beyond("app", before) > before);
    assert_eq!(restarts(&pod), "0");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_sibling_s_probe_counts_while_the_network_is_locked() {
    let serve = "mkdir /www; echo here >/www/index.html; exec httpd -f -p 8080 -h /www";
    let manifest = Manifest::new("neighbours").script("web", serve).of_container(
        "web",
        "livenessProbe",
        json!({"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1, "failureThreshold": 2}),
    );
    let pod = mission().cluster().run(&manifest);
    let locked = json!({"maxPauseSeconds": 9, "tcpEstablished": true});
    let message = ask("neighbours-locked", &pod, &locked).wait_failed("ProbeWouldFail");
    assert!(
        message.contains("container web allows 1 s"),
        "the sibling is not named: {message}"
    );
    let open = ask("neighbours-open", &pod, &json!({"maxPauseSeconds": 9}));
    assert_eq!(open.wait_ready()["maxPauseSeconds"], 9);
    let bounded = ask("neighbours-bounded", &pod, &json!({"tcpEstablished": true}));
    assert_eq!(bounded.wait_ready()["maxPauseSeconds"], 1);
    let restarted = ".status.containerStatuses[*].restartCount";
    assert_eq!(pod.field(restarted), "0 0");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn people_hear_of_a_pause_that_a_probe_bounds_tightly() {
    let manifest = Manifest::new("tight").of_container("app", "livenessProbe", probe(1));
    let pod = mission().cluster().run(&manifest);
    let before = pod.count_beyond("app", 3);
    let checkpoint = ask("tight", &pod, &json!({}));
    assert_eq!(checkpoint.wait_ready()["maxPauseSeconds"], 1);
    let warned = events(&checkpoint, "PauseBounded");
    assert_eq!(
        warned,
        [
            "Warning: the container may stand still for 1 s at most: the liveness probe of \
             container app allows no more"
        ]
    );
    assert!(pod.count_beyond("app", before) > before);
    // A container that ends with its dump has nothing to keep alive.
    let ended = ask("tight-ended", &pod, &json!({"leaveRunning": false}));
    assert_eq!(ended.wait_ready()["maxPauseSeconds"], Value::Null);
    assert_eq!(events(&ended, "PauseBounded"), Vec::<String>::new());
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_bound_holds_while_a_dump_is_ended_for_another_reason() {
    let pod = mission().cluster().run(&Manifest::new("bounded"));
    let before = pod.count_beyond("app", 3);
    let spec = json!({
        "source": {"podName": "bounded"}, "timeoutSeconds": 2,
        "options": {"maxPauseSeconds": 3, "pageServer": silent()},
    });
    let late = mission().checkpoint("bounded-late", &spec);
    late.wait_failed("TimedOut");
    let status = late.status();
    let pause = status["pauseMilliseconds"].as_u64().unwrap_or_default();
    // CRIU does not give way: it would have had five seconds more.
    assert!((1000..=3000).contains(&pause), "{status:#}");
    assert!(pod.count_beyond("app", before) > before);
    late.delete();
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_live_connection_goes_on_after_a_dump_and_after_one_that_was_rolled_back() {
    let cluster = mission().cluster();
    let script = talk(7000).replace("/dev/shm/counter", &Manifest::counter("app"));
    let pod = cluster.run(&Manifest::empty("talks").script("app", &script));
    let before = pod.count_beyond("app", 10);
    let saved = ask("talks", &pod, &json!({"tcpEstablished": true}));
    let status = saved.wait_ready();
    assert_eq!(status["criu"]["networkLock"], "nftables", "{status:#}");
    let images = saved.image_files();
    assert!(images.contains(&"inventory.img".to_owned()), "{images:?}");
    let after = pod.count_beyond("app", pod.count("app"));
    assert!(after > before, "what goes through the connection is lost");
    let options = json!({"tcpEstablished": true, "maxPauseSeconds": 1, "pageServer": silent()});
    must_be_rolled_back(&ask("talks-lost", &pod, &options), 1);
    let again = pod.count_beyond("app", pod.count("app"));
    assert!(again > after, "what goes through the connection is lost");
    let pid = pod.pid("app").expect("it runs").to_string();
    let rules = cluster
        .node(0)
        .run(&[
            "nsenter", "--target", &pid, "--net", "nft", "list", "ruleset",
        ])
        .ok();
    assert!(!rules.stdout.contains("CRIU"), "{}", rules.stdout);
    assert_eq!(restarts(&pod), "0");
}
