//! `--empty-ns network`: what an image leaves out, with the flag and without it, and what a restore makes of that.

use rig::{Container, Node};

use crate::journey::{STATE, Subject, dump, goes_on, restore, seen};

on_every_runc! {
    a_network_of_its_own_comes_back_empty
    a_network_that_is_joined_has_to_be_there
}

/// What CRIU saves of a network namespace that it is not told to leave empty.
const OF_THE_NETWORK: [&str; 9] = [
    "netns-",
    "netdev-",
    "ifaddr-",
    "route-",
    "route6-",
    "rule-",
    "iptables-",
    "ip6tables-",
    "nftables-",
];

/// The files of the image that are about its network.
fn about_the_network(container: &Container<'_>) -> Vec<String> {
    let image = container.file("/").join("../image");
    let names = std::fs::read_dir(image).expect("an image").flatten();
    names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| OF_THE_NETWORK.iter().any(|stem| name.starts_with(stem)))
        .collect()
}

/// Runs a script in the container's network.
fn in_network(container: &Container<'_>, script: &str) -> String {
    let namespace = format!("--net=/proc/{}/ns/net", container.pid());
    let output = Node::shared().run(&["nsenter", &namespace, "bash", "-euc", script]);
    output.ok().stdout
}

/// The flags with which the same is asked for.
const WAYS: [&[&str]; 2] = [&[], &["--empty-ns", "network"]];

fn a_network_of_its_own_comes_back_empty(subject: Subject) {
    for way in WAYS {
        let mut container = subject.shape("empty").workload(&["count"]).start();
        let before = seen(&container, STATE);
        in_network(
            &container,
            "ip link set lo up; ip addr add 10.77.0.1/24 dev lo; ip link add cable type veth peer name other",
        );
        let links = "ip -brief link | cut -d' ' -f1";
        assert_eq!(in_network(&container, links).lines().count(), 3);
        dump(&container, subject.program, way);
        assert_eq!(
            about_the_network(&container),
            Vec::<String>::new(),
            "{way:?}"
        );
        restore(&mut container, &[]);
        goes_on(&container, STATE, &before);
        assert_eq!(in_network(&container, links), "lo\n", "{way:?}");
        let addresses = in_network(&container, "ip -brief addr show lo");
        assert!(!addresses.contains("10.77.0.1"), "{addresses}");
    }
    subject.shown("empty-ns network");
}

fn a_network_that_is_joined_has_to_be_there(subject: Subject) {
    let node = Node::shared();
    let net = node.unique("joined");
    let path = format!("/run/netns/{net}");
    node.shell(&format!(
        "ip netns add {net}; nsenter --net={path} ip addr add 10.78.0.1/24 dev lo"
    ))
    .ok();
    let mut container = subject
        .shape("joins")
        .namespace("network", &path)
        .workload(&["count"])
        .start();
    let before = seen(&container, STATE);
    for way in WAYS {
        dump(&container, subject.program, way);
        // That it was joined, and by which name it is to be found.
        let [only] = &about_the_network(&container)[..] else {
            panic!("more than that of the network is in the image, {way:?}");
        };
        assert!(only.starts_with("netns-"), "{only}, {way:?}");
        restore(&mut container, &[]);
        goes_on(&container, STATE, &before);
        let inside = in_network(&container, "ip -brief addr show lo");
        assert!(inside.contains("10.78.0.1"), "{inside}");
    }
    dump(&container, subject.program, &[]);
    node.run(&["ip", "netns", "delete", &net]).ok();
    let image = format!("{}/image", container.bundle());
    let output = container.restore(&image, &[]);
    assert!(!output.succeeded(), "{output:#?}");
    assert!(output.stderr.contains(&path), "{output:#?}");
}
