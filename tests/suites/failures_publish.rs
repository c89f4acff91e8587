//! An image that is to appear under its final name appears there complete or not at all.

use std::path::PathBuf;
use std::time::Duration;

use rig::gate::NOTIFICATIONS;
use rig::node::Invocation;
use rig::scene::Does;
use rig::{Gate, Node, Scene};

fn publish<'node>(scene: &Scene<'node>, image: &str, more: &[&str]) -> Invocation<'node> {
    let program = scene.node.install("publish");
    scene
        .node
        .command(program)
        .args(["/run/runc", scene.target.id(), image])
        .args(more)
}

fn final_and_partial(scene: &Scene<'_>, image: &str) -> [PathBuf; 2] {
    [image.to_owned(), format!("{image}.partial")].map(|name| scene.node.path(name))
}

#[test]
#[ignore = "needs the node root: run make test"]
fn killed_at_any_notification_nothing_appears_under_the_final_name() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "publish", Does::Counts);
    for at in NOTIFICATIONS {
        for (act, status) in [("kill-caller", 137), ("kill-criu", 1)] {
            for more in [&[][..], &["end"]] {
                if at == "network-unlock" && !more.is_empty() {
                    continue;
                }
                let image = scene.fresh_image();
                let gate = Gate::new(node, at, act);
                let output = gate.on(publish(&scene, &image, more)).output();
                gate.must_have_acted(&output);
                let what = format!("{act} at {at} {more:?}");
                assert_eq!(output.status, status, "{what}: {output:#?}");
                scene.must_be_unharmed(&what);
                for path in final_and_partial(&scene, &image) {
                    assert!(!path.exists(), "{what}: {} is there", path.display());
                }
            }
        }
    }
    let image = scene.fresh_image();
    publish(&scene, &image, &[]).output().ok();
    let [named, partial] = final_and_partial(&scene, &image);
    assert!(named.join("inventory.img").exists() && !partial.exists());
    scene.must_be_unharmed("published");
    let output = publish(&scene, &image, &[]).output();
    assert!(output.stderr.contains("ImageExists"), "{output:#?}");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn what_a_killed_guardian_left_is_removed_by_the_next_start() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "left", Does::Counts);
    for at in ["query-ext-files", "post-dump"] {
        let image = scene.fresh_image();
        let gate = Gate::new(node, at, "kill-all");
        let output = gate.on(publish(&scene, &image, &[])).output();
        gate.must_have_acted(&output);
        let [named, partial] = final_and_partial(&scene, &image);
        assert!(partial.exists() && !named.exists(), "{at}");
        let next = scene.fresh_image();
        publish(&scene, &next, &[]).output().ok();
        assert!(!partial.exists() && !named.exists(), "{at}");
        scene.must_be_unharmed(at);
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_pause_that_lasts_too_long_is_ended() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "pause", Does::Counts);
    for at in ["query-ext-files", "post-dump"] {
        let image = scene.fresh_image();
        let gate = Gate::new(node, at, "hold");
        let job = gate
            .on(publish(&scene, &image, &["max-pause", "700"]))
            .spawn();
        let _ = gate.held();
        std::thread::sleep(Duration::from_millis(900));
        gate.release();
        let output = job.output();
        assert_eq!(output.status, 1, "{at}: {output:#?}");
        assert!(output.stderr.contains("PauseTooLong"), "{at}: {output:#?}");
        scene.must_be_unharmed(at);
        for path in final_and_partial(&scene, &image) {
            assert!(!path.exists(), "{at}: {} is there", path.display());
        }
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_dump_that_ends_its_container_leaves_the_network_to_the_others_where_that_is_asked_for() {
    let node = &Node::start();
    let locks = "nft list tables | grep CRIU || true; iptables -S | grep CRIU || true; \
                 ip6tables -S | grep CRIU || true";
    for method in ["nftables", "iptables"] {
        let mut scene = Scene::new(node, &format!("unlock-{method}"), Does::Counts);
        let image = scene.fresh_image();
        publish(&scene, &image, &["end", "unlock", method])
            .output()
            .ok();
        assert_eq!(scene.in_network(locks).ok().stdout, "", "{method}");
        let seen = scene.sibling.counter_beyond(0);
        let _ = scene.sibling.counter_beyond(seen + 20);
        assert_eq!(scene.target.status(), "stopped", "{method}");
        let [named, partial] = final_and_partial(&scene, &image);
        assert!(named.join("inventory.img").exists() && !partial.exists());
        let journal = node.shell("ls -A /run/stillframe/journal").ok();
        assert_eq!(journal.stdout, "", "{method}");

        // Otherwise the lock is CRIU's word to the restore, and stays.
        let mut scene = Scene::new(node, &format!("keep-{method}"), Does::Counts);
        let image = scene.fresh_image();
        publish(&scene, &image, &["end", method]).output().ok();
        assert!(
            scene.in_network(locks).ok().stdout.contains("CRIU"),
            "{method}"
        );
    }
}
