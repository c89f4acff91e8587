//! Pre-copy by applying YAML: chains of checkpoints on a node whose kernel tracks memory, a virtual machine that is a worker of a real cluster.

use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use rig::cluster::{Manifest, Options, Pod, Running};
use rig::container::{Runtime, State};
use rig::mission::{Checkpoint, files};
use rig::shown::{How, Outcome, Place, record};
use rig::{Cluster, Node};
use serde_json::{Value, json};

/// Where the workload publishes, in its container.
const STATE: &str = "/state";

/// Where the agent's images are, in the node.
pub(crate) const IMAGES: &str = "/var/lib/stillframe/images/default";

/// Runs in the node: restores an image beside the pod that it was taken of, waits for two whole passes over its memory, and shows what
/// the workload publishes then. Arguments: the container's id, the image directory.
const RESTORE: &str = r#"
task=/run/containerd/io.containerd.runtime.v2.task/k8s.io/$1
name=restored bundle=/run/rig/restored
mkdir -p $bundle/rootfs
jq --arg name /$name '.linux.cgroupsPath = $name' $task/config.json >$bundle/config.json
cp -ax $task/rootfs/. $bundle/rootfs/
rm -f $bundle/rootfs/state
truncate -s 4096 $bundle/rootfs/state
runc restore --detach --file-locks --bundle $bundle --image-path "$2" --work-path $bundle $name </dev/null >$bundle/said 2>&1 ||
    { cat $bundle/said; grep -B 3 Error $bundle/restore.log; exit 1; }
rounds() { sed -n 's/^rounds=//p' $bundle/rootfs/state; }
until [ "$(rounds)" ]; do sleep 0.1; done
first=$(rounds)
until [ "$(rounds)" -ge $((first + 2)) ]; do sleep 0.1; done
cat $bundle/rootfs/state
runc delete --force $name
rm -r $bundle
"#;

/// A real cluster on this machine with our operator, and in it the virtual machine with our agent.
pub(crate) struct Scenery {
    pub(crate) cluster: Cluster,
    node: String,
}

/// Its machine has one processor, and takes one test at a time.
pub(crate) fn scenery() -> MutexGuard<'static, &'static Scenery> {
    static TURN: LazyLock<Mutex<&Scenery>> = LazyLock::new(|| Mutex::new(start()));
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start() -> &'static Scenery {
    static SCENERY: OnceLock<Scenery> = OnceLock::new();
    static PROGRAMS: OnceLock<[Running<'static>; 2]> = OnceLock::new();
    let scenery = SCENERY.get_or_init(|| {
        let cluster = Cluster::start();
        let node = cluster.add_guest().to_owned();
        Scenery { cluster, node }
    });
    PROGRAMS.get_or_init(|| {
        let Scenery { cluster, node } = scenery;
        cluster.install_crds();
        let operator = cluster.start_operator(&Options::default());
        let agent = cluster.start_agent(node, &Options::default());
        let object = format!("checkpointnode/{node}");
        cluster.wait(&object, "create");
        cluster.wait(&object, "condition=Ready");
        [operator, agent]
    });
    scenery
}

impl Scenery {
    pub(crate) fn guest(&self) -> &Node {
        self.cluster.node_called(&self.node)
    }

    /// A pod whose container writes a share of its memory each second.
    ///
    /// It holds a lock on a file, so that a dump can be made to fail in the middle: one without `fileLocks`.
    fn pod(&self, name: &str) -> Pod<'_> {
        self.pod_that(
            name,
            "/bin/workload flock --file /locked --state /lock & exec",
        )
    }

    /// The same without the lock.
    pub(crate) fn pod_without_locks(&self, name: &str) -> Pod<'_> {
        self.pod_that(name, "exec")
    }

    fn pod_that(&self, name: &str, first: &str) -> Pod<'_> {
        let script = format!(
            "{first} /bin/workload dirty --mib 12 --percent 5 --tick-ms 100 --state {STATE}"
        );
        let container = json!({
            "name": "app",
            "image": rig::cluster::WORKLOAD,
            "command": ["/bin/sh", "-c", script],
        });
        let manifest = Manifest::empty(name).container(container).on(&self.node);
        let pod = self.cluster.run(&manifest);
        let _ = self.published(&pod);
        pod
    }

    /// What the pod's workload says now.
    pub(crate) fn published(&self, pod: &Pod<'_>) -> State {
        State::of_when(
            pod.name(),
            self.guest().patience(),
            || pod.read("app", STATE).map(String::into_bytes),
            |state| state.number("ticks") > 3,
        )
    }

    /// Asks for checkpoints of the pod, as one file of YAML: names, and options.
    fn ask(&self, pod: &Pod<'_>, wanted: &[(&str, Value)]) -> Vec<Checkpoint<'_>> {
        let objects = wanted.iter().map(|(name, options)| {
            let mut options = options.clone();
            options["fileLocks"] = options.get("fileLocks").cloned().unwrap_or(json!(true));
            let object = json!({
                "apiVersion": "stillframe.dev/v1alpha1",
                "kind": "ContainerCheckpoint",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"source": {"podName": pod.name()}, "options": options},
            });
            format!("---\n{object}\n")
        });
        self.cluster.apply(&objects.collect::<String>());
        let asked = wanted
            .iter()
            .map(|(name, _)| Checkpoint::of(&self.cluster, "default", name));
        asked.collect()
    }

    /// Asks for one.
    fn one(&self, pod: &Pod<'_>, name: &str, options: Value) -> Checkpoint<'_> {
        self.ask(pod, &[(name, options)]).remove(0)
    }

    /// Bytes that the pages of an image take on disk: what was punched out is not among them.
    fn page_bytes(&self, checkpoint: &Checkpoint<'_>) -> u64 {
        let image = checkpoint.image();
        let script =
            format!("du --block-size=1 --total {image}/pages-*.img | tail -n 1 | cut -f 1");
        let output = self.guest().shell(&script).ok();
        output.stdout.trim().parse().expect("a number of bytes")
    }

    /// The host-wide flags of cgroup2, among all that the kernel says of its mount.
    fn flags(&self) -> String {
        let mounts = self
            .guest()
            .shell("grep ' - cgroup2 ' /proc/self/mountinfo");
        mounts.ok().stdout
    }

    /// A restore takes them away, since it is the runtime's.
    fn put_flags_back(&self) {
        let remount = "mount -o remount,nsdelegate,memory_recursiveprot /sys/fs/cgroup";
        self.guest().shell(remount).ok();
    }

    /// Notes that containers came back from images that were made with these options.
    fn shown(&self, options: &[&str]) {
        let guest = self.guest();
        let place = Place::of(guest, Runtime::Runc).under_containerd(guest);
        for option in options {
            record(option, &place, How::Object, Outcome::Restored);
        }
    }

    /// Restores an image beside its pod, and asserts that the memory is the one that was seen before the dump, and whole.
    pub(crate) fn must_come_back(&self, checkpoint: &Checkpoint<'_>, before: &State) {
        let status = checkpoint.status();
        let id = status["containerID"].as_str().unwrap_or_default();
        let id = id.trim_start_matches("containerd://");
        let command = self
            .guest()
            .command("bash")
            .args(["-euc", RESTORE, "restore", id]);
        let output = command.arg(checkpoint.image()).output().ok();
        let restored = State::of(output.stdout.as_bytes()).unwrap_or_else(|| panic!("{output:#?}"));
        assert_eq!(restored.text("session"), before.text("session"));
        assert!(restored.number("ticks") > before.number("ticks"));
        assert_eq!(restored.number("corrupt"), 0, "{restored:?}");
    }
}

