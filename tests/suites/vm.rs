//! What needs another kernel than this machine's: memory tracking, and cgroup v2 alone. All of it in one virtual machine, see `rig::vm`.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "what goes wrong in a test ends it, with an explanation"
)]

#[path = "vm/cgroups.rs"]
mod cgroups;
#[path = "vm/chain.rs"]
mod chain;
#[path = "vm/faults.rs"]
mod faults;
#[path = "vm/objects.rs"]
mod objects;
#[path = "vm/walk.rs"]
mod walk;

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use rig::Node;

/// The virtual machine, which has one processor and one mount of cgroups: it takes one test at a time.
fn guest() -> MutexGuard<'static, &'static Node> {
    static TURN: LazyLock<Mutex<&Node>> = LazyLock::new(|| Mutex::new(Node::shared_guest()));
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_job_in_the_guest_comes_back_byte_for_byte() {
    let guest = guest();
    let output = guest
        .command("sh")
        .args([
            "-c",
            "printf 'a\\000b\\n'; seq 200000; printf 'and an error' >&2; cat; exit 7",
        ])
        .stdin(rig::node::job::input(b"given"))
        .output();
    assert_eq!(output.status, 7);
    let lines: Vec<String> = (1..=200_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(output.stdout, format!("a\0b\n{}given", lines.concat()));
    assert_eq!(output.stderr, "and an error");
    let kernel = guest.run(&["criu", "check", "--feature", "mem_dirty_track"]);
    kernel.ok();
    let hierarchies = guest
        .shell("grep -c cgroup /proc/mounts; cat /sys/fs/cgroup/cgroup.controllers")
        .ok();
    assert!(hierarchies.stdout.starts_with("1\n"), "{hierarchies:?}");
    for controller in ["cpu", "cpuset", "io", "memory", "pids"] {
        assert!(hierarchies.stdout.contains(controller), "{hierarchies:?}");
    }
}
