//! We ourselves are killed: the guardian puts things right at once, and the next start what a killed guardian left.

use std::time::Duration;

use rig::gate::NOTIFICATIONS;
use rig::scene::Does;
use rig::{Gate, Node, Program, Scene};

/// A process that was ended by SIGKILL, as a shell says it.
const KILLED: i32 = 128 + 9;

/// Every way to end at every notification of it: what ends the container announces no unlocking.
fn endings(at: &str) -> impl Iterator<Item = &'static [&'static str]> {
    let endings: [&[&str]; 2] = [&["--leave-running"], &[]];
    endings
        .into_iter()
        .filter(move |ending| at != "network-unlock" || !ending.is_empty())
}

fn killed(scene: &mut Scene<'_>, act: &str, at: &str, flags: &[&str]) -> String {
    let image = scene.fresh_image();
    let flags = [flags, &["--image-path", &image]].concat();
    let gate = Gate::new(scene.node, at, act);
    let command = scene.target.checkpoint_command(Program::Ours, &flags);
    let output = gate.on(command).output();
    gate.must_have_acted(&output);
    let what = format!("{act} at {at} with {flags:?}");
    assert_eq!(output.status, KILLED, "{what}: {output:#?}");
    what
}

fn killed_everywhere(scene: &mut Scene<'_>, flags: &[&str]) {
    for at in NOTIFICATIONS {
        for ending in endings(at) {
            let what = killed(scene, "kill-caller", at, &[flags, ending].concat());
            scene.must_be_unharmed(&what);
        }
    }
}

/// The network stays locked until the next checkpoint, a second or two.
const AFTER_A_LOCK: Duration = Duration::from_secs(5);

#[test]
#[ignore = "needs the node root: run make test"]
fn killed_at_any_notification_without_a_lock_the_guardian_leaves_no_harm() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "no-lock", Does::HoldsUnlinked);
    killed_everywhere(&mut scene, &["--network-lock", "skip", "--link-remap"]);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn killed_at_any_notification_under_an_nftables_lock_the_guardian_leaves_no_harm() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "nftables", Does::Talks);
    let flags = ["--network-lock", "nftables", "--tcp-established"];
    killed_everywhere(&mut scene, &flags);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn killed_at_any_notification_under_an_iptables_lock_the_guardian_leaves_no_harm() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "iptables", Does::Talks);
    let flags = ["--network-lock", "iptables", "--tcp-established"];
    killed_everywhere(&mut scene, &flags);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn rules_of_others_outlive_a_repair() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "others", Does::Counts);
    scene
        .in_network(
            "nft add table inet CRIU-1; nft add chain inet CRIU-1 output; \
             for tool in iptables ip6tables; do $tool -A OUTPUT -m mark ! --mark 0xc114 -p tcp --dport 9 -j DROP; done",
        )
        .ok();
    scene.look();
    for lock in ["nftables", "iptables"] {
        for act in ["kill-criu", "kill-caller"] {
            let image = scene.fresh_image();
            let flags = [
                "--leave-running",
                "--network-lock",
                lock,
                "--image-path",
                &image,
            ];
            let gate = Gate::new(node, "query-ext-files", act);
            let command = scene.target.checkpoint_command(Program::Ours, &flags);
            let output = gate.on(command).output();
            gate.must_have_acted(&output);
            scene.must_be_unharmed(&format!("{act} beside others' rules, {lock}"));
        }
    }
    // CRIU's own chain under another's hand: CRIU would take it for its own, so only the other lock is taken here.
    for tool in ["iptables", "ip6tables"] {
        let plant = format!("{tool} -N CRIU; {tool} -A CRIU -j ACCEPT; {tool} -A INPUT -j CRIU");
        scene.in_network(&plant).ok();
    }
    scene.look();
    for act in ["kill-criu", "kill-caller"] {
        let image = scene.fresh_image();
        let flags = [
            "--leave-running",
            "--network-lock",
            "nftables",
            "--image-path",
            &image,
        ];
        let gate = Gate::new(node, "query-ext-files", act);
        let command = scene.target.checkpoint_command(Program::Ours, &flags);
        let output = gate.on(command).output();
        gate.must_have_acted(&output);
        scene.must_be_unharmed(&format!("{act} beside a chain named CRIU"));
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn killed_with_the_guardian_and_criu_the_next_checkpoint_puts_things_right_first() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "all", Does::HoldsUnlinked);
    for at in NOTIFICATIONS {
        for act in ["kill-caller-and-guardian", "kill-all"] {
            for lock in ["nftables", "iptables"] {
                let flags = ["--leave-running", "--link-remap", "--network-lock", lock];
                let what = killed(&mut scene, act, at, &flags);
                let image = scene.fresh_image();
                let next = ["--leave-running", "--link-remap", "--image-path", &image];
                let output = scene.target.checkpoint(Program::Ours, &next).ok();
                let told = "repaired after a lost checkpoint of all";
                assert!(output.stderr.contains(told), "{what}: {output:#?}");
                scene.must_be_unharmed_within(AFTER_A_LOCK, &what);
            }
        }
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_paused_container_stays_paused_whatever_happens_to_its_dump() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "paused", Does::Counts);
    let pause = |verb| {
        scene
            .target
            .runtime_command()
            .args([verb, "paused"])
            .output()
    };
    pause("pause").ok();
    scene.look();
    let image = scene.fresh_image();
    let flags = ["--leave-running", "--image-path", &image];
    scene.target.checkpoint(Program::Ours, &flags).ok();
    assert_eq!(scene.target.status(), "paused");
    scene.must_be_clean("a dump of a paused container");
    for at in NOTIFICATIONS {
        for act in ["kill-criu", "kill-caller", "interrupt"] {
            let image = scene.fresh_image();
            let flags = ["--leave-running", "--image-path", &image];
            let gate = Gate::new(node, at, act);
            let command = scene.target.checkpoint_command(Program::Ours, &flags);
            let output = gate.on(command).output();
            gate.must_have_acted(&output);
            let what = format!("{act} at {at} while paused");
            // Too late to stop: CRIU is letting go already.
            let stopped = (at, act) != ("network-unlock", "interrupt");
            assert_eq!(output.status != 0, stopped, "{what}: {output:#?}");
            scene.must_be_clean(&what);
            assert_eq!(scene.target.status(), "paused", "{what}");
        }
    }
    let resume = scene.target.runtime_command().args(["resume", "paused"]);
    resume.output().ok();
    scene.look();
    scene.must_be_unharmed("resumed");
}
