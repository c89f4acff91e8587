//! Who reaches the port.

use rig::cluster::Manifest;
use rig::witness::Witness;
use rig::{Node, Shape};

use super::{Asked, FROM, Scene, TO};

/// How an attempt to connect ends that nobody answers: `timeout` ends it.
const SILENCE: i32 = 124;

fn connect(node: &Node, network_of: Option<i32>, address: &str, port: u16) -> i32 {
    let connect = format!("exec timeout 1 bash -c 'exec 3<>/dev/tcp/{address}/{port}'");
    let inside = network_of.map_or_else(String::new, |pid| {
        format!("nsenter --net=/proc/{pid}/ns/net ")
    });
    let connect = connect.replacen("exec ", &format!("exec {inside}"), 1);
    node.run(&["bash", "-c", &connect]).status
}

pub(crate) fn nobody_but_the_named_peer_reaches_the_port_of_lazy_pages(scene: &Scene<'_>) {
    let cluster = scene.cluster();
    let witness = Witness::start(cluster, &Manifest::new("watched").on(FROM));
    let (near, far) = (
        cluster.run(&Manifest::new("near").on(FROM)),
        cluster.run(&Manifest::new("far").on(TO)),
    );
    let [near, far] = [near, far].map(|pod| pod.pid("app").expect("it runs"));
    let address = cluster.node_address(0);
    let asked = Asked {
        name: "for-somebody-else",
        timeout: 60,
        ..Asked::default()
    };
    let port = asked.port;
    let checkpoint = scene.serving(&witness.pod, &asked);
    let listens = scene
        .from
        .shell(&format!("ss -Hltn 'sport = :{port}'"))
        .ok();
    assert!(
        listens.stdout.contains("0.0.0.0"),
        "CRIU listens everywhere: {}",
        listens.stdout
    );
    assert!(
        scene.fences().contains("stillframe-lazy-"),
        "{}",
        scene.fences()
    );
    for (who, node, network, address) in [
        ("the other node", scene.to, None, address.as_str()),
        ("a pod there", scene.to, Some(far), &address),
        ("a pod here", scene.from, Some(near), &address),
        ("the node itself", scene.from, None, &address),
        ("its loopback", scene.from, None, "127.0.0.1"),
    ] {
        assert_eq!(connect(node, network, address, port), SILENCE, "{who}");
    }
    // What nobody was kept from still answers.
    assert_eq!(connect(scene.to, None, &address, 6443), 0);
    checkpoint.delete();
    scene.must_be_clean();
    witness.must_be_unharmed("strangers");

    let asked = Asked {
        name: "for-the-other-node",
        peer: &cluster.node_address(1),
        ..asked
    };
    let checkpoint = scene.serving(&witness.pod, &asked);
    assert_eq!(connect(scene.from, None, "127.0.0.1", port), SILENCE);
    assert_eq!(connect(scene.to, Some(far), &address, port), SILENCE);
    assert_eq!(connect(scene.to, None, &address, port), 0, "the named peer");
    // It came, and left in order: CRIU asks for no more.
    checkpoint.wait_ready();
    scene.must_be_over(&checkpoint);
    checkpoint.delete();
    witness.must_be_unharmed("a peer");
    for pod in ["watched", "near", "far"] {
        cluster.kubectl(&["delete", "pod", pod, "--wait=false"]);
    }
}

/// A search path in which these are not.
fn path_without(node: &Node, programs: &[&str]) -> String {
    let folder = format!("/run/rig/without-{}", programs.len());
    let gone = programs.join(&format!(" {folder}/"));
    node.shell(&format!(
        "mkdir {folder}; ln -s /usr/bin/* /usr/sbin/* {folder}/ 2>/dev/null || true; rm {folder}/{gone}"
    ))
    .ok();
    format!("/run/rig/bin:/opt/rig:{folder}")
}

pub(crate) fn without_nftables_iptables_closes_the_port_and_without_either_nothing_is_served(
    scene: &Scene<'_>,
) {
    let (node, port) = (scene.from, 27_291);
    let container = Shape::new(node, "walled").counting().start();
    let _ = container.counter_beyond(3);
    let publish = |image: &str, path: &str| {
        let program = node.install("publish");
        let served = [&port.to_string(), &scene.cluster().node_address(1)].map(String::clone);
        node.command(program)
            .args([
                "/run/runc",
                container.id(),
                image,
                "max-pause",
                "20000",
                "lazy",
            ])
            .args(served)
            .env("PATH", path)
    };
    let output = publish(
        "/run/rig/unguarded",
        &path_without(node, &["nft", "iptables"]),
    )
    .output();
    assert!(
        output.stderr.starts_with("LazyPagesUnguarded"),
        "{output:#?}"
    );

    let job = publish("/run/rig/walled-image", &path_without(node, &["nft"])).spawn();
    node.shell(&format!(
        "for n in $(seq 500); do ! ss -Hltn 'sport = :{port}' | grep -q . || exit 0; sleep 0.02; done; exit 1"
    ))
    .ok();
    let fences = scene.fences();
    assert!(fences.contains("SF-LAZY-"), "{fences}");
    assert_eq!(connect(node, None, "127.0.0.1", port), SILENCE);
    let address = scene.cluster().node_address(0);
    assert_eq!(connect(scene.to, None, &address, port), 0, "the named peer");
    job.output().ok();
    scene.must_be_clean();
    let now = container.counter().unwrap_or_default();
    let _ = container.counter_beyond(now);
    node.run(&["runc", "delete", "--force", container.id()])
        .ok();
}
