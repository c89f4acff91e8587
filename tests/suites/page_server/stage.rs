//! Two nodes with the project on both, a pod on the first, and receivers on the second.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rig::cluster::Manifest;
use rig::node::{Daemon, PATIENCE};
use rig::witness::{IMAGES, Witness};
use rig::{Cluster, Mission, Node, Values};
use serde_json::Value;

/// Where the receiver's node keeps what these tests have it receive.
pub(crate) const PAGES: &str = "/run/rig/pages";

/// Where the keys are, on both nodes.
pub(crate) const KEYS: &str = "/run/rig/keys";

/// The agents' namespace, as the chart makes it: the secret has to be there first.
const NAMESPACE: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: stillframe-agents, labels: \
    {pod-security.kubernetes.io/enforce: privileged}}}";

/// What a transfer could leave on the receiver's node.
const LEFT: &str = r#"
for stat in /proc/[0-9]*/stat; do
    read -r line <"$stat" 2>/dev/null || continue
    name=${line#*(} name=${name%)*}
    case $name in criu | stillframe-ward* | stillframe-guar*) echo "process $name" ;; esac
done
find "$@" -mindepth 1 2>/dev/null || true
ss -Htln | awk '{print "listens " $4}' | sort -u
"#;

/// The cluster, for one test at a time.
pub(crate) struct Stage {
    pub(crate) cluster: &'static Cluster,
    pub(crate) mission: &'static Mission<'static>,
    before: Vec<String>,
    _alone: MutexGuard<'static, ()>,
}

/// A line of the documentation's shell, by the comment before it.
pub(crate) fn documented(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/page-server.md");
    let text = fs::read_to_string(path).expect("docs/page-server.md");
    let mark = format!("<!-- {name} -->\n```sh\n");
    let block = text
        .split_once(&mark)
        .and_then(|(_, rest)| rest.split_once("```"));
    let (block, _) = block.unwrap_or_else(|| panic!("docs/page-server.md has no block {name}"));
    block.to_owned()
}

fn start() -> Mission<'static> {
    let cluster = Cluster::shared();
    cluster.add_node();
    cluster.apply(NAMESPACE);
    let node = cluster.node(0);
    let names: Vec<String> = (0..2)
        .map(|index| {
            format!(
                "{} {}",
                cluster.node_name(index),
                cluster.node_address(index)
            )
        })
        .collect();
    node.put("keys/nodes", names.join("\n") + "\n");
    let make = format!(
        "cd {KEYS}; export KUBECONFIG=/run/rig/pki/admin.conf\n{}",
        documented("keys")
    );
    node.shell(&make).ok();
    // Somebody else's authority, and a node that has a name of its.
    node.shell(&format!(
        "mkdir {KEYS}/other; cp {KEYS}/nodes {KEYS}/other; cd {KEYS}/other; kubectl() {{ :; }}\n{}",
        documented("keys")
    ))
    .ok();
    let receiver = cluster.node(1);
    for folder in ["keys", "keys/other"] {
        for file in [
            "ca.crt",
            "node-a.crt",
            "node-a.key",
            "node-b.crt",
            "node-b.key",
        ] {
            let name = format!("{folder}/{file}");
            receiver.put(&name, fs::read(node.path(&name)).expect("a key"));
        }
    }
    receiver.shell(&format!("mkdir -m 700 {PAGES}")).ok();
    let values = Values::default()
        .set("agent.createNamespace", false)
        .set("pageServers.allowed", [cluster.node_address(1)])
        .set("pageServers.keysSecret", "page-server-keys")
        .set("pageServers.receivers.enabled", true);
    Mission::start_with(cluster, &values)
}

