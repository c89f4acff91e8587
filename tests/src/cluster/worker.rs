//! One node of the cluster: a rig node with containerd, a kubelet and a proxy for Services in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::network;
use crate::node::{Daemon, Node, PATIENCE, built};
use crate::pod::RUNC_ROOT;

/// The image of most pods: busybox.
pub const BUSYBOX: &str = "docker.io/local/busybox:1";

/// The name under which the examples find the same image, here as on any other cluster.
const PUBLIC_BUSYBOX: &str = "docker.io/library/busybox:1";

/// The image with the program `workload` in its `/bin`, beside busybox.
pub const WORKLOAD: &str = "docker.io/local/workload:1";

/// Where kubelets look for static pods.
const STATIC_PODS: &str = "/etc/kubernetes/manifests";

/// A line of shell that ends when containerd answers.
const WAIT_FOR_CONTAINERD: &str = "until ctr version >/dev/null 2>&1; do sleep 0.05; done";

/// A rig node that is a node of the cluster too.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) node: Node,
    pub(super) name: String,
    /// Its address in the cluster.
    pub(super) address: String,
    containerd: Mutex<Option<Daemon>>,
    kubelet: Mutex<Option<Daemon>>,
    proxy: Mutex<Option<Daemon>>,
}

/// Reads a file beside the rig's scripts.
pub(super) fn rig_file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rig").join(name);
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()))
}

/// The image archive of a program that this workspace built, see `images/build`.
fn built_image(program: &str) -> PathBuf {
    let binary = built(program);
    let target = binary.parent().and_then(Path::parent);
    let archive = target.map(|target| target.join(format!("images/debug/{program}.tar")));
    archive
        .filter(|archive| archive.is_file())
        .unwrap_or_else(|| {
            panic!("there is no image of {program}: `images/build --debug` makes it")
        })
}

