//! The engine behind `checkpoint`: this node's runtimes and CRIU.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    checkpoint::{Engine, Failure},
    golang::quote::plain,
};
use crate::{
    checkpoint::{Report, Request, Step},
    criu::{Cancel, Launch, Swrk},
    runtime::{self, Container, ContainerId, Status},
};

/// CRIU's number from which on it tells its version; runc asks for no more than that.
const OLDEST_CRIU: u32 = 30_000;
/// How long CRIU may take to say its version. It answers within milliseconds, or never.
const VERSION_WITHIN: Duration = Duration::from_secs(10);

/// This node.
#[derive(Debug)]
pub(super) struct Node {
    cancel: Cancel,
}

impl Node {
    /// An engine that stops when the token says so.
    pub(super) fn new(cancel: Cancel) -> Self {
        Self { cancel }
    }
}

impl From<runtime::Error> for Failure {
    fn from(error: runtime::Error) -> Self {
        let message = error.runc_text().unwrap_or_else(|| with_causes(&error));
        Self {
            reason: error.reason(),
            message,
            ..Self::default()
        }
    }
}

/// An error's text followed by those of what caused it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Engine for Node {
    type Container = Container;

    fn load(&self, root: &Path, id: &OsStr) -> Result<Container, Failure> {
        let id: ContainerId = plain(id.as_bytes()).parse()?;
        Ok(runtime::load(root, &id)?)
    }

    fn refused_state(&self, container: &Container) -> Result<Option<String>, Failure> {
        Ok(match container.status()? {
            Status::Running | Status::Paused => None,
            status @ (Status::Created | Status::Stopped) => Some(status.to_string()),
        })
    }

    fn require_criu(&self) -> Result<(), Failure> {
        let asked = Swrk::start(&Launch::default())
            .and_then(|mut criu| criu.version(Instant::now() + VERSION_WITHIN));
        let version = asked.map_err(|error| Failure {
            reason: error.reason(),
            message: format!("CRIU version check failed: {}", with_causes(&error)),
            ..Failure::default()
        })?;
        if version.number() < OLDEST_CRIU {
            return Err(Failure {
                reason: "CriuTooOld",
                message: format!(
                    "CRIU version {} must be {OLDEST_CRIU} or higher",
                    version.number()
                ),
                ..Failure::default()
            });
        }
        Ok(())
    }

    fn checkpoint(
        &self,
        container: Container,
        request: Request,
        observe: &mut dyn FnMut(Step),
    ) -> Result<Report, Failure> {
        let _ = (&self.cancel, container, request);
        observe(Step::Requested);
        self.require_criu()?;
        Err(Failure {
            reason: "NotBuilt",
            message: "failed to checkpoint: this build has no engine".to_owned(),
            ..Failure::default()
        })
    }
}
