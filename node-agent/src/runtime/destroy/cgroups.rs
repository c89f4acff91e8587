//! Removes a container's cgroups: systemd's unit, then the directories from the leaves up.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::runtime::{cgroup, destroy::Error};

/// How often a busy directory is tried, with a pause that starts at one millisecond and doubles:
/// `rmdir` in utils.go of runc's cgroups library.
const RMDIR_TRIES: u32 = 10;
/// What `systemctl` exits with when there is no such unit.
const UNIT_NOT_LOADED: i32 = 5;
/// A cgroup tree deeper than this is not descended into.
const MAX_DEPTH: u32 = 64;

/// Removes every directory; those that stay are returned. Mirrors `RemovePaths`.
pub(super) fn remove_all(paths: &BTreeMap<String, PathBuf>) -> BTreeMap<String, PathBuf> {
    let left = paths.iter().filter(|(_, dir)| remove(dir).is_err());
    left.map(|(key, dir)| (key.clone(), dir.clone())).collect()
}

/// Removes one directory and those below it. A state file must not make us remove anything but a
/// cgroup, and not the root of a hierarchy.
fn remove(dir: &Path) -> io::Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    if !cgroup::is_below_root(dir) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    remove_tree(dir, 0)
}

/// Mirrors `RemovePath`: try at once, then the directories below, then with patience.
fn remove_tree(dir: &Path, depth: u32) -> io::Result<()> {
    if remove_dir(dir, 0).is_ok() {
        return Ok(());
    }
    if depth >= MAX_DEPTH {
        return Err(io::Error::from_raw_os_error(libc::ELOOP));
    }
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path(), depth + 1)?;
        }
    }
    remove_dir(dir, RMDIR_TRIES)
}

fn remove_dir(dir: &Path, mut tries: u32) -> io::Result<()> {
    let mut pause = Duration::from_millis(1);
    loop {
        let error = match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match error.raw_os_error() {
            Some(libc::ENOENT) => return Ok(()),
            Some(libc::EINTR) => {}
            Some(libc::EBUSY) if tries > 0 => {
                thread::sleep(pause);
                pause *= 2;
                tries -= 1;
            }
            _ => return Err(error),
        }
    }
}

/// Stops the unit, and forgets that it failed, which `stopUnit` of runc's cgroups library asks
/// systemd over its bus. A unit that is gone is stopped.
pub(super) fn stop_unit(unit: &str, user: bool) -> Result<(), Error> {
    let scope = if user { "--user" } else { "--system" };
    let failed = |problem: String| Error::Unit {
        unit: unit.to_owned(),
        problem,
    };
    let output = Command::new("systemctl")
        .args([
            scope,
            "--no-ask-password",
            "--job-mode=replace",
            "stop",
            "--",
            unit,
        ])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    // Without this a failed scope keeps its name taken; there is mostly none.
    let _ = Command::new("systemctl")
        .args([scope, "reset-failed", "--", unit])
        .stdin(Stdio::null())
        .output();
    if output.status.success() || output.status.code() == Some(UNIT_NOT_LOADED) {
        return Ok(());
    }
    Err(failed(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}
