//! The control plane: etcd, API server, controllers and scheduler, all in the cluster's first node.

use std::sync::Mutex;

use super::network;
use super::worker::{STARTING, last_lines, lock, rig_file};
use crate::node::{Daemon, Node};

/// The API server's port, at the first node's address.
pub(super) const PORT: u16 = 6443;

/// Where certificates and kubeconfigs are in a node.
const IDENTITIES: &str = "/run/rig/pki";

/// The administrator's kubeconfig in the first node.
pub const ADMIN: &str = "/run/rig/pki/admin.conf";

/// The API server's audit log, in the first node's scratch folder.
pub(super) const AUDIT_LOG: &str = "logs/audit.log";

/// The daemons of the control plane.
#[derive(Debug, Default)]
pub(super) struct ControlPlane {
    etcd: Mutex<Option<Daemon>>,
    api_server: Mutex<Option<Daemon>>,
    controllers: Mutex<Option<Daemon>>,
    scheduler: Mutex<Option<Daemon>>,
}

/// The API server's address as a URL.
pub(super) fn server() -> String {
    format!("https://{}:{PORT}", network::address(0))
}

/// Makes a client certificate and a kubeconfig with it, in the first node; returns the kubeconfig.
pub(super) fn identity(node: &Node, name: &str, subject: &str) -> String {
    node.run(&[
        "/run/rig/identity",
        IDENTITIES,
        "user",
        name,
        subject,
        &server(),
    ])
    .ok();
    let path = node.path(format!("pki/{name}.conf"));
    std::fs::read_to_string(path).expect("a kubeconfig that was just made")
}

impl ControlPlane {
    /// Starts everything in this node, and waits until the API server is ready.
    pub(super) fn start(&self, node: &Node) {
        *lock(&self.etcd) = Some(
            node.command("etcd")
                .args(["--data-dir", "/var/lib/etcd", "--unsafe-no-fsync"])
                .args(["--listen-client-urls", "http://127.0.0.1:2379"])
                .args(["--advertise-client-urls", "http://127.0.0.1:2379"])
                .args(["--listen-peer-urls", "http://127.0.0.1:2380"])
                .args(["--log-level", "warn"])
                .daemon("etcd"),
        );
        node.put(
            "audit-policy.yaml",
            rig_file("kubernetes/audit-policy.yaml"),
        );
        node.put("identity", rig_file("kubernetes/identity"));
        let address = network::address(0);
        node.shell(&format!(
            "chmod +x /run/rig/identity; mkdir {IDENTITIES}
             /run/rig/identity {IDENTITIES} authority
             /run/rig/identity {IDENTITIES} server {address} 127.0.0.1 10.96.0.1"
        ))
        .ok();
        identity(node, "admin", "/O=system:masters/CN=admin");
        self.start_api_server(node);
        *lock(&self.controllers) = Some(
            node.command("kube-controller-manager")
                .args(["--kubeconfig", ADMIN, "--leader-elect=false"])
                .args(["--use-service-account-credentials", "--secure-port=0"])
                // With its usual patience it takes seconds more until pods can be made.
                .args(["--kube-api-qps", "1000", "--kube-api-burst", "1000"])
                .arg(format!(
                    "--service-account-private-key-file={IDENTITIES}/sa.key"
                ))
                .arg(format!("--root-ca-file={IDENTITIES}/ca.crt"))
                .daemon("kube-controller-manager"),
        );
        *lock(&self.scheduler) = Some(
            node.command("kube-scheduler")
                .args(["--kubeconfig", ADMIN, "--leader-elect=false"])
                .arg("--secure-port=0")
                .daemon("kube-scheduler"),
        );
    }

    /// Starts the API server and waits until it is ready.
    pub(super) fn start_api_server(&self, node: &Node) {
        let mut slot = lock(&self.api_server);
        assert!(slot.is_none(), "the API server runs already");
        let file = |name: &str| format!("{IDENTITIES}/{name}");
        let address = network::address(0);
        let daemon = node
            .command("kube-apiserver")
            .args(["--etcd-servers", "http://127.0.0.1:2379"])
            .args(["--secure-port", &PORT.to_string()])
            .args(["--bind-address", "0.0.0.0", "--advertise-address", &address])
            .args(["--service-cluster-ip-range", "10.96.0.0/24"])
            .args(["--tls-cert-file", &file("server.crt")])
            .args(["--tls-private-key-file", &file("server.key")])
            .args(["--client-ca-file", &file("ca.crt")])
            .args(["--service-account-key-file", &file("sa.pub")])
            .args(["--service-account-signing-key-file", &file("sa.key")])
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .args(["--authorization-mode", "Node,RBAC"])
            .args(["--enable-admission-plugins", "NodeRestriction"])
            .arg("--allow-privileged=true")
            .args(["--kubelet-client-certificate", &file("admin.crt")])
            .args(["--kubelet-client-key", &file("admin.key")])
            // A node's name means nothing to a resolver.
            .args(["--kubelet-preferred-address-types", "InternalIP"])
            .args(["--audit-policy-file", "/run/rig/audit-policy.yaml"])
            .args(["--audit-log-path", &format!("/run/rig/{AUDIT_LOG}")])
            .args(["--audit-log-maxsize", "4096"])
            .daemon("kube-apiserver");
        let ready = format!(
            "until curl --fail --silent --cacert {} {}/readyz; do sleep 0.05; done",
            file("ca.crt"),
            server()
        );
        let answer = node
            .command("bash")
            .args(["-c", &ready])
            .timeout(STARTING)
            .output();
        assert!(
            answer.succeeded(),
            "the API server is not ready:\n{}",
            last_lines(&daemon)
        );
        *slot = Some(daemon);
    }

    /// Ends the API server at once, as a crash does.
    pub(super) fn stop_api_server(&self, node: &Node) {
        let daemon = lock(&self.api_server).take();
        daemon.expect("the API server runs").end(node);
    }

    /// Ends the controllers and the scheduler.
    pub(super) fn stop_controllers(&self, node: &Node) {
        for slot in [&self.controllers, &self.scheduler] {
            if let Some(mut daemon) = lock(slot).take() {
                daemon.end(node);
            }
        }
    }

    /// What the parts said last, for messages.
    pub(super) fn explain(&self) -> String {
        [
            &self.etcd,
            &self.api_server,
            &self.controllers,
            &self.scheduler,
        ]
        .into_iter()
        .map(|slot| lock(slot).as_ref().map_or_else(String::new, last_lines))
        .collect()
    }
}