pub(super) fn lock(slot: &Mutex<Option<Daemon>>) -> MutexGuard<'_, Option<Daemon>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    /// Starts a rig node with containerd, which is still busy starting when this returns.
    pub(super) fn start(index: usize) -> Self {
        Self::start_in(Node::start(), index, network::address(index))
    }

    /// Starts containerd in this node, which has this address in the cluster.
    pub(super) fn start_in(node: Node, index: usize, address: String) -> Self {
        node.put("containerd.toml", rig_file("kubernetes/containerd.toml"));
        node.put("kubelet.yaml", rig_file("kubernetes/kubelet.yaml"));
        let subnet = network::pod_subnet(index);
        let pods = rig_file("kubernetes/cni.conflist").replace("POD_SUBNET", &subnet);
        node.put("cni.conflist", pods);
        // The kubelet's folder is on disk as on a real node, and its mounts are not to appear a second time in /run/rig.
        node.shell(&format!(
            "mkdir -p {STATIC_PODS} /etc/cni/net.d /run/rig/kubelet /var/lib/kubelet
             cp /run/rig/cni.conflist /etc/cni/net.d/10-pods.conflist
             mount --bind /run/rig/kubelet /var/lib/kubelet
             mount --make-private /var/lib/kubelet; mount --make-shared /var/lib/kubelet"
        ))
        .ok();
        let worker = Self {
            node,
            name: format!(
                "node-{}",
                char::from(b'a' + u8::try_from(index).unwrap_or(25))
            ),
            address,
            containerd: Mutex::new(None),
            kubelet: Mutex::new(None),
            proxy: Mutex::new(None),
        };
        *lock(&worker.containerd) = Some(
            worker
                .node
                .command("containerd")
                .args(["--config", "/run/rig/containerd.toml"])
                .daemon("containerd"),
        );
        worker
    }

    /// Makes the images of pods and gives them to containerd, once that answers.
    pub(super) fn import_images(&self) {
        let script = self.node.put("make-image", rig_file("image"));
        let workload = self.node.install("workload");
        let import = format!(
            "bash {script} /run/rig; bash {script} /run/rig {workload}
             {WAIT_FOR_CONTAINERD}
             for image in busybox workload; do ctr -n k8s.io images import /run/rig/$image.tar; rm /run/rig/$image.tar; done
             ctr -n k8s.io images tag {BUSYBOX} {PUBLIC_BUSYBOX}"
        );
        self.node.shell(&import).ok();
    }

    /// Starts the kubelet, with the kubeconfig that is at this path in the node.
    pub(super) fn start_kubelet(&self, kubeconfig: &str) {
        let mut slot = lock(&self.kubelet);
        assert!(slot.is_none(), "the kubelet of {} runs already", self.name);
        // A kubelet that finds no runtime ends.
        self.node.shell(WAIT_FOR_CONTAINERD).ok();
        let kubelet = self
            .node
            .command("kubelet")
            .args(["--config", "/run/rig/kubelet.yaml"])
            .args(["--kubeconfig", kubeconfig])
            .args(["--hostname-override", &self.name])
            .args(["--node-ip", &self.address])
            .daemon("kubelet");
        *slot = Some(kubelet);
    }

    /// Starts the proxy that brings what is sent to a Service to its pods, with the kubeconfig that is at this path in the node.
    ///
    /// It ends by design when the node's addresses change, so that it is started again.
    pub(super) fn start_proxy(&self, kubeconfig: &str) {
        let arguments = [
            format!("--kubeconfig={kubeconfig}"),
            format!("--hostname-override={}", self.name),
            format!("--cluster-cidr={}", network::PODS),
            "--proxy-mode=nftables".to_owned(),
            // These are the machine's to set.
            "--conntrack-max-per-core=0".to_owned(),
            "--conntrack-min=0".to_owned(),
        ];
        let script = "while :; do kube-proxy \"$@\" || true; sleep 0.5; done";
        let proxy = self
            .node
            .command("bash")
            .args(["-c", script, "kube-proxy"])
            .args(&arguments)
            .daemon("kube-proxy");
        *lock(&self.proxy) = Some(proxy);
    }

    /// Keeps the kubelet from doing anything, or lets it go on.
    pub(super) fn hold_kubelet(&self, held: bool) {
        let signal = if held {
            Signal::SIGSTOP
        } else {
            Signal::SIGCONT
        };
        if let Some(kubelet) = lock(&self.kubelet).as_ref() {
            kubelet.kill(&self.node, signal, false);
        }
    }

    /// Ids and pids of the containers that run and have these labels of the kubelet's, given without `io.kubernetes.`.
    ///
    /// The API server is not asked.
    pub(super) fn running(&self, labels: &[(&str, &str)]) -> Vec<(String, i32)> {
        let label =
            |(name, value): &(&str, &str)| format!("labels.\"io.kubernetes.{name}\"=={value}");
        let filter: Vec<String> = labels.iter().map(label).collect();
        // What has ended may still be known to containerd, but not to the runtime: runc has a `state.json`, crun a `status`.
        let script = format!(
            "for id in $(ctr --namespace k8s.io containers list --quiet \"$1\"); do
                 state={RUNC_ROOT}/$id
                 [ ! -e $state/state.json ] || echo $id $(jq .init_process_pid $state/state.json)
                 [ ! -e $state/status ] || echo $id $(jq .pid $state/status)
             done"
        );
        let found = self
            .node
            .run(&["bash", "-c", &script, "running", &filter.join(",")]);
        let lines = found.stdout.lines().filter_map(|line| {
            let (id, pid) = line.split_once(' ')?;
            Some((id.to_owned(), pid.parse().ok()?))
        });
        lines.collect()
    }

    /// Gives containerd the images of the project's programs, as `images/build --debug` made them.
    pub(super) fn import_programs(&self) {
        for program in ["stillframe-operator", "stillframe-node-agent"] {
            let archive = built_image(program);
            let file = format!("{program}.tar");
            let there = self.node.path(&file);
            // A second name where that goes, since it is large.
            if fs::hard_link(&archive, &there).is_err() {
                fs::copy(&archive, &there).unwrap_or_else(|error| {
                    panic!(
                        "failed to copy {} into the node: {error}",
                        archive.display()
                    )
                });
            }
            let import = format!(
                "{WAIT_FOR_CONTAINERD}; ctr -n k8s.io images import /run/rig/{file}; rm /run/rig/{file}"
            );
            self.node.shell(&import).ok();
        }
    }

    /// Ends the kubelet at once; containers go on.
    pub(super) fn stop_kubelet(&self) {
        let kubelet = lock(&self.kubelet).take();
        kubelet
            .unwrap_or_else(|| panic!("the kubelet of {} does not run", self.name))
            .end(&self.node);
    }

    /// Makes a static pod of this manifest; `name` is its file's.
    pub(super) fn put_static_pod(&self, name: &str, manifest: &str) {
        let file = self.node.put(&format!("{name}.yaml"), manifest);
        self.node
            .run(&["mv", &file, &format!("{STATIC_PODS}/{name}.yaml")])
            .ok();
    }

    /// Takes a static pod's manifest away.
    pub(super) fn remove_static_pod(&self, name: &str) {
        self.node
            .run(&["rm", &format!("{STATIC_PODS}/{name}.yaml")])
            .ok();
    }

    /// What the parts of this node said last, for messages.
    pub(super) fn explain(&self) -> String {
        [&self.containerd, &self.kubelet, &self.proxy]
            .into_iter()
            .map(|slot| lock(slot).as_ref().map_or_else(String::new, last_lines))
            .collect()
    }
}

/// The end of a daemon's log, for messages.
pub(super) fn last_lines(daemon: &Daemon) -> String {
    let log = daemon.log();
    let lines: Vec<&str> = log.lines().rev().take(8).collect();
    let lines: Vec<&str> = lines.into_iter().rev().collect();
    format!("--- {}\n{}\n", daemon.name(), lines.join("\n"))
}

/// How long a part of the cluster may take to be ready: many times what it takes, since the machine may be busy.
pub(super) const STARTING: Duration = PATIENCE.saturating_mul(2);
