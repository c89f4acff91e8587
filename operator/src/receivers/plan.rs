//! Decides what is to be done about a receiver: nothing here waits, asks or reads a clock.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use stillframe_crds::{
    PageReceiver, Reason,
    checkpoint::Failure,
    condition, names,
    receiver::{PageReceiverStatus, Sender},
};

/// How long after a receiver's deadline its agent may still report the end before it is given up.
const AGENT_GRACE: SignedDuration = SignedDuration::from_secs(30);

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The one request that changes the object.
    pub act: Act,
    /// When to decide anew although nothing has changed by then.
    pub again: Option<Timestamp>,
}

/// A request that changes a receiver.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// None.
    Nothing,
    /// Keep the object until what it received is gone.
    AddFinalizer,
    /// Let the object go.
    DropFinalizer,
    /// Write this status.
    Write(Box<PageReceiverStatus>),
    /// Report that it has failed.
    Fail(Reason, Box<PageReceiverStatus>),
}

/// A node that could receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Its agent is ready.
    pub ready: bool,
    /// Room for images.
    pub free_bytes: i64,
}

/// How the checkpoint stands that a receiver is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is not known, or none is.
    Unknown,
    /// It has not ended.
    UnderWay,
    /// It has ended well.
    Ready,
    /// It has failed, or is gone.
    Lost,
}

/// What is to be done about `receiver`. `candidates` are the nodes with an agent, `exists` is whether its own
/// node does.
///
/// Deciding on what a plan has brought about gives nothing more to do, but for the time to look again.
#[must_use]
pub fn plan(
    receiver: &PageReceiver,
    candidates: &[Candidate],
    exists: bool,
    standing: Standing,
    now: Timestamp,
) -> Plan {
    let finalizers = receiver.metadata.finalizers.as_deref().unwrap_or_default();
    let held = finalizers.iter().any(|one| one == names::FINALIZER);
    let status = receiver.status.clone().unwrap_or_default();
    let node = status.node_name.as_deref().filter(|node| !node.is_empty());
    if receiver.is_deleted() {
        let removed = condition::holds(&status.conditions, condition::IMAGE_REMOVED);
        let act = match node {
            _ if !held => Act::Nothing,
            Some(_) if exists && !removed => Act::Nothing,
            _ => Act::DropFinalizer,
        };
        return only(act);
    }
    if !held {
        return only(Act::AddFinalizer);
    }
    if receiver.is_finished() {
        return only(observe(receiver, status));
    }
    match node {
        Some(node) => watch(receiver, node, exists, standing, now),
        None => assign(
            receiver,
            candidates,
            status.checkpoint.as_ref(),
            standing,
            now,
        ),
    }
}

fn only(act: Act) -> Plan {
    Plan { act, again: None }
}

/// A change after the end has been seen; nothing else of a final status is written.
fn observe(receiver: &PageReceiver, mut status: PageReceiverStatus) -> Act {
    match receiver.metadata.generation {
        Some(generation) if generation != status.observed_generation => {
            status.observed_generation = generation;
            Act::Write(Box::new(status))
        }
        _ => Act::Nothing,
    }
}

/// Bounds a receiver that its agent has.
fn watch(
    receiver: &PageReceiver,
    node: &str,
    exists: bool,
    standing: Standing,
    now: Timestamp,
) -> Plan {
    if !exists {
        let message = format!("node {node} no longer exists");
        return failed(receiver, Reason::NodeGone, &message, now);
    }
    if let Some(lost) = lost(receiver, standing) {
        return failed(receiver, Reason::CheckpointFailed, &lost, now);
    }
    let patience = after(deadline(receiver, now), AGENT_GRACE);
    if patience > now {
        return Plan {
            act: Act::Nothing,
            again: Some(patience),
        };
    }
    let message = format!("the agent on node {node} has not reported an end in time");
    failed(receiver, Reason::AgentNotResponding, &message, now)
}

