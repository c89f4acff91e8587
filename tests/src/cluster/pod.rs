//! A pod of the cluster and its containers.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Cluster, Manifest};
use crate::node::Output;

/// A pod of the cluster, by its name. It stays when this is dropped, unless [`Pod::delete`] removes it.
#[derive(Clone, Debug)]
pub struct Pod<'cluster> {
    cluster: &'cluster Cluster,
    namespace: String,
    name: String,
}

impl Cluster {
    /// Makes a pod and waits until it is ready.
    #[must_use]
    pub fn run(&self, manifest: &Manifest) -> Pod<'_> {
        let pod = self.create(manifest);
        pod.wait("condition=Ready");
        pod
    }

    /// Makes a pod.
    #[must_use]
    pub fn create(&self, manifest: &Manifest) -> Pod<'_> {
        self.apply(&manifest.to_string());
        self.pod(manifest.namespace_name(), manifest.name())
    }

    /// A pod that is there, or will be.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Pod<'_> {
        Pod {
            cluster: self,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl Pod<'_> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits for a condition in the form of `kubectl wait --for`.
    pub fn wait(&self, condition: &str) {
        let object = format!("pod/{}", self.name);
        self.cluster.wait_in(&self.namespace, &object, condition);
    }

    /// A field of the object by its JSON path, for instance `.status.phase`; empty if it is not there.
    #[must_use]
    pub fn field(&self, path: &str) -> String {
        let output = format!("jsonpath={{{path}}}");
        let args = [
            "get",
            "pod",
            "--namespace",
            &self.namespace,
            &self.name,
            "--output",
            &output,
        ];
        self.cluster.kubectl(&args)
    }

    /// The node's name, once it has one.
    #[must_use]
    pub fn node_name(&self) -> String {
        self.field(".spec.nodeName")
    }

    /// The object's UID.
    #[must_use]
    pub fn uid(&self) -> String {
        self.field(".metadata.uid")
    }

    /// Runs a command in a container.
    #[must_use]
    pub fn exec(&self, container: &str, command: &[&str]) -> Output {
        let mut args = vec!["exec", "--namespace", &self.namespace, &self.name];
        args.extend(["--container", container, "--"]);
        args.extend(command);
        self.cluster.try_kubectl(&args)
    }

    /// What a container has printed so far.
    #[must_use]
    pub fn logs(&self, container: &str) -> String {
        let args = [
            "logs",
            "--namespace",
            &self.namespace,
            &self.name,
            "--container",
            container,
        ];
        self.cluster.kubectl(&args)
    }

    /// Removes it and waits until it is gone.
    pub fn delete(&self) {
        let args = ["delete", "pod", "--namespace", &self.namespace, &self.name];
        self.cluster.kubectl(&args);
    }

    /// The id of a container that runs: its runtime's, without `containerd://`. The API server is not asked.
    #[must_use]
    pub fn container_id(&self, container: &str) -> Option<String> {
        self.running(container).map(|(id, _, _)| id)
    }

    /// The first process of a container that runs, as a pid of its node. The API server is not asked.
    #[must_use]
    pub fn pid(&self, container: &str) -> Option<i32> {
        self.running(container).map(|(_, pid, _)| pid)
    }

    /// The last number that a counting container has shown, 0 if it does not run. The API server is not asked.
    #[must_use]
    pub fn count(&self, container: &str) -> u64 {
        self.read(container, &Manifest::counter(container))
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Waits until a counting container is past this number, and returns where it is.
    #[must_use]
    pub fn count_beyond(&self, container: &str, number: u64) -> u64 {
        let deadline = Instant::now() + self.cluster.patience();
        loop {
            let count = self.count(container);
            if count > number {
                return count;
            }
            assert!(
                Instant::now() < deadline,
                "{container} of {} does not count beyond {number}",
                self.name
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// What a container that runs shows in a file. The API server is not asked.
    #[must_use]
    pub fn read(&self, container: &str, path: &str) -> Option<String> {
        let (_, pid, node) = self.running(container)?;
        let path = format!("/proc/{pid}/root{path}");
        let output = self.cluster.node_called(&node).run(&["cat", &path]);
        output.succeeded().then_some(output.stdout)
    }

    /// Id, pid and node of a container that runs, from the nodes themselves.
    fn running(&self, container: &str) -> Option<(String, i32, String)> {
        let labels = [
            ("pod.namespace", self.namespace.as_str()),
            ("pod.name", &self.name),
            ("container.name", container),
        ];
        self.cluster.workers().find_map(|worker| {
            let (id, pid) = worker.running(&labels).into_iter().next()?;
            Some((id, pid, worker.name.clone()))
        })
    }
}