impl Stage {
    /// Waits until no other test has it; the first starts it.
    pub(crate) fn enter() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        static MISSION: OnceLock<Mission<'static>> = OnceLock::new();
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mission = MISSION.get_or_init(start);
        let mut this = Self {
            cluster: mission.cluster(),
            mission,
            before: Vec::new(),
            _alone: alone,
        };
        this.before = this.left();
        this
    }

    /// The node that receives.
    pub(crate) fn receiver(&self) -> &'static Node {
        self.cluster.node(1)
    }

    /// A pod on the first node that counts, with some memory in it.
    pub(crate) fn witness(&self, name: &str) -> Witness<'static> {
        let memory = "memory=0123456789abcdef; while [ ${#memory} -lt 16000000 ]; do memory=$memory$memory; done";
        let manifest = Manifest::empty(name).counting_after("app", memory);
        Witness::start(self.cluster, &manifest.on("node-a"))
    }

    /// What there is on the receiver's node that a transfer could have left.
    fn left(&self) -> Vec<String> {
        let found = self
            .receiver()
            .run(&["bash", "-uc", LEFT, "left", PAGES, IMAGES]);
        found.stdout.lines().map(str::to_owned).collect()
    }

    /// Fails unless the receiver's node is as it was before this test.
    pub(crate) fn receiver_must_be_clean(&self, what: &str) {
        let until = Instant::now() + Duration::from_secs(15);
        loop {
            let left = self.left();
            if left == self.before {
                return;
            }
            assert!(
                Instant::now() < until,
                "{what}: {left:#?} instead of {:#?}",
                self.before
            );
            sleep(Duration::from_millis(50));
        }
    }

    /// Removes what was received.
    pub(crate) fn forget_pages(&self) {
        self.receiver().shell(&format!("rm -rf {PAGES}/*")).ok();
    }
}

/// A receiver that somebody has started on the second node.
pub(crate) struct Receiver {
    pub(crate) daemon: Daemon,
    pub(crate) address: String,
    pub(crate) port: u64,
    lines: usize,
}

impl Receiver {
    /// Starts one for this directory, with these arguments beside.
    pub(crate) fn start(stage: &Stage, folder: &str, more: &[&str]) -> Self {
        let node = stage.receiver();
        node.install("stillframe-node-agent");
        let address = stage.cluster.node_address(1);
        let name = node.unique("receiver");
        let mut this = Self {
            daemon: node
                .command("stillframe-node-agent")
                .args([
                    "page-server",
                    "--output",
                    "json",
                    "--address",
                    &address,
                    "--image-path",
                    folder,
                ])
                .args(more)
                .daemon(&name),
            address,
            port: 0,
            lines: 0,
        };
        let listening = this.next("listening");
        assert_eq!(listening["address"], this.address.as_str());
        this.port = listening["port"].as_u64().expect("a port");
        this
    }

    /// The same with the keys of the documentation.
    pub(crate) fn with_keys(stage: &Stage, folder: &str, more: &[&str]) -> Self {
        let keys = keys(KEYS, "node-b");
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        Self::start(stage, folder, &[&keys[..], more].concat())
    }

    /// Waits for the next object that it prints, which has to be of this kind.
    fn next(&mut self, kind: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.daemon.log();
            let objects = log
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(mut object) = objects.into_iter().nth(self.lines) {
                self.lines += 1;
                assert!(object[kind].is_object(), "{kind} was expected: {log}");
                return object[kind].take();
            }
            assert!(Instant::now() < deadline, "no {kind}: {log}");
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits until it has received everything, and returns its report.
    pub(crate) fn received(mut self) -> Value {
        let report = self.next("received");
        assert_eq!(self.daemon.wait(PATIENCE), Some(0), "{}", self.daemon.log());
        report
    }

    /// Waits until it has failed, and returns the failure.
    pub(crate) fn failed(mut self) -> Value {
        let failure = self.next("failure");
        assert_eq!(self.daemon.wait(PATIENCE), Some(1), "{}", self.daemon.log());
        failure
    }

    /// The request's page server.
    pub(crate) fn asked(&self, tls: bool) -> Value {
        serde_json::json!({"address": self.address, "port": self.port, "tls": tls})
    }
}

/// A receiver's arguments for the keys in this folder, of this node.
pub(crate) fn keys(folder: &str, node: &str) -> [String; 6] {
    [
        "--tls-ca".to_owned(),
        format!("{folder}/ca.crt"),
        "--tls-cert".to_owned(),
        format!("{folder}/{node}.crt"),
        "--tls-key".to_owned(),
        format!("{folder}/{node}.key"),
    ]
}
