//! CRIU that is missing, old, or dies: the container goes on as before, and nothing is left of the dump.

use rig::gate::{MEMORY, NODE_PATH, NOTIFICATIONS, program};
use rig::node::Invocation;
use rig::scene::Does;
use rig::{Gate, Node, Program, Scene};

fn killed_everywhere(scene: &mut Scene<'_>, moments: &[&str], flags: &[&str]) {
    for at in moments {
        for ending in [&["--leave-running"][..], &[]] {
            // What ends the container keeps its lock, and announces no unlocking.
            if *at == "network-unlock" && ending.is_empty() {
                continue;
            }
            // With the answer the container is let go to die: a CRIU that is killed right then is what docs/use.md says no
            // repair can mend.
            let connected = flags.contains(&"--tcp-established");
            if *at == "post-dump" && connected && ending.is_empty() {
                continue;
            }
            let image = scene.fresh_image();
            let flags = [flags, ending, &["--image-path", &image]].concat();
            let what = format!("CRIU killed at {at} with {flags:?}");
            // Connections stand still by then, and only the answer makes sure that nobody uses them: see `Hold` in the engine.
            let late = *at == "post-dump" && connected;
            let act = if late { "kill-answered" } else { "kill-criu" };
            let gate = Gate::new(scene.node, at, act);
            let command = scene.target.checkpoint_command(Program::Ours, &flags);
            let output = gate.on(command).output();
            gate.must_have_acted(&output);
            assert_eq!(output.status, 1, "{what}: {output:#?}");
            assert!(output.stderr.contains("level=error"), "{what}: {output:#?}");
            scene.must_be_unharmed(&what);
        }
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn criu_killed_at_any_notification_without_a_network_lock_does_no_harm() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "no-lock", Does::Counts);
    killed_everywhere(&mut scene, &NOTIFICATIONS, &["--network-lock", "skip"]);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn criu_killed_at_any_notification_under_an_nftables_lock_does_no_harm() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "nftables", Does::Counts);
    killed_everywhere(&mut scene, &NOTIFICATIONS, &["--network-lock", "nftables"]);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn criu_killed_at_any_notification_under_an_iptables_lock_does_no_harm() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "iptables", Does::Counts);
    killed_everywhere(&mut scene, &NOTIFICATIONS, &["--network-lock", "iptables"]);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn criu_killed_with_established_connections_leaves_them_alive() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "talks", Does::Talks);
    for lock in ["nftables", "iptables"] {
        let flags = ["--tcp-established", "--network-lock", lock];
        killed_everywhere(&mut scene, &NOTIFICATIONS, &flags);
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn criu_killed_leaves_no_temporary_name_of_a_deleted_file() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "unlinked", Does::HoldsUnlinked);
    killed_everywhere(&mut scene, &NOTIFICATIONS, &["--link-remap"]);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn criu_killed_while_it_writes_memory_does_no_harm() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "memory", Does::Remembers);
    killed_everywhere(&mut scene, &[MEMORY], &[]);
}

/// The command with this program as its CRIU.
fn with_criu<'node>(scene: &Scene<'node>, flags: &[&str], text: &str) -> Invocation<'node> {
    program(scene.node, "odd", text);
    scene
        .target
        .checkpoint_command(Program::Ours, flags)
        .env("PATH", &format!("/run/rig/odd:{NODE_PATH}"))
}

/// A CRIU that says it is this version, and nothing else.
fn of_version(major: u8, minor: u8) -> String {
    // CriuResp {type: VERSION (10), success: true, version: {major, minor}}
    format!(
        "#!/bin/bash\nhead -c 1 <&3 >/dev/null\nprintf '\\x08\\x0a\\x10\\x01\\x52\\x04\\x08\\x{major:02x}\\x10\\x{minor:02x}' | dd bs=64 iflag=fullblock status=none >&3\nread -r -t 5 _ <&3\n"
    )
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_criu_that_is_missing_old_or_no_criu_at_all_is_named_as_the_cause() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "odd", Does::Counts);
    let image = scene.fresh_image();
    let flags = ["--leave-running", "--image-path", &image];
    let cases = [
        (
            "2.12",
            of_version(2, 12),
            "CRIU version 21200 must be 30000 or higher",
        ),
        (
            "3.10",
            of_version(3, 10),
            "criu lacks support for external net",
        ),
        (
            "3.14",
            of_version(3, 14),
            "criu lacks support for external pid",
        ),
        (
            "ends",
            "#!/bin/sh\nexit 7\n".to_owned(),
            "criu swrk failed: exit status 7",
        ),
        (
            "no program",
            "no program".to_owned(),
            "CRIU version check failed: ",
        ),
    ];
    for (what, text, cause) in cases {
        let output = with_criu(&scene, &flags, &text).output();
        assert_eq!(output.status, 1, "{what}: {output:#?}");
        assert!(output.stderr.contains(cause), "{what}: {output:#?}");
        scene.must_be_unharmed(what);
    }
    let nowhere = scene.target.checkpoint_command(Program::Ours, &flags);
    let output = nowhere.env("PATH", "/run/rig/nowhere").output();
    assert_eq!(output.status, 1, "{output:#?}");
    let cause = r#"exec: \"criu\": executable file not found in $PATH"#;
    assert!(output.stderr.contains(cause), "{output:#?}");
    scene.must_be_unharmed("no CRIU");
}
