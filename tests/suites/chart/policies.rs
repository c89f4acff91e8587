//! What the admission policies let through and what they refuse, and that the API server has read every expression of theirs.
//!
//! Users are impersonated here; that real tokens are held to the same is another suite's.

use std::sync::Once;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rig::cluster::SYSTEM;
use rig::node::PATIENCE;
use rig::{Cluster, Output};
use serde_json::{Value, json};
use stillframe_crds::manifest;

use super::{AGENTS, Chart, read, repository};

/// All of the chart but what runs.
const TEMPLATES: [&str; 9] = [
    "templates/namespace.yaml",
    "templates/crds.yaml",
    "templates/roles.yaml",
    "templates/page-servers.yaml",
    "templates/operator/serviceaccount.yaml",
    "templates/operator/rbac.yaml",
    "templates/agent/serviceaccount.yaml",
    "templates/agent/rbac.yaml",
    "templates/policies/*.yaml",
];

/// `kubectl` reads what it patches, and patches what is not there; the programs do neither, and have no right to.
const READING: &str = r#"
{"apiVersion": "v1", "kind": "List", "items": [
  {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "suite"},
   "rules": [{"apiGroups": ["stillframe.dev"], "resources": ["*"], "verbs": ["get"]},
             {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["get", "patch"]}]},
  {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "suite"},
   "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "suite"},
   "subjects": [{"kind": "ServiceAccount", "name": "stillframe-operator", "namespace": "stillframe-system"},
                {"kind": "ServiceAccount", "name": "stillframe-node-agent", "namespace": "stillframe-agents"}]}
]}"#;

/// Page servers that the administrator allows in this suite.
const ALLOWED: [&str; 6] = [
    "10.0.0.7",
    "10.0.1.7:27277",
    "10.2.0.0/16",
    "fd00::7",
    "[fd01::7]:27277",
    "fd02::/64",
];

/// A cluster with the chart's roles and policies in force.
fn cluster() -> &'static Cluster {
    static INSTALLED: Once = Once::new();
    let cluster = Cluster::shared();
    INSTALLED.call_once(|| {
        let chart = Chart::in_cluster();
        let values = json!({"pageServers": {
            "allowed": ALLOWED, "allowedNames": ["pages.example:27277", "other.example"],
        }});
        // Where the programs are run by hand their accounts may do anything.
        let by_hand = [
            "delete",
            "clusterrolebinding",
            "stillframe-rig",
            "--ignore-not-found",
        ];
        cluster.kubectl(&by_hand);
        let system = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}});
        cluster.apply(&system.to_string());
        cluster.apply(&chart.render(&values, &TEMPLATES));
        cluster.apply(READING);
        for one in ["containercheckpoints", "checkpointnodes", "pagereceivers"] {
            cluster.wait(
                &format!("crd/{one}.stillframe.dev"),
                "condition=Established",
            );
        }
    });
    cluster
}

/// Somebody who asks the API server for something.
#[derive(Clone, Debug)]
struct User(Vec<String>);

impl User {
    fn administrator() -> Self {
        Self(Vec::new())
    }

    fn called(name: &str) -> Self {
        let flags = [
            format!("--as={name}"),
            "--as-group=system:authenticated".to_owned(),
        ];
        Self(flags.to_vec())
    }

    fn operator() -> Self {
        Self::called("system:serviceaccount:stillframe-system:stillframe-operator")
    }

    /// The agent whose token is bound to this node.
    fn agent(node: &str) -> Self {
        let mut agent = Self::agent_without_node();
        let extra = "authentication.kubernetes.io/node-name";
        agent.0.push(format!("--as-user-extra={extra}={node}"));
        agent
    }

    fn agent_without_node() -> Self {
        Self::called("system:serviceaccount:stillframe-agents:stillframe-node-agent")
    }

    fn kubectl(&self, args: &[&str]) -> Output {
        let mut all: Vec<&str> = self.0.iter().map(String::as_str).collect();
        all.extend(args);
        cluster().try_kubectl(&all)
    }

