//! `make cluster`: brings a cluster up for people, says how to use it, and stays until it is interrupted.

use std::env;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use rig::{Cluster, Installation, Values};

fn main() -> ExitCode {
    let nodes = match env::args().nth(1).map(|nodes| nodes.parse::<usize>()) {
        None => 1,
        Some(Ok(nodes @ 1..=4)) => nodes,
        Some(_) => {
            eprintln!("usage: rig-cluster [NODES]; one to four nodes, one by default");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = set_pdeathsig(Signal::SIGTERM) {
        eprintln!("cluster: failed to ask for the end with tests/rig/cluster: {error}");
        return ExitCode::FAILURE;
    }
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
    say("installing the chart");
    let _ = Installation::install(&cluster, &Values::default());
    say("everything is up. In another terminal:");
    tell_how_to_use(&cluster);
    // A signal ends this process, and with it the cluster.
    loop {
        thread::park();
    }
}

fn tell_how_to_use(cluster: &Cluster) {
    let kubeconfig = cluster.kubeconfig_on_the_machine();
    println!("export KUBECONFIG={}", kubeconfig.display());
    if let Ok(rig) = env::var("STILLFRAME_RIG") {
        println!("export PATH={rig}/bin:$PATH   # for kubectl and helm");
    }
    eprintln!(
        "cluster: logs are in {}",
        cluster.node(0).path("logs").display()
    );
    eprintln!(
        "cluster: `helm upgrade stillframe charts/stillframe -n stillframe-system --set …` changes the installation"
    );
    eprintln!(
        "cluster: pods can use the images {} and {}",
        rig::cluster::BUSYBOX,
        rig::cluster::WORKLOAD
    );
    eprintln!("cluster: Ctrl-C ends it, and everything in it");
}
