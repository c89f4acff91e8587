//! Freezing a container at a moment at which CRIU can stop every task.
//!
//! A task that has started a child with `vfork` (every `posix_spawn` does) waits in the kernel until
//! the child has another program. Frozen in between, the child never gets that far, and the parent
//! never answers CRIU, which waits 10 s with the container standing still and then fails. The window
//! is short, so that freezing again a moment later finds it closed.

use std::{
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::runtime::cgroup::{self, Freezer};

/// Where the kernel keeps a task that waits for a `vfork` child: `wait_for_vfork_done` is part of
/// `kernel_clone` (`kernel/fork.c`).
const IN_VFORK: &str = "kernel_clone";

/// How long tasks run before the next attempt.
const RUN_FOR: Duration = Duration::from_millis(1);

/// Deepest tree of cgroups that is looked through.
const DEPTH_MAX: usize = 16;

/// Why a container does not stand still.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The freezer did not do it. The cgroup is thawed.
    #[error(transparent)]
    Freezer(#[from] cgroup::Error),
    /// A task waits for a child that does not start its program. The cgroup is thawed.
    #[error(
        "task {task} waits for a child of its own (vfork) and cannot be stopped: try again later"
    )]
    InVfork {
        /// The task, in the host's numbers.
        task: i32,
    },
}

/// Freezes a cgroup so that none of its tasks waits for a `vfork` child.
///
/// # Errors
/// It could not be frozen so within the time given. It is thawed then.
pub fn freeze(freezer: &Freezer, within: Duration) -> Result<(), Error> {
    let until = Instant::now() + within;
    loop {
        freezer.freeze(until.saturating_duration_since(Instant::now()))?;
        let Some(task) = waiting_task(freezer.dir(), DEPTH_MAX) else {
            return Ok(());
        };
        freezer.thaw()?;
        if Instant::now() >= until {
            return Err(Error::InVfork { task });
        }
        thread::sleep(RUN_FOR);
    }
}

/// A task of the cgroup, or of one below it, that waits for a `vfork` child. What cannot be read is
/// taken to be well: CRIU still finds out.
fn waiting_task(dir: &Path, depth: usize) -> Option<i32> {
    let tasks = fs::read_to_string(dir.join("tasks")).unwrap_or_default();
    let tasks = tasks.lines().filter_map(|line| line.parse().ok());
    if let Some(task) = tasks
        .into_iter()
        .find(|task| is_in_vfork(&wait_channel(*task)))
    {
        return Some(task);
    }
    let below = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let depth = depth.checked_sub(1)?;
    below.find_map(|entry| waiting_task(&entry.path(), depth))
}

fn wait_channel(task: i32) -> io::Result<String> {
    fs::read_to_string(format!("/proc/{task}/wchan"))
}

fn is_in_vfork(channel: &io::Result<String>) -> bool {
    channel.as_ref().is_ok_and(|symbol| symbol == IN_VFORK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_vfork_parent_by_where_it_waits() {
        assert!(is_in_vfork(&Ok("kernel_clone".to_owned())));
        for other in ["0", "hrtimer_nanosleep", "do_wait", ""] {
            assert!(!is_in_vfork(&Ok(other.to_owned())), "{other}");
        }
        assert!(!is_in_vfork(&Err(io::ErrorKind::NotFound.into())));
    }

    #[test]
    fn looks_through_the_cgroups_below() {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir_all(scratch.path().join("a/b")).unwrap();
        // This process waits for no child.
        let ours = std::process::id().to_string();
        fs::write(
            scratch.path().join("a/b/tasks"),
            format!("{ours}\nnot a number\n"),
        )
        .unwrap();
        assert_eq!(waiting_task(scratch.path(), DEPTH_MAX), None);
    }
}
