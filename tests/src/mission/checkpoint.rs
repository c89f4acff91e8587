//! A `ContainerCheckpoint` as tests see it: through `kubectl`, as any user would.

use std::fmt;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::node::{Node, Output};

/// What a condition says; nothing at all if the object does not have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// `True` or `False`.
    pub status: String,
    /// The word.
    pub reason: String,
    /// The sentences.
    pub message: String,
}

/// A `ContainerCheckpoint` that was asked for, by its name. It stays when this is dropped.
#[derive(Clone, Debug)]
pub struct Checkpoint<'cluster> {
    pub(super) cluster: &'cluster Cluster,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// Prints it as `kubectl` takes it.
impl fmt::Display for Checkpoint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "containercheckpoint.stillframe.dev/{}", self.name)
    }
}

#[expect(
    clippy::must_use_candidate,
    reason = "to wait is what some of them are called for"
)]
impl<'cluster> Checkpoint<'cluster> {
    /// One that somebody has asked for already.
    #[must_use]
    pub fn of(cluster: &'cluster Cluster, namespace: &str, name: &str) -> Self {
        Self {
            cluster,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn try_kubectl(&self, verb: &str, more: &[&str]) -> Output {
        let object = self.to_string();
        let mut args = vec![verb, "--namespace", &self.namespace, &object];
        args.extend(more);
        self.cluster.try_kubectl(&args)
    }

    /// The whole object.
    #[must_use]
    pub fn object(&self) -> Value {
        let text = self.try_kubectl("get", &["--output=json"]).ok().stdout;
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> Value {
        self.object()["status"].take()
    }

    /// A condition of it.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Condition {
        condition_of(&self.status(), kind)
    }

    /// The reason of its condition `Ready`.
    #[must_use]
    pub fn reason(&self) -> String {
        self.condition("Ready").reason
    }

    /// Waits, by a watch, for a condition in the form of `kubectl wait --for`.
    pub fn wait(&self, condition: &str) {
        self.cluster
            .wait_in(&self.namespace, &self.to_string(), condition);
    }

    /// Waits until it is working or waiting for this reason.
    pub fn wait_while(&self, reason: &str) {
        self.wait(&format!(
            "jsonpath={{.status.conditions[?(@.type==\"Reconciling\")].reason}}={reason}"
        ));
    }

    /// Waits with `kubectl wait --for=condition=Complete`, and returns its status then.
    pub fn wait_complete(&self) -> Value {
        self.wait("condition=Complete");
        self.status()
    }

    /// Waits for its end, which has to be a good one, and returns its status.
    pub fn wait_ready(&self) -> Value {
        let status = self.wait_complete();
        let ready = condition_of(&status, "Ready");
        assert_eq!(ready.status, "True", "{self}: {ready:?}\n{status:#}");
        for (kind, holds) in [("Reconciling", "False"), ("Stalled", "False")] {
            assert_eq!(condition_of(&status, kind).status, holds, "{status:#}");
        }
        status
    }

    /// Waits for its end, which has to be a failure of this reason that all conditions agree on, and returns the message.
    pub fn wait_failed(&self, reason: &str) -> String {
        let status = self.wait_complete();
        let ready = condition_of(&status, "Ready");
        let found = (ready.status.as_str(), ready.reason.as_str());
        assert_eq!(found, ("False", reason), "{self}: {status:#}");
        for (kind, holds) in [
            ("Complete", "True"),
            ("Reconciling", "False"),
            ("Stalled", "True"),
        ] {
            let condition = condition_of(&status, kind);
            let found = (condition.status.as_str(), condition.reason.as_str());
            assert_eq!(found, (holds, reason), "{kind} of {self}: {status:#}");
        }
        assert_eq!(status["failure"]["reason"], reason, "{status:#}");
        assert!(status["completionTime"].is_string(), "{status:#}");
        ready.message
    }

    /// Changes its status by a merge patch with this bearer token: an administrator may not, see the policies of the chart.
    pub fn patch_status_with(&self, token: &str, status: &Value) {
        let change = serde_json::json!({"status": status}).to_string();
        let path = format!(
            "/apis/stillframe.dev/v1alpha1/namespaces/{}/containercheckpoints/{}/status",
            self.namespace, self.name
        );
        self.cluster.try_patch_with(token, &path, &change).ok();
    }

    /// What `kubectl describe` shows.
    #[must_use]
    pub fn describe(&self) -> String {
        self.try_kubectl("describe", &[]).ok().stdout
    }

    /// Deletes it, and waits until it is gone.
    pub fn delete(&self) {
        self.try_kubectl("delete", &["--timeout=50s"]).ok();
    }

    /// Deletes it, and does not wait.
    pub fn begin_delete(&self) {
        self.try_kubectl("delete", &["--wait=false"]).ok();
    }

    /// Whether the API server still has it.
    #[must_use]
    pub fn exists(&self) -> bool {
        let found = self.try_kubectl("get", &["--ignore-not-found", "--output=name"]);
        !found.ok().stdout.is_empty()
    }

    /// The node that it was given to.
    #[must_use]
    pub fn node(&self) -> &Node {
        let status = self.status();
        let name = status["nodeName"].as_str();
        self.cluster
            .node_called(name.unwrap_or_else(|| panic!("{self} was given to no node")))
    }

    /// Where its image is on its node.
    #[must_use]
    pub fn image(&self) -> String {
        let status = self.status();
        let path = &status["artifact"]["parts"][0]["path"];
        let path = path
            .as_str()
            .unwrap_or_else(|| panic!("{self} has no image: {status:#}"));
        path.to_owned()
    }

    /// The names of the files of its image, sorted; none if the directory is not there.
    #[must_use]
    pub fn image_files(&self) -> Vec<String> {
        files(self.node(), &self.image())
    }
}

/// The names in a directory of a node, sorted, hidden ones too; none if it is not there.
#[must_use]
pub fn files(node: &Node, directory: &str) -> Vec<String> {
    let listed = node.run(&["ls", "-A1", directory]);
    listed.stdout.lines().map(str::to_owned).collect()
}

/// A condition in a status.
#[must_use]
pub fn condition_of(status: &Value, kind: &str) -> Condition {
    let conditions = status["conditions"].as_array();
    let found = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == kind);
    let text = |field: &str| {
        let text = found.and_then(|condition| condition[field].as_str());
        text.unwrap_or_default().to_owned()
    };
    Condition {
        status: text("status"),
        reason: text("reason"),
        message: text("message"),
    }
}
