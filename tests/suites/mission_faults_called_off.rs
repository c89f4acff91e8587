//! A dump is called off half-way: its object is deleted or ended by others, or its time is up. The container goes on.

use rig::cluster::Manifest;
use rig::gate::NOTIFICATIONS;
use rig::stage::Stage;
use rig::witness::{Witness, must_be_gone, talking};
use serde_json::json;

#[test]
#[ignore = "needs the node root: run make test"]
fn a_dump_is_called_off_at_any_notification_when_its_object_is_deleted() {
    let stage = Stage::enter();
    let witness = Witness::start(stage.cluster, &talking("withdrawn"));
    for at in NOTIFICATIONS {
        let gate = stage.gate(at, "hold");
        let name = format!("withdrawn-at-{at}");
        let spec = json!({
            "source": {"podName": "withdrawn"},
            "options": {"tcpEstablished": true},
        });
        let checkpoint = stage.mission.checkpoint(&name, &spec);
        let _ = gate.held();
        checkpoint.begin_delete();
        stage.wait_until_called_off(&checkpoint);
        gate.release();
        checkpoint.wait("delete");
        must_be_gone(stage.node, &name);
        witness.must_be_unharmed(&name);
    }
    witness.pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_status_that_somebody_else_makes_final_during_a_dump_stays_and_the_image_goes() {
    let stage = Stage::enter();
    let witness = Witness::start(stage.cluster, &Manifest::new("forged"));
    // Before CRIU lets go it can be stopped; after, the image is complete and comes too late.
    for at in ["query-ext-files", "network-unlock"] {
        let gate = stage.gate(at, "hold");
        let name = format!("final-at-{at}");
        let checkpoint = stage.mission.checkpoint_of(&name, "forged");
        let _ = gate.held();
        let condition = |kind: &str, status: &str| {
            json!({
                "type": kind, "status": status, "reason": "TimedOut", "message": "said by a test",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        // Nobody but the two programs may write it: a taken operator may.
        let status = json!({
            "completionTime": "2026-01-01T00:00:00Z",
            "failure": {"reason": "TimedOut", "message": "said by a test"},
            "conditions": [
                condition("Complete", "True"), condition("Ready", "False"),
                condition("Reconciling", "False"), condition("Stalled", "True"),
            ],
        });
        checkpoint.patch_status_with(&stage.operator_token(), &status);
        stage.wait_until_called_off(&checkpoint);
        gate.release();
        witness.must_be_unharmed(&name);
        stage.must_have_no_image(&name);
        assert_eq!(checkpoint.wait_failed("TimedOut"), "said by a test");
        checkpoint.delete();
        must_be_gone(stage.node, &name);
    }
    witness.pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_dump_that_is_out_of_time_is_rolled_back() {
    let stage = Stage::enter();
    let witness = Witness::start(stage.cluster, &talking("late"));
    for at in ["pre-dump", "query-ext-files", "post-dump"] {
        let gate = stage.gate(at, "hold");
        let name = format!("late-at-{at}");
        let spec = json!({
            "source": {"podName": "late"},
            "options": {"tcpEstablished": true},
            "timeoutSeconds": 4,
        });
        let checkpoint = stage.mission.checkpoint(&name, &spec);
        let _ = gate.held();
        // CRIU does not give way, and is killed.
        let message = checkpoint.wait_failed("TimedOut");
        gate.release();
        assert!(!message.is_empty());
        stage.must_have_no_image(&name);
        witness.must_be_unharmed(&name);
        checkpoint.delete();
        must_be_gone(stage.node, &name);
    }
    witness.pod.delete();
}
