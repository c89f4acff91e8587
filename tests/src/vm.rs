//! A node in a virtual machine, for what this machine's kernel cannot do: it tracks memory, and has cgroup v2 alone.
//!
//! QEMU runs in a node of the rig and ends with it, which ends with this process, however that ends. It emulates every instruction: **count in there, measure elsewhere**.
//! Commands go to the guest through one port of the node's loopback address (`rig-guest`, see [`call`] and [`serve`]), their output comes back byte for byte.
//! So a [`Node`] that was [booted](Node::boot) is used like any other: containers, workers of a cluster. Only [`Node::path`] is of no use there: [`Node::read`] is.

mod call;
mod frame;
mod serve;

use std::env;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use call::call;
pub use serve::serve;

use crate::node::{Daemon, Node, built};

/// Where the guest is reached, in the network of its node.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7000);

/// The guest's own address, which QEMU's network gives it.
pub(crate) const GUEST_ADDRESS: &str = "10.0.2.15";

/// How long a guest may take to start: many times what it takes, since the machine may be busy.
const BOOTING: Duration = Duration::from_mins(2);

/// After this many seconds the guest is ended, whatever it does.
const HARD_LIMIT_SECONDS: &str = "1500";

/// What a guest has of this workspace's programs, in `/run/rig/bin`.
const PROGRAMS: [&str; 7] = [
    "rig-guest",
    "stillframe-node-agent",
    "stillframe-archiver",
    "workload",
    "criu-gate",
    "recording-criu",
    "publish",
];

impl Node {
    /// The virtual machine that this process's tests share, started when first asked for.
    ///
    /// It is never dropped: it ends when this process does.
    pub fn shared_guest() -> &'static Self {
        static GUEST: OnceLock<Node> = OnceLock::new();
        GUEST.get_or_init(|| Self::start().boot())
    }

    /// Starts a virtual machine in this node and waits until it answers. From then on commands run in there.
    #[must_use]
    pub fn boot(mut self) -> Self {
        let Ok(files) = env::var("STILLFRAME_VM") else {
            panic!(
                "STILLFRAME_VM is not set: this test needs the virtual machine's files. Run `make test`, or as root \
                 `export STILLFRAME_RIG=$(tests/rig/prepare); export STILLFRAME_VM=$(tests/rig/vm)` first"
            );
        };
        bring(Path::new(&files), &self.path("vm"));
        make_programs_disk(&self.path("vm"));
        self.install("rig-guest");
        let mut qemu = start_qemu(&self);
        tell_of_console_on_panic(self.path("vm/console"));
        self.guest = true;
        let deadline = Instant::now() + BOOTING;
        while !self.run(&["true"]).succeeded() {
            assert!(
                Instant::now() < deadline && !qemu.has_ended(),
                "the virtual machine did not start: {}",
                qemu.log()
            );
            sleep(Duration::from_millis(100));
        }
        self
    }
}

/// Brings the machine's files into the node, by second names where that goes, since they are large. QEMU writes to none of them.
fn bring(files: &Path, there: &Path) {
    let mut folders = vec![(files.to_owned(), there.to_owned())];
    while let Some((from, to)) = folders.pop() {
        fs::create_dir_all(&to).expect("a folder in the node's scratch folder");
        let entries = fs::read_dir(&from)
            .unwrap_or_else(|error| panic!("failed to read {}: {error}", from.display()));
        for entry in entries.flatten() {
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            if from.is_dir() {
                folders.push((from, to));
            } else {
                link_or_copy(&from, &to)
                    .unwrap_or_else(|error| panic!("failed to bring {}: {error}", from.display()));
            }
        }
    }
}

fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}

/// Makes the disk with this workspace's programs.
fn make_programs_disk(folder: &Path) {
    let programs = folder.join("programs");
    fs::create_dir_all(&programs).expect("a folder in the node's scratch folder");
    for program in PROGRAMS {
        let (from, to) = (built(program), programs.join(program));
        link_or_copy(&from, &to)
            .unwrap_or_else(|error| panic!("failed to bring {}: {error}", from.display()));
    }
    let made = Command::new("mke2fs")
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"])
        .args([&programs, &folder.join("programs.disk")])
        .arg("2G")
        .output()
        .expect("mke2fs starts");
    assert!(made.status.success(), "mke2fs failed: {made:?}");
    fs::remove_dir_all(programs).expect("the programs are on their disk");
}

/// Starts QEMU. Several emulating threads, or `-cpu max`, crash the guest.
fn start_qemu(node: &Node) -> Daemon {
    let here = "/run/rig/vm";
    let library = format!("{here}/qemu/lib");
    let drive = |file: &str, how: &str| format!("file={here}/{file},format=raw,if=virtio,{how}");
    node.command("timeout")
        .args(["--signal=KILL", HARD_LIMIT_SECONDS])
        // The machine's own QEMU with its own libraries, which are not the node's.
        .arg(format!("{library}/ld-linux-x86-64.so.2"))
        .args(["--library-path", &library])
        .arg(format!("{here}/qemu/qemu-system-x86_64"))
        .args(["-L", &format!("{here}/qemu")])
        .args(["-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none"])
        .args(["-accel", "tcg,thread=single", "-machine", "q35"])
        .args(["-cpu", "Haswell-v4", "-smp", "1", "-m", "2048"])
        .args(["-kernel", &format!("{here}/kernel")])
        .args(["-initrd", &format!("{here}/initrd")])
        .args([
            "-append",
            "console=ttyS0 loglevel=4 mitigations=off panic=-1",
        ])
        .args(["-serial", &format!("file:{here}/console")])
        .args(["-drive", &drive("disk", "snapshot=on,cache=unsafe")])
        .args(["-drive", &drive("programs.disk", "readonly=on")])
        .arg("-netdev")
        .arg(format!(
            "user,id=net,hostfwd=tcp:{ADDRESS}-:{}",
            ADDRESS.port()
        ))
        .args(["-device", "virtio-net-pci,netdev=net,romfile="])
        .args(["-device", "virtio-rng-pci"])
        .env("QEMU_MODULE_DIR", &library)
        // Where the disk's changes go until the machine ends.
        .env("TMPDIR", here)
        .daemon("qemu")
}

/// Has whatever fails from now on print where the console's log is kept, and its end.
fn tell_of_console_on_panic(console: PathBuf) {
    let kept = built("rig-guest").with_file_name(format!("vm-console-{}.log", std::process::id()));
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |news| {
        before(news);
        let log = fs::read(&console).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        let tail: Vec<&str> = lines.into_iter().rev().collect();
        let written = fs::write(&kept, log.as_bytes());
        eprintln!(
            "--- the end of the virtual machine's console, which is kept in {}{}\n{}",
            kept.display(),
            written.map_or_else(|error| format!(" ({error})"), |()| String::new()),
            tail.join("\n")
        );
    }));
}
