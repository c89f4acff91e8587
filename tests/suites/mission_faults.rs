//! What goes wrong in the middle of a dump that an object asked for: the agent is killed, told to end, or out of time, the object
//! is deleted or ended by others, the pod goes. The container goes on, and nothing is left in the node.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rig::cluster::{Cluster, Manifest, Options};
use rig::gate::NOTIFICATIONS;
use rig::mission::{Checkpoint, Mission};
use rig::node::PATIENCE;
use rig::witness::{Witness, kept, must_be_gone, talking};
use rig::{Gate, Node};
use serde_json::{Value, json};

const NODE: &str = "node-a";

/// The one node and its agent, for one test at a time: each ends the agent, or has something happen to its next dump.
struct Stage {
    mission: &'static Mission<'static>,
    node: &'static Node,
    _alone: MutexGuard<'static, ()>,
}

fn stage() -> Stage {
    static ALONE: Mutex<()> = Mutex::new(());
    static MISSION: OnceLock<Mission<'static>> = OnceLock::new();
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mission = MISSION.get_or_init(|| {
        let cluster = Cluster::shared();
        let agent = Gate::options(cluster.node(0));
        Mission::start_with(cluster, &Options::default(), &agent)
    });
    Stage {
        mission,
        node: Cluster::shared().node(0),
        _alone: alone,
    }
}

impl Stage {
    fn start_agent(&self) {
        self.mission.start_agent(NODE, &Gate::options(self.node));
    }

    /// Waits until the agents of the node have said this.
    fn wait_for_log(&self, what: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.mission.agent_log(NODE).contains(what) {
            assert!(
                Instant::now() < until,
                "the agent never says {what:?}:\n{}",
                self.mission.agent_log(NODE)
            );
            sleep(Duration::from_millis(20));
        }
    }

    fn wait_until_called_off(&self, checkpoint: &Checkpoint<'_>) {
        let name = checkpoint.name();
        self.wait_for_log(&format!("calling it off object=\"default/{name}\""));
    }
}

/// Fails unless nothing of an image is there. Its log may be, and whose it was.
fn must_have_no_image(node: &Node, name: &str) {
    let left = kept(node, name);
    let harmless = |file: &String| file.ends_with(".work") || file.ends_with(".owner");
    assert!(left.iter().all(harmless), "{name}: {left:?}");
}

