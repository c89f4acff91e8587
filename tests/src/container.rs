//! A container that one of the node's runtimes started from a bundle of its own.

pub mod shape;
pub mod state;
pub mod terminal;

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::node::{Invocation, Node, Output};
use crate::program::Program;

use shape::COUNTER;
pub use shape::{Shape, Stdio};
pub use state::State;

/// The runtime that starts a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runtime {
    /// runc, with its state in `/run/runc`.
    #[default]
    Runc,
    /// Debian's runc, which is another version, with its state in `/run/runc-debian`.
    DebiansRunc,
    /// crun, with its state in `/run/crun`.
    Crun,
}

impl Runtime {
    /// The command's name.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            // The other one comes first in the path.
            Self::DebiansRunc => "/usr/sbin/runc",
            Self::Crun => "crun",
        }
    }

    /// Where it keeps its containers' state in the node, as `--root` wants it.
    #[must_use]
    pub fn root(self) -> &'static str {
        match self {
            Self::Runc => "/run/runc",
            Self::DebiansRunc => "/run/runc-debian",
            Self::Crun => "/run/crun",
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.command())
    }
}

/// The ends of a container's standard streams that the test holds.
#[derive(Debug, Default)]
pub struct Streams {
    /// Writing end of its input, for [`Stdio::Pipes`].
    pub stdin: Option<OwnedFd>,
    /// Reading end of its output, for [`Stdio::Pipes`].
    pub stdout: Option<OwnedFd>,
    /// Reading end of its error output, for [`Stdio::Pipes`].
    pub stderr: Option<OwnedFd>,
    /// The terminal's master, for [`Stdio::Terminal`].
    pub terminal: Option<OwnedFd>,
}

/// A container of the node. Dropping it deletes it, running or not, and its bundle.
#[derive(Debug)]
pub struct Container<'node> {
    pub(crate) node: &'node Node,
    pub(crate) id: String,
    pub(crate) runtime: Runtime,
    pub(crate) stdio: Stdio,
    /// Where its bundle is in the node.
    pub(crate) bundle: String,
    /// Its first process, once somebody asked.
    pub(crate) init: Mutex<Option<i64>>,
    /// What the test holds of its standard streams.
    pub streams: Streams,
}

impl<'node> Container<'node> {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its bundle's path in the node.
    #[must_use]
    pub fn bundle(&self) -> &str {
        &self.bundle
    }

