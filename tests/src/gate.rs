//! Something that goes wrong at a chosen moment of a dump: see `src/bin/criu-gate.rs`, which does it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::installation::Values;
use crate::node::{Invocation, Node, Output};

/// CRIU's notifications of a dump, in order.
pub const NOTIFICATIONS: [&str; 5] = [
    "pre-dump",
    "network-lock",
    "query-ext-files",
    "post-dump",
    "network-unlock",
];

/// The moment at which the first page of memory is written.
pub const MEMORY: &str = "memory";

/// The `PATH` of a node, see `tests/rig/settings.sh`.
pub const NODE_PATH: &str =
    "/run/rig/bin:/opt/rig:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts the real CRIU in its own place, with the gate watching it from the side: a process that is nobody's child, and holds
/// nothing of the conversation. The shell may leave no child of its own to CRIU, which waits for any and takes it for a task.
const WRAPPER: &str = r#"#!/bin/bash
[ "$1" = swrk ] || exec /usr/sbin/criu "$@"
(criu-gate $$ 3>&- &)
tracer=0
until [ "$tracer" != 0 ]; do
    while read -r key value; do
        [ "$key" != TracerPid: ] || tracer=$value
    done </proc/$$/status
done
exec /usr/sbin/criu "$@"
"#;

/// The same for the CRIU processes of a program that runs for long: the gate is the one that is set when CRIU starts, until
/// something has happened at it.
const WRAPPER_OF_MANY: &str = r#"#!/bin/bash
if [ "$1" != swrk ] || ! . /run/rig/gates/set 2>/dev/null || [ -e "$CRIU_GATE_FOLDER/acted" ]; then
    exec /usr/sbin/criu "$@"
fi
(criu-gate $$ 3>&- &)
tracer=0
until [ "$tracer" != 0 ]; do
    while read -r key value; do
        [ "$key" != TracerPid: ] || tracer=$value
    done </proc/$$/status
done
exec /usr/sbin/criu "$@"
"#;

/// Something that is to happen at one moment of one dump.
#[derive(Debug)]
pub struct Gate<'node> {
    node: &'node Node,
    name: String,
    at: String,
    act: String,
}

impl<'node> Gate<'node> {
    /// Has this happen at this moment: a name of [`NOTIFICATIONS`] or [`MEMORY`], and an act of the gate's.
    #[must_use]
    pub fn new(node: &'node Node, at: &str, act: &str) -> Self {
        node.install("criu-gate");
        program(node, "gate", WRAPPER);
        let name = node.unique("gates/gate");
        node.run(&["mkdir", "-p", &format!("/run/rig/{name}")]).ok();
        Self {
            node,
            name,
            at: at.to_owned(),
            act: act.to_owned(),
        }
    }

    /// Has this happen in the next dump of an agent that was installed with [`Gate::values`].
    #[must_use]
    pub fn set(node: &'node Node, at: &str, act: &str) -> Self {
        let gate = Self::new(node, at, act);
        // Read in one go or not at all.
        let next = node.put(
            "gates/next",
            format!(
                "export CRIU_GATE_AT={at} CRIU_GATE_ACT={act} CRIU_GATE_FOLDER=/run/rig/{}\n",
                gate.name
            ),
        );
        node.run(&["mv", &next, "/run/rig/gates/set"]).ok();
        gate
    }

    /// What the chart has to be installed with so that gates can be set for the agent of this node.
    ///
    /// It starts the node's CRIU, since the gate stands in front of that one: it is the first of the node's search path.
    #[must_use]
    pub fn values(node: &Node) -> Values {
        node.install("criu-gate");
        program(node, "bin", WRAPPER_OF_MANY);
        Values::default().set("agent.criu", "host")
    }

    /// Whether it has happened.
    #[must_use]
    pub fn has_acted(&self) -> bool {
        self.read("acted").is_some()
    }

    /// Has nothing happen in the next dump any more.
    pub fn withdraw(&self) {
        self.node.run(&["rm", "-f", "/run/rig/gates/set"]).ok();
    }

    /// Waits until it has happened.
    pub fn wait_until_acted(&self) {
        let until = Instant::now() + self.node.patience();
        while !self.has_acted() {
            let said = self.read("failed").unwrap_or_default();
            assert!(
                said.is_empty() && Instant::now() < until,
                "nothing happened at {}: {said}",
                self.at
            );
            sleep(Duration::from_millis(5));
        }
    }

    /// The command, with the gate on its CRIU.
    #[must_use]
    pub fn on(&self, command: Invocation<'node>) -> Invocation<'node> {
        command
            .env("PATH", &format!("/run/rig/gate:{NODE_PATH}"))
            .env("CRIU_GATE_AT", &self.at)
            .env("CRIU_GATE_ACT", &self.act)
            .env("CRIU_GATE_FOLDER", &format!("/run/rig/{}", self.name))
    }

    /// Fails unless it has happened to the command that came to this end.
    pub fn must_have_acted(&self, output: &Output) {
        let said = self.read("failed").unwrap_or_default();
        if !self.has_acted() || !said.is_empty() {
            let logs = "cd /run/rig/bundles; grep -B 4 Error $(ls -t $(find . -name dump.log) | head -n 1)";
            let log = self.node.run(&["bash", "-c", logs]).stdout;
            panic!("nothing happened at {}: {said}{output:#?}{log}", self.at);
        }
    }

    /// Waits until CRIU is held; the pids of its caller and its own, in the node.
    #[must_use]
    pub fn held(&self) -> (i32, i32) {
        let until = Instant::now() + self.node.patience();
        loop {
            let text = self.read("held").unwrap_or_default();
            if let Some((caller, criu)) = text.split_once(' ')
                && let (Ok(caller), Ok(criu)) = (caller.parse(), criu.parse())
            {
                return (caller, criu);
            }
            assert!(Instant::now() < until, "CRIU never came to {}", self.at);
            sleep(Duration::from_millis(5));
        }
    }

    /// Lets CRIU go on.
    pub fn release(&self) {
        self.node.put(&format!("{}/go", self.name), "");
    }

    fn read(&self, name: &str) -> Option<String> {
        let bytes = self.node.read(format!("{}/{name}", self.name))?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Puts a program named `criu` into a folder of the node of this name, for a `PATH` that begins with it.
pub fn program(node: &Node, folder: &str, text: &str) {
    let file = format!("{folder}/criu");
    if node
        .read(&file)
        .is_some_and(|there| there == text.as_bytes())
    {
        return;
    }
    let there = node.put(&file, text);
    node.run(&["chmod", "755", &there]).ok();
}
