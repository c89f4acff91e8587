//! A host that lets us down: full and read-only disks, a page server that does not answer, processes that end or never rest.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rig::container::shape::COUNT;
use rig::scene::{AT_ONCE, Does, goes_on};
use rig::{Gate, Node, Program, Scene};

#[test]
#[ignore = "needs the node root: run make test"]
fn a_disk_that_is_full_or_read_only_does_no_harm() {
    let node = &Node::start();
    let scene = Scene::new(node, "disk", Does::Remembers);
    node.shell(
        "mkdir -p /tmp/full /tmp/brim /tmp/fixed; mount -t tmpfs -o size=8m tmpfs /tmp/full; \
         mount -t tmpfs -o size=64k tmpfs /tmp/brim; head -c 64k /dev/zero >/tmp/brim/x || true; \
         mount -t tmpfs -o ro tmpfs /tmp/fixed",
    )
    .ok();
    let cases = [
        (
            &["--image-path", "/tmp/full/i"][..],
            "no space left on device",
        ),
        (
            &["--image-path", "/tmp/full/j", "--work-path", "/tmp/w"],
            "no space left on device",
        ),
        (&["--image-path", "/tmp/brim"], "no space left on device"),
        (&["--image-path", "/tmp/fixed/i"], "read-only file system"),
        (&["--image-path", "/tmp/fixed"], "read-only file system"),
    ];
    for (flags, says) in cases {
        for more in [&["--leave-running"][..], &[]] {
            let flags = [flags, more].concat();
            let output = scene.target.checkpoint(Program::Ours, &flags);
            let now = node.shell("df /tmp/full /tmp/brim; ls -laR /tmp/full; head -c 100 /proc/self/mountinfo; wc -c /run/rig/bundles/disk/rootfs/big").stdout;
            assert_eq!(output.status, 1, "{flags:?}: {output:#?} {now}");
            let said = output.stderr.to_lowercase();
            assert!(said.contains(says), "{flags:?}: {output:#?}");
            scene.must_be_unharmed(&format!("{flags:?}"));
            node.shell("rm -rf /tmp/full/* /tmp/w").ok();
        }
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_page_server_that_never_answers_is_given_up() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "black", Does::Counts);
    node.shell("iptables -A INPUT -p tcp --dport 9999 -j DROP")
        .ok();
    let image = scene.fresh_image();
    let flags = ["--page-server", "127.0.0.1:9999", "--image-path", &image];
    let more = [&flags[..], &["--timeout", "3s"]].concat();
    let command = scene.target.checkpoint_command(Program::Ours, &more);
    let job = command.spawn();
    std::thread::sleep(Duration::from_secs(1));
    goes_on(
        &scene.target,
        Instant::now() + AT_ONCE,
        "while the page server is silent",
    );
    let output = job.output();
    assert_eq!(output.status, 1, "{output:#?}");
    assert!(output.stderr.contains("timed out"), "{output:#?}");
    scene.must_be_unharmed("timed out");

    let job = scene
        .target
        .checkpoint_command(Program::Ours, &flags)
        .spawn();
    std::thread::sleep(Duration::from_secs(1));
    job.kill(Signal::SIGINT, true);
    let output = job.output();
    assert_eq!(output.status, 1, "{output:#?}");
    assert!(output.stderr.contains("interrupted"), "{output:#?}");
    scene.must_be_unharmed("interrupted");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_that_ends_before_its_freeze_is_an_error_and_leaves_nothing() {
    let node = &Node::start();
    let scene = Scene::new(node, "ends", Does::Counts);
    let gate = Gate::new(node, "pre-dump", "hold");
    let flags = ["--leave-running", "--image-path", "ended"];
    let command = scene.target.checkpoint_command(Program::Ours, &flags);
    let job = gate.on(command).spawn();
    let _ = gate.held();
    let kill = ["kill", scene.target.id(), "KILL"];
    scene.target.runtime_command().args(kill).output().ok();
    let until = Instant::now() + rig::node::PATIENCE;
    while scene.target.status() != "stopped" {
        assert!(Instant::now() < until, "it never ends");
    }
    gate.release();
    let output = job.output();
    assert_eq!(output.status, 1, "{output:#?}");
    assert!(output.stderr.contains("has ended"), "{output:#?}");
    goes_on(
        &scene.sibling,
        Instant::now() + AT_ONCE,
        "beside a container that ended",
    );
    scene.must_be_clean("a container that ended");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_that_is_killed_while_it_is_dumped_is_an_error_and_leaves_nothing() {
    let node = &Node::start();
    let scene = Scene::new(node, "dies", Does::Counts);
    let gate = Gate::new(node, "query-ext-files", "hold");
    let flags = [
        "--leave-running",
        "--network-lock",
        "nftables",
        "--image-path",
        "died",
    ];
    let command = scene.target.checkpoint_command(Program::Ours, &flags);
    let job = gate.on(command).spawn();
    let _ = gate.held();
    let pid = scene.target.pid();
    node.run(&["kill", "-KILL", &pid.to_string()]).ok();
    gate.release();
    let output = job.output();
    assert_eq!(output.status, 1, "{output:#?}");
    assert!(output.stderr.contains("level=error"), "{output:#?}");
    goes_on(
        &scene.sibling,
        Instant::now() + AT_ONCE,
        "beside a container that died",
    );
    scene.must_be_clean("a container that died");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_that_never_stops_forking_goes_on_whether_its_dump_succeeds_or_not() {
    let node = &Node::start();
    // Each turn starts two processes that end at once.
    let storm = COUNT.replace("read -t 0.02 -u 3 x", "(:) & (:) & wait");
    let mut scene = Scene::shaped(node, "storm", Does::Counts, |shape| {
        shape.args(&["/bin/sh", "-c", &storm])
    });
    let mut succeeded = 0;
    for _ in 0..6 {
        let image = scene.fresh_image();
        let flags = ["--leave-running", "--image-path", &image];
        let output = scene.target.checkpoint(Program::Ours, &flags);
        match output.status {
            0 => succeeded += 1,
            1 => assert!(output.stderr.contains("level=error"), "{output:#?}"),
            _ => panic!("{output:#?}"),
        }
        scene.must_be_unharmed("a storm of forks");
    }
    assert!(succeeded > 0, "no dump succeeded");
}
