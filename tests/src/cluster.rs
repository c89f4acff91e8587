//! A cluster: a real control plane, and real kubelets on nodes of the rig, ended with this process, however that ends.

mod audit;
mod control_plane;
mod forward;
mod kubectl;
mod manifest;
mod network;
mod pod;
mod programs;
mod worker;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use control_plane::{AUDIT_LOG, ControlPlane};
use forward::Forward;
use worker::{STARTING, Worker};

pub use audit::AuditEntry;
pub use control_plane::ADMIN;
pub use manifest::Manifest;
pub use pod::Pod;
pub use programs::{Options, Running};
pub use worker::{BUSYBOX, WORKLOAD};

use crate::node::{Node, PATIENCE};
use crate::vm;

/// The namespace of the operator; where programs are started by hand, of the agents too.
pub const SYSTEM: &str = "stillframe-system";

/// How many nodes a cluster may have.
const MOST_NODES: usize = 4;

/// A cluster that is up: nodes `node-a`, `node-b`, …. Dropping it ends everything in it.
///
/// The control plane runs in the first node, beside the kubelet.
#[derive(Debug)]
pub struct Cluster {
    // In this order: the port goes before the nodes do.
    forward: OnceLock<Forward>,
    control_plane: ControlPlane,
    workers: [OnceLock<Worker>; MOST_NODES],
    adding: Mutex<()>,
    accounts: Once,
}

