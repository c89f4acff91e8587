//! Ends what is left of a container after a dump has killed it, as `Container.Destroy` of runc does.

use std::{collections::BTreeMap, fs, io, path::PathBuf, thread, time::Duration};

use crate::go_text::go_error;
use crate::runtime::{
    Container, Flavour, NamespaceKind, Status,
    cgroup::{self, Freezer},
    guard::{self, Guard},
    processes,
};

mod cgroups;
mod hooks;

/// How often a container that has just been killed is looked at when there is no guard.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Why something of the container is left.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The first process still runs (`ErrRunning`). Nothing was removed.
    #[error("container still running")]
    StillRunning,
    /// The first process is frozen (`ErrPaused`). Nothing was removed.
    #[error("container paused")]
    Paused,
    /// The first process could not be waited for. Nothing was removed.
    #[error(transparent)]
    Guard(#[from] guard::Error),
    /// The container's status could not be told. Nothing was removed.
    #[error("failed to learn the container's status")]
    Status(#[source] Box<crate::runtime::Error>),
    /// A frozen cgroup without a first process could not be thawed.
    #[error("failed to thaw the container's cgroup")]
    Thaw(#[source] cgroup::Error),
    /// These cgroups could not be removed.
    #[error(
        "unable to remove container's cgroup: Failed to remove paths: {}",
        go_map(left)
    )]
    Cgroups {
        /// Controller and directory of each.
        left: BTreeMap<String, PathBuf>,
    },
    /// The systemd unit could not be stopped.
    #[error("unable to remove container's cgroup: failed to stop unit {unit}: {problem}")]
    Unit {
        /// The unit.
        unit: String,
        /// What systemctl said.
        problem: String,
    },
    /// The resource director's group could not be removed.
    #[error("unable to remove container's IntelRDT group: remove {}: {}", dir.display(), go_error(source))]
    IntelRdt {
        /// Its directory.
        dir: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The state directory could not be removed.
    #[error("unable to remove container state dir: {}: {}", dir.display(), go_error(source))]
    StateDir {
        /// The directory.
        dir: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A poststop hook failed; the container is gone.
    #[error("error running poststop hook #{index}: {problem}")]
    Hook {
        /// Its place in the configuration, from 0.
        index: usize,
        /// How it failed.
        problem: String,
    },
}

impl Error {
    /// A stable name for conditions, events and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::StillRunning => "ContainerStillRunning",
            Self::Paused => "ContainerPaused",
            Self::Guard(source) => source.reason(),
            Self::Status(source) => source.reason(),
            Self::Thaw(source) => source.reason(),
            Self::Cgroups { .. } | Self::Unit { .. } => "CgroupLeft",
            Self::IntelRdt { .. } => "IntelRdtGroupLeft",
            Self::StateDir { .. } => "StateDirLeft",
            Self::Hook { .. } => "PoststopHookFailed",
        }
    }
}

/// Removes what is left of a container whose first process has ended, or is about to: waits for its
/// end, kills what is left in its cgroups where it had no pid namespace of its own, removes the
/// cgroups and the state directory, and runs the poststop hooks. Mirrors `destroy` in
/// `state_linux.go` of runc 1.5.2 and `container_delete_internal` of crun 1.29.
///
/// # Errors
/// [`Error::StillRunning`] or [`Error::Paused`] when the first process has not ended `within` the
/// time given. For runc's containers the first failure ends it, as in runc, and later steps are
/// left undone; for crun's containers every step is tried, and the first failure is returned.
pub fn destroy(
    container: &Container,
    guard: Option<&Guard>,
    within: Duration,
) -> Result<(), Error> {
    wait_for_end(container, guard, within)?;
    match container.flavour {
        Flavour::Runc => {
            kill_left_overs(container);
            remove_cgroups(container)?;
            remove_intel_rdt(container)?;
            remove_state_dir(container)?;
            hooks::run_poststop(container)
        }
        Flavour::Crun => {
            kill_left_overs(container);
            let steps = [remove_cgroups(container), hooks::run_poststop(container)];
            let state_dir = remove_state_dir(container);
            steps.into_iter().chain([state_dir]).collect()
        }
    }
}

/// A process that is killed by CRIU is often not yet gone when CRIU answers.
fn wait_for_end(
    container: &Container,
    guard: Option<&Guard>,
    within: Duration,
) -> Result<(), Error> {
    let ended = match guard {
        Some(guard) => guard.wait_ended(within)?,
        None => wait_by_looking(container, within),
    };
    let status = container
        .status()
        .map_err(|source| Error::Status(Box::new(source)))?;
    match (ended, status) {
        (true, Status::Paused) => {
            let version = cgroup::version();
            let Some(dir) = container.freezer_dir(version) else {
                return Ok(());
            };
            Freezer::new(dir, version).thaw().map_err(Error::Thaw)
        }
        (true, _) => Ok(()),
        (false, Status::Paused) => Err(Error::Paused),
        (false, _) => Err(Error::StillRunning),
    }
}

fn wait_by_looking(container: &Container, within: Duration) -> bool {
    let looks = within.as_millis() / LOOK_AGAIN.as_millis();
    for _ in 0..looks {
        if !container.init_lives() {
            return true;
        }
        thread::sleep(LOOK_AGAIN);
    }
    !container.init_lives()
}

/// In a pid namespace of the container's own the kernel has killed everybody with the first
/// process. Where the namespace is shared there may be others, and nobody else will end them. As in
/// runc a failure here shows as a cgroup that cannot be removed.
fn kill_left_overs(container: &Container) {
    if !container.has_private(NamespaceKind::Pid) {
        processes::kill_all(container);
    }
}

fn remove_cgroups(container: &Container) -> Result<(), Error> {
    let stopped = match &container.systemd_unit {
        Some(unit) => cgroups::stop_unit(unit, container.rootless),
        None => Ok(()),
    };
    // Also when systemd did not stop it: some of the directories are none of systemd's.
    let left = cgroups::remove_all(&container.cgroups);
    stopped?;
    if left.is_empty() {
        Ok(())
    } else {
        Err(Error::Cgroups { left })
    }
}

/// runc removes the group itself only in the process that made it, which a checkpoint is not, but
/// the monitoring group always (`Destroy` in `intelrdt.go`).
fn remove_intel_rdt(container: &Container) -> Result<(), Error> {
    let Some(dir) = &container.intel_rdt.monitoring else {
        return Ok(());
    };
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::IntelRdt {
            dir: dir.clone(),
            source: error,
        }),
        _ => Ok(()),
    }
}

fn remove_state_dir(container: &Container) -> Result<(), Error> {
    match fs::remove_dir_all(&container.state_dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::StateDir {
            dir: container.state_dir.clone(),
            source: error,
        }),
        _ => Ok(()),
    }
}

/// A map as Go prints it.
fn go_map(map: &BTreeMap<String, PathBuf>) -> String {
    let pairs: Vec<String> = map
        .iter()
        .map(|(key, dir)| format!("{key}:{}", dir.display()))
        .collect();
    format!("map[{}]", pairs.join(" "))
}
