//! Flags that permit a kind of state: without the flag the dump is refused for CRIU's reason, with it the state comes back.

use std::os::unix::net::UnixDatagram;

use rig::{Node, Program, Shape};

use crate::journey::{STATE, dump, goes_on, refused, restore, seen, there_and_back};

with_both_programs! {
    file_locks_come_back
    a_lock_is_allowed_by_the_sites_configuration
    a_lock_is_allowed_by_the_containers_configuration
    an_unlinked_file_comes_back_with_link_remap
    a_large_deleted_file_comes_back_where_configuration_allows_it
    a_datagram_socket_with_a_peer_outside_comes_back
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

fn a_large_deleted_file_comes_back_where_configuration_allows_it(program: Program) {
    let node = Node::shared();
    let name = node.unique("ghost");
    let file = node.put(&format!("{name}.conf"), "ghost-limit 8M\n");
    let args = ["unlinked", "--size", "3000000"];
    let container = Shape::new(node, &name).workload(&args).start();
    refused(&container, program, &[], "ghost");
    drop(container);
    let mut container = Shape::new(node, &name)
        .annotation("org.criu.config", &file)
        .workload(&args)
        .start();
    there_and_back(&mut container, program, &[], &[]);
    assert_eq!(container.published(STATE).text("intact"), "true");
}

fn a_datagram_socket_with_a_peer_outside_comes_back(program: Program) {
    let node = Node::shared();
    let name = node.unique("dgram");
    std::fs::create_dir(node.path(&name)).expect("a folder for the socket");
    // A socket's path may have 107 bytes only; the descriptor of its folder is short.
    let folder = std::fs::File::open(node.path(&name)).expect("the folder");
    let number = std::os::fd::AsRawFd::as_raw_fd(&folder);
    let peer = UnixDatagram::bind(format!("/proc/self/fd/{number}/peer")).expect("a socket");
    peer.set_nonblocking(true)
        .expect("a socket that does not block");
    let mut container = Shape::new(node, &name)
        .bind(&format!("/run/rig/{name}"), "/peers", &[])
        .workload(&["unix-dgram", "--peer", "/peers/peer"])
        .start();
    refused(&container, program, &[], "ext-unix-sk");
    let before = seen(&container, STATE);
    dump(&container, program, &["--ext-unix-sk"]);
    while peer.recv(&mut [0; 512]).is_ok() {}
    restore(&mut container, &["--ext-unix-sk"]);
    goes_on(&container, STATE, &before);
    let mut message = [0; 512];
    let length = peer
        .recv(&mut message)
        .expect("a datagram from after the restore");
    let text = String::from_utf8_lossy(&message[..length]).into_owned();
    assert!(text.contains(&before.0), "{text}");
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
