//! What checkpoints cost the API server, from its audit log.

use rig::cluster::AuditEntry;
use serde::Serialize;

/// Requests of the two binaries while some checkpoints were made, but for watches and leases, which
/// are there without them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Requests {
    /// Writes of a checkpoint.
    pub(crate) writes: f64,
    /// Of those, events.
    pub(crate) events: f64,
    /// Reads of a checkpoint.
    pub(crate) reads: f64,
    /// Answers of all that were no success, by number.
    pub(crate) refused: usize,
    /// Renewals of leases in all.
    pub(crate) leases: usize,
}

impl Requests {
    /// Counts those of our service accounts, and divides by the number of checkpoints.
    pub(crate) fn count(entries: &[AuditEntry], checkpoints: usize) -> Self {
        let ours = entries.iter().filter(|entry| {
            entry
                .user
                .starts_with("system:serviceaccount:stillframe-system:")
                && entry.stage == "ResponseComplete"
                && entry.verb != "watch"
        });
        let (mut writes, mut events, mut reads) = (0_u32, 0_u32, 0_u32);
        let mut counted = Self::default();
        for entry in ours {
            if entry.resource == "leases" {
                counted.leases += 1;
                continue;
            }
            if entry.code >= 400 {
                counted.refused += 1;
            }
            match entry.verb.as_str() {
                "get" | "list" => reads += 1,
                _ => writes += 1,
            }
            if entry.resource == "events" {
                events += 1;
            }
        }
        let checkpoints = f64::from(u32::try_from(checkpoints.max(1)).unwrap_or(u32::MAX));
        counted.writes = f64::from(writes) / checkpoints;
        counted.events = f64::from(events) / checkpoints;
        counted.reads = f64::from(reads) / checkpoints;
        counted
    }
}
