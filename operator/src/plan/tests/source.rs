//! Finding the container, and what its node can do.

use serde_json::{Value, json};
use stillframe_crds::{
    checkpoint::{ByteCount, NetworkLock, Rootfs},
    condition,
};

use super::*;
use crate::fixtures::{CONTAINER_ID, at, checkpoint, condition_of, pod_json};

/// The pod of the fixtures with `changes` merged into it.
#[expect(clippy::unnecessary_wraps, reason = "as the surroundings hold it")]
fn pod_with(changes: &Value) -> Option<Pod> {
    let mut pod = pod_json();
    merge(&mut pod, changes);
    Some(serde_json::from_value(pod).unwrap())
}

fn merge(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, change) in changes {
                merge(into.entry(key).or_insert(Value::Null), change);
            }
        }
        (into, change) => *into = change.clone(),
    }
}

fn ended_with(code: i32) -> Value {
    json!({"containerStatuses": [{"name": "app", "state": {"terminated": {"exitCode": code}}}]})
}

#[test]
fn a_running_container_is_assigned_with_everything_that_pins_it() {
    let plan = decide(&checkpoint("one"), &around(), 5);
    assert_eq!(word(&plan), "assign");
    assert_eq!(plan.again, None);
    assert_eq!(plan.notice, None);
    let status = status_of(&plan);
    assert_eq!(status.node_name.as_deref(), Some("node-1"));
    assert_eq!(status.pod_uid.as_deref(), Some("pod-uid"));
    assert_eq!(status.sandbox_uid.as_deref(), Some("pod-uid"));
    assert_eq!(status.container_name.as_deref(), Some("app"));
    assert_eq!(status.container_id.as_deref(), Some(CONTAINER_ID));
    assert_eq!(status.max_pause_seconds, None);
    assert_eq!(status.observed_generation, 1);
    assert!(condition::holds(&status.conditions, condition::RECONCILING));
    assert!(!condition::holds(&status.conditions, condition::COMPLETE));
}

#[test]
fn a_static_pod_is_known_on_its_node_by_the_hash_of_its_manifest() {
    let annotations = json!({"kubernetes.io/config.mirror": "h", "kubernetes.io/config.hash": "h"});
    let pod = pod_with(&json!({"metadata": {"annotations": annotations}}));
    let plan = decide(&checkpoint("one"), &Surroundings { pod, ..around() }, 5);
    assert_eq!(status_of(&plan).sandbox_uid.as_deref(), Some("h"));
    assert_eq!(status_of(&plan).pod_uid.as_deref(), Some("pod-uid"));
    // Without the mirror's mark the hash is a user's own.
    let pod = pod_with(&json!({"metadata": {"annotations": {"kubernetes.io/config.hash": "h"}}}));
    let plan = decide(&checkpoint("one"), &Surroundings { pod, ..around() }, 5);
    assert_eq!(status_of(&plan).sandbox_uid.as_deref(), Some("pod-uid"));
}

