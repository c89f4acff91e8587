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
            json!({"maxPauseSeconds": 2}),
            true,
        ),
        ("nobody-came-to-end-it", "TimedOut", json!({}), false),
    ] {
        let mut options = bound;
        options["leaveRunning"] = json!(leaves);
        options["networkLock"] = json!("Nftables");
        let began = Instant::now();
        let asked = Asked {
            name,
            options,
            timeout: 8,
            ..Asked::default()
        };
        let checkpoint = scene.serving(&witness.pod, &asked);
        let message = checkpoint.wait_failed(reason);
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{name} took {:?}",
            began.elapsed()
        );
        assert!(
            message.contains("not all of them were fetched"),
            "{message}"
        );
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

/// What a broken connection looks like to CRIU. Arguments: address and port.
const CUTS: [(&str, &str, &str); 3] = [
    (
        "reset",
        "LazyPagesNotFetched",
        "use Socket; socket(S, PF_INET, SOCK_STREAM, 0); connect(S, sockaddr_in($ARGV[1], inet_aton($ARGV[0]))) or die; \
         sleep 1; setsockopt(S, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0)); close S",
    ),
    (
        "garbage",
        "LazyPagesNotFetched",
        "use Socket; socket(S, PF_INET, SOCK_STREAM, 0); connect(S, sockaddr_in($ARGV[1], inet_aton($ARGV[0]))) or die; \
         syswrite(S, 'x' x 64); sysread(S, my $x, 1)",
    ),
    // Not a word comes through any more: CRIU would wait for ever.
    (
        "silence",
        "PauseTooLong",
        "use Socket; socket(S, PF_INET, SOCK_STREAM, 0); connect(S, sockaddr_in($ARGV[1], inet_aton($ARGV[0]))) or die; \
         system(\"nft 'add table inet cut; add chain inet cut output { type filter hook output priority 0; }; \
         add rule inet cut output tcp dport $ARGV[1] drop'\") and die",
    ),
];

pub(crate) fn a_fetch_that_is_cut_ends_no_container(scene: &Scene<'_>) {
    let cluster = scene.cluster();
    let witness = Witness::start(cluster, &Manifest::new("cut-off").on(FROM));
    for (name, reason, cut) in CUTS {
        let options =
            json!({"leaveRunning": false, "networkLock": "Nftables", "maxPauseSeconds": 5});
        let peer = cluster.node_address(1);
        let asked = Asked {
            name,
            peer: &peer,
            options,
            ..Asked::default()
        };
        let checkpoint = scene.serving(&witness.pod, &asked);
        let port = asked.port.to_string();
        scene
            .to
            .run(&["perl", "-e", cut, &cluster.node_address(0), &port])
            .ok();
        checkpoint.wait_failed(reason);
        scene
            .to
            .shell("nft delete table inet cut 2>/dev/null || true")
            .ok();
        end(scene, &checkpoint, &witness, name);
    }
    witness.pod.delete();
}
