//! The state readers against real containers, on a node with runc, crun, CRIU and busybox.
//!
//! Every test makes containers of its own names in `/run/runc` or `/run/crun`, and network
//! namespaces below `/run/netns`.
#![expect(
    clippy::unwrap_used,
    reason = "what the tests share may fail them as the tests themselves may"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use node_agent::controller::{
    disk::{Footprint, MemoryGoes},
    identity::{self, Expected},
};
use node_agent::runtime::{
    self, Container, ContainerId, Flavour, MountKind, NamespaceKind, Status,
    cgroup::{self, Freezer, FreezerState, Froze},
    destroy,
    external::{self, Dangling},
    guard::{self, CgroupMatch, Guard},
    locate, processes,
};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);

struct Bundle {
    dir: tempfile::TempDir,
    tool: &'static str,
    id: String,
}

impl Bundle {
    /// A busybox root with a link in it, and the tool's own default configuration, changed.
    fn new(tool: &'static str, id: &str, change: impl FnOnce(&mut Value, &Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("rootfs");
        for name in ["bin", "real", "dev", "proc", "sys", "tmp"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::copy("/usr/bin/busybox", root.join("bin/busybox")).unwrap();
        for name in ["sh", "sleep"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        std::os::unix::fs::symlink("/real", root.join("link")).unwrap();
        fs::create_dir_all(dir.path().join("data/inner")).unwrap();
        fs::write(dir.path().join("data/file"), "hi").unwrap();
        let bundle = Self {
            dir,
            tool,
            id: id.to_owned(),
        };
        run(Command::new(tool)
            .arg("spec")
            .current_dir(bundle.dir.path()));
        let file = bundle.dir.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/bin/sleep", "1000"]);
        config["root"]["readonly"] = json!(false);
        change(&mut config, bundle.dir.path());
        fs::write(&file, serde_json::to_vec(&config).unwrap()).unwrap();
        bundle
    }

    /// The container inherits its stdio, so that it has to be something CRIU can dump.
    fn tool(&self, args: &[&str]) {
        let mut command = Command::new(self.tool);
        command
            .args(args)
            .arg(&self.id)
            .current_dir(self.dir.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        assert!(command.status().unwrap().success(), "{command:?}");
    }

    fn start(&self) -> Container {
        self.tool(&["run", "-d"]);
        self.load()
    }

    fn load(&self) -> Container {
        let root = if self.tool == "runc" {
            "/run/runc"
        } else {
            "/run/crun"
        };
        let id: ContainerId = self.id.parse().unwrap();
        runtime::load(Path::new(root), &id).unwrap()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = Command::new(self.tool)
            .args(["delete", "-f", &self.id])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// Runs to success, and answers with both outputs.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "{command:?}: {}: {out}{err}",
        output.status
    );
    out + &err
}

fn kill_init(container: &Container) {
    run(Command::new("kill").args(["-KILL", &container.init.pid.to_string()]));
}

/// Another network namespace, with a path that a configuration can name.
struct Netns(&'static str);

impl Netns {
    fn new(name: &'static str) -> Self {
        run(Command::new("ip").args(["netns", "add", name]));
        Self(name)
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", self.0]).status();
    }
}

fn push(list: &mut Value, item: Value) {
    list.as_array_mut().unwrap().push(item);
}

#[test]
#[ignore = "needs root, runc and busybox: run it in the rig"]
fn status_follows_a_container_through_its_life() {
    let bundle = Bundle::new("runc", "sf-life", |_, _| {});
    bundle.tool(&["create"]);
    assert_eq!(bundle.load().status().unwrap(), Status::Created);
    bundle.tool(&["start"]);
    let container = bundle.load();
    assert_eq!(container.status().unwrap(), Status::Running);
    bundle.tool(&["pause"]);
    assert_eq!(container.status().unwrap(), Status::Paused);
    bundle.tool(&["resume"]);
    assert_eq!(container.status().unwrap(), Status::Running);
    assert_eq!(container.flavour, Flavour::Runc);
    assert_eq!(container.rootfs, bundle.dir.path().join("rootfs"));
    assert_eq!(container.bundle.as_deref(), Some(bundle.dir.path()));
    assert_eq!(container.external_descriptors.len(), 3);
    let guard = Guard::open(&container).unwrap();
    kill_init(&container);
    assert!(guard.wait_ended(SECOND * 5).unwrap());
    assert_eq!(container.status().unwrap(), Status::Stopped);
}

#[test]
#[ignore = "needs root, runc and busybox: run it in the rig"]
fn a_guard_holds_the_recorded_process_and_no_other() {
    let bundle = Bundle::new("runc", "sf-guard", |_, _| {});
    let container = bundle.start();
    let guard = Guard::open(&container).unwrap();
    assert_eq!(guard.cgroup(), &CgroupMatch::Recorded);
    assert_eq!(Some(guard.start_time()), container.init.start_time);
    guard.check().unwrap();
    assert!(!guard.has_ended().unwrap());

    let mut reused = container.clone();
    reused.init.start_time = container.init.start_time.map(|ticks| ticks - 1);
    assert!(matches!(
        Guard::open(&reused),
        Err(guard::Error::PidReused { .. })
    ));
    assert_eq!(reused.status().unwrap(), Status::Stopped);

    let mut ours = container.clone();
    ours.init.pid = i32::try_from(std::process::id()).unwrap();
    ours.init.start_time = None;
    assert!(matches!(
        Guard::open(&ours),
        Err(guard::Error::ForeignCgroup { .. })
    ));

    kill_init(&container);
    assert!(guard.wait_ended(SECOND * 5).unwrap());
    assert!(matches!(guard.check(), Err(guard::Error::Ended { .. })));
    assert!(matches!(
        Guard::open(&container),
        Err(guard::Error::Ended { .. })
    ));
}

#[test]
#[ignore = "needs root, runc and busybox: run it in the rig"]
fn a_moved_process_is_held_and_the_move_is_told() {
    let bundle = Bundle::new("runc", "sf-moved", |_, _| {});
    let container = bundle.start();
    let dir = container.freezer_dir(cgroup::version()).unwrap();
    let below = dir.join("below");
    fs::create_dir(&below).unwrap();
    fs::write(below.join("cgroup.procs"), container.init.pid.to_string()).unwrap();
    let guard = Guard::open(&container).unwrap();
    assert_eq!(
        guard.cgroup(),
        &CgroupMatch::Below {
            actual: below.clone()
        }
    );
    let beside = dir.with_file_name("sf-moved-beside");
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("cgroup.procs"), container.init.pid.to_string()).unwrap();
    let guard = Guard::open(&container).unwrap();
    let moved = CgroupMatch::Moved {
        recorded: dir.to_owned(),
        actual: beside.clone(),
    };
    assert_eq!(guard.cgroup(), &moved);
    kill_init(&container);
    assert!(guard.wait_ended(SECOND * 5).unwrap());
    thread::sleep(Duration::from_millis(100));
    fs::remove_dir(beside).unwrap();
    fs::remove_dir(below).unwrap();
}

#[test]
#[ignore = "needs root, runc and busybox: run it in the rig"]
fn a_freezer_freezes_thaws_and_knows_its_parents() {
    let bundle = Bundle::new("runc", "sf-freeze", |config, _| {
        config["linux"]["cgroupsPath"] = json!("/sf-parent/sf-freeze");
        let script = "for i in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done; wait";
        config["process"]["args"] = json!(["/bin/sh", "-c", script]);
    });
    let container = bundle.start();
    let version = cgroup::version();
    let dir = container.freezer_dir(version).unwrap();
    assert!(dir.ends_with("sf-parent/sf-freeze"));
    let freezer = Freezer::new(dir, version);
    assert_eq!(freezer.state().unwrap(), Some(FreezerState::Thawed));
    assert_eq!(freezer.freeze(SECOND * 5).unwrap(), Froze::Now);
    assert_eq!(freezer.state().unwrap(), Some(FreezerState::Frozen));
    assert_eq!(container.status().unwrap(), Status::Paused);
    assert_eq!(freezer.freeze(SECOND * 5).unwrap(), Froze::Already);
    freezer.thaw().unwrap();
    assert_eq!(freezer.state().unwrap(), Some(FreezerState::Thawed));
    assert!(wait_for(|| processes::pids(&container).unwrap().len() == 9));

    let parent = Freezer::new(dir.parent().unwrap(), version);
    assert_eq!(parent.freeze(SECOND * 5).unwrap(), Froze::Now);
    assert_eq!(freezer.state().unwrap(), Some(FreezerState::FrozenAbove));
    assert_eq!(
        container.status().unwrap(),
        Status::Running,
        "as runc sees it"
    );
    parent.thaw().unwrap();

    let gone = Freezer::new(&dir.with_file_name("nobody"), version);
    assert_eq!(gone.state().unwrap(), None);
    assert!(gone.freeze(SECOND).unwrap_err().is_gone());
    gone.thaw().unwrap();

    let dirs: Vec<PathBuf> = container.cgroups.values().cloned().collect();
    drop(bundle);
    for dir in dirs {
        fs::remove_dir(dir.parent().unwrap()).unwrap();
    }
}

#[test]
#[ignore = "needs root, runc and busybox: run it in the rig"]
fn a_freeze_without_time_leaves_the_cgroup_thawed() {
    let bundle = Bundle::new("runc", "sf-notime", |config, _| {
        let script = "i=0; while [ $i -lt 60 ]; do (while :; do :; done) & i=$((i+1)); done; wait";
        config["process"]["args"] = json!(["/bin/sh", "-c", script]);
    });
    let container = bundle.start();
    let version = cgroup::version();
    let freezer = Freezer::new(container.freezer_dir(version).unwrap(), version);
    thread::sleep(Duration::from_millis(300));
    for _ in 0..20 {
        match freezer.freeze(Duration::ZERO) {
            Ok(Froze::Now) => freezer.thaw().unwrap(),
            Ok(Froze::Already) => panic!("frozen by nobody"),
            Err(cgroup::Error::FreezeTimeout { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        assert_eq!(freezer.state().unwrap(), Some(FreezerState::Thawed));
    }
}

/// A container with everything that CRIU has to be told about.
fn with_externals(config: &mut Value, dir: &Path, netns: &Netns) {
    // CRIU ends a sleep that it interrupts, so that sleeping alone would be the end.
    config["process"]["args"] = json!(["/bin/sh", "-c", "while :; do sleep 1; done"]);
    let data = dir.join("data");
    for (destination, source) in [
        ("/link/dir", data.clone()),
        ("/real/dir/inner", data.join("inner")),
        ("/etc/file", data.join("file")),
        ("/link/new/deep", data.clone()),
    ] {
        let mount = json!({"destination": destination, "type": "bind", "source": source,
                           "options": ["rbind", "rw"]});
        push(&mut config["mounts"], mount);
    }
    for path in [
        "/bin/busybox2",
        "/etc/nothing",
        "/sys/kernel/notes",
        "/link/dir",
    ] {
        push(&mut config["linux"]["maskedPaths"], json!(path));
    }
    for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
        if namespace["type"] == "network" {
            namespace["path"] = json!(netns.path());
        }
    }
}

/// What runc's debug log says it sends, as `key=value` lines.
fn sent_by_runc(log: &str, option: &str) -> Vec<String> {
    let marker = format!("CRIU option {option} with value [");
    let line = log.lines().find(|line| line.contains(&marker)).unwrap();
    let value = line
        .split_once(&marker)
        .unwrap()
        .1
        .split_once("]\" func")
        .unwrap()
        .0;
    if option == "External" {
        return value.split(' ').map(str::to_owned).collect();
    }
    let quoted: Vec<&str> = value.split("\\\"").collect();
    quoted
        .chunks(4)
        .filter(|chunk| chunk.len() == 4)
        .map(|c| format!("{}={}", c[1], c[3]))
        .collect()
}

fn sent_by_us(container: &Container) -> Vec<String> {
    let mounts = external::mounts(container).unwrap();
    mounts
        .into_iter()
        .map(|mount| format!("{}={}", mount.key, mount.value))
        .collect()
}

#[test]
#[ignore = "needs root, runc, CRIU, ip and busybox: run it in the rig"]
fn externals_are_the_ones_that_runc_sends() {
    for (id, cgroup_namespace) in [("sf-ext", false), ("sf-ext-cgns", true)] {
        let netns = Netns::new("sf-ext");
        let bundle = Bundle::new("runc", id, |config, dir| {
            with_externals(config, dir, &netns);
            config["linux"]["devices"] =
                json!([{"path": "/dev/fuse2", "type": "c", "major": 10, "minor": 229}]);
            let namespaces = &mut config["linux"]["namespaces"];
            namespaces
                .as_array_mut()
                .unwrap()
                .retain(|namespace| namespace["type"] != "cgroup");
            if cgroup_namespace {
                push(namespaces, json!({"type": "cgroup"}));
            }
        });
        let container = bundle.start();
        let (mounts, namespaces) = (
            sent_by_us(&container),
            external::namespaces(&container, Dangling::Fail).unwrap(),
        );
        let image = bundle.dir.path().join("image");
        let log = run(Command::new("runc")
            .args(["--debug", "checkpoint", "--leave-running"])
            .args(["--image-path", image.to_str().unwrap(), id]));
        assert_eq!(mounts, sent_by_runc(&log, "ExtMnt"));
        assert_eq!(namespaces, sent_by_runc(&log, "External"));
        assert!(mounts.contains(&"/real/new/deep=/real/new/deep".to_owned()));
        assert_eq!(container.status().unwrap(), Status::Running);
        let marker = "CRIU option FreezeCgroup with value ";
        let line = log.lines().find(|line| line.contains(marker)).unwrap();
        let sent = line
            .split_once(marker)
            .unwrap()
            .1
            .split_once('"')
            .unwrap()
            .0;
        assert_eq!(
            container.freezer_dir(cgroup::version()),
            Some(Path::new(sent))
        );
    }
}

#[test]
#[ignore = "needs root, runc, ip and busybox: run it in the rig"]
fn a_dangling_namespace_fails_as_in_runc_or_is_taken_from_the_process() {
    let netns = Netns::new("sf-dang");
    let bundle = Bundle::new("runc", "sf-dang", |config, dir| {
        with_externals(config, dir, &netns);
    });
    let container = bundle.start();
    let before = external::namespaces(&container, Dangling::Fail).unwrap();
    drop(netns);
    let error = external::namespaces(&container, Dangling::Fail).unwrap_err();
    assert_eq!(
        error.runc_text().as_deref(),
        Some("no such file or directory")
    );
    assert_eq!(
        external::namespaces(&container, Dangling::AskInit).unwrap(),
        before
    );
}

#[test]
#[ignore = "needs root, runc and busybox: run it in the rig"]
fn destroy_leaves_what_runc_delete_leaves() {
    let told = PathBuf::from("/tmp/sf-destroy-poststop");
    let hooks = |config: &mut Value, _: &Path| {
        config["annotations"] = json!({"a.b": "c=d", "org.criu.config": ""});
        let hook = json!({"path": "/bin/sh", "env": ["PATH=/usr/bin:/bin"], "timeout": 5,
                          "args": ["sh", "-c", format!("cat > {}", told.display())]});
        config["hooks"] = json!({ "poststop": [hook] });
    };
    let bundle = Bundle::new("runc", "sf-destroy", hooks);
    let container = bundle.start();
    assert_eq!(container.annotation("org.criu.config"), Some(""));
    kill_init(&container);
    assert!(wait_stopped(&container));
    bundle.tool(&["delete"]);
    let by_runc: Value = serde_json::from_slice(&fs::read(&told).unwrap()).unwrap();
    fs::remove_file(&told).unwrap();

    let container = bundle.start();
    let guard = Guard::open(&container).unwrap();
    let error = destroy::destroy(&container, Some(&guard), Duration::ZERO).unwrap_err();
    assert_eq!(error.to_string(), "container still running");
    bundle.tool(&["pause"]);
    let error = destroy::destroy(&container, Some(&guard), Duration::ZERO).unwrap_err();
    assert_eq!(error.to_string(), "container paused");
    bundle.tool(&["resume"]);
    for dir in container.cgroups.values() {
        fs::create_dir_all(dir.join("below/deeper")).unwrap();
    }
    assert_eq!(container.status().unwrap(), Status::Running);
    kill_init(&container);
    destroy::destroy(&container, Some(&guard), SECOND * 5).unwrap();
    let by_us: Value = serde_json::from_slice(&fs::read(&told).unwrap()).unwrap();
    fs::remove_file(&told).unwrap();
    assert_eq!(by_us, by_runc);
    assert!(!container.state_dir.exists());
    assert!(container.cgroups.values().all(|dir| !dir.exists()));
    assert!(!container.cgroups.is_empty());
}

#[test]
#[ignore = "needs root, runc and busybox: run it in the rig"]
fn destroy_ends_the_others_of_a_shared_pid_namespace() {
    let bundle = Bundle::new("runc", "sf-shared", |config, _| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
        let script = "sleep 1000 & sleep 1000 & wait";
        config["process"]["args"] = json!(["/bin/sh", "-c", script]);
    });
    let container = bundle.start();
    assert!(!container.has_private(NamespaceKind::Pid));
    assert!(wait_for(|| processes::pids(&container).unwrap().len() == 3));
    let guard = Guard::open(&container).unwrap();
    kill_init(&container);
    destroy::destroy(&container, Some(&guard), SECOND * 5).unwrap();
    assert_eq!(processes::pids(&container).unwrap(), Vec::<i32>::new());
    assert!(container.cgroups.values().all(|dir| !dir.exists()));
}

#[test]
#[ignore = "needs root, runc, ip and busybox: run it in the rig"]
fn containers_of_one_network_namespace_know_it() {
    let netns = Netns::new("sf-net");
    let share = |config: &mut Value, dir: &Path| with_externals(config, dir, &netns);
    let (one, other) = (
        Bundle::new("runc", "sf-net1", share),
        Bundle::new("runc", "sf-net2", share),
    );
    let alone = Bundle::new("runc", "sf-net3", |_, _| {});
    let (one, other, alone) = (one.start_kept(), other.start_kept(), alone.start_kept());
    assert!(processes::share_network(&one.1, &other.1).unwrap());
    assert!(!processes::share_network(&one.1, &alone.1).unwrap());
    assert!(!processes::uses_our_network(&one.1).unwrap());
}

#[test]
#[ignore = "needs root, crun, ip and busybox: run it in the rig"]
fn a_crun_container_is_read_held_and_destroyed() {
    let netns = Netns::new("sf-crun");
    let bundle = Bundle::new("crun", "sf-crun", |config, dir| {
        with_externals(config, dir, &netns);
        config["annotations"] = json!({"org.criu.config": "/etc/criu/x.conf"});
    });
    bundle.tool(&["create"]);
    assert_eq!(bundle.load().status().unwrap(), Status::Created);
    bundle.tool(&["start"]);
    let container = bundle.load();
    assert_eq!(container.flavour, Flavour::Crun);
    assert_eq!(container.status().unwrap(), Status::Running);
    assert_eq!(container.rootfs, bundle.dir.path().join("rootfs"));
    assert_eq!(
        container.annotation("org.criu.config"),
        Some("/etc/criu/x.conf")
    );
    assert_eq!(container.external_descriptors.len(), 3);
    assert!(
        container
            .mounts
            .iter()
            .any(|mount| mount.kind == MountKind::Bind)
    );
    bundle.tool(&["pause"]);
    assert_eq!(container.status().unwrap(), Status::Paused);
    bundle.tool(&["resume"]);
    let guard = Guard::open(&container).unwrap();
    assert_eq!(guard.cgroup(), &CgroupMatch::Recorded);
    let inode = processes::namespace_inode(&container, NamespaceKind::Network).unwrap();
    let expected = vec![format!("net[{inode}]:extRootNetNS")];
    assert_eq!(
        external::namespaces(&container, Dangling::Fail).unwrap(),
        expected
    );
    let mounts = sent_by_us(&container);
    println!("{mounts:#?}");
    assert!(mounts.contains(&"/real/dir=/real/dir".to_owned()));
    assert!(mounts.contains(&"/proc/acpi=/run/crun/.empty-directory".to_owned()));
    assert!(mounts.contains(&"/run/crun/.empty-directory=/run/crun/.empty-directory".to_owned()));
    assert!(mounts.contains(&"/sys/kernel/notes=/sys/kernel/notes".to_owned()));
    kill_init(&container);
    destroy::destroy(&container, Some(&guard), SECOND * 5).unwrap();
    assert!(!container.state_dir.exists());
    assert!(!container.cgroups.is_empty());
    assert!(container.cgroups.values().all(|dir| !dir.exists()));
}

#[test]
#[ignore = "needs root, runc, crun and busybox: run it in the rig"]
fn a_container_is_known_by_its_annotations_and_measured_with_its_tmpfs() {
    const FILES: u64 = 8 << 20;
    for tool in ["runc", "crun"] {
        let bundle = Bundle::new(tool, "sf-known", |config, _| {
            let write = "busybox dd if=/dev/zero of=/tmp/x bs=1M count=8; exec sleep 1000";
            config["process"]["args"] = json!(["/bin/sh", "-c", write]);
            let tmpfs = json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"});
            push(&mut config["mounts"], tmpfs);
            config["annotations"] = json!({
                "io.kubernetes.cri.container-type": "container",
                "io.kubernetes.cri.sandbox-namespace": "shop",
                "io.kubernetes.cri.sandbox-name": "counter",
                "io.kubernetes.cri.sandbox-uid": "uid-1",
                "io.kubernetes.cri.container-name": "app",
            });
        });
        let container = bundle.start();
        let mut expected = Expected {
            engine: locate::Engine::Containerd,
            namespace: "shop".into(),
            pod: "counter".into(),
            sandbox_uid: "uid-1".into(),
            container: "app".into(),
        };
        identity::check(&container, &expected).unwrap();
        identity::check_not_own(&container).unwrap();
        expected.namespace = "other".into();
        let error = identity::check(&container, &expected).unwrap_err();
        assert_eq!(error.reason().as_str(), "IdentityMismatch");

        assert!(wait_for(|| Footprint::of(&container).files >= FILES));
        let footprint = Footprint::of(&container);
        println!("{tool}: {footprint:?}");
        assert!(footprint.private > 0 && footprint.shared >= footprint.files);
        assert!(footprint.files < 2 * FILES);
        let needed = |memory| footprint.needed(memory);
        assert!(needed(MemoryGoes::ToDisk) > needed(MemoryGoes::Elsewhere));
    }
}

impl Bundle {
    /// Starts, and keeps the bundle beside what was read.
    fn start_kept(self) -> (Self, Container) {
        let container = self.start();
        (self, container)
    }
}

fn wait_stopped(container: &Container) -> bool {
    wait_for(|| container.status().unwrap() == Status::Stopped)
}

/// Whether this comes true within five seconds.
fn wait_for(come_true: impl Fn() -> bool) -> bool {
    (0..500).any(|_| {
        thread::sleep(Duration::from_millis(10));
        come_true()
    })
}
