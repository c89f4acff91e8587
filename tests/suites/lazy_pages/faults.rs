//! Nobody comes, somebody is killed, the connection breaks: the container goes on, and nothing is left.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rig::cluster::Manifest;
use rig::mission::Checkpoint;
use rig::witness::{Witness, must_be_gone};
use serde_json::json;

use super::{Asked, FROM, Scene};

fn end(scene: &Scene<'_>, checkpoint: &Checkpoint<'_>, witness: &Witness<'_>, what: &str) {
    scene.must_be_over(checkpoint);
    checkpoint.delete();
    must_be_gone(scene.from, checkpoint.name());
    witness.must_be_unharmed(what);
}

pub(crate) fn a_container_whose_lazy_pages_nobody_fetches_goes_on_in_time(scene: &Scene<'_>) {
    let witness = Witness::start(scene.cluster(), &Manifest::new("waits").on(FROM));
    for (name, reason, bound, leaves) in [
        ("nobody-came", "TimedOut", json!({}), true),
        (
            "stood-too-long",
            "PauseTooLong",
            json!({"maxPauseSeconds": 4}),
            false,
        ),
    ] {
        let mut options = bound;
        options["leaveRunning"] = json!(leaves);
        options["networkLock"] = json!("Nftables");
        let began = Instant::now();
        let asked = Asked {
            name,
            options,
            timeout: 7,
            ..Asked::default()
        };
        let checkpoint = scene.ask(&witness.pod, &asked);
        let message = checkpoint.wait_failed(reason);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(20), "{name} took {took:?}");
        let says = "not all of them were fetched";
        assert!(message.contains(says), "{message}");
        end(scene, &checkpoint, &witness, name);
    }
    witness.pod.delete();
}

pub(crate) fn whoever_is_killed_while_lazy_pages_are_served_leaves_no_harm(scene: &Scene<'_>) {
    let witness = Witness::start(scene.cluster(), &Manifest::new("survives").on(FROM));
    let ask = |name, leaves: bool| {
        let options = json!({"leaveRunning": leaves, "networkLock": "Nftables"});
        let asked = Asked {
            name,
            options,
            ..Asked::default()
        };
        scene.serving(&witness.pod, &asked)
    };
    // In the node's own pid namespace, as everything here.
    let kill = |how: &str, program: &str| scene.from.run(&["pkill", "-KILL", how, program]).ok();

    for (name, leaves) in [("criu-killed", true), ("criu-killed-ending", false)] {
        let checkpoint = ask(name, leaves);
        kill("-x", "criu");
        checkpoint.wait_failed("CriuDied");
        end(scene, &checkpoint, &witness, name);
    }

    let checkpoint = ask("deleted", false);
    checkpoint.delete();
    must_be_gone(scene.from, "deleted");
    witness.must_be_unharmed("a deleted object");
    scene.must_be_clean();

    for (name, guardian) in [("agent-killed", false), ("guardian-killed", true)] {
        let checkpoint = ask(name, false);
        if guardian {
            kill("-f", "^stillframe-guardian");
        }
        let status = scene.mission.end_agent(FROM, Signal::SIGKILL);
        assert_eq!(status, 128 + Signal::SIGKILL as i32);
        if !guardian {
            // It puts things right while no agent is there.
            witness.must_go_on(name);
        }
        scene.mission.start_agent(FROM);
        checkpoint.wait_failed("AgentRestarted");
        end(scene, &checkpoint, &witness, name);
    }
    witness.pod.delete();
}

/// How a connection breaks, in Perl after it was made as `S`. Arguments: address and port.
const CUTS: [(&str, &str, &str); 4] = [
    (
        "reset",
        "LazyPagesNotFetched",
        "sleep 1; setsockopt(S, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0)); close S",
    ),
    (
        "garbage",
        "LazyPagesNotFetched",
        "syswrite(S, 'x' x 64); sysread(S, my $x, 1)",
    ),
    (
        "without-keys",
        "PageServerTlsFailed",
        "syswrite(S, 'x' x 64); sysread(S, my $x, 1)",
    ),
    // Not a word comes through any more: CRIU would wait for ever.
    (
        "silence",
        "PauseTooLong",
        "system(\"nft 'add table inet cut; add chain inet cut output { type filter hook output priority 0; }; \
         add rule inet cut output tcp dport $ARGV[1] drop'\") and die",
    ),
];

/// Connects from the node that is the peer, and does this then.
fn connect(scene: &Scene<'_>, port: u16, then: &str) {
    let script = format!(
        "use Socket; socket(S, PF_INET, SOCK_STREAM, 0); \
         connect(S, sockaddr_in($ARGV[1], inet_aton($ARGV[0]))) or die; {then}"
    );
    let (address, port) = (scene.cluster().node_address(0), port.to_string());
    scene.to.run(&["perl", "-e", &script, &address, &port]).ok();
}

pub(crate) fn a_fetch_that_is_cut_ends_no_container(scene: &Scene<'_>) {
    let cluster = scene.cluster();
    let witness = Witness::start(cluster, &Manifest::new("cut-off").on(FROM));
    for (name, reason, cut) in CUTS {
        let mut options = json!({"leaveRunning": false, "networkLock": "Nftables"});
        if name == "silence" {
            options["maxPauseSeconds"] = json!(8);
        }
        let asked = Asked {
            name,
            peer: &cluster.node_address(1),
            tls: name == "without-keys",
            options,
            ..Asked::default()
        };
        let checkpoint = scene.serving(&witness.pod, &asked);
        connect(scene, asked.port, cut);
        checkpoint.wait_failed(reason);
        let mend = "nft delete table inet cut 2>/dev/null || true";
        scene.to.shell(mend).ok();
        end(scene, &checkpoint, &witness, name);
    }
    witness.pod.delete();
}

/// What CRIU takes for the end of the fetch, and the page warns of.
pub(crate) fn a_fetch_that_ends_in_order_ends_the_container_where_that_was_asked(
    scene: &Scene<'_>,
) {
    let cluster = scene.cluster();
    let manifest = Manifest::new("ends").counting("beside").on(FROM);
    let pod = cluster.run(&manifest.spec("restartPolicy", json!("Never")));
    let _ = pod.count_beyond("app", 3);
    let asked = Asked {
        name: "ended",
        peer: &cluster.node_address(1),
        options: json!({"leaveRunning": false, "networkLock": "Nftables"}),
        container: Some("app"),
        ..Asked::default()
    };
    let checkpoint = scene.serving(&pod, &asked);
    connect(scene, asked.port, "close S");
    let status = checkpoint.wait_ready();
    let message = checkpoint.condition("Ready").message;
    assert!(message.contains("the container has ended"), "{message}");
    assert!(
        message.contains("nothing can be restored from it alone"),
        "{message}"
    );
    assert!(
        status["artifact"]["parts"][0]["sizeBytes"].as_i64() > Some(0),
        "{status:#}"
    );
    let ended = ".status.containerStatuses[?(@.name==\"app\")].state.terminated.exitCode";
    pod.wait(&format!("jsonpath={{{ended}}}=137"));
    scene.must_be_over(&checkpoint);
    let beside = pod.count("beside");
    let _ = pod.count_beyond("beside", beside);
    let pid = pod.pid("beside").expect("it runs").to_string();
    let network = format!("--net=/proc/{pid}/ns/net");
    let rules = scene
        .from
        .run(&["nsenter", &network, "nft", "list", "ruleset"])
        .ok()
        .stdout;
    assert!(!rules.contains("CRIU"), "its network is locked: {rules}");
    checkpoint.delete();
    must_be_gone(scene.from, "ended");
    pod.delete();
}
