//! What each mode of `--manage-cgroups-mode` puts into the image, and what a restore in each mode makes of it.

use std::collections::BTreeMap;
use std::fs;

use rig::container::Runtime;
use rig::criu_image::cgroup_properties;
use rig::{Container, Node, Program};

use crate::journey::{STATE, Subject, dump, goes_on, restore, seen};

on_every_runtime! {
    each_cgroups_mode_saves_what_it_is_for
}

on_every_runc! {
    an_image_without_cgroups_comes_back_in_another_one_if_that_is_asked_for
}

/// The properties that an image holds, by `CONTROLLER/NAME`.
fn properties(container: &Container<'_>) -> BTreeMap<String, String> {
    let file = container.file("/").join("../image/cgroup.img");
    cgroup_properties(&fs::read(&file).expect("every image has a cgroup.img"))
}

/// The cgroup mounts that the node's first process has, with the flags of each and of what is mounted. CRIU's own of other dumps are
/// not of interest.
fn mounts() -> String {
    let script =
        "grep -E ' - cgroup2? ' /proc/1/mountinfo | grep -v /.criu.cgyard. | cut -d' ' -f4-";
    Node::shared().shell(script).ok().stdout
}

/// A property of the container's cgroup that its configuration does not name.
const SHARES: &str = "cpu/cpu.shares";

/// Its value in the container's cgroup.
fn shares(container: &Container<'_>) -> String {
    let file = shares_file(container);
    let value = Node::shared().run(&["cat", &file]).ok().stdout;
    value.trim().to_owned()
}

fn shares_file(container: &Container<'_>) -> String {
    format!("/sys/fs/cgroup/cpu/{}/cpu.shares", container.id())
}

fn each_cgroups_mode_saves_what_it_is_for(subject: Subject) {
    let node = Node::shared();
    if !node.run(&["test", "-d", "/sys/fs/cgroup/cpu"]).succeeded() {
        println!(
            "not run: needs cgroups of version 1; those of version 2 are the virtual machine's"
        );
        return;
    }
    let mounted = mounts();
    let mut container = subject.shape("cgroups").workload(&["count"]).start();
    let before = seen(&container, STATE);
    for mode in ["soft", "full", "strict", "ignore"] {
        let file = shares_file(&container);
        node.shell(&format!("echo 777 >{file}")).ok();
        dump(
            &container,
            subject.program,
            &["--manage-cgroups-mode", mode],
        );
        assert_eq!(mounts(), mounted, "{mode} changed how cgroups are mounted");
        let saved = properties(&container);
        if mode == "ignore" {
            assert_eq!(saved, BTreeMap::new());
        } else {
            assert_eq!(saved.get(SHARES).map(String::as_str), Some("777"), "{mode}");
            assert!(
                saved.contains_key("memory/memory.limit_in_bytes"),
                "{mode}: {saved:?}"
            );
        }
        if subject.runtime != Runtime::Crun {
            a_restore_in_the_same_mode_is_told_apart(mode, &mut container);
        }
        let leaves = if mode == "ignore" { "ignore" } else { "soft" };
        restore(&mut container, &["--manage-cgroups-mode", leaves]);
        assert_eq!(
            shares(&container),
            "1024",
            "{leaves} sets nothing of a cgroup that is there"
        );
        assert_eq!(mounts(), mounted, "{mode} changed how cgroups are mounted");
        goes_on(&container, STATE, &before);
        subject.shown(&format!("manage-cgroups-mode {mode}"));
    }
}

/// crun's restore leaves all of this to crun. The container has to be gone, and is gone again.
fn a_restore_in_the_same_mode_is_told_apart(mode: &str, container: &mut Container<'_>) {
    let flags = ["--manage-cgroups-mode", mode];
    match mode {
        // The runtime makes the cgroup before CRIU is asked, so that this one always fails.
        "strict" => must_be_refused(container, &flags, "Abort restore of existing cgroups"),
        "full" => {
            restore(container, &flags);
            assert_eq!(shares(container), "777", "full sets what is in the image");
            dump(
                container,
                Program::Ours,
                &["--manage-cgroups-mode", "ignore"],
            );
            restore(container, &flags);
            assert_eq!(shares(container), "1024", "there was nothing to set");
            dump(container, Program::Ours, &[]);
        }
        _ => {}
    }
}

fn an_image_without_cgroups_comes_back_in_another_one_if_that_is_asked_for(subject: Subject) {
    let mut container = subject.shape("elsewhere").workload(&["count"]).start();
    let before = seen(&container, STATE);
    let ignore = ["--manage-cgroups-mode", "ignore"];
    dump(&container, subject.program, &ignore);
    Node::shared()
        .shell(&format!(
            "cd {}; jq '.linux.cgroupsPath = \"/other-{}\"' config.json >other.json; mv other.json config.json",
            container.bundle(),
            container.id()
        ))
        .ok();
    must_be_refused(&mut container, &[], "Can't move into");
    restore(&mut container, &ignore);
    goes_on(&container, STATE, &before);
}

/// Fails unless a restore is refused for this reason of CRIU's.
fn must_be_refused(container: &mut Container<'_>, flags: &[&str], reason: &str) {
    let image = format!("{}/image", container.bundle());
    let output = container.restore(&image, flags);
    assert!(!output.succeeded(), "{output:#?}");
    let log = container.file("/").join("../image/restore.log");
    let log = fs::read_to_string(log).unwrap_or_default();
    assert!(log.contains(reason), "{log}");
}
