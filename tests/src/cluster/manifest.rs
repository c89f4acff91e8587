//! What a pod is to look like, with what every pod here needs already in it.

use std::fmt;

use serde_json::{Value, json};

use super::worker::{BUSYBOX, WORKLOAD};

/// A pod's manifest. Its containers use local images and have a second to end when they are told to.
#[derive(Clone, Debug)]
pub struct Manifest(Value);

/// Prints it as JSON, which is YAML.
impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Manifest {
    /// A pod without containers, in the namespace `default`.
    #[must_use]
    pub fn empty(name: &str) -> Self {
        Self(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                // Not 0: then the API server forgets the pod while it still runs.
                "terminationGracePeriodSeconds": 1,
                "containers": [],
            },
        }))
    }

    /// A pod with one container `app` that counts, see [`Manifest::counting`].
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::empty(name).counting("app")
    }

    /// Adds a container that counts in its memory, fifty times a second, and shows the number in [`Manifest::counter`].
    #[must_use]
    pub fn counting(self, container: &str) -> Self {
        self.counting_after(container, ":")
    }

    /// The same of a container that does this first, in shell. Descriptor 3 is taken.
    #[must_use]
    pub fn counting_after(self, container: &str, first: &str) -> Self {
        let script = format!(
            "{first}\ntrap 'exit 0' TERM; mkfifo /pause; exec 3<>/pause; n=0; \
             while :; do n=$((n+1)); echo $n >{}; read -t 0.02 -u 3 x; done",
            Self::counter(container)
        );
        self.script(container, &script)
    }

    /// Where a counting container shows its number. All containers of a pod share that folder.
    #[must_use]
    pub fn counter(container: &str) -> String {
        format!("/dev/shm/counter-{container}")
    }

    /// Adds a container that runs this shell script.
    #[must_use]
    pub fn script(self, container: &str, script: &str) -> Self {
        self.container(json!({
            "name": container,
            "image": BUSYBOX,
            "command": ["/bin/sh", "-c", script],
        }))
    }

    /// Adds a container that runs the program `workload` with these arguments.
    #[must_use]
    pub fn workload(self, container: &str, args: &[&str]) -> Self {
        self.container(json!({
            "name": container,
            "image": WORKLOAD,
            "command": ["/bin/workload"],
            "args": args,
        }))
    }

    /// Adds a container, as the API has it. Images are never pulled.
    #[must_use]
    pub fn container(mut self, mut container: Value) -> Self {
        container["imagePullPolicy"] = json!("Never");
        if let Some(containers) = self.0["spec"]["containers"].as_array_mut() {
            containers.push(container);
        }
        self
    }

    /// Puts it into another namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.0["metadata"]["namespace"] = json!(namespace);
        self
    }

    /// Gives it an annotation.
    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.0["metadata"]["annotations"][name] = json!(value);
        self
    }

    /// Puts it on this node without asking the scheduler.
    #[must_use]
    pub fn on(self, node: &str) -> Self {
        self.spec("nodeName", json!(node))
    }

    /// Gives it the node's own network.
    #[must_use]
    pub fn host_network(self) -> Self {
        self.spec("hostNetwork", json!(true))
    }

    /// Sets a field of the pod's `spec`.
    #[must_use]
    pub fn spec(mut self, field: &str, value: Value) -> Self {
        self.0["spec"][field] = value;
        self
    }

    /// Sets a field of a container that it has, for instance `livenessProbe`.
    #[must_use]
    pub fn of_container(mut self, container: &str, field: &str, value: Value) -> Self {
        let containers = self.0["spec"]["containers"].as_array_mut();
        let found = containers
            .into_iter()
            .flatten()
            .find(|candidate| candidate["name"] == container);
        found.unwrap_or_else(|| panic!("the pod has no container {container}"))[field] = value;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace_name(&self) -> &str {
        self.0["metadata"]["namespace"].as_str().unwrap_or_default()
    }
}
