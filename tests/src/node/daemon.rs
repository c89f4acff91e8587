//! A command that keeps running in a node while tests do other things: a server, a controller.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::job::Invocation;
use super::{Node, PATIENCE};
use crate::wire::Request;

/// A command that runs in a node until it ends by itself, is killed, or the node ends. All it prints is in one file.
#[derive(Debug)]
pub struct Daemon {
    job: u64,
    name: String,
    log: PathBuf,
    status: File,
    ended: Option<i32>,
}

impl Invocation<'_> {
    /// Starts it in the background. What it prints is added to `/run/rig/logs/NAME.log` in the node.
    #[must_use]
    pub fn daemon(self, name: &str) -> Daemon {
        let log = self.node().path(format!("logs/{name}.log"));
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder).expect("a folder in the node's scratch folder");
        }
        let stdout: OwnedFd = File::options()
            .append(true)
            .create(true)
            .open(&log)
            .expect("a file for what a daemon prints")
            .into();
        let stderr = stdout.try_clone().expect("a second descriptor of a file");
        let (job, status) = self.spawn_with(stdout, stderr).into_parts();
        Daemon {
            job,
            name: name.to_owned(),
            log,
            status,
            ended: None,
        }
    }
}

impl Daemon {
    /// Its name, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All that it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Where the machine sees what it prints.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Sends a signal to its process, and with `group` to all of its process group. `node` is the one that it was started in.
    pub fn kill(&self, node: &Node, signal: Signal, group: bool) {
        node.kill(self.job, signal, group);
    }

    /// Its exit status (128 + N if signal N ended it), once it has ended; waits for that at most this long.
    pub fn wait(&mut self, patience: Duration) -> Option<i32> {
        let deadline = Instant::now() + patience;
        while self.ended.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.status.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let news = poll(&mut fds, timeout);
            if news.is_ok_and(|count| count > 0) {
                let mut status = [0; 4];
                self.status
                    .read_exact(&mut status)
                    .expect("the node's first process tells how a command ended");
                self.ended = Some(i32::from_ne_bytes(status));
            } else if left.is_zero() {
                break;
            }
        }
        self.ended
    }

    /// Whether it has ended already.
    pub fn has_ended(&mut self) -> bool {
        self.wait(Duration::ZERO).is_some()
    }

    /// Kills it with all of its process group and waits for its end.
    pub fn end(&mut self, node: &Node) {
        self.kill(node, Signal::SIGKILL, true);
        assert!(
            self.wait(PATIENCE).is_some(),
            "{} cannot be killed",
            self.name
        );
    }
}

impl Node {
    pub(super) fn kill(&self, job: u64, signal: Signal, group: bool) {
        let request = Request::Kill {
            job,
            signal: signal as i32,
            group,
        };
        self.send(&request, &[]);
    }
}
