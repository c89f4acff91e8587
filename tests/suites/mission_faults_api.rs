//! The API server goes away during a dump, the agent is not there or no longer, the node is gone: every request comes to its end.

use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rig::cluster::{Cluster, Manifest};
use rig::mission::{Checkpoint, Mission};
use rig::node::PATIENCE;
use rig::stage::until;
use rig::witness::{IMAGES, Witness, must_be_gone};
use rig::{Gate, Node, Values};
use serde_json::json;

const NODE: &str = "node-a";

/// How long the API server is away: longer than the operator's lease, and than any wait of a client's.
const AWAY: Duration = Duration::from_secs(30);

/// What tells one image from another in the same place.
fn identity(node: &Node, image: &str) -> Option<String> {
    let file = format!("{image}/inventory.img");
    let found = node.run(&["stat", "--format=%i %y %s", &file]);
    found.succeeded().then_some(found.stdout)
}

/// Waits until an image is there under its final name; the API server is not asked.
fn wait_for_image(node: &Node, image: &str) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = identity(node, image) {
            return found;
        }
        assert!(Instant::now() < until, "{image} never appears");
        sleep(Duration::from_millis(20));
    }
}

fn image_path(checkpoint: &Checkpoint<'_>) -> String {
    let object = checkpoint.object();
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    format!("{IMAGES}/default/{}-{uid}", checkpoint.name())
}

/// Lets a dump that is held go on to its end with nobody there to hear of it. Returns where its image is and what tells it from another.
fn finish_unheard(
    cluster: &Cluster,
    mission: &Mission<'_>,
    gate: &Gate<'_>,
    checkpoint: &Checkpoint<'_>,
) -> (String, String) {
    let image = image_path(checkpoint);
    mission.end_operator(Signal::SIGKILL);
    cluster.stop_api_server();
    gate.release();
    let identity = wait_for_image(cluster.node(0), &image);
    (image, identity)
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_finished_dump_is_reported_and_never_repeated_though_nobody_can_be_told() {
    let cluster = Cluster::start();
    let node = cluster.node(0);
    let mission = Mission::start_with(&cluster, &Gate::values(node));
    let witness = Witness::start(&cluster, &Manifest::new("unheard"));

    // The API server is away, and comes back.
    let gate = Gate::set(node, "query-ext-files", "hold");
    let away = mission.checkpoint_of("away", "unheard");
    let _ = gate.held();
    let image = image_path(&away);
    cluster.stop_api_server();
    gate.release();
    let before = wait_for_image(node, &image);
    sleep(AWAY);
    witness.must_go_on("an API server that is away");
    cluster.start_api_server();
    // Without its lease it has ended, as it should: the kubelet starts it again.
    assert_eq!(mission.operator_ended(), 1);
    mission.start_operator();
    let status = away.wait_ready();
    assert_eq!(status["attempts"], 1, "{status:#}");
    assert_eq!(identity(node, &image), Some(before));
    let log = mission.agent_log(NODE);
    assert_eq!(
        log.matches("checkpointed object=\"default/away\"").count(),
        1,
        "{log}"
    );
    away.delete();
    must_be_gone(node, "away");
    witness.must_be_unharmed("an API server that was away");

    // The agent is killed before it can say that it is done.
    let gate = Gate::set(node, "network-unlock", "hold");
    let untold = mission.checkpoint_of("untold", "unheard");
    let _ = gate.held();
    let (image, before) = finish_unheard(&cluster, &mission, &gate, &untold);
    mission.end_agent(NODE, Signal::SIGKILL);
    cluster.start_api_server();
    mission.start_operator();
    mission.start_agent(NODE);
    let status = untold.wait_ready();
    assert_eq!(status["attempts"], 1, "{status:#}");
    assert!(status["pauseMilliseconds"].is_number(), "{status:#}");
    assert_eq!(identity(node, &image), Some(before));
    let log = mission.agent_log(NODE);
    assert!(
        log.contains("adopts a finished image object=\"default/untold\""),
        "{log}"
    );
    untold.delete();
    must_be_gone(node, "untold");
    witness.must_be_unharmed("an agent that could not tell");
    witness.pod.delete();
    what_ended_its_container_outlives_a_request_that_was_given_up(&cluster, &mission);
}

/// Nobody hears the agent once its dump has ended the container, until the operator has given it up: the image is all that is left, and
/// the status is final.
fn what_ended_its_container_outlives_a_request_that_was_given_up(
    cluster: &Cluster,
    mission: &Mission<'_>,
) {
    let node = cluster.node(0);
    let pod = cluster.run(&Manifest::new("ends"));
    let gate = Gate::set(node, "post-dump", "hold");
    let given_up = mission.checkpoint(
        "given-up",
        &json!({"source": {"podName": "ends"}, "options": {"leaveRunning": false}, "timeoutSeconds": 15}),
    );
    let _ = gate.held();
    let (image, before) = finish_unheard(cluster, mission, &gate, &given_up);
    mission.signal_agent(NODE, Signal::SIGSTOP);
    cluster.start_api_server();
    mission.start_operator();
    given_up.wait_failed("AgentNotResponding");
    mission.signal_agent(NODE, Signal::SIGCONT);
    until("the agent says that it keeps the image", || {
        let log = mission.agent_log(NODE);
        log.contains("an image came too late and is kept: its container has ended object=\"default/given-up\"")
    });
    cluster.wait("pod/ends", "condition=Ready");
    let next = mission.checkpoint_of("next", "ends");
    next.wait_ready();
    assert_eq!(identity(node, &image), Some(before));
    for checkpoint in [given_up, next] {
        checkpoint.delete();
        must_be_gone(node, checkpoint.name());
    }
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn requests_end_and_objects_go_when_the_agent_or_the_node_is_not_there() {
    let cluster = Cluster::start();
    let on_some = json!({"rig.example.org/agent": "yes"});
    let mission = Mission::start_with(
        &cluster,
        &Values::default().set("agent.nodeSelector", on_some),
    );
    let witness = Witness::start(&cluster, &Manifest::new("alone"));
    let ask = |name: &str, seconds: u32| {
        let spec = json!({"source": {"podName": "alone"}, "timeoutSeconds": seconds});
        mission.checkpoint(name, &spec)
    };

    // No agent has ever been there.
    let (impatient, patient) = (ask("impatient", 3), ask("patient", 600));
    patient.wait_while("WaitingForAgent");
    impatient.wait_failed("NoAgent");
    cluster.kubectl(&["label", "node", NODE, "rig.example.org/agent=yes"]);
    patient.wait_ready();
    impatient.delete();

    // The agent is there no longer, and nobody knows it yet.
    mission.end_agent(NODE, Signal::SIGKILL);
    let (lost, endless) = (ask("lost", 4), ask("endless", 600));
    endless.wait_while("Assigned");
    patient.begin_delete();
    let message = lost.wait_failed("AgentNotResponding");
    assert!(message.contains(NODE), "{message}");
    lost.begin_delete();
    assert!(lost.exists() && patient.exists() && endless.exists());

    // Nor is the node.
    cluster.stop_kubelet(NODE);
    cluster.kubectl(&["delete", "node", NODE]);
    endless.wait_failed("NodeGone");
    for checkpoint in [lost, patient] {
        checkpoint.wait("delete");
    }
    endless.delete();
    assert!(!endless.exists());
    witness.must_go_on("a node that is gone");
}
