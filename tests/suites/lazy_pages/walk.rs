//! The commands of `docs/lazy-pages.md`, as they stand.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rig::cluster::ADMIN;
use rig::container::Runtime;
use rig::node::PATIENCE;
use rig::shown::{How, Outcome, Place, record};

use super::{FROM, Scene, TO};

/// From here on the page puts things away.
const CLEAN_UP: &str = "## Clean up";

/// The commands of a part of the page.
fn commands(page: &str) -> String {
    let blocks = page.split("\n```sh\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("\n```").next().unwrap_or_default());
    blocks.collect::<Vec<_>>().join("\n")
}

/// The number that a counter shows in a folder of its container, by the pid of one that runs.
fn count(scene: &Scene<'_>, pid: i32) -> u64 {
    let path = format!("/proc/{pid}/root/dev/shm/count");
    let shown = scene.to.run(&["cat", &path]).stdout;
    shown.trim().parse().unwrap_or(0)
}

pub(crate) fn the_commands_of_the_page_move_a_container_with_its_memory(scene: &Scene<'_>) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/lazy-pages.md");
    let page = fs::read_to_string(page).expect("docs/lazy-pages.md");
    let (way, end) = page.split_once(CLEAN_UP).expect("the page has an end");
    for node in [FROM, TO] {
        assert!(page.contains(node), "the page speaks of {node}");
    }
    // A distribution has it in its PATH.
    scene
        .to
        .shell(
            "mount -t tmpfs -o mode=755 none /usr/local/bin; ln -s /opt/rig/runc /usr/local/bin/",
        )
        .ok();
    // Its shell stays the same, and waits before it puts things away until somebody has looked.
    let look = "touch /run/rig/moved; until [ -e /run/rig/looked ]; do sleep 0.1; done";
    let script = format!(
        "trap 'touch /run/rig/ended' EXIT; set -x; {}\n{look}\n{}",
        commands(way),
        commands(end)
    );
    let job = scene
        .from
        .command("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .env("KUBECONFIG", ADMIN)
        .timeout(PATIENCE * 3)
        .spawn();
    let [moved, ended] = ["moved", "ended"].map(|name| scene.from.path(name));
    let until = Instant::now() + PATIENCE * 2;
    while !moved.exists() && !ended.exists() && Instant::now() < until {
        sleep(Duration::from_millis(50));
    }
    if !moved.exists() {
        let why = "cd /var/lib/stillframe/move; cat output; grep -h Error image/*.log; tail -n 30 image/restore.log";
        let why = scene.to.run(&["bash", "-c", why]).stdout;
        panic!("the container is not moved: {:#?}\n{why}", job.output());
    }
    let state = scene.to.run(&["runc", "state", "moved"]).ok().stdout;
    let state: serde_json::Value = serde_json::from_str(&state).expect("runc prints JSON");
    let pid = state["pid"]
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok());
    let pid = pid.expect("the moved container runs");
    let source = scene.cluster().pod("default", "counter");
    let left = source.read("app", "/dev/shm/count").unwrap_or_default();
    let first = count(scene, pid);
    assert!(first > 20, "it counts on from where it was: {first}");
    let until = Instant::now() + PATIENCE;
    while count(scene, pid) <= first + 5 {
        assert!(Instant::now() < until, "it stands still at {first}");
        sleep(Duration::from_millis(20));
    }
    // The one that it was taken of goes on as well.
    while source.read("app", "/dev/shm/count").unwrap_or_default() == left {
        assert!(Instant::now() < until, "the source stands still at {left}");
        sleep(Duration::from_millis(20));
    }
    let checkpoint = scene.mission.existing("default", "move-1");
    let status = checkpoint.wait_ready();
    assert_eq!(
        status["lazyPages"]["address"],
        scene.cluster().node_address(0)
    );
    let files = checkpoint.image_files();
    assert!(files.contains(&"inventory.img".to_owned()), "{files:?}");
    scene.must_be_over(&checkpoint);
    scene.from.put("looked", "");
    job.output().ok();
    let place = Place::of(scene.to, Runtime::Runc).under_containerd(scene.to);
    for option in ["lazy-pages", "status-fd"] {
        record(option, &place, How::Object, Outcome::Restored);
    }
}
