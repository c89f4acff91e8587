//! A node: started through `tests/rig/enter`, ended with this process, however that ends.

pub mod daemon;
pub mod job;

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::wire::Request;

pub use daemon::Daemon;
pub use job::{Invocation, Job, Output};

/// How long a command may take unless it says otherwise.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The same in a virtual machine, where every instruction is emulated.
const PATIENCE_WITH_GUESTS: Duration = Duration::from_mins(4);

/// The scratch folder's path in the node.
pub const SCRATCH: &str = "/run/rig";

/// A node that is up. Dropping it ends everything in it and removes what it left on the machine.
#[derive(Debug)]
pub struct Node {
    enter: Child,
    socket: Option<OwnedFd>,
    scratch: PathBuf,
    next: AtomicU64,
    installing: Mutex<()>,
    /// Whether commands run in the virtual machine that is in it, see [`Node::boot`].
    pub(crate) guest: bool,
}

impl Node {
    /// The node that this process's tests share, started when first asked for.
    ///
    /// It is never dropped: it ends when this process does, and `tests/rig/sweep --wait` waits for that.
    pub fn shared() -> &'static Self {
        static NODE: OnceLock<Node> = OnceLock::new();
        NODE.get_or_init(Self::start)
    }

    /// Starts a node and waits until it answers.
    #[must_use]
    pub fn start() -> Self {
        let Ok(rig) = env::var("STILLFRAME_RIG") else {
            panic!(
                "STILLFRAME_RIG is not set: this test needs the node root. Run `make test`, or as root \
                 `export STILLFRAME_RIG=$(tests/rig/prepare)` first"
            );
        };
        let enter = Path::new(env!("CARGO_MANIFEST_DIR")).join("rig/enter");
        let init = built("rig-init");
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .expect("a socket pair");
        // `enter` gets a session of its own, so that Ctrl-C ends this process and the node by way of the socket, in that order.
        let child = Command::new("setsid")
            .arg(enter)
            .args(["--announce", "--with"])
            .arg(&init)
            .arg("rig-init")
            .env("STILLFRAME_RIG", &rig)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/rig/enter starts");
        let mut node = Self {
            enter: child,
            socket: Some(ours),
            scratch: PathBuf::new(),
            next: AtomicU64::new(1),
            installing: Mutex::new(()),
            guest: false,
        };
        node.scratch = node.announced_scratch();
        node.run(&["true"]).ok();
        node
    }

    fn announced_scratch(&mut self) -> PathBuf {
        let stdout = self.enter.stdout.take().expect("its output is a pipe");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("tests/rig/enter prints a line");
        assert!(
            line.ends_with('\n'),
            "the node did not start; tests/rig/enter says why, above"
        );
        PathBuf::from(line.trim_end())
    }

    /// How long a command may take in it unless it says otherwise.
    #[must_use]
    pub fn patience(&self) -> Duration {
        if self.guest {
            PATIENCE_WITH_GUESTS
        } else {
            PATIENCE
        }
    }

    /// A command to be run in the node; `program` is looked up in the node's `PATH`.
    pub fn command(&self, program: impl Into<String>) -> Invocation<'_> {
        Invocation::new(self, program.into())
    }

    /// Runs a command to its end, for [`PATIENCE`] at most, with no input and its output captured.
    pub fn run(&self, command: &[&str]) -> Output {
        let (program, args) = command.split_first().expect("a command has a program");
        self.command(*program).args(args).output()
    }

    /// Runs a shell script, as [`Node::run`] runs a command.
    pub fn shell(&self, script: &str) -> Output {
        self.run(&["bash", "-euc", script])
    }

    /// Where the machine sees what the node sees as `/run/rig/NAME`.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        let name = name.as_ref();
        self.scratch
            .join(name.strip_prefix(SCRATCH).unwrap_or(name))
    }

    /// What is in a file that the node sees as `/run/rig/NAME`; nothing if it cannot be read.
    #[must_use]
    pub fn read(&self, name: impl AsRef<Path>) -> Option<Vec<u8>> {
        if !self.guest {
            return fs::read(self.path(name)).ok();
        }
        let path = Path::new(SCRATCH).join(name);
        let mut content = tempfile::tempfile().expect("a file for what is read");
        let output = self
            .command("cat")
            .arg(path.to_string_lossy())
            .spawn_with(
                content.try_clone().expect("a second descriptor").into(),
                job::null(),
            )
            .output();
        let mut bytes = Vec::new();
        content.rewind().expect("a file has a beginning");
        content.read_to_end(&mut bytes).expect("what was written");
        output.succeeded().then_some(bytes)
    }

    /// Writes a file that the node sees as `/run/rig/NAME`, and returns that path.
    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).expect("a folder in the node's scratch folder");
        }
        fs::write(&path, bytes)
            .unwrap_or_else(|error| panic!("failed to write {}: {error}", path.display()));
        let there = format!("{SCRATCH}/{name}");
        if self.guest {
            let content = File::open(&path).expect("a file that was just written");
            let script = "mkdir -p \"$(dirname \"$1\")\" && cat >\"$1\"";
            self.command("sh")
                .args(["-euc", script, "put", &there])
                .stdin(content.into())
                .output()
                .ok();
        }
        there
    }

    /// Removes a folder that the node sees as `/run/rig/NAME` with all that is in it, if it is there.
    pub fn remove_folder(&self, name: impl AsRef<Path>) {
        let path = Path::new(SCRATCH).join(&name);
        if self.guest {
            let _ = self.run(&["rm", "-rf", "--one-file-system", &path.to_string_lossy()]);
        } else {
            let _ = fs::remove_dir_all(self.path(name));
        }
    }

    /// Brings a program that this workspace built into the node's `PATH` and returns its path there.
    pub fn install(&self, program: &str) -> String {
        if self.guest {
            // They came on a disk of their own.
            return format!("{SCRATCH}/bin/{program}");
        }
        let _one_at_a_time = self
            .installing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let there = self.scratch.join("bin").join(program);
        if !there.exists() {
            let here = built(program);
            fs::copy(&here, &there).unwrap_or_else(|error| {
                panic!("failed to copy {} into the node: {error}", here.display())
            });
        }
        format!("{SCRATCH}/bin/{program}")
    }

    /// The name of this node's folder and cgroups on the machine: pid and start time of its `tests/rig/enter`.
    #[must_use]
    pub fn run_id(&self) -> String {
        let folder = self
            .scratch
            .parent()
            .and_then(Path::file_name)
            .expect("a run's folder has a name");
        folder.to_string_lossy().into_owned()
    }

    /// The node's network namespace. Whoever holds this keeps the namespace, but nothing that runs in it.
    #[must_use]
    pub fn network(&self) -> File {
        let name = self.run(&["readlink", "/proc/self/ns/net"]).ok().stdout;
        let processes = fs::read_dir("/proc").expect("proc is mounted");
        processes
            .flatten()
            .map(|process| process.path().join("ns/net"))
            .filter(|path| fs::read_link(path).is_ok_and(|link| link.as_os_str() == name.trim()))
            .find_map(|path| File::open(path).ok())
            .expect("the node's first process is in its network namespace")
    }

    /// A name that no other part of this node has, for a container or a file.
    pub fn unique(&self, stem: &str) -> String {
        format!("{stem}-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Hands a request to the node's first process, and in a guest to what serves there.
    fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) {
        let json = |request| serde_json::to_string(request).expect("a request is JSON");
        if !self.guest {
            return self.send_message(json(request).as_bytes(), fds);
        }
        let outer = Request::Run {
            job: self.next.fetch_add(1, Ordering::Relaxed),
            command: vec![format!("{SCRATCH}/bin/rig-guest"), json(request)],
            env: BTreeMap::new(),
            cwd: "/root".to_owned(),
        };
        let (null, (_, status)) = (job::null(), job::pipe());
        let silent = [null.as_fd(), null.as_fd(), null.as_fd(), status.as_fd()];
        let fds = if fds.is_empty() { &silent } else { fds };
        self.send_message(json(&outer).as_bytes(), fds);
    }

    fn send_message(&self, message: &[u8], fds: &[BorrowedFd<'_>]) {
        let socket = self
            .socket
            .as_ref()
            .expect("the node is up until it is dropped");
        crate::wire::send(socket.as_fd(), message, fds).expect("the node's first process listens");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The node's first process ends when its socket does, and `enter` then tears the rest down.
        self.socket = None;
        let _ = self.enter.wait();
    }
}

/// The path of a program that this workspace built with the same profile as this process.
///
/// `STILLFRAME_BIN` may name the folder instead.
#[must_use]
pub fn built(program: &str) -> PathBuf {
    if let Ok(folder) = env::var("STILLFRAME_BIN") {
        return Path::new(&folder).join(program);
    }
    let this = env::current_exe().expect("the path of this process");
    this.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!(
                "{program} is not beside {}: `cargo build --workspace` makes it",
                this.display()
            )
        })
}
