//! Containers in a network namespace that outlives them: their connections, and the lock that holds those still.

use nix::sys::signal::Signal;
use rig::container::{Runtime, State};
use rig::node::Job;
use rig::{Container, Node, Program, Shape};

use crate::journey::{STATE, Subject, dump, goes_on, refused, restore, seen, there_and_back};

on_every_runtime! {
    a_live_connection_survives_dump_and_restore
    a_half_open_connection_is_left_out
    a_datagram_socket_with_a_peer_outside_comes_back
}

with_both_programs! {
    a_container_in_an_external_network_namespace_comes_back
    a_connection_inside_the_container_comes_back
}

/// A network namespace that is joined to the node's own by a cable. Dropping it removes both.
struct Net<'node> {
    node: &'node Node,
    name: String,
    outside: String,
    inside: String,
}

impl<'node> Net<'node> {
    fn new(node: &'node Node) -> Self {
        let name = node.unique("net");
        let number: u32 = name
            .rsplit('-')
            .next()
            .and_then(|number| number.parse().ok())
            .expect("a unique name ends in a number");
        let prefix = format!("10.{}.{}", 90 + number / 250 % 100, number % 250);
        let net = Self {
            node,
            outside: format!("{prefix}.1"),
            inside: format!("{prefix}.2"),
            name,
        };
        let Self {
            name,
            outside,
            inside,
            ..
        } = &net;
        node.shell(&format!(
            "ip netns add {name}; ip link add o{number} type veth peer name i{number}; \
             ip link set i{number} netns {name}; ip addr add {outside}/24 dev o{number}; ip link set o{number} up; \
             in='nsenter --net=/run/netns/{name}'; $in ip link set lo up; $in ip addr add {inside}/24 dev i{number}; \
             $in ip link set i{number} up; $in ip route add default via {outside}"
        ))
        .ok();
        net
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// The rules of CRIU's in the namespace.
    fn locks(&self) -> String {
        let script = "in=\"nsenter --net=$1\"; $in iptables-save 2>/dev/null | grep CRIU || true; \
                      $in ip6tables-save 2>/dev/null | grep CRIU || true; $in nft list tables | grep CRIU || true";
        self.node
            .command("bash")
            .args(["-euc", script, "locks", &self.path()])
            .output()
            .ok()
            .stdout
    }

    /// A server in the node's own network that echoes, with its state in this file of the node.
    fn server(&self, state: &str) -> Job<'node> {
        let program = self.node.install("workload");
        self.node
            .command(program)
            .args([
                "tcp-server",
                "--listen",
                &format!("{}:7001", self.outside),
                "--state",
                state,
            ])
            .timeout(std::time::Duration::MAX)
            .spawn()
    }
}

impl Drop for Net<'_> {
    fn drop(&mut self) {
        let _ = self.node.run(&["ip", "netns", "delete", &self.name]);
    }
}

fn a_container_in_an_external_network_namespace_comes_back(program: Program) {
    let node = Node::shared();
    let net = Net::new(node);
    let mut container = Shape::new(node, format!("in-{}", net.name))
        .namespace("network", &net.path())
        .workload(&["count"])
        .start();
    there_and_back(&mut container, program, &[], &[]);
    let of = |path: &str| node.run(&["stat", "-Lc", "%i", path]).ok().stdout;
    assert_eq!(
        of(&format!("/proc/{}/ns/net", container.pid())),
        of(&net.path())
    );
    assert_eq!(net.locks(), "", "the restore lifts the lock of its dump");
    if program == Program::Ours {
        let before = seen(&container, STATE);
        dump(&container, program, &["--network-lock", "iptables"]);
        assert!(net.locks().contains("CRIU"), "there is something to lock");
        restore(&mut container, &[]);
        dump(&container, program, &["--network-lock", "skip"]);
        assert_eq!(net.locks(), "", "nothing was to be locked");
        restore(&mut container, &[]);
        goes_on(&container, STATE, &before);
        let subject = Subject {
            program,
            runtime: Runtime::Runc,
        };
        subject.shown("network-lock skip");
    }
}

/// Waits until both ends have exchanged more messages, none of them wrong or lost.
fn talks_on(container: &Container<'_>, server: &std::path::Path) {
    let count = container.published(STATE).number("messages");
    let client = container.published_when(STATE, |state| state.number("messages") > count + 5);
    let server = State::read_when(server, |state| state.number("messages") > count + 5);
    for end in [client, server] {
        assert_eq!(
            (end.number("broken"), end.number("mismatches")),
            (0, 0),
            "{end:?}"
        );
    }
}

