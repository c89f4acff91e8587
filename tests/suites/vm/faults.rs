//! What goes wrong on the unified hierarchy: the container goes on, thawed, its network open.

use std::time::Duration;

use rig::scene::Does;
use rig::{Gate, Program, Scene};

/// How soon a container has to go on where every instruction is emulated.
const SOON: Duration = Duration::from_mins(1);

/// The freezer as the kernel has it: what is asked for, and what is.
fn must_be_thawed(scene: &Scene<'_>, what: &str) {
    let folder = format!("/sys/fs/cgroup/{}", scene.target.id());
    let script = format!("cat {folder}/cgroup.freeze; grep frozen {folder}/cgroup.events");
    assert_eq!(
        scene.node.shell(&script).ok().stdout,
        "0\nfrozen 0\n",
        "{what}"
    );
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_dump_that_fails_is_cancelled_or_loses_its_criu_leaves_the_container_running_and_thawed() {
    let turn = crate::guest();
    let node = *turn;
    let mut scene = Scene::new(node, "unharmed", Does::Talks);
    must_be_thawed(&scene, "before");

    // It fails once all tasks stand still: an established connection, and nobody has allowed that.
    let image = scene.fresh_image();
    let flags = ["--image-path", image.as_str()];
    let output = scene.target.checkpoint(Program::Ours, &flags);
    assert_eq!(output.status, 1, "{output:#?}");
    assert!(output.stderr.contains("tcp-established"), "{output:#?}");
    must_be_thawed(&scene, "a failed dump");
    scene.must_be_unharmed_within(SOON, "a failed dump");

    for (at, act, ending, status) in [
        ("query-ext-files", "interrupt", &[][..], 1),
        ("post-dump", "interrupt", &["--leave-running"], 1),
        ("query-ext-files", "kill-criu", &[], 1),
        // Before the answer connections stand still and nobody holds those who use them: see `Hold` in the engine.
        ("post-dump", "kill-answered", &["--leave-running"], 1),
        // We are killed: the guardian does it then.
        ("query-ext-files", "kill-caller", &[], 128 + 9),
    ] {
        let image = scene.fresh_image();
        let lock = ["--tcp-established", "--network-lock", "nftables"];
        let flags = [&lock, ending, &["--image-path", image.as_str()]].concat();
        let gate = Gate::new(node, at, act);
        let command = scene.target.checkpoint_command(Program::Ours, &flags);
        let output = gate.on(command).output();
        gate.must_have_acted(&output);
        let what = format!("{act} at {at}");
        assert_eq!(output.status, status, "{what}: {output:#?}");
        scene.must_be_unharmed_within(SOON, &what);
        must_be_thawed(&scene, &what);
    }
}
