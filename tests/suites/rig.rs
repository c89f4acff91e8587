//! The rig itself: what it finds, and that it takes everything away again.

#![expect(
    clippy::expect_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rig::node::PATIENCE;
use rig::{Node, Shape, Traces};

/// The cgroups that a node has on the machine.
fn cgroups_of(run_id: &str) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").expect("cgroups are mounted");
    hierarchies
        .flatten()
        .map(|entry| entry.path().join(format!("stillframe-rig-{run_id}")))
        .chain([PathBuf::from(format!(
            "/sys/fs/cgroup/stillframe-rig-{run_id}"
        ))])
        .filter(|path| path.exists())
        .collect()
}

/// The machine's processes that are in a node's network namespace, which nothing outside the node ever enters.
fn processes_in(network: &Path) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").expect("proc is mounted");
    processes
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| fs::read_link(path.join("ns/net")).is_ok_and(|link| link == network))
        .collect()
}

fn network_of(node: &Node) -> PathBuf {
    PathBuf::from(
        node.run(&["readlink", "/proc/self/ns/net"])
            .ok()
            .stdout
            .trim(),
    )
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_node_takes_everything_with_it_even_a_frozen_container() {
    let node = Node::start();
    let network = network_of(&node);
    let run_id = node.run_id();
    let folder = node.path("").parent().expect("the run's folder").to_owned();
    let frozen = Shape::new(&node, "frozen").start();
    let _ = frozen.counter_beyond(0);
    node.run(&["runc", "pause", "frozen"]).ok();
    assert!(!cgroups_of(&run_id).is_empty());
    assert!(!processes_in(&network).is_empty());

    // As if the test were killed: nobody deletes the container.
    std::mem::forget(frozen);
    drop(node);

    assert_eq!(cgroups_of(&run_id), Vec::<PathBuf>::new());
    assert_eq!(processes_in(&network), Vec::<PathBuf>::new());
    assert!(!folder.exists());
}

#[test]
#[ignore = "needs the node root: run make test"]
fn what_a_killed_node_left_is_swept_by_the_next_run() {
    let node = Node::start();
    let network = network_of(&node);
    let run_id = node.run_id();
    let folder = node.path("").parent().expect("the run's folder").to_owned();
    let counter = Shape::new(&node, "abandoned").start();
    let _ = counter.counter_beyond(0);
    std::mem::forget(counter);
    let enter: i32 = run_id
        .split('-')
        .next()
        .and_then(|pid| pid.parse().ok())
        .expect("a run id starts with a pid");

    kill(Pid::from_raw(enter), Signal::SIGKILL).expect("tests/rig/enter is ours to kill");
    drop(node);
    assert!(folder.exists(), "there is nothing to sweep");
    let sweep = Path::new(env!("CARGO_MANIFEST_DIR")).join("rig/sweep");
    assert!(
        Command::new(sweep)
            .status()
            .expect("tests/rig/sweep starts")
            .success()
    );

    assert_eq!(cgroups_of(&run_id), Vec::<PathBuf>::new());
    assert_eq!(processes_in(&network), Vec::<PathBuf>::new());
    assert!(!folder.exists());
}

#[test]
#[ignore = "needs the node root: run make test"]
fn traces_name_whatever_a_dump_could_leave_behind() {
    let node = Node::start();
    let counter = Shape::new(&node, "traced").start();
    let _ = counter.counter_beyond(0);
    let pid = counter.pid();
    let before = Traces::of(&node, &[pid], &[counter.bundle()]);
    assert_eq!(
        Traces::of(&node, &[pid], &[counter.bundle()]).beyond(&before),
        Vec::<&str>::new()
    );

    node.shell(&format!(
        "nsenter --net=/proc/{pid}/ns/net iptables -N CRIU
         nsenter --net=/proc/{pid}/ns/net nft add table inet CRIU-{pid}
         touch {bundle}/rootfs/link_remap.7
         mkdir {bundle}/image.partial
         runc pause traced
         cp /usr/bin/sleep /tmp/criu; /tmp/criu 100 </dev/null >/dev/null 2>&1 &
         /usr/bin/sleep 100 </dev/null >/dev/null 2>&1 & kill -STOP $!",
        bundle = counter.bundle(),
    ))
    .ok();
    let after = Traces::of(&node, &[pid], &[counter.bundle()]);
    let news = after.beyond(&before);
    for sign in [
        "iptables-save :CRIU",
        "nft table inet CRIU",
        "link_remap.7",
        "image.partial",
        "not thawed",
        "(criu)",
        "stopped",
    ] {
        assert!(
            news.iter().any(|line| line.contains(sign)),
            "{sign} is not among {news:#?}"
        );
    }
    node.run(&["runc", "resume", "traced"]).ok();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_command_that_takes_too_long_is_killed_with_all_that_it_started() {
    let node = Node::start();
    let output = node
        .command("bash")
        .args(["-c", "echo started; sleep 1000 & sleep 1000"])
        .timeout(Duration::from_millis(300))
        .output();
    assert!(output.timed_out);
    assert_eq!(output.status, 128 + Signal::SIGKILL as i32);
    assert_eq!(output.stdout, "started\n");
    let deadline = Instant::now() + PATIENCE;
    while node.run(&["pgrep", "sleep"]).succeeded() {
        assert!(
            Instant::now() < deadline,
            "a process of the command is still there"
        );
        sleep(Duration::from_millis(10));
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_command_that_does_not_exist_is_an_answer_not_a_hang() {
    let output = Node::shared().run(&["no-such-command"]);
    assert_eq!(output.status, 127);
    assert!(output.stderr.contains("no-such-command"));
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_cached_root_cannot_be_written_but_what_programs_configure_can() {
    let node = Node::shared();
    for path in ["/usr/new", "/opt/rig/new", "/new"] {
        assert!(
            !node.run(&["touch", path]).succeeded(),
            "{path} could be written"
        );
    }
    for path in [
        "/etc/new",
        "/var/lib/new",
        "/root/new",
        "/run/new",
        "/tmp/new",
        "/run/rig/new",
    ] {
        node.run(&["touch", path]).ok();
    }
}
