//! What the API server accepts and refuses of our objects, and in which words.

use rig::Cluster;
use serde_json::{Value, json};
use std::sync::Once;

fn cluster() -> &'static Cluster {
    static DEFINED: Once = Once::new();
    let cluster = Cluster::shared();
    DEFINED.call_once(|| cluster.install_crds());
    cluster
}

fn checkpoint(name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "stillframe.dev/v1alpha1",
        "kind": "ContainerCheckpoint",
        "metadata": {"name": name},
        "spec": spec,
    })
    .to_string()
}

fn with_options(options: &Value) -> Value {
    json!({"source": {"podName": "p"}, "options": options})
}

/// Options that can never work, and what the refusal says about each.
#[rustfmt::skip]
fn refused() -> Vec<(Value, &'static str)> {
    let page_server = json!({"address": "10.0.0.7", "port": 27277});
    vec![
        (
            json!({"parentRef": {"name": "a"}, "parentPath": "a"}),
            "use one of them",
        ),
        (
            json!({"preDump": true, "leaveRunning": false}),
            "a pre-dump never ends the container",
        ),
        (
            json!({"preDump": true, "lazyPages": true, "pageServer": page_server}),
            "use one of them",
        ),
        (
            json!({"tcpEstablished": true, "leaveRunning": false}),
            "set acceptConnectionLoss to true",
        ),
        (json!({"imagePath": "/etc"}), "must be a relative path"),
        (json!({"imagePath": "a/../../b"}), "must be a relative path"),
        (json!({"imagePath": "a//b"}), "must be a relative path"),
        (json!({"imagePath": "./a"}), "must be a relative path"),
        (json!({"workPath": ".."}), "must be a relative path"),
        (json!({"parentPath": "a/"}), "must be a relative path"),
        (json!({"imagePath": "a.partial"}), "the agent's own"),
        (json!({"imagePath": "a.work/b"}), "the agent's own"),
        (
            json!({"imagePath": "x".repeat(201)}),
            "longer than 200 bytes",
        ),
        (
            json!({"imagePath": "a", "workPath": "a/b"}),
            "may not be the same directory or lie in each other",
        ),
        (
            json!({"imagePath": "a", "parentPath": "a"}),
            "may not be the same directory or lie in each other",
        ),
        (json!({"imagePath": "a\u{7}b"}), "should match"),
        (json!({"maxPauseSeconds": 0}), "greater than or equal to 1"),
        (json!({"manageCgroupsMode": "soft"}), "supported values"),
        (json!({"networkLock": "None"}), "supported values"),
        (json!({"emptyNamespaces": ["Pid"]}), "supported values"),
        (json!({"ghostLimit": "1MB"}), "should match"),
        (
            json!({"pageServer": {"address": "h", "port": 0}}),
            "greater than or equal to 1",
        ),
        (json!({"pageServer": {"port": 1}}), "use either address and port"),
        (json!({"leaveRuning": true}), "field not declared in schema"),
    ]
}

/// The same about lazy pages.
#[rustfmt::skip]
fn refused_of_lazy_pages() -> Vec<(Value, &'static str)> {
    let page_server = json!({"address": "10.0.0.7", "port": 27277});
    vec![
        (json!({"lazyPages": true, "lazyPeers": ["10.0.0.8"]}), "Add pageServer"),
        (json!({"lazyPages": true, "pageServer": page_server}), "Add lazyPeers"),
        (
            json!({"lazyPages": true, "pageServer": page_server, "lazyPeers": []}),
            "Add lazyPeers",
        ),
        (
            json!({"lazyPeers": ["10.0.0.8"], "pageServer": page_server}),
            "set lazyPages to true",
        ),
        (
            json!({"lazyPages": true, "pageServer": page_server, "lazyPeers": ["node-b"]}),
            "must be an IP address or a network",
        ),
        (
            json!({"lazyPages": true, "pageServer": page_server, "lazyPeers": ["10.0.0.8/33"]}),
            "must be an IP address or a network",
        ),
        (
            json!({"lazyPages": true, "lazyPeers": ["10.0.0.8"], "pageServer": {"address": "node-a", "port": 1}}),
            "is where the pod's node serves",
        ),
    ]
}

