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
    checkpoint::{self, Kind, Observer, Report, Request, Step},
    criu::{self, Cancel, Launch, Swrk},
    runtime::{self, Container, ContainerId, Status, destroy},
};

/// CRIU's number from which on it tells its version; runc asks for no more than that.
const OLDEST_CRIU: u32 = 30_000;
/// How long CRIU may take to say its version. It answers within milliseconds, or never.
const VERSION_WITHIN: Duration = Duration::from_secs(10);

/// How long a container that CRIU has killed may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// Hands the engine's steps to whoever shows them.
struct Steps<'a>(&'a mut dyn FnMut(Step));

impl std::fmt::Debug for Steps<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Steps")
    }
}

impl Observer for Steps<'_> {
    fn step(&mut self, step: Step) {
        (self.0)(step);
    }
}

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

impl From<checkpoint::Error> for Failure {
    fn from(error: checkpoint::Error) -> Self {
        let quoted = error.log().map(criu::log::quote).unwrap_or_default();
        Self {
            reason: error.reason(),
            hint: error.hint(),
            criu_errno: error.criu_errno(),
            quoted,
            message: with_causes(&error),
        }
    }
}

/// An error's text followed by those of what caused it, but for what it says itself, as the texts do
/// that are runc's.
fn with_causes(error: &dyn std::error::Error) -> String {
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
        let engine = checkpoint::Engine::of_this_host();
        let mut observer = Steps(observe);
        let ends = request.kind == Kind::Dump && !request.options.leave_running;
        let mut report =
            checkpoint::run(&engine, &container, &request, &self.cancel, &mut observer)?;
        if ends && let Err(error) = destroy::destroy(&container, None, GONE_WITHIN) {
            // As in runc: the image is there, and that is what was asked for.
            report.warnings.push(with_causes(&error));
        }
        Ok(report)
    }
}
