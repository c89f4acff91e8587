//! Containers of a pod's shape, made by containerd: one that only owns the namespaces, one that joins them.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::node::job::Job;
use crate::node::{Invocation, Node, Output, PATIENCE};
use crate::program::Program;

/// containerd's namespace in which Kubernetes' containers are.
const NAMESPACE: &str = "k8s.io";

/// Where runc keeps the state of containerd's containers of that namespace.
pub const RUNC_ROOT: &str = "/run/containerd/runc/k8s.io";

/// The image that every container here is made of, see `tests/rig/image`.
const IMAGE: &str = "docker.io/local/busybox:1";

/// containerd, running in a node. Dropping it ends it; its containers must be gone by then.
#[derive(Debug)]
pub struct Containerd<'node> {
    node: &'node Node,
    daemon: Option<Job<'node>>,
}

impl<'node> Containerd<'node> {
    /// Starts containerd in a node, with the image imported. A node has one at a time.
    #[must_use]
    pub fn start(node: &'node Node) -> Self {
        let config = concat!(
            "version = 3\n",
            "root = '/run/rig/containerd'\n",
            "state = '/run/containerd'\n",
            "disabled_plugins = ['io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.images', ",
            "'io.containerd.cri.v1.runtime', 'io.containerd.nri.v1.nri']\n",
        );
        let config = node.put("containerd.toml", config);
        let daemon = node
            .command("bash")
            .args([
                "-c",
                "exec containerd --config \"$1\" >/run/rig/containerd.log 2>&1",
                "containerd",
            ])
            .arg(config)
            .timeout(Duration::MAX)
            .spawn();
        let this = Self {
            node,
            daemon: Some(daemon),
        };
        let deadline = Instant::now() + PATIENCE;
        while !this.ctr(&["version"]).succeeded() {
            assert!(
                Instant::now() < deadline,
                "containerd does not answer; see {}",
                node.path("containerd.log").display()
            );
            sleep(Duration::from_millis(50));
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("rig/image");
        let script = node.put("make-image", fs::read(script).expect("tests/rig/image"));
        node.run(&["bash", &script, "/run/rig"]).ok();
        this.ctr(&["images", "import", "/run/rig/busybox.tar"]).ok();
        this
    }

    /// Runs containerd's own client.
    #[must_use]
    pub fn ctr(&self, args: &[&str]) -> Output {
        self.node
            .command("ctr")
            .args(["--namespace", NAMESPACE])
            .args(args)
            .output()
    }

    /// Starts a pod with one container that runs this shell script, with more of `ctr run`'s flags.
    #[must_use]
    pub fn pod(&self, name: &str, script: &str, flags: &[&str]) -> Pod<'_> {
        let pause = format!("{name}-pause");
        let cgroup = format!("/kubepods/{name}");
        self.ctr(&[
            "run",
            "--detach",
            "--null-io",
            "--cgroup",
            &format!("{cgroup}/pause"),
            IMAGE,
            &pause,
            "/bin/sleep",
            "1000000",
        ])
        .ok();
        let mut pod = Pod {
            containerd: self,
            app: format!("{name}-app"),
            pause,
            sandbox_pid: 0,
        };
        pod.sandbox_pid = pod.pid_of(&pod.pause);
        let joined = ["network", "ipc", "uts"].map(|kind| {
            let file = if kind == "network" { "net" } else { kind };
            format!("--with-ns={kind}:/proc/{}/ns/{file}", pod.sandbox_pid)
        });
        let mut command = vec![
            "run",
            "--detach",
            "--log-uri",
            "file:///run/rig/pods.log",
            "--cgroup",
        ];
        let app_cgroup = format!("{cgroup}/app");
        command.push(&app_cgroup);
        command.extend(joined.iter().map(String::as_str));
        command.extend(flags);
        command.extend([IMAGE, &pod.app, "/bin/sh", "-c", script]);
        self.ctr(&command).ok();
        pod
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.kill(Signal::SIGTERM, true);
            let _ = daemon.output();
        }
    }
}

/// A pod-like pair of containers. Dropping it removes both.
#[derive(Debug)]
pub struct Pod<'node> {
    containerd: &'node Containerd<'node>,
    app: String,
    pause: String,
    sandbox_pid: i32,
}

impl<'node> Pod<'node> {
    /// The id of the container that joins the namespaces.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.app
    }

    /// The first process of the container that owns the namespaces, as a pid of the node.
    #[must_use]
    pub fn sandbox_pid(&self) -> i32 {
        self.sandbox_pid
    }

    /// The first process of the container that joins the namespaces, as a pid of the node.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid_of(&self.app)
    }

    fn pid_of(&self, id: &str) -> i32 {
        let tasks = self.containerd.ctr(&["tasks", "list"]).ok().stdout;
        tasks
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&id))
            .and_then(|fields| fields.get(1)?.parse().ok())
            .unwrap_or_else(|| panic!("containerd does not know {id}:\n{tasks}"))
    }

    /// What the container shows in a file of its root folder, if it is there.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<String> {
        let path = format!("/proc/{}/root/{}", self.pid(), path.trim_start_matches('/'));
        let output = self.containerd.node.run(&["cat", &path]);
        output.succeeded().then_some(output.stdout)
    }

    /// The folder with the container's config.json and its mounted root, in the node.
    #[must_use]
    pub fn bundle(&self) -> String {
        format!(
            "/run/containerd/io.containerd.runtime.v2.task/{NAMESPACE}/{}",
            self.app
        )
    }

    /// A `checkpoint` command of the container, as somebody on the node would type it.
    #[must_use]
    pub fn checkpoint_command(&self, program: Program, flags: &[&str]) -> Invocation<'node> {
        let node = self.containerd.node;
        node.command(program.command(node))
            .args(["--root", RUNC_ROOT, "checkpoint"])
            .args(flags)
            .arg(&self.app)
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        for id in [&self.app, &self.pause] {
            let _ = self.containerd.ctr(&["tasks", "delete", "--force", id]);
            let _ = self.containerd.ctr(&["containers", "delete", id]);
        }
    }
}
