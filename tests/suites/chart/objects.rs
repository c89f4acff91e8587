//! Every object of every set of values, before a real API server that applies none of them: a dry run on its side.

use std::fs;
use std::sync::Once;

use rig::Cluster;
use serde_json::{Value, json};

use super::{AGENTS, Chart, read, repository};

/// A cluster that has what the chart's objects are about: definitions, those of Prometheus' operator too, and the two namespaces.
fn cluster() -> &'static Cluster {
    static PREPARED: Once = Once::new();
    let cluster = Cluster::shared();
    PREPARED.call_once(|| {
        cluster.install_crds();
        let others = repository("tests/suites/chart/monitoring");
        for entry in fs::read_dir(others).expect("a folder").flatten() {
            cluster.install_definition(&read(&entry.path()));
        }
        for (name, level) in [("stillframe-system", "restricted"), (AGENTS, "privileged")] {
            let label = |mode: &str| (format!("pod-security.kubernetes.io/{mode}"), json!(level));
            let labels: serde_json::Map<_, _> = ["enforce", "warn"].map(label).into_iter().collect();
            let namespace = json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels},
            });
            cluster.apply(&namespace.to_string());
        }
        // The server refuses a pod whose service account is not there, in a dry run too.
        let account = ["templates/operator/serviceaccount.yaml"];
        let chart = Chart::in_cluster();
        cluster.apply(&chart.render(&json!({}), &account));
    });
    cluster
}

/// Sets of values, one for each switch and each way, and what has to be in what is made of them.
#[rustfmt::skip]
fn sets() -> Vec<(Value, &'static [&'static str], &'static [&'static str])> {
    vec![
        (json!({}), &["kind: DaemonSet", "kind: Deployment", "kind: NetworkPolicy", "kind: PodDisruptionBudget", "helm.sh/resource-policy: keep",
            "kind: ValidatingAdmissionPolicyBinding", "kind: PriorityClass", "name: stillframe-edit", "name: stillframe-agents", "kind: Pod\n",
            "terminationGracePeriodSeconds: 35", "name: stillframe-page-servers"],
            &["ServiceMonitor", "PodMonitor", "PrometheusRule", "dashboard", "STILLFRAME_NAMESPACE_LIMIT", "hostPort"]),
        (json!({"crds": {"install": false}}), &["kind: DaemonSet"], &["kind: CustomResourceDefinition"]),
        (json!({"crds": {"keep": false}}), &["kind: CustomResourceDefinition"], &["resource-policy"]),
        (json!({"operator": {"replicas": 2, "podDisruptionBudget": {"enabled": false}}}), &["replicas: 2"], &["kind: PodDisruptionBudget"]),
        (json!({"operator": {"networkPolicy": {"enabled": false}}}), &[], &["kind: NetworkPolicy"]),
        (json!({"operator": {"networkPolicy": {"apiServerPorts": [8443], "metricsFrom": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]}}}),
            &["port: 8443", "namespaceSelector"], &["port: 6443"]),
        (json!({"agent": {"createNamespace": false}}), &["kind: DaemonSet"], &["kind: Namespace\n"]),
        (json!({"agent": {"namespace": "stillframe-system"}}), &["kind: DaemonSet"], &["kind: Namespace\n", "stillframe-agents"]),
        (json!({"agent": {"criu": "host", "criuConfig": "/etc/criu", "namespaceLimit": "10Gi", "dumpCgroup": "", "concurrency": 3, "gracePeriodSeconds": 120}}),
            &["value: host", "mountPath: /etc/criu", "value: 10Gi", "value: 120s", "terminationGracePeriodSeconds: 135"], &["STILLFRAME_DUMP_CGROUP"]),
        (json!({"agent": {"runtimeDirs": ["/run/runc", "/run/crun", "/run/containers", "/var/lib/containers"], "imageRoot": "/data/checkpoints"}}),
            &["mountPath: /var/lib/containers", "value: /data/checkpoints/images"], &["/run/containerd", "/var/lib/stillframe"]),
        (json!({"agent": {"metrics": {"enabled": true}}, "monitoring": {"serviceMonitor": {"enabled": true}, "podMonitor": {"enabled": true},
            "prometheusRule": {"enabled": true}, "grafanaDashboard": {"enabled": true}, "labels": {"release": "prometheus"}}}),
            &["kind: ServiceMonitor", "kind: PodMonitor", "kind: PrometheusRule", "grafana_dashboard: \"1\"", "hostPort: 8083", "0.0.0.0:8083"], &[]),
        (json!({"priorityClass": {"create": false}}), &[], &["kind: PriorityClass", "priorityClassName"]),
        (json!({"priorityClass": {"create": false}, "agent": {"priorityClassName": "system-node-critical"}, "operator": {"priorityClassName": "system-cluster-critical"}}),
            &["priorityClassName: system-node-critical", "priorityClassName: system-cluster-critical"], &["kind: PriorityClass"]),
        (json!({"priorityClass": {"value": 1_000_000_000, "preemptionPolicy": "Never"}}), &["value: 1000000000"], &[]),
        (json!({"pageServers": {"allowed": ["10.0.0.7:27277", "10.1.0.0/16", "[fd00::1]:7"], "allowedNames": ["pages.example:27277"], "keysSecret": "page-keys"}}),
            &["value: 10.0.0.7:27277,10.1.0.0/16,[fd00::1]:7", "secretName: page-keys", "pages.example:27277"], &[]),
        (json!({"policies": {"enabled": false}}), &["kind: DaemonSet"], &["ValidatingAdmissionPolicy"]),
        (json!({"rbac": {"aggregate": false}}), &[], &["aggregate-to"]),
        (json!({"image": {"registry": "registry.example:5000/mirror", "tag": "v9", "pullPolicy": "Always"}, "imagePullSecrets": [{"name": "pull"}],
            "operator": {"image": {"digest": format!("sha256:{}", "ab".repeat(32))}}, "agent": {"image": {"tag": "v10"}}}),
            &["registry.example:5000/mirror/stillframe/stillframe-operator@sha256:abab", "registry.example:5000/mirror/stillframe/stillframe-node-agent:v10", "name: pull"], &[]),
        (json!({"log": {"format": "json", "filter": "info,kube=debug"}, "commonLabels": {"team": "platform"}}), &["value: json", "team: platform"], &[]),
        (json!({"operator": further(), "agent": further()}), &["--log-filter=debug", "name: EXTRA", "value: warn", "mountPath: /extra", "disktype: ssd"], &["value: info"]),
    ]
}

