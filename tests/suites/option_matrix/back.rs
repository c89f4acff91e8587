//! A container's way back: its image restored by its runtime in its own root, beside the kubelet, in the namespaces of its pod.

use rig::container::{Runtime, State};
use rig::pod::RUNC_ROOT;
use rig::{Node, Output};

use crate::cases::Subject;
use crate::scene::{self, Scene};

/// Holds on to what a container was started from, for when containerd has let go of it. Arguments: the container's id, a name.
const HOLD: &str = r#"
task=/run/containerd/io.containerd.runtime.v2.task/k8s.io/$1 bundle=/run/rig/$2
mkdir -p $bundle/rootfs $bundle/work
mount --bind $task/rootfs $bundle/rootfs
jq '.root.path = "rootfs"' $task/config.json >$bundle/config.json
"#;

/// A bundle in which a container is to be restored.
pub(crate) struct Bundle<'scene> {
    scene: &'scene Scene,
    subject: Subject,
    name: String,
    id: String,
    /// The process that holds the pod's namespaces.
    sandbox: i32,
}

impl<'scene> Bundle<'scene> {
    /// Makes it while the container still runs.
    pub(crate) fn prepare(scene: &'scene Scene, subject: &Subject) -> Self {
        let pod = scene.pod(subject);
        let id = pod.container_id("app").expect("it runs");
        let name = format!("back-{}", subject.pod());
        let node = scene.node;
        node.run(&["bash", "-euc", HOLD, "hold", &id, &name]).ok();
        let path = "/run/rig/$1/config.json";
        let sandbox = format!(
            "jq -r '.linux.namespaces[] | select(.type == \"ipc\").path' {path} | cut -d/ -f3"
        );
        let sandbox = node.run(&["bash", "-euc", &sandbox, "sandbox", &name]).ok();
        let sandbox = sandbox.stdout.trim().parse().expect("a pid");
        if subject.case.talks() {
            scene.hold_connections(sandbox, true);
        }
        Self {
            scene,
            subject: *subject,
            name,
            id,
            sandbox,
        }
    }

    fn node(&self) -> &'static Node {
        self.scene.node
    }

    fn runtime(&self, verb: &[&str]) -> Output {
        let Self { name, subject, .. } = self;
        let script = "exec \"$@\" </dev/null >/run/rig/$0/said 2>&1";
        self.node()
            .command("bash")
            .args(["-c", script, name, subject.runtime.command(), "--root"])
            // Where containerd keeps them: crun finds the directory of its masks by this, and the image names it.
            .arg(RUNC_ROOT)
            .args(verb)
            .arg(name)
            .output()
    }

    /// Restores an image, once its container has ended.
    pub(crate) fn restore(&self, image: &str, flags: &[&str]) {
        let Self { name, id, .. } = self;
        if self.subject.case.leaves_running() {
            let kill = ["ctr", "-n", "k8s.io", "tasks", "kill", "-s", "KILL", id];
            self.node().run(&kill).ok();
        }
        // Its cgroup is to be the same one, which containerd removes first.
        self.node()
            .shell(&format!(
                "until ! ctr -n k8s.io tasks list | grep -q {id}; do sleep 0.02; done"
            ))
            .ok();
        let bundle = format!("/run/rig/{name}");
        let work = format!("{bundle}/work");
        let mut verb = vec!["restore", "--detach", "--bundle", &bundle];
        verb.extend(["--image-path", image, "--work-path", &work]);
        verb.extend(flags);
        let output = self.runtime(&verb);
        let said = self
            .node()
            .shell(&format!("cat {bundle}/said; tail -n 15 {work}/restore.log"));
        assert!(output.succeeded(), "{name}: {}", said.stdout);
        if self.subject.case.talks() {
            self.scene.hold_connections(self.sandbox, false);
        }
    }

    /// Fails unless the restored container goes on from what was seen before the dump.
    pub(crate) fn must_go_on(&self, before: &State) {
        let file = format!("/run/rig/{}/rootfs/out/state", self.name);
        let read = || {
            let output = self.node().run(&["cat", &file]);
            output.succeeded().then_some(output.stdout)
        };
        scene::must_go_on(&read, before);
        self.must_be_in_the_network_of_the_pod();
    }

    fn must_be_in_the_network_of_the_pod(&self) {
        let pid = match self.subject.runtime {
            Runtime::Runc | Runtime::DebiansRunc => "state.json | jq .init_process_pid",
            Runtime::Crun => "status | jq .pid",
        };
        let script = format!(
            "pid=$(cat {RUNC_ROOT}/{}/{pid})
             [ $(readlink /proc/$pid/ns/net) = $(readlink /proc/{}/ns/net) ]",
            self.name, self.sandbox
        );
        self.node().shell(&script).ok();
    }

    /// Ends the restored container.
    pub(crate) fn remove(self) {
        self.runtime(&["delete", "--force"]).ok();
        self.node()
            .shell(&format!("umount /run/rig/{}/rootfs", self.name))
            .ok();
    }
}
