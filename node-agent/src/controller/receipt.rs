//! Waits for what a receiver on another node says of the memory that was sent to it.

use std::time::{Duration, Instant};

use kube::{Api, Client, runtime::wait::await_condition};
use stillframe_crds::{
    PageReceiver,
    checkpoint::{Part, PinnedServer},
    condition,
};
use tokio::runtime::Handle;

use crate::criu::Cancel;

/// How often it is looked whether the checkpoint has been called off meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Where the memory went, and how it is asked for.
#[derive(Clone)]
pub(super) struct Receipt {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) server: PinnedServer,
    pub(super) cancel: Cancel,
    pub(super) runtime: Handle,
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Receipt").field(&self.server).finish()
    }
}

impl Receipt {
    /// Waits until the receiver has ended. To be called where waiting keeps nobody else waiting.
    ///
    /// # Errors
    /// Why the memory is not there, in words.
    pub(super) fn wait(&self, until: Option<Instant>) -> Result<Part, String> {
        let name = &self.server.receiver;
        self.runtime.block_on(async {
            let api: Api<PageReceiver> = Api::namespaced(self.client.clone(), &self.namespace);
            let uid = self.server.receiver_uid.clone();
            let ended = move |found: Option<&PageReceiver>| {
                found.is_none_or(|found| {
                    found.metadata.uid.as_deref() != Some(uid.as_str()) || found.is_finished()
                })
            };
            let found = tokio::select! {
                found = await_condition(api, name, ended) => {
                    found.map_err(|error| format!("cannot tell what receiver {name} has: {error}"))?
                }
                () = self.called_off(until) => {
                    return Err(format!("receiver {name} has not said in time that it has everything"));
                }
            };
            outcome(&self.server, found.as_ref())
        })
    }

    /// Done once nobody waits any more.
    async fn called_off(&self, until: Option<Instant>) {
        while self.cancel.why().is_none() && until.is_none_or(|until| Instant::now() < until) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// What a receiver has that has ended.
fn outcome(server: &PinnedServer, found: Option<&PageReceiver>) -> Result<Part, String> {
    let name = &server.receiver;
    let uid = |found: &&PageReceiver| found.metadata.uid.as_deref() == Some(&server.receiver_uid);
    let Some(found) = found.filter(uid) else {
        return Err(format!("receiver {name} is gone"));
    };
    let status = found.status.clone().unwrap_or_default();
    if let Some(failure) = status.failure {
        let (reason, message) = (failure.reason, failure.message);
        return Err(format!("receiver {name} has failed: {reason}: {message}"));
    }
    let ready = condition::holds(&status.conditions, condition::READY);
    match (status.node_name, status.path, status.size_bytes) {
        (Some(node), Some(path), Some(size_bytes)) if ready => Ok(Part {
            node,
            path,
            size_bytes,
            digest: status.digest,
        }),
        _ => Err(format!("receiver {name} does not say what it has")),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use stillframe_crds::{
        PageReceiverSpec, Reason, checkpoint::Failure, receiver::PageReceiverStatus,
    };

    use super::*;

    #[test]
    fn only_what_is_ready_counts() {
        let server = PinnedServer {
            receiver: "pages".to_owned(),
            receiver_uid: "r".to_owned(),
            ..PinnedServer::default()
        };
        let receiver = |uid: &str, ready: bool, failure: Option<Failure>| {
            let mut receiver = PageReceiver::new("pages", PageReceiverSpec::default());
            receiver.metadata.uid = Some(uid.to_owned());
            let mut status = PageReceiverStatus {
                node_name: Some("node-b".to_owned()),
                path: Some("/images/x".to_owned()),
                size_bytes: Some(9),
                completion_time: Some(Time(Timestamp::UNIX_EPOCH)),
                failure,
                ..PageReceiverStatus::default()
            };
            let reason = Reason::Received;
            let now = Timestamp::UNIX_EPOCH;
            condition::ended(&mut status.conditions, ready, reason, "m", None, now);
            receiver.status = Some(status);
            receiver
        };
        let failure = Failure {
            reason: "DiskFull".to_owned(),
            message: "no room".to_owned(),
            ..Failure::default()
        };
        let part = outcome(&server, Some(&receiver("r", true, None))).unwrap();
        assert_eq!((part.node.as_str(), part.size_bytes), ("node-b", 9));
        for (found, says) in [
            (None, "gone"),
            (Some(receiver("other", true, None)), "gone"),
            (Some(receiver("r", false, None)), "does not say"),
            (
                Some(receiver("r", false, Some(failure))),
                "DiskFull: no room",
            ),
        ] {
            let error = outcome(&server, found.as_ref()).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
