//! Checkpoints whose pod is gone: what their directories keep, and a container that comes back from one and its image alone, by the
//! commands of the documentation.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "what goes wrong in a test ends it, with an explanation"
)]

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rig::cluster::{BUSYBOX, Manifest, Pod};
use rig::node::PATIENCE;
use rig::{Mission, Node};
use serde_json::{Value, json};

/// Where the container comes back.
const HERE: &str = "/run/rig/back";

/// Changes the files of its image in every way, keeps one open whose name is gone, and prints numbers that it has in memory alone.
const CHANGES: &str = r"
trap 'exit 0' TERM
rm /bin/wget
rm -r /opt/set; mkdir /opt/set; echo new >/opt/set/three
echo changed >>/etc/passwd
mkdir -p /data/deep; cd /data
echo hostile >'new
line'
echo hostile >..almost
echo hostile >'$(touch pwned) -rf'
touch .wh.passwd
ln -s /etc/shadow absolute; ln -s ../../../../../etc/shadow up
echo linked >open; ln open second; exec 6<open; rm open
mkfifo /pause; exec 3<>/pause
n=0; while :; do n=$((n+1)); echo $n; echo $n >/data/count; read -t 0.05 -u 3 x; done
";

/// Shows in one JSON object what the restored container has.
const LOOK: &str = r#"
pid=$(runc state restored | jq .pid)
in_it() { [ -e bundle/rootfs/"$1" ] || [ -L bundle/rootfs/"$1" ]; }
has() { if in_it "$1"; then echo true; else echo false; fi; }
jq -n --arg open "$(cat /proc/$pid/fd/6)" --arg link "$(readlink /proc/$pid/fd/6)" \
    --arg inodes "$(stat -Lc %i /proc/$pid/fd/6 bundle/rootfs/data/second | sort -u | wc -l)" \
    --arg passwd "$(cat bundle/rootfs/etc/passwd)" --arg set "$(ls bundle/rootfs/opt/set)" \
    --arg data "$(ls -A --zero bundle/rootfs/data | tr '\0' '/')" \
    --arg absolute "$(readlink bundle/rootfs/data/absolute)" --arg up "$(readlink bundle/rootfs/data/up)" \
    --argjson wget "$(has bin/wget)" --argjson nc "$(has bin/nc)" --argjson count "$(cat bundle/rootfs/data/count)" \
    '$ARGS.named'
"#;

fn node() -> &'static Node {
    Mission::shared().cluster().node(0)
}