/// Gives a receiver to a node, or waits for one.
fn assign(
    receiver: &PageReceiver,
    candidates: &[Candidate],
    sender: Option<&Sender>,
    standing: Standing,
    now: Timestamp,
) -> Plan {
    if let Some(lost) = lost(receiver, standing) {
        return failed(receiver, Reason::CheckpointFailed, &lost, now);
    }
    let (reason, late, message) = match choose(receiver, candidates, sender) {
        Ok(node) => {
            let message = format!("given to the agent on node {node}");
            let mut status = working(receiver, Reason::Assigned, &message, now);
            status.node_name = Some(node.to_owned());
            return only(Act::Write(Box::new(status)));
        }
        Err(wait) => wait,
    };
    let deadline = deadline(receiver, now);
    if deadline <= now {
        let seconds = receiver.spec.timeout_seconds;
        let message = format!("{message}, and timeoutSeconds ({seconds}) has passed");
        return failed(receiver, late, &message, now);
    }
    let status = working(receiver, reason, &message, now);
    let act = if receiver.status.as_ref() == Some(&status) {
        Act::Nothing
    } else {
        Act::Write(Box::new(status))
    };
    Plan {
        act,
        again: Some(deadline),
    }
}

/// The node that is to receive; or what is waited for, why it fails when that does not come, in words.
fn choose<'a>(
    receiver: &PageReceiver,
    candidates: &'a [Candidate],
    sender: Option<&Sender>,
) -> Result<&'a str, (Reason, Reason, String)> {
    if let Some(asked) = &receiver.spec.node_name {
        let found = candidates.iter().find(|one| one.name == *asked);
        return match found {
            Some(one) if one.ready => Ok(&one.name),
            Some(_) => Err((
                Reason::WaitingForNode,
                Reason::AgentNotReady,
                format!("the agent on node {asked} is not ready"),
            )),
            None => Err((
                Reason::WaitingForAgent,
                Reason::NoAgent,
                format!("no agent has reported from node {asked} yet"),
            )),
        };
    }
    let Some(sender) = sender else {
        let message = "no checkpoint names this receiver yet".to_owned();
        return Err((Reason::WaitingForCheckpoint, Reason::NobodyCame, message));
    };
    let ready = candidates.iter().filter(|one| one.ready);
    // The sender's own node is the last choice; among the others, the one with the most room.
    let best = ready.min_by_key(|one| {
        let own = one.name == sender.node_name;
        (own, std::cmp::Reverse(one.free_bytes), &one.name)
    });
    best.map(|one| one.name.as_str()).ok_or_else(|| {
        let message = "no node has an agent that is ready".to_owned();
        (Reason::WaitingForAgent, Reason::NoAgent, message)
    })
}

/// That nobody will send any more, in words.
fn lost(receiver: &PageReceiver, standing: Standing) -> Option<String> {
    let sender = receiver.status.as_ref()?.checkpoint.as_ref()?;
    (standing == Standing::Lost)
        .then(|| format!("checkpoint {} has failed or is gone", sender.name))
}

fn deadline(receiver: &PageReceiver, now: Timestamp) -> Timestamp {
    let created = receiver.metadata.creation_timestamp.as_ref();
    let timeout = SignedDuration::from_secs(receiver.spec.timeout_seconds.into());
    after(created.map_or(now, |time| time.0), timeout)
}

fn after(time: Timestamp, span: SignedDuration) -> Timestamp {
    time.checked_add(span).unwrap_or(Timestamp::MAX)
}

fn draft(receiver: &PageReceiver) -> PageReceiverStatus {
    let mut status = receiver.status.clone().unwrap_or_default();
    status.observed_generation = receiver.metadata.generation.unwrap_or_default();
    status
}

fn working(
    receiver: &PageReceiver,
    reason: Reason,
    message: &str,
    now: Timestamp,
) -> PageReceiverStatus {
    let mut status = draft(receiver);
    let generation = receiver.metadata.generation;
    condition::working(&mut status.conditions, reason, message, generation, now);
    status
}

