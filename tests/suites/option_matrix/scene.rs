//! The pods and those that they talk to.

use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rig::cluster::Pod;
use rig::container::State;
use rig::node::{Daemon, Job, PATIENCE};
use rig::{Cluster, Mission, Node};

use crate::cases::{HALF_OPEN, SERVER, SOCKETS, Subject, subjects};

/// Where a workload shows its state, in its container.
const STATE: &str = "/out/state";
/// Where the job of a shell shows its own.
const JOB: &str = "/out/job";
/// The server's state in the node's scratch folder.
const SERVED: &str = "served";

const RUNTIME_CLASS: &str = "\
    {apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: crun}, handler: crun}";

/// A receiver of datagrams that keeps the last one in a file, never half of it: socket, file.
const RECEIVER: &str = "use Socket; umask 0; socket(my $s, PF_UNIX, SOCK_DGRAM, 0) or die; bind($s, sockaddr_un($ARGV[0])) or die; \
    while (defined(recv($s, my $m, 512, 0))) { open(my $f, '>', \"$ARGV[1].new\"); print $f $m; close $f; rename(\"$ARGV[1].new\", $ARGV[1]) }";

/// All pods, running, with their peers.
pub(crate) struct Scene {
    mission: &'static Mission<'static>,
    pub(crate) node: &'static Node,
    peers: Vec<Daemon>,
}

impl Scene {
    pub(crate) fn start(mission: &'static Mission<'static>) -> Self {
        let cluster = mission.cluster();
        let node = cluster.node(0);
        let address = cluster.node_address(0);
        let mut scene = Self {
            mission,
            node,
            peers: Vec::new(),
        };
        scene.start_peers();
        cluster.apply(RUNTIME_CLASS);
        let manifests: Vec<String> = subjects()
            .iter()
            .map(|subject| subject.manifest(&address).to_string())
            .collect();
        cluster.apply(&manifests.join("\n---\n"));
        wait_for_all(cluster, "pods", "Ready");
        for subject in subjects() {
            let _ = scene.state(&subject);
        }
        scene.leave_connections_half_open();
        scene
    }

    fn start_peers(&mut self) {
        let node = self.node;
        node.run(&["mkdir", SOCKETS]).ok();
        let server = node
            .command(node.install("workload"))
            .args(["tcp-server", "--listen", &format!("0.0.0.0:{SERVER}")])
            .args(["--state", &format!("/run/rig/{SERVED}")])
            .daemon("tcp-server");
        self.peers.push(server);
        for runtime in ["runc", "crun"] {
            let receiver = node
                .command("perl")
                .args(["-e", RECEIVER, &format!("{SOCKETS}/{runtime}")])
                .arg(format!("/run/rig/heard-{runtime}"))
                .daemon("receiver");
            self.peers.push(receiver);
        }
        node.shell(&format!(
            "until [ -S {SOCKETS}/runc ] && [ -S {SOCKETS}/crun ] && ss -Hltn 'sport = :{SERVER}' | grep -q .; do sleep 0.02; done"
        ))
        .ok();
    }

    /// Connects to those that listen and do not accept.
    fn leave_connections_half_open(&mut self) {
        for subject in subjects() {
            if !subject.case.is_half_open() {
                continue;
            }
            let address = self.pod(&subject).field(".status.podIP");
            let up = format!("/run/rig/up-{}", subject.pod());
            let script =
                format!("exec 5<>/dev/tcp/{address}/{HALF_OPEN}; echo up >{up}; exec sleep 1000");
            let waits = self.node.command("bash").args(["-c", &script]);
            self.peers.push(waits.daemon("waits"));
            self.node
                .shell(&format!("until [ -e {up} ]; do sleep 0.02; done"))
                .ok();
        }
    }

