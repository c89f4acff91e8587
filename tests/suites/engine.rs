//! Checkpoints of real containers by the program that `STILLFRAME_CHECKPOINT` names (ours unless it says `runc`), restored by the runtime itself.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rig::container::{
    Runtime, Stdio,
    shape::{COUNT, COUNTER},
};
use rig::node::PATIENCE;
use rig::pod::Containerd;
use rig::{Container, Node, Program, Shape, Traces};

/// Lets a container count for a while, so that a fresh start could not be taken for going on, and returns the number.
fn count_for_a_while(counter: &Container<'_>) -> u64 {
    counter.counter_beyond(40)
}

/// Restores a container that is gone from `image` in its bundle, and checks that it goes on from `before`.
fn comes_back(counter: &mut Container<'_>, before: u64) {
    let image = format!("{}/image", counter.bundle());
    counter.restore(&image, &[]).ok();
    let first = counter.counter_beyond(0);
    assert!(
        first >= before,
        "{first} is before the checkpoint's {before}"
    );
    assert!(counter.counter_beyond(first) > first);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_goes_on_while_its_image_is_taken_and_again_after_its_restore() {
    let node = Node::shared();
    let mut counter = Shape::new(node, "goes-on").start();
    let before = count_for_a_while(&counter);
    counter
        .checkpoint(
            Program::from_env(),
            &["--leave-running", "--image-path", "image"],
        )
        .ok();
    assert!(counter.is_running());
    let _ = counter.counter_beyond(before + 10);
    counter.delete().ok();
    comes_back(&mut counter, before);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_killing_checkpoint_ends_the_container_and_removes_its_state() {
    let node = Node::shared();
    let mut counter = Shape::new(node, "ends").start();
    let before = count_for_a_while(&counter);
    counter
        .checkpoint(Program::from_env(), &["--image-path", "image"])
        .ok();
    assert_eq!(counter.status(), "gone");
    comes_back(&mut counter, before);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_whose_streams_are_pipes_comes_back_with_new_pipes() {
    let node = Node::shared();
    let mut counter = Shape::new(node, "pipes").stdio(Stdio::Pipes).start();
    let before = count_for_a_while(&counter);
    counter
        .checkpoint(Program::from_env(), &["--image-path", "image"])
        .ok();
    comes_back(&mut counter, before);
    assert!(counter.streams.stdout.is_some());
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_with_a_terminal_comes_back_with_a_new_terminal() {
    let node = Node::shared();
    let mut counter = Shape::new(node, "terminal").stdio(Stdio::Terminal).start();
    let before = count_for_a_while(&counter);
    counter
        .checkpoint(Program::from_env(), &["--image-path", "image"])
        .ok();
    comes_back(&mut counter, before);
    assert!(counter.streams.terminal.is_some());
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_of_crun_comes_back_from_an_image_taken_by_crun_or_ours() {
    let node = Node::shared();
    let mut counter = Shape::new(node, "of-crun").runtime(Runtime::Crun).start();
    let before = count_for_a_while(&counter);
    // The real runc cannot read crun's state; crun itself can.
    let program = match Program::from_env() {
        Program::Runc => Program::Crun,
        other => other,
    };
    counter.checkpoint(program, &["--image-path", "image"]).ok();
    comes_back(&mut counter, before);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_of_a_pod_goes_on_while_its_image_is_taken_and_nothing_is_left_behind() {
    // A node of its own: what other tests do at the same time must not be taken for something left behind.
    let node = &Node::start();
    let containerd = Containerd::start(node);
    let pod = containerd.pod("shop", COUNT, &[]);
    let counter = || {
        pod.read(COUNTER)
            .and_then(|text| text.trim().parse::<u64>().ok())
            .unwrap_or(0)
    };
    while counter() < 3 {
        sleep(Duration::from_millis(20));
    }
    let pids = [pod.sandbox_pid(), pod.pid()];
    let before = Traces::of(node, &pids, &["/run/rig/pod-image", &pod.bundle()]);
    node.shell("mkdir -p /run/rig/pod-image").ok();

    let seen = counter();
    pod.checkpoint_command(
        Program::from_env(),
        &[
            "--leave-running",
            "--image-path",
            "/run/rig/pod-image/image",
        ],
    )
    .output()
    .ok();

    let after = Traces::of(node, &pids, &["/run/rig/pod-image", &pod.bundle()]);
    assert_eq!(after.beyond(&before), Vec::<&str>::new());
    let deadline = Instant::now() + PATIENCE;
    while counter() <= seen + 10 {
        assert!(Instant::now() < deadline, "the container does not go on");
        sleep(Duration::from_millis(20));
    }
    assert!(node.path("pod-image/image/inventory.img").exists());
}
