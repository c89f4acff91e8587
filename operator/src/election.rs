//! Lets one instance of several work at a time: the one that holds the Lease.
//!
//! The rules are client-go's (`tools/leaderelection`): a Lease that has not changed for its
//! duration, by the clock of whoever watches it, is free; a holder that cannot renew in time ends.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use stillframe_crds::names;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

/// How long a Lease is good for once renewed.
const LEASE: Duration = Duration::from_secs(15);

/// How often it is renewed, and how often others look whether it still is.
const PERIOD: Duration = Duration::from_secs(5);

/// How soon a renewal that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How long it may go unrenewed before its holder ends, well before others may take it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why this instance does not lead any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another instance holds the Lease.
    #[error("failed to keep the lead: {holder} has taken it")]
    Taken {
        /// The other instance.
        holder: String,
    },
    /// The Lease could not be renewed in time.
    #[error("failed to renew the leader's Lease for {} s", PATIENCE.as_secs())]
    NotRenewed,
}

impl Error {
    /// The word for logs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Taken { .. } => "LeadTaken",
            Self::NotRenewed => "LeadNotRenewed",
        }
    }
}

/// What one look at the Lease came to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Held,
    HeldBy(String),
}

/// What to do about a Lease.
#[derive(Debug, Clone, PartialEq)]
enum Turn {
    Create(Lease),
    Replace(Lease),
    Leave(String),
}

/// Takes part in the election.
pub struct Elector {
    api: Api<Lease>,
    namespace: String,
    identity: String,
    /// The Lease as we last wrote it.
    ours: Option<Lease>,
    /// The version of somebody else's Lease, and since when it has been that.
    watched: Option<(Option<String>, Instant)>,
}

impl std::fmt::Debug for Elector {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let identity = &self.identity;
        out.debug_struct("Elector")
            .field("identity", identity)
            .finish_non_exhaustive()
    }
}

impl Elector {
    /// Stands for election in `namespace` under a name that no other instance has.
    #[must_use]
    pub fn new(client: Client, namespace: &str, identity: String) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            identity,
            ours: None,
            watched: None,
        }
    }

    /// Waits until this instance leads.
    ///
    /// # Cancel safety
    /// A Lease that was taken and not noticed is free again after its duration.
    pub async fn acquire(&mut self) {
        let mut told = None;
        loop {
            match self.look().await {
                Ok(Standing::Held) => return,
                Ok(Standing::HeldBy(holder)) => {
                    if told.as_ref() != Some(&holder) {
                        info!(%holder, "standing by");
                        told = Some(holder);
                    }
                }
                Err(error) => warn!(%error, "could not read or take the leader's Lease"),
            }
            sleep(PERIOD).await;
        }
    }

    /// Keeps the Lease until that is no longer possible.
    ///
    /// # Errors
    /// It only ever returns with one: another instance leads, or may soon.
    pub async fn hold(&mut self) -> Error {
        let mut renewed = Instant::now();
        let mut pause = PERIOD;
        loop {
            sleep(pause).await;
            let left = PATIENCE.saturating_sub(renewed.elapsed());
            let began = Instant::now();
            pause = RETRY;
            match timeout(left, self.look()).await {
                Ok(Ok(Standing::Held)) => (renewed, pause) = (began, PERIOD),
                Ok(Ok(Standing::HeldBy(holder))) => return Error::Taken { holder },
                Ok(Err(error)) => warn!(%error, "could not renew the leader's Lease"),
                Err(_) => {}
            }
            if renewed.elapsed() >= PATIENCE {
                return Error::NotRenewed;
            }
        }
    }

    /// Gives the Lease up, so that another instance need not wait. Best effort.
    pub async fn release(&mut self) {
        let Some(mut lease) = self.ours.take() else {
            return;
        };
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        let name = names::OPERATOR;
        let parameters = PostParams::default();
        let replaced = self.api.replace(name, &parameters, &lease);
        match timeout(PERIOD, replaced).await {
            Ok(Ok(_)) => info!("gave up the lead"),
            Ok(Err(error)) => warn!(%error, "could not give up the lead"),
            Err(_) => warn!("could not give up the lead in time"),
        }
    }

    /// Looks at the Lease, and takes or renews it when that is due.
    async fn look(&mut self) -> kube::Result<Standing> {
        // What we wrote last is what is there, unless another has taken it.
        let mut current = self.ours.take();
        loop {
            let fresh = current.is_none();
            if fresh {
                current = self.api.get_opt(names::OPERATOR).await?;
            }
            let unchanged = self.unchanged(current.as_ref());
            let now = Timestamp::now();
            let lease = current.take();
            let turn = turn(lease, &self.identity, &self.namespace, unchanged, now);
            let parameters = PostParams::default();
            let written = match turn {
                Turn::Leave(holder) => return Ok(Standing::HeldBy(holder)),
                Turn::Create(lease) => self.api.create(&parameters, &lease).await,
                Turn::Replace(lease) => {
                    self.api.replace(names::OPERATOR, &parameters, &lease).await
                }
            };
            match written {
                Ok(lease) => {
                    self.ours = Some(lease);
                    return Ok(Standing::Held);
                }
                Err(kube::Error::Api(status)) if status.code == 409 && !fresh => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// For how long we have seen this version of somebody's Lease.
    fn unchanged(&mut self, lease: Option<&Lease>) -> Duration {
        let version = lease.and_then(|lease| lease.metadata.resource_version.clone());
        match &self.watched {
            Some((seen, since)) if *seen == version => since.elapsed(),
            _ => {
                self.watched = Some((version, Instant::now()));
                Duration::ZERO
            }
        }
    }
}

/// What `identity` does about a Lease that has not changed for that long.
fn turn(
    lease: Option<Lease>,
    identity: &str,
    namespace: &str,
    unchanged: Duration,
    now: Timestamp,
) -> Turn {
    let Some(mut lease) = lease else {
        let metadata = ObjectMeta {
            name: Some(names::OPERATOR.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        };
        let spec = Some(held(identity, LeaseSpec::default(), now));
        return Turn::Create(Lease { metadata, spec });
    };
    let spec = lease.spec.take().unwrap_or_default();
    let holder = spec.holder_identity.clone().filter(|one| !one.is_empty());
    let seconds = spec
        .lease_duration_seconds
        .and_then(|s| u64::try_from(s).ok());
    let duration = seconds.map_or(LEASE, Duration::from_secs);
    match holder {
        Some(holder) if holder != identity && unchanged < duration => Turn::Leave(holder),
        _ => {
            lease.spec = Some(held(identity, spec, now));
            Turn::Replace(lease)
        }
    }
}

/// The Lease's content once `identity` holds it from now on.
fn held(identity: &str, mut spec: LeaseSpec, now: Timestamp) -> LeaseSpec {
    if spec.holder_identity.as_deref() != Some(identity) {
        let transitions = spec.lease_transitions.unwrap_or_default();
        spec.lease_transitions = Some(transitions.saturating_add(1));
        spec.acquire_time = Some(MicroTime(now));
        spec.holder_identity = Some(identity.to_owned());
    }
    spec.lease_duration_seconds = i32::try_from(LEASE.as_secs()).ok();
    spec.renew_time = Some(MicroTime(now));
    spec
}

#[cfg(test)]
mod tests;
