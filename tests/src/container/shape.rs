//! What a container is to look like before it is started.

use std::sync::Mutex;

use serde_json::{Value, json};

use super::{Container, Runtime, Streams};
use crate::node::{Node, SCRATCH};

/// What a container's standard streams are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdio {
    /// `/dev/null`.
    #[default]
    Null,
    /// Three pipes; the test holds the other ends.
    Pipes,
    /// A terminal; the test holds its master.
    Terminal,
}

/// The shell loop that counts in its memory and shows the number in [`COUNTER`], fifty times a second.
///
/// It starts no process: a shell that waits for its vforked child cannot be stopped once the child is frozen (cgroup v1), and
/// then CRIU gives up after ten seconds ("Unseizable non-zombie … state D"). The file is in memory that the image holds: CRIU
/// refuses to restore a process that had a file of the root folder open which has another size by then.
pub const COUNT: &str = "mkfifo /pause; exec 3<>/pause; n=0; \
    while :; do n=$((n+1)); echo $n >/dev/shm/counter; read -t 0.02 -u 3 x; done";

/// Where a counting container shows its number.
pub const COUNTER: &str = "/dev/shm/counter";

/// The applets that every container's `/bin` has beside `busybox`.
const APPLETS: [&str; 13] = [
    "sh", "sleep", "cat", "echo", "mv", "rm", "ls", "kill", "nc", "mount", "tty", "ln", "mkfifo",
];

/// A container to be: runc's default configuration with changes, around a root folder with busybox.
#[derive(Debug)]
pub struct Shape<'node> {
    node: &'node Node,
    id: String,
    runtime: Runtime,
    stdio: Stdio,
    config: Value,
    workload: bool,
}

impl<'node> Shape<'node> {
    /// A container with this id that counts, see [`Shape::counting`].
    #[must_use]
    pub fn new(node: &'node Node, id: impl Into<String>) -> Self {
        let spec = node
            .shell("cd $(mktemp -d) && runc spec && cat config.json && rm -r \"$PWD\"")
            .ok();
        let mut config: Value =
            serde_json::from_str(&spec.stdout).expect("`runc spec` writes JSON");
        config["root"] = json!({"path": "rootfs", "readonly": false});
        config["process"]["terminal"] = json!(false);
        let shape = Self {
            node,
            id: id.into(),
            runtime: Runtime::default(),
            stdio: Stdio::default(),
            config,
            workload: false,
        };
        shape.counting()
    }

    /// It counts in its memory, fifty times a second, and shows the number in [`COUNTER`]: see [`Container::counter`].
    #[must_use]
    pub fn counting(self) -> Self {
        self.script(COUNT)
    }

    /// It runs this shell script.
    #[must_use]
    pub fn script(self, script: &str) -> Self {
        self.args(&["/bin/sh", "-c", script])
    }

    /// It runs this command.
    #[must_use]
    pub fn args(self, args: &[&str]) -> Self {
        self.edit(|config| config["process"]["args"] = json!(args))
    }

