//! Every option of a `ContainerCheckpoint` on a real cluster: refused for its reason without it, Ready with it, and the published
//! image brought back by the pod's runtime, with the workload's own state going on. Under runc and under crun.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "what goes wrong in a test ends it, with an explanation"
)]

#[path = "option_matrix/back.rs"]
mod back;
#[path = "option_matrix/cases.rs"]
mod cases;
#[path = "option_matrix/scene.rs"]
mod scene;

use node_agent::criu::messages::NetworkLockMethod;
use rig::criu_image::{cgroup_properties, network_lock};
use rig::mission::condition_of;
use rig::shown::{How, Outcome, Place, record};
use rig::{Checkpoint, Mission};
use serde_json::{Value, json};

use back::Bundle;
use cases::{Case, Subject, subjects};
use scene::Scene;

#[test]
#[ignore = "needs the node root: run make test"]
fn each_option_is_refused_without_need_met_and_brings_its_container_back() {
    let mission = Mission::shared();
    let scene = Scene::start(mission);
    let all = subjects();
    must_be_refused(mission, &scene, &all);
    must_dump_a_shell_job(mission, &scene);
    must_lack_chains(mission, &scene);

    // What ends is to be restored where it ran, and not to be started anew.
    mission.cluster().pause_kubelet("node-a");
    let (talking, others): (Vec<_>, Vec<_>) = all.iter().partition(|subject| subject.case.talks());
    // Connections do not wait for long.
    for batch in [others, talking] {
        must_come_back(mission, &scene, &batch);
    }
    scene.end();
    mission.cluster().resume_kubelet("node-a");
}

/// Asks for these checkpoints at once, and returns their status in the same order once all have come to an end.
fn ask(mission: &Mission<'_>, requests: &[(String, Value)]) -> Vec<Value> {
    let checkpoint = |(name, spec): &(String, Value)| {
        json!({
            "apiVersion": "stillframe.dev/v1alpha1",
            "kind": "ContainerCheckpoint",
            "metadata": {"name": name, "namespace": "default"},
            "spec": spec,
        })
    };
    let items: Vec<Value> = requests.iter().map(checkpoint).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let cluster = mission.cluster();
    cluster.apply(&list.to_string());
    scene::wait_for_all(cluster, "cckpt", "Complete");
    let all = cluster.kubectl(&["get", "cckpt", "--output=json"]);
    let mut all: Value = serde_json::from_str(&all).expect("kubectl prints JSON");
    let mut status = |name: &str| {
        let items = all["items"].as_array_mut().into_iter().flatten();
        let mut named = items.filter(|object| object["metadata"]["name"] == name);
        let object = named.next();
        object.unwrap_or_else(|| panic!("{name} is gone"))["status"].take()
    };
    requests.iter().map(|(name, _)| status(name)).collect()
}

/// Without its option none is checkpointed, and all go on.
fn must_be_refused(mission: &Mission<'_>, scene: &Scene, subjects: &[Subject]) {
    let refused: Vec<(&Subject, &str)> = subjects
        .iter()
        .filter_map(|subject| Some((subject, subject.case.refused?)))
        .collect();
    let before: Vec<_> = refused
        .iter()
        .map(|(subject, _)| scene.state(subject))
        .collect();
    let requests: Vec<_> = refused
        .iter()
        .map(|(subject, _)| {
            let spec =
                json!({"source": {"podName": subject.pod()}, "options": subject.case.without()});
            (format!("{}-refused", subject.pod()), spec)
        })
        .collect();
    let ends = ask(mission, &requests);
    for (((subject, reason), status), before) in refused.iter().zip(&ends).zip(&before) {
        let ready = condition_of(status, "Ready");
        let found = (ready.status.as_str(), ready.reason.as_str());
        assert_eq!(found, ("False", *reason), "{}: {status:#}", subject.pod());
        scene.must_go_on(subject, before);
    }
}

/// With its option each is checkpointed, and comes back from its image where it was.
fn must_come_back(mission: &Mission<'_>, scene: &Scene, subjects: &[&Subject]) {
    let bundles: Vec<Bundle> = subjects
        .iter()
        .map(|subject| Bundle::prepare(scene, subject))
        .collect();
    let before: Vec<_> = subjects
        .iter()
        .map(|subject| scene.state(subject))
        .collect();
    let requests: Vec<_> = subjects
        .iter()
        .map(|subject| {
            let spec = json!({"source": {"podName": subject.pod()}, "options": subject.options()});
            (subject.pod(), spec)
        })
        .collect();
    let ends = ask(mission, &requests);
    for (subject, status) in subjects.iter().zip(&ends) {
        let ready = condition_of(status, "Ready");
        assert_eq!(ready.status, "True", "{}: {status:#}", subject.pod());
    }
    for ((subject, bundle), before) in subjects.iter().zip(bundles).zip(&before) {
        let checkpoint = mission.existing("default", &subject.pod());
        must_be_as_asked(subject, &checkpoint);
        if subject.case.leaves_running() {
            scene.must_go_on(subject, before);
        }
        bundle.restore(&checkpoint.image(), subject.case.restore);
        bundle.must_go_on(before);
        scene.must_be_heard(subject, before);
        bundle.remove();
        let place = Place::of(scene.node, subject.runtime).under_containerd(scene.node);
        for option in subject.case.shows {
            record(option, &place, How::Object, Outcome::Restored);
        }
    }
}

