//! What goes wrong between two nodes, brought about for real: the checkpoint fails for the right reason, the container counts on,
//! and nothing is left on either node.

use nix::sys::signal::Signal;
use rig::Checkpoint;
use rig::witness::{Witness, must_be_gone};
use serde_json::{Value, json};

use crate::stage::{KEYS, PAGES, Receiver, Stage, keys};

/// What has arrived when a link breaks: some of the memory, and not all.
const BREAKS_AFTER: &str = "8 mbytes";

/// A link to the receiver's node that breaks in the middle. Mended when dropped.
pub(crate) struct BrokenLink<'a>(&'a Stage);

impl<'a> BrokenLink<'a> {
    /// What comes to this port is dropped, or `reject with tcp reset`, once so much has come.
    pub(crate) fn set(stage: &'a Stage, port: u64, verdict: &str) -> Self {
        let rules = format!(
            "nft add table inet cut
             nft 'add chain inet cut in {{ type filter hook input priority -300; }}'
             nft 'add rule inet cut in tcp dport {port} quota over {BREAKS_AFTER} counter {verdict}'"
        );
        stage.receiver().shell(&rules).ok();
        Self(stage)
    }

    /// Waits until it has broken.
    pub(crate) fn must_break(&self) {
        let broken = "for n in $(seq 1000); do ! nft list table inet cut | grep -q 'packets [1-9]' || exit 0; sleep 0.02; done; exit 1";
        self.0.receiver().shell(broken).ok();
    }
}

impl Drop for BrokenLink<'_> {
    fn drop(&mut self) {
        let _ = self.0.receiver().shell("nft delete table inet cut");
    }
}

/// Asks for a checkpoint whose memory goes to this server.
fn ask(
    stage: &Stage,
    witness: &Witness<'_>,
    name: &str,
    server: &Value,
    more: &Value,
) -> Checkpoint<'static> {
    let mut options = json!({"pageServer": server});
    if let (Some(options), Some(more)) = (options.as_object_mut(), more.as_object()) {
        options.extend(more.clone());
    }
    let spec = json!({"source": {"podName": witness.pod.name()}, "options": options});
    stage.mission.checkpoint(name, &spec)
}

/// Fails unless the checkpoint fails for this reason, and the container is none the worse. What the checkpoint says comes back.
fn fails(
    stage: &Stage,
    witness: &Witness<'_>,
    checkpoint: &Checkpoint<'_>,
    reason: &str,
) -> String {
    let name = checkpoint.name();
    let message = checkpoint.wait_failed(reason);
    println!("{name}: {message}");
    checkpoint.delete();
    must_be_gone(stage.cluster.node(0), name);
    witness.must_be_unharmed(name);
    message
}

/// The receiver's disk is full when a part has come.
fn disk_full(stage: &Stage, witness: &Witness<'_>) {
    let small = format!("{PAGES}/small");
    stage
        .receiver()
        .shell(&format!(
            "mkdir {small}; mount -t tmpfs -o size=8m,mode=700 none {small}"
        ))
        .ok();
    let receiver = Receiver::with_keys(stage, &format!("{small}/full"), &[]);
    let full = ask(
        stage,
        witness,
        "disk-full",
        &receiver.asked(true),
        &json!({}),
    );
    fails(stage, witness, &full, "PageServerUnreachable");
    let failure = receiver.failed();
    assert_eq!(failure["reason"], "DiskFull", "{failure}");
    stage
        .receiver()
        .shell(&format!(
            "[ -z \"$(ls -A {small})\" ]; umount {small}; rmdir {small}"
        ))
        .ok();
    stage.receiver_must_be_clean("disk-full");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn whatever_breaks_on_the_way_the_container_goes_on() {
    let stage = Stage::enter();
    let witness = stage.witness("sends");
    let folder = format!("{PAGES}/broken");
    let bound = json!({"maxPauseSeconds": 4});
    let none = json!({});

    // The receiver is killed when a part has come, and nobody is there to publish anything.
    let mut receiver = Receiver::with_keys(&stage, &folder, &[]);
    let link = BrokenLink::set(&stage, receiver.port, "drop");
    let killed = ask(
        &stage,
        &witness,
        "server-killed",
        &receiver.asked(true),
        &json!({"maxPauseSeconds": 30}),
    );
    link.must_break();
    receiver
        .daemon
        .kill(stage.receiver(), Signal::SIGKILL, false);
    assert_eq!(receiver.daemon.wait(rig::node::PATIENCE), Some(137));
    // What is sent now is answered by nobody.
    drop(link);
    fails(&stage, &witness, &killed, "PageServerUnreachable");
    stage.forget_pages();
    stage.receiver_must_be_clean("server-killed");

    for (name, verdict, reason, options) in [
        ("link-cut", "drop", "PauseTooLong", &bound),
        (
            "link-reset",
            "reject with tcp reset",
            "PageServerUnreachable",
            &none,
        ),
    ] {
        let receiver = Receiver::with_keys(&stage, &folder, &[]);
        let link = BrokenLink::set(&stage, receiver.port, verdict);
        let checkpoint = ask(&stage, &witness, name, &receiver.asked(true), options);
        fails(&stage, &witness, &checkpoint, reason);
        drop(link);
        let failure = receiver.failed();
        assert_eq!(failure["reason"], "TransferBroken", "{name}: {failure}");
        stage.receiver_must_be_clean(name);
    }

    disk_full(&stage, &witness);
    witness.pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_wrong_port_and_wrong_certificates_are_found_out_before_anything_is_sent() {
    let stage = Stage::enter();
    let witness = stage.witness("trusts");
    let folder = format!("{PAGES}/trusts");
    let none = json!({});

    let mut receiver = Receiver::with_keys(&stage, &folder, &[]);
    let mut server = receiver.asked(true);
    server["port"] = json!(1);
    // CRIU tries for longer than the container may stand still, and that goes on meanwhile.
    let hasty = json!({"maxPauseSeconds": 1});
    let wrong = ask(&stage, &witness, "wrong-port", &server, &hasty);
    let told = fails(&stage, &witness, &wrong, "PageServerUnreachable");
    assert!(!told.contains("stood still"), "{told}");
    // In the clear to one that wants to see a certificate.
    let clear = ask(
        &stage,
        &witness,
        "in-the-clear",
        &receiver.asked(false),
        &json!({"maxPauseSeconds": 10}),
    );
    fails(&stage, &witness, &clear, "PageServerTlsFailed");
    assert!(!receiver.daemon.has_ended(), "{}", receiver.daemon.log());
    receiver
        .daemon
        .kill(stage.receiver(), Signal::SIGTERM, false);
    assert_eq!(receiver.failed()["reason"], "Cancelled");

    // Another authority's, and one that names another address.
    for (name, folder_of_keys, node) in [
        ("wrong-authority", format!("{KEYS}/other"), "node-b"),
        ("wrong-address", KEYS.to_owned(), "node-a"),
    ] {
        let keys = keys(&folder_of_keys, node);
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let receiver = Receiver::start(&stage, &folder, &keys);
        let checkpoint = ask(&stage, &witness, name, &receiver.asked(true), &none);
        fails(&stage, &witness, &checkpoint, "PageServerTlsFailed");
        receiver
            .daemon
            .kill(stage.receiver(), Signal::SIGTERM, false);
        assert_eq!(receiver.failed()["reason"], "Cancelled", "{name}");
        stage.receiver_must_be_clean(name);
    }
    witness.pod.delete();
}
