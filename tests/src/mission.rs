//! A cluster with the project in it, and checkpoints that tests ask it for, as any user would: by `kubectl`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Options, Running};
use crate::node::{Node, Output, PATIENCE};

/// The operator and an agent on each node, running in a cluster. Dropping it ends them.
#[derive(Debug)]
pub struct Mission<'cluster> {
    cluster: &'cluster Cluster,
    operator: Mutex<Option<Running<'cluster>>>,
    agents: Mutex<BTreeMap<String, Running<'cluster>>>,
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mission<'static> {
    /// The one that this process's tests share, in [`Cluster::shared`], with the programs' defaults.
    pub fn shared() -> &'static Self {
        static MISSION: OnceLock<Mission<'static>> = OnceLock::new();
        MISSION.get_or_init(|| Self::start(Cluster::shared()))
    }
}

impl<'cluster> Mission<'cluster> {
    /// Installs the definitions, starts the operator and an agent on the first node, and waits until that says it is ready.
    #[must_use]
    pub fn start(cluster: &'cluster Cluster) -> Self {
        Self::start_with(cluster, &Options::default(), &Options::default())
    }

    /// As [`Mission::start`], with these options.
    #[must_use]
    pub fn start_with(cluster: &'cluster Cluster, operator: &Options, agent: &Options) -> Self {
        let mission = Self::without_agent(cluster, operator);
        let node = cluster.node_name(0);
        mission.start_agent(node, agent);
        mission.wait_for_agent(node);
        mission
    }

    /// Installs the definitions and starts the operator alone.
    #[must_use]
    pub fn without_agent(cluster: &'cluster Cluster, operator: &Options) -> Self {
        cluster.install_crds();
        let mission = Self {
            cluster,
            operator: Mutex::default(),
            agents: Mutex::default(),
        };
        mission.start_operator(operator);
        mission
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &'cluster Cluster {
        self.cluster
    }

    /// Starts the operator.
    pub fn start_operator(&self, options: &Options) {
        let mut slot = lock(&self.operator);
        assert!(slot.is_none(), "the operator runs already");
        *slot = Some(self.cluster.start_operator(options));
    }

    /// Sends the operator this signal, waits until it has ended, and returns its exit status.
    pub fn end_operator(&self, signal: Signal) -> i32 {
        let operator = lock(&self.operator).take();
        end(operator.expect("the operator runs"), signal)
    }

    /// Starts the agent of a node.
    pub fn start_agent(&self, node: &str, options: &Options) {
        let mut agents = lock(&self.agents);
        assert!(!agents.contains_key(node), "the agent of {node} runs");
        let agent = self.cluster.start_agent(node, options);
        agents.insert(node.to_owned(), agent);
    }

    /// Waits until the agent of a node has said that it is ready.
    pub fn wait_for_agent(&self, node: &str) {
        let object = format!("checkpointnode/{node}");
        self.cluster.wait(&object, "create");
        self.cluster.wait(&object, "condition=Ready");
    }

    /// Sends the agent of a node this signal, waits until it has ended, and returns its exit status.
    pub fn end_agent(&self, node: &str, signal: Signal) -> i32 {
        let agent = lock(&self.agents).remove(node);
        end(agent.expect("the agent runs"), signal)
    }

    /// Waits until the agent of a node has ended by itself or another's hand, and returns its exit status.
    pub fn agent_ended(&self, node: &str) -> i32 {
        let agent = lock(&self.agents).remove(node);
        ended(agent.expect("the agent runs"))
    }

    /// Waits until the operator has ended by itself, and returns its exit status.
    pub fn operator_ended(&self) -> i32 {
        ended(lock(&self.operator).take().expect("the operator runs"))
    }

    /// Sends the agent of a node a signal, and no more.
    pub fn signal_agent(&self, node: &str, signal: Signal) {
        let agents = lock(&self.agents);
        agents.get(node).expect("the agent runs").kill(signal);
    }

    /// What the agent of a node has printed so far, and those before it.
    #[must_use]
    pub fn agent_log(&self, node: &str) -> String {
        let agents = lock(&self.agents);
        agents.get(node).map(Running::log).unwrap_or_default()
    }

    /// What the operator has printed so far, and those before it.
    #[must_use]
    pub fn operator_log(&self) -> String {
        let operator = lock(&self.operator);
        operator.as_ref().map(Running::log).unwrap_or_default()
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
        Checkpoint {
            cluster: self.cluster,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

fn end(program: Running<'_>, signal: Signal) -> i32 {
    program.kill(signal);
    ended(program)
}

fn ended(mut program: Running<'_>) -> i32 {
    let status = program.wait(PATIENCE);
    status.unwrap_or_else(|| panic!("it did not end:\n{}", program.log()))
}

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
    cluster: &'cluster Cluster,
    namespace: String,
    name: String,
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
impl Checkpoint<'_> {
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
