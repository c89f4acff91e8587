//! `make demo`: a real pod of a real cluster is checkpointed by `kubectl apply`, and comes back from its image.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use rig::Cluster;
use rig::cluster::Options;

const POD: &str = "counter";
const CHECKPOINT: &str = "counter-1";

/// Runs in the node: makes a bundle of what the pod's container was started from, restores the image into it, and shows
/// what the restored container prints. Arguments: the container's id, the image directory.
const RESTORE: &str = r#"
bundle=/run/rig/restored
mkdir -p $bundle/rootfs
jq '.linux.cgroupsPath = "/restored"' /run/containerd/io.containerd.runtime.v2.task/k8s.io/$1/config.json >$bundle/config.json
cp -ax /run/containerd/io.containerd.runtime.v2.task/k8s.io/$1/rootfs/. $bundle/rootfs/
runc restore --detach --bundle $bundle --image-path "$2" --work-path $bundle restored </dev/null >$bundle/said 2>&1 ||
    { cat $bundle/said; tail -n 5 $bundle/restore.log; exit 1; }
for n in $(seq 100); do
    [ "$(wc -l <$bundle/said)" -lt 3 ] || break
    sleep 0.1
done
head -n 3 $bundle/said
runc delete --force restored
[ "$(wc -l <$bundle/said)" -ge 3 ]
"#;

fn main() -> ExitCode {
    let story = Story::begin();
    match story.tell() {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("\nThe demo failed: {what}");
            ExitCode::FAILURE
        }
    }
}

struct Story {
    started: Instant,
    cluster: Cluster,
}

impl Story {
    fn begin() -> Self {
        let started = Instant::now();
        println!(
            "\n1. A Kubernetes cluster on this machine: etcd, API server, controllers, scheduler, containerd, kubelet."
        );
        let cluster = Cluster::start();
        let story = Self { started, cluster };
        story.time("node-a is ready");
        story
    }

    fn tell(&self) -> Result<(), String> {
        let cluster = &self.cluster;
        println!("\n2. Stillframe in it: its API, the operator, and an agent on the node.");
        cluster.install_crds();
        let options = Options::default();
        let _operator = cluster.start_operator(&options);
        let _agent = cluster.start_agent("node-a", &options);
        self.run(&[
            "wait",
            "--for=create",
            "--timeout=60s",
            "checkpointnode/node-a",
        ])?;
        self.run(&["get", "checkpointnodes"])?;

        println!("\n3. A real pod counts, in its memory alone.");
        self.apply("counter.yaml")?;
        self.run(&[
            "wait",
            "--for=condition=Ready",
            "--timeout=60s",
            "pod/counter",
        ])?;
        self.shown_beyond(2)?;

        println!("\n4. Checkpoint it while it runs: apply one object, wait until it is Ready.");
        let before = self.shown()?;
        self.apply("checkpoint.yaml")?;
        let object = format!("cckpt/{CHECKPOINT}");
        self.run(&["wait", "--for=condition=Ready", "--timeout=60s", &object])?;
        self.run(&["get", "cckpt"])?;
        println!(
            "\n   {}",
            self.field("{.status.conditions[?(@.type==\"Ready\")].message}")?
        );
        let after = self.shown()?;

        println!("\n5. The pod never noticed, and counts on.");
        let beyond = self.shown_beyond(after)?;
        println!("   {before} before, {after} after the checkpoint, now {beyond}");

        println!("\n6. `runc restore` brings the container back from the image, beside the pod.");
        self.restore(before, after)?;
        self.time("done");
        println!("\nThe cluster is removed, and everything in it.");
        Ok(())
    }

    fn restore(&self, before: u64, after: u64) -> Result<(), String> {
        let id = self.field("{.status.containerID}")?;
        let id = id.trim_start_matches("containerd://");
        let image = self.field("{.status.artifact.parts[0].path}")?;
        println!("  $ runc restore --detach --bundle BUNDLE --image-path {image} restored");
        let node = self.cluster.node(0);
        let output = node
            .command("bash")
            .args(["-euc", RESTORE, "restore", id, &image])
            .output();
        if !output.succeeded() {
            return Err(format!("{}{}", output.stdout, output.stderr));
        }
        let numbers: Vec<u64> = output
            .stdout
            .lines()
            .filter_map(|n| n.trim().parse().ok())
            .collect();
        println!("   it prints {numbers:?}");
        let [first, second, third] = numbers[..] else {
            return Err(format!("three numbers were expected: {}", output.stdout));
        };
        let goes_on = (before..=after + 1).contains(&first);
        if !goes_on || second != first + 1 || third != second + 1 {
            return Err(format!(
                "it does not go on from where it was, between {before} and {after}"
            ));
        }
        println!("   It went on from where it was when it was dumped.");
        Ok(())
    }

    fn apply(&self, example: &str) -> Result<(), String> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../examples")
            .join(example);
        let text =
            std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        println!("  $ kubectl apply --filename examples/{example}");
        let inside = self.cluster.node(0).put(example, text);
        self.kubectl(&["apply", "--filename", &inside])
            .map(|said| Self::indented(&said))
    }

    /// Shows a command of kubectl, runs it, and shows what it prints.
    fn run(&self, args: &[&str]) -> Result<(), String> {
        println!("  $ kubectl {}", args.join(" "));
        self.kubectl(args).map(|said| Self::indented(&said))
    }

    fn indented(text: &str) {
        for line in text.lines() {
            println!("    {line}");
        }
    }

    fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        let output = self.cluster.try_kubectl(args);
        if output.succeeded() {
            return Ok(output.stdout);
        }
        let about = self.cluster.try_kubectl(&["describe", "cckpt"]).stdout;
        Err(format!(
            "kubectl {}: {}\n{about}",
            args.join(" "),
            output.stderr
        ))
    }

    fn field(&self, path: &str) -> Result<String, String> {
        let output = format!("--output=jsonpath={path}");
        self.kubectl(&["get", "cckpt", CHECKPOINT, &output])
    }

    /// The last number that the pod has printed.
    fn shown(&self) -> Result<u64, String> {
        let log = self.kubectl(&["logs", POD, "--tail=1"])?;
        Ok(log.trim().parse().unwrap_or(0))
    }

    /// Follows the pod's log until it has printed more than this.
    fn shown_beyond(&self, number: u64) -> Result<u64, String> {
        for _ in 0..150 {
            let now = self.shown()?;
            if now > number {
                println!("  $ kubectl logs {POD} --tail=1\n    {now}");
                return Ok(now);
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        Err(format!("the pod does not count beyond {number}"))
    }

    fn time(&self, what: &str) {
        println!(
            "   ({what} after {:.1} s)",
            self.started.elapsed().as_secs_f32()
        );
    }
}