    /// It is started by this runtime.
    #[must_use]
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = runtime;
        self
    }

    /// Its standard streams.
    #[must_use]
    pub fn stdio(mut self, stdio: Stdio) -> Self {
        self.stdio = stdio;
        self.config["process"]["terminal"] = json!(stdio == Stdio::Terminal);
        self
    }

    /// It has this file or folder of the node at this place.
    #[must_use]
    pub fn bind(self, source: &str, destination: &str, options: &[&str]) -> Self {
        let options: Vec<&str> = ["rbind"].iter().chain(options).copied().collect();
        self.mount(json!({"type": "bind", "source": source, "destination": destination, "options": options}))
    }

    /// It has a tmpfs at this place.
    #[must_use]
    pub fn tmpfs(self, destination: &str, options: &[&str]) -> Self {
        self.mount(json!({"type": "tmpfs", "source": "tmpfs", "destination": destination, "options": options}))
    }

    /// It has one more mount, as config.json writes it.
    #[must_use]
    pub fn mount(self, mount: Value) -> Self {
        self.edit(|config| config["mounts"].as_array_mut().expect("a list").push(mount))
    }

    /// Its namespace of this type is the one of this path in the node.
    #[must_use]
    pub fn namespace(self, kind: &str, path: &str) -> Self {
        let kind = json!(kind);
        self.without_namespace(&kind).edit(|config| {
            let namespaces = config["linux"]["namespaces"]
                .as_array_mut()
                .expect("a list");
            namespaces.push(json!({"type": kind, "path": path}));
        })
    }

    /// Its network namespace is the node's own.
    #[must_use]
    pub fn host_network(self) -> Self {
        self.without_namespace(&json!("network"))
    }

    fn without_namespace(self, kind: &Value) -> Self {
        self.edit(|config| {
            let namespaces = config["linux"]["namespaces"]
                .as_array_mut()
                .expect("a list");
            namespaces.retain(|namespace| namespace["type"] != *kind);
        })
    }

    /// It has this annotation.
    #[must_use]
    pub fn annotation(self, name: &str, value: &str) -> Self {
        self.edit(|config| config["annotations"][name] = json!(value))
    }

    /// Its cgroup is this one of the node.
    #[must_use]
    pub fn cgroups_path(self, path: &str) -> Self {
        self.edit(|config| config["linux"]["cgroupsPath"] = json!(path))
    }

    /// It sees the node's `/usr` (read-only), so that dynamically linked programs run in it.
    #[must_use]
    pub fn with_node_libraries(self) -> Self {
        self.bind("/usr", "/usr", &["ro"])
    }

    /// It runs the program `workload` with these arguments, from its folder `/out`.
    ///
    /// What it publishes is in `/out/state`, see [`Container::published`](super::Container::published).
    #[must_use]
    pub fn workload(self, args: &[&str]) -> Self {
        let command: Vec<&str> = ["/out/workload"].iter().chain(args).copied().collect();
        let mut shape = self.with_workload();
        shape.config["process"]["args"] = json!(command);
        shape
    }

    /// It has the program `workload` as `/out/workload`, whatever it runs.
    #[must_use]
    pub fn with_workload(mut self) -> Self {
        self.workload = true;
        self.with_node_libraries()
    }

    /// Changes config.json in any other way.
    #[must_use]
    pub fn edit(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.config);
        self
    }

    /// Writes the bundle, without starting anything.
    #[must_use]
    pub fn prepare(self) -> Container<'node> {
        let bundle = format!("bundles/{}", self.id);
        let workload = if self.workload {
            format!("mkdir -p out; cp {} out/", self.node.install("workload"))
        } else {
            String::new()
        };
        let script = format!(
            "mkdir -p {bundle}/rootfs; cd {bundle}/rootfs; mkdir -p bin dev etc proc sys tmp root run usr
             ln -sfn usr/lib lib; ln -sfn usr/lib64 lib64; cp /usr/bin/busybox bin/
             for applet in {}; do ln -sf busybox bin/$applet; done
             {workload}",
            APPLETS.join(" ")
        );
        let command = self.node.command("bash").args(["-euc", &script]);
        command.cwd(SCRATCH).output().ok();
        let config = serde_json::to_vec_pretty(&self.config).expect("a configuration is JSON");
        self.node.put(&format!("{bundle}/config.json"), config);
        Container {
            node: self.node,
            id: self.id,
            runtime: self.runtime,
            stdio: self.stdio,
            bundle: format!("/run/rig/{bundle}"),
            init: Mutex::new(None),
            streams: Streams::default(),
        }
    }

    /// Writes the bundle and starts the container.
    #[must_use]
    pub fn start(self) -> Container<'node> {
        let mut container = self.prepare();
        container.launch(&["run", "--detach"]).ok();
        container
    }
}
