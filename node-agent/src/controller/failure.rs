//! Why a dump failed, in the words of the API.

use std::path::Path;

use stillframe_crds::checkpoint::Failure;

use crate::checkpoint::Error;

/// The failure as a status holds it.
#[must_use]
pub fn of(error: &Error, log: Option<&Path>) -> Failure {
    Failure {
        reason: "CriuFailed".to_owned(),
        message: error.to_string(),
        hint: error.hint(),
        criu_errno: error.criu_errno(),
        log: Vec::new(),
        log_path: log.map(|path| path.display().to_string()),
    }
}

/// Whether it may go well the next time.
#[must_use]
pub fn retryable(error: &Error) -> bool {
    matches!(error, Error::Journal(_))
}
