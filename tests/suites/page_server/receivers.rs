//! Receivers as objects: a checkpoint names one, both halves are told, brought back and removed; and what goes wrong.

use nix::sys::signal::Signal;
use rig::cluster::Manifest;
use rig::mission::{Condition, condition_of, files};
use rig::witness::must_be_gone;
use serde_json::{Value, json};

use crate::by_hand::{PRINT, digest_of, must_have_come_back, printed, restore};
use crate::faults::BrokenLink;
use crate::stage::Stage;

/// A receiver that was asked for.
struct Asked<'a> {
    stage: &'a Stage,
    name: &'static str,
}

impl<'a> Asked<'a> {
    fn apply(stage: &'a Stage, name: &'static str, spec: &Value) -> Self {
        let object = json!({
            "apiVersion": "stillframe.dev/v1alpha1", "kind": "PageReceiver",
            "metadata": {"name": name}, "spec": spec,
        });
        stage.cluster.apply(&object.to_string());
        Self { stage, name }
    }

    fn object(&self) -> String {
        format!("pagereceiver/{}", self.name)
    }

    fn status(&self) -> Value {
        let text = self
            .stage
            .cluster
            .kubectl(&["get", &self.object(), "--output=json"]);
        let mut object: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
        object["status"].take()
    }

    fn condition(&self, kind: &str) -> Condition {
        condition_of(&self.status(), kind)
    }

    fn wait(&self, condition: &str) {
        self.stage.cluster.wait(&self.object(), condition);
    }

    fn wait_failed(&self, reasons: &[&str]) {
        self.wait("condition=Complete");
        let status = self.status();
        let reason = status["failure"]["reason"].as_str().unwrap_or_default();
        assert!(reasons.contains(&reason), "{status:#}");
        assert_eq!(
            condition_of(&status, "Stalled").status,
            "True",
            "{status:#}"
        );
        assert_ne!(
            condition_of(&status, "Listening").status,
            "True",
            "{status:#}"
        );
    }

    fn begin_delete(&self) {
        self.stage
            .cluster
            .kubectl(&["delete", &self.object(), "--wait=false"]);
    }

    fn delete(&self) {
        self.stage
            .cluster
            .kubectl(&["delete", &self.object(), "--timeout=50s"]);
    }

    fn exists(&self) -> bool {
        let args = ["get", &self.object(), "--ignore-not-found", "--output=name"];
        !self.stage.cluster.kubectl(&args).is_empty()
    }
}

/// The options of a checkpoint whose memory goes to this receiver.
fn to(receiver: &str, more: &Value) -> Value {
    let mut options = json!({"pageServer": {"receiverRef": {"name": receiver}}});
    if let (Some(options), Some(more)) = (options.as_object_mut(), more.as_object()) {
        options.extend(more.clone());
    }
    options
}

