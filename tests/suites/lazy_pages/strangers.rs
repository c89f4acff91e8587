//! Who reaches the port.

use rig::Node;
use rig::cluster::Manifest;
use rig::witness::Witness;

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
    // It came, and fetched nothing.
    let _ = checkpoint.wait_complete();
    scene.must_be_over(&checkpoint);
    checkpoint.delete();
    witness.must_be_unharmed("a peer");
    for pod in ["watched", "near", "far"] {
        cluster.kubectl(&["delete", "pod", pod, "--wait=false"]);
    }
}
