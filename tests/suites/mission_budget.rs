//! What the operator and the agent cost the API server, counted from its audit log.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rig::cluster::{AuditEntry, Manifest, SYSTEM};
use rig::installation::AGENTS;
use rig::mission::Mission;
use rig::node::PATIENCE;
use rig::{Cluster, Values};
use serde_json::json;

/// Both binaries together may write so often for one checkpoint, events included.
const MOST_WRITES: usize = 8;

/// How long nothing happens. What would poll does so within a minute.
const IDLE: Duration = Duration::from_mins(1);

/// Where the agent puts images: a small file system of their own, so that its free bytes are known. Of its 1024 MiB 17% are kept free,
/// 849 MiB are left, and told in steps of 64 MiB: as 832.
const IMAGES: &str = "/run/rig/small-disk";

/// The operator and the agent, one test at a time: another's requests would be counted too.
fn mission() -> MutexGuard<'static, Mission<'static>> {
    static MISSION: OnceLock<Mutex<Mission<'static>>> = OnceLock::new();
    let mission = MISSION.get_or_init(|| {
        let cluster = Cluster::shared();
        let mount = format!("mkdir {IMAGES}; mount -t tmpfs -o size=1024m,mode=700 none {IMAGES}");
        cluster.node(0).shell(&mount).ok();
        let values = Values::default().set("agent.imageRoot", IMAGES);
        Mutex::new(Mission::start_with(cluster, &values))
    });
    mission.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program of ours that a request came from, if any.
fn ours(entry: &AuditEntry) -> Option<&str> {
    let account = entry.user.strip_prefix("system:serviceaccount:")?;
    let (namespace, name) = account.split_once(':')?;
    [SYSTEM, AGENTS].contains(&namespace).then_some(name)
}

fn told(entry: &AuditEntry) -> String {
    let who = ours(entry).unwrap_or(&entry.user);
    let AuditEntry {
        verb,
        resource,
        subresource,
        code,
        uri,
        ..
    } = entry;
    format!("{who}: {verb} {resource} {subresource} {code} {uri}")
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_checkpoint_costs_eight_writes_at_most() {
    let mission = mission();
    let cluster = mission.cluster();
    cluster.kubectl(&["create", "namespace", "counted"]);
    cluster.wait("namespace/counted", "jsonpath={.status.phase}=Active");
    let account = ["wait", "--for=create", "serviceaccount/default"];
    cluster.kubectl(&[&account[..], &["--namespace=counted", "--timeout=60s"]].concat());
    let pod = cluster.run(&Manifest::new("counted").namespace("counted"));
    let before = pod.count_beyond("app", 3);
    let mark = cluster.audit_mark();
    let spec = json!({"source": {"podName": "counted"}});
    let checkpoint = mission.checkpoint_in("counted", "counted", &spec);
    checkpoint.wait_ready();
    let writes = || -> Vec<AuditEntry> {
        let all = cluster.audit_since(mark).into_iter();
        all.filter(|entry| ours(entry).is_some() && entry.is_write())
            .filter(|entry| entry.resource != "leases")
            .collect()
    };
    let events = || {
        let all = writes();
        all.iter()
            .filter(|entry| entry.resource == "events")
            .count()
    };
    let deadline = Instant::now() + PATIENCE;
    while events() < 2 {
        assert!(Instant::now() < deadline, "two events are told");
        sleep(Duration::from_millis(50));
    }
    // Whatever else there is to say is said before the checkpoint of another container ends.
    let other = cluster.run(&Manifest::new("next").namespace("counted"));
    let spec = json!({"source": {"podName": "next"}});
    mission
        .checkpoint_in("counted", "next", &spec)
        .wait_complete();
    let (events, others): (Vec<_>, Vec<_>) = writes()
        .into_iter()
        .partition(|entry| entry.resource == "events");
    // Of events the log has no names that tell of what they are: those of the first come first.
    let of_first = others.into_iter().filter(|entry| entry.name == "counted");
    let counted: Vec<AuditEntry> = of_first.chain(events.into_iter().take(2)).collect();
    for entry in &counted {
        println!("{}", told(entry));
    }
    assert!(counted.len() <= MOST_WRITES, "{} writes", counted.len());
    assert!(
        counted.iter().all(|entry| entry.code < 300),
        "some were made in vain: {counted:#?}"
    );
    assert!(pod.count_beyond("app", before) > before);
    pod.delete();
    other.delete();
}

#[test]
#[ignore = "needs the node root: run make test"]
fn nobody_polls() {
    let mission = mission();
    let cluster = mission.cluster();
    let pod = cluster.run(&Manifest::new("idle"));
    let taken = ["idle-1", "idle-2"].map(|name| mission.checkpoint_of(name, "idle"));
    for checkpoint in &taken {
        checkpoint.wait_ready();
    }
    mission
        .checkpoint_of("idle-lost", "nobody")
        .wait_failed("PodNotFound");
    let homeless = Manifest::new("homeless").spec("nodeSelector", json!({"no": "such"}));
    let _ = cluster.create(&homeless);
    for name in ["idle-waits", "idle-waits-too"] {
        let spec = json!({"source": {"podName": "homeless"}, "timeoutSeconds": 86400});
        mission
            .checkpoint(name, &spec)
            .wait_while("WaitingForContainer");
    }
    let free = || {
        let field = "--output=jsonpath={.status.images.freeBytes}";
        cluster.kubectl(&["get", "checkpointnode", cluster.node_name(0), field])
    };
    let before = free();
    assert_eq!(before, (832_u64 << 20).to_string(), "freeBytes");
    wait_until_quiet(cluster);
    // A few megabytes more: nothing that anybody has to hear of.
    let fill = format!("head -c 8M /dev/zero >{IMAGES}/filler");
    cluster.node(0).shell(&fill).ok();
    let mark = cluster.audit_mark();
    sleep(IDLE);
    let entries = cluster.audit_since(mark);
    must_be_quiet(&entries);
    assert_eq!(free(), before);
    let count = pod.count("app");
    assert!(pod.count_beyond("app", count) > count);
}

/// Waits until our programs have asked for nothing but leases for some seconds.
fn wait_until_quiet(cluster: &Cluster) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mark = cluster.audit_mark();
        sleep(Duration::from_secs(3));
        let entries = cluster.audit_since(mark);
        if entries
            .iter()
            .all(|entry| ours(entry).is_none() || is_quiet(entry))
        {
            return;
        }
        assert!(Instant::now() < deadline, "they never rest");
    }
}

