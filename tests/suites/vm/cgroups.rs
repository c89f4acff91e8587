//! The four ways to treat cgroups, on the unified hierarchy: what an image holds, what a restore makes of it, and that the host's own flags stay.

use rig::shown::{How, Outcome, Place, record};
use rig::{Container, Node, Program, Shape};

/// What the container's cgroup allows when it is dumped; a new cgroup allows any depth.
const DUMPED: &str = "7";

/// What the kernel says of the hierarchy's mount, its super options last.
fn mount(node: &Node) -> String {
    node.shell("grep ' - cgroup2 ' /proc/self/mountinfo")
        .ok()
        .stdout
}

/// CRIU in the hands of a runtime takes the flags away, and nobody puts them back.
fn put_flags_back(node: &Node) {
    node.shell("mount -o remount,nsdelegate,memory_recursiveprot /sys/fs/cgroup")
        .ok();
}

fn depth(node: &Node, container: &Container<'_>) -> String {
    let file = format!("/sys/fs/cgroup/{}/cgroup.max.depth", container.id());
    node.run(&["cat", &file]).ok().stdout.trim().to_owned()
}

#[test]
#[ignore = "needs the node root: run make test"]
fn each_mode_is_seen_in_the_image_and_in_a_restore_and_leaves_the_host_s_flags() {
    let turn = crate::guest();
    let node = *turn;
    put_flags_back(node);
    let mut container = Shape::new(node, "modes").start();
    let _ = container.counter_beyond(3);
    node.shell(&format!(
        "echo {DUMPED} >/sys/fs/cgroup/modes/cgroup.max.depth"
    ))
    .ok();
    let before = mount(node);
    for flag in ["nsdelegate", "memory_recursiveprot"] {
        assert!(before.contains(flag), "the premise: {before}");
    }
    images_hold_what_each_mode_says(node, &container, &before);
    // The same dump by the real runc: what is put back above is not for nothing.
    let flags = ["--leave-running", "--image-path", "theirs"];
    container.checkpoint(Program::Runc, &flags).ok();
    assert_ne!(
        mount(node),
        before,
        "CRIU does not take the flags away any more: criu#3029 is mended"
    );
    put_flags_back(node);
    restores_make_of_it_what_each_mode_says(node, &mut container);
    let place = Place::of_container(&container);
    for mode in ["soft", "full", "ignore"] {
        let option = format!("manage-cgroups-mode {mode}");
        record(&option, &place, How::Command, Outcome::Restored);
    }
    let option = "manage-cgroups-mode strict";
    record(option, &place, How::Command, Outcome::Dumped);
}

/// Without a mode it is CRIU's default, which is soft.
fn images_hold_what_each_mode_says(node: &Node, container: &Container<'_>, before: &str) {
    for (mode, holds) in [
        ("ignore", false),
        ("", true),
        ("soft", true),
        ("full", true),
        ("strict", true),
    ] {
        let image = format!("image-{mode}");
        let mut flags = vec!["--leave-running", "--image-path", &image];
        if !mode.is_empty() {
            flags.extend(["--manage-cgroups-mode", mode]);
        }
        container.checkpoint(Program::Ours, &flags).ok();
        assert_eq!(
            mount(node),
            before,
            "mode {mode:?} has changed the host's flags"
        );
        let held = node.read(format!("{}/{image}/cgroup.img", container.bundle()));
        let held = held.expect("an image of cgroups");
        let held = String::from_utf8_lossy(&held);
        assert_eq!(
            held.contains("cgroup.max.depth"),
            holds,
            "mode {mode:?}: {held:?}"
        );
        assert!(held.contains("/modes"), "mode {mode:?}: {held:?}");
    }
}

/// runc makes the cgroup before CRIU looks.
fn restores_make_of_it_what_each_mode_says(node: &Node, container: &mut Container<'_>) {
    for (image, mode, found) in [
        ("image-soft", "ignore", "max"),
        ("image-soft", "soft", "max"),
        ("image-soft", "full", DUMPED),
        ("image-ignore", "full", "max"),
    ] {
        let path = format!("{}/{image}", container.bundle());
        let restored = container.restore(&path, &["--manage-cgroups-mode", mode]);
        assert!(restored.succeeded(), "{image} with {mode}: {restored:#?}");
        assert_eq!(depth(node, container), found, "{image} with {mode}");
        let counted = container.counter_beyond(0);
        let _ = container.counter_beyond(counted);
        put_flags_back(node);
    }
    let image = format!("{}/image-strict", container.bundle());
    let refused = container.restore(&image, &["--manage-cgroups-mode", "strict"]);
    assert!(!refused.succeeded(), "{refused:#?}");
    let log = node.shell(&format!("grep Error {image}/restore.log")).ok();
    assert!(log.stdout.contains("cg: "), "{log:#?}");
    put_flags_back(node);
}
