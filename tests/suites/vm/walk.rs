//! The commands of `docs/pre-copy.md`, as they stand.

use std::fs;
use std::path::Path;

use rig::cluster::ADMIN;
use rig::mission::{Checkpoint, files};

use super::objects::{IMAGES, Scenery, scenery};

/// The blocks of commands on the page.
fn blocks() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pre-copy.md");
    let page = fs::read_to_string(page).expect("docs/pre-copy.md");
    let blocks = page.split("```sh\n").skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap_or_default().to_owned())
        .collect()
}

/// Runs a block where `kubectl` is, and returns what it prints.
fn run(here: &Scenery, block: &str, pod: &str) -> String {
    let command = here.cluster.node(0).command("bash");
    let command = command.args(["-euc", block]).env("KUBECONFIG", ADMIN);
    let command = command.env("pod", pod).timeout(here.guest().patience() * 4);
    command.output().ok().stdout
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_commands_of_the_page_make_a_chain_and_take_it_away() {
    let here = scenery();
    let [steps, removal] = &blocks()[..] else {
        panic!("docs/pre-copy.md has two blocks of commands");
    };
    let pod = here.pod_without_locks("documented");
    let before = here.published(&pod);
    let printed = run(&here, steps, pod.name());
    eprintln!("{printed}");
    let left = |step: &str| -> u64 {
        let line = printed.lines().find(|line| line.starts_with(step));
        let (_, after) = line
            .and_then(|line| line.split_once(" pages written, "))
            .unwrap_or_else(|| panic!("no line of {step}: {printed}"));
        let number = after.split(' ').next().unwrap_or_default();
        number.parse().expect("a number of pages")
    };
    assert_eq!(left("documented-1"), 0);
    assert!(left("documented-2") > 1000 && left("documented-3") > 1000);
    let last = Checkpoint::of(&here.cluster, "default", "documented-3");
    here.must_come_back(&last, &before);
    run(&here, removal, pod.name());
    let kept = files(here.guest(), IMAGES);
    assert!(
        !kept.iter().any(|name| name.starts_with("documented")),
        "{kept:?}"
    );
    pod.delete();
}