    /// Writes a status, or only asks whether it might.
    fn write(&self, object: &str, status: &Value, only_ask: bool) -> Output {
        let patch = json!({"status": status}).to_string();
        let mut args = vec![
            "patch",
            object,
            "--subresource=status",
            "--type=merge",
            "--patch",
            &patch,
        ];
        if only_ask {
            args.push("--dry-run=server");
        }
        self.kubectl(&args)
    }

    /// Asks whether it might make or change this object.
    fn may_apply(&self, object: &Value) -> Output {
        let node = cluster().node(0);
        let file = node.put(&node.unique("object"), object.to_string());
        let args = [
            "apply",
            "--server-side",
            "--dry-run=server",
            "--force-conflicts",
            "--filename",
            &file,
        ];
        self.kubectl(&args)
    }
}

/// A request has to be refused in these words, once the policies are in force, which takes the API server a moment.
fn refused(words: &str, request: impl Fn() -> Output) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = request();
        if !answer.succeeded() && answer.stderr.contains(words) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "not refused with {words:?}: {answer:#?}"
        );
        sleep(Duration::from_millis(200));
    }
}

/// Makes a checkpoint that the operator has given to a node.
fn assigned(name: &str, node: &str) -> String {
    cluster().apply(&object(name, &json!({}), &json!({})).to_string());
    let object = format!("cckpt/{name}");
    let status = json!({
        "observedGeneration": 1, "nodeName": node, "podUID": "u", "sandboxUID": "u", "containerName": "app", "containerID": "containerd://a",
    });
    User::operator().write(&object, &status, false).ok();
    object
}

/// A checkpoint with these in its metadata and its spec.
fn object(name: &str, metadata: &Value, spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "stillframe.dev/v1alpha1", "kind": "ContainerCheckpoint",
        "metadata": {"name": name, "namespace": "default"}, "spec": {"source": {"podName": "p"}},
    });
    for (part, more) in [("metadata", metadata), ("spec", spec)] {
        for (field, value) in more.as_object().into_iter().flatten() {
            object[part][field] = value.clone();
        }
    }
    object
}

