//! Users who have rights, but not these.

use rig::cluster::Manifest;
use rig::{Mission, Node};
use serde_json::{Value, json};

use crate::identity::{CHECKPOINTS, Identity, cluster};

const IMAGES: &str = "/var/lib/stillframe/images";

fn checkpoint(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "stillframe.dev/v1alpha1", "kind": "ContainerCheckpoint",
        "metadata": {"name": name}, "spec": spec})
}

fn of_pod(pod: &str, options: &Value) -> Value {
    json!({"source": {"podName": pod}, "options": options})
}

fn node() -> &'static Node {
    cluster().node(0)
}

/// Rights on checkpoints, and on `exec` in these pods: all of them if none is named.
fn creator(name: &str, pods: Option<&[&str]>) -> Identity {
    let mut exec = json!({"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]});
    if let Some(pods) = pods {
        exec["resourceNames"] = json!(pods);
    }
    let checkpoints = json!({"apiGroups": ["stillframe.dev"], "resources": ["containercheckpoints"],
        "verbs": ["get", "create", "delete"]});
    Identity::with_rights(name, &json!([checkpoints, exec]))
}

#[test]
#[ignore = "needs the node root: run make test"]
fn who_may_write_status_still_names_no_other_s_container() {
    cluster();
    let _ = cluster().create(&Manifest::new("wanted"));
    let pod = cluster().pod("default", "wanted");
    pod.wait("condition=Ready");
    let mallory = Identity::with_rights(
        "status-writer",
        &json!([{"apiGroups": ["stillframe.dev"], "resources": ["*"], "verbs": ["*"]},
            {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]}]),
    );
    // It never starts, so that its checkpoint waits.
    let gates = json!([{"name": "rig.example.org/never"}]);
    let _ = cluster().create(&Manifest::new("gated").spec("schedulingGates", gates));
    let spec = json!({"source": {"podName": "gated"}});
    mallory.allowed(("POST", CHECKPOINTS, checkpoint("bait", &spec)));
    let id = pod.container_id("app").expect("it runs");
    let status = json!({"status": {"nodeName": "node-a", "podUID": pod.uid(), "containerName": "app",
        "containerID": format!("containerd://{id}")}});
    let path = format!("{CHECKPOINTS}/bait/status");
    let says = "written by the operator and the node agents alone";
    mallory.refused(("PATCH", &path, status.clone()), says);
    mallory.refused(
        ("PUT", &path, {
            let mut whole = mallory.allowed(("GET", &format!("{CHECKPOINTS}/bait"), Value::Null));
            whole["status"] = status["status"].clone();
            whole
        }),
        says,
    );
    // What comes with an object that is made is not its status.
    let mut forged = checkpoint("forged", &spec);
    forged["status"] = status["status"].clone();
    let made = mallory.allowed(("POST", CHECKPOINTS, forged));
    assert!(made["status"]["nodeName"].is_null(), "{made:#}");
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn who_may_not_exec_into_a_pod_may_not_checkpoint_it() {
    let pod = cluster().run(&Manifest::new("guarded"));
    let says = "the right to create pods/exec";
    let wanted = checkpoint("taken", &of_pod("guarded", &json!({})));
    let without = Identity::with_rights(
        "without-exec",
        &json!([{"apiGroups": ["stillframe.dev"], "resources": ["containercheckpoints"], "verbs": ["*"]},
            {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["*"]}]),
    );
    without.refused(("POST", CHECKPOINTS, wanted.clone()), says);
    creator("exec-elsewhere", Some(&["another"]))
        .refused(("POST", CHECKPOINTS, wanted.clone()), says);
    creator("exec-here", Some(&["guarded"])).allowed(("POST", CHECKPOINTS, wanted));
    Mission::shared().existing("default", "taken").wait_ready();
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn no_path_leads_out_of_the_namespace_s_own_directory() {
    let pod = cluster().run(&Manifest::new("paths"));
    let user = creator("paths", None);
    for (option, path) in [
        ("imagePath", "/etc"),
        ("imagePath", "../other/x"),
        ("imagePath", "a/../../other"),
        ("workPath", "/etc/stillframe"),
        ("parentPath", "../other/parent"),
        ("imagePath", "a\u{0}b"),
        ("imagePath", ""),
    ] {
        let object = checkpoint("path", &of_pod("paths", &json!({option: path})));
        user.refused(("POST", CHECKPOINTS, object), "spec.options");
    }
    // Somebody who got on the node has put links where images go.
    node()
        .shell(&format!(
            "mkdir -p /var/tmp/elsewhere {IMAGES}/default
             ln -s /var/tmp/elsewhere {IMAGES}/default/link
             ln -s /var/tmp/elsewhere/new {IMAGES}/default/planted
             ln -s /var/tmp/elsewhere {IMAGES}/default/planted.partial"
        ))
        .ok();
    for path in ["link", "link/below", "planted"] {
        let name = format!("at-{}", path.replace('/', "-"));
        let spec = of_pod("paths", &json!({"imagePath": path}));
        let checkpoint = Mission::shared().checkpoint(&name, &spec);
        let status = checkpoint.wait_complete();
        let reason = checkpoint.reason();
        assert!(
            ["ImagePathUnusable", "ImagePathTaken"].contains(&reason.as_str()),
            "{path}: {status:#}"
        );
        checkpoint.delete();
    }
    let found = node().shell("ls -A /var/tmp/elsewhere").ok().stdout;
    assert_eq!(found, "", "something was written through a link");
    let found = node()
        .shell(&format!(
            "readlink {IMAGES}/default/link {IMAGES}/default/planted"
        ))
        .ok();
    assert_eq!(
        found.stdout, "/var/tmp/elsewhere\n/var/tmp/elsewhere/new\n",
        "a link was removed"
    );
    pod.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn memory_goes_to_no_server_that_is_not_listed() {
    let user = creator("sender", None);
    for (address, port) in [
        ("10.0.0.7", 27277),
        ("127.0.0.1", 27277),
        ("::1", 27277),
        ("::ffff:127.0.0.1", 27277),
        ("0.0.0.0", 6443),
        ("localhost", 27277),
        ("evil.example.org", 443),
    ] {
        let options = json!({"pageServer": {"address": address, "port": port}});
        let object = checkpoint("sent", &of_pod("anything", &options));
        user.refused(("POST", CHECKPOINTS, object), "memory may not be sent to");
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn another_namespace_s_parent_is_not_to_be_had() {
    let pod = cluster().run(&Manifest::new("heir"));
    cluster().kubectl(&["create", "namespace", "rich"]);
    cluster().wait_in("rich", "serviceaccount/default", "create");
    let owner = cluster().run(&Manifest::new("owner").namespace("rich"));
    let mission = Mission::shared();
    let theirs = mission.checkpoint_in("rich", "theirs", &json!({"source": {"podName": "owner"}}));
    theirs.wait_ready();
    let user = creator("heir", None);
    let parent = |value: Value| of_pod("heir", &json!({"parentRef": value}));
    for (value, says) in [
        (
            json!({"name": "theirs", "namespace": "rich"}),
            "unknown field",
        ),
        (
            json!({"name": "rich/theirs"}),
            "spec.options.parentRef.name",
        ),
        (
            json!({"name": "../rich/theirs"}),
            "spec.options.parentRef.name",
        ),
    ] {
        let path = format!("{CHECKPOINTS}?fieldValidation=Strict");
        user.refused(
            ("POST", &path, checkpoint("inherits", &parent(value))),
            says,
        );
    }
    let named = mission.checkpoint("inherits", &parent(json!({"name": "theirs"})));
    named.wait_complete();
    // A kernel that tracks no memory is found out first.
    let reason = named.reason();
    assert!(
        ["ParentNotFound", "NoSoftDirty"].contains(&reason.as_str()),
        "{reason}"
    );
    assert!(theirs.exists() && !theirs.image_files().is_empty());
    cluster().kubectl(&["delete", "namespace", "rich", "--wait=false"]);
    pod.delete();
    let _ = owner;
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_object_of_any_size_is_refused() {
    let user = creator("talker", None);
    let long = "x".repeat(100_000);
    for options in [
        json!({"imagePath": long}),
        json!({"pageServer": {"address": long, "port": 1}}),
        json!({"parentRef": {"name": long}}),
        json!({"emptyNamespaces": vec!["Network"; 50_000]}),
    ] {
        let object = checkpoint("long", &of_pod("anything", &options));
        user.refused(("POST", CHECKPOINTS, object), "spec.options");
    }
    let mut object = checkpoint("long", &of_pod("anything", &json!({})));
    object["metadata"]["annotations"] = json!({"note": "x".repeat(4 << 20)});
    user.refused(("POST", CHECKPOINTS, object), "");
}
