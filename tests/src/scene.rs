//! A container that shares its network with another, and the proof that neither took harm.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::container::shape::COUNT;
use crate::container::{Container, Shape};
use crate::node::{Node, Output, PATIENCE};
use crate::traces::Traces;

/// How soon a container has to go on. A second is meant, and is what an idle machine needs; the rest is for busy ones, and
/// for TCP, which waits before its next attempt for as long again as a lock lasted. What waits for CRIU's own time limits
/// takes longer than this.
pub const AT_ONCE: Duration = Duration::from_secs(3);

/// How long whoever cleans up may take.
const CLEANED_WITHIN: Duration = Duration::from_secs(5);

/// A shell loop that counts through a TCP connection over the loopback: a number goes out, comes back and is shown where [`Container::counter`](crate::Container::counter) looks.
#[must_use]
pub fn talk(port: u16) -> String {
    format!(
        "mkfifo /pause /to /from; exec 5<>/pause; nc -ll -p {port} -e cat & \
         read -t 0.3 -u 5 x; nc 127.0.0.1 {port} </to >/from & exec 3>/to 4</from; n=0; \
         while :; do n=$((n+1)); echo $n >&3; read x <&4; echo $x >/dev/shm/counter; read -t 0.02 -u 5 y; done"
    )
}

/// What the container of a scene does beside counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Nothing.
    Counts,
    /// It counts through an established TCP connection.
    Talks,
    /// It holds a file open that lost its name and has another one.
    HoldsUnlinked,
    /// It holds 32 MiB of memory.
    Remembers,
}

/// A container, its sibling in the same network namespace, and what the node looked like before.
#[derive(Debug)]
pub struct Scene<'node> {
    /// The node.
    pub node: &'node Node,
    /// The container that is to be dumped.
    pub target: Container<'node>,
    /// Talks to itself through the network that both are in.
    pub sibling: Container<'node>,
    before: Traces,
    state: String,
    images: u32,
}

impl<'node> Scene<'node> {
    /// Starts both containers in a network namespace of this name.
    #[must_use]
    pub fn new(node: &'node Node, name: &str, does: Does) -> Self {
        Self::shaped(node, name, does, |shape| shape)
    }