#[test]
#[ignore = "needs the node root: run make test"]
fn both_halves_are_told_come_back_together_and_go_together() {
    let stage = Stage::enter();
    let pod = stage.cluster.run(
        &Manifest::empty("received")
            .script("app", PRINT)
            .on("node-a"),
    );
    let spec = json!({"source": {"podName": "received"}, "options": to("pages", &json!({}))});
    // The checkpoint first: it waits for its receiver.
    let before = printed(&pod);
    let checkpoint = stage.mission.checkpoint("received", &spec);
    checkpoint.wait_while("WaitingForReceiver");
    let receiver = Asked::apply(&stage, "pages", &json!({}));
    let status = checkpoint.wait_ready();
    let after = printed(&pod);
    let parts = &status["artifact"]["parts"];
    assert_eq!(parts.as_array().map(Vec::len), Some(2), "{status:#}");
    assert_eq!(
        (&parts[0]["node"], &parts[1]["node"]),
        (&json!("node-a"), &json!("node-b"))
    );
    let told = receiver.status();
    assert_eq!(condition_of(&told, "Ready").reason, "Received", "{told:#}");
    let folder = parts[1]["path"].as_str().expect("a path");
    for field in ["path", "sizeBytes", "digest"] {
        assert_eq!(parts[1][field], told[field], "{field}");
    }
    assert_eq!(
        parts[1]["digest"],
        format!("sha256:{}", digest_of(&stage, folder))
    );
    let there = files(stage.receiver(), folder);
    let image = checkpoint.image();
    let output = restore(&stage, &pod, &image, folder, &there);
    must_have_come_back(&output, before, after);

    // It stays as long as the checkpoint does, and goes with that.
    receiver.begin_delete();
    receiver.wait(
        "jsonpath={.status.conditions[?(@.type==\"ImageRemoved\")].reason}=CheckpointDepends",
    );
    assert_eq!(files(stage.receiver(), folder), there);
    checkpoint.delete();
    assert!(!receiver.exists());
    assert_eq!(files(stage.receiver(), folder), [""; 0]);
    assert_eq!(files(stage.cluster.node(0), &image), [""; 0]);

    // One that ends its container waits for the other half with the container standing still.
    let receiver = Asked::apply(&stage, "last", &json!({"nodeName": "node-b"}));
    let options = to("last", &json!({"leaveRunning": false}));
    let spec = json!({"source": {"podName": "received"}, "options": options});
    let ends = stage.mission.checkpoint("ends", &spec);
    let status = ends.wait_ready();
    assert_eq!(
        status["artifact"]["parts"][1]["node"], "node-b",
        "{status:#}"
    );
    ends.delete();
    assert!(!receiver.exists());
    pod.delete();
    stage.receiver_must_be_clean("received");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_receiver_that_comes_to_nothing_fails_its_checkpoint_and_no_container() {
    let stage = Stage::enter();
    let witness = stage.witness("asks");
    let ask = |name: &str, receiver: &str| {
        let spec = json!({"source": {"podName": "asks"}, "options": to(receiver, &json!({}))});
        stage.mission.checkpoint(name, &spec)
    };

    let broken = Asked::apply(&stage, "breaks", &json!({"nodeName": "node-b"}));
    broken.wait("condition=Listening");
    let port = broken.status()["port"].as_u64().expect("a port");
    let link = BrokenLink::set(&stage, port, "reject with tcp reset");
    let checkpoint = ask("link-breaks", "breaks");
    checkpoint.wait_failed("PageServerUnreachable");
    drop(link);
    broken.wait_failed(&["TransferBroken", "CheckpointFailed"]);
    // It was that one's, and has ended.
    let second = ask("second", "breaks");
    second.wait_failed("ReceiverTaken");
    witness.must_go_on("link-breaks");
    for checkpoint in [checkpoint, second] {
        checkpoint.delete();
        must_be_gone(stage.cluster.node(0), checkpoint.name());
    }
    assert!(!broken.exists(), "it goes with its checkpoint");

    let unused = Asked::apply(
        &stage,
        "unused",
        &json!({"nodeName": "node-b", "timeoutSeconds": 3}),
    );
    unused.wait_failed(&["NobodyCame"]);
    let late = ask("late", "unused");
    late.wait_failed("ReceiverNotReady");
    late.delete();
    unused.delete();

    // Nobody listens for a checkpoint that was called off.
    let left = Asked::apply(&stage, "left", &json!({"nodeName": "node-b"}));
    left.wait("condition=Listening");
    assert_eq!(left.condition("Listening").reason, "Listening");
    left.delete();
    witness.must_be_unharmed("receivers");
    witness.pod.delete();
    stage.receiver_must_be_clean("receivers");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_receiving_agent_that_is_killed_half_way_fails_the_checkpoint_and_leaves_nothing() {
    let stage = Stage::enter();
    let witness = stage.witness("orphaned");
    let receiver = Asked::apply(&stage, "orphan", &json!({"nodeName": "node-b"}));
    receiver.wait("condition=Listening");
    let port = receiver.status()["port"].as_u64().expect("a port");
    let link = BrokenLink::set(&stage, port, "drop");
    let options = to("orphan", &json!({"maxPauseSeconds": 30}));
    let spec = json!({"source": {"podName": "orphaned"}, "options": options});
    let checkpoint = stage.mission.checkpoint("agent-killed", &spec);
    link.must_break();
    let status = stage.mission.end_agent("node-b", Signal::SIGKILL);
    assert_eq!(status, 128 + Signal::SIGKILL as i32);
    drop(link);
    // The warden ends CRIU's page server, so that the sender hears of it at once, with no agent there.
    checkpoint.wait_failed("PageServerUnreachable");
    witness.must_go_on("a receiving agent that was killed");
    stage.mission.start_agent("node-b");
    receiver.wait_failed(&["AgentRestarted", "CheckpointFailed"]);
    checkpoint.delete();
    must_be_gone(stage.cluster.node(0), checkpoint.name());
    assert!(!receiver.exists(), "it goes with its checkpoint");
    witness.must_be_unharmed("a receiving agent that was killed");
    witness.pod.delete();
    stage.receiver_must_be_clean("agent-killed");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_page_server_is_an_address_and_a_port_or_a_receiver() {
    let stage = Stage::enter();
    let receiver = json!({"name": "pages"});
    for (server, says) in [
        (json!({}), "use either address and port, or receiverRef"),
        (
            json!({"address": "10.90.0.2"}),
            "use either address and port, or receiverRef",
        ),
        (
            json!({"port": 1}),
            "use either address and port, or receiverRef",
        ),
        (
            json!({"address": "10.90.0.2", "port": 1, "receiverRef": receiver}),
            "use either address and port, or receiverRef",
        ),
        (
            json!({"receiverRef": receiver, "tls": false}),
            "tls is for the receiver to say",
        ),
    ] {
        let object = json!({
            "apiVersion": "stillframe.dev/v1alpha1", "kind": "ContainerCheckpoint",
            "metadata": {"name": "wrong"},
            "spec": {"source": {"podName": "any"}, "options": {"pageServer": server}},
        });
        let output = stage.cluster.try_apply(&object.to_string());
        assert!(
            !output.succeeded() && output.stderr.contains(says),
            "{server}: {output:#?}"
        );
    }
    let kept = Asked::apply(&stage, "kept", &json!({"nodeName": "node-x"}));
    let change = [
        "patch",
        &kept.object(),
        "--type=merge",
        "--patch",
        r#"{"spec": {"tls": false}}"#,
    ];
    let output = stage.cluster.try_kubectl(&change);
    assert!(
        output.stderr.contains("the spec is immutable"),
        "{output:#?}"
    );
    let change = [
        "patch",
        &kept.object(),
        "--type=merge",
        "--patch",
        r#"{"spec": {"deletionPolicy": "Retain"}}"#,
    ];
    stage.cluster.kubectl(&change);
    kept.wait("jsonpath={.status.conditions[?(@.type==\"Reconciling\")].reason}=WaitingForAgent");
    kept.delete();
}
