//! The agent of a node is killed in the middle of a dump: the next one tells, and nothing is left. What waited is served.

use nix::sys::signal::Signal;
use rig::cluster::Manifest;
use rig::gate::NOTIFICATIONS;
use rig::stage::{NODE, Stage};
use rig::witness::{Witness, must_be_gone, talking};
use serde_json::{Value, json};

fn killed_everywhere(stage: &Stage, witness: &Witness<'_>, act: &str, options: &Value) {
    for at in NOTIFICATIONS {
        stage.mission.keep_down(NODE);
        let gate = stage.gate(at, act);
        let name = format!("{act}-at-{at}");
        let spec = json!({"source": {"podName": witness.pod.name()}, "options": options});
        let checkpoint = stage.mission.checkpoint(&name, &spec);
        gate.wait_until_acted();
        assert_eq!(
            stage.mission.agent_ended(NODE),
            128 + Signal::SIGKILL as i32
        );
        if act == "kill-caller" {
            // Its guardian puts things right while no agent is there.
            witness.must_go_on(&name);
        }
        stage.start_agent();
        let message = checkpoint.wait_failed("AgentRestarted");
        assert!(message.contains("goes on"), "{message}");
        stage.must_have_no_image(&name);
        checkpoint.delete();
        must_be_gone(stage.node, &name);
        witness.must_be_unharmed(&name);
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_agent_killed_at_any_notification_is_told_of_by_the_next_and_leaves_no_harm() {
    let stage = Stage::enter();
    let witness = Witness::start(stage.cluster, &talking("killed"));
    let options = json!({"tcpEstablished": true});
    killed_everywhere(&stage, &witness, "kill-caller", &options);
    witness.pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_agent_killed_with_criu_and_its_guardian_at_any_notification_is_repaired_after_by_the_next() {
    let stage = Stage::enter();
    // Without connections: those that CRIU stood still do not outlive its being killed.
    let witness = Witness::start(stage.cluster, &Manifest::new("killed-all"));
    let options = json!({"networkLock": "Nftables"});
    killed_everywhere(&stage, &witness, "kill-all", &options);
    witness.pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn what_waited_for_an_agent_that_was_killed_is_served_by_the_next() {
    let stage = Stage::enter();
    let witness = Witness::start(stage.cluster, &Manifest::new("crowded"));
    let gate = stage.gate("query-ext-files", "hold");
    let first = stage.mission.checkpoint_of("begun", "crowded");
    let _ = gate.held();
    let second = stage.mission.checkpoint_of("queued", "crowded");
    second.wait_while("Queued");
    assert_eq!(
        stage.mission.end_agent(NODE, Signal::SIGKILL),
        128 + Signal::SIGKILL as i32
    );
    gate.release();
    stage.start_agent();
    first.wait_failed("AgentRestarted");
    let status = second.wait_ready();
    assert_eq!(status["attempts"], 1, "{status:#}");
    assert_eq!((stage.dumps("begun"), stage.dumps("queued")), (0, 1));
    for checkpoint in [first, second] {
        checkpoint.delete();
        must_be_gone(stage.node, checkpoint.name());
    }
    witness.must_be_unharmed("an agent that was killed with a queue");
    witness.pod.delete();
}
