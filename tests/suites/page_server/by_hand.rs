//! A receiver that somebody starts: what it has in the end, and that a container comes back from both halves.

use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rig::cluster::{Manifest, Pod};
use rig::mission::files;
use rig::node::{Output, PATIENCE};
use serde_json::json;

use crate::stage::{PAGES, Receiver, Stage, documented};

/// Prints numbers, without a process for each wait: one that is just being made cannot be stopped.
pub(crate) const PRINT: &str = "mkfifo /pause; exec 3<>/pause; n=0; \
    while :; do n=$((n+1)); echo $n; read -t 0.1 -u 3 x; done";

/// Runs before the documented lines: makes a bundle of what a pod's container was started from. Arguments: the container's id,
/// the image directory, the directory of the pages.
const BUNDLE: &str = r"
task=/run/containerd/io.containerd.runtime.v2.task/k8s.io/$1
NAME=both-${1:0:12} BUNDLE=/run/rig/both-${1:0:12} IMAGE=$2 PAGES=$3
mkdir -p $BUNDLE/rootfs
jq --arg name /$NAME '.linux.cgroupsPath = $name' $task/config.json >$BUNDLE/config.json
cp -ax $task/rootfs/. $BUNDLE/rootfs/
cd $BUNDLE
";

/// Runs after them: shows the first numbers that the restored container prints, and removes it.
const SHOW: &str = r#"
for n in $(seq 300); do
    [ "$(wc -l <$BUNDLE/said)" -lt 3 ] || break
    sleep 0.1
done
head -n 3 $BUNDLE/said
runc delete --force $NAME
cd /; rm -r $BUNDLE
"#;

/// The last number that a pod has printed.
pub(crate) fn printed(pod: &Pod<'_>) -> u64 {
    let log = pod.logs("app");
    log.lines().last().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The digest of a directory of the receiver's node, as anybody computes it.
pub(crate) fn digest_of(stage: &Stage, folder: &str) -> String {
    let script = "cd \"$1\"; export LC_ALL=C; find . -maxdepth 1 -type f ! -name '.*' -printf '%P\\0' | \
                  sort -z | xargs -0 sha256sum -- | sha256sum";
    let args = ["bash", "-euc", script, "digest", folder];
    let output = stage.receiver().run(&args).ok().stdout;
    output
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Fetches these files of the pages to where the image is, and restores both halves as the documentation says.
pub(crate) fn restore(
    stage: &Stage,
    pod: &Pod<'_>,
    image: &str,
    folder: &str,
    pages: &[String],
) -> Output {
    let (node, receiver) = (stage.cluster.node(0), stage.receiver());
    receiver
        .shell(&format!(
            "rm -rf /run/rig/sent; cp -a '{folder}' /run/rig/sent"
        ))
        .ok();
    node.shell("rm -rf /run/rig/fetched").ok();
    for name in pages {
        let bytes = std::fs::read(receiver.path(format!("sent/{name}")));
        node.put(
            &format!("fetched/{name}"),
            bytes.expect("a file of the pages"),
        );
    }
    receiver.shell("rm -rf /run/rig/sent").ok();
    let id = pod.container_id("app").expect("the container runs");
    let script = format!("{BUNDLE}{}{SHOW}", documented("merge"));
    let args = [
        "bash",
        "-euc",
        &script,
        "both",
        &id,
        image,
        "/run/rig/fetched",
    ];
    node.run(&args).ok()
}

/// Fails unless what was restored goes on printing from between these two.
pub(crate) fn must_have_come_back(output: &Output, before: u64, after: u64) {
    let lines = output.stdout.lines();
    let numbers: Vec<u64> = lines.filter_map(|line| line.parse().ok()).collect();
    let [first, second, third] = numbers[..] else {
        panic!("three numbers were expected: {output:#?}");
    };
    assert!(
        (before..=after + 1).contains(&first),
        "{first} is not from {before} to {after}"
    );
    assert_eq!([second, third], [first + 1, first + 2]);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_comes_back_from_both_halves() {
    let stage = Stage::enter();
    let pod = stage
        .cluster
        .run(&Manifest::empty("halves").script("app", PRINT).on("node-a"));
    let printed = || printed(&pod);
    let folder = format!("{PAGES}/halves");
    let from = stage.cluster.node_address(0);
    let receiver = Receiver::with_keys(&stage, &folder, &["--from", &from, "--tls-check-sender"]);
    let before = printed();
    let options = json!({"pageServer": receiver.asked(true)});
    let spec = json!({"source": {"podName": "halves"}, "options": options});
    let checkpoint = stage.mission.checkpoint("halves", &spec);
    checkpoint.wait_ready();
    let report = receiver.received();
    let after = printed();
    assert_eq!(report["peer"], from.as_str());
    let pages = |names: &[String]| names.iter().any(|name| name.starts_with("pages-"));
    let (here, there) = (checkpoint.image_files(), files(stage.receiver(), &folder));
    assert!(
        here.contains(&"inventory.img".into()) && !pages(&here),
        "{here:?}"
    );
    assert!(pages(&there), "{there:?}");
    let digest = digest_of(&stage, &folder);
    assert_eq!(report["digest"], format!("sha256:{digest}"));

    let output = restore(&stage, &pod, &checkpoint.image(), &folder, &there);
    must_have_come_back(&output, before, after);
    checkpoint.delete();
    pod.delete();
    stage.forget_pages();
    stage.receiver_must_be_clean("halves");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_receiver_that_nobody_uses_is_told_to_end_or_ends_in_time_and_leaves_nothing() {
    let stage = Stage::enter();
    let folder = format!("{PAGES}/unused");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let receiver = Receiver::with_keys(&stage, &folder, &[]);
        receiver.daemon.kill(stage.receiver(), signal, false);
        assert_eq!(receiver.failed()["reason"], "Cancelled");
    }
    let receiver = Receiver::start(
        &stage,
        &folder,
        &["--no-tls", "--timeout", "2s", "--from", "10.9.9.9"],
    );
    // Somebody who may not send, and then nobody.
    let knock = format!(
        "exec 3<>/dev/tcp/{}/{}; cat <&3 || true",
        receiver.address, receiver.port
    );
    let _ = stage.cluster.node(0).run(&["bash", "-c", &knock]);
    let failure = receiver.failed();
    assert_eq!(failure["reason"], "NobodyCame");
    assert!(
        failure["message"]
            .as_str()
            .is_some_and(|text| text.contains("10.90.0.1")),
        "{failure}"
    );
    // Somebody who looks for open ports is passed over.
    let mut receiver = Receiver::start(&stage, &folder, &["--no-tls"]);
    let knock = format!("exec 3<>/dev/tcp/{}/{}", receiver.address, receiver.port);
    for times in 1..=2 {
        stage.cluster.node(0).run(&["bash", "-c", &knock]).ok();
        let until = Instant::now() + PATIENCE;
        while receiver.daemon.log().matches("passed over").count() < times {
            assert!(Instant::now() < until, "{}", receiver.daemon.log());
            sleep(Duration::from_millis(20));
        }
    }
    assert!(!receiver.daemon.has_ended());
    receiver
        .daemon
        .kill(stage.receiver(), Signal::SIGTERM, false);
    assert_eq!(receiver.failed()["reason"], "Cancelled");
    stage.receiver_must_be_clean("unused");
}
