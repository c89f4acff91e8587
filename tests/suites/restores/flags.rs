//! Flags that permit a kind of state: without the flag the dump is refused for CRIU's reason, with it the state comes back.

use rig::{Node, Program, Shape};

use crate::journey::{STATE, dump, refused, there_and_back};

with_both_programs! {
    file_locks_come_back
    a_lock_is_allowed_by_the_sites_configuration
    a_lock_is_allowed_by_the_containers_configuration
    an_unlinked_file_comes_back_with_link_remap
    every_cgroups_mode_comes_back
    a_work_path_holds_log_and_statistics
    flags_without_a_need_change_nothing
}

fn file_locks_come_back(program: Program) {
    let node = Node::shared();
    for (mode, kind) in [("flock", "flock"), ("posix-lock", "posix")] {
        let mut container = Shape::new(node, node.unique(kind))
            .workload(&[mode])
            .start();
        refused(&container, program, &[], "file-locks");
        there_and_back(
            &mut container,
            program,
            &["--file-locks"],
            &["--file-locks"],
        );
        assert_eq!(container.published(STATE).text("held"), "true", "{mode}");
    }
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

fn an_unlinked_file_comes_back_with_link_remap(program: Program) {
    let node = Node::shared();
    let mut container = Shape::new(node, node.unique("remap"))
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
}

fn every_cgroups_mode_comes_back(program: Program) {
    let node = Node::shared();
    let mut container = Shape::new(node, node.unique("cgroups"))
        .workload(&["count"])
        .start();
    for mode in ["soft", "full", "ignore"] {
        let flags = ["--manage-cgroups-mode", mode];
        there_and_back(&mut container, program, &flags, &flags);
    }
    there_and_back(
        &mut container,
        program,
        &["--manage-cgroups-mode", "strict"],
        &[],
    );
}

fn a_work_path_holds_log_and_statistics(program: Program) {
    let node = Node::shared();
    let mut container = Shape::new(node, node.unique("work"))
        .workload(&["count"])
        .start();
    there_and_back(&mut container, program, &["--work-path", "work"], &[]);
    let bundle = node.path(container.bundle());
    for name in ["dump.log", "stats-dump"] {
        assert!(bundle.join("work").join(name).exists(), "{name}");
        assert!(!bundle.join("image").join(name).exists(), "{name}");
    }
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