fn stat(status: &Value, name: &str) -> i64 {
    status["stats"][name]
        .as_i64()
        .unwrap_or_else(|| panic!("no {name} in {status:#}"))
}

fn pre_dump() -> Value {
    json!({"preDump": true})
}

fn pre_dump_upon(parent: &str) -> Value {
    json!({"preDump": true, "parentRef": {"name": parent}})
}

fn upon(parent: &str) -> Value {
    json!({"parentRef": {"name": parent}})
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_chain_is_made_by_one_file_and_its_end_comes_back() {
    let here = scenery();
    let pod = here.pod("chain");
    let before = here.published(&pod);
    let [first, second, last]: [Checkpoint<'_>; 3] = here
        .ask(
            &pod,
            &[
                ("chain-1", pre_dump()),
                ("chain-2", pre_dump_upon("chain-1")),
                (
                    "chain-3",
                    json!({"parentRef": {"name": "chain-2"}, "autoDedup": true}),
                ),
            ],
        )
        .try_into()
        .expect("three were asked for");
    let statuses = [&first, &second, &last].map(Checkpoint::wait_ready);
    for (status, name) in statuses.iter().zip(["chain-1", "chain-2", "chain-3"]) {
        eprintln!(
            "{name}: {} pages skipped thanks to the parent, {} written, {} bytes",
            stat(status, "pagesSkippedParent"),
            stat(status, "pagesWritten"),
            status["artifact"]["parts"][0]["sizeBytes"],
        );
    }
    let [plain, ..] = &statuses;
    assert_eq!(stat(plain, "pagesSkippedParent"), 0);
    for status in &statuses[1..] {
        assert!(stat(status, "pagesSkippedParent") > 1000, "{status:#}");
        assert!(
            stat(status, "pagesWritten") < stat(plain, "pagesWritten"),
            "{status:#}"
        );
    }
    // The links inside survived the directories' last names.
    for (child, parent) in [(&second, &first), (&last, &second)] {
        let link = here
            .guest()
            .run(&["readlink", "-e", &format!("{}/parent", child.image())]);
        assert_eq!(link.ok().stdout.trim(), parent.image());
    }
    here.must_come_back(&last, &before);

    // A parent that others build on stays until they have gone.
    second.begin_delete();
    first.begin_delete();
    last.wait("condition=Ready");
    assert!(second.exists() && first.exists());
    here.must_come_back(&last, &before);
    let images = [&first, &second, &last].map(Checkpoint::image);
    last.delete();
    for gone in [&second, &first] {
        gone.wait("delete");
    }
    for image in images {
        assert_eq!(files(here.guest(), &image), Vec::<String>::new(), "{image}");
    }
    here.shown(&["pre-dump", "parent-path", "auto-dedup"]);
    pod.delete();
}

/// Each of these images would hold pages that are older than the process that was dumped.
#[test]
#[ignore = "needs the node root: run make test"]
fn what_would_restore_old_memory_is_refused() {
    let here = scenery();
    let pod = here.pod("rules");
    let one = |name: &str, options| here.one(&pod, name, options);

    // A full dump that tracked no memory is no parent; with trackMemory it is.
    one("untracked", json!({})).wait_ready();
    one("upon-untracked", upon("untracked")).wait_failed("ParentNotLatest");
    one("tracked", json!({"trackMemory": true})).wait_ready();
    // What tracked nothing in between has cleared nothing.
    one("between", json!({})).wait_ready();
    let before = here.published(&pod);
    let good = one(
        "upon-tracked",
        json!({"parentRef": {"name": "tracked"}, "trackMemory": true}),
    );
    assert!(stat(&good.wait_ready(), "pagesSkippedParent") > 1000);
    here.must_come_back(&good, &before);
    here.shown(&["trackMemory"]);

    // There is a later one.
    one("upon-older", upon("tracked")).wait_failed("ParentNotLatest");
    // The same, said by a path: nobody but the node knows.
    let path = json!({"parentPath": "earlier", "trackMemory": true});
    one("earlier", json!({"preDump": true, "imagePath": "earlier"})).wait_ready();
    one("later", json!({"preDump": true, "imagePath": "later"})).wait_ready();
    one("upon-a-path", path).wait_failed("ParentNotLatest");

    // A tracked dump that failed in the middle has cleared the record too.
    one("safe-1", pre_dump()).wait_ready();
    one("broken", json!({"trackMemory": true, "fileLocks": false})).wait_failed("FileLocks");
    one("upon-safe-1", upon("safe-1")).wait_failed("ParentNotLatest");

    // And one whose object has gone, so that no object tells of it.
    one("safe-2", pre_dump()).wait_ready();
    let forgotten = one("forgotten", pre_dump());
    forgotten.wait_ready();
    forgotten.delete();
    one("upon-safe-2", upon("safe-2")).wait_failed("ParentNotLatest");

    // A new chain begins anywhere.
    one("anew-1", pre_dump()).wait_ready();
    let before = here.published(&pod);
    let anew = one(
        "anew-2",
        json!({"parentRef": {"name": "anew-1"}, "leaveRunning": false}),
    );
    assert!(stat(&anew.wait_ready(), "pagesSkippedParent") > 1000);
    let left = files(here.guest(), IMAGES);
    assert!(
        left.iter().all(|name| !name.ends_with(".partial")),
        "{left:?}"
    );
    // The container has ended; what it was started from is there as long as the kubelet keeps it.
    let ended = here.published(&pod);
    assert_ne!(
        ended.text("session"),
        before.text("session"),
        "the kubelet has started it anew"
    );
    pod.delete();
}

/// What an image gives up for a later one it gives up once that is complete and has its name, and not before.
#[test]
#[ignore = "needs the node root: run make test"]
fn parents_are_punched_only_for_a_child_that_was_published() {
    let here = scenery();
    let pod = here.pod("punched");
    let before = here.published(&pod);
    let whole = here.one(&pod, "whole", json!({"trackMemory": true}));
    whole.wait_ready();
    let bytes = here.page_bytes(&whole);
    let spoiled = json!({"parentRef": {"name": "whole"}, "autoDedup": true, "fileLocks": false});
    here.one(&pod, "spoiled", spoiled).wait_failed("FileLocks");
    assert_eq!(here.page_bytes(&whole), bytes);
    here.must_come_back(&whole, &before);

    let parent = here.one(&pod, "punched", json!({"trackMemory": true}));
    parent.wait_ready();
    let bytes = here.page_bytes(&parent);
    let before = here.published(&pod);
    let child = json!({
        "parentRef": {"name": "punched"},
        "autoDedup": true,
        "manageCgroupsMode": "Full",
    });
    here.put_flags_back();
    let flags = here.flags();
    let child = here.one(&pod, "child", child);
    child.wait_ready();
    // CRIU has taken them away for the mode, and the agent has put them back.
    assert_eq!(here.flags(), flags);
    assert!(flags.contains("nsdelegate"), "the premise: {flags}");
    let given_back = bytes - here.page_bytes(&parent);
    eprintln!("autoDedup gave back {given_back} of {bytes} bytes");
    assert!(given_back > 0);
    let told = child.status()["dedup"]["bytesFreed"].as_u64();
    assert_eq!(told, Some(given_back));
    let restorable = parent.condition("Restorable");
    let restorable = (restorable.status.as_str(), restorable.reason.as_str());
    assert_eq!(restorable, ("False", "PagesRemoved"));
    here.must_come_back(&child, &before);
    here.shown(&["manage-cgroups-mode full"]);
    pod.delete();
}
