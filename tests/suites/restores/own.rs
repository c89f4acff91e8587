//! What our command has beyond runc's, on an image that the real runc restores.

use rig::container::Runtime;
use rig::container::shape::COUNT;
use rig::{Container, Node, Program, Shape};
use serde_json::Value;

use crate::journey::{STATE, Subject, dump, goes_on, refused, restore, seen, there_and_back};

#[test]
#[ignore = "needs the node root: run make test"]
fn a_durable_image_has_the_digest_that_coreutils_compute() {
    let node = Node::shared();
    let mut container = Shape::new(node, node.unique("durable"))
        .tmpfs("/scratch", &[])
        .workload(&["memory"])
        .start();
    let before = seen(&container, STATE);
    let output = dump(
        &container,
        Program::Ours,
        &["--durable", "--output", "json"],
    );
    let report: Value = serde_json::from_str(&output.stdout).expect("one object");
    let report = &report["checkpoint"];
    let script = "LC_ALL=C; export LC_ALL; cd image; find . -maxdepth 1 -type f ! -name '.*' -printf '%P\\0' | \
                  sort -z | xargs -0 sha256sum -- | sha256sum";
    let sum = node
        .command("bash")
        .args(["-euc", script])
        .cwd(container.bundle())
        .output()
        .ok();
    let sum = sum
        .stdout
        .split_whitespace()
        .next()
        .expect("a sum")
        .to_owned();
    assert_eq!(report["digest"], format!("sha256:{sum}"));
    let script = "cd image; find . -type f -printf '%s\\n' | awk '{n++; s+=$1} END {print n, s}'";
    let size = node
        .command("bash")
        .args(["-euc", script])
        .cwd(container.bundle())
        .output()
        .ok();
    assert_eq!(
        size.stdout.trim(),
        format!("{} {}", report["files"], report["sizeBytes"])
    );
    restore(&mut container, &[]);
    goes_on(&container, STATE, &before);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_report_says_what_was_done() {
    let node = Node::shared();
    let container = Shape::new(node, node.unique("report"))
        .workload(&["count"])
        .start();
    seen(&container, STATE);
    let output = dump(
        &container,
        Program::Ours,
        &["--leave-running", "--output", "json"],
    );
    let report: Value = serde_json::from_str(&output.stdout).expect("one object");
    let report = &report["checkpoint"];
    for field in [
        "pauseMicroseconds",
        "dumpMicroseconds",
        "sizeBytes",
        "files",
    ] {
        assert!(
            report[field].as_u64().is_some_and(|value| value > 0),
            "{field}: {report}"
        );
    }
    assert!(
        report["stats"]["pagesWritten"]
            .as_u64()
            .is_some_and(|pages| pages > 0),
        "{report}"
    );
    assert_eq!(report["digest"], Value::Null);
    assert_eq!(report["networkLock"], "skip");
    assert_eq!(report["imagePath"], "image");
    assert_eq!(report["warnings"], serde_json::json!([]));
    let version = node.run(&["criu", "--version"]).ok().stdout;
    assert!(
        version.contains(report["criuVersion"].as_str().expect("a version")),
        "{report}"
    );
    // Nothing goes to stdout in the other form, and a failure is one object as well.
    let output = container.checkpoint(Program::Ours, &["--output", "json", "--empty-ns", "ipc"]);
    assert_eq!(output.status, 1);
    let failure: Value = serde_json::from_str(&output.stdout).expect("one object");
    assert_eq!(
        failure["failure"]["message"],
        "namespace \"ipc\" is not supported"
    );
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_ghost_limit_allows_a_large_deleted_file() {
    let node = Node::shared();
    let mut container = Shape::new(node, node.unique("ghosts"))
        .workload(&["unlinked", "--size", "3000000"])
        .start();
    refused(
        &container,
        Program::Ours,
        &["--ghost-limit", "4096"],
        "ghost file",
    );
    there_and_back(
        &mut container,
        Program::Ours,
        &["--ghost-limit", "8388608"],
        &[],
    );
    assert_eq!(container.published(STATE).text("intact"), "true");
    let subject = Subject {
        program: Program::Ours,
        runtime: Runtime::Runc,
    };
    subject.shown("ghost-limit");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_frozen_for_the_dump_is_not_recorded_as_frozen() {
    let node = Node::shared();
    let mut container = Shape::new(node, node.unique("thawed"))
        .workload(&["count"])
        .start();
    let flags = ["--manage-cgroups-mode", "full"];
    there_and_back(&mut container, Program::Ours, &flags, &flags);
    let read = format!(
        "grep -c FROZEN {}/image/cgroup.img || true",
        container.bundle()
    );
    assert_eq!(node.shell(&read).ok().stdout, "0\n");
}

/// How the only child of a container's first process is: `T` if it is stopped.
fn state_of_child(container: &Container<'_>) -> String {
    let script = "cut -d' ' -f3 /proc/$(pgrep -P \"$1\")/stat";
    let pid = container.pid().to_string();
    let node = Node::shared();
    let state = node.run(&["bash", "-euc", script, "state", &pid]).ok();
    state.stdout.trim().to_owned()
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_stopped_process_neither_holds_the_container_up_nor_goes_on() {
    let node = Node::shared();
    let mut container = Shape::new(node, node.unique("stopped"))
        .script(&format!("sleep 1000 & kill -STOP $!; {COUNT}"))
        .start();
    let before = container.counter_beyond(3);
    // runc waits for ever here, with the container frozen.
    let flags = ["--image-path", "kept", "--leave-running", "--timeout", "50"];
    container.checkpoint(Program::Ours, &flags).ok();
    let after = container.counter_beyond(before);
    assert_eq!(state_of_child(&container), "T");
    dump(&container, Program::Ours, &[]);
    restore(&mut container, &[]);
    assert!(container.counter_beyond(after) > after);
    assert_eq!(state_of_child(&container), "T");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_traced_process_is_refused_and_goes_on() {
    let node = Node::shared();
    let container = Shape::new(node, node.unique("traced")).counting().start();
    let before = container.counter_beyond(3);
    let pid = container.pid().to_string();
    let mut strace = node
        .command("strace")
        .args(["-f", "-o", "/dev/null", "-p", &pid])
        .daemon("strace");
    node.shell(&format!(
        "until grep -q 'TracerPid:[^0]*[1-9]' /proc/{pid}/status; do sleep 0.02; done"
    ))
    .ok();
    let output = container.checkpoint(Program::Ours, &["--image-path", "image"]);
    assert_eq!(output.status, 1, "{output:#?}");
    let says = format!("process {pid} is traced by process");
    assert!(output.stderr.contains(&says), "{output:#?}");
    assert!(container.counter_beyond(before) > before);
    strace.end(node);
}
