//! A checkpoint that is stopped: Ctrl-C on a terminal, SIGTERM, a timeout, at any moment.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use nix::pty::openpty;
use rig::gate::NOTIFICATIONS;
use rig::node::Output;
use rig::scene::Does;
use rig::{Gate, Node, Program, Scene};

/// A wish to stop that comes before `at`: heeded, unless CRIU is letting go by then, and the image is complete.
fn must_have_stopped(node: &Node, image: &str, output: &Output, at: &str, word: &str, what: &str) {
    let inventory = node.path(image).join("inventory.img");
    if at == "network-unlock" {
        assert_eq!(output.status, 0, "{what}: {output:#?}");
        assert!(inventory.exists(), "{what}");
    } else {
        assert_eq!(output.status, 1, "{what}: {output:#?}");
        assert!(
            !inventory.exists(),
            "{what}: the directory looks like an image"
        );
        let said = format!("level=error msg=\"checkpoint stopped: {word}; the container goes on\"");
        assert!(output.stderr.contains(&said), "{what}: {output:#?}");
    }
}

fn stopped_everywhere(scene: &mut Scene<'_>, flags: &[&str]) {
    for at in NOTIFICATIONS {
        for (act, word) in [("interrupt", "interrupted"), ("terminate", "terminated")] {
            for ending in [&["--leave-running"][..], &[]] {
                if at == "network-unlock" && ending.is_empty() {
                    continue;
                }
                let image = scene.fresh_image();
                let flags = [flags, ending, &["--image-path", &image]].concat();
                let gate = Gate::new(scene.node, at, act);
                let command = scene.target.checkpoint_command(Program::Ours, &flags);
                let output = gate.on(command).output();
                gate.must_have_acted(&output);
                let what = format!("{act} at {at} with {flags:?}");
                must_have_stopped(scene.node, &image, &output, at, word, &what);
                scene.must_be_unharmed(&what);
            }
        }
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn signals_at_any_notification_stop_a_checkpoint_without_harm() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "plain", Does::HoldsUnlinked);
    stopped_everywhere(&mut scene, &["--link-remap", "--network-lock", "iptables"]);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn signals_at_any_notification_leave_connections_alive() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "talks", Does::Talks);
    stopped_everywhere(&mut scene, &["--tcp-established"]);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn ctrl_c_on_a_terminal_stops_a_checkpoint_at_any_notification() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "terminal", Does::Counts);
    for at in NOTIFICATIONS {
        let image = scene.fresh_image();
        let flags = ["--leave-running", "--image-path", &image];
        let gate = Gate::new(node, at, "hold");
        let terminal = openpty(None, None).expect("a terminal");
        // The session's leader takes the terminal, and the checkpoint is in its foreground group.
        let line = scene.target.checkpoint_command(Program::Ours, &flags);
        let words = line.words().join(" ");
        let command = node
            .command("setsid")
            .args(["--ctty", "--wait", "bash", "-c"])
            .arg(format!(
                "trap : INT; {words} 2>/run/rig/terminal.err; exit $?"
            ))
            .cwd(scene.target.bundle())
            .stdin(terminal.slave.try_clone().expect("a descriptor"));
        let job = gate.on(command).spawn_with(
            terminal.slave.try_clone().expect("a descriptor"),
            terminal.slave.try_clone().expect("a descriptor"),
        );
        let (caller, _) = gate.held();
        let mut keyboard = File::from(terminal.master);
        keyboard.write_all(b"\x03").expect("a key is pressed");
        // The signal has been taken once it is no longer pending.
        let taken = format!(
            "until grep -q '^ShdPnd:.*0$' /proc/{caller}/status; do :; done; sleep 0.05; cat /proc/{caller}/status"
        );
        node.shell(&taken).ok();
        gate.release();
        let mut output = job.output();
        output.stderr = std::fs::read_to_string(node.path("terminal.err")).unwrap_or_default();
        let what = format!("Ctrl-C at {at}");
        must_have_stopped(node, &image, &output, at, "interrupted", &what);
        scene.must_be_unharmed(&what);
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_timeout_ends_a_checkpoint_before_the_freeze_and_in_the_middle() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "late", Does::Counts);
    let image = scene.fresh_image();
    let flags = [
        "--leave-running",
        "--timeout",
        "1ms",
        "--image-path",
        &image,
    ];
    let output = scene.target.checkpoint(Program::Ours, &flags);
    assert_eq!(output.status, 1, "{output:#?}");
    assert!(output.stderr.contains("timed out"), "{output:#?}");
    scene.must_be_unharmed("timed out before the freeze");
    for at in ["pre-dump", "query-ext-files", "post-dump"] {
        let image = scene.fresh_image();
        let flags = [
            "--timeout",
            "2s",
            "--network-lock",
            "nftables",
            "--image-path",
            &image,
        ];
        let gate = Gate::new(node, at, "hold");
        let command = scene.target.checkpoint_command(Program::Ours, &flags);
        let job = gate.on(command).spawn();
        let _ = gate.held();
        std::thread::sleep(Duration::from_millis(2200));
        gate.release();
        let output = job.output();
        assert_eq!(output.status, 1, "{at}: {output:#?}");
        assert!(output.stderr.contains("timed out"), "{at}: {output:#?}");
        scene.must_be_unharmed(&format!("timed out at {at}"));
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_criu_that_does_not_give_way_is_killed_and_repaired_after() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "stuck", Does::Talks);
    let image = scene.fresh_image();
    let flags = [
        "--tcp-established",
        "--timeout",
        "1s",
        "--image-path",
        &image,
    ];
    let gate = Gate::new(node, "post-dump", "hold");
    let command = scene.target.checkpoint_command(Program::Ours, &flags);
    let output = gate.on(command).output();
    gate.release();
    assert_eq!(output.status, 1, "{output:#?}");
    let said = "timed out; CRIU did not give way and was killed";
    assert!(output.stderr.contains(said), "{output:#?}");
    scene.must_be_unharmed("killed by us");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_second_checkpoint_of_the_same_container_is_refused_while_the_first_goes_on() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "twice", Does::Counts);
    let (first, second) = (scene.fresh_image(), scene.fresh_image());
    let gate = Gate::new(node, "query-ext-files", "hold");
    let flags = ["--leave-running", "--image-path", &first];
    let command = scene.target.checkpoint_command(Program::Ours, &flags);
    let job = gate.on(command).spawn();
    let _ = gate.held();
    let flags = [
        "--leave-running",
        "--output",
        "json",
        "--image-path",
        &second,
    ];
    let output = scene.target.checkpoint(Program::Ours, &flags);
    assert_eq!(output.status, 1, "{output:#?}");
    assert!(output.stdout.contains("CheckpointUnderWay"), "{output:#?}");
    gate.release();
    job.output().ok();
    assert!(node.path(&first).join("inventory.img").exists());
    scene.must_be_unharmed("a second checkpoint");
}