    pub(crate) fn pod(&self, subject: &Subject) -> Pod<'static> {
        self.mission.cluster().pod("default", &subject.pod())
    }

    /// What a pod's workload has shown last.
    pub(crate) fn state(&self, subject: &Subject) -> State {
        let pod = self.pod(subject);
        read_until(&|| pod.read("app", STATE), &|state| {
            state.number("ticks") > 3 && !(subject.case.talks() && state.number("messages") == 0)
        })
    }

    /// Fails unless a pod goes on from what was seen of it, in the same memory.
    pub(crate) fn must_go_on(&self, subject: &Subject, before: &State) {
        let pod = self.pod(subject);
        must_go_on(&|| pod.read("app", STATE), before);
    }

    /// Fails unless somebody outside hears of a container that came back.
    pub(crate) fn must_be_heard(&self, subject: &Subject, before: &State) {
        if subject.case.sends() {
            let heard = format!("/run/rig/heard-{}", subject.runtime);
            // It says what it had heard before, until it hears of it again.
            let script =
                format!("rm -f {heard}; until [ -s {heard} ]; do sleep 0.02; done; cat {heard}");
            let message = self.node.shell(&script).ok().stdout;
            let session = before.text("session");
            assert!(message.contains(session), "{message} is not of {session}");
        }
    }

    /// Keeps a pod's connections from noticing that nobody is there for a while, or lets them go on.
    pub(crate) fn hold_connections(&self, pid: i32, held: bool) {
        let rules = if held {
            format!(
                "add table inet hold
                 add chain inet hold in {{ type filter hook input priority 0; }}
                 add chain inet hold out {{ type filter hook output priority 0; }}
                 add rule inet hold in tcp sport {SERVER} drop
                 add rule inet hold out tcp dport {SERVER} drop"
            )
        } else {
            "delete table inet hold".to_owned()
        };
        let script = format!("nsenter --net=/proc/{pid}/ns/net nft -f - <<<'{rules}'");
        self.node.shell(&script).ok();
    }

    /// Leaves a job behind in a pod, in a terminal that stays open.
    pub(crate) fn leave_a_job(&self, pod: &Pod<'_>) -> Job<'static> {
        let command = format!(
            "kubectl exec -it {} -- sh -c '(workload count --state {JOB} &); exec sleep 1000'",
            pod.name()
        );
        let shell = self.node.command("script");
        let shell = shell
            .args(["-qec", &command, "/dev/null"])
            .env("KUBECONFIG", rig::cluster::ADMIN)
            .spawn();
        read_until(&|| pod.read("app", JOB), &|state| state.number("ticks") > 3);
        shell
    }

    /// Ends the peers.
    pub(crate) fn end(mut self) {
        for peer in &mut self.peers {
            peer.end(self.node);
        }
    }
}

/// Fails unless the job that was left in a pod goes on in its terminal, which is closed then.
pub(crate) fn must_not_have_lost_the_job(pod: &Pod<'_>, shell: Job<'_>) {
    let before = read_until(&|| pod.read("app", JOB), &|_| true);
    must_go_on(&|| pod.read("app", JOB), &before);
    shell.kill(Signal::SIGKILL, true);
    let _ = shell.output();
}

/// Waits until this holds of all objects of a kind, in one go: each call of kubectl takes a while.
pub(crate) fn wait_for_all(cluster: &Cluster, kind: &str, condition: &str) {
    let condition = format!("--for=condition={condition}");
    let args = ["wait", kind, "--all", &condition, "--timeout=120s"];
    let wait = cluster.kubectl_command(&args).timeout(PATIENCE * 3);
    wait.output().ok();
}

/// Reads a state until it is as wanted.
pub(crate) fn read_until(
    read: &dyn Fn() -> Option<String>,
    wanted: &dyn Fn(&State) -> bool,
) -> State {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = read();
        match text.as_deref().and_then(|text| State::of(text.as_bytes())) {
            Some(state) if wanted(&state) => return state,
            state => assert!(
                Instant::now() < deadline,
                "it stays {state:?}, from {text:?}"
            ),
        }
        sleep(Duration::from_millis(50));
    }
}

/// Fails unless a state goes on from what was seen of it, in the same memory and with nothing lost of it.
pub(crate) fn must_go_on(read: &dyn Fn() -> Option<String>, before: &State) {
    // Twice, since the first may be what was written before.
    let first = read_until(read, &|_| true);
    // The peer of a connection answers each message, so that both ends are heard of here.
    let messages = |state: &State| state.get("messages").map(|_| state.number("messages"));
    let more =
        |state: &State| messages(state).is_none_or(|n| Some(n) > messages(before).map(|n| n + 5));
    let later = read_until(read, &|state| {
        state.number("seq") > first.number("seq") + 3 && more(state)
    });
    assert_eq!(later.text("session"), before.text("session"), "another one");
    assert!(later.number("ticks") > before.number("ticks"), "{later:?}");
    for (key, wanted) in [
        ("held", "true"),
        ("intact", "true"),
        ("broken", "0"),
        ("mismatches", "0"),
    ] {
        assert_eq!(later.get(key).unwrap_or(wanted), wanted, "{later:?}");
    }
}
