//! Every option of a checkpoint's spec as it reaches CRIU: a stand-in for CRIU keeps the request and refuses it.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "what goes wrong in a test ends it, with an explanation"
)]

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use nix::sys::signal::Signal;
use node_agent::criu::messages::{
    CgMode, CriuOpts, CriuReq, NetworkLockMethod, PageServerInfo, ReqType,
};
use rig::cluster::{Manifest, Pod};
use rig::installation::AGENTS;
use rig::mission::{Checkpoint, Mission, files};
use rig::pipe_limit::PIPE_LIMIT;
use rig::recorder::{Heard, Recorder};
use rig::{Cluster, Node, PipeLimit, Values};
use serde_json::{Value, json};

/// Where the agent puts images, in the node.
const IMAGES: &str = "/var/lib/stillframe/images/default";
/// Where the agent finds the keys of connections to page servers, in its pod.
const KEYS: &str = "/etc/stillframe/page-server-keys";

/// The cluster, with an agent that starts the node's CRIU, which is the stand-in. It keeps one request, so that tests take turns.
struct Turn {
    mission: Mission<'static>,
    recorder: Recorder<'static>,
}

fn turn() -> MutexGuard<'static, Turn> {
    static TURN: OnceLock<Mutex<Turn>> = OnceLock::new();
    let turn = TURN.get_or_init(|| {
        let cluster = Cluster::shared();
        let recorder = Recorder::new(cluster.node(0), true);
        recorder.stand_in();
        cluster.node(0).run(&["mkdir", "-p", "/etc/criu"]).ok();
        let mission = Mission::start_with(cluster, &without_keys());
        // Nobody here looks into them.
        let secret = ["create", "secret", "generic", "keys", "--namespace", AGENTS];
        let keys = ["ca.crt", "tls.crt", "tls.key"].map(|key| format!("--from-literal={key}=key"));
        cluster.kubectl(&[&secret[..], &keys.each_ref().map(String::as_str)].concat());
        mission.upgrade(&with_keys());
        Mutex::new(Turn { mission, recorder })
    });
    turn.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The policy lets every page server pass: it is the agent that is to refuse some.
fn without_keys() -> Values {
    Values::default()
        .set("agent.criu", "host")
        .set("agent.criuConfig", "/etc/criu")
        .set("pageServers.allowed", ["0.0.0.0/0"])
        .set("pageServers.allowedNames", ["localhost"])
        .agent_arg("--allow-page-server=10.0.0.7:27277,127.0.0.1")
}

fn with_keys() -> Values {
    without_keys().set("pageServers.keysSecret", "keys")
}

impl Turn {
    fn cluster(&self) -> &'static Cluster {
        self.mission.cluster()
    }

    fn node(&self) -> &'static Node {
        self.cluster().node(0)
    }

    /// Asks for a checkpoint with these options and waits until it has failed for this reason.
    fn ask(&self, name: &str, pod: &Pod<'_>, options: &Value, reason: &str) -> Checkpoint<'static> {
        assert!(self.recorder.heard().is_none(), "somebody else asked CRIU");
        let spec = json!({"source": {"podName": pod.name()}, "options": options});
        let checkpoint = self.mission.checkpoint(name, &spec);
        checkpoint.wait(&format!("jsonpath={{.status.failure.reason}}={reason}"));
        checkpoint
    }

    /// What CRIU is asked for these options; that it refuses is what the checkpoint fails of.
    fn hear(&self, name: &str, pod: &Pod<'_>, options: &Value) -> (Checkpoint<'static>, Heard) {
        let checkpoint = self.ask(name, pod, options, "CriuFailed");
        let heard = self.recorder.heard();
        let heard = heard.unwrap_or_else(|| panic!("CRIU was not asked for {options}"));
        (checkpoint, heard)
    }
}

