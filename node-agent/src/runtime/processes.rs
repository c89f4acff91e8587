//! Which processes are in a container, and which containers share a network namespace.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::runtime::{
    Container, NamespaceKind,
    cgroup::{self, Freezer, Froze},
    proc_stat,
};

/// A cgroup tree deeper than this is not descended into.
const MAX_DEPTH: u32 = 64;
/// How long the cgroup may take to freeze before its processes are killed one by one.
const FREEZE_TO_KILL: Duration = Duration::from_secs(1);

/// Why a container's processes could not be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A cgroup could not be read.
    #[error("failed to read the processes of {}", dir.display())]
    Cgroup {
        /// The cgroup.
        dir: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A process's namespace could not be looked at.
    #[error("failed to stat {}", path.display())]
    Namespace {
        /// The namespace's file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// A stable name for conditions, events and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Cgroup { .. } => "CgroupInaccessible",
            Self::Namespace { .. } => "NamespaceUnreachable",
        }
    }
}

/// The ids of all processes in the container's cgroup and those below it, in the hierarchy that
/// freezes it. Empty when the cgroup is gone or none is recorded.
///
/// # Errors
/// [`Error::Cgroup`].
pub fn pids(container: &Container) -> Result<Vec<i32>, Error> {
    match container.freezer_dir(cgroup::version()) {
        Some(dir) => pids_in(dir),
        None => Ok(Vec::new()),
    }
}

/// The ids of all processes in a cgroup and those below it. Empty when it is gone.
///
/// # Errors
/// [`Error::Cgroup`].
pub fn pids_in(dir: &Path) -> Result<Vec<i32>, Error> {
    let mut found = BTreeSet::new();
    collect(dir, 0, &mut found)?;
    Ok(found.into_iter().collect())
}

/// A process of a cgroup, or of one below it, that stands still on somebody's word (SIGSTOP, a
/// debugger). What cannot be read is taken to run.
#[must_use]
pub fn stopped_in(dir: &Path) -> Option<i32> {
    let is_stopped = |pid: &i32| {
        let stat = proc_stat::read(*pid).ok().flatten();
        stat.is_some_and(proc_stat::Stat::is_stopped)
    };
    let pids = pids_in(dir).unwrap_or_default();
    pids.into_iter().find(is_stopped)
}

/// A process of a cgroup, or of one below it, that is traced, and the one that traces it. What cannot
/// be read is taken not to be.
#[must_use]
pub fn traced_in(dir: &Path) -> Option<(i32, i32)> {
    let pids = pids_in(dir).unwrap_or_default();
    pids.into_iter().find_map(|pid| Some((pid, tracer(pid)?)))
}

/// Who traces a process, if anybody does. What cannot be read is taken not to be.
#[must_use]
pub fn tracer(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    tracer_in(&status)
}

/// `TracerPid` of a `/proc/PID/status`, where there is one.
fn tracer_in(status: &str) -> Option<i32> {
    let mut lines = status.lines();
    let tracer = lines.find_map(|line| line.strip_prefix("TracerPid:"))?;
    tracer.trim().parse().ok().filter(|tracer| *tracer != 0)
}

/// The inode of a namespace of the container's first process.
///
/// # Errors
/// [`Error::Namespace`].
pub fn namespace_inode(container: &Container, kind: NamespaceKind) -> Result<u64, Error> {
    inode(container.proc_namespace(kind))
}

/// Whether two containers' first processes share the network: what one dump locks, the other feels.
///
/// # Errors
/// [`Error::Namespace`].
pub fn share_network(one: &Container, other: &Container) -> Result<bool, Error> {
    let kind = NamespaceKind::Network;
    Ok(namespace_inode(one, kind)? == namespace_inode(other, kind)?)
}

/// Whether the container's first process is in the network namespace of this process, which is the
/// host's when this process is not itself in a container: CRIU locks nothing then.
///
/// # Errors
/// [`Error::Namespace`].
pub fn uses_our_network(container: &Container) -> Result<bool, Error> {
    let ours = inode(PathBuf::from("/proc/self/ns/net"))?;
    Ok(namespace_inode(container, NamespaceKind::Network)? == ours)
}

fn inode(path: PathBuf) -> Result<u64, Error> {
    match fs::metadata(&path) {
        Ok(meta) => Ok(meta.ino()),
        Err(source) => Err(Error::Namespace { path, source }),
    }
}

/// Kills everything in the container's cgroup. Mirrors `signalAllProcesses` of runc 1.5.2:
/// `cgroup.kill` where there is one, else freeze, kill each and thaw. Best effort, as there: what
/// is left shows when the cgroup is removed.
pub(super) fn kill_all(container: &Container) {
    // The root of a hierarchy holds everybody: a state file that names it must not end the host.
    let unified = container
        .cgroups
        .get("")
        .filter(|dir| cgroup::is_below_root(dir));
    if unified.is_some_and(|dir| fs::write(dir.join("cgroup.kill"), "1").is_ok()) {
        return;
    }
    let version = cgroup::version();
    let Some(dir) = container.freezer_dir(version) else {
        return;
    };
    let freezer = Freezer::new(dir, version);
    // Unfrozen, a process could be born between the list and the kill, or a number be used again.
    let froze = freezer.freeze(FREEZE_TO_KILL);
    for pid in pids(container).unwrap_or_default() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    if matches!(froze, Ok(Froze::Now | Froze::Already)) {
        let _ = freezer.thaw();
    }
}

fn collect(dir: &Path, depth: u32, found: &mut BTreeSet<i32>) -> Result<(), Error> {
    let failed = |source| Error::Cgroup {
        dir: dir.to_owned(),
        source,
    };
    match read_pids(dir) {
        Ok(pids) => found.extend(pids),
        Err(error) if gone(&error) => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    if depth >= MAX_DEPTH {
        return Ok(());
    }
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if gone(&error) => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), depth + 1, found)?;
        }
    }
    Ok(())
}

/// A threaded v2 cgroup lists no processes, but threads (`readProcsFile` of runc's library).
fn read_pids(dir: &Path) -> io::Result<Vec<i32>> {
    let text = match fs::read_to_string(dir.join("cgroup.procs")) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            fs::read_to_string(dir.join("cgroup.threads"))?
        }
        other => other?,
    };
    // A process outside our pid namespace shows as 0.
    Ok(text
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid > 0)
        .collect())
}

fn gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracer_is_read_from_a_process_s_status() {
        let status =
            |tracer| format!("Name:\tTracerPid:\t7\nPPid:\t1\nTracerPid:\t{tracer}\nUid:\t0\n");
        assert_eq!(tracer_in(&status(42)), Some(42));
        assert_eq!(tracer_in(&status(0)), None);
        assert_eq!(tracer_in("Name:\tx\n"), None);
    }
}
