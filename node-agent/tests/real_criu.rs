//! The client against a real CRIU and a real process; needs root and a node root of its own.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::{
    fs,
    os::fd::AsRawFd as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use node_agent::{
    apart::{Cgroup, Mounts},
    criu::{
        Answer, Cancel, Error, Event, Finished, Handler, Launch, Limits, Stop, Swrk, Why,
        abilities::Abilities,
        log,
        messages::{CgMode, CriuFeatures, CriuOpts, CriuReq, NetworkLockMethod, ReqType},
    },
    images::{DumpStats, Folder, Kind, NetworkLock, Pages, digest, flush, measure, verify},
    runtime::cgroup,
};

/// A process with a network namespace of its own; ended when dropped.
struct Target(Child);

impl Target {
    fn start() -> Self {
        Self::start_by(&[])
    }

    /// Among the mounts of another process, which are its own as they are CRIU's.
    fn start_among(mounts: &OtherMounts) -> Self {
        let mounts = format!("--mount=/proc/{}/ns/mnt", mounts.0.id());
        Self::start_by(&["nsenter", &mounts])
    }

    fn start_by(starter: &[&str]) -> Self {
        let mut command = Command::new("setsid");
        command.args(starter);
        // Opened where it is then: what is open has to be among its own mounts.
        let sleep = "exec unshare --net sleep 1000 </dev/null >/dev/null 2>&1";
        command.args(["sh", "-c", sleep]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let target = Self(command.spawn().unwrap());
        while fs::read_to_string(target.proc("comm")).unwrap().trim() != "sleep" {
            thread::sleep(Duration::from_millis(5));
        }
        target
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.0.id())
    }

    /// Sleeping as before: not stopped, not traced, its network without anybody's rules.
    fn assert_untouched(&self) {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line("State:").contains('S'), "{}", line("State:"));
        assert_eq!(line("TracerPid:").split_whitespace().last(), Some("0"));
        let net = format!("--net={}", self.proc("ns/net"));
        let rules = Command::new("nsenter")
            .args([&net, "nft", "list", "ruleset"])
            .output()
            .unwrap();
        assert!(
            rules.status.success(),
            "{}",
            String::from_utf8_lossy(&rules.stderr)
        );
        assert!(!String::from_utf8_lossy(&rules.stdout).contains("CRIU"));
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Does one thing at one event and says go at all others.
struct At<'a> {
    event: Option<Event>,
    act: &'a mut dyn FnMut() -> Answer,
    pause: Option<Instant>,
    seen: Vec<Event>,
}

