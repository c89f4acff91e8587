//! The agent is told to end during a dump, the pod goes, the disk is full: the request comes to its end, and nothing is left in
//! the node.

use nix::sys::signal::Signal;
use rig::cluster::Manifest;
use rig::mission::condition_of;
use rig::stage::{NODE, Stage};
use rig::witness::{Witness, must_be_gone, talking};
use serde_json::json;

#[test]
#[ignore = "needs the node root: run make test"]
fn an_agent_that_is_told_to_end_finishes_its_dump_or_rolls_it_back() {
    let stage = Stage::enter();
    let witness = Witness::start(stage.cluster, &talking("ending"));
    let spec = json!({"source": {"podName": "ending"}, "options": {"tcpEstablished": true}});
    let gate = stage.gate("post-dump", "hold");
    let finished = stage.mission.checkpoint("finishes", &spec);
    let _ = gate.held();
    stage.mission.keep_down(NODE);
    stage.mission.signal_agent(NODE, Signal::SIGTERM);
    stage.wait_for_log("phase=Drain");
    let later = stage.mission.checkpoint("later", &spec);
    gate.release();
    assert_eq!(stage.mission.agent_ended(NODE), 0);
    finished.wait_ready();
    assert!(!finished.image_files().is_empty());
    witness.must_go_on("an agent that finishes");

    let impatient = stage.values().agent_arg("--grace-period=100ms");
    stage.mission.upgrade(&impatient);
    later.wait_ready();
    let gate = stage.gate("query-ext-files", "hold");
    let rolled_back = stage.mission.checkpoint("rolls-back", &spec);
    let _ = gate.held();
    stage.mission.keep_down(NODE);
    stage.mission.signal_agent(NODE, Signal::SIGTERM);
    stage.wait_for_log("phase=CallOff");
    gate.release();
    assert_eq!(stage.mission.agent_ended(NODE), 0);
    rolled_back.wait_failed("AgentStopping");
    stage.must_have_no_image("rolls-back");
    witness.must_go_on("an agent that rolls back");

    stage.mission.upgrade(&stage.values());
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
    let stage = Stage::enter();
    let cluster = stage.cluster;
    let other = Witness::start(cluster, &Manifest::new("stays"));
    for at in ["pre-dump", "query-ext-files", "post-dump"] {
        let pod = cluster.run(&Manifest::new("goes"));
        let _ = pod.count_beyond("app", 3);
        let gate = stage.gate(at, "hold");
        let name = format!("pod-gone-at-{at}");
        let checkpoint = stage.mission.checkpoint_of(&name, "goes");
        let _ = gate.held();
        cluster.kubectl(&["delete", "pod", "goes", "--wait=false"]);
        pod.wait("jsonpath={.metadata.deletionTimestamp}");
        gate.release();
        let status = checkpoint.wait_complete();
        // CRIU may have all it needs by then.
        let reason = condition_of(&status, "Ready").reason;
        let known = ["Checkpointed", "ContainerReplaced", "ContainerEnded"];
        assert!(known.contains(&reason.as_str()), "{name}: {status:#}");
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
    let stage = Stage::enter();
    let cluster = stage.cluster;
    let witness = Witness::start(cluster, &Manifest::new("large"));
    assert_eq!(stage.mission.end_agent(NODE, Signal::SIGTERM), 0);
    let cautious = stage.values().set("agent.reserve", "1000Ti");
    stage.mission.upgrade(&cautious);
    let checkpoint = stage.mission.checkpoint_of("no-room", "large");
    let message = checkpoint.wait_failed("InsufficientSpace");
    assert!(message.contains("stay free"), "{message}");
    checkpoint.delete();
    must_be_gone(stage.node, "no-room");
    assert_eq!(stage.mission.end_agent(NODE, Signal::SIGTERM), 0);

    let small = "/var/lib/stillframe/small";
    let mount = format!("mkdir -p {small}; mount -t tmpfs -o size=64m,mode=700 small {small}");
    stage.node.shell(&mount).ok();
    let careless = stage.values().set("agent.reserve", "0");
    stage
        .mission
        .upgrade(&careless.set("agent.imageRoot", small));
    let gate = stage.gate("pre-dump", "hold");
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
        .shell(&format!("rm {small}/full; find {small} -mindepth 3"))
        .ok();
    assert_eq!(left.stdout, "");
    assert_eq!(stage.mission.end_agent(NODE, Signal::SIGTERM), 0);
    stage.mission.upgrade(&stage.values());
    stage
        .node
        .shell(&format!("umount {small}; rmdir {small}"))
        .ok();
    let checkpoint = stage.mission.checkpoint_of("room-again", "large");
    checkpoint.wait_ready();
    checkpoint.delete();
    witness.must_be_unharmed("a full disk");
    witness.pod.delete();
}
