//! How long a container may stand still.

use serde_json::{Value, json};
use stillframe_crds::checkpoint::NetworkLock;

use super::*;
use crate::fixtures::checkpoint;

/// A pod with an application whose own probe tolerates 7 s, and a proxy whose probe over the
/// network tolerates 2 s, and 1 s of a locked network.
fn pod(app: &Value, app_started: bool, proxy: &Value) -> Pod {
    let running = |name: &str, started: bool| json!({"name": name, "containerID": "x://1", "started": started, "state": {"running": {}}});
    let mut containers = [json!({"name": "app"}), json!({"name": "proxy"})];
    for (container, probes) in containers.iter_mut().zip([app, proxy]) {
        let probes = probes.as_object().unwrap().clone();
        container.as_object_mut().unwrap().extend(probes);
    }
    serde_json::from_value(json!({
        "metadata": {"uid": "pod-uid"},
        "spec": {"nodeName": "node-1", "containers": containers},
        "status": {"containerStatuses": [running("app", app_started), running("proxy", true)]},
    }))
    .unwrap()
}

fn slow() -> Value {
    json!({"periodSeconds": 5, "failureThreshold": 2, "timeoutSeconds": 2, "exec": {}})
}

fn tight() -> Value {
    json!({"periodSeconds": 1, "failureThreshold": 2, "timeoutSeconds": 1, "httpGet": {"port": 1}})
}

type Change = fn(&mut ContainerCheckpoint);

#[test]
fn the_tightest_probe_that_gets_no_answer_bounds_the_pause() {
    let none = json!({});
    let alive = json!({"livenessProbe": slow()});
    let asked_over_network = json!({"livenessProbe": tight()});
    let asked_inside = json!({"livenessProbe": {"periodSeconds": 1, "exec": {}}});
    let starting = json!({"livenessProbe": slow(), "startupProbe": tight()});
    let connected: Change = |c| c.spec.options.tcp_established = true;
    let same: Change = |_| {};
    let rows: [(Change, &Value, bool, &Value, Option<u32>); 9] = [
        (same, &none, true, &none, None),
        (same, &alive, true, &none, Some(7)),
        (same, &alive, true, &asked_over_network, Some(7)),
        (connected, &alive, true, &asked_over_network, Some(1)),
        (connected, &alive, true, &asked_inside, Some(7)),
        (
            |c| {
                c.spec.options.tcp_established = true;
                c.spec.options.network_lock = NetworkLock::Skip;
            },
            &alive,
            true,
            &asked_over_network,
            Some(7),
        ),
        (same, &starting, false, &none, Some(2)),
        (same, &starting, true, &none, Some(7)),
        (
            |c| c.spec.options.leave_running = false,
            &alive,
            true,
            &none,
            None,
        ),
    ];
    for (number, (change, app, started, proxy, expected)) in rows.into_iter().enumerate() {
        let mut one = checkpoint("one");
        one.spec.source.container_name = Some("app".into());
        change(&mut one);
        let around = Surroundings {
            pod: Some(pod(app, started, proxy)),
            ..around()
        };
        let plan = decide(&one, &around, 5);
        assert_eq!(word(&plan), "assign", "row {number}");
        assert_eq!(status_of(&plan).max_pause_seconds, expected, "row {number}");
        let told = plan.notice.map(|notice| notice.reason);
        let tight = expected.is_some_and(|seconds| seconds <= 3);
        assert_eq!(told, tight.then_some(Reason::PauseBounded), "row {number}");
    }
}

#[test]
fn a_longer_pause_than_a_probe_allows_is_refused_unless_the_container_ends() {
    let alive = json!({"livenessProbe": slow()});
    let pod = pod(&alive, true, &json!({}));
    let around = Surroundings {
        pod: Some(pod),
        ..around()
    };
    for (asked, leave_running, expected) in [
        (7, true, "assign"),
        (8, true, "ProbeWouldFail"),
        (8, false, "assign"),
    ] {
        let mut one = checkpoint("one");
        one.spec.source.container_name = Some("app".into());
        one.spec.options.max_pause_seconds = Some(asked);
        one.spec.options.leave_running = leave_running;
        let plan = decide(&one, &around, 5);
        assert_eq!(word(&plan), expected, "{asked} {leave_running}");
        match &plan.act {
            Act::Assign(status) => assert_eq!(status.max_pause_seconds, Some(asked)),
            _ => assert_eq!(
                status_of(&plan).failure.as_ref().unwrap().message,
                "maxPauseSeconds is 8, and the liveness probe of container app allows 7 s"
            ),
        }
    }
}