#[test]
fn every_state_of_the_pod_has_its_outcome() {
    let waiting = json!({"containerStatuses": [{"name": "app", "state": {"waiting": {}}}]});
    let no_id = json!({"containerStatuses": [{"name": "app", "state": {"running": {}}}]});
    let rows = [
        (json!({}), "assign"),
        (
            json!({"metadata": {"deletionTimestamp": "2026-11-23T00:00:00Z"}}),
            "PodDeleted",
        ),
        (json!({"status": {"phase": "Succeeded"}}), "PodEnded"),
        (json!({"status": {"phase": "Failed"}}), "PodEnded"),
        (
            json!({"status": {"phase": "Pending", "containerStatuses": []}}),
            "WaitingForContainer",
        ),
        (json!({"status": waiting}), "WaitingForContainer"),
        (json!({"status": no_id}), "WaitingForContainer"),
        (json!({"spec": {"nodeName": ""}}), "WaitingForContainer"),
        (json!({"status": ended_with(0)}), "WaitingForContainer"),
        (
            json!({"spec": {"restartPolicy": "Always"}, "status": ended_with(1)}),
            "WaitingForContainer",
        ),
        (
            json!({"spec": {"restartPolicy": "OnFailure"}, "status": ended_with(1)}),
            "WaitingForContainer",
        ),
        (
            json!({"spec": {"restartPolicy": "OnFailure"}, "status": ended_with(0)}),
            "ContainerNotRunning",
        ),
        (
            json!({"spec": {"restartPolicy": "Never"}, "status": ended_with(1)}),
            "ContainerNotRunning",
        ),
        (
            json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "app", "restartPolicy": "Always"}]},
                   "status": ended_with(1)}),
            "WaitingForContainer",
        ),
        (
            json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "app", "restartPolicyRules": [{}]}]},
                   "status": ended_with(1)}),
            "WaitingForContainer",
        ),
        (
            json!({"spec": {"containers": [{"name": "app"}, {"name": "proxy"}]}}),
            "ContainerNotNamed",
        ),
        (
            json!({"spec": {"initContainers": [{"name": "side", "restartPolicy": "Always"}]}}),
            "assign",
        ),
    ];
    for (changes, expected) in rows {
        let pod = pod_with(&changes);
        let plan = decide(&checkpoint("one"), &Surroundings { pod, ..around() }, 5);
        assert_eq!(word(&plan), expected, "{changes}");
    }
}

#[test]
fn a_container_is_found_by_name_in_every_list_of_the_pod() {
    let running =
        |name: &str| json!([{"name": name, "containerID": "x://1", "state": {"running": {}}}]);
    let ended = |name: &str, code: i32| json!([{"name": name, "state": {"terminated": {"exitCode": code}}}]);
    let sidecar = json!([{"name": "side", "restartPolicy": "Always"}]);
    let init = json!([{"name": "init"}]);
    let rows = [
        ("app", json!({}), "assign"),
        ("other", json!({}), "UnknownContainer"),
        (
            "side",
            json!({"spec": {"initContainers": sidecar}, "status": {"initContainerStatuses": running("side")}}),
            "assign",
        ),
        (
            "side",
            json!({"spec": {"initContainers": sidecar}, "status": {"initContainerStatuses": ended("side", 0)}}),
            "WaitingForContainer",
        ),
        (
            "init",
            json!({"spec": {"initContainers": init}, "status": {"initContainerStatuses": running("init")}}),
            "assign",
        ),
        (
            "init",
            json!({"spec": {"initContainers": init}, "status": {"initContainerStatuses": ended("init", 0)}}),
            "ContainerNotRunning",
        ),
        (
            "init",
            json!({"spec": {"initContainers": init}, "status": {"initContainerStatuses": ended("init", 1)}}),
            "WaitingForContainer",
        ),
        (
            "init",
            json!({"spec": {"restartPolicy": "Never", "initContainers": init}, "status": {"initContainerStatuses": ended("init", 1)}}),
            "ContainerNotRunning",
        ),
        (
            "debug",
            json!({"spec": {"ephemeralContainers": [{"name": "debug"}]}, "status": {"ephemeralContainerStatuses": running("debug")}}),
            "assign",
        ),
        (
            "debug",
            json!({"spec": {"ephemeralContainers": [{"name": "debug"}]}, "status": {"ephemeralContainerStatuses": ended("debug", 1)}}),
            "ContainerNotRunning",
        ),
    ];
    for (name, changes, expected) in rows {
        let mut one = checkpoint("one");
        one.spec.source.container_name = Some(name.into());
        let pod = pod_with(&changes);
        let plan = decide(&one, &Surroundings { pod, ..around() }, 5);
        assert_eq!(word(&plan), expected, "{name} in {changes}");
    }
}