/// Every block of commands below a heading of the documentation.
fn documented(heading: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kubernetes.md");
    let page = fs::read_to_string(page).expect("the documentation");
    let (_, below) = page.split_once(&format!("### {heading}\n")).expect(heading);
    // What begins with one # alone is a comment in the commands.
    let section = below.split("\n##").next().unwrap_or_default();
    let blocks = section.split("```bash\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split_once("```"));
    blocks.map(|(block, _)| block.to_owned()).collect()
}

/// Runs a script where the container comes back.
fn there(script: &str) -> String {
    let output = node()
        .command("bash")
        .args(["-euo", "pipefail", "-c", &format!("cd {HERE}\n{script}")])
        .output();
    if !output.succeeded() {
        let log = format!(
            "tail -n 40 {HERE}/bundle/restore.log {HERE}/bundle/output; ls -lR {HERE}/bundle/upper"
        );
        panic!(
            "{output:#?}\n{}",
            node().shell(&format!("{log} || true")).stdout
        );
    }
    output.stdout
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        sleep(Duration::from_millis(50));
    }
}

/// The last number that a container has printed.
fn printed(text: &str) -> u64 {
    let last = text.lines().rev().find_map(|line| line.parse().ok());
    last.unwrap_or(0)
}

fn json_of(node: &Node, file: &str) -> Value {
    let text = node.run(&["cat", file]).ok().stdout;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}\n{text}"))
}

/// What the directory keeps of a container that is still there.
fn must_keep(pod: &Pod<'_>, checkpoint: &rig::Checkpoint<'_>) {
    let image = checkpoint.image();
    let id = pod.container_id("app").expect("it runs");
    let bundle = format!("/run/containerd/io.containerd.runtime.v2.task/k8s.io/{id}");
    let same = [
        "cmp",
        &format!("{bundle}/config.json"),
        &format!("{image}/spec.dump"),
    ];
    node().run(&same).ok();
    let kept = [
        "spec.dump",
        "config.dump",
        "stillframe.json",
        "rootfs-diff.tar",
    ];
    let kept = kept.map(|name| format!("{image}/{name}"));
    let modes = [
        "stat",
        "--format=%a",
        &kept[0],
        &kept[1],
        &kept[2],
        &kept[3],
    ];
    assert_eq!(node().run(&modes).ok().stdout, "600\n".repeat(4));
    assert_eq!(
        node().run(&["stat", "--format=%a", &image]).ok().stdout,
        "700\n"
    );
    must_tell_who_it_was(pod, checkpoint, &id);
    let config = json_of(node(), &format!("{image}/config.dump"));
    assert_eq!(
        (&config["id"], &config["rootfsImageName"]),
        (&json!(id), &json!(BUSYBOX))
    );
}

/// What `stillframe.json` tells.
fn must_tell_who_it_was(pod: &Pod<'_>, checkpoint: &rig::Checkpoint<'_>, id: &str) {
    let (image, status) = (checkpoint.image(), checkpoint.status());
    let about = json_of(node(), &format!("{image}/stillframe.json"));
    for (pointer, expected) in [
        ("/node", json!(Mission::shared().cluster().node_name(0))),
        ("/checkpoint/name", json!(checkpoint.name())),
        ("/pod/namespace", json!("default")),
        ("/pod/name", json!(pod.name())),
        ("/pod/uid", json!(pod.uid())),
        ("/container/name", json!("app")),
        ("/container/id", json!(format!("containerd://{id}"))),
        ("/image/name", json!(BUSYBOX)),
        ("/criu", status["criu"]["version"].clone()),
        ("/versions/runtime", json!("runc")),
        ("/options/linkRemap", json!(true)),
        ("/rootfs", json!("Diff")),
    ] {
        assert_eq!(
            about.pointer(pointer),
            Some(&expected),
            "{pointer}: {about:#}"
        );
    }
    let kernel = node().run(&["uname", "-r"]).ok().stdout;
    assert_eq!(about["versions"]["kernel"], kernel.trim());
    let hosts = about["mounts"].as_array().into_iter().flatten();
    let hosts = hosts
        .clone()
        .find(|mount| mount["destination"] == "/etc/hosts");
    let hosts = hosts.unwrap_or_else(|| panic!("{about:#}"));
    assert_eq!(
        (&hosts["kind"], &hosts["volume"]),
        (&json!("File"), &json!("StandIn"))
    );
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_container_whose_pod_is_gone_comes_back_with_its_memory_and_its_files() {
    let cluster = Mission::shared().cluster();
    let pod = cluster.run(&Manifest::empty("evidence").script("app", CHANGES));
    until("the first numbers", || printed(&pod.logs("app")) > 2);
    let before = printed(&pod.logs("app"));
    let spec = json!({
        "source": {"podName": "evidence"}, "rootfs": "Diff", "options": {"linkRemap": true},
    });
    let checkpoint = Mission::shared().checkpoint("evidence", &spec);
    let status = checkpoint.wait_ready();
    let after = printed(&pod.logs("app"));
    let restorable = checkpoint.condition("Restorable");
    let said = (restorable.status.as_str(), restorable.reason.as_str());
    assert_eq!(said, ("True", "NothingMissing"), "{restorable:?}");
    assert!(restorable.message.contains(BUSYBOX), "{restorable:?}");
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains(r#"\"data/.wh.passwd\""#), "{warnings}");
    must_keep(&pod, &checkpoint);
    until("the pod goes on", || printed(&pod.logs("app")) > after);
    // CRIU's own links are in the archive, and no longer in the container.
    let links = format!(
        "tar -tf {}/rootfs-diff.tar | grep -c link_remap",
        checkpoint.image()
    );
    assert_eq!(node().shell(&links).ok().stdout.trim(), "1");
    let _ = pod
        .exec("app", &["/bin/sh", "-c", "[ ! -e /data/link_remap.1 ]"])
        .ok();

    pod.delete();
    node().shell(&format!("mkdir {HERE}")).ok();
    let [restore, end] = &documented("Bring it back")[..] else {
        panic!("two blocks of commands are documented");
    };
    let restore = restore.replacen("image=PATH", &format!("image={}", checkpoint.image()), 1);
    there(&restore);
    let output = || there("cat bundle/output");
    until("it goes on", || output().lines().count() > 3);
    let numbers: Vec<u64> = output().lines().filter_map(|n| n.parse().ok()).collect();
    let [first, second, third, ..] = numbers[..] else {
        panic!("numbers were expected: {}", output());
    };
    assert!(
        (before..=after + 1).contains(&first),
        "{first} is not from {before} to {after}"
    );
    assert_eq!([second, third], [first + 1, first + 2]);
    must_have_its_files(&there(LOOK), first);
    there(end);
    node().shell(&format!("rmdir {HERE}")).ok();
    checkpoint.delete();
}

/// What the restored container has of what it had.
fn must_have_its_files(seen: &str, first: u64) {
    let seen: Value = serde_json::from_str(seen).unwrap_or_else(|error| panic!("{error}: {seen}"));
    let text = |name: &str| seen[name].as_str().unwrap_or_default();
    assert_eq!(text("open"), "linked", "{seen:#}");
    assert!(text("link").ends_with(" (deleted)"), "{seen:#}");
    assert_eq!(
        text("inodes"),
        "1",
        "its other name is another file: {seen:#}"
    );
    assert!(
        text("passwd").starts_with("root:") && text("passwd").ends_with("changed"),
        "{seen:#}"
    );
    assert_eq!(text("set"), "three", "{seen:#}");
    let data: Vec<&str> = text("data").split_terminator('/').collect();
    let expected = [
        "$(touch pwned) -rf",
        "..almost",
        "absolute",
        "count",
        "deep",
        "new\nline",
        "second",
        "up",
    ];
    let mut sorted = data.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected, "{seen:#}");
    assert_eq!(
        (text("absolute"), text("up")),
        ("/etc/shadow", "../../../../../etc/shadow")
    );
    assert_eq!(
        (&seen["wget"], &seen["nc"]),
        (&json!(false), &json!(true)),
        "{seen:#}"
    );
    assert!(
        seen["count"].as_u64().is_some_and(|count| count >= first),
        "{seen:#}"
    );
}

#[test]
#[ignore = "needs the node root: run make test"]
fn what_is_missing_once_the_pod_is_gone_is_said_beforehand() {
    let cluster = Mission::shared().cluster();
    let volumes = json!([
        {"name": "cache", "emptyDir": {}},
        {"name": "unused", "emptyDir": {}},
        {"name": "disk", "hostPath": {"path": "/usr/share"}},
    ]);
    let mounts = json!([
        {"name": "cache", "mountPath": "/cache"},
        {"name": "unused", "mountPath": "/unused"},
        {"name": "disk", "mountPath": "/disk"},
    ]);
    // CRIU interrupts a sleep, which ends then. The shell does not, and is ended by no signal that it does not trap.
    let idle = "trap 'exit 0' TERM; while :; do sleep 1; done";
    let untouched = Manifest::empty("untouched")
        .script("app", idle)
        .spec("volumes", volumes.clone())
        .of_container("app", "volumeMounts", mounts.clone());
    let touched = Manifest::empty("touched")
        .script(
            "app",
            &format!("echo x >/tmp/new; echo x >/cache/x; {idle}"),
        )
        .spec("volumes", volumes)
        .of_container("app", "volumeMounts", mounts);
    let pods = [cluster.create(&untouched), cluster.create(&touched)];
    for pod in pods {
        pod.wait("condition=Ready");
    }
    let said = |name: &str| {
        let checkpoint = Mission::shared().checkpoint_of(name, name);
        checkpoint.wait_ready();
        assert!(!checkpoint.image_files().contains(&"rootfs-diff.tar".into()));
        let restorable = checkpoint.condition("Restorable");
        checkpoint.delete();
        restorable
    };
    let untouched = said("untouched");
    assert_eq!(untouched.status, "True", "{untouched:?}");
    let needed = format!("the container's image {BUSYBOX}, the volumes at /disk");
    assert!(untouched.message.ends_with(&needed), "{untouched:?}");
    let touched = said("touched");
    let found = (touched.status.as_str(), touched.reason.as_str());
    assert_eq!(found, ("False", "PartsMissing"), "{touched:?}");
    for part in [
        "such as \"/tmp/new\"",
        "spec.rootfs: Diff",
        "what was in /cache",
    ] {
        assert!(touched.message.contains(part), "{part}: {touched:?}");
    }
    assert!(!touched.message.contains("/unused"), "{touched:?}");
    // Volumes take their time to go, for which nobody has to wait.
    cluster.kubectl(&["delete", "pod", "untouched", "touched", "--wait=false"]);
}
