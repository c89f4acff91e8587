//! The request that reaches CRIU from the real runc and from ours, field by field, for every flag and kind of container.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "what goes wrong in a test ends it, with an explanation"
)]

use std::collections::BTreeSet;
use std::fs;

use node_agent::criu::messages::{CriuOpts, CriuReq, NetworkLockMethod, ReqType};
use rig::container::{Runtime, Stdio};
use rig::recorder::{Heard, Recorder};
use rig::{Container, Node, Output, Program, Shape};
use serde_json::json;

/// What one program sent, wrote and said.
struct Sent {
    heard: Option<Heard>,
    descriptors: Option<String>,
    output: Output,
}

/// Runs a checkpoint against the stand-in: flags may be those of runc before the verb, then `checkpoint`, then its own.
fn send(
    container: &Container<'_>,
    recorder: &Recorder<'_>,
    program: Program,
    globals: &[&str],
    flags: &[&str],
) -> Sent {
    let node = Node::shared();
    let script = "rm -rf i w checkpoint; mkdir -p old; exec \"$@\" 7>status 8>status";
    let output = node
        .command("bash")
        .args(["-c", script, "send", &program.command(node)])
        .args(["--root", Runtime::Runc.root()])
        .args(globals)
        .arg("checkpoint")
        .args(flags)
        .arg(container.id())
        .cwd(container.bundle())
        .env("PATH", &recorder.path())
        .output();
    let file = node.path(container.bundle()).join("i/descriptors.json");
    Sent {
        heard: recorder.heard(),
        descriptors: fs::read_to_string(file).ok(),
        output,
    }
}

/// Takes out of both requests what is meant to differ, and no more.
fn without_deliberate_differences(theirs: &mut CriuReq, ours: &mut CriuReq, flags: &[&str]) {
    if theirs.r#type() == ReqType::PreDump && ours.r#type() == ReqType::SinglePreDump {
        theirs.r#type = ours.r#type;
    }
    let (Some(theirs), Some(ours)) = (&mut theirs.opts, &mut ours.opts) else {
        return;
    };
    // What the numbers stand for is compared by name.
    assert!(theirs.images_dir_fd >= 0 && ours.images_dir_fd >= 0);
    ours.images_dir_fd = theirs.images_dir_fd;
    if theirs.work_dir_fd.is_some() && ours.work_dir_fd.is_some() {
        ours.work_dir_fd = theirs.work_dir_fd;
    }
    assert_eq!(theirs.network_lock, None, "runc sends no lock");
    if flags.contains(&"--network-lock") {
        assert!(ours.network_lock.is_some(), "a lock was asked for");
    }
    ours.network_lock = None;
    assert_eq!(theirs.cgroup_yard, None, "runc sends no yard");
    ours.cgroup_yard = None;
}

/// Asserts that both programs send the same, or both send nothing and say the same.
fn same(container: &Container<'_>, recorder: &Recorder<'_>, globals: &[&str], flags: &[&str]) {
    let what = format!("{} {globals:?} {flags:?}", container.id());
    let theirs = send(container, recorder, Program::Runc, globals, flags);
    let ours = send(container, recorder, Program::Ours, globals, flags);
    assert_eq!(theirs.output.status, 1, "{what}: {:?}", theirs.output);
    assert_eq!(ours.output.status, 1, "{what}: {:?}", ours.output);
    let refused_by_criu = theirs.output.stderr.contains(" errno 1");
    assert_eq!(
        theirs.heard.is_some(),
        refused_by_criu,
        "{what}: {:?}",
        theirs.output
    );
    assert_eq!(theirs.descriptors, ours.descriptors, "{what}");
    let (Some(theirs_heard), Some(ours_heard)) = (&theirs.heard, &ours.heard) else {
        assert!(
            theirs.heard.is_none() && ours.heard.is_none(),
            "{what}: only one of them asked CRIU: {:?} / {:?}",
            theirs.output,
            ours.output
        );
        assert_eq!(said(&theirs.output), said(&ours.output), "{what}");
        return;
    };
    assert_eq!(theirs_heard.images, ours_heard.images, "{what}");
    assert_eq!(theirs_heard.work, ours_heard.work, "{what}");
    let (mut theirs, mut ours) = (theirs_heard.decoded(), ours_heard.decoded());
    without_deliberate_differences(&mut theirs, &mut ours, flags);
    assert_eq!(theirs, ours, "{what}");
}

