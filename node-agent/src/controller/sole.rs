//! One agent of a node at a time: each takes what another has under way for what a killed one left.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use tokio::time::Instant;
use tracing::info;

/// How long the agent before may take to end. Two may overlap while they are updated.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// How often it is tried meanwhile.
const TRY_EVERY: Duration = Duration::from_millis(250);

/// The file below the run directory.
const NAME: &str = "agent.lock";

/// Why this agent cannot be the only one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file that agents lock could not be handled.
    #[error("failed to {doing} {}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another agent has it and does not end.
    #[error(
        "failed to lock {}: another agent of this node has held it for {} s; a node has one agent, \
         whatever --node-name and --image-root say", path.display(), waited.as_secs()
    )]
    Held {
        /// The file.
        path: PathBuf,
        /// For how long it was tried.
        waited: Duration,
    },
}

impl Error {
    /// A stable name.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::File { .. } => "AgentLockUnusable",
            Self::Held { .. } => "AnotherAgent",
        }
    }
}

/// This node's agent is the only one until this is dropped, or the process has ended.
#[derive(Debug)]
pub(super) struct Sole(#[expect(dead_code, reason = "held")] Flock<File>);

/// Waits until no other agent of this node runs. The run directory is the node's own, which an image
/// root on shared storage is not.
///
/// # Errors
/// The file cannot be had, or another agent holds it for all of `patience`.
pub(super) async fn alone(run_dir: &Path, patience: Duration) -> Result<Sole, Error> {
    let path = run_dir.join(NAME);
    let mut file = open(run_dir, &path)?;
    let until = Instant::now() + patience;
    let mut told = false;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Sole(lock)),
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => file,
            Err((_, errno)) => return Err(failed("lock", &path)(errno.into())),
        };
        if Instant::now() >= until {
            let waited = patience;
            return Err(Error::Held { path, waited });
        }
        if !told {
            info!(path = %path.display(), "waits for another agent of this node to end");
            told = true;
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

fn open(run_dir: &Path, path: &Path) -> Result<File, Error> {
    let mut dir = DirBuilder::new();
    dir.recursive(true)
        .mode(0o700)
        .create(run_dir)
        .map_err(failed("create", run_dir))?;
    let mut file = OpenOptions::new();
    file.write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)
        .map_err(failed("open", path))
}

fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::File {
        doing,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_agent_waits_for_the_first_and_then_gives_up() {
        let scratch = tempfile::tempdir().unwrap();
        let run_dir = scratch.path().join("run");
        let first = alone(&run_dir, Duration::ZERO).await.unwrap();
        let error = alone(&run_dir, Duration::ZERO).await.unwrap_err();
        assert_eq!(error.reason(), "AnotherAgent");
        let file = run_dir.join(NAME).display().to_string();
        let text = error.to_string();
        assert!(
            text.contains(&file) && text.contains("--image-root"),
            "{text}"
        );
        let second = tokio::spawn(async move { alone(&run_dir, PATIENCE).await.is_ok() });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        assert!(second.await.unwrap());
    }

    #[tokio::test]
    async fn a_run_directory_that_is_none_is_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let run_dir = scratch.path().join("run");
        std::fs::write(&run_dir, "").unwrap();
        let error = alone(&run_dir, Duration::ZERO).await.unwrap_err();
        assert_eq!(error.reason(), "AgentLockUnusable");
    }
}