fn failed(receiver: &PageReceiver, reason: Reason, message: &str, now: Timestamp) -> Plan {
    let mut status = draft(receiver);
    let generation = receiver.metadata.generation;
    let failure = Failure::new(reason, message).of(receiver);
    condition::ended(
        &mut status.conditions,
        false,
        reason,
        &failure.advice(),
        generation,
        now,
    );
    if condition::holds(&status.conditions, condition::LISTENING) {
        let said = condition::Said {
            holds: false,
            reason: Reason::NotListening,
            message: "the agent listens no longer".to_owned(),
        };
        let kind = condition::LISTENING;
        condition::set(&mut status.conditions, kind, &said, generation, now);
    }
    status.completion_time = Some(Time(now));
    status.failure = Some(failure);
    only(Act::Fail(reason, Box::new(status)))
}

#[cfg(test)]
mod tests {
    use stillframe_crds::PageReceiverSpec;

    use super::*;
    use crate::fixtures::{at, time};

    fn receiver(node: Option<&str>) -> PageReceiver {
        let spec = PageReceiverSpec {
            node_name: node.map(str::to_owned),
            ..PageReceiverSpec::default()
        };
        let mut receiver = PageReceiver::new("pages", spec);
        receiver.metadata.generation = Some(1);
        receiver.metadata.creation_timestamp = Some(time(0));
        receiver.metadata.finalizers = Some(vec![names::FINALIZER.into()]);
        receiver
    }

    fn claimed(from: &str) -> PageReceiver {
        let mut receiver = receiver(None);
        receiver.status = Some(PageReceiverStatus {
            checkpoint: Some(Sender {
                name: "one".into(),
                uid: "u".into(),
                node_name: from.into(),
            }),
            ..PageReceiverStatus::default()
        });
        receiver
    }

    fn given(node: &str) -> PageReceiver {
        let mut receiver = claimed("node-a");
        receiver.status.as_mut().unwrap().node_name = Some(node.into());
        receiver
    }

    fn nodes(list: &[(&str, bool, i64)]) -> Vec<Candidate> {
        let candidate = |(name, ready, free_bytes): &(&str, bool, i64)| Candidate {
            name: (*name).to_owned(),
            ready: *ready,
            free_bytes: *free_bytes,
        };
        list.iter().map(candidate).collect()
    }

    /// What is written: the node, or the reason for which it waits or fails.
    fn word(plan: &Plan) -> String {
        match &plan.act {
            Act::Nothing => "nothing".into(),
            Act::AddFinalizer => "add".into(),
            Act::DropFinalizer => "drop".into(),
            Act::Fail(reason, _) => format!("failed {reason}"),
            Act::Write(status) => {
                let reason = &condition::get(&status.conditions, condition::RECONCILING);
                let reason = reason.map_or("observed", |c| c.reason.as_str());
                let node = status.node_name.as_deref().filter(|_| reason == "Assigned");
                node.unwrap_or(reason).to_owned()
            }
        }
    }

    #[test]
    fn a_node_is_the_one_asked_for_or_another_than_the_sender_s() {
        let all = [
            ("node-a", true, 9),
            ("node-b", true, 1),
            ("node-c", true, 5),
        ];
        for (receiver, list, want) in [
            (receiver(Some("node-b")), &all[..], "node-b"),
            (receiver(Some("node-x")), &all[..], "WaitingForAgent"),
            (
                receiver(Some("node-a")),
                &[("node-a", false, 1)],
                "WaitingForNode",
            ),
            (receiver(None), &all[..], "WaitingForCheckpoint"),
            (claimed("node-a"), &all[..], "node-c"),
            (claimed("node-c"), &all[..], "node-a"),
            (claimed("node-a"), &all[..1], "node-a"),
            (
                claimed("node-a"),
                &[("node-b", false, 9), ("node-a", true, 1)],
                "node-a",
            ),
            (
                claimed("node-a"),
                &[("node-b", false, 9)],
                "WaitingForAgent",
            ),
        ] {
            let standing = Standing::UnderWay;
            let made = plan(&receiver, &nodes(list), true, standing, at(5));
            assert_eq!(word(&made), want, "{:?} {list:?}", receiver.spec.node_name);
            // What was written is not written again.
            if let Act::Write(status) = made.act {
                let mut next = receiver.clone();
                next.status = Some(*status);
                let made = plan(&next, &nodes(list), true, standing, at(6));
                assert_eq!(made.act, Act::Nothing, "{want}");
                assert!(made.again.is_some());
            }
        }
    }