/// Whether this is what an idle program may do: keep a lease, watch, and answer for its health.
fn is_quiet(entry: &AuditEntry) -> bool {
    entry.resource == "leases"
        || entry.verb == "watch"
        || ["/livez", "/readyz", "/healthz"].contains(&entry.uri.as_str())
}

fn must_be_quiet(entries: &[AuditEntry]) {
    let mut all: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    let mut loud = Vec::new();
    for entry in entries.iter().filter(|entry| entry.is_request()) {
        let Some(who) = ours(entry) else { continue };
        *all.entry((who, &entry.verb, &entry.resource)).or_default() += 1;
        if !is_quiet(entry) {
            loud.push(told(entry));
        }
    }
    for ((who, verb, resource), count) in &all {
        println!("{who}: {verb} {resource}: {count}");
    }
    assert!(loud.is_empty(), "{loud:#?}");
    for who in ["stillframe-operator", "stillframe-node-agent"] {
        let leases = all
            .iter()
            .filter(|((user, _, resource), _)| *user == who && *resource == "leases");
        let leases: usize = leases.map(|(_, count)| count).sum();
        assert!(
            leases > 2,
            "{who} is not alive, or its log is not read: {all:?}"
        );
        // A watch is begun anew when the server ends it, which it does after five minutes and more.
        let watches = all
            .iter()
            .filter(|((user, verb, _), _)| *user == who && *verb == "watch");
        for ((_, _, resource), count) in watches {
            assert!(*count <= 2, "{who} began {count} watches of {resource}");
        }
    }
}
