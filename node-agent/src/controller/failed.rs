//! A failure on its way to a status.

use stillframe_crds::{Reason, checkpoint::Failure};

use super::{disk, place};

/// Why a checkpoint failed, and whether it may be tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    /// What the status will say.
    pub failure: Box<Failure>,
    /// It may go well the next time.
    pub retryable: bool,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self {
            failure: Box::new(failure),
            retryable: false,
        }
    }
}

impl From<place::Error> for Failed {
    fn from(error: place::Error) -> Self {
        Self::of(error.reason(), chain(&error))
    }
}

impl From<disk::LimitExceeded> for Failed {
    fn from(error: disk::LimitExceeded) -> Self {
        Self::of(error.reason(), chain(&error))
    }
}

impl Failed {
    /// A failure of ours, with the hint that the table of reasons has for it.
    #[must_use]
    pub fn of(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            failure: Box::new(Failure::new(reason, message)),
            retryable: false,
        }
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.failure.reason.parse().unwrap_or(Reason::InternalError)
    }
}

/// An error with everything that caused it, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