fn a_live_connection_survives_dump_and_restore(subject: Subject) {
    let (node, program) = (Node::shared(), subject.program);
    let net = Net::new(node);
    let state = format!("/run/rig/{}-server", net.name);
    let server = net.server(&state);
    let state = node.path(&state);
    let _ = State::read_when(&state, |state| state.number("ticks") > 0);
    let mut container = subject
        .shape("talks")
        .namespace("network", &net.path())
        .workload(&["tcp-client", "--connect", &format!("{}:7001", net.outside)])
        .start();
    seen(&container, STATE);
    talks_on(&container, &state);
    refused(&container, program, &[], "tcp-established");
    talks_on(&container, &state);
    assert_eq!(net.locks(), "", "a refused dump leaves no lock");

    let locks: &[&[&str]] = match (program, subject.runtime) {
        (Program::Ours, Runtime::Runc) => &[
            &[],
            &["--network-lock", "iptables"],
            &["--network-lock", "nftables"],
            &["--network-lock", "auto"],
        ],
        _ => &[&[]],
    };
    for lock in locks {
        let established = [&["--tcp-established"], *lock].concat();
        let staying = [&["--leave-running"], established.as_slice()].concat();
        dump(&container, program, &staying);
        assert_eq!(
            net.locks(),
            "",
            "{lock:?} left by a dump that leaves the container running"
        );
        talks_on(&container, &state);
        let before = seen(&container, STATE);
        dump(&container, program, &established);
        assert!(
            net.locks().contains("CRIU"),
            "{lock:?}: the restore is to lift the lock"
        );
        restore(&mut container, &["--tcp-established"]);
        assert_eq!(net.locks(), "", "{lock:?} left after the restore");
        goes_on(&container, STATE, &before);
        talks_on(&container, &state);
    }
    subject.shown("tcp-established");
    if locks.len() > 1 {
        subject.shown("network-lock iptables");
        subject.shown("network-lock nftables");
    }
    drop(container);
    server.kill(Signal::SIGKILL, true);
    let _ = server.output();
}

fn a_connection_inside_the_container_comes_back(program: Program) {
    let node = Node::shared();
    // CRIU brings back no device of a network namespace that it is told to leave empty, not even the loopback.
    let net = Net::new(node);
    let script = "/out/workload tcp-server --listen 127.0.0.1:7001 --state /out/server & \
                  while :; do sleep 0.1; /out/workload tcp-client --connect 127.0.0.1:7001 --state /out/state && exit; done";
    let mut container = Shape::new(node, node.unique("inside"))
        .namespace("network", &net.path())
        .script(script)
        .with_workload()
        .start();
    let server = seen(&container, "/out/server");
    seen(&container, STATE);
    there_and_back(
        &mut container,
        program,
        &["--tcp-established"],
        &["--tcp-established"],
    );
    goes_on(&container, "/out/server", &server);
    talks_on(&container, &container.file("/out/server"));
}

fn a_half_open_connection_is_left_out(subject: Subject) {
    let (node, program) = (Node::shared(), subject.program);
    let net = Net::new(node);
    let mut container = subject
        .shape("half-open")
        .namespace("network", &net.path())
        .workload(&["half-open"])
        .start();
    seen(&container, STATE);
    let name = &net.name;
    let waits = node
        .command("bash")
        .args([
            "-c",
            &format!(
                "exec 5<>/dev/tcp/{}/7002; echo up >/run/rig/{name}-up; exec sleep 1000",
                net.inside
            ),
        ])
        .spawn();
    node.shell(&format!(
        "for n in $(seq 500); do [ ! -e /run/rig/{name}-up ] || exit 0; sleep 0.02; done; exit 1"
    ))
    .ok();
    refused(&container, program, &["--tcp-established"], "in-flight");
    let flags = ["--tcp-established", "--tcp-skip-in-flight"];
    there_and_back(&mut container, program, &flags, &["--tcp-established"]);
    subject.shown("tcp-skip-in-flight");
    drop(container);
    waits.kill(Signal::SIGKILL, true);
    let _ = waits.output();
}

/// A receiver of datagrams that keeps the last one in a file, never half of it: socket, file.
const RECEIVER: &str = "use Socket; socket(my $s, PF_UNIX, SOCK_DGRAM, 0) or die; bind($s, sockaddr_un($ARGV[0])) or die; \
    while (defined(recv($s, my $m, 512, 0))) { open(my $f, '>', \"$ARGV[1].new\"); print $f $m; close $f; rename(\"$ARGV[1].new\", $ARGV[1]) }";

/// The peer is another process in the same network namespace, as in a pod: CRIU knows no other sockets. It is found
/// again by the path that the peer itself used.
fn a_datagram_socket_with_a_peer_outside_comes_back(subject: Subject) {
    let (node, program) = (Node::shared(), subject.program);
    let net = Net::new(node);
    let folder = format!("/run/rig/{}-peers", net.name);
    node.run(&["mkdir", &folder]).ok();
    let socket = format!("{folder}/peer");
    let heard = format!("{folder}/heard");
    let namespace = format!("--net={}", net.path());
    let receiver = node
        .command("nsenter")
        .args([&namespace, "perl", "-e", RECEIVER, &socket, &heard])
        .spawn();
    node.shell(&format!(
        "for n in $(seq 500); do [ ! -S {socket} ] || exit 0; sleep 0.02; done; exit 1"
    ))
    .ok();
    let mut container = subject
        .shape("datagrams")
        .namespace("network", &net.path())
        .bind(&folder, &folder, &[])
        .workload(&["unix-dgram", "--peer", &socket])
        .start();
    refused(&container, program, &[], "ext-unix-sk");
    let before = seen(&container, STATE);
    dump(&container, program, &["--ext-unix-sk"]);
    node.run(&["rm", &heard]).ok();
    restore(&mut container, &["--ext-unix-sk"]);
    goes_on(&container, STATE, &before);
    let script = format!(
        "for n in $(seq 500); do [ ! -s {heard} ] || exec cat {heard}; sleep 0.02; done; exit 1"
    );
    let message = node.shell(&script).ok().stdout;
    assert!(
        message.contains(&before.0),
        "{message} is not of {before:?}"
    );
    subject.shown("ext-unix-sk");
    receiver.kill(Signal::SIGKILL, true);
    let _ = receiver.output();
}