    /// As [`Scene::new`], with more changes to the container that is to be dumped.
    #[must_use]
    pub fn shaped(
        node: &'node Node,
        name: &str,
        does: Does,
        change: impl FnOnce(Shape<'node>) -> Shape<'node>,
    ) -> Self {
        let net = format!("/run/netns/{name}");
        node.shell(&format!(
            "ip netns add {name} && nsenter --net={net} ip link set lo up"
        ))
        .ok();
        let script = match does {
            Does::Counts => COUNT.to_owned(),
            Does::Talks => talk(7001),
            Does::HoldsUnlinked => {
                format!("echo x >/tmp/a; ln /tmp/a /tmp/b; exec 6</tmp/a; rm /tmp/a; {COUNT}")
            }
            Does::Remembers => format!("big=$(cat /big); {COUNT}"),
        };
        let shape = Shape::new(node, name)
            .script(&script)
            .namespace("network", &net);
        if does == Does::Remembers {
            let big = format!("bundles/{name}/rootfs/big");
            node.put(
                &big,
                "stillframe stillframe\n".repeat((32 << 20) / 22).as_bytes(),
            );
        }
        let sibling = Shape::new(node, format!("{name}-sibling"))
            .script(&talk(7000))
            .namespace("network", &net)
            .start();
        let target = change(shape).start();
        // Our own folder is there from the first checkpoint on, and stays.
        node.shell("mkdir -p -m 700 /run/stillframe/journal").ok();
        let _ = (target.counter_beyond(3), sibling.counter_beyond(3));
        let mut scene = Self {
            node,
            target,
            sibling,
            before: Traces::default(),
            state: String::new(),
            images: 0,
        };
        scene.look();
        scene
    }

    /// Takes what there is now as what must be there afterwards.
    pub fn look(&mut self) {
        self.before = self.traces();
        self.state = self.state_files();
    }

    /// A path in the target's bundle that no checkpoint has used, for an image.
    #[must_use]
    pub fn fresh_image(&mut self) -> String {
        self.images += 1;
        format!("{}/image-{}", self.target.bundle(), self.images)
    }

    /// Runs a shell script in the network namespace of both.
    #[must_use]
    pub fn in_network(&self, script: &str) -> Output {
        let net = format!("/run/netns/{}", self.target.id());
        self.node
            .run(&["nsenter", &format!("--net={net}"), "bash", "-euc", script])
    }

    /// Fails unless both containers go on at once and nothing is left or lost in the node.
    pub fn must_be_unharmed(&self, what: &str) {
        self.must_be_unharmed_within(AT_ONCE, what);
    }

    /// The same, for a network that was locked for a while: TCP waits longer before each new attempt, up to as long
    /// again as the lock lasted.
    pub fn must_be_unharmed_within(&self, time: Duration, what: &str) {
        let until = Instant::now() + time;
        for container in [&self.target, &self.sibling] {
            goes_on(container, until, what);
        }
        assert_eq!(self.target.status(), "running", "{what}");
        self.must_be_clean(what);
    }

    /// Fails unless nothing is left or lost in the node.
    pub fn must_be_clean(&self, what: &str) {
        let until = Instant::now() + self.clean_within();
        let after = loop {
            let after = self.traces();
            if after == self.before || Instant::now() >= until {
                break after;
            }
            sleep(Duration::from_millis(50));
        };
        let none = Vec::<&str>::new();
        assert_eq!(after.beyond(&self.before), none, "{what}: left behind");
        assert_eq!(self.before.beyond(&after), none, "{what}: lost");
        assert_eq!(self.state_files(), self.state, "{what}: the state");
    }

    fn clean_within(&self) -> Duration {
        CLEANED_WITHIN.max(self.node.patience().saturating_sub(PATIENCE))
    }

    /// What a dump could leave in the node.
    #[must_use]
    pub fn traces(&self) -> Traces {
        let pids = [self.target.pid(), self.sibling.pid()];
        Traces::of(self.node, &pids, &["/run/rig/bundles"])
    }

    /// The runtime's files about the target; its note that a dump came to its end is as harmless as after a dump of its own.
    fn state_files(&self) -> String {
        let script = format!(
            "cd /run/runc/{} && find . -type f ! -name checkpoint -exec sha256sum {{}} + | sort",
            self.target.id()
        );
        self.node.shell(&script).ok().stdout
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        let _ = self.node.run(&["ip", "netns", "delete", self.target.id()]);
    }
}

/// Fails unless a container's counter moves on from what it is now, in time.
#[track_caller]
pub fn goes_on(container: &Container<'_>, until: Instant, what: &str) {
    let seen = container.counter();
    while container.counter() <= seen {
        assert!(
            Instant::now() < until,
            "{what}: {} stands still at {seen:?}; {}",
            container.id(),
            situation(container)
        );
        sleep(Duration::from_millis(2));
    }
}

/// What is to be known of a container that does not go on.
fn situation(container: &Container<'_>) -> String {
    let script = format!(
        "echo status {}; net=$(readlink /proc/{pid}/ns/pid); \
         for p in /proc/[0-9]*; do [ \"$(readlink $p/ns/pid)\" = \"$net\" ] || continue; \
         echo $p $(tr '\\0' ' ' <$p/cmdline) $(grep -E 'State|TracerPid' $p/status) $(cat $p/wchan $p/syscall); done; \
         ss -tanoi -N {id} 2>&1 || cat /proc/{pid}/net/tcp; find /sys/fs/cgroup/ -name freezer.state -path '*{id}*' -exec grep . {{}} +",
        container.status(),
        pid = container.pid(),
        id = container.id(),
    );
    let output = container.node.run(&["bash", "-uc", &script]);
    output.stdout + &output.stderr
}
