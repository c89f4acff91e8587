//! Why a benchmark gives no result.

use std::io;
use std::path::PathBuf;

/// The operation that failed, with what it touched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file could not be read or written.
    #[error("failed to {what} {}: {source}", path.display())]
    File {
        /// The operation, as a verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A checkpoint of a round failed: a benchmark never leaves one out.
    #[error("failed to checkpoint row {row}, round {round}, with {command:?}: {stderr}")]
    Round {
        /// The row.
        row: &'static str,
        /// The round.
        round: usize,
        /// The command line.
        command: Vec<String>,
        /// What it said, and CRIU's error lines.
        stderr: String,
    },
    /// What a round printed or left could not be understood.
    #[error("failed to read {what} of row {row}, round {round}: {text}")]
    Unreadable {
        /// What it was to be.
        what: &'static str,
        /// The row.
        row: &'static str,
        /// The round.
        round: usize,
        /// What it was.
        text: String,
    },
    /// The workload did not answer in time.
    #[error("failed to hear from the workload of row {row} within {seconds} s")]
    Silent {
        /// The row.
        row: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// A row was asked for that there is not.
    #[error("invalid row {name}; there are: {known}")]
    UnknownRow {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Something could not be written or read as JSON.
    #[error("failed to write or read JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// There is no event loop in the node's network.
    #[error("failed to start an event loop in the node's network: {0}")]
    Loop(#[source] io::Error),
    /// The API server, or a kubelet, refuses.
    #[error("failed to {what}: {source}")]
    Kube {
        /// The operation, as a verb with its object.
        what: String,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// A row of the cluster could not be measured.
    #[error("failed to {what}: {why}")]
    Mission {
        /// The operation, as a verb with its object.
        what: String,
        /// Why not.
        why: String,
    },
}

impl Error {
    /// The client's error at some operation.
    pub(crate) fn kube(what: &str, source: kube::Error) -> Self {
        Self::Kube {
            what: what.to_owned(),
            source: Box::new(source),
        }
    }

    /// A stable name for the kind of failure.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::File { .. } => "FileFailed",
            Self::Round { .. } => "CheckpointFailed",
            Self::Unreadable { .. } => "ResultUnreadable",
            Self::Silent { .. } => "WorkloadSilent",
            Self::UnknownRow { .. } => "UnknownRow",
            Self::Json(_) => "JsonFailed",
            Self::Loop(_) => "LoopFailed",
            Self::Kube { .. } => "RequestFailed",
            Self::Mission { .. } => "MissionFailed",
        }
    }
}
