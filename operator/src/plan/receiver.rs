//! Holds a checkpoint against the receiver that it names: one of its own, which listens.

use stillframe_crds::{
    ContainerCheckpoint, PageReceiver, Reason, checkpoint::PinnedServer, condition,
    receiver::Sender,
};

use super::{
    Surroundings,
    resolve::Found,
    verdict::{Verdict, refuse, wait},
};

/// What a receiver means for a checkpoint that could be assigned otherwise.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Use {
    /// None is named.
    None,
    /// It is nobody's yet: it is to be this checkpoint's.
    Claim(Sender),
    /// It listens.
    Pin(PinnedServer),
}

/// Whether the memory can be sent to the receiver that the request names.
pub(super) fn check(
    checkpoint: &ContainerCheckpoint,
    found: &Found<'_>,
    around: &Surroundings,
) -> Result<Use, Verdict> {
    let Some(name) = checkpoint.spec.options.receiver() else {
        return Ok(Use::None);
    };
    let late = Reason::ReceiverNotReady;
    let waits = |late, message| Err(wait(Reason::WaitingForReceiver, late, message));
    let Some(receiver) = around.receiver.as_deref() else {
        let message = format!("there is no receiver {name}");
        return waits(Reason::ReceiverNotFound, message);
    };
    let status = receiver.status.clone().unwrap_or_default();
    let uid = checkpoint.metadata.uid.as_deref().unwrap_or_default();
    if let Some(other) = status.checkpoint.as_ref().filter(|other| other.uid != uid) {
        let message = format!("receiver {name} is for checkpoint {}", other.name);
        return Err(refuse(Reason::ReceiverTaken, message));
    }
    if let Some(ended) = ended(name, receiver) {
        return Err(refuse(late, ended));
    }
    if status.checkpoint.is_none() {
        return Ok(Use::Claim(Sender {
            name: checkpoint.metadata.name.clone().unwrap_or_default(),
            uid: uid.to_owned(),
            node_name: found.node.to_owned(),
        }));
    }
    let listens = condition::holds(&status.conditions, condition::LISTENING);
    match (status.node_name, status.address, status.port) {
        (Some(node_name), Some(address), Some(port)) if listens => Ok(Use::Pin(PinnedServer {
            receiver: name.to_owned(),
            receiver_uid: receiver.metadata.uid.clone().unwrap_or_default(),
            node_name,
            address,
            port,
            tls: receiver.spec.tls,
        })),
        _ => waits(late, format!("receiver {name} does not listen yet")),
    }
}

/// That a receiver will never listen again, in words.
fn ended(name: &str, receiver: &PageReceiver) -> Option<String> {
    if receiver.is_deleted() {
        return Some(format!("receiver {name} is being deleted"));
    }
    let failure = receiver.status.as_ref().and_then(|s| s.failure.as_ref());
    match failure {
        Some(failure) => Some(format!(
            "receiver {name} has failed: {}: {}",
            failure.reason, failure.message
        )),
        None if receiver.is_finished() => Some(format!("receiver {name} has received already")),
        None => None,
    }
}
