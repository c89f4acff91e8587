//! Flags that permit a kind of state: without the flag the dump is refused for CRIU's reason, with it the state comes back.

use rig::shown::Outcome;
use rig::{Node, Program, Shape};

use crate::journey::{STATE, Subject, dump, refused, there_and_back};

on_every_runtime! {
    file_locks_come_back
    an_unlinked_file_comes_back_with_link_remap
    a_work_path_holds_log_and_statistics
}

on_every_runc! {
    a_chain_is_refused_where_the_kernel_tracks_no_memory
}

with_both_programs! {
    a_lock_is_allowed_by_the_sites_configuration
    a_lock_is_allowed_by_the_containers_configuration
    flags_without_a_need_change_nothing
}

fn file_locks_come_back(subject: Subject) {
    let program = subject.program;
    for mode in ["flock", "posix-lock", "lease"] {
        let mut container = subject.shape(mode).workload(&[mode]).start();
        refused(&container, program, &[], "file-locks");
        there_and_back(
            &mut container,
            program,
            &["--file-locks"],
            &["--file-locks"],
        );
        assert_eq!(container.published(STATE).text("held"), "true", "{mode}");
    }
    subject.shown("file-locks");
}

fn a_lock_is_allowed_by_the_sites_configuration(program: Program) {
    // A node of its own: the file is one for all containers.
    let node = &Node::start();
    let mut container = Shape::new(node, "site").workload(&["flock"]).start();
    refused(&container, program, &[], "file-locks");
    node.shell("mkdir -p /etc/criu && echo file-locks >/etc/criu/runc.conf")
        .ok();
    there_and_back(&mut container, program, &[], &[]);
    assert_eq!(container.published(STATE).text("held"), "true");
}

fn a_lock_is_allowed_by_the_containers_configuration(program: Program) {
    let node = Node::shared();
    let name = node.unique("own-config");
    let file = node.put(&format!("{name}.conf"), "file-locks\ntcp-established\n");
    let mut container = Shape::new(node, &name)
        .annotation("org.criu.config", &file)
        .workload(&["flock"])
        .start();
    there_and_back(&mut container, program, &[], &[]);
    assert_eq!(container.published(STATE).text("held"), "true");
}

fn an_unlinked_file_comes_back_with_link_remap(subject: Subject) {
    let (node, program) = (Node::shared(), subject.program);
    let mut container = subject
        .shape("remap")
        .workload(&["unlinked", "--keep-link"])
        .start();
    refused(&container, program, &[], "link-remap");
    dump(&container, program, &["--link-remap", "--leave-running"]);
    let left = || {
        node.shell(&format!("find {} -name 'link_remap.*'", container.bundle()))
            .ok()
            .stdout
    };
    assert_eq!(left(), "");
    there_and_back(&mut container, program, &["--link-remap"], &[]);
    let state = container.published(STATE);
    assert_eq!((state.text("intact"), state.text("links")), ("true", "1"));
    subject.shown("link-remap");
}

fn a_work_path_holds_log_and_statistics(subject: Subject) {
    let node = Node::shared();
    let mut container = subject.shape("work").workload(&["count"]).start();
    let flags = ["--work-path", "work"];
    there_and_back(&mut container, subject.program, &flags, &[]);
    let bundle = node.path(container.bundle());
    for name in ["dump.log", "stats-dump"] {
        assert!(bundle.join("work").join(name).exists(), "{name}");
        assert!(!bundle.join("image").join(name).exists(), "{name}");
    }
    // The image is where --image-path said, since the restore has found it there.
    assert!(bundle.join("image/inventory.img").exists());
    subject.shown("image-path");
    subject.shown("work-path");
}

fn flags_without_a_need_change_nothing(program: Program) {
    let node = Node::shared();
    let mut container = Shape::new(node, node.unique("needless"))
        .workload(&["memory"])
        .start();
    let flags = [
        "--tcp-established",
        "--tcp-skip-in-flight",
        "--ext-unix-sk",
        "--shell-job",
        "--file-locks",
        "--link-remap",
        "--auto-dedup",
        "--empty-ns",
        "network",
        "--status-fd",
        "99",
    ];
    there_and_back(
        &mut container,
        program,
        &flags,
        &["--tcp-established", "--file-locks"],
    );
}

/// Where the kernel tracks memory, the virtual machine's chains say all that is to be said of these.
fn a_chain_is_refused_where_the_kernel_tracks_no_memory(subject: Subject) {
    let container = subject.shape("chain").workload(&["count"]).start();
    let check = Node::shared().run(&["criu", "check", "--feature", "mem_dirty_track"]);
    if check.succeeded() {
        println!("not run: this kernel tracks memory, and the virtual machine shows chains");
        return;
    }
    let program = subject.program;
    refused(
        &container,
        program,
        &["--pre-dump"],
        "missing features: [MemTrack]",
    );
    dump(&container, program, &["--leave-running"]);
    let child = ["--parent-path", "../image", "--auto-dedup"];
    refused(
        &container,
        program,
        &child,
        "Tracking memory is not available",
    );
    for option in ["pre-dump", "parent-path", "auto-dedup"] {
        let lacks = "soft-dirty page tracking in the kernel (CONFIG_MEM_SOFT_DIRTY)";
        subject.found(option, Outcome::Lacks(lacks.to_owned()));
    }
}