#[test]
#[ignore = "needs the node root: run make test"]
fn combinations_that_can_never_work_are_refused_with_the_way_out() {
    for (options, says) in refused().into_iter().chain(refused_of_lazy_pages()) {
        let object = checkpoint("refused", &with_options(&options));
        let answer = cluster().try_apply(&object);
        assert!(!answer.succeeded(), "{options} was accepted");
        assert!(
            answer.stderr.contains(says),
            "{options} is refused without {says:?}: {}",
            answer.stderr
        );
    }
    let mut spec = with_options(&json!({"preDump": true}));
    spec["rootfs"] = json!("Diff");
    let answer = cluster().try_apply(&checkpoint("refused", &spec));
    let says = "take rootfs Diff with the dump that ends the chain";
    assert!(answer.stderr.contains(says), "{}", answer.stderr);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn everything_that_can_work_is_accepted() {
    let accepted = [
        json!({}),
        json!({"leaveRunning": false}),
        json!({"tcpEstablished": true, "leaveRunning": false, "acceptConnectionLoss": true}),
        json!({"preDump": true, "trackMemory": true, "parentPath": "nightly/counter"}),
        json!({
            "lazyPages": true, "pageServer": {"address": "0.0.0.0", "port": 27277},
            "lazyPeers": ["10.0.0.8", "10.1.0.0/16", "fd00::8", "fd01::/64"],
        }),
        json!({
            "imagePath": "nightly/counter", "workPath": "nightly/work", "parentPath": "nightly/counter2",
            "manageCgroupsMode": "Full", "emptyNamespaces": ["Network"], "networkLock": "Nftables",
            "ghostLimit": "64Mi", "maxPauseSeconds": 20, "autoDedup": true, "fileLocks": true,
        }),
    ];
    for (index, options) in accepted.into_iter().enumerate() {
        let name = format!("accepted-{index}");
        cluster().apply(&checkpoint(&name, &with_options(&options)));
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_spec_is_immutable_but_for_what_becomes_of_the_object() {
    let base = json!({
        "source": {"podName": "p"},
        "ttlSecondsAfterFinished": 100,
    });
    cluster().apply(&checkpoint("fixed", &base));
    let changes = [
        json!({"source": {"podName": "q"}, "ttlSecondsAfterFinished": 100}),
        json!({"source": {"podName": "p", "containerName": "c"}}),
        json!({"source": {"podName": "p"}, "options": {"fileLocks": true}}),
        json!({"source": {"podName": "p"}, "options": {"maxPauseSeconds": 3}}),
        json!({"source": {"podName": "p"}, "rootfs": "Diff"}),
        json!({"source": {"podName": "p"}, "timeoutSeconds": 7}),
    ];
    for change in changes {
        let answer = cluster().try_apply(&checkpoint("fixed", &change));
        assert!(!answer.succeeded(), "{change} was accepted");
        assert!(
            answer.stderr.contains("immutable"),
            "{change}: {}",
            answer.stderr
        );
    }
    let change = json!({
        "source": {"podName": "p"}, "ttlSecondsAfterFinished": 5, "deletionPolicy": "Retain",
    });
    cluster().apply(&checkpoint("fixed", &change));
    let args = [
        "get",
        "cckpt",
        "fixed",
        "--output=jsonpath={.spec.deletionPolicy}",
    ];
    assert_eq!(cluster().kubectl(&args), "Retain");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_object_that_nobody_has_seen_says_so_and_applying_it_twice_changes_nothing() {
    let object = checkpoint("unseen", &with_options(&json!({})));
    cluster().apply(&object);
    let get = |path: &str| {
        let output = format!("--output=jsonpath={{{path}}}");
        cluster().kubectl(&["get", "cckpt", "unseen", &output])
    };
    assert_eq!(get(".status.observedGeneration"), "-1");
    // Until the first write the server makes the status up, and keeps it only with that.
    let seen = r#"{"status":{"observedGeneration":1}}"#;
    cluster().kubectl(&[
        "patch",
        "cckpt",
        "unseen",
        "--subresource=status",
        "--type=merge",
        "--patch",
        seen,
    ]);
    let version = get(".metadata.resourceVersion");
    cluster().apply(&object);
    assert_eq!(get(".metadata.resourceVersion"), version);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_table_has_the_columns_that_people_look_for() {
    cluster().apply(&checkpoint("columns", &with_options(&json!({}))));
    let table = cluster().kubectl(&["get", "cckpt", "columns"]);
    let head: Vec<&str> = table
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(
        head,
        [
            "NAME",
            "NODE",
            "POD",
            "CONTAINER",
            "READY",
            "REASON",
            "PAUSE",
            "SIZE",
            "AGE"
        ]
    );
    let all = cluster().kubectl(&["get", "stillframe", "--output=name"]);
    assert!(
        all.contains("containercheckpoint.stillframe.dev/columns"),
        "{all}"
    );
}

#[test]
#[ignore = "needs the node root: run make test"]
fn objects_are_selected_by_the_node_that_they_were_given_to() {
    for (name, node) in [("on-a", "node-a"), ("on-x", "node-x")] {
        cluster().apply(&checkpoint(name, &with_options(&json!({}))));
        let patch = json!({"status": {"observedGeneration": 1, "nodeName": node}}).to_string();
        let args = [
            "patch",
            "cckpt",
            name,
            "--subresource=status",
            "--type=merge",
            "--patch",
            &patch,
        ];
        cluster().kubectl(&args);
    }
    let args = [
        "get",
        "cckpt",
        "--field-selector=status.nodeName=node-x",
        "--output=name",
    ];
    assert_eq!(
        cluster().kubectl(&args),
        "containercheckpoint.stillframe.dev/on-x\n"
    );
}