#[test]
fn what_cannot_be_chosen_is_refused_with_the_names_to_choose_from() {
    let containers = json!([{"name": "app"}, {"name": "proxy"}]);
    let pod = pod_with(
        &json!({"spec": {"containers": containers, "initContainers": [{"name": "side"}]}}),
    );
    let around = Surroundings { pod, ..around() };
    let plan = decide(&checkpoint("one"), &around, 5);
    let failure = status_of(&plan).failure.as_ref().unwrap();
    assert_eq!(failure.message, "pod counter has 2 containers: app, proxy");
    let hint = failure.hint.as_deref().unwrap();
    assert!(hint.contains("spec.source.containerName"), "{hint}");
    let mut one = checkpoint("one");
    one.spec.source.container_name = Some("ap".into());
    let plan = decide(&one, &around, 5);
    let failure = status_of(&plan).failure.as_ref().unwrap();
    assert_eq!(
        failure.message,
        "pod counter has no container ap; it has app, proxy, side"
    );
}

#[test]
fn a_pod_of_another_uid_is_refused_whether_asked_for_or_seen_before() {
    let mut pinned = checkpoint("one");
    pinned.spec.source.pod_uid = Some("another".into());
    assert_eq!(word(&decide(&pinned, &around(), 5)), "PodReplaced");
    let mut seen = checkpoint("one");
    seen.status = Some(ContainerCheckpointStatus {
        pod_uid: Some("another".into()),
        ..ContainerCheckpointStatus::default()
    });
    assert_eq!(word(&decide(&seen, &around(), 5)), "PodReplaced");
    let gone = Surroundings {
        pod: None,
        ..around()
    };
    assert_eq!(word(&decide(&seen, &gone, 5)), "PodDeleted");
    assert_eq!(word(&decide(&checkpoint("one"), &gone, 5)), "PodNotFound");
}

#[test]
fn waiting_pins_the_pod_and_ends_at_the_deadline_with_the_matching_reason() {
    let pending = pod_with(&json!({"status": {"containerStatuses": []}}));
    let mut unready = (*fixtures::agent()).clone();
    unready.status.as_mut().unwrap().conditions =
        vec![condition_of("Ready", "False", "CriuNotFound")];
    let mut silent = (*fixtures::agent()).clone();
    silent.status = None;
    let rows = [
        (
            Surroundings {
                pod: pending,
                ..around()
            },
            "WaitingForContainer",
            "ContainerNotRunning",
        ),
        (
            Surroundings {
                agent: None,
                ..around()
            },
            "WaitingForAgent",
            "NoAgent",
        ),
        (
            Surroundings {
                agent: Some(Arc::new(unready)),
                ..around()
            },
            "WaitingForNode",
            "AgentNotReady",
        ),
        (
            Surroundings {
                agent: Some(Arc::new(silent)),
                ..around()
            },
            "WaitingForNode",
            "AgentNotReady",
        ),
    ];
    for (around, waits, fails) in rows {
        let mut one = checkpoint("one");
        let first = decide(&one, &around, 119);
        assert_eq!(word(&first), waits);
        assert_eq!(first.again, Some(at(120)), "{waits}");
        assert_eq!(first.notice, None);
        assert_eq!(status_of(&first).pod_uid.as_deref(), Some("pod-uid"));
        assert_eq!(status_of(&first).node_name, None);
        one.status = Some(status_of(&first).clone());
        let again = decide(&one, &around, 119);
        assert_eq!(again.act, Act::Nothing, "{waits} is not written twice");
        assert_eq!(again.again, Some(at(120)));
        let late = decide(&one, &around, 120);
        assert_eq!(word(&late), fails);
        assert_eq!(late.again, None);
    }
}