    /// The machine's path of a file in its root folder.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        self.node
            .path(&self.bundle)
            .join("rootfs")
            .join(path.trim_start_matches('/'))
    }

    /// A command of its runtime, with its `--root`.
    #[must_use]
    pub fn runtime_command(&self) -> Invocation<'node> {
        self.node
            .command(self.runtime.command())
            .args(["--root", self.runtime.root()])
    }

    /// What its runtime says of it; nothing when the runtime does not know it.
    #[must_use]
    pub fn state(&self) -> Option<Value> {
        let output = self.runtime_command().args(["state", &self.id]).output();
        output
            .succeeded()
            .then(|| serde_json::from_str(&output.stdout).expect("a state is JSON"))
    }

    /// Its status as its runtime calls it (`running`, `paused`, `stopped` …), or `gone`.
    #[must_use]
    pub fn status(&self) -> String {
        self.state().map_or_else(
            || "gone".to_owned(),
            |state| {
                state["status"]
                    .as_str()
                    .expect("a state has a status")
                    .to_owned()
            },
        )
    }

    /// Whether its runtime calls it running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.status() == "running"
    }

    /// Waits until its runtime calls it this.
    pub fn wait_for_status(&self, wanted: &str) {
        let deadline = Instant::now() + self.node.patience();
        while self.status() != wanted {
            assert!(
                Instant::now() < deadline,
                "{} is {} and not {wanted}",
                self.id,
                self.status()
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// Its first process, as a pid of the node.
    #[must_use]
    pub fn pid(&self) -> i32 {
        let state = self.state().expect("its runtime knows it");
        i32::try_from(state["pid"].as_i64().expect("a state has a pid")).expect("a pid")
    }

    /// What it sees in a file, while it lives.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<String> {
        let mut init = self.init.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = match *init {
            Some(pid) => pid,
            None => *init.insert(self.state()?["pid"].as_i64().filter(|pid| *pid > 0)?),
        };
        let output = self.node.run(&["cat", &format!("/proc/{pid}/root{path}")]);
        output.succeeded().then_some(output.stdout)
    }

    /// The number that it counted to, see [`Shape::counting`]; none for a moment now and then.
    #[must_use]
    pub fn counter(&self) -> Option<u64> {
        self.read(COUNTER)?.trim().parse().ok()
    }

    /// Waits until its counter is beyond `value`, and returns it.
    #[must_use]
    pub fn counter_beyond(&self, value: u64) -> u64 {
        let deadline = Instant::now() + self.node.patience();
        loop {
            match self.counter() {
                Some(counter) if counter > value => return counter,
                other => assert!(
                    Instant::now() < deadline,
                    "the counter of {} is {other:?} and does not pass {value}; status {}",
                    self.id,
                    self.status()
                ),
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// What a workload published last in this file of its root folder.
    #[must_use]
    pub fn published(&self, path: &str) -> State {
        self.published_when(path, |_| true)
    }

    /// Waits until a workload has published something that is as wanted, and returns it.
    #[must_use]
    pub fn published_when(&self, path: &str, wanted: impl Fn(&State) -> bool) -> State {
        let name = format!("{}/rootfs{path}", self.bundle);
        State::of_when(
            &name,
            self.node.patience(),
            || self.node.read(&name),
            wanted,
        )
    }

    /// A `checkpoint` command of this container: the program, its `--root`, the flags and the id.
    #[must_use]
    pub fn checkpoint_command(&self, program: Program, flags: &[&str]) -> Invocation<'node> {
        self.node
            .command(program.command(self.node))
            .args(["--root", self.runtime.root(), "checkpoint"])
            .args(flags)
            .arg(&self.id)
            .cwd(&self.bundle)
    }

    /// Runs a `checkpoint` command of this container.
    #[must_use]
    pub fn checkpoint(&self, program: Program, flags: &[&str]) -> Output {
        self.checkpoint_command(program, flags).output()
    }

    /// Restores it under its own id from an image folder of the node, with its runtime's `restore --detach` and more flags.
    ///
    /// Its old process must be gone; what the runtime still knows of it is deleted.
    #[must_use]
    pub fn restore(&mut self, image: &str, flags: &[&str]) -> Output {
        let _ = self.delete();
        let mut verb = vec![
            "restore",
            "--detach",
            "--image-path",
            image,
            "--work-path",
            image,
        ];
        verb.extend(flags);
        self.launch(&verb)
    }

    /// Starts it from a bundle that was only prepared.
    pub fn run(&mut self) {
        self.launch(&["run", "--detach"]).ok();
    }

    /// Runs a command of its runtime that starts it in the background, with the standard streams that it is to have.
    #[must_use]
    pub(crate) fn launch(&mut self, verb: &[&str]) -> Output {
        let log = format!("{}/launch.log", self.bundle);
        let command = self
            .runtime_command()
            .args(["--log", &log])
            .args(verb)
            .args(["--bundle", &self.bundle]);
        let (mut output, streams) = terminal::start(self.node, command, self.stdio, &self.id);
        self.streams = streams;
        self.init = Mutex::new(None);
        if !output.succeeded() {
            let said = self.node.read(&log).unwrap_or_default();
            output.stderr += &String::from_utf8_lossy(&said);
        }
        output
    }

    /// Kills its processes and makes its runtime forget it; its bundle stays.
    pub fn delete(&self) -> Output {
        self.runtime_command()
            .args(["delete", "--force", &self.id])
            .output()
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if std::env::var_os("STILLFRAME_KEEP").is_some() {
            return;
        }
        let _ = self.delete();
        self.node.remove_folder(&self.bundle);
    }
}