    #[test]
    fn nobody_is_waited_for_beyond_the_deadline() {
        let none = nodes(&[]);
        for (receiver, second, want) in [
            (receiver(None), 599, "WaitingForCheckpoint"),
            (receiver(None), 600, "failed NobodyCame"),
            (receiver(Some("node-a")), 600, "failed NoAgent"),
            (given("node-b"), 629, "nothing"),
            (given("node-b"), 630, "failed AgentNotResponding"),
        ] {
            let made = plan(&receiver, &none, true, Standing::UnderWay, at(second));
            assert_eq!(word(&made), want, "at {second}");
        }
    }

    #[test]
    fn it_ends_with_its_node_and_with_its_checkpoint() {
        for (receiver, exists, standing, want) in [
            (
                given("node-b"),
                false,
                Standing::UnderWay,
                "failed NodeGone",
            ),
            (
                given("node-b"),
                true,
                Standing::Lost,
                "failed CheckpointFailed",
            ),
            (
                claimed("node-a"),
                true,
                Standing::Lost,
                "failed CheckpointFailed",
            ),
            (given("node-b"), true, Standing::Ready, "nothing"),
            (given("node-b"), true, Standing::Unknown, "nothing"),
            (
                receiver(Some("node-b")),
                true,
                Standing::Lost,
                "WaitingForAgent",
            ),
        ] {
            let made = plan(&receiver, &[], exists, standing, at(5));
            assert_eq!(word(&made), want, "{exists} {standing:?}");
        }
    }

    #[test]
    fn it_is_held_until_what_it_received_is_gone() {
        let deleted = |mut receiver: PageReceiver| {
            receiver.metadata.deletion_timestamp = Some(time(4));
            receiver
        };
        let free = |mut receiver: PageReceiver| {
            receiver.metadata.finalizers = None;
            receiver
        };
        let mut gone = given("node-b");
        let said = condition::Said {
            holds: true,
            reason: Reason::ImageDeleted,
            message: "m".into(),
        };
        let conditions = &mut gone.status.as_mut().unwrap().conditions;
        condition::set(conditions, condition::IMAGE_REMOVED, &said, Some(1), at(4));
        for (receiver, exists, want) in [
            (free(receiver(None)), true, "add"),
            (free(deleted(given("node-b"))), true, "nothing"),
            (deleted(receiver(None)), true, "drop"),
            (deleted(given("node-b")), true, "nothing"),
            (deleted(given("node-b")), false, "drop"),
            (deleted(gone), true, "drop"),
        ] {
            let made = plan(&receiver, &[], exists, Standing::Unknown, at(5));
            assert_eq!(word(&made), want, "{:?}", receiver.metadata);
        }
    }

    #[test]
    fn a_change_after_the_end_is_seen_and_nothing_else_written() {
        let mut ended = given("node-b");
        let status = ended.status.as_mut().unwrap();
        status.completion_time = Some(time(5));
        status.observed_generation = 1;
        ended.metadata.generation = Some(2);
        let made = plan(&ended, &[], true, Standing::Lost, at(9));
        assert_eq!(word(&made), "observed");
        ended.status.as_mut().unwrap().observed_generation = 2;
        assert_eq!(
            plan(&ended, &[], true, Standing::Lost, at(9)).act,
            Act::Nothing
        );
    }
}
