//! A pod of a cluster, what its node looked like before something went wrong, and the proof that neither took harm.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Manifest, Pod};
use crate::node::{Node, PATIENCE};
use crate::scene::talk;
use crate::traces::Traces;

/// Where agents keep images unless told otherwise.
pub const IMAGES: &str = "/var/lib/stillframe/images";

/// How long whoever cleans up may take.
const CLEANED_WITHIN: Duration = Duration::from_secs(15);

/// A pod whose container `app` counts, and its node.
#[derive(Debug)]
pub struct Witness<'cluster> {
    /// The pod.
    pub pod: Pod<'cluster>,
    node: &'cluster Node,
    container: String,
    pid: i32,
    before: Vec<String>,
}

/// The manifest of a pod whose container `app` counts through a TCP connection to itself.
#[must_use]
pub fn talking(name: &str) -> Manifest {
    let script = talk(7001).replace("/dev/shm/counter", &Manifest::counter("app"));
    Manifest::empty(name).script("app", &script)
}

impl<'cluster> Witness<'cluster> {
    /// Starts a pod on the first node, and looks at both.
    #[must_use]
    pub fn start(cluster: &'cluster Cluster, manifest: &Manifest) -> Self {
        Self::of(cluster, cluster.run(manifest))
    }

    /// Looks at a pod that runs on the first node, and at that.
    #[must_use]
    pub fn of(cluster: &'cluster Cluster, pod: Pod<'cluster>) -> Self {
        let _ = pod.count_beyond("app", 3);
        let container = pod.container_id("app").expect("the container runs");
        let pid = pod.pid("app").expect("the container runs");
        let node = cluster.node(0);
        // Our own folder is there from the first checkpoint on, and stays.
        node.shell("mkdir -p -m 700 /run/stillframe/journal").ok();
        let before = traces(node, pid);
        Self {
            pod,
            node,
            container,
            pid,
            before,
        }
    }

    /// Fails unless the very same container counts on.
    pub fn must_go_on(&self, what: &str) {
        assert_eq!(
            self.pod.container_id("app").as_ref(),
            Some(&self.container),
            "{what}"
        );
        let now = self.pod.count("app");
        let until = Instant::now() + PATIENCE;
        while self.pod.count("app") <= now {
            assert!(
                Instant::now() < until,
                "{what}: stands still at {now}; {}",
                self.situation()
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// What is to be known of a container that stands still.
    fn situation(&self) -> String {
        let pid = self.pid;
        let script = format!(
            "nsenter --net=/proc/{pid}/ns/net bash -c 'iptables-save; nft list ruleset; ss -tanoi'
             find /sys/fs/cgroup -path '*{container}*' \\( -name freezer.state -o -name cgroup.freeze \\) -exec grep . {{}} +
             net=$(readlink /proc/{pid}/ns/pid)
             for p in /proc/[0-9]*; do
                 [ \"$(readlink $p/ns/pid)\" = \"$net\" ] || continue
                 echo $p $(tr '\\0' ' ' <$p/cmdline) $(grep -E 'State|TracerPid' $p/status) $(cat $p/wchan)
             done
             tail -n 20 /var/log/pods/stillframe-agents_*/*/*.log",
            container = self.container,
        );
        let output = self.node.run(&["bash", "-uc", &script]);
        let traces = traces(self.node, pid).join("\n");
        format!("{}{}\n{traces}", output.stdout, output.stderr)
    }

    /// Fails unless the very same container counts on and nothing of a dump is left in the node, with as many programs of the
    /// project running as there were when it was looked at.
    pub fn must_be_unharmed(&self, what: &str) {
        self.must_go_on(what);
        let until = Instant::now() + CLEANED_WITHIN;
        let after = loop {
            let after = traces(self.node, self.pid);
            if after == self.before || Instant::now() >= until {
                break after;
            }
            sleep(Duration::from_millis(50));
        };
        assert_eq!(after, self.before, "{what}");
    }
}

/// What a dump could leave in a node, but for the pods' own cgroups; of processes the names alone.
fn traces(node: &Node, pid: i32) -> Vec<String> {
    let found = Traces::of(node, &[pid], &[IMAGES]);
    let mut lines: Vec<String> = found
        .lines()
        .filter(|line| {
            let cgroup = line.strip_prefix("cgroup ").unwrap_or_default();
            // Dumps have one of their own, see the chart's value agent.dumpCgroup. It may stay; what is in it is listed.
            !cgroup.contains("kubepods") && !cgroup.ends_with("/stillframe")
        })
        .map(|line| match line.split_once(" process ") {
            Some((does, who)) => {
                let name = who.split_once(' ').map_or(who, |(_, name)| name);
                format!("{does} {name}")
            }
            None => line.to_owned(),
        })
        .collect();
    lines.sort();
    lines
}

/// What the image root of a node holds of objects whose names begin so: images, and the agent's own files.
#[must_use]
pub fn kept(node: &Node, name: &str) -> Vec<String> {
    let script = format!(
        "[ ! -d {IMAGES} ] || find {IMAGES} -mindepth 2 -maxdepth 2 -name '{name}-*' -printf '%f\\n' | sort"
    );
    let listed = node.shell(&script).ok();
    listed.stdout.lines().map(str::to_owned).collect()
}

/// As [`kept`], once there is nothing any more; fails when something stays.
pub fn must_be_gone(node: &Node, name: &str) {
    let until = Instant::now() + CLEANED_WITHIN;
    loop {
        let left = kept(node, name);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "left of {name}: {left:?}");
        sleep(Duration::from_millis(50));
    }
}