/// All that may be added to either program's pods; one variable takes the place of the chart's own.
fn further() -> Value {
    json!({
        "extraArgs": ["--log-filter=debug"],
        "extraEnv": [{"name": "EXTRA", "value": "1"}, {"name": "STILLFRAME_LOG_FILTER", "value": "warn"}],
        "extraVolumes": [{"name": "extra", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra"}],
        "nodeSelector": {"disktype": "ssd"},
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "podAnnotations": {"note": "a"},
        "podLabels": {"mesh": "off"},
        "resources": {"limits": {"memory": "1Gi"}},
    })
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_api_server_takes_every_object_for_every_switch() {
    let chart = Chart::in_cluster();
    for (values, there, missing) in sets() {
        let objects = chart.render(&values, &[]);
        for text in there {
            assert!(objects.contains(text), "{text} is not made of {values}");
        }
        for text in missing {
            assert!(!objects.contains(text), "{text} is made of {values}");
        }
        taken(&values.to_string(), &objects);
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_api_server_takes_the_plain_manifests() {
    for name in ["deploy/crds.yaml", "deploy/install.yaml"] {
        let manifests = read(&repository(name));
        taken(name, &manifests);
        for foreign in ["helm.sh/", "managed-by: Helm"] {
            assert!(!manifests.contains(foreign), "{foreign} is in {name}");
        }
    }
    let node = cluster().node(0);
    super::bring(node, &repository("deploy"), "deploy");
    let built = cluster().kubectl(&["kustomize", "/run/rig/deploy"]);
    let images = built
        .lines()
        .filter(|line| line.trim_start().starts_with("image: stillframe/"));
    assert_eq!(images.count(), 2, "{built}");
}

/// The server takes these objects, knows every field of them, and warns of nothing.
fn taken(what: &str, objects: &str) {
    let node = cluster().node(0);
    let file = node.put(&node.unique("objects"), objects);
    let args = [
        "apply",
        "--server-side",
        "--dry-run=server",
        "--force-conflicts",
        "--validate=strict",
        "--filename",
        &file,
    ];
    let answer = cluster().try_kubectl(&args);
    assert!(answer.succeeded(), "{what}: {}", answer.stderr);
    // The agents are privileged by design, and warned of where somebody puts them into the operator's namespace.
    let warned = answer.stderr.contains("Warning") && !what.contains("\"stillframe-system\"");
    assert!(!warned, "{what}: {}", answer.stderr);
}
