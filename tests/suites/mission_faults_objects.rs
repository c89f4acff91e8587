//! Objects and pods that are deleted before, during and after, and what becomes of images then.

use rig::cluster::Manifest;
use rig::mission::Mission;
use rig::witness::{IMAGES, Witness, kept, must_be_gone};
use serde_json::{Value, json};

const NODE: &str = "node-a";

fn spec(pod: &str, field: &str, value: &Value) -> Value {
    let mut spec = json!({"source": {"podName": pod}});
    spec[field] = value.clone();
    spec
}

fn unscheduled(name: &str) -> Manifest {
    Manifest::new(name).spec("schedulingGates", json!([{"name": "rig.example.org/wait"}]))
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_pod_that_is_deleted_before_its_checkpoint_ends_the_request() {
    let mission = Mission::shared();
    let none = mission.checkpoint_of("of-none", "nobody");
    none.wait_failed("PodNotFound");
    none.delete();
    let pod = mission.cluster().create(&unscheduled("never"));
    let waiting = mission.checkpoint_of("of-never", "never");
    waiting.wait_while("WaitingForContainer");
    pod.delete();
    let status = waiting.wait_complete();
    let reason = status["failure"]["reason"].as_str().unwrap_or_default();
    assert!(
        ["PodNotFound", "PodDeleted"].contains(&reason),
        "{status:#}"
    );
    waiting.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_wait_ends_with_the_requests_time() {
    let mission = Mission::shared();
    let pod = mission.cluster().create(&unscheduled("too-late"));
    let checkpoint = mission.checkpoint(
        "of-too-late",
        &spec("too-late", "timeoutSeconds", &json!(2)),
    );
    checkpoint.wait_failed("ContainerNotRunning");
    checkpoint.delete();
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_object_that_is_deleted_while_it_waits_is_gone_at_once() {
    let mission = Mission::shared();
    let pod = mission.cluster().create(&unscheduled("undecided"));
    let checkpoint = mission.checkpoint_of("of-undecided", "undecided");
    checkpoint.wait_while("WaitingForContainer");
    checkpoint.delete();
    assert!(!checkpoint.exists());
    assert!(kept(mission.cluster().node(0), "of-undecided").is_empty());
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_image_outlives_its_pod_and_goes_with_its_object() {
    let mission = Mission::shared();
    let witness = Witness::start(mission.cluster(), &Manifest::new("mortal"));
    let checkpoint = mission.checkpoint_of("of-mortal", "mortal");
    checkpoint.wait_ready();
    witness.must_go_on("a checkpoint");
    witness.pod.delete();
    let (files, image, node) = (
        checkpoint.image_files(),
        checkpoint.image(),
        checkpoint.node(),
    );
    assert!(files.contains(&"inventory.img".to_owned()), "{files:?}");
    assert_eq!(checkpoint.wait_ready()["attempts"], 1);
    checkpoint.delete();
    assert!(!checkpoint.exists());
    must_be_gone(node, "of-mortal");
    assert!(!node.run(&["test", "-e", &image]).succeeded());
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_retained_image_outlives_its_object() {
    let mission = Mission::shared();
    let witness = Witness::start(mission.cluster(), &Manifest::new("kept"));
    let retain = spec("kept", "deletionPolicy", &json!("Retain"));
    let checkpoint = mission.checkpoint("of-kept", &retain);
    checkpoint.wait_ready();
    let (image, node) = (checkpoint.image(), checkpoint.node());
    checkpoint.delete();
    let stays = format!("{image}/inventory.img");
    node.run(&["test", "-s", &stays]).ok();
    node.shell(&format!("rm -r {IMAGES}/default/of-kept-*"))
        .ok();
    witness.must_go_on("a retained image");
    witness.pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_object_goes_with_its_image_once_its_time_to_live_is_over() {
    let mission = Mission::shared();
    let witness = Witness::start(mission.cluster(), &Manifest::new("brief"));
    let brief = spec("brief", "ttlSecondsAfterFinished", &json!(1));
    let checkpoint = mission.checkpoint("of-brief", &brief);
    checkpoint.wait("delete");
    must_be_gone(mission.cluster().node(0), "of-brief");
    let log = mission.agent_log(NODE);
    assert!(
        log.contains("checkpointed object=\"default/of-brief\""),
        "{log}"
    );
    let failed = json!({"source": {"podName": "nobody"}, "ttlSecondsAfterFinished": 1});
    mission.checkpoint("of-brief-none", &failed).wait("delete");
    witness.must_go_on("a time to live");
    witness.pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_image_that_another_builds_on_waits_for_that_to_go() {
    let mission = Mission::shared();
    let witness = Witness::start(mission.cluster(), &Manifest::new("family"));
    let parent = mission.checkpoint_of("of-family", "family");
    parent.wait_ready();
    let (image, node) = (parent.image(), parent.node());
    // What a pre-copy makes: this machine's kernel may not be able to.
    let (folder, name) = image.rsplit_once('/').expect("a path");
    node.shell(&format!(
        "install -d -m 700 {folder}/child; ln -s ../{name} {folder}/child/parent"
    ))
    .ok();
    parent.begin_delete();
    parent.wait("jsonpath={.status.conditions[?(@.type==\"ImageRemoved\")].reason}=ChildrenDepend");
    node.run(&["test", "-s", &format!("{image}/inventory.img")])
        .ok();
    node.shell(&format!("rm -r {folder}/child")).ok();
    // An object's end is what makes the agent look again.
    let other = mission.checkpoint_of("after-family", "family");
    other.wait_ready();
    parent.wait("delete");
    must_be_gone(node, "of-family");
    other.delete();
    witness.must_go_on("a parent");
    witness.pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_image_stays_while_nobody_can_tell_who_builds_on_it_and_its_policy_may_change() {
    let mission = Mission::shared();
    let witness = Witness::start(mission.cluster(), &Manifest::new("unsure"));
    let checkpoint = mission.checkpoint_of("of-unsure", "unsure");
    checkpoint.wait_ready();
    let (image, node) = (checkpoint.image(), checkpoint.node());
    let (folder, name) = image.rsplit_once('/').expect("a path");
    let foreign = format!("{folder}/of-unsure-child");
    node.shell(&format!(
        "mkdir -m 777 {foreign}; ln -s ../{name} {foreign}/parent"
    ))
    .ok();
    checkpoint.begin_delete();
    checkpoint
        .wait("jsonpath={.status.conditions[?(@.type==\"ImageRemoved\")].reason}=RemovalFailed");
    let inventory = format!("{image}/inventory.img");
    node.run(&["test", "-s", &inventory]).ok();
    let retain = r#"{"spec":{"deletionPolicy":"Retain"}}"#;
    mission.cluster().kubectl(&[
        "patch",
        "cckpt",
        "of-unsure",
        "--type=merge",
        "--patch",
        retain,
    ]);
    checkpoint.wait("delete");
    node.run(&["test", "-s", &inventory]).ok();
    node.shell(&format!("rm -r {IMAGES}/default/of-unsure-*"))
        .ok();
    witness.must_go_on("a removal that failed");
    witness.pod.delete();
}