impl Cluster {
    /// The cluster that this process's tests share, with one node, started when first asked for.
    ///
    /// It is never dropped: it ends when this process does, and `tests/rig/sweep --wait` waits for that.
    pub fn shared() -> &'static Self {
        static CLUSTER: OnceLock<Cluster> = OnceLock::new();
        CLUSTER.get_or_init(Self::start)
    }

    /// Starts a cluster with one node and waits until that is ready and pods can be made.
    #[must_use]
    pub fn start() -> Self {
        let first = Worker::start(0);
        network::connect(&first.node, &first.node, 0);
        let cluster = Self {
            forward: OnceLock::new(),
            control_plane: ControlPlane::default(),
            workers: Default::default(),
            adding: Mutex::new(()),
            accounts: Once::new(),
        };
        let first = cluster.workers[0].get_or_init(|| first);
        thread::scope(|scope| {
            scope.spawn(|| first.import_images());
            cluster.control_plane.start(&first.node);
            cluster.register(first);
        });
        cluster.wait_until_ready(first);
        cluster.start_proxy(first);
        cluster.kubectl(&[
            "wait",
            "--for=create",
            "serviceaccount/default",
            "--timeout=60s",
        ]);
        cluster
    }

    /// Starts a cluster with this many nodes.
    #[must_use]
    pub fn start_with(nodes: usize) -> Self {
        let cluster = Self::start();
        for _ in 1..nodes {
            cluster.add_node();
        }
        cluster
    }

    /// Adds a node, waits until it is ready, and returns its name.
    pub fn add_node(&self) -> &str {
        let worker = self.add(|index| {
            let worker = Worker::start(index);
            network::connect(self.node(0), &worker.node, index);
            for (other, index_of_other) in self.workers().zip(0..) {
                network::route_pods([(&worker.node, index), (&other.node, index_of_other)]);
            }
            worker
        });
        self.start_proxy(worker);
        &worker.name
    }

    /// Adds a node that is a virtual machine, waits until it is ready, and returns its name.
    ///
    /// It reaches the API server and nobody reaches it: its pods have no way out and no Services, and there is no `kubectl exec`.
    pub fn add_guest(&self) -> &str {
        let worker = self.add(|index| {
            let node = Node::start();
            network::connect(self.node(0), &node, index);
            Worker::start_in(node.boot(), index, vm::GUEST_ADDRESS.to_owned())
        });
        &worker.name
    }

    fn add(&self, start: impl FnOnce(usize) -> Worker) -> &Worker {
        let _one_at_a_time = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let index = self.workers().count();
        assert!(
            index < MOST_NODES,
            "a cluster has at most {MOST_NODES} nodes"
        );
        let worker = start(index);
        let authority = fs::read(self.node(0).path("pki/ca.crt")).expect("the cluster's authority");
        worker.node.put("pki/ca.crt", authority);
        let worker = self.workers[index].get_or_init(|| worker);
        thread::scope(|scope| {
            scope.spawn(|| worker.import_images());
            self.register(worker);
        });
        self.wait_until_ready(worker);
        worker
    }

    /// Makes the Node object, and starts the kubelet.
    ///
    /// The object is there first: a kubelet that makes it itself may look for its `CSINode` too early and stay not ready.
    fn register(&self, worker: &Worker) {
        let name = &worker.name;
        self.apply(&format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: {name}, labels: {{kubernetes.io/hostname: {name}}}}}}}"
        ));
        let subject = format!("/O=system:nodes/CN=system:node:{name}");
        let kubeconfig =
            control_plane::identity(self.node(0), &format!("kubelet-{name}"), &subject);
        let kubeconfig = worker.node.put("pki/kubelet.conf", kubeconfig);
        worker.start_kubelet(&kubeconfig);
    }

    fn wait_until_ready(&self, worker: &Worker) {
        let node = format!("node/{}", worker.name);
        let starting = STARTING.max(worker.node.patience());
        let timeout = format!("--timeout={}s", starting.as_secs());
        let ready = self
            .kubectl_command(&["wait", "--for=condition=Ready", &node, &timeout])
            .timeout(starting * 2)
            .output();
        assert!(
            ready.succeeded(),
            "{node} is not ready: {}\n{}{}",
            ready.stderr,
            self.control_plane.explain(),
            worker.explain()
        );
    }

    /// Starts what brings packets to Services, on a node that is ready: it looks for the node's address when it starts.
    fn start_proxy(&self, worker: &Worker) {
        let name = format!("proxy-{}", worker.name);
        let kubeconfig = control_plane::identity(self.node(0), &name, "/CN=system:kube-proxy");
        let kubeconfig = worker.node.put("pki/proxy.conf", kubeconfig);
        worker.start_proxy(&kubeconfig);
    }

    fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.workers.iter().filter_map(OnceLock::get)
    }

    /// How long something in the cluster may take.
    fn patience(&self) -> Duration {
        let patience = self.workers().map(|worker| worker.node.patience()).max();
        patience.unwrap_or(PATIENCE)
    }

    fn worker(&self, index: usize) -> &Worker {
        let worker = self.workers.get(index).and_then(OnceLock::get);
        worker.unwrap_or_else(|| panic!("the cluster has no node {index}"))
    }

    fn worker_called(&self, name: &str) -> &Worker {
        let found = self.workers().find(|worker| worker.name == name);
        found.unwrap_or_else(|| panic!("the cluster has no node {name}"))
    }

    /// The rig node under a node of the cluster.
    #[must_use]
    pub fn node(&self, index: usize) -> &Node {
        &self.worker(index).node
    }

    /// The rig node under the node of this name.
    #[must_use]
    pub fn node_called(&self, name: &str) -> &Node {
        &self.worker_called(name).node
    }

    /// The name of a node.
    #[must_use]
    pub fn node_name(&self, index: usize) -> &str {
        &self.worker(index).name
    }

    /// The names of all nodes.
    pub fn node_names(&self) -> impl Iterator<Item = &str> {
        self.workers().map(|worker| worker.name.as_str())
    }

    /// The address of a node in the cluster's network.
    #[must_use]
    pub fn node_address(&self, index: usize) -> String {
        self.worker(index).address.clone()
    }

    /// Everything the API server has answered so far.
    #[must_use]
    pub fn audit(&self) -> Vec<AuditEntry> {
        self.audit_since(0)
    }

    /// How far the audit log is now, for [`Cluster::audit_since`].
    #[must_use]
    pub fn audit_mark(&self) -> u64 {
        let log = self.node(0).path(AUDIT_LOG);
        fs::metadata(log).map_or(0, |log| log.len())
    }

    /// What the API server has answered since this mark was taken.
    #[must_use]
    pub fn audit_since(&self, mark: u64) -> Vec<AuditEntry> {
        audit::read(&self.node(0).path(AUDIT_LOG), mark)
    }

    /// Ends the API server at once, as a crash does. Its data stay.
    pub fn stop_api_server(&self) {
        self.control_plane.stop_api_server(self.node(0));
    }

    /// Starts the API server that was ended and waits until it is ready.
    pub fn start_api_server(&self) {
        self.control_plane.start_api_server(self.node(0));
    }

    /// Ends the controllers and the scheduler for good: objects stay as they are from here on.
    pub fn stop_controllers(&self) {
        self.control_plane.stop_controllers(self.node(0));
    }

    /// Ends a node's kubelet at once; its containers go on.
    pub fn stop_kubelet(&self, node: &str) {
        self.worker_called(node).stop_kubelet();
    }

    /// Starts the kubelet that was ended.
    pub fn start_kubelet(&self, node: &str) {
        self.worker_called(node)
            .start_kubelet("/run/rig/pki/kubelet.conf");
    }

    /// Keeps a node's kubelet from doing anything, so that what ends there is not started again; its containers go on.
    pub fn pause_kubelet(&self, node: &str) {
        self.worker_called(node).hold_kubelet(true);
    }

    /// Lets the kubelet go on that was paused.
    pub fn resume_kubelet(&self, node: &str) {
        self.worker_called(node).hold_kubelet(false);
    }

    /// Ids and pids of the containers that run on a node and have these labels of the kubelet's, without `io.kubernetes.`.
    ///
    /// The API server is not asked.
    #[must_use]
    pub fn running(&self, node: &str, labels: &[(&str, &str)]) -> Vec<(String, i32)> {
        self.worker_called(node).running(labels)
    }

    /// Gives a node the images of the project's programs.
    pub fn import_programs(&self, node: &str) {
        self.worker_called(node).import_programs();
    }

    /// Makes a static pod on a node; its mirror is called `NAME-NODE`.
    pub fn put_static_pod(&self, node: &str, manifest: &Manifest) {
        let worker = self.worker_called(node);
        worker.put_static_pod(manifest.name(), &manifest.to_string());
    }

    /// Takes the manifest of a static pod of this name away.
    pub fn remove_static_pod(&self, node: &str, name: &str) {
        self.worker_called(node).remove_static_pod(name);
    }

    /// A kubeconfig of the administrator for programs on the machine itself, outside all nodes, while the cluster is up.
    pub fn kubeconfig_on_the_machine(&self) -> PathBuf {
        let forward = self.forward.get_or_init(|| {
            let address = format!("{}:{}", network::address(0), control_plane::PORT);
            let target: SocketAddr = address.parse().expect("an address and a port");
            Forward::open(self.node(0).network(), target)
        });
        let path = self.node(0).path("kubeconfig");
        let inside = fs::read_to_string(self.node(0).path("pki/admin.conf")).expect("a kubeconfig");
        let url = format!("https://{}", forward.address());
        let outside = inside.replace(&control_plane::server(), &url);
        fs::write(&path, outside).expect("a file in the node's scratch folder");
        path
    }
}
