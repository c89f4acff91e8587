//! A cluster with the project installed in it, and checkpoints that tests ask it for, as any user would: by `kubectl`.

mod checkpoint;
mod restore;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

pub use checkpoint::{Checkpoint, Condition, condition_of, files};

use crate::cluster::Cluster;
use crate::installation::{Installation, Instance, Values};

/// The project in a cluster, installed as users do it: the operator and the agents run in pods.
#[derive(Debug)]
pub struct Mission<'cluster> {
    cluster: &'cluster Cluster,
    installation: Installation<'cluster>,
    operator: Mutex<Instance<'cluster>>,
    agents: Mutex<BTreeMap<String, Instance<'cluster>>>,
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mission<'static> {
    /// The one that this process's tests share, in [`Cluster::shared`], with the chart's defaults.
    pub fn shared() -> &'static Self {
        static MISSION: OnceLock<Mission<'static>> = OnceLock::new();
        MISSION.get_or_init(|| Self::start(Cluster::shared()))
    }
}

impl<'cluster> Mission<'cluster> {
    /// Installs the chart, and waits until the operator and an agent on each node say that they are ready.
    #[must_use]
    pub fn start(cluster: &'cluster Cluster) -> Self {
        Self::start_with(cluster, &Values::default())
    }

    /// As [`Mission::start`], with these values.
    #[must_use]
    pub fn start_with(cluster: &'cluster Cluster, values: &Values) -> Self {
        let installation = Installation::install(cluster, values);
        let operator = Mutex::new(installation.operator());
        Self {
            cluster,
            installation,
            operator,
            agents: Mutex::default(),
        }
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &'cluster Cluster {
        self.cluster
    }

    /// The release.
    #[must_use]
    pub fn installation(&self) -> &Installation<'cluster> {
        &self.installation
    }

    /// The agent of a node, whose container is looked for when it is first asked for.
    fn agent<T>(&self, node: &str, ask: impl FnOnce(&mut Instance<'cluster>) -> T) -> T {
        let mut agents = lock(&self.agents);
        let agent = agents
            .entry(node.to_owned())
            .or_insert_with(|| self.installation.agent(node));
        ask(agent)
    }

    /// From now on nobody starts what ends on this node again, until [`Mission::start_agent`] or [`Mission::start_operator`].
    ///
    /// Pods can neither be made nor deleted there meanwhile.
    pub fn keep_down(&self, node: &str) {
        self.agent(node, |_| self.cluster.pause_kubelet(node));
    }

    /// Sends the operator this signal, waits until it has ended, and returns its exit status. Nobody starts it again.
    pub fn end_operator(&self, signal: Signal) -> i32 {
        let operator = lock(&self.operator);
        self.keep_down(operator.node());
        operator.kill(signal);
        operator.ended()
    }

    /// Waits until the operator has ended by itself, and returns its exit status.
    pub fn operator_ended(&self) -> i32 {
        lock(&self.operator).ended()
    }

    /// Lets the operator that has ended be started again, and waits for that.
    pub fn start_operator(&self) {
        let mut operator = lock(&self.operator);
        self.cluster.resume_kubelet(operator.node());
        operator.wait_for_next();
    }

    /// Sends the agent of a node this signal, waits until it has ended, and returns its exit status. Nobody starts it again.
    pub fn end_agent(&self, node: &str, signal: Signal) -> i32 {
        self.keep_down(node);
        self.agent(node, |agent| {
            agent.kill(signal);
            agent.ended()
        })
    }

    /// Waits until the agent of a node has ended by itself or another's hand, and returns its exit status.
    pub fn agent_ended(&self, node: &str) -> i32 {
        self.agent(node, |agent| agent.ended())
    }

    /// Lets the agent of a node that has ended be started again, and waits for that.
    pub fn start_agent(&self, node: &str) {
        self.agent(node, |agent| {
            self.cluster.resume_kubelet(node);
            agent.wait_for_next();
        });
    }

    /// Changes the release, and waits until the programs are what it says now. An agent that has ended is started so.
    pub fn upgrade(&self, values: &Values) {
        self.installation.upgrade(values);
        for node in self.cluster.node_names() {
            self.cluster.resume_kubelet(node);
        }
        self.settle();
    }

    /// Waits until the programs are what the release says now, which somebody has changed.
    pub fn settle(&self) {
        self.installation.wait_until_ready();
        // Others may run now; they are looked for when they are asked for.
        lock(&self.agents).clear();
        *lock(&self.operator) = self.installation.operator();
    }

    /// Sends the agent of a node a signal, and no more.
    pub fn signal_agent(&self, node: &str, signal: Signal) {
        self.agent(node, |agent| agent.kill(signal));
    }

    /// Sends the operator a signal, and no more.
    pub fn signal_operator(&self, signal: Signal) {
        lock(&self.operator).kill(signal);
    }

    /// The agent of a node, as a pid of its node.
    #[must_use]
    pub fn agent_pid(&self, node: &str) -> i32 {
        self.agent(node, |agent| agent.pid())
    }

    /// What the agent of a node has printed so far, and those before it.
    #[must_use]
    pub fn agent_log(&self, node: &str) -> String {
        self.agent(node, |agent| agent.log())
    }

    /// What the operator has printed so far, and those before it.
    #[must_use]
    pub fn operator_log(&self) -> String {
        lock(&self.operator).log()
    }

    /// Asks for a checkpoint in the namespace `default`.
    #[must_use]
    pub fn checkpoint(&self, name: &str, spec: &Value) -> Checkpoint<'cluster> {
        self.checkpoint_in("default", name, spec)
    }

    /// Asks for a checkpoint in this namespace.
    #[must_use]
    pub fn checkpoint_in(&self, namespace: &str, name: &str, spec: &Value) -> Checkpoint<'cluster> {
        let object = json!({
            "apiVersion": "stillframe.dev/v1alpha1",
            "kind": "ContainerCheckpoint",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        });
        self.cluster.apply(&object.to_string());
        self.existing(namespace, name)
    }

    /// Asks for a checkpoint of a pod's only container.
    #[must_use]
    pub fn checkpoint_of(&self, name: &str, pod: &str) -> Checkpoint<'cluster> {
        self.checkpoint(name, &json!({"source": {"podName": pod}}))
    }

    /// A checkpoint that somebody has asked for already.
    #[must_use]
    pub fn existing(&self, namespace: &str, name: &str) -> Checkpoint<'cluster> {
        Checkpoint::of(self.cluster, namespace, name)
    }
}
