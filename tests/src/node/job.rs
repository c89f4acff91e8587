//! One command in a node: how it is started, what it printed, how it ended.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::pipe2;

use super::{Node, PATIENCE};
use crate::wire::Request;

/// What a timeout beyond all clocks means.
const A_LONG_TIME: Duration = Duration::from_hours(24 * 365);

/// A command that ended, or was killed when its time was up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The command, for messages.
    pub command: Vec<String>,
    /// The exit status; 128 + N if signal N ended it.
    pub status: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// Whether it was killed because its time was up.
    pub timed_out: bool,
}

impl Output {
    /// Whether the command ended with status 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.status == 0 && !self.timed_out
    }

    /// The output of a command that must succeed.
    #[expect(
        clippy::return_self_not_must_use,
        clippy::must_use_candidate,
        reason = "often called for the check alone"
    )]
    pub fn ok(self) -> Self {
        assert!(self.succeeded(), "a command in the node failed: {self:#?}");
        self
    }
}

/// A command that is to be started.
#[derive(Debug)]
pub struct Invocation<'node> {
    node: &'node Node,
    command: Vec<String>,
    env: BTreeMap<String, String>,
    cwd: String,
    timeout: Duration,
    stdin: Option<OwnedFd>,
}

impl<'node> Invocation<'node> {
    pub(super) fn new(node: &'node Node, program: String) -> Self {
        Self {
            node,
            command: vec![program],
            env: BTreeMap::new(),
            cwd: "/root".to_owned(),
            timeout: node.patience(),
            stdin: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.command.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<str>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets its working directory, a path in the node.
    #[must_use]
    pub fn cwd(mut self, folder: impl Into<String>) -> Self {
        self.cwd = folder.into();
        self
    }

    /// Sets how long [`Invocation::output`] waits before it kills the command's process group.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Gives it this standard input instead of `/dev/null`.
    #[must_use]
    pub fn stdin(mut self, stdin: OwnedFd) -> Self {
        self.stdin = Some(stdin);
        self
    }

    /// The node that it is to be started in.
    #[must_use]
    pub fn node(&self) -> &'node Node {
        self.node
    }

    /// The program and its arguments.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.command
    }

    /// Starts it with its output captured.
    #[must_use]
    pub fn spawn(self) -> Job<'node> {
        let (stdout, stdout_end) = pipe();
        let (stderr, stderr_end) = pipe();
        for end in [&stdout, &stderr] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a pipe that does not block");
        }
        let mut job = self.spawn_with(stdout_end, stderr_end);
        job.stdout = Some(File::from(stdout));
        job.stderr = Some(File::from(stderr));
        job
    }

    /// Starts it with this standard output and error; its [`Output`] will hold neither.
    #[must_use]
    pub fn spawn_with(self, stdout: OwnedFd, stderr: OwnedFd) -> Job<'node> {
        let (status, status_end) = pipe();
        let stdin = self.stdin.unwrap_or_else(null);
        let name = self.node.next.fetch_add(1, Ordering::Relaxed);
        let request = Request::Run {
            job: name,
            command: self.command.clone(),
            env: self.env,
            cwd: self.cwd,
        };
        self.node.send(
            &request,
            &[
                stdin.as_fd(),
                stdout.as_fd(),
                stderr.as_fd(),
                status_end.as_fd(),
            ],
        );
        // The command holds the only other ends now, so that they close when it ends.
        drop((stdin, stdout, stderr, status_end));
        Job {
            node: self.node,
            name,
            command: self.command,
            started: Instant::now(),
            timeout: self.timeout,
            stdout: None,
            stderr: None,
            status: File::from(status),
            printed: [Vec::new(), Vec::new()],
        }
    }

    /// Runs it to its end.
    #[must_use]
    pub fn output(self) -> Output {
        self.spawn().output()
    }
}

/// A command that runs in the node.
#[derive(Debug)]
pub struct Job<'node> {
    node: &'node Node,
    name: u64,
    command: Vec<String>,
    started: Instant,
    timeout: Duration,
    stdout: Option<File>,
    stderr: Option<File>,
    status: File,
    printed: [Vec<u8>; 2],
}

impl Job<'_> {
    /// Sends a signal to the command's process, and with `group` to all of its process group.
    pub fn kill(&self, signal: Signal, group: bool) {
        self.node.kill(self.name, signal, group);
    }

    /// Lets go of it: its name, and where its exit status will come from.
    pub(super) fn into_parts(self) -> (u64, File) {
        (self.name, self.status)
    }

    /// Waits for its end; when its time is up its process group is killed.
    ///
    /// Returns when the command itself ends, also if something that it left behind still holds its output open.
    #[must_use]
    pub fn output(mut self) -> Output {
        let mut timed_out = false;
        let mut deadline = self
            .started
            .checked_add(self.timeout)
            .unwrap_or_else(|| self.started + A_LONG_TIME);
        let status = loop {
            let ended = self.wait_for_news(deadline);
            self.drain();
            if ended {
                let mut status = [0; 4];
                self.status
                    .read_exact(&mut status)
                    .expect("the node's first process tells how a command ended");
                break i32::from_ne_bytes(status);
            }
            if Instant::now() >= deadline {
                assert!(!timed_out, "{:?} cannot be killed", self.command);
                timed_out = true;
                self.kill(Signal::SIGKILL, true);
                deadline = Instant::now() + PATIENCE;
            }
        };
        self.drain();
        let [stdout, stderr] = self
            .printed
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Output {
            command: self.command,
            status,
            stdout,
            stderr,
            timed_out,
        }
    }

    /// Waits until it printed something, ended (then true), or the deadline passed.
    fn wait_for_news(&self, deadline: Instant) -> bool {
        let open: Vec<BorrowedFd<'_>> = [&self.stdout, &self.stderr]
            .into_iter()
            .flatten()
            .map(|end| end.as_fd())
            .collect();
        let mut fds = vec![PollFd::new(self.status.as_fd(), PollFlags::POLLIN)];
        fds.extend(open.iter().map(|end| PollFd::new(*end, PollFlags::POLLIN)));
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, left) {
            Ok(_) | Err(Errno::EINTR) => fds.first().and_then(PollFd::any).unwrap_or(false),
            Err(error) => panic!("failed to wait for a command in the node: {error}"),
        }
    }

    fn drain(&mut self) {
        for (end, printed) in [&mut self.stdout, &mut self.stderr]
            .into_iter()
            .zip(&mut self.printed)
        {
            let mut chunk = [0; 4096];
            while let Some(file) = end.as_mut() {
                match file.read(&mut chunk) {
                    Ok(0) => *end = None,
                    Ok(length) => printed.extend(chunk.iter().take(length)),
                    Err(_) => break,
                }
            }
        }
    }
}

/// A pipe's two ends, reading and writing, closed on exec.
pub(crate) fn pipe() -> (OwnedFd, OwnedFd) {
    pipe2(OFlag::O_CLOEXEC).expect("a pipe")
}

/// `/dev/null`, for reading and writing.
pub(crate) fn null() -> OwnedFd {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .expect("/dev/null")
        .into()
}

/// A standard input that holds these bytes, at most a pipe's capacity.
#[must_use]
pub fn input(bytes: &[u8]) -> OwnedFd {
    let (reading, writing) = pipe();
    File::from(writing)
        .write_all(bytes)
        .expect("a pipe takes a few bytes");
    reading
}
