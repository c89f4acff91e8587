//! The one node that a process's tests share, with the project in it, for one test at a time: each has something happen to its
//! next dump, or ends its programs.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::cluster::Cluster;
use crate::gate::Gate;
use crate::installation::Values;
use crate::mission::{Checkpoint, Mission};
use crate::node::{Node, PATIENCE};
use crate::witness::kept;

/// The node's name.
pub const NODE: &str = "node-a";

/// A cluster of one node, its operator, and its agent, whose dumps gates can be set for. Others wait until it is dropped.
#[derive(Debug)]
pub struct Stage {
    /// The programs.
    pub mission: &'static Mission<'static>,
    /// The cluster.
    pub cluster: &'static Cluster,
    /// The node.
    pub node: &'static Node,
    _alone: MutexGuard<'static, ()>,
}

impl Stage {
    /// Waits until no other test has it; the first starts it.
    #[must_use]
    pub fn enter() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        static MISSION: OnceLock<Mission<'static>> = OnceLock::new();
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = Cluster::shared();
        let node = cluster.node(0);
        let mission = MISSION.get_or_init(|| Mission::start_with(cluster, &Gate::values(node)));
        Self {
            mission,
            cluster,
            node,
            _alone: alone,
        }
    }

    /// Has something happen in the next dump: see [`Gate::set`].
    #[must_use]
    pub fn gate(&self, at: &str, act: &str) -> Gate<'static> {
        Gate::set(self.node, at, act)
    }

    /// Lets the agent that was ended be started again.
    pub fn start_agent(&self) {
        self.mission.start_agent(NODE);
    }

    /// The values that the project is installed with here, to be changed for [`Mission::upgrade`].
    #[must_use]
    pub fn values(&self) -> Values {
        Gate::values(self.node)
    }

    /// Kills the operator and has it started again.
    pub fn restart_operator(&self) {
        self.mission.end_operator(Signal::SIGKILL);
        self.mission.start_operator();
    }

    /// A token such as the operator has.
    #[must_use]
    pub fn operator_token(&self) -> String {
        self.mission.installation().operator_token()
    }

    /// Waits until the agent, or one before it, has said this.
    pub fn wait_for_log(&self, what: &str) {
        until(&format!("the agent says {what:?}"), || {
            self.mission.agent_log(NODE).contains(what)
        });
    }

    /// Waits until the agent has said that it calls a checkpoint off.
    pub fn wait_until_called_off(&self, checkpoint: &Checkpoint<'_>) {
        let name = checkpoint.name();
        self.wait_for_log(&format!("calling it off object=\"default/{name}\""));
    }

    /// How often the agents of the node have said that they made an image for the object of this name.
    #[must_use]
    pub fn dumps(&self, name: &str) -> usize {
        let said = format!("checkpointed object=\"default/{name}\"");
        self.mission.agent_log(NODE).matches(&said).count()
    }

    /// Waits until nothing of the image of an object of this name is there. Its log may be, and whose it was.
    pub fn must_have_no_image(&self, name: &str) {
        until(&format!("there is no image of {name}"), || {
            let harmless = [".work", ".owner"];
            let left = kept(self.node, name);
            left.iter()
                .all(|file| harmless.iter().any(|ending| file.ends_with(ending)))
        });
    }
}

/// Waits until this is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < until, "it never comes to this: {what}");
        sleep(Duration::from_millis(50));
    }
}
