//! A program of the installation on one node, told by its container there: neither the API server nor the kubelet is asked.

use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::node::PATIENCE;

/// What containerd tells of containers that have ended.
const EXITS: &str = "exits";

/// Prints what a program's containers on this node have printed, the earliest first. Arguments: where the kubelet has their
/// logs, as a pattern, and a folder in which each log stays when its container is removed.
const LOGS: &str = r#"
mkdir -p "$2"
for log in $1; do
    [ -e "$log" ] || continue
    kept=$2/$(tr / _ <<<"$log")
    [ -e "$kept" ] || ln "$log" "$kept"
done
find "$2" -type f -printf '%T@ %p\n' | sort -n | cut -d' ' -f2- | xargs -r sed -E 's/^[^ ]+ std(out|err) [FP] //'
"#;

/// A program and the node that it is meant to run on.
#[derive(Debug)]
pub struct Instance<'cluster> {
    cluster: &'cluster Cluster,
    node: String,
    namespace: &'static str,
    container: &'static str,
    /// The container that runs, or ran last.
    id: String,
}

impl Cluster {
    /// Has containerd tell of the ends of a node's containers from now on.
    pub(super) fn follow_exits(&self, node: &str) {
        let script = "exec ctr --namespace k8s.io events 'topic==\"/tasks/exit\"'";
        // It ends with the node.
        let _ = self
            .node_called(node)
            .command("bash")
            .args(["-c", script])
            .daemon(EXITS);
    }
}

impl<'cluster> Instance<'cluster> {
    /// The one whose container of this name runs in a pod of this namespace on this node, once it does.
    #[must_use]
    pub fn find(
        cluster: &'cluster Cluster,
        node: &str,
        namespace: &'static str,
        container: &'static str,
    ) -> Self {
        let mut this = Self {
            cluster,
            node: node.to_owned(),
            namespace,
            container,
            id: String::new(),
        };
        this.wait_for_next();
        this
    }

    /// The name of its node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    fn running(&self) -> Vec<(String, i32)> {
        let labels = [
            ("pod.namespace", self.namespace),
            ("container.name", self.container),
        ];
        self.cluster.running(&self.node, &labels)
    }

    /// Waits until another container runs than the one before.
    pub fn wait_for_next(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let next = self.running().into_iter().find(|(id, _)| *id != self.id);
            // Before the kubelet removes what is older.
            let log = self.log();
            if let Some((id, _)) = next {
                self.id = id;
                return;
            }
            assert!(
                Instant::now() < until,
                "{} is not started again on {}:\n{log}",
                self.container,
                self.node
            );
            sleep(Duration::from_millis(50));
        }
    }

    /// Its process, as a pid of its node.
    #[must_use]
    pub fn pid(&self) -> i32 {
        let found = self.running().into_iter().find(|(id, _)| *id == self.id);
        let (_, pid) = found.unwrap_or_else(|| panic!("{} does not run", self.container));
        pid
    }

    /// Sends its process a signal.
    pub fn kill(&self, signal: Signal) {
        let number = (signal as i32).to_string();
        let pid = self.pid().to_string();
        let node = self.cluster.node_called(&self.node);
        node.run(&["kill", "-s", &number, &pid]).ok();
    }

    /// Waits until its container has ended, and returns the exit status: 128 + N if signal N ended it.
    #[must_use]
    pub fn ended(&self) -> i32 {
        let log = self.cluster.node_called(&self.node);
        let log = log.path(format!("logs/{EXITS}.log"));
        let until = Instant::now() + PATIENCE;
        loop {
            let told = std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(status) = told.lines().find_map(|line| exit_status(line, &self.id)) {
                return status;
            }
            assert!(
                Instant::now() < until,
                "{} does not end:\n{}",
                self.container,
                self.log()
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// What it has printed so far, and those before it in this node.
    #[must_use]
    pub fn log(&self) -> String {
        let pattern = format!(
            "/var/log/pods/{}_*/{}/*.log",
            self.namespace, self.container
        );
        // Of the same file system: a log is kept by a second name of its file.
        let kept = format!("/var/log/rig/{}-{}", self.namespace, self.container);
        let node = self.cluster.node_called(&self.node);
        let output = node.run(&["bash", "-uc", LOGS, "logs", &pattern, &kept]);
        output.ok().stdout
    }
}

/// The exit status in a line of `ctr events`, if it is about the first process of this container.
fn exit_status(line: &str, container: &str) -> Option<i32> {
    let event = line.get(line.find('{')?..)?;
    let event: Value = serde_json::from_str(event).ok()?;
    let of_it = event["container_id"] == container && event["id"] == container;
    // Zero is left out.
    of_it
        .then(|| event["exit_status"].as_i64().unwrap_or(0))?
        .try_into()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_container_is_told_from_that_of_others_and_of_their_execs() {
        let line = |container: &str, id: &str| {
            format!(
                "2026-11-24 01:02:03.4 +0000 UTC k8s.io /tasks/exit \
                 {{\"container_id\":\"{container}\",\"exit_status\":137,\"id\":\"{id}\",\"pid\":7}}"
            )
        };
        assert_eq!(exit_status(&line("a", "a"), "a"), Some(137));
        assert_eq!(exit_status(&line("a", "exec"), "a"), None);
        assert_eq!(exit_status(&line("b", "b"), "a"), None);
        let well = "… /tasks/exit {\"container_id\":\"a\",\"id\":\"a\",\"pid\":7}";
        assert_eq!(exit_status(well, "a"), Some(0));
        assert_eq!(exit_status("{\"container_id\":\"a\"", "a"), None);
    }
}
