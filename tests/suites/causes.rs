//! What CRIU cannot dump, brought about for real: its log is told apart as it is meant to be.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use node_agent::criu::log::{Cause, classify};
use rig::node::PATIENCE;
use rig::scene::Does;
use rig::{Container, Node, Program, Scene, Shape};

/// Fails unless the dump fails, for this reason and no other.
fn fails_for(cause: Cause, container: &Container<'_>, flags: &[&str]) {
    let node = Node::shared();
    let flags = [
        &[
            "--leave-running",
            "--image-path",
            "image",
            "--work-path",
            "w",
        ],
        flags,
    ]
    .concat();
    let output = container.checkpoint(Program::Ours, &flags);
    assert_eq!(output.status, 1, "{cause:?}: {output:#?}");
    let log = node.path(container.bundle()).join("w/dump.log");
    let told = classify(&log);
    let text = fs::read_to_string(&log).unwrap_or_default();
    assert_eq!(told.map(|told| told.cause), Some(cause), "{text}");
    node.shell(&format!("rm -r {}/image", container.bundle()))
        .ok();
}

fn workload<'node>(node: &'node Node, args: &[&str]) -> Container<'node> {
    let container = Shape::new(node, node.unique("cause"))
        .workload(args)
        .start();
    let _ = container.published_when("/out/state", |state| state.number("ticks") > 1);
    container
}

/// A container in which this has been done in Perl, with the rights that it takes.
fn perl<'node>(node: &'node Node, script: &str) -> Container<'node> {
    let script = format!("{script}; open(R, '>', '/up'); close R; sleep 1000 while 1");
    let container = Shape::new(node, node.unique("cause"))
        .args(&["/usr/bin/perl", "-e", &script])
        .with_node_libraries()
        .edit(|config| {
            for set in ["bounding", "effective", "permitted"] {
                let rights = config["process"]["capabilities"][set].as_array_mut();
                if let Some(rights) = rights {
                    rights.extend(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"].map(Into::into));
                }
            }
        })
        .start();
    let until = Instant::now() + PATIENCE;
    while container.read("/up").is_none() {
        assert!(Instant::now() < until, "it never comes up: {script}");
        sleep(Duration::from_millis(20));
    }
    container
}

#[test]
#[ignore = "needs the node root: run make test"]
fn state_that_an_option_permits_is_named() {
    let node = Node::shared();
    let talks = Scene::new(node, "cause-talks", Does::Talks);
    fails_for(Cause::EstablishedTcp, &talks.target, &[]);
    let unlinked = Scene::new(node, "cause-unlinked", Does::HoldsUnlinked);
    fails_for(Cause::LinkedFileDeleted, &unlinked.target, &[]);
    for lock in ["flock", "posix-lock", "lease"] {
        fails_for(Cause::FileLocks, &workload(node, &[lock]), &[]);
    }
    let ghost = workload(node, &["unlinked", "--size", "3000000"]);
    fails_for(Cause::GhostFileTooLarge, &ghost, &[]);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn state_that_no_option_permits_is_named() {
    let node = Node::shared();
    let ring = "my $p = \"\\0\" x 120; my $fd = syscall(425, 8, $p); die if $fd < 0";
    fails_for(Cause::IoUring, &perl(node, ring), &[]);
    let mapped = format!("{ring}; die if syscall(9, 0, 4096, 3, 0x8001, $fd, 0x10000000) < 0");
    fails_for(Cause::IoUring, &perl(node, &mapped), &[]);
    let faults = perl(node, "die if syscall(323, 1) < 0");
    fails_for(Cause::UnsupportedFile, &faults, &[]);
    let nested = perl(
        node,
        "syscall(272, 0x20000000); my $p = fork; if (!$p) { sleep 1000 while 1 }",
    );
    fails_for(Cause::UnsupportedProcess, &nested, &[]);
    let mounted = perl(node, "1");
    let enter = format!("nsenter -t {} -m", mounted.pid());
    node.shell(&format!("{enter} /bin/mount -t ramfs none /tmp"))
        .ok();
    fails_for(Cause::ExternalMount, &mounted, &[]);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn what_the_node_or_the_network_lacks_is_named() {
    let node = Node::shared();
    let container = workload(node, &["count"]);
    let server = ["--page-server", "127.0.0.1:9"];
    fails_for(Cause::PageServerUnreachable, &container, &server);
    let server = ["--page-server", "nowhere.invalid:9"];
    fails_for(Cause::PageServerUnreachable, &container, &server);
    let image = format!("{}/small", container.bundle());
    node.shell(&format!(
        "mkdir {image}; mount -t tmpfs -o size=64k none {image}"
    ))
    .ok();
    let flags = [
        "--image-path",
        "small",
        "--work-path",
        "w",
        "--leave-running",
    ];
    let output = container.checkpoint(Program::Ours, &flags);
    node.shell(&format!("umount {image}")).ok();
    assert_eq!(output.status, 1, "{output:#?}");
    let told = classify(&node.path(container.bundle()).join("w/dump.log"));
    assert_eq!(told.map(|told| told.cause), Some(Cause::DiskFull));
}
