//! The network that joins a cluster's nodes: one bridge in the first node, one interface on it for each.
//!
//! Both ends of every link are in namespaces of nodes, so the links go with the nodes and nothing is ever on the machine.

use std::os::fd::OwnedFd;

use crate::node::Node;

/// The addresses of all pods.
pub(super) const PODS: &str = "10.91.0.0/16";

/// The address of a node, by its index.
pub(super) fn address(index: usize) -> String {
    format!("10.90.0.{}", index + 1)
}

/// The addresses of a node's pods.
pub(super) fn pod_subnet(index: usize) -> String {
    format!("10.91.{index}.0/24")
}

/// Gives a node its interface `eth0` on the bridge, which is in the namespaces of `first`.
pub(super) fn connect(first: &Node, node: &Node, index: usize) {
    if index == 0 {
        first
            .shell("ip link add rig0 type bridge; ip link set rig0 up")
            .ok();
    }
    // `ip` opens a name with a slash in it as a namespace's file; here that is its standard input.
    let link = format!(
        "ip link add port{index} type veth peer name eth0 netns /proc/self/fd/0
         ip link set port{index} master rig0 up"
    );
    first
        .command("bash")
        .args(["-euc", &link])
        .stdin(OwnedFd::from(node.network()))
        .output()
        .ok();
    let address = address(index);
    node.shell(&format!(
        "ip address add {address}/24 dev eth0; ip link set eth0 up; ip route add default dev eth0
         echo 1 >/proc/sys/net/ipv4/ip_forward"
    ))
    .ok();
}

/// Lets the pods of two nodes reach each other.
pub(super) fn route_pods(nodes: [(&Node, usize); 2]) {
    let [one, other] = nodes;
    for ((node, _), (_, index)) in [(one, other), (other, one)] {
        let (subnet, via) = (pod_subnet(index), address(index));
        node.run(&["ip", "route", "add", &subnet, "via", &via]).ok();
    }
}
