//! The project's own programs in a cluster, each as its service account, started by hand: for where none is installed.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::worker::rig_file;
use super::{Cluster, SYSTEM};
use crate::node::{Daemon, Node};

/// What a program is started with beside what it needs to find the cluster.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// More arguments.
    pub args: Vec<String>,
    /// Variables of its environment.
    pub env: BTreeMap<String, String>,
}

impl Options {
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }
}

/// A program that was started in a node. Dropping it ends it.
#[derive(Debug)]
pub struct Running<'cluster> {
    node: &'cluster Node,
    daemon: Daemon,
}

impl Cluster {
    /// Starts the operator in the first node, as its service account.
    #[must_use]
    pub fn start_operator(&self, options: &Options) -> Running<'_> {
        let token = self.token("stillframe-operator", None);
        self.start_program(0, "stillframe-operator", &[], &token, options)
    }

    /// Starts the agent of a node in it, as its service account, with a token that is bound to the node.
    #[must_use]
    pub fn start_agent(&self, node: &str, options: &Options) -> Running<'_> {
        let index = self.workers().position(|worker| worker.name == node);
        let index = index.unwrap_or_else(|| panic!("the cluster has no node {node}"));
        self.node(index).install("stillframe-archiver");
        let token = self.token("stillframe-node-agent", Some(node));
        let args = ["run", "--node-name", node];
        self.start_program(index, "stillframe-node-agent", &args, &token, options)
    }

    /// Starts a program that this workspace built in a node; `KUBECONFIG` names a file that holds this bearer token.
    #[must_use]
    pub fn start_program(
        &self,
        node: usize,
        program: &str,
        args: &[&str],
        token: &str,
        options: &Options,
    ) -> Running<'_> {
        let here = self.node(node);
        let path = here.install(program);
        let kubeconfig = here.put(&format!("pki/{program}.conf"), self.kubeconfig(token));
        let mut command = here
            .command(path)
            .args(args)
            .args(&options.args)
            .env("KUBECONFIG", &kubeconfig);
        for (name, value) in &options.env {
            command = command.env(name, value);
        }
        Running {
            node: here,
            daemon: command.daemon(program),
        }
    }

    /// A token of a service account for programs that are started by hand, bound to this node if one is given.
    ///
    /// The accounts are made with the first token. A cluster in which the project is installed has its own.
    #[must_use]
    pub fn token(&self, account: &str, node: Option<&str>) -> String {
        self.accounts.call_once(|| {
            self.apply(&rig_file("kubernetes/accounts.yaml"));
        });
        self.token_in(SYSTEM, account, node)
    }

    /// A token of a service account of this namespace, bound to this node if one is given.
    #[must_use]
    pub fn token_in(&self, namespace: &str, account: &str, node: Option<&str>) -> String {
        let mut args = vec![
            "create",
            "token",
            account,
            "--namespace",
            namespace,
            "--duration=24h",
        ];
        if let Some(node) = node {
            args.extend(["--bound-object-kind=Node", "--bound-object-name", node]);
        }
        self.kubectl(&args).trim().to_owned()
    }

    /// A kubeconfig with a bearer token, for programs in nodes.
    #[must_use]
    pub fn kubeconfig(&self, token: &str) -> String {
        let admin = std::fs::read_to_string(self.node(0).path("pki/admin.conf"))
            .expect("the administrator's kubeconfig");
        // Each part is one line, see tests/rig/kubernetes/identity.
        let lines = admin.lines().map(|line| {
            if line.starts_with("users:") {
                format!("users: [{{name: admin, user: {{token: \"{token}\"}}}}]\n")
            } else {
                format!("{line}\n")
            }
        });
        lines.collect()
    }
}

impl Running<'_> {
    /// Sends a signal to its process alone.
    pub fn kill(&self, signal: Signal) {
        self.daemon.kill(self.node, signal, false);
    }

    /// Its exit status (128 + N if signal N ended it), once it has ended; waits for that at most this long.
    pub fn wait(&mut self, patience: Duration) -> Option<i32> {
        self.daemon.wait(patience)
    }

    /// All that it, and those of its name before it in this node, have printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.log()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.daemon.has_ended() {
            self.daemon.kill(self.node, Signal::SIGKILL, true);
        }
    }
}
