//! A workload that gives its files, mounts and processes names that are meant to be taken for something else.

use rig::cluster::Manifest;
use rig::{Checkpoint, Mission};
use serde_json::json;

use crate::identity::cluster;

const IMAGES: &str = "/var/lib/stillframe/images";

/// What a line of CRIU's log says when a dump needs an option, as the name of a file.
const LINE: &str = "(00.000001) Error (criu:sk-inet.c:188): Connected TCP socket, consider using --tcp-established option.";

/// Fails unless what it says can be shown on a terminal, and is of a size that anybody can read.
fn is_harmless(checkpoint: &Checkpoint<'_>) {
    let status = checkpoint.status();
    let failure = &status["failure"];
    let mut texts = vec![failure["message"].as_str(), failure["hint"].as_str()];
    texts.extend(
        failure["log"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|line| line.as_str()),
    );
    for text in texts.into_iter().flatten() {
        assert!(!text.contains(char::is_control), "{text:?}");
        assert!(text.len() < 2048, "{text:?}");
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn names_in_a_container_are_not_taken_for_what_criu_says() {
    // Deleted, open, and larger than what CRIU saves: that is what the dump fails for, whatever its name says.
    let ghost = |name: &str| {
        format!(
            "n=\"$(printf '{name}')\"; exec 4>\"/tmp/$n\"; dd if=/dev/zero bs=1M count=3 >&4 2>/dev/null; rm \"/tmp/$n\""
        )
    };
    let cases = [
        ("named-like-a-line", ghost(LINE)),
        (
            "named-like-lines",
            ghost(&format!("x\\n{LINE}\\n{LINE}\\ny")),
        ),
        (
            "named-for-a-terminal",
            ghost("x\\033[2J\\033]0;owned\\007y"),
        ),
        ("named-upwards", ghost("..\\\\..\\\\etc passwd;reboot")),
        (
            "process-like-a-line",
            format!(
                "printf 'Error (criu/\\n' >/proc/self/comm; {}",
                ghost("plain")
            ),
        ),
    ];
    for (name, script) in cases {
        let pod = cluster().run(&Manifest::empty(name).counting_after("app", &script));
        let before = pod.count_beyond("app", 3);
        let checkpoint = Mission::shared().checkpoint_of(name, name);
        checkpoint.wait_failed("GhostFileTooLarge");
        is_harmless(&checkpoint);
        assert!(pod.count_beyond("app", before) > before);
        pod.delete();
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_mount_s_name_leads_nowhere() {
    let script =
        "d=\"$(printf '/tmp/a b\\n/etc\\t..\\\\x')\"; mkdir -p \"$d\"; mount -t ramfs none \"$d\"";
    let pod = cluster().run(
        &Manifest::empty("odd-mount")
            .counting_after("app", script)
            .of_container("app", "securityContext", json!({"privileged": true})),
    );
    let before = pod.count_beyond("app", 3);
    let node = cluster().node(0);
    let outside = "find / -xdev -newer /run/rig/begun -type f -path '*odd-mount*' ! -path '/var/lib/stillframe/*' ! -path '/proc/*' ! -path '/run/*' ! -path '/var/log/*' ! -path '/var/lib/kubelet/*'";
    node.shell("touch /run/rig/begun").ok();
    let checkpoint = Mission::shared().checkpoint_of("odd-mount", "odd-mount");
    checkpoint.wait_failed("ExternalMount");
    is_harmless(&checkpoint);
    assert!(pod.count_beyond("app", before) > before);
    assert_eq!(node.shell(outside).ok().stdout, "");
    for left in rig::mission::files(node, &format!("{IMAGES}/default")) {
        let beside = [".work", ".owner"].iter().any(|end| left.ends_with(end));
        assert!(beside || !left.starts_with("odd-mount"), "{left}");
    }
    pod.delete();
}