/// A request without the numbers of descriptors, which say nothing: what they are open at is compared by name.
fn request(heard: &Heard) -> (ReqType, CriuOpts) {
    let CriuReq { opts, .. } = heard.decoded();
    let mut opts = opts.expect("a dump has options");
    assert!(opts.images_dir_fd >= 0 && opts.work_dir_fd.is_some_and(|fd| fd >= 0));
    opts.images_dir_fd = 0;
    opts.work_dir_fd = None;
    (heard.decoded().r#type(), opts)
}

/// What an option changes in the request without any.
type Change = fn(&mut CriuOpts);

fn server(opts: &mut CriuOpts, address: &str) {
    opts.ps = Some(PageServerInfo {
        address: Some(address.to_owned()),
        port: Some(27_277),
        ..PageServerInfo::default()
    });
}

fn tls(opts: &mut CriuOpts, name_is_checked: bool) {
    opts.tls = Some(true);
    opts.tls_cacert = Some(format!("{KEYS}/ca.crt"));
    opts.tls_cert = Some(format!("{KEYS}/tls.crt"));
    opts.tls_key = Some(format!("{KEYS}/tls.key"));
    opts.tls_no_cn_verify = Some(!name_is_checked);
}

fn mode(opts: &mut CriuOpts, mode: CgMode) {
    opts.manage_cgroups_mode = Some(mode.into());
}

fn lock(opts: &mut CriuOpts, method: NetworkLockMethod) {
    opts.network_lock = Some(method.into());
}

/// Each option of the spec that CRIU is to hear of, beside those that are about paths and chains.
#[expect(clippy::too_many_lines, reason = "it is a table, and read as one")]
fn table() -> Vec<(Value, Change)> {
    let plain = json!({"address": "10.0.0.7", "port": 27277, "tls": false});
    let private = json!({"address": "10.0.0.7", "port": 27277});
    let named = json!({"address": "localhost", "port": 27277});
    vec![
        (
            json!({"leaveRunning": true, "manageCgroupsMode": "Ignore", "networkLock": "Auto"}),
            |_| {},
        ),
        (json!({"leaveRunning": false}), |opts| {
            opts.leave_running = Some(false);
        }),
        (json!({"tcpEstablished": true}), |opts| {
            opts.tcp_established = Some(true);
            lock(opts, NetworkLockMethod::Nftables);
        }),
        (
            json!({"tcpEstablished": true, "leaveRunning": false, "acceptConnectionLoss": true}),
            |opts| {
                opts.tcp_established = Some(true);
                opts.leave_running = Some(false);
                lock(opts, NetworkLockMethod::Nftables);
            },
        ),
        (json!({"tcpSkipInFlight": true}), |opts| {
            opts.tcp_skip_in_flight = Some(true);
        }),
        (json!({"extUnixSk": true}), |opts| {
            opts.ext_unix_sk = Some(true);
        }),
        (json!({"shellJob": true}), |opts| {
            opts.shell_job = Some(true);
        }),
        (json!({"fileLocks": true}), |opts| {
            opts.file_locks = Some(true);
        }),
        (json!({"linkRemap": true}), |opts| {
            opts.link_remap = Some(true);
        }),
        (json!({"manageCgroupsMode": "Soft"}), |opts| {
            mode(opts, CgMode::Soft);
        }),
        (json!({"manageCgroupsMode": "Full"}), |opts| {
            mode(opts, CgMode::Full);
        }),
        (json!({"manageCgroupsMode": "Strict"}), |opts| {
            mode(opts, CgMode::Strict);
        }),
        (json!({"pageServer": plain}), |opts| {
            server(opts, "10.0.0.7");
        }),
        (json!({"pageServer": private}), |opts| {
            server(opts, "10.0.0.7");
            tls(opts, true);
        }),
        // CRIU is handed the address that was held against the allowance, and cannot compare names then.
        (json!({"pageServer": named}), |opts| {
            server(opts, "127.0.0.1");
            tls(opts, false);
        }),
        (json!({"networkLock": "Iptables"}), |opts| {
            lock(opts, NetworkLockMethod::Iptables);
        }),
        (json!({"networkLock": "Nftables"}), |opts| {
            lock(opts, NetworkLockMethod::Nftables);
        }),
        // The network is left out of every image, as by runc.
        (
            json!({"networkLock": "Skip", "emptyNamespaces": ["Network"]}),
            |_| {},
        ),
        (json!({"trackMemory": true}), |opts| {
            opts.track_mem = Some(true);
        }),
        (json!({"ghostLimit": "3Mi"}), |opts| {
            opts.ghost_limit = Some(3 << 20);
        }),
        // Bounds are the agent's to keep, and holes are made in a parent once its child is complete.
        (json!({"maxPauseSeconds": 20, "autoDedup": true}), |_| {}),
        (
            json!({"fileLocks": true, "extUnixSk": true, "linkRemap": true, "shellJob": true,
                   "tcpSkipInFlight": true, "ghostLimit": "1Gi", "manageCgroupsMode": "Full"}),
            |opts| {
                opts.file_locks = Some(true);
                opts.ext_unix_sk = Some(true);
                opts.link_remap = Some(true);
                opts.shell_job = Some(true);
                opts.tcp_skip_in_flight = Some(true);
                opts.ghost_limit = Some(1 << 30);
                mode(opts, CgMode::Full);
            },
        ),
    ]
}

#[test]
#[ignore = "needs the node root: run make test"]
fn every_option_changes_its_own_part_of_the_request_and_no_other() {
    let turn = turn();
    let pod = turn.cluster().run(&Manifest::new("options"));
    let before = pod.count_beyond("app", 3);
    let (_, heard) = turn.hear("options-none", &pod, &json!({}));
    let (kind, plain) = request(&heard);
    must_be_what_nobody_asked_for(&pod, kind, &plain);
    for (number, (options, change)) in table().iter().enumerate() {
        let name = format!("options-{number}");
        let (checkpoint, heard) = turn.hear(&name, &pod, options);
        let (kind, sent) = request(&heard);
        let mut expected = plain.clone();
        change(&mut expected);
        assert_eq!((kind, sent), (ReqType::Dump, expected), "{options}");
        if let Some(bound) = options.get("maxPauseSeconds") {
            assert_eq!(checkpoint.status()["maxPauseSeconds"], *bound);
        }
    }
    let (_, heard) = turn.hear("options-pre-dump", &pod, &json!({"preDump": true}));
    // As runc: a pre-dump saves no mounts. Nor does it lock a network.
    let expected = CriuOpts {
        ext_mnt: Vec::new(),
        network_lock: None,
        ..plain
    };
    assert_eq!(request(&heard), (ReqType::SinglePreDump, expected));
    assert!(pod.count_beyond("app", before) > before);
    let left = files(turn.node(), "/run/stillframe/journal");
    assert!(left.is_empty(), "{left:?}");
}

/// The default request: what runc sends, but for the deliberate differences.
fn must_be_what_nobody_asked_for(pod: &Pod<'_>, kind: ReqType, opts: &CriuOpts) {
    assert_eq!(kind, ReqType::Dump);
    let no = Some(false);
    assert_eq!(opts.pid, pod.pid("app"));
    assert_eq!(opts.leave_running, Some(true), "the CR's own default");
    for (what, value) in [
        ("tcp_established", opts.tcp_established),
        ("tcp_skip_in_flight", opts.tcp_skip_in_flight),
        ("ext_unix_sk", opts.ext_unix_sk),
        ("shell_job", opts.shell_job),
        ("file_locks", opts.file_locks),
        ("link_remap", opts.link_remap),
        ("lazy_pages", opts.lazy_pages),
        ("auto_dedup", opts.auto_dedup),
    ] {
        assert_eq!(value, no, "{what}");
    }
    assert_eq!(opts.manage_cgroups_mode, Some(CgMode::Ignore.into()));
    assert_eq!(opts.empty_ns, Some(0x4000_0000));
    assert_eq!(opts.network_lock, Some(NetworkLockMethod::Skip.into()));
    assert_eq!((&opts.ps, opts.tls), (&None, None));
    assert_eq!((&opts.parent_img, opts.track_mem), (&None, None));
    assert_eq!((opts.ghost_limit, &opts.config_file), (None, &None));
    assert_eq!(opts.log_file.as_deref(), Some("dump.log"));
    let root = opts.root.as_deref().unwrap_or_default();
    let id = pod.container_id("app").unwrap_or_default();
    assert!(root.contains(&id), "{root}");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn image_and_work_directories_are_those_of_the_spec_and_nothing_of_a_failed_dump_stays() {
    let turn = turn();
    let pod = turn.cluster().run(&Manifest::new("paths"));
    let (checkpoint, heard) = turn.hear("paths-default", &pod, &json!({}));
    let uid = checkpoint.object()["metadata"]["uid"].clone();
    let image = format!(
        "{IMAGES}/paths-default-{}",
        uid.as_str().unwrap_or_default()
    );
    assert_eq!(heard.images, Some(format!("{image}.partial")));
    assert_eq!(heard.work, Some(format!("{image}.work")));
    let log = checkpoint.status()["failure"]["logPath"].clone();
    assert!(
        log.is_null() || log == format!("{image}.work/dump.log"),
        "{log}"
    );
    let options = json!({"imagePath": "nightly/counter", "workPath": "nightly/work"});
    let (_, heard) = turn.hear("paths-named", &pod, &options);
    assert_eq!(
        heard.images,
        Some(format!("{IMAGES}/nightly/counter.partial"))
    );
    assert_eq!(heard.work, Some(format!("{IMAGES}/nightly/work")));
    let left = files(turn.node(), &format!("{IMAGES}/nightly"));
    assert!(
        !left.iter().any(|name| name.ends_with(".partial")),
        "{left:?}"
    );
}

/// Makes an image that the agent takes for a complete one of this pod's container, of the object with this UID.
fn put_image(turn: &Turn, pod: &Pod<'_>, path: &str, uid: &str) {
    let owner = json!({
        "uid": uid, "namespace": "default", "name": "parent", "podUID": pod.uid(),
        "containerID": pod.field(".status.containerStatuses[0].containerID"),
        "phase": "Finished",
    });
    turn.node()
        .shell(&format!(
            "umask 077; mkdir -p {IMAGES}/{path}; echo '{owner}' >{IMAGES}/{path}.owner; : >{IMAGES}/{path}/inventory.img"
        ))
        .ok();
}

/// Notes that an image is the last tracked one of a container's first process. `$1` is the container's id, `$2` its pid, `$3` the image.
const LAST_TRACKED: &str = r#"
note=$(printf %s "/run/containerd/runc/k8s.io/$1" | sha256sum | cut -c1-16)
start=$(sed 's/.*) //' "/proc/$2/stat" | cut -d' ' -f20)
inventory=$3/inventory.img
last=$(stat -c '"device":%d,"inode":%i,"seconds":%Y' "$inventory")
nanoseconds=$(date -r "$inventory" +%-N)
mkdir -p -m 700 /run/stillframe/chains
echo "{\"init\":{\"pid\":$2,\"start\":$start},\"last\":{$last,\"nanoseconds\":$nanoseconds}}" >"/run/stillframe/chains/$note"
"#;

/// Has the agent take this image, of [`put_image`], for the last tracked one of the pod's container. The next tracked dump breaks
/// that, since the stand-in fails.
fn track(turn: &Turn, pod: &Pod<'_>, path: &str) {
    let id = pod.container_id("app").unwrap_or_default();
    let pid = pod.pid("app").unwrap_or_default().to_string();
    let image = format!("{IMAGES}/{path}");
    let command = ["bash", "-euc", LAST_TRACKED, "track", &id, &pid, &image];
    turn.node().run(&command).ok();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_parent_is_reached_from_the_image_by_the_way_that_criu_wants() {
    let turn = turn();
    let pod = turn.cluster().run(&Manifest::new("chained"));
    put_image(&turn, &pod, "chains/old", "00000000-of-nobody");
    for (image, way) in [
        ("chains/new", "../old"),
        ("chains/deep/new", "../../old"),
        ("new", "../chains/old"),
    ] {
        turn.node()
            .shell(&format!("mkdir -p {IMAGES}/chains/deep"))
            .ok();
        track(&turn, &pod, "chains/old");
        let options = json!({"parentPath": "chains/old", "imagePath": image});
        let name = format!("chained-{}", image.replace('/', "-"));
        let (_, heard) = turn.hear(&name, &pod, &options);
        let (_, sent) = request(&heard);
        assert_eq!(
            (sent.parent_img.as_deref(), sent.track_mem),
            (Some(way), Some(true))
        );
    }
    // The dumps before, which have failed, have cleared the kernel's record.
    let stale = json!({"parentPath": "chains/old"});
    let _ = turn.ask("chained-stale", &pod, &stale, "ParentNotLatest");
    let gone = json!({"parentPath": "chains/gone"});
    let _ = turn.ask("chained-gone", &pod, &gone, "ParentImageMissing");
    assert!(turn.recorder.heard().is_none(), "CRIU was asked");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_parent_is_found_by_the_name_of_its_object() {
    let turn = turn();
    let pod = turn.cluster().run(&Manifest::new("by-name"));
    // It tracks no memory, so that it is nobody's parent and breaks no chain.
    let options = json!({"imagePath": "by-name/failed"});
    let (failed, _) = turn.hear("by-name-failed", &pod, &options);
    // The stand-in makes no images: it is made to look as if one had been taken, before the operator sees the object.
    let mut status = failed.status();
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        let holds = condition["type"] == "Ready" || condition["type"] == "Complete";
        condition["status"] = json!(if holds { "True" } else { "False" });
        condition["reason"] = json!("Checkpointed");
    }
    status["failure"] = Value::Null;
    let operator = turn.mission.installation().operator_token();
    turn.mission.signal_operator(Signal::SIGSTOP);
    let options = json!({"trackMemory": true, "imagePath": "by-name/parent"});
    let spec = json!({"source": {"podName": pod.name()}, "options": options});
    let parent = turn.mission.checkpoint("by-name-parent", &spec);
    parent.patch_status_with(&operator, &status);
    turn.mission.signal_operator(Signal::SIGCONT);
    let object = parent.object();
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    put_image(&turn, &pod, "by-name/parent", uid);
    track(&turn, &pod, "by-name/parent");
    let options = json!({"parentRef": {"name": "by-name-parent"}, "imagePath": "by-name/child"});
    let (_, heard) = turn.hear("by-name-child", &pod, &options);
    let (_, sent) = request(&heard);
    assert_eq!(
        (sent.parent_img.as_deref(), sent.track_mem),
        (Some("../parent"), Some(true))
    );
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_page_server_that_nobody_allowed_is_refused_before_anything_happens() {
    let turn = turn();
    let pod = turn.cluster().run(&Manifest::new("sends"));
    let before = pod.count_beyond("app", 3);
    for (name, address, port) in [
        ("sends-elsewhere", "10.0.0.8", 27277),
        ("sends-to-a-port", "10.0.0.7", 27278),
        ("sends-to-loopback", "127.0.0.2", 27277),
    ] {
        let options = json!({"pageServer": {"address": address, "port": port, "tls": false},
                             "imagePath": name});
        let checkpoint = turn.ask(name, &pod, &options, "PageServerNotAllowed");
        let message = checkpoint.condition("Ready").message;
        assert!(message.contains(address), "{message}");
        must_not_have_begun(&turn, &checkpoint, name);
    }
    assert!(pod.count_beyond("app", before) > before);
}

fn must_not_have_begun(turn: &Turn, checkpoint: &Checkpoint<'_>, image: &str) {
    assert!(turn.recorder.heard().is_none(), "CRIU was asked");
    let status = checkpoint.status();
    for field in ["startTime", "pauseMilliseconds", "artifact"] {
        assert!(status[field].is_null(), "{status:#}");
    }
    let left = files(turn.node(), IMAGES);
    assert!(!left.iter().any(|name| name.starts_with(image)), "{left:?}");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn memory_is_not_sent_openly_where_keys_are_missing() {
    let turn = turn();
    let pod = turn.cluster().run(&Manifest::new("keyless"));
    turn.mission.upgrade(&without_keys());
    let options =
        json!({"pageServer": {"address": "10.0.0.7", "port": 27277}, "imagePath": "keyless"});
    let checkpoint = turn.ask("keyless", &pod, &options, "PageServerKeysMissing");
    must_not_have_begun(&turn, &checkpoint, "keyless");
    turn.mission.upgrade(&with_keys());
}

/// Options that serve lazy pages at this address, to this peer.
fn lazily(image: &str, address: &str, peer: &str) -> Value {
    json!({"lazyPages": true, "lazyPeers": [peer], "imagePath": image,
           "pageServer": {"address": address, "port": 27277}})
}

fn must_find_the_port_taken(turn: &Turn, pod: &Pod<'_>) {
    let taken = turn
        .node()
        .command("busybox")
        .args(["nc", "-l", "-p", "27277"])
        .spawn();
    turn.node()
        .shell("until ss -Hltn 'sport = :27277' | grep -q .; do sleep 0.02; done")
        .ok();
    let options = lazily("lazy-taken", "0.0.0.0", "127.0.0.1");
    let checkpoint = turn.ask("lazy-taken", pod, &options, "InvalidSpec");
    let message = checkpoint.condition("Ready").message;
    assert!(message.contains("27277 is taken"), "{message}");
    must_not_have_begun(turn, &checkpoint, "lazy-taken");
    taken.kill(Signal::SIGKILL, true);
    let _ = taken.output();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn lazy_pages_reach_criu_once_nobody_else_reaches_the_port() {
    let turn = turn();
    let pod = turn.cluster().run(&Manifest::new("lazy"));
    let limit = turn.node().run(&["cat", PIPE_LIMIT]).ok().stdout;
    if limit
        .trim()
        .parse::<u64>()
        .is_ok_and(|limit| limit < 16 << 20)
    {
        let options = lazily("lazy-small", "0.0.0.0", "127.0.0.1");
        let checkpoint = turn.ask("lazy-small", &pod, &options, "NoLazyPages");
        must_not_have_begun(&turn, &checkpoint, "lazy-small");
    }
    let Some(_limit) = PipeLimit::raise(turn.node()) else {
        eprintln!("not run: needs a writable {PIPE_LIMIT}, or CAP_SYS_RESOURCE");
        return;
    };
    // Agents that start now find the node able.
    turn.mission.upgrade(&with_keys().agent_env("AGAIN", "1"));
    let (_, heard) = turn.hear("lazy-none", &pod, &json!({}));
    let (_, plain) = request(&heard);
    let (_, heard) = turn.hear("lazy", &pod, &lazily("lazy", "127.0.0.1", "127.0.0.1"));
    let mut expected = plain;
    expected.lazy_pages = Some(true);
    server(&mut expected, "127.0.0.1");
    tls(&mut expected, true);
    assert_eq!(request(&heard).1, expected);
    for (name, address, peer, reason, says) in [
        (
            "lazy-by-others",
            "0.0.0.0",
            "10.0.0.8",
            "PageServerNotAllowed",
            "10.0.0.8",
        ),
        // An allowance with a port is for a server.
        (
            "lazy-by-a-server",
            "0.0.0.0",
            "10.0.0.7",
            "PageServerNotAllowed",
            "10.0.0.7",
        ),
        (
            "lazy-elsewhere",
            "10.0.0.7",
            "127.0.0.1",
            "InvalidSpec",
            "no address of this node",
        ),
    ] {
        let checkpoint = turn.ask(name, &pod, &lazily(name, address, peer), reason);
        let message = checkpoint.condition("Ready").message;
        assert!(message.contains(says), "{message}");
        must_not_have_begun(&turn, &checkpoint, name);
    }
    must_find_the_port_taken(&turn, &pod);
    let rules = turn.node().shell("nft list tables").ok().stdout;
    assert!(!rules.contains("stillframe-lazy"), "{rules}");
    let left = files(turn.node(), "/run/stillframe/journal");
    assert!(left.is_empty(), "{left:?}");
}

/// A pod whose container names this configuration file for CRIU, with this text in it if there is one.
fn configured(turn: &Turn, name: &str, text: Option<&str>) -> Pod<'static> {
    let path = format!("/etc/criu/{name}.conf");
    if let Some(text) = text {
        turn.node()
            .shell(&format!(
                "umask 022; mkdir -p /etc/criu; printf '%s' '{text}' >{path}"
            ))
            .ok();
    }
    let manifest = Manifest::new(name).annotation("org.criu.config", &path);
    turn.cluster().run(&manifest)
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_s_own_configuration_may_set_what_is_harmless() {
    let turn = turn();
    let text = "tcp-established\nskip-in-flight\next-unix-sk\nfile-locks\nlink-remap\n\
                ghost-limit 2M\nnetwork-lock iptables\nmanage-cgroups=full\n";
    let pod = configured(&turn, "harmless", Some(text));
    let plain = turn.cluster().run(&Manifest::new("unconfigured"));
    let (_, heard) = turn.hear("unconfigured", &plain, &json!({}));
    let (_, plain) = request(&heard);
    let (_, heard) = turn.hear("harmless", &pod, &json!({}));
    let (_, sent) = request(&heard);
    let mut expected = CriuOpts {
        tcp_established: Some(true),
        tcp_skip_in_flight: Some(true),
        ext_unix_sk: Some(true),
        file_locks: Some(true),
        link_remap: Some(true),
        ghost_limit: Some(2 << 20),
        ..plain
    };
    lock(&mut expected, NetworkLockMethod::Iptables);
    mode(&mut expected, CgMode::Full);
    // The containers differ, and nothing else: the file itself is not handed on.
    let of_another = |opts: &CriuOpts| CriuOpts {
        pid: None,
        root: None,
        freeze_cgroup: None,
        external: Vec::new(),
        ext_mnt: Vec::new(),
        ..opts.clone()
    };
    assert_eq!(of_another(&sent), of_another(&expected));
    // What the request says itself goes before.
    let options = json!({"networkLock": "Skip", "ghostLimit": "1Mi", "manageCgroupsMode": "Soft"});
    let (_, heard) = turn.hear("harmless-overruled", &pod, &options);
    let (_, sent) = request(&heard);
    lock(&mut expected, NetworkLockMethod::Skip);
    mode(&mut expected, CgMode::Soft);
    expected.ghost_limit = Some(1 << 20);
    assert_eq!(of_another(&sent), of_another(&expected));
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_s_own_configuration_may_set_nothing_else() {
    let turn = turn();
    let pod = configured(&turn, "harmful", Some("file-locks\n"));
    for line in [
        "action-script /bin/evil",
        "lib /tmp",
        "log-file /etc/passwd",
        "tcp-close",
        "no-such-option",
    ] {
        let word = line.split(' ').next().unwrap_or_default();
        turn.node()
            .shell(&format!("echo '{line}' >/etc/criu/harmful.conf"))
            .ok();
        let checkpoint = turn.ask(
            &format!("harmful-{word}"),
            &pod,
            &json!({}),
            "CriuOptionNotAllowed",
        );
        let message = checkpoint.condition("Ready").message;
        assert!(message.contains(word), "{message}");
        must_not_have_begun(&turn, &checkpoint, "harmful");
    }
    turn.node()
        .shell("echo file-locks >/etc/criu/harmful.conf; chmod o+w /etc/criu/harmful.conf")
        .ok();
    let checkpoint = turn.ask("harmful-writable", &pod, &json!({}), "CriuConfigUnusable");
    let message = checkpoint.condition("Ready").message;
    assert!(message.contains("/etc/criu/harmful.conf"), "{message}");
    must_not_have_begun(&turn, &checkpoint, "harmful");

    let elsewhere = Manifest::new("elsewhere").annotation("org.criu.config", "/tmp/x.conf");
    let pod = turn.cluster().run(&elsewhere);
    let checkpoint = turn.ask("elsewhere", &pod, &json!({}), "CriuConfigUnusable");
    must_not_have_begun(&turn, &checkpoint, "elsewhere");
    let absent = configured(&turn, "absent", None);
    let (_, heard) = turn.hear("absent", &absent, &json!({}));
    assert_eq!(request(&heard).1.config_file, None);
}
