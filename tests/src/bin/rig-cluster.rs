//! `make cluster`: brings a cluster up for people, says how to use it, and stays until its input ends or it is interrupted.

use std::env;
use std::io::{self, Read as _};
use std::process::ExitCode;
use std::time::Instant;

use rig::Cluster;
use rig::cluster::Options;

fn main() -> ExitCode {
    let nodes = match env::args().nth(1).map(|nodes| nodes.parse::<usize>()) {
        None => 1,
        Some(Ok(nodes @ 1..=4)) => nodes,
        Some(_) => {
            eprintln!("usage: rig-cluster [NODES]; one to four nodes, one by default");
            return ExitCode::from(2);
        }
    };
    let started = Instant::now();
    let say = |text: &str| {
        eprintln!(
            "cluster: {:>5.1} s  {text}",
            started.elapsed().as_secs_f32()
        );
    };
    say("starting etcd, the API server, controllers, the scheduler, containerd and a kubelet");
    let cluster = Cluster::start();
    say("node-a is ready");
    for _ in 1..nodes {
        say("adding a node");
        let name = cluster.add_node();
        say(&format!("{name} is ready"));
    }
    say("installing the resource definitions");
    cluster.install_crds();
    say("starting the operator and an agent on each node");
    let options = Options::default();
    let _operator = cluster.start_operator(&options);
    let _agents: Vec<_> = (0..nodes)
        .map(|node| cluster.start_agent(cluster.node_name(node), &options))
        .collect();
    let kubeconfig = cluster.kubeconfig_on_the_machine();
    say("everything is up. In another terminal:");
    println!("export KUBECONFIG={}", kubeconfig.display());
    if let Ok(rig) = env::var("STILLFRAME_RIG") {
        println!("export PATH={rig}/bin:$PATH   # for kubectl");
    }
    eprintln!(
        "cluster: logs are in {}",
        cluster.node(0).path("logs").display()
    );
    eprintln!(
        "cluster: pods can use the images {} and {}",
        rig::cluster::BUSYBOX,
        rig::cluster::WORKLOAD
    );
    eprintln!("cluster: Ctrl-C ends it, and everything in it");
    // A terminal's Ctrl-C ends this process, and with it the cluster; so does the end of a pipe.
    let mut rest = [0; 256];
    while io::stdin().read(&mut rest).is_ok_and(|length| length > 0) {}
    ExitCode::SUCCESS
}