#[test]
#[ignore = "needs the node root: run make test"]
fn every_expression_is_one_that_the_api_server_understands() {
    let broken = "stillframe-broken";
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": broken},
        "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": ["stillframe.dev"], "apiVersions": ["v1alpha1"], "operations": ["CREATE"],
                "resources": ["containercheckpoints"]}]},
            "validations": [{"expression": "object.spec.nonsense == 'a'"}],
        },
    });
    cluster().apply(&policy.to_string());
    let names = cluster().kubectl(&["get", "validatingadmissionpolicies", "--output=name"]);
    assert!(names.lines().count() >= 9, "{names}");
    for name in names.lines() {
        cluster().wait(name, "jsonpath={.status.observedGeneration}=1");
        let path = "--output=jsonpath={.status.typeChecking.expressionWarnings}";
        let warnings = cluster().kubectl(&["get", name, path]);
        // The one that is broken shows that the others have been looked at.
        assert_eq!(
            warnings.is_empty(),
            !name.ends_with(broken),
            "{name}: {warnings}"
        );
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn status_is_written_by_the_operator_and_the_agents_alone() {
    let object = assigned("writers", "node-a");
    let status = json!({"observedGeneration": 1, "attempts": 1});
    for user in [User::administrator(), User::called("kubernetes-admin")] {
        if user.0.is_empty() {
            refused("written by the operator and the node agents alone", || {
                user.write(&object, &status, true)
            });
        } else {
            assert!(!user.write(&object, &status, true).succeeded());
        }
    }
    User::operator().write(&object, &status, true).ok();
    User::agent("node-a").write(&object, &status, true).ok();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_agent_writes_the_status_of_its_own_node_s_checkpoints_and_not_what_they_are_about() {
    let object = assigned("scope", "node-a");
    cluster().apply(&self::object("unassigned", &json!({}), &json!({})).to_string());
    let attempt = json!({"observedGeneration": 1, "attempts": 1});
    let own = User::agent("node-a");
    refused("the agent is of node node-b", || {
        User::agent("node-b").write(&object, &attempt, true)
    });
    refused("bound to no node", || {
        User::agent_without_node().write(&object, &attempt, true)
    });
    refused("given to no node yet", || {
        own.write("cckpt/unassigned", &attempt, true)
    });
    let theirs = json!({"observedGeneration": 1, "nodeName": "node-a"});
    refused("given to no node yet", || {
        own.write("cckpt/unassigned", &theirs, true)
    });
    refused("hand a checkpoint to another node", || {
        own.write(&object, &json!({"nodeName": "node-b"}), true)
    });
    refused("hand a checkpoint to another node", || {
        own.write(&object, &json!({"nodeName": null}), true)
    });
    for field in ["podUID", "sandboxUID", "containerName", "containerID"] {
        refused("which container", || {
            own.write(&object, &json!({field: "other"}), true)
        });
        refused("which container", || {
            own.write(&object, &json!({field: null}), true)
        });
    }
    own.write(&object, &attempt, true).ok();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_final_status_stays_but_for_what_becomes_of_the_image() {
    let object = assigned("final", "node-a");
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "Test", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let ready = condition("Ready", "True");
    let end = json!({
        "observedGeneration": 1, "completionTime": "2026-01-01T00:00:00Z", "attempts": 1,
        "artifact": {"parts": [{"node": "node-a", "path": "/a", "sizeBytes": 1}]}, "conditions": [ready],
    });
    let agent = User::agent("node-a");
    agent.write(&object, &end, false).ok();
    for user in [&agent, &User::operator()] {
        refused("is final", || {
            user.write(&object, &json!({"completionTime": null}), true)
        });
        refused("is final", || {
            user.write(
                &object,
                &json!({"artifact": {"parts": [{"node": "node-a", "path": "/b", "sizeBytes": 1}]}}),
                true,
            )
        });
        refused("is final", || {
            user.write(
                &object,
                &json!({"failure": {"reason": "TimedOut", "message": ""}}),
                true,
            )
        });
        refused("may still change", || {
            user.write(
                &object,
                &json!({"conditions": [condition("Ready", "False")]}),
                true,
            )
        });
        refused("may still change", || {
            user.write(&object, &json!({"conditions": []}), true)
        });
        refused("never goes back", || {
            user.write(&object, &json!({"observedGeneration": -1}), true)
        });
        user.write(&object, &json!({"observedGeneration": 2}), true)
            .ok();
        for kind in ["ImageRemoved", "Restorable", "LazyPagesReady"] {
            let more = json!({"conditions": [ready, condition(kind, "False")]});
            user.write(&object, &more, true).ok();
        }
    }
}

#[test]
fn the_policy_of_final_status_names_every_field_of_the_status() {
    let [(_, checkpoint), (_, receiver), _] = manifest::definitions();
    for (file, definition) in [
        ("final-status.yaml", checkpoint),
        ("agent-receiver.yaml", receiver),
    ] {
        let policies = "charts/stillframe/templates/policies";
        let policy = read(&repository(&format!("{policies}/{file}")));
        let version = definition.spec.versions.first().expect("a version");
        let schema = version
            .schema
            .as_ref()
            .and_then(|s| s.open_api_v3_schema.as_ref());
        let status = schema.and_then(|root| root.properties.as_ref()?.get("status"));
        let fields = status
            .and_then(|status| status.properties.as_ref())
            .expect("fields");
        assert!(fields.len() > 10);
        for field in fields.keys() {
            let compared = format!("object.?status.?{field} == oldObject.?status.?{field}");
            let apart = ["conditions", "observedGeneration"].contains(&field.as_str());
            assert!(
                apart || policy.contains(&compared),
                "{field} may change in a final status ({file})"
            );
        }
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_agent_makes_the_objects_of_its_own_node_alone() {
    let checkpoint_node = |name: &str| json!({"apiVersion": "stillframe.dev/v1alpha1", "kind": "CheckpointNode", "metadata": {"name": name}, "spec": {}});
    let lease = |name: &str, holder: &str| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, "namespace": AGENTS},
               "spec": {"holderIdentity": holder}})
    };
    let agent = User::agent("node-a");
    let create = |user: &User, object: Value| {
        let node = cluster().node(0);
        let file = node.put(&node.unique("object"), object.to_string());
        user.kubectl(&["create", "--dry-run=server", "--filename", &file])
    };
    refused("its own node alone, which is node-a", || {
        create(&agent, checkpoint_node("node-b"))
    });
    refused("bound to no node", || {
        create(&User::agent_without_node(), checkpoint_node("node-a"))
    });
    create(&agent, checkpoint_node("node-a")).ok();
    refused("stillframe-node-node-a", || {
        create(&agent, lease("stillframe-node-node-b", "node-b"))
    });
    refused("in the name of its own node", || {
        create(&agent, lease("stillframe-node-node-a", "node-b"))
    });
    create(&agent, lease("stillframe-node-node-a", "node-a")).ok();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_agent_publishes_events_in_its_own_name_about_checkpoints_and_their_pods() {
    let event = |change: &Value| {
        let mut event = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "an-event", "namespace": "default"},
            "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "reason": "Checkpointed", "action": "Checkpoint", "note": "",
            "reportingController": "stillframe.dev/node-agent", "reportingInstance": "node-a",
            "regarding": {"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": "default"},
        });
        for (field, value) in change.as_object().into_iter().flatten() {
            event[field] = value.clone();
        }
        event
    };
    let agent = User::agent("node-a");
    refused("which is node-a", || {
        agent.may_apply(&event(&json!({"reportingInstance": "node-b"})))
    });
    refused("which is node-a", || {
        agent.may_apply(&event(&json!({"reportingController": "kubelet"})))
    });
    refused("bound to no node", || {
        User::agent_without_node().may_apply(&event(&json!({})))
    });
    for kind in ["Node", "Secret", "Deployment"] {
        let about = json!({"regarding": {"apiVersion": "v1", "kind": kind, "name": "n", "namespace": "default"}});
        refused("about ContainerCheckpoints and Pods alone", || {
            agent.may_apply(&event(&about))
        });
    }
    agent.may_apply(&event(&json!({}))).ok();
    let about = json!({"regarding": {"apiVersion": "stillframe.dev/v1alpha1", "kind": "ContainerCheckpoint", "name": "a", "namespace": "default"}});
    agent.may_apply(&event(&about)).ok();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn whoever_asks_for_a_checkpoint_may_run_commands_in_that_very_pod() {
    let rules = json!([
        {"apiGroups": ["stillframe.dev"], "resources": ["containercheckpoints"], "verbs": ["create", "patch", "get"]},
        {"apiGroups": [""], "resources": ["pods/exec"], "resourceNames": ["mine"], "verbs": ["create"]},
    ]);
    for object in [
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "asker", "namespace": "default"}, "rules": rules}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "asker", "namespace": "default"},
               "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "asker"},
               "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}]}),
    ] {
        cluster().apply(&object.to_string());
    }
    let alice = User::called("alice");
    let of = |pod: &str| object("asked", &json!({}), &json!({"source": {"podName": pod}}));
    refused("alice may not checkpoint pod other", || {
        alice.may_apply(&of("other"))
    });
    alice.may_apply(&of("mine")).ok();
    User::administrator().may_apply(&of("other")).ok();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn memory_goes_to_page_servers_of_the_list_alone() {
    let to = |address: &str, port: u16| {
        let options = json!({"pageServer": {"address": address, "port": port}});
        object("paged", &json!({}), &json!({"options": options}))
    };
    let user = User::administrator();
    for (address, port) in [
        ("10.0.0.8", 27277),
        ("10.0.1.7", 27278),
        ("10.3.0.1", 1),
        ("127.0.0.1", 27277),
        ("::1", 27277),
        ("0.0.0.0", 27277),
        ("fd00::8", 1),
        ("fd01::7", 1),
        ("fd02:0:0:1::1", 1),
        // Not addresses as the API writes them, and no names of the list.
        ("010.0.0.7", 1),
        ("0x0a.0.0.7", 1),
        ("167772167", 1),
        ("::ffff:10.0.0.7", 1),
        ("10.0.0.7.", 1),
        ("localhost", 27277),
        ("pages.example", 1),
        ("pages.example.", 27277),
        ("PAGES.example", 27277),
        ("pages.example:27277", 1),
        ("10.2.0.0/16", 1),
        ("\n", 1),
        (" ", 1),
    ] {
        refused("memory may not be sent to", || {
            user.may_apply(&to(address, port))
        });
    }
    for (address, port) in [
        ("10.0.0.7", 1),
        ("10.0.1.7", 27277),
        ("10.2.255.255", 9),
        ("fd00:0::7", 9),
        ("FD00::7", 9),
        ("fd01::7", 27277),
        ("fd02::1", 9),
        ("pages.example", 27277),
        ("other.example", 9),
    ] {
        user.may_apply(&to(address, port)).ok();
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn lazy_pages_are_fetched_by_addresses_of_the_list_alone() {
    let by = |peers: &[&str]| {
        // Where they are served is the node's business.
        let server = json!({"address": "0.0.0.0", "port": 27277});
        let options = json!({"lazyPages": true, "pageServer": server, "lazyPeers": peers});
        object("fetched", &json!({}), &json!({"options": options}))
    };
    let user = User::administrator();
    for peer in [
        "10.0.0.8",
        "10.0.0.0/24",
        "127.0.0.1",
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.2.0.0/15",
        // What is listed with a port is a page server.
        "10.0.1.7",
        "fd01::7",
        "fd00::8",
        "fd02::/15",
    ] {
        refused(&format!("memory may not be fetched by {peer}"), || {
            user.may_apply(&by(&["10.0.0.7", peer]))
        });
    }
    let all = [
        "10.0.0.7",
        "10.0.0.7/32",
        "10.2.3.4",
        "10.2.128.0/17",
        "fd00:0::7",
        "fd00::7/128",
        "fd02::1",
    ];
    user.may_apply(&by(&all)).ok();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn what_is_looked_after_from_elsewhere_has_no_time_to_live() {
    let user = User::administrator();
    let ttl = json!({"ttlSecondsAfterFinished": 60});
    let marked =
        |labels: Value, annotations: Value| json!({"labels": labels, "annotations": annotations});
    let none = || json!({});
    for mark in [
        marked(json!({"kustomize.toolkit.fluxcd.io/name": "apps"}), none()),
        marked(json!({"helm.toolkit.fluxcd.io/name": "apps"}), none()),
        marked(json!({"argocd.argoproj.io/instance": "apps"}), none()),
        marked(
            none(),
            json!({"argocd.argoproj.io/tracking-id": "apps:stillframe.dev/ContainerCheckpoint:default/a"}),
        ),
        marked(json!({"app.kubernetes.io/instance": "apps"}), none()),
        marked(
            json!({"app.kubernetes.io/instance": "apps", "app.kubernetes.io/managed-by": "kustomize"}),
            none(),
        ),
        marked(
            json!({"app.kubernetes.io/instance": "apps"}),
            json!({"stillframe.dev/allow-ttl": "yes"}),
        ),
    ] {
        refused("stillframe.dev/allow-ttl", || {
            user.may_apply(&object("kept", &mark, &ttl))
        });
        user.may_apply(&object("kept", &mark, &none())).ok();
    }
    for mark in [
        none(),
        marked(json!({"app": "a"}), none()),
        marked(
            json!({"app.kubernetes.io/instance": "apps", "app.kubernetes.io/managed-by": "Helm"}),
            none(),
        ),
        marked(
            json!({"argocd.argoproj.io/instance": "apps"}),
            json!({"stillframe.dev/allow-ttl": "true"}),
        ),
    ] {
        user.may_apply(&object("kept", &mark, &ttl)).ok();
    }
    // Later as well: a time to live on what is marked, and a mark on what has one.
    let mark = json!({"labels": {"argocd.argoproj.io/instance": "apps"}});
    cluster().apply(&object("marked", &mark, &none()).to_string());
    refused("stillframe.dev/allow-ttl", || {
        user.may_apply(&object("marked", &mark, &ttl))
    });
    cluster().apply(&object("timed", &none(), &ttl).to_string());
    refused("stillframe.dev/allow-ttl", || {
        user.may_apply(&object("timed", &mark, &ttl))
    });
}