#[test]
fn a_failure_is_final_and_tells_why_in_every_place() {
    let gone = Surroundings {
        pod: None,
        ..around()
    };
    let plan = decide(&checkpoint("one"), &gone, 5);
    let status = status_of(&plan);
    assert_eq!(status.completion_time, Some(fixtures::time(5)));
    let failure = status.failure.as_ref().unwrap();
    assert_eq!(
        (failure.reason.as_str(), failure.message.as_str()),
        ("PodNotFound", "there is no pod counter")
    );
    assert!(failure.hint.is_some());
    for (kind, expected) in [
        ("Complete", "True"),
        ("Ready", "False"),
        ("Reconciling", "False"),
        ("Stalled", "True"),
    ] {
        let condition = condition::get(&status.conditions, kind).unwrap();
        assert_eq!(
            (condition.status.as_str(), condition.reason.as_str()),
            (expected, "PodNotFound"),
            "{kind}"
        );
    }
    let notice = plan.notice.as_ref().unwrap();
    let ready = condition::get(&status.conditions, "Ready").unwrap();
    assert_eq!(
        (notice.reason, &notice.note),
        (Reason::PodNotFound, &ready.message)
    );
    let begins = "there is no pod counter. Hint: kubectl get pods";
    assert!(ready.message.starts_with(begins), "{}", ready.message);
}

#[test]
fn what_could_be_assigned_only_after_its_time_has_timed_out() {
    assert_eq!(word(&decide(&checkpoint("one"), &around(), 119)), "assign");
    assert_eq!(
        word(&decide(&checkpoint("one"), &around(), 120)),
        "TimedOut"
    );
    // What can never be says so, late or not.
    let gone = Surroundings {
        pod: None,
        ..around()
    };
    assert_eq!(word(&decide(&checkpoint("one"), &gone, 500)), "PodNotFound");
}

#[test]
fn what_the_node_cannot_do_is_refused_and_a_wait_does_not_hide_it() {
    type Change = fn(&mut ContainerCheckpoint);
    let rows: [(Change, &str); 11] = [
        (|c| c.spec.options.pre_dump = true, "NoSoftDirty"),
        (|c| c.spec.options.track_memory = true, "NoSoftDirty"),
        (
            |c| {
                c.spec.options.parent_path =
                    Some(stillframe_crds::checkpoint::RelativePath("a".into()));
            },
            "NoSoftDirty",
        ),
        (|c| c.spec.options.lazy_pages = true, "NoLazyPages"),
        (
            |c| c.spec.options.network_lock = NetworkLock::Iptables,
            "NetworkLockUnavailable",
        ),
        (
            |c| c.spec.options.network_lock = NetworkLock::Nftables,
            "assign",
        ),
        (
            |c| c.spec.options.network_lock = NetworkLock::Skip,
            "assign",
        ),
        (|c| c.spec.rootfs = Rootfs::Diff, "assign"),
        (
            |c| c.spec.options.ghost_limit = Some(ByteCount("9Ti".into())),
            "InvalidSpec",
        ),
        (
            |c| {
                c.spec.options.parent_path =
                    Some(stillframe_crds::checkpoint::RelativePath("a".into()));
                c.spec.options.parent_ref = Some(fixtures::object_name("p"));
            },
            "InvalidSpec",
        ),
        (|_| {}, "assign"),
    ];
    for (number, (change, expected)) in rows.into_iter().enumerate() {
        let mut one = checkpoint("one");
        change(&mut one);
        let mut agent = (*fixtures::agent()).clone();
        let criu = agent.status.as_mut().unwrap().criu.as_mut().unwrap();
        criu.features.clear();
        let around = Surroundings {
            agent: Some(Arc::new(agent)),
            ..around()
        };
        assert_eq!(word(&decide(&one, &around, 5)), expected, "row {number}");
    }
    let mut one = checkpoint("one");
    one.spec.rootfs = Rootfs::Diff;
    one.spec.options.pre_dump = true;
    let nothing = Surroundings::default();
    assert_eq!(word(&decide(&one, &nothing, 5)), "InvalidSpec");
}