/// What can be seen of the options in the image.
fn must_be_as_asked(subject: &Subject, checkpoint: &Checkpoint<'_>) {
    let options = subject.options();
    let pod = subject.pod();
    let node = checkpoint.node();
    let image = checkpoint.image();
    let file = |name: &str| {
        let copy = format!("{pod}-{name}");
        node.run(&[
            "cp",
            &format!("{image}/{name}"),
            &format!("/run/rig/{copy}"),
        ])
        .ok();
        std::fs::read(node.path(copy)).expect("a file of an image")
    };
    if let Some(path) = options["imagePath"].as_str() {
        assert!(image.ends_with(&format!("/default/{path}")), "{image}");
    }
    if let Some(path) = options["workPath"].as_str() {
        let work = format!("/var/lib/stillframe/images/default/{path}");
        for name in ["dump.log", "stats-dump"] {
            node.run(&["test", "-s", &format!("{work}/{name}")]).ok();
            assert!(!checkpoint.image_files().iter().any(|file| file == name));
        }
    }
    let lock = network_lock(&file("inventory.img"));
    let wanted = match options["networkLock"].as_str() {
        Some("Iptables") => NetworkLockMethod::Iptables,
        Some("Nftables") => NetworkLockMethod::Nftables,
        Some("Skip") => NetworkLockMethod::Skip,
        _ if options["tcpEstablished"] == true => NetworkLockMethod::Nftables,
        _ => NetworkLockMethod::Skip,
    };
    assert_eq!(lock, Some(wanted.into()), "{pod}");
    let ignored = matches!(options["manageCgroupsMode"].as_str(), None | Some("Ignore"));
    let saved = cgroup_properties(&file("cgroup.img"));
    assert_eq!(saved.is_empty(), ignored, "{pod}: {saved:?}");
}

/// A job that somebody left behind with `kubectl exec -it`. Its way back is in the suite `restores`.
fn must_dump_a_shell_job(mission: &Mission<'_>, scene: &Scene) {
    let pod = mission.cluster().run(&cases::shell_job());
    let shell = scene.leave_a_job(&pod);
    let source = json!({"podName": pod.name()});
    let request = |options: Value| json!({"source": source, "options": options});
    let refused = mission.checkpoint("shell-job-refused", &request(json!({})));
    refused.wait_failed("ShellJob");
    let dumped = mission.checkpoint("shell-job", &request(json!({"shellJob": true})));
    dumped.wait_ready();
    let files = dumped.image_files();
    assert!(files.iter().any(|file| file == "tty-info.img"), "{files:?}");
    scene::must_not_have_lost_the_job(&pod, shell);
    let runtime = rig::container::Runtime::Runc;
    let place = Place::of(scene.node, runtime).under_containerd(scene.node);
    record("shell-job", &place, How::Object, Outcome::Dumped);
}

/// What takes a kernel that tracks memory.
fn must_lack_chains(mission: &Mission<'_>, scene: &Scene) {
    let check = ["criu", "check", "--feature", "mem_dirty_track"];
    if scene.node.run(&check).succeeded() {
        println!("not run: this kernel tracks memory, and the virtual machine shows chains");
        return;
    }
    let pod = Case::named("counts")
        .on(rig::container::Runtime::Runc)
        .pod();
    let asked = [
        ("pre-dump", json!({"preDump": true})),
        ("trackMemory", json!({"trackMemory": true})),
    ];
    let requests = asked.map(|(option, options)| {
        let name = format!("lacks-{}", option.to_lowercase());
        (
            name,
            json!({"source": {"podName": pod}, "options": options}),
        )
    });
    for status in ask(mission, &requests) {
        assert_eq!(condition_of(&status, "Ready").reason, "NoSoftDirty");
    }
    let runtime = rig::container::Runtime::Runc;
    let place = Place::of(scene.node, runtime).under_containerd(scene.node);
    for option in ["pre-dump", "parent-path", "auto-dedup", "trackMemory"] {
        let lacks = "soft-dirty page tracking in the kernel (CONFIG_MEM_SOFT_DIRTY)";
        record(
            option,
            &place,
            How::Object,
            Outcome::Lacks(lacks.to_owned()),
        );
    }
}
