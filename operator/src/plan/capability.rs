//! Holds what a request asks for against what its node's agent can do.

use stillframe_crds::{
    CheckpointNode, Reason,
    checkpoint::{NetworkLock, Options},
    condition,
    node::NodeCriu,
};

use super::verdict::{Verdict, refuse, wait};

/// Whether a dump clears the kernel's record of changed pages, so that the next one of a chain
/// builds on it.
pub(super) fn tracks_memory(options: &Options) -> bool {
    tracking(options).next().is_some()
}

/// The options that need the record of changed pages.
fn tracking(options: &Options) -> impl Iterator<Item = &'static str> {
    let asked = [
        ("preDump", options.pre_dump),
        ("trackMemory", options.track_memory),
        ("parentRef", options.parent_ref.is_some()),
        ("parentPath", options.parent_path.is_some()),
    ];
    asked
        .into_iter()
        .filter_map(|(name, asked)| asked.then_some(name))
}

/// What stands in the way of `options` on `node`.
pub(super) fn check(
    options: &Options,
    node: &str,
    agent: Option<&CheckpointNode>,
) -> Option<Verdict> {
    let Some(agent) = agent else {
        let message = format!("no agent has reported from node {node} yet");
        return Some(wait(Reason::WaitingForAgent, Reason::NoAgent, message));
    };
    let not_ready = |why: &str| {
        let message = format!("the agent on node {node} is not ready{why}");
        wait(Reason::WaitingForNode, Reason::AgentNotReady, message)
    };
    let Some(status) = agent.status.as_ref() else {
        return Some(not_ready(""));
    };
    match condition::get(&status.conditions, condition::READY) {
        Some(ready) if ready.status == "True" => {}
        Some(ready) => return Some(not_ready(&format!(": {}: {}", ready.reason, ready.message))),
        None => return Some(not_ready("")),
    }
    // An agent that is ready and says nothing of CRIU is not second-guessed: it checks for itself.
    status
        .criu
        .as_ref()
        .and_then(|criu| able(options, node, criu))
}

fn able(options: &Options, node: &str, criu: &NodeCriu) -> Option<Verdict> {
    let has = |feature: &str| criu.features.iter().any(|known| known == feature);
    if tracks_memory(options) && !has(NodeCriu::MEM_TRACK) {
        let asked: Vec<_> = tracking(options).collect();
        let message = format!(
            "the kernel of node {node} cannot track memory changes, which spec.options.{} needs",
            asked.join(" and ")
        );
        return Some(refuse(Reason::NoSoftDirty, message));
    }
    if options.lazy_pages && !has(NodeCriu::LAZY_PAGES) {
        let message = format!(
            "node {node} cannot serve lazy pages: it lacks userfaultfd, or pipes of 16 MiB (fs.pipe-max-size)"
        );
        return Some(refuse(Reason::NoLazyPages, message));
    }
    let lock = match options.network_lock {
        NetworkLock::Iptables => "iptables",
        NetworkLock::Nftables => "nftables",
        NetworkLock::Auto | NetworkLock::Skip => return None,
    };
    let locks = &criu.network_locks;
    (!locks.iter().any(|known| known == lock)).then(|| {
        let message = match locks.as_slice() {
            [] => format!("node {node} has no network lock, and {lock} is asked for"),
            some => format!("node {node} has no {lock} lock, but {}", some.join(" and ")),
        };
        refuse(Reason::NetworkLockUnavailable, message)
    })
}
