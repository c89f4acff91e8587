//! Every file of `examples/`, applied as it stands, with what it needs around it.

#![expect(
    clippy::expect_used,
    reason = "what goes wrong in a test ends it, with an explanation"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rig::cluster::Pod;
use rig::mission::{condition_of, files};
use rig::node::PATIENCE;
use rig::{Checkpoint, Cluster, Mission, Node, Values};

/// The address of the page server in `page-server.yaml`.
const PAGE_SERVER: &str = "10.0.0.7";

/// The cluster, whose administrator has allowed the page server of the example.
fn mission() -> &'static Mission<'static> {
    static MISSION: OnceLock<Mission<'static>> = OnceLock::new();
    MISSION.get_or_init(|| {
        let allowed = format!("{PAGE_SERVER}:27277");
        let values = Values::default().set("pageServers.allowed", [allowed]);
        Mission::start_with(Cluster::shared(), &values)
    })
}

fn node() -> &'static Node {
    mission().cluster().node(0)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// A namespace, in which the examples can have the names that they have.
struct Place {
    name: &'static str,
}

impl Place {
    /// Makes the namespace, with the pod that the examples are about in it, which has begun to count.
    fn with_counter(name: &'static str) -> Self {
        let cluster = mission().cluster();
        cluster.kubectl(&["create", "namespace", name]);
        cluster.wait_in(name, "serviceaccount/default", "create");
        let place = Self { name };
        place.apply("counter.yaml");
        place.counter().wait("condition=Ready");
        place.counts_beyond(1);
        place
    }

    fn apply(&self, example: &str) {
        let text = fs::read_to_string(folder().join(example)).expect("an example");
        let file = node().put(&format!("{}-{example}", self.name), text);
        let args = ["apply", "--namespace", self.name, "--filename", &file];
        mission().cluster().kubectl(&args);
    }

    fn counter(&self) -> Pod<'static> {
        mission().cluster().pod(self.name, "counter")
    }

    fn checkpoint(&self, name: &str) -> Checkpoint<'static> {
        mission().existing(self.name, name)
    }

    fn count(&self) -> u64 {
        let log = self.counter().logs("app");
        log.lines().last().and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    fn counts_beyond(&self, number: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.count() <= number {
            assert!(
                Instant::now() < deadline,
                "it does not count beyond {number}"
            );
            sleep(Duration::from_millis(100));
        }
    }

    /// Removes the pod at once, and the namespace with what is in it some time.
    fn leave(self) {
        self.counter().delete();
        let args = ["delete", "namespace", self.name, "--wait=false"];
        mission().cluster().kubectl(&args);
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn no_example_is_forgotten_here() {
    let listed = fs::read_dir(folder()).expect("the examples");
    let mut found: Vec<String> = listed
        .flatten()
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    let known = [
        "before-drain.yaml",
        "checkpoint.yaml",
        "counter.yaml",
        "forensics.yaml",
        "page-server.yaml",
        "pre-copy.yaml",
    ];
    assert_eq!(found, known);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_shortest_request_is_checkpointed() {
    let place = Place::with_counter("shortest");
    place.apply("checkpoint.yaml");
    let checkpoint = place.checkpoint("counter-1");
    let status = checkpoint.wait_ready();
    assert_eq!(condition_of(&status, "Ready").reason, "Checkpointed");
    let image = checkpoint.image();
    assert!(
        image.starts_with("/var/lib/stillframe/images/shortest/counter-1-"),
        "{image}"
    );
    assert!(checkpoint.image_files().contains(&"inventory.img".into()));
    place.counts_beyond(place.count());
    checkpoint.delete();
    assert_eq!(files(node(), &image), [""; 0]);
    place.leave();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn evidence_stays_when_its_object_is_deleted() {
    let place = Place::with_counter("forensics");
    place.apply("forensics.yaml");
    let checkpoint = place.checkpoint("evidence");
    checkpoint.wait_ready();
    let image = checkpoint.image();
    assert_eq!(
        image,
        "/var/lib/stillframe/images/forensics/case-4711/evidence"
    );
    let before = checkpoint.image_files();
    for file in ["inventory.img", "rootfs-diff.tar", "spec.dump"] {
        assert!(before.contains(&file.into()), "{before:?}");
    }
    place.counts_beyond(place.count());
    checkpoint.delete();
    assert_eq!(files(node(), &image), before);
    place.leave();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_computation_is_saved_and_ended_before_a_drain() {
    let place = Place::with_counter("drain");
    let pod = place.counter();
    let id = pod.container_id("app");
    place.apply("before-drain.yaml");
    let checkpoint = place.checkpoint("before-drain");
    checkpoint.wait_ready();
    assert_eq!(
        checkpoint.image(),
        "/var/lib/stillframe/images/drain/drain/counter"
    );
    assert!(checkpoint.image_files().contains(&"inventory.img".into()));
    // What the kubelet makes of it: restartPolicy is Always.
    pod.wait("jsonpath={.status.containerStatuses[0].restartCount}=1");
    let ended = pod.field(".status.containerStatuses[0].lastState.terminated.containerID");
    assert_eq!(ended.strip_prefix("containerd://"), id.as_deref());
    place.leave();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn memory_goes_to_the_page_server() {
    let place = Place::with_counter("page-server");
    let address = format!("{PAGE_SERVER}/32");
    node()
        .run(&["ip", "address", "add", &address, "dev", "lo"])
        .ok();
    node().run(&["mkdir", "/run/rig/pages"]).ok();
    let mut server = node()
        .command("criu")
        .args([
            "page-server",
            "--images-dir",
            "/run/rig/pages",
            "--port",
            "27277",
        ])
        .daemon("page-server");
    let deadline = Instant::now() + PATIENCE;
    let listens = ["ss", "--no-header", "--listening", "--tcp", "sport = 27277"];
    while node().run(&listens).ok().stdout.is_empty() {
        assert!(Instant::now() < deadline, "{}", server.log());
        sleep(Duration::from_millis(50));
    }
    place.apply("page-server.yaml");
    let checkpoint = place.checkpoint("counter-remote");
    checkpoint.wait_ready();
    let pages = |files: &[String]| files.iter().any(|name| name.starts_with("pages-"));
    let (here, there) = (checkpoint.image_files(), files(node(), "/run/rig/pages"));
    assert!(
        here.contains(&"inventory.img".into()) && !pages(&here),
        "{here:?}"
    );
    assert!(pages(&there), "{there:?}");
    assert_eq!(server.wait(PATIENCE), Some(0), "{}", server.log());
    place.counts_beyond(place.count());
    place.leave();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn memory_is_saved_ahead_where_the_kernel_tells_what_changed() {
    let place = Place::with_counter("pre-copy");
    let tracks = node().run(&["criu", "check", "--feature", "mem_dirty_track"]);
    place.apply("pre-copy.yaml");
    let (first, last) = (
        place.checkpoint("counter-pre"),
        place.checkpoint("counter-final"),
    );
    if tracks.succeeded() {
        first.wait_ready();
        assert_eq!(first.reason(), "PreDumped");
        let status = last.wait_ready();
        assert_eq!(status["artifact"]["parent"], "counter-pre");
        assert!(last.image_files().contains(&"parent".into()));
    } else {
        eprintln!(
            "only the refusal is tested: the kernel does not track changed pages (CONFIG_MEM_SOFT_DIRTY): {}",
            tracks.stderr.trim()
        );
        first.wait_failed("NoSoftDirty");
        last.wait_failed("NoSoftDirty");
    }
    place.counts_beyond(place.count());
    place.leave();
}