fn killed_everywhere(stage: &Stage, witness: &Witness<'_>, act: &str, options: &Value) {
    for at in NOTIFICATIONS {
        let gate = Gate::set(stage.node, at, act);
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
        must_have_no_image(stage.node, &name);
        checkpoint.delete();
        must_be_gone(stage.node, &name);
        witness.must_be_unharmed(&name);
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_agent_killed_at_any_notification_is_told_of_by_the_next_and_leaves_no_harm() {
    let stage = stage();
    let witness = Witness::start(stage.mission.cluster(), &talking("killed"));
    let options = json!({"tcpEstablished": true});
    killed_everywhere(&stage, &witness, "kill-caller", &options);
    witness.pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_agent_killed_with_criu_and_its_guardian_at_any_notification_is_repaired_after_by_the_next() {
    let stage = stage();
    // Without connections: those that CRIU stood still do not outlive its being killed.
    let witness = Witness::start(stage.mission.cluster(), &Manifest::new("killed-all"));
    let options = json!({"networkLock": "Nftables"});
    killed_everywhere(&stage, &witness, "kill-all", &options);
    witness.pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_dump_is_called_off_at_any_notification_when_its_object_is_deleted() {
    let stage = stage();
    let witness = Witness::start(stage.mission.cluster(), &talking("withdrawn"));
    for at in NOTIFICATIONS {
        let gate = Gate::set(stage.node, at, "hold");
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
    let stage = stage();
    let witness = Witness::start(stage.mission.cluster(), &Manifest::new("forged"));
    // Before CRIU lets go it can be stopped; after, the image is complete and comes too late.
    for at in ["query-ext-files", "network-unlock"] {
        let gate = Gate::set(stage.node, at, "hold");
        let name = format!("final-at-{at}");
        let checkpoint = stage.mission.checkpoint_of(&name, "forged");
        let _ = gate.held();
        let condition = |kind: &str, status: &str| {
            json!({
                "type": kind, "status": status, "reason": "TimedOut", "message": "said by a test",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        let status = json!({"status": {
            "completionTime": "2026-01-01T00:00:00Z",
            "failure": {"reason": "TimedOut", "message": "said by a test"},
            "conditions": [
                condition("Complete", "True"), condition("Ready", "False"),
                condition("Reconciling", "False"), condition("Stalled", "True"),
            ],
        }});
        stage.mission.cluster().kubectl(&[
            "patch",
            &checkpoint.to_string(),
            "--subresource=status",
            "--type=merge",
            "--patch",
            &status.to_string(),
        ]);
        stage.wait_until_called_off(&checkpoint);
        gate.release();
        witness.must_be_unharmed(&name);
        let until = Instant::now() + PATIENCE;
        while kept(stage.node, &name)
            .iter()
            .any(|file| !file.ends_with(".work") && !file.ends_with(".owner"))
        {
            assert!(Instant::now() < until, "{:?}", kept(stage.node, &name));
            sleep(Duration::from_millis(50));
        }
        assert_eq!(checkpoint.wait_failed("TimedOut"), "said by a test");
        checkpoint.delete();
        must_be_gone(stage.node, &name);
    }
    witness.pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_dump_that_is_out_of_time_is_rolled_back() {
    let stage = stage();
    let witness = Witness::start(stage.mission.cluster(), &talking("late"));
    for at in ["pre-dump", "query-ext-files", "post-dump"] {
        let gate = Gate::set(stage.node, at, "hold");
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
        must_have_no_image(stage.node, &name);
        witness.must_be_unharmed(&name);
        checkpoint.delete();
        must_be_gone(stage.node, &name);
    }
    witness.pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_agent_that_is_told_to_end_finishes_its_dump_or_rolls_it_back() {
    let stage = stage();
    let witness = Witness::start(stage.mission.cluster(), &talking("ending"));
    let spec = json!({"source": {"podName": "ending"}, "options": {"tcpEstablished": true}});
    let gate = Gate::set(stage.node, "post-dump", "hold");
    let finished = stage.mission.checkpoint("finishes", &spec);
    let _ = gate.held();
    stage.mission.signal_agent(NODE, Signal::SIGTERM);
    stage.wait_for_log("phase=Drain");
    let later = stage.mission.checkpoint("later", &spec);
    gate.release();
    assert_eq!(stage.mission.agent_ended(NODE), 0);
    finished.wait_ready();
    assert!(!finished.image_files().is_empty());
    witness.must_go_on("an agent that finishes");

    stage.mission.start_agent(
        NODE,
        &Gate::options(stage.node).arg("--grace-period").arg("100ms"),
    );
    later.wait_ready();
    let gate = Gate::set(stage.node, "query-ext-files", "hold");
    let rolled_back = stage.mission.checkpoint("rolls-back", &spec);
    let _ = gate.held();
    stage.mission.signal_agent(NODE, Signal::SIGTERM);
    stage.wait_for_log("phase=CallOff");
    gate.release();
    assert_eq!(stage.mission.agent_ended(NODE), 0);
    rolled_back.wait_failed("AgentStopping");
    must_have_no_image(stage.node, "rolls-back");
    witness.must_go_on("an agent that rolls back");

    stage.start_agent();
    for checkpoint in [finished, later, rolled_back] {
        checkpoint.delete();
        must_be_gone(stage.node, checkpoint.name());
    }
    witness.must_be_unharmed("an agent that was told to end");
    witness.pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_pod_that_is_deleted_during_its_dump_is_gone_and_the_request_comes_to_an_end() {
    let stage = stage();
    let cluster = stage.mission.cluster();
    let other = Witness::start(cluster, &Manifest::new("stays"));
    for at in ["pre-dump", "query-ext-files", "post-dump"] {
        let pod = cluster.run(&Manifest::new("goes"));
        let _ = pod.count_beyond("app", 3);
        let gate = Gate::set(stage.node, at, "hold");
        let name = format!("pod-gone-at-{at}");
        let checkpoint = stage.mission.checkpoint_of(&name, "goes");
        let _ = gate.held();
        cluster.kubectl(&["delete", "pod", "goes", "--wait=false"]);
        pod.wait("jsonpath={.metadata.deletionTimestamp}");
        gate.release();
        let status = checkpoint.wait_complete();
        pod.wait("delete");
        checkpoint.delete();
        must_be_gone(stage.node, &name);
        other.must_be_unharmed(&format!("{name}: {}", status["failure"]));
    }
    other.pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_disk_that_cannot_hold_an_image_or_is_full_half_way_harms_nobody() {
    let stage = stage();
    let cluster = stage.mission.cluster();
    let witness = Witness::start(cluster, &Manifest::new("large"));
    let gated = || Gate::options(stage.node);
    assert_eq!(stage.mission.end_agent(NODE, Signal::SIGTERM), 0);
    stage
        .mission
        .start_agent(NODE, &gated().arg("--reserve").arg("1000Ti"));
    let checkpoint = stage.mission.checkpoint_of("no-room", "large");
    let message = checkpoint.wait_failed("InsufficientSpace");
    assert!(
        message.contains("1000Ti") || message.contains("stay free"),
        "{message}"
    );
    checkpoint.delete();
    must_be_gone(stage.node, "no-room");
    assert_eq!(stage.mission.end_agent(NODE, Signal::SIGTERM), 0);

    let small = "/var/lib/stillframe/small";
    let mount = format!("mkdir -p {small}; mount -t tmpfs -o size=64m,mode=700 small {small}");
    stage.node.shell(&mount).ok();
    let options = gated()
        .arg("--reserve")
        .arg("0")
        .arg("--image-root")
        .arg(small);
    stage.mission.start_agent(NODE, &options);
    let gate = Gate::set(stage.node, "pre-dump", "hold");
    let checkpoint = stage.mission.checkpoint_of("full", "large");
    let _ = gate.held();
    let fill = format!("! cat /dev/zero >{small}/full 2>/dev/null");
    stage.node.shell(&fill).ok();
    gate.release();
    checkpoint.wait_failed("DiskFull");
    witness.must_go_on("a full disk");
    checkpoint.delete();
    let left = stage
        .node
        .shell(&format!("rm {small}/full; find {small} -mindepth 2"))
        .ok();
    assert_eq!(left.stdout, "");
    assert_eq!(stage.mission.end_agent(NODE, Signal::SIGTERM), 0);
    stage
        .node
        .shell(&format!("umount {small}; rmdir {small}"))
        .ok();
    stage.start_agent();
    let checkpoint = stage.mission.checkpoint_of("room-again", "large");
    checkpoint.wait_ready();
    checkpoint.delete();
    witness.must_be_unharmed("a full disk");
    witness.pod.delete();
}