impl Handler for At<'_> {
    fn on(&mut self, event: &Event) -> Answer {
        self.seen.push(event.clone());
        if self.event.as_ref() == Some(event) {
            (self.act)()
        } else {
            Answer::Go
        }
    }

    fn pause_deadline(&self) -> Option<Instant> {
        self.pause.filter(|_| !self.seen.is_empty())
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn request(kind: ReqType, target: &Target, images: &Folder) -> CriuReq {
    use std::os::fd::AsFd as _;
    CriuReq {
        r#type: kind.into(),
        opts: Some(CriuOpts {
            images_dir_fd: images.as_fd().as_raw_fd(),
            pid: Some(target.pid()),
            leave_running: Some(true),
            log_level: Some(4),
            log_file: Some(log::FILE_NAME.to_owned()),
            notify_scripts: Some(true),
            manage_cgroups: Some(true),
            manage_cgroups_mode: Some(CgMode::Ignore.into()),
            network_lock: Some(NetworkLockMethod::Nftables.into()),
            ..CriuOpts::default()
        }),
        ..CriuReq::default()
    }
}

fn dump(
    target: &Target,
    images: &Path,
    event: Option<Event>,
    cancel: &Cancel,
    act: &mut dyn FnMut(u32) -> Answer,
) -> Result<Finished, Error> {
    dump_by(&Launch::default(), target, images, event, cancel, act)
}

fn dump_by(
    launch: &Launch,
    target: &Target,
    images: &Path,
    event: Option<Event>,
    cancel: &Cancel,
    act: &mut dyn FnMut(u32) -> Answer,
) -> Result<Finished, Error> {
    let folder = Folder::open(images).unwrap();
    let swrk = Swrk::start(launch)?;
    let criu = swrk.pid().unwrap();
    let mut handler = At {
        event,
        act: &mut || act(criu),
        pause: None,
        seen: Vec::new(),
    };
    let limits = Limits {
        deadline: Some(soon()),
        grace: Duration::from_secs(5),
        cancel,
    };
    let result = swrk.run(
        &request(ReqType::Dump, target, &folder),
        &mut handler,
        &limits,
    );
    println!("events {:?}", handler.seen);
    assert!(
        !Path::new(&format!("/proc/{criu}")).exists(),
        "CRIU is reaped"
    );
    result
}

const REFUSABLE: [Event; 4] = [
    Event::PreDump,
    Event::NetworkLock,
    Event::QueryExtFiles,
    Event::PostDump,
];

#[test]
#[ignore = "needs root, CRIU 4.2 or newer, nft, and mount and pid namespaces of its own"]
fn one_process_tells_its_version_and_features_and_then_dumps() {
    let target = Target::start();
    let images = tempfile::tempdir().unwrap();
    let folder = Folder::open(images.path()).unwrap();
    let mut swrk = Swrk::start(&Launch::default()).unwrap();
    let criu = swrk.pid();
    let version = swrk.version(soon()).unwrap();
    println!("version {version} ({})", version.number());
    assert!(version.number() >= 40_200);
    let wanted = CriuFeatures {
        mem_track: Some(true),
        lazy_pages: Some(true),
        pidfd_store: None,
    };
    println!("features {:?}", swrk.features(wanted, soon()).unwrap());
    assert_eq!(swrk.pid(), criu, "the same process");
    let cancel = Cancel::new().unwrap();
    let limits = Limits {
        deadline: Some(soon()),
        grace: Duration::from_secs(5),
        cancel: &cancel,
    };
    let mut handler = At {
        event: None,
        act: &mut || Answer::Go,
        pause: None,
        seen: Vec::new(),
    };
    let finished = swrk
        .run(
            &request(ReqType::Dump, &target, &folder),
            &mut handler,
            &limits,
        )
        .unwrap();
    println!("events {:?}", finished.events);
    let events: Vec<_> = finished
        .events
        .iter()
        .map(|passed| passed.event.clone())
        .collect();
    assert_eq!(events[..4], REFUSABLE);
    assert_eq!(events[4..], [Event::NetworkUnlock]);
    assert_eq!(finished.overtaken, None);
    target.assert_untouched();
    let verified = verify(&folder, Kind::Dump, Pages::Here).unwrap();
    println!("verified {verified:?}");
    assert!(verified.pages > 0);
    let stats = DumpStats::read(&folder).unwrap().unwrap();
    println!("stats {stats:?}");
    assert_eq!(stats.pages_written, verified.pages);
    flush(&folder).unwrap();
    println!(
        "{:?} {}",
        measure(&folder).unwrap(),
        digest(&folder).unwrap()
    );
    let file = images.path().join(log::FILE_NAME);
    println!("quoted {:?}", log::quote(&file));
    assert_eq!(verified.inventory.network_lock, Some(NetworkLock::Nftables));
    assert_eq!(log::run_id(&file), verified.inventory.dump_criu_run_id);
}

#[test]
#[ignore = "needs root, CRIU 4.2 or newer, nft, and mount and pid namespaces of its own"]
fn a_refusal_at_any_notification_leaves_the_process_as_it_was() {
    for event in REFUSABLE {
        let target = Target::start();
        let images = tempfile::tempdir().unwrap();
        let cancel = Cancel::new().unwrap();
        let result = dump(
            &target,
            images.path(),
            Some(event.clone()),
            &cancel,
            &mut |_| Answer::Refuse,
        );
        let error = result.unwrap_err();
        println!(
            "{event:?}: {error}, {:?}",
            log::cause(&images.path().join(log::FILE_NAME))
        );
        assert!(
            matches!(&error, Error::Stopped { stop: Stop::Refused(at), killed: false } if *at == event)
        );
        target.assert_untouched();
    }
}

#[test]
#[ignore = "needs root, CRIU 4.2 or newer, nft, and mount and pid namespaces of its own"]
fn a_cancel_while_a_notification_is_handled_rolls_back() {
    for event in REFUSABLE {
        let target = Target::start();
        let images = tempfile::tempdir().unwrap();
        let cancel = Cancel::new().unwrap();
        let result = dump(&target, images.path(), Some(event), &cancel, &mut |_| {
            cancel.trigger(Why::Interrupted);
            Answer::Go
        });
        assert!(matches!(
            result,
            Err(Error::Stopped {
                stop: Stop::Cancelled(Why::Interrupted),
                killed: false
            })
        ));
        target.assert_untouched();
    }
}

#[test]
#[ignore = "needs root, CRIU 4.2 or newer, nft, and mount and pid namespaces of its own"]
fn a_pause_that_is_too_long_rolls_back() {
    let target = Target::start();
    let images = tempfile::tempdir().unwrap();
    let folder = Folder::open(images.path()).unwrap();
    let cancel = Cancel::new().unwrap();
    let limits = Limits {
        deadline: Some(soon()),
        grace: Duration::from_secs(5),
        cancel: &cancel,
    };
    let mut handler = At {
        event: None,
        act: &mut || Answer::Go,
        pause: Some(Instant::now()),
        seen: Vec::new(),
    };
    let swrk = Swrk::start(&Launch::default()).unwrap();
    let result = swrk.run(
        &request(ReqType::Dump, &target, &folder),
        &mut handler,
        &limits,
    );
    assert!(matches!(
        result,
        Err(Error::Stopped {
            stop: Stop::PauseTooLong,
            killed: false
        })
    ));
    target.assert_untouched();
}

#[test]
#[ignore = "needs root, CRIU 4.2 or newer, nft, and mount and pid namespaces of its own"]
fn a_criu_that_is_killed_at_a_notification_is_told_apart() {
    for event in REFUSABLE {
        let target = Target::start();
        let images = tempfile::tempdir().unwrap();
        let cancel = Cancel::new().unwrap();
        let result = dump(&target, images.path(), Some(event), &cancel, &mut |criu| {
            kill(Pid::from_raw(i32::try_from(criu).unwrap()), Signal::SIGKILL).unwrap();
            thread::sleep(Duration::from_millis(50));
            Answer::Go
        });
        let error = result.unwrap_err();
        println!("{error}");
        assert_eq!(error.reason(), "CriuDied");
        assert!(error.left_things_behind());
    }
}

#[test]
#[ignore = "needs root, CRIU 4.2 or newer, nft, and mount and pid namespaces of its own"]
fn a_request_that_cannot_work_fails_with_runc_s_text_and_a_cause() {
    let target = Target::start();
    let images = tempfile::tempdir().unwrap();
    let folder = Folder::open(images.path()).unwrap();
    let cancel = Cancel::new().unwrap();
    let limits = Limits {
        deadline: Some(soon()),
        grace: Duration::from_secs(5),
        cancel: &cancel,
    };
    let mut request = request(ReqType::Dump, &target, &folder);
    request.opts.as_mut().unwrap().pid = Some(0x3f_ffff);
    let mut handler = At {
        event: None,
        act: &mut || Answer::Go,
        pause: None,
        seen: Vec::new(),
    };
    let swrk = Swrk::start(&Launch::default()).unwrap();
    let error = swrk.run(&request, &mut handler, &limits).unwrap_err();
    println!("{error}; {error:?}");
    let file = images.path().join(log::FILE_NAME);
    println!(
        "cause {:?}\nquoted {:#?}",
        log::cause(&file),
        log::quote(&file)
    );
    assert_eq!(error.to_string(), "criu failed: type DUMP errno 3");
    assert!(log::cause(&file).is_some());
}

#[test]
#[ignore = "needs root, CRIU 4.2 or newer, nft, and mount and pid namespaces of its own"]
fn abilities_are_asked_of_the_real_criu() {
    let cache = tempfile::tempdir().unwrap();
    let abilities = Abilities::of(&Launch::default(), Some(cache.path()), soon());
    println!("{abilities:?}");
    assert!(abilities.nftables_lock);
    assert!(cache.path().join("criu-abilities.json").exists());
}

/// A process among mounts of its own, where alone CRIU is in its search path. It stands for the
/// first process of a host, and the test for an agent in a container.
struct OtherMounts(Child);

/// A folder that only that process sees.
const THERE: &str = "/mnt/host/bin";

impl OtherMounts {
    fn start() -> Self {
        let script = format!(
            "mount -t tmpfs none /mnt && mkdir -p {THERE} && cp \"$(command -v criu)\" {THERE}/criu && \
             PATH={THERE}:$PATH exec sleep 1000"
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation=private", "sh", "-c", &script]);
        let there = Self(command.stdin(Stdio::null()).spawn().unwrap());
        let name = format!("/proc/{}/comm", there.0.id());
        while fs::read_to_string(&name).unwrap().trim() != "sleep" {
            thread::sleep(Duration::from_millis(5));
        }
        there
    }
}

impl Drop for OtherMounts {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A tmpfs of ours that no other process sees.
struct Ours(tempfile::TempDir);

impl Ours {
    fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let no_data: Option<&str> = None;
        let (kind, flags) = (Some("tmpfs"), MsFlags::empty());
        mount(kind, dir.path(), kind, flags, no_data).unwrap();
        Self(dir)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

#[test]
#[ignore = "needs root, CRIU 4.2 or newer, nft, and mount and pid namespaces of its own"]
fn a_criu_that_only_the_host_sees_dumps_into_a_directory_that_only_we_see() {
    let host = OtherMounts::start();
    let images = Ours::mount();
    let mounts = Mounts::of(host.0.id().cast_signed()).unwrap();
    assert!(!mounts.are_ours());
    let launch = Launch {
        mounts: Some(Arc::new(mounts)),
        ..Launch::default()
    };
    let program = launch.resolve().unwrap();
    assert_eq!(program, Path::new(THERE).join("criu"));
    assert!(!program.exists(), "it is not among our mounts");
    assert!(launch.metadata().is_some());
    let can = |launch: &Launch| Abilities::of(launch, None, soon());
    assert_eq!(can(&launch), can(&Launch::default()));
    let target = Target::start_among(&host);
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    let mut seen = Vec::new();
    let mut look = |criu| {
        seen.push((
            namespace(criu),
            fs::read_link(format!("/proc/{criu}/exe")).unwrap(),
        ));
        Answer::Go
    };
    let (event, cancel) = (Some(Event::PostDump), Cancel::new().unwrap());
    dump_by(&launch, &target, images.0.path(), event, &cancel, &mut look).unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].0, namespace(host.0.id()));
    assert!(seen[0].1.ends_with("criu"), "{:?}", seen[0].1);
    verify(
        &Folder::open(images.0.path()).unwrap(),
        Kind::Dump,
        Pages::Here,
    )
    .unwrap();
    target.assert_untouched();
}

#[test]
#[ignore = "needs root, CRIU 4.2 or newer, nft, and mount and pid namespaces of its own"]
fn a_criu_with_a_cgroup_of_its_own_dumps_there_in_every_hierarchy() {
    const PATH: &str = "stillframe-test/dumps";
    let hierarchies = cgroup::hierarchies().unwrap();
    assert!(!hierarchies.is_empty());
    let group = Cgroup::new(hierarchies.clone(), PATH.parse().unwrap()).unwrap();
    group.check().unwrap();
    let ours = fs::read_to_string("/proc/self/cgroup").unwrap();
    let launch = Launch {
        cgroup: Some(Arc::new(group.clone())),
        ..Launch::default()
    };
    let target = Target::start();
    let images = tempfile::tempdir().unwrap();
    let mut look = |criu: u32| {
        for hierarchy in &hierarchies {
            let procs = hierarchy.dir.join(PATH).join("cgroup.procs");
            let inside = fs::read_to_string(&procs).unwrap();
            let inside: Vec<&str> = inside.lines().collect();
            assert!(
                inside.contains(&criu.to_string().as_str()),
                "{}",
                procs.display()
            );
        }
        group.remove();
        assert!(hierarchies[0].dir.join(PATH).exists(), "somebody is in it");
        Answer::Go
    };
    let (event, cancel) = (Some(Event::PostDump), Cancel::new().unwrap());
    dump_by(&launch, &target, images.path(), event, &cancel, &mut look).unwrap();
    target.assert_untouched();
    assert_eq!(fs::read_to_string("/proc/self/cgroup").unwrap(), ours);
    group.remove();
    for hierarchy in &hierarchies {
        assert!(!hierarchy.dir.join(PATH).exists());
        fs::remove_dir(hierarchy.dir.join("stillframe-test")).unwrap();
    }
}