/// The message of the error, without its time.
fn said(output: &Output) -> String {
    let line = output.stderr.lines().last().unwrap_or_default();
    line.split_once("level=")
        .map_or(line, |(_, said)| said)
        .to_owned()
}

/// What ours sends.
fn ours(container: &Container<'_>, recorder: &Recorder<'_>, flags: &[&str]) -> CriuOpts {
    let sent = send(container, recorder, Program::Ours, &[], flags);
    let heard = sent
        .heard
        .unwrap_or_else(|| panic!("nothing was sent: {:?}", sent.output));
    heard.decoded().opts.expect("a dump has options")
}

const SWITCHES: [&str; 9] = [
    "--leave-running",
    "--tcp-established",
    "--tcp-skip-in-flight",
    "--ext-unix-sk",
    "--shell-job",
    "--file-locks",
    "--link-remap",
    "--auto-dedup",
    "--lazy-pages",
];

#[test]
#[ignore = "needs the node root: run make test"]
fn every_switch_reaches_criu_as_from_runc_alone_and_together() {
    let node = Node::shared();
    let container = Shape::new(node, "wire-switches").start();
    let recorder = Recorder::new(node, true);
    same(&container, &recorder, &[], &[]);
    for switch in SWITCHES {
        same(&container, &recorder, &[], &["--image-path", "i", switch]);
        let off = format!("{switch}=false");
        same(&container, &recorder, &[], &[&off]);
    }
    same(&container, &recorder, &[], &SWITCHES);
    for odd in ["-leave-running=T", "-file-locks=1", "--shell-job=TRUE"] {
        same(&container, &recorder, &[], &[odd]);
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn every_path_reaches_criu_as_from_runc() {
    let node = Node::shared();
    let container = Shape::new(node, "wire-paths").start();
    let recorder = Recorder::new(node, true);
    for flags in [
        &["--image-path", "i"][..],
        &["--image-path", "i/a/b"],
        &["--image-path", "i", "--work-path", "w"],
        &["--work-path", "w"],
        &["--image-path", "i", "--parent-path", "../old"],
        &[
            "--image-path",
            "i",
            "--parent-path",
            "../old",
            "--auto-dedup",
        ],
        &["--image-path", "i", "--parent-path", "../gone"],
        &["--image-path", "i", "--pre-dump"],
        &["--image-path", "i", "--pre-dump", "--leave-running"],
        &[
            "--image-path",
            "i",
            "--pre-dump",
            "--parent-path",
            "../old",
            "--work-path",
            "w",
        ],
        &["--image-path", "i", "--pre-dump", "--lazy-pages"],
    ] {
        same(&container, &recorder, &[], flags);
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn modes_namespaces_and_page_servers_reach_criu_as_from_runc() {
    let node = Node::shared();
    let container = Shape::new(node, "wire-modes").start();
    let recorder = Recorder::new(node, true);
    for mode in ["soft", "full", "strict", "ignore", "", "Soft", "default"] {
        same(&container, &recorder, &[], &["--manage-cgroups-mode", mode]);
    }
    for namespaces in [&["network"][..], &["network", "network"], &["ipc"]] {
        let flags: Vec<&str> = namespaces
            .iter()
            .flat_map(|ns| ["--empty-ns", ns])
            .collect();
        same(&container, &recorder, &[], &flags);
    }
    // Nobody needs to ask for it, and to ask changes nothing.
    let [plain, asked] = [&[][..], &["--empty-ns", "network"]].map(|flags| {
        let opts = ours(&container, &recorder, flags);
        CriuOpts {
            images_dir_fd: 0,
            ..opts
        }
    });
    assert_eq!(plain.empty_ns, Some(0x4000_0000));
    assert_eq!(plain, asked);
    for server in [
        "10.0.0.7:27277",
        "[::1]:9",
        "[fe80::1%eth0]:9",
        "a-name:80",
        "h:0",
        "h:70000",
        "h:-1",
        "h:4294967297",
        "h:+5",
        "h:007",
        ":80",
        "h:",
    ] {
        same(&container, &recorder, &[], &["--page-server", server]);
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn lazy_pages_reach_criu_as_from_runc() {
    let node = Node::shared();
    let container = Shape::new(node, "wire-lazy").start();
    for features in [true, false] {
        let recorder = Recorder::new(node, features);
        for flags in [
            &["--lazy-pages", "--page-server", "0.0.0.0:27"][..],
            &[
                "--lazy-pages",
                "--page-server",
                "0.0.0.0:27",
                "--status-fd",
                "7",
            ],
            &["--lazy-pages", "--status-fd", "99"],
            &["--status-fd", "7"],
            &["--pre-dump"],
            &["--pre-dump", "--lazy-pages"],
        ] {
            same(&container, &recorder, &[], flags);
        }
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_older_criu_is_asked_as_runc_asks_it() {
    let node = Node::shared();
    let container = Shape::new(node, "wire-older").start();
    for version in [
        [2, 12, 0],
        [3, 0, 0],
        [3, 10, 0],
        [3, 11, 0],
        [3, 14, 0],
        [3, 15, 0],
        [3, 16, 1],
        [3, 17, 1],
        [3, 19, 0],
        [4, 0, 0],
    ] {
        let recorder = Recorder::of_version(node, version, true);
        for flags in [
            &["--image-path", "i"][..],
            &["--image-path", "i", "--tcp-established"],
            &["--image-path", "i", "--pre-dump"],
        ] {
            same(&container, &recorder, &[], flags);
        }
    }
    // A descriptor of the caller's own is a number that both must send alike.
    let recorder = Recorder::of_version(node, [3, 15, 0], true);
    same(
        &container,
        &recorder,
        &[],
        &["--lazy-pages", "--status-fd", "7"],
    );
}

#[test]
#[ignore = "needs the node root: run make test"]
fn globals_without_a_meaning_for_a_dump_change_nothing() {
    let node = Node::shared();
    let container = Shape::new(node, "wire-globals").start();
    let recorder = Recorder::new(node, true);
    for globals in [
        &["--systemd-cgroup"][..],
        &["--rootless", "true"],
        &["--rootless=false"],
        &["--debug"],
        &["--log", "log", "--log-format", "json"],
    ] {
        same(&container, &recorder, globals, &["--image-path", "i"]);
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn flags_of_our_own_reach_criu() {
    let node = Node::shared();
    let container = Shape::new(node, "wire-own").start();
    let recorder = Recorder::new(node, true);
    for (word, method) in [
        ("iptables", NetworkLockMethod::Iptables),
        ("nftables", NetworkLockMethod::Nftables),
        ("skip", NetworkLockMethod::Skip),
    ] {
        let opts = ours(&container, &recorder, &["--network-lock", word]);
        assert_eq!(opts.network_lock, Some(method.into()), "{word}");
    }
    let plain = ours(&container, &recorder, &[]);
    assert_eq!(plain.network_lock(), NetworkLockMethod::Skip);
    assert_eq!(plain.ghost_limit, None);
    let connected = ours(&container, &recorder, &["--tcp-established"]);
    assert_eq!(connected.network_lock(), NetworkLockMethod::Nftables);
    let ghosts = ours(
        &container,
        &recorder,
        &["--ghost-limit", "2097152", "--timeout", "9s"],
    );
    assert_eq!(ghosts.ghost_limit, Some(2 << 20));
    assert_eq!(ghosts.timeout, None);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn joined_namespaces_reach_criu_as_from_runc() {
    let node = Node::shared();
    node.shell("ip netns add wire-net").ok();
    let other = Shape::new(node, "wire-other").start();
    let pid_namespace = format!("/proc/{}/ns/pid", other.pid());
    let ipc_namespace = format!("/proc/{}/ns/ipc", other.pid());
    let recorder = Recorder::new(node, true);
    let old = Recorder::of_version(node, [3, 10, 0], true);
    for shape in [
        Shape::new(node, "wire-net").namespace("network", "/run/netns/wire-net"),
        Shape::new(node, "wire-pid").namespace("pid", &pid_namespace),
        Shape::new(node, "wire-ipc").namespace("ipc", &ipc_namespace),
        Shape::new(node, "wire-pod")
            .namespace("network", "/run/netns/wire-net")
            .namespace("ipc", &ipc_namespace)
            .namespace("pid", &pid_namespace),
        Shape::new(node, "wire-host").host_network(),
    ] {
        let container = shape.start();
        same(&container, &recorder, &[], &["--image-path", "i"]);
        same(
            &container,
            &recorder,
            &[],
            &["--image-path", "i", "--pre-dump"],
        );
        same(&container, &old, &[], &["--image-path", "i"]);
    }
    drop(other);
    node.shell("ip netns delete wire-net").ok();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn mounts_reach_criu_as_from_runc() {
    let node = Node::shared();
    node.shell("mkdir -p /run/rig/wire-outer/inner /run/rig/wire-inner; : >/run/rig/wire-file")
        .ok();
    let recorder = Recorder::new(node, true);
    let nested = |id| {
        Shape::new(node, id)
            .bind("/run/rig/wire-outer", "/data", &[])
            .bind("/run/rig/wire-inner", "/data/inner", &["ro"])
            .bind("/run/rig/wire-file", "/data/inner/../file", &[])
            .bind("/run/rig/wire-file", "/etc//hosts/", &[])
            .tmpfs("/scratch", &["size=1m"])
    };
    let mut links = Shape::new(node, "wire-links")
        .bind("/run/rig/wire-outer", "/link/below", &[])
        .bind("/run/rig/wire-inner", "/absolute", &[])
        .bind("/run/rig/wire-file", "/up/file", &[])
        .prepare();
    node.shell(&format!(
        "cd {}/rootfs && mkdir -p target/below elsewhere && ln -s target link && ln -s /elsewhere absolute && \
         ln -s ../../../etc up",
        links.bundle()
    ))
    .ok();
    links.run();
    for container in [nested("wire-nested").start(), links] {
        same(&container, &recorder, &[], &["--image-path", "i"]);
        same(
            &container,
            &recorder,
            &[],
            &["--image-path", "i", "--pre-dump"],
        );
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn masks_devices_and_cgroup_mounts_reach_criu_as_from_runc() {
    let node = Node::shared();
    let recorder = Recorder::new(node, true);
    let shapes = [
        Shape::new(node, "wire-masks").edit(|config| {
            config["linux"]["maskedPaths"] = json!([
                "/proc/kcore",
                "/proc/nowhere",
                "/sys/firmware",
                "/etc/hostname",
                "/proc/../proc/keys"
            ]);
        }),
        Shape::new(node, "wire-no-masks").edit(|config| {
            config["linux"]["maskedPaths"] = json!([]);
        }),
        Shape::new(node, "wire-devices").edit(|config| {
            config["linux"]["devices"] = json!([
                {"path": "/dev/extra", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666},
                {"path": "/dev/deep/er", "type": "p"}
            ]);
        }),
        Shape::new(node, "wire-cgroup-namespace").edit(|config| {
            let namespaces = config["linux"]["namespaces"]
                .as_array_mut()
                .expect("a list");
            namespaces.push(json!({"type": "cgroup"}));
        }),
        Shape::new(node, "wire-no-cgroup-mount").edit(|config| {
            let mounts = config["mounts"].as_array_mut().expect("a list");
            mounts.retain(|mount| mount["type"] != "cgroup");
        }),
        Shape::new(node, "wire-cgroup-path").cgroups_path("/wire/deep/er"),
    ];
    for shape in shapes {
        let mut container = shape.prepare();
        fs::write(container.file("/etc/hostname"), "x").expect("a file to be masked");
        container.run();
        same(&container, &recorder, &[], &["--image-path", "i"]);
        same(
            &container,
            &recorder,
            &[],
            &["--image-path", "i", "--pre-dump"],
        );
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_configuration_file_for_criu_is_named_as_by_runc() {
    let node = Node::shared();
    let recorder = Recorder::new(node, true);
    let file = node.put("wire.conf", "tcp-established\nnetwork-lock nftables\n");
    for (number, value) in [file.as_str(), "", "/no/such/file", "relative"]
        .iter()
        .enumerate()
    {
        let shape = Shape::new(node, format!("wire-config-{number}"));
        let container = shape.annotation("org.criu.config", value).start();
        same(&container, &recorder, &[], &["--image-path", "i"]);
        same(
            &container,
            &recorder,
            &[],
            &["--image-path", "i", "--pre-dump"],
        );
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn streams_are_described_as_by_runc() {
    let node = Node::shared();
    let recorder = Recorder::new(node, true);
    for (number, stdio) in [Stdio::Null, Stdio::Pipes, Stdio::Terminal]
        .into_iter()
        .enumerate()
    {
        let shape = Shape::new(node, format!("wire-stdio-{number}"));
        let container = shape.stdio(stdio).start();
        same(&container, &recorder, &[], &["--image-path", "i"]);
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_paused_container_is_asked_about_as_by_runc() {
    let node = Node::shared();
    let recorder = Recorder::new(node, true);
    let container = Shape::new(node, "wire-paused").start();
    container
        .runtime_command()
        .args(["pause", container.id()])
        .output()
        .ok();
    same(&container, &recorder, &[], &["--image-path", "i"]);
    assert_eq!(container.status(), "paused");
}

/// crun makes its own request, from the same facts: what both say of mounts, namespaces and cgroups must agree.
#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_of_crun_is_described_as_crun_describes_it() {
    let node = Node::shared();
    node.shell("ip netns add wire-crun; mkdir -p /run/rig/wire-crun-a/b")
        .ok();
    let recorder = Recorder::new(node, true);
    let container = Shape::new(node, "wire-crun")
        .runtime(Runtime::Crun)
        .namespace("network", "/run/netns/wire-crun")
        .bind("/run/rig/wire-crun-a", "/data", &[])
        .bind("/run/rig/wire-crun-a/b", "/data/b", &[])
        .start();
    let asked = |program: Program| {
        let output = container
            .checkpoint_command(program, &["--image-path", "i", "--file-locks"])
            .env("PATH", &recorder.path())
            .output();
        let heard = recorder.heard();
        let heard = heard.unwrap_or_else(|| panic!("{program:?} asked nothing: {output:?}"));
        heard.decoded().opts.expect("a dump has options")
    };
    let (theirs, ours) = (asked(Program::Crun), asked(Program::Ours));
    let root = |opts: &CriuOpts| opts.root.clone().unwrap_or_default().replace("/./", "/");
    assert_eq!(root(&theirs), root(&ours));
    assert_eq!(theirs.pid, ours.pid);
    assert_eq!(theirs.freeze_cgroup, ours.freeze_cgroup);
    assert_eq!(theirs.file_locks, ours.file_locks);
    let external = |opts: &CriuOpts| {
        let external: BTreeSet<String> = opts.external.iter().cloned().collect();
        external
    };
    assert_eq!(external(&theirs), external(&ours));
    let mounts = |opts: &CriuOpts| -> BTreeSet<String> {
        opts.ext_mnt.iter().map(|mount| mount.key.clone()).collect()
    };
    let missing: Vec<_> = mounts(&theirs)
        .difference(&mounts(&ours))
        .cloned()
        .collect();
    assert_eq!(missing, Vec::<String>::new(), "{theirs:#?}\n{ours:#?}");
    drop(container);
    node.shell("ip netns delete wire-crun").ok();
}
