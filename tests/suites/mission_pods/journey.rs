//! What the cases have in common: a checkpoint from its object to its image, and back to a running container.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rig::cluster::Pod;
use rig::node::PATIENCE;
use rig::{Checkpoint, Mission, Node};
use serde_json::{Value, json};

/// Where the agents keep images.
pub(crate) const IMAGES: &str = "/var/lib/stillframe/images";

/// A pod's only container, or the one of this name.
pub(crate) fn source(pod: &Pod<'_>, container: Option<&str>) -> Value {
    let mut source = json!({"podName": pod.name()});
    if let Some(container) = container {
        source["containerName"] = json!(container);
    }
    json!({"source": source})
}

/// Fails unless a counting container goes on from beyond this number.
pub(crate) fn counts_on(pod: &Pod<'_>, container: &str, number: u64) {
    assert!(pod.count_beyond(container, number) > number);
}

/// Checkpoints a counting container, which has to be Ready, whole on disk, and counting on in the same process.
pub(crate) fn checkpoint_of<'a>(pod: &Pod<'_>, container: &str, spec: &Value) -> Checkpoint<'a> {
    let before = pod.count_beyond(container, 3);
    let process = pod.pid(container);
    let checkpoint = Mission::shared().checkpoint(pod.name(), spec);
    let status = checkpoint.wait_ready();
    let after = pod.count(container);
    assert!(after >= before, "it counts from {before} to {after}");
    counts_on(pod, container, after);
    assert_eq!(pod.pid(container), process, "the container was restarted");
    assert_eq!(status["containerName"], container);
    assert_eq!(status["podUID"], pod.uid());
    let id = pod.container_id(container).expect("the container runs");
    assert_eq!(status["containerID"], format!("containerd://{id}"));
    assert!(
        status["pauseMilliseconds"]
            .as_i64()
            .is_some_and(|ms| ms > 0),
        "{status:#}"
    );
    is_whole(&checkpoint, &status);
    no_lock_is_left(pod, container);
    checkpoint
}

/// Fails unless the image is there under its final name, as large as the status says, and nobody is busy with it.
pub(crate) fn is_whole(checkpoint: &Checkpoint<'_>, status: &Value) {
    let part = &status["artifact"]["parts"][0];
    let image = part["path"].as_str().expect("the image's path");
    let node = checkpoint.node();
    let files = checkpoint.image_files();
    for file in ["inventory.img", "pstree.img", "descriptors.json"] {
        assert!(files.iter().any(|name| name == file), "{file}: {files:?}");
    }
    for stem in ["core-", "pagemap-", "pages-"] {
        assert!(
            files.iter().any(|name| name.starts_with(stem)),
            "{stem}: {files:?}"
        );
    }
    let script = r#"find "$1" -type f -printf '%s\n' | jq -s add"#;
    let bytes = node.run(&["bash", "-euc", script, "size", image]).ok();
    assert_eq!(bytes.stdout.trim(), part["sizeBytes"].to_string());
    assert!(
        part["digest"]
            .as_str()
            .is_some_and(|digest| digest.starts_with("sha256:")),
        "{part:#}"
    );
    let partial = format!("{image}.partial");
    assert!(!node.run(&["test", "-e", &partial]).succeeded());
    let busy = node.run(&["pgrep", "--list-full", "--full", image]);
    assert_eq!(busy.stdout, "", "somebody is busy with the image");
}

/// Fails if CRIU's lock is on the network of a container that runs.
pub(crate) fn no_lock_is_left(pod: &Pod<'_>, container: &str) {
    let pid = pod.pid(container).expect("the container runs").to_string();
    let script = "for list in iptables-save ip6tables-save 'nft list ruleset'; do
                      nsenter --net=/proc/$1/ns/net $list 2>/dev/null | grep CRIU || true
                  done";
    let locks = node().run(&["bash", "-uc", script, "locks", &pid]);
    assert_eq!(locks.ok().stdout, "", "a lock is left");
}

/// The node that all pods here run on.
pub(crate) fn node() -> &'static Node {
    Mission::shared().cluster().node(0)
}

/// What there is in the agents' directory of a namespace that has this text in its path.
pub(crate) fn images_like(namespace: &str, text: &str) -> Vec<String> {
    let under = format!("{IMAGES}/{namespace}");
    let pattern = format!("*{text}*");
    let found = node().run(&["find", &under, "-mindepth", "1", "-path", &pattern]);
    found.stdout.lines().map(str::to_owned).collect()
}

/// The last number that a container has printed.
pub(crate) fn printed(pod: &Pod<'_>, container: &str) -> u64 {
    let log = pod.logs(container);
    log.lines().last().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Waits until something is so.
pub(crate) fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        sleep(Duration::from_millis(50));
    }
}

/// Checkpoints a container that prints numbers, and restores it with runc beside the pod: it has to go on from there.
pub(crate) fn there_and_back(pod: &Pod<'_>, spec: &Value) {
    until("the first numbers", || printed(pod, "app") > 2);
    let before = printed(pod, "app");
    let checkpoint = Mission::shared().checkpoint(pod.name(), spec);
    let status = checkpoint.wait_ready();
    let after = printed(pod, "app");
    is_whole(&checkpoint, &status);
    checkpoint.must_come_back(before, after);
    until("the pod goes on", || printed(pod, "app") > after);
    checkpoint.delete();
}
