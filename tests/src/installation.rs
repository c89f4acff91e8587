//! The project in a cluster as users have it: its images on the nodes, its chart installed by Helm, its programs in pods.

mod instance;
mod values;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

pub use instance::Instance;
pub use values::Values;

use crate::cluster::{ADMIN, Cluster, SYSTEM};
use crate::node::Output;

/// The namespace of the agents.
pub const AGENTS: &str = "stillframe-agents";

/// The release's name.
pub const RELEASE: &str = "stillframe";

/// Where the chart is in the first node.
pub const CHART: &str = "/run/rig/chart";

/// The operator's Deployment, service account and container.
pub const OPERATOR: &str = "stillframe-operator";

/// The agents' `DaemonSet` and service account.
pub const AGENT: &str = "stillframe-node-agent";

/// How long Helm may take: many times what it takes, since the machine may be busy.
const INSTALLING: Duration = Duration::from_mins(3);

/// The operator's namespace, as the documentation says to make it.
const NAMESPACE: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: stillframe-system, \
    labels: {pod-security.kubernetes.io/enforce: restricted}}}";

/// A release of the chart in a cluster. It stays when this is dropped.
#[derive(Debug)]
pub struct Installation<'cluster> {
    cluster: &'cluster Cluster,
}

impl<'cluster> Installation<'cluster> {
    /// Brings images and chart into the cluster, installs it with these values, and waits until all is ready.
    #[must_use]
    pub fn install(cluster: &'cluster Cluster, values: &Values) -> Self {
        let this = Self::prepare(cluster);
        this.install_again(values);
        this
    }

    /// Brings images and chart into the cluster, and makes the operator's namespace.
    #[must_use]
    pub fn prepare(cluster: &'cluster Cluster) -> Self {
        thread::scope(|scope| {
            for node in cluster.node_names() {
                scope.spawn(move || cluster.import_programs(node));
                cluster.follow_exits(node);
            }
            let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/stillframe");
            copy(cluster, &chart, "chart");
            cluster.apply(NAMESPACE);
        });
        Self { cluster }
    }

    /// Installs the release, which is not there, and waits until all is ready.
    pub fn install_again(&self, values: &Values) {
        self.helm(&["install", RELEASE, CHART], Some(values));
        self.wait_until_ready();
    }

    /// Has the release changed, and does not wait for what comes of it.
    pub fn upgrade(&self, values: &Values) {
        self.helm(&["upgrade", RELEASE, CHART], Some(values));
    }

    /// Removes the release, and waits until its pods are gone.
    pub fn uninstall(&self) {
        self.helm(&["uninstall", RELEASE, "--wait"], None);
    }

    /// Runs Helm, which must succeed, in the operator's namespace.
    #[expect(
        clippy::must_use_candidate,
        reason = "what it prints is for some alone"
    )]
    pub fn helm(&self, args: &[&str], values: Option<&Values>) -> String {
        self.try_helm(args, values).ok().stdout
    }

    /// Runs Helm in the operator's namespace, whatever comes of it.
    #[must_use]
    pub fn try_helm(&self, args: &[&str], values: Option<&Values>) -> Output {
        let node = self.cluster.node(0);
        let mut helm = node
            .command("helm")
            .args(args)
            .args(["--namespace", SYSTEM])
            .env("KUBECONFIG", ADMIN)
            .timeout(INSTALLING);
        if let Some(values) = values {
            let file = node.put(&node.unique("values"), values.file());
            helm = helm.args(["--values", &file]);
        }
        helm.output()
    }

    /// Waits until the operator and the agents are what the release says, and every agent has said that it is ready.
    pub fn wait_until_ready(&self) {
        for (namespace, object) in [
            (SYSTEM, format!("deployment/{OPERATOR}")),
            (AGENTS, format!("daemonset/{AGENT}")),
        ] {
            let args = ["rollout", "status", &object, "--namespace", namespace];
            let rollout = self.cluster.kubectl_command(&args).arg("--timeout=120s");
            let rollout = rollout.timeout(INSTALLING).output();
            assert!(
                rollout.succeeded(),
                "{object} does not come up: {}\n{}",
                rollout.stderr,
                self.situation(namespace)
            );
        }
        let output = "--output=jsonpath={.items[*].spec.nodeName}";
        let nodes = self
            .cluster
            .kubectl(&["get", "pods", "--namespace", AGENTS, output]);
        for node in nodes.split_whitespace() {
            let object = format!("checkpointnode/{node}");
            self.cluster.wait(&object, "create");
            self.cluster.wait(&object, "condition=Ready");
        }
    }

    /// What there is to be known of a namespace's pods, for messages.
    fn situation(&self, namespace: &str) -> String {
        let tell = |args: &[&str]| {
            let output = self
                .cluster
                .try_kubectl(&[args, &["-n", namespace]].concat());
            output.stdout + &output.stderr
        };
        tell(&["get", "all", "--output=wide"])
            + &tell(&["describe", "pods"])
            + &tell(&["get", "events"])
            + &tell(&[
                "logs",
                "--all-containers",
                "--tail=30",
                "--selector",
                "app.kubernetes.io/name",
            ])
    }

    /// The operator, of which the release has one.
    #[must_use]
    pub fn operator(&self) -> Instance<'cluster> {
        let selector = "--selector=app.kubernetes.io/component=operator";
        let output = "--output=jsonpath={.items[0].spec.nodeName}";
        let node = self
            .cluster
            .kubectl(&["get", "pods", "--namespace", SYSTEM, selector, output]);
        Instance::find(self.cluster, &node, SYSTEM, "operator")
    }

    /// The agent of a node.
    #[must_use]
    pub fn agent(&self, node: &str) -> Instance<'cluster> {
        Instance::find(self.cluster, node, AGENTS, "node-agent")
    }

    /// A token such as the operator has.
    #[must_use]
    pub fn operator_token(&self) -> String {
        self.cluster.token_in(SYSTEM, OPERATOR, None)
    }
}

/// Copies a folder of this machine into the first node's scratch folder.
fn copy(cluster: &Cluster, folder: &Path, to: &str) {
    let listed = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("failed to read {}: {error}", folder.display()));
    for entry in listed.flatten() {
        let to = format!("{to}/{}", entry.file_name().to_string_lossy());
        let path = entry.path();
        if path.is_dir() {
            copy(cluster, &path, &to);
        } else {
            let bytes = fs::read(&path)
                .unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()));
            cluster.node(0).put(&to, bytes);
        }
    }
}
