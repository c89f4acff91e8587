//! Lazy pages between two nodes of a cluster: served to those who may fetch them and to nobody else, fetched, and given up.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "what goes wrong in a test ends it, with an explanation"
)]

use rig::cluster::{Cluster, Pod};
use rig::installation::AGENTS;
use rig::mission::{Checkpoint, Mission};
use rig::pipe_limit::PIPE_LIMIT;
use rig::{Node, PipeLimit, Values};
use serde_json::{Value, json};

#[path = "lazy_pages/faults.rs"]
mod faults;
#[path = "lazy_pages/strangers.rs"]
mod strangers;
#[path = "lazy_pages/walk.rs"]
mod walk;

/// The nodes: containers are dumped on the first, and restored on the second.
const FROM: &str = "node-a";
const TO: &str = "node-b";

/// Makes keys of one authority, whose certificate names both nodes. Arguments: their addresses.
const KEYS: &str = r#"
mkdir -p /run/rig/keys; cd /run/rig/keys
key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc"
openssl req -x509 $key -keyout ca.key -out ca.crt -subj /CN=pages -days 2
openssl req $key -keyout tls.key -out tls.csr -subj /CN=node
openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -days 2 -out tls.crt -extfile <(echo "subjectAltName=IP:$1,IP:$2")
"#;

/// The two nodes with the project on them.
struct Scene<'cluster> {
    mission: Mission<'cluster>,
    from: &'cluster Node,
    to: &'cluster Node,
}

impl<'cluster> Scene<'cluster> {
    fn start(cluster: &'cluster Cluster) -> Self {
        let (from, to) = (cluster.node(0), cluster.node(1));
        let addresses = [0, 1].map(|index| cluster.node_address(index));
        let keys = from.command("bash").args(["-euc", KEYS, "keys"]);
        keys.args(&addresses).output().ok();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": AGENTS, "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
        }});
        cluster.apply(&namespace.to_string());
        let files =
            ["ca.crt", "tls.crt", "tls.key"].map(|key| format!("--from-file=/run/rig/keys/{key}"));
        let secret = ["create", "secret", "generic", "keys", "--namespace", AGENTS];
        cluster.kubectl(&[&secret[..], &files.each_ref().map(String::as_str)].concat());
        let values = Values::default()
            .set("agent.createNamespace", false)
            .set("pageServers.allowed", ["10.90.0.0/24"])
            .set("pageServers.keysSecret", "keys");
        Self {
            mission: Mission::start_with(cluster, &values),
            from,
            to,
        }
    }

    fn cluster(&self) -> &'cluster Cluster {
        self.mission.cluster()
    }

    /// As [`Scene::ask`], and waits until the pages can be fetched.
    fn serving(&self, pod: &Pod<'_>, asked: &Asked<'_>) -> Checkpoint<'cluster> {
        let checkpoint = self.ask(pod, asked);
        checkpoint.wait("condition=LazyPagesReady");
        checkpoint
    }

    /// Asks for a dump of a pod whose pages this peer may fetch.
    fn ask(&self, pod: &Pod<'_>, asked: &Asked<'_>) -> Checkpoint<'cluster> {
        let Asked {
            name,
            peer,
            port,
            tls,
            container,
            options,
            timeout,
        } = asked;
        let mut all = json!({
            "lazyPages": true, "lazyPeers": [peer],
            "pageServer": {"address": "0.0.0.0", "port": port, "tls": tls},
        });
        for (key, value) in options.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        let mut source = json!({"podName": pod.name()});
        if let Some(container) = container {
            source["containerName"] = json!(container);
        }
        let spec = json!({"source": source, "options": all, "timeoutSeconds": timeout});
        self.mission.checkpoint(name, &spec)
    }

    /// The rules that stand before ports of lazy pages on either node.
    fn fences(&self) -> String {
        [self.from, self.to]
            .map(|node| {
                node.shell("nft list ruleset; iptables-save; ip6tables-save")
                    .ok()
                    .stdout
            })
            .iter()
            .flat_map(|rules| rules.lines())
            .filter(|line| line.contains("stillframe-lazy") || line.contains("SF-LAZY"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Fails unless a checkpoint has said that it serves no longer, and nothing of that is left on either node.
    fn must_be_over(&self, checkpoint: &Checkpoint<'_>) {
        let ready = checkpoint.condition("LazyPagesReady");
        assert_eq!(
            (ready.status.as_str(), ready.reason.as_str()),
            ("False", "NotServing"),
            "{ready:?}"
        );
        self.must_be_clean();
    }

    fn must_be_clean(&self) {
        assert_eq!(self.fences(), "");
        for node in [self.from, self.to] {
            let journal = node.shell("ls -A /run/stillframe/journal").ok().stdout;
            assert_eq!(journal, "");
            let criu = node.run(&["pgrep", "-x", "criu"]);
            assert_eq!(criu.stdout, "", "CRIU still runs");
        }
    }
}

/// What is asked for.
struct Asked<'a> {
    name: &'a str,
    peer: &'a str,
    port: u16,
    tls: bool,
    container: Option<&'a str>,
    options: Value,
    timeout: u32,
}

impl Default for Asked<'_> {
    fn default() -> Self {
        Self {
            name: "",
            // Nobody.
            peer: "10.90.0.200",
            port: 27_277,
            tls: false,
            container: None,
            options: json!({}),
            timeout: 120,
        }
    }
}

/// One after the other, on one cluster: the limit for pipes is the machine's, and goes back to what it was at the end.
#[test]
#[ignore = "needs the node root: run make test"]
fn lazy_pages_are_served_to_those_who_may_fetch_them_and_given_up_in_time() {
    let cluster = Cluster::start_with(2);
    let Some(_limit) = PipeLimit::raise(cluster.node(0)) else {
        eprintln!("not run: needs a writable {PIPE_LIMIT}, or CAP_SYS_RESOURCE");
        return;
    };
    let scene = Scene::start(&cluster);
    walk::the_commands_of_the_page_move_a_container_with_its_memory(&scene);
    strangers::without_nftables_iptables_closes_the_port_and_without_either_nothing_is_served(
        &scene,
    );
    strangers::nobody_but_the_named_peer_reaches_the_port_of_lazy_pages(&scene);
    faults::a_container_whose_lazy_pages_nobody_fetches_goes_on_in_time(&scene);
    faults::whoever_is_killed_while_lazy_pages_are_served_leaves_no_harm(&scene);
    faults::a_fetch_that_is_cut_ends_no_container(&scene);
    faults::a_fetch_that_ends_in_order_ends_the_container_where_that_was_asked(&scene);
}
