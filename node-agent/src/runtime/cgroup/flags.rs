//! The flags of the unified hierarchy, which are the host's: one mount that names none takes them all away.
//!
//! CRIU makes such a mount unless it leaves cgroups alone (criu#3029). Without `nsdelegate` a container may write limits
//! that are not its own; without `memory_recursiveprot` what protects a slice protects nothing in it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::CWD,
    mount::{FsPickFlags, fsconfig_reconfigure, fsconfig_set_flag, fspick},
};
use serde::{Deserialize, Serialize};

use super::{CgroupMount, ROOT, parse_mounts};

/// `cgroup2_fs_parameters` of `kernel/cgroup/cgroup.c`.
const KNOWN: [&str; 6] = [
    "nsdelegate",
    "favordynmods",
    "memory_localevents",
    "memory_recursiveprot",
    "memory_hugetlb_accounting",
    "pids_localevents",
];

/// The flags that were seen on a mount of the unified hierarchy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFlags {
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// Their names.
    pub flags: Vec<String>,
}

/// Why the flags are not what they were.
#[derive(Debug, thiserror::Error)]
pub enum FlagsError {
    /// The kernel did not take them.
    #[error("failed to set the flags {} of {}", flags.join(","), mountpoint.display())]
    Set {
        /// Where the hierarchy is mounted.
        mountpoint: PathBuf,
        /// All that it was to have.
        flags: Vec<String>,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel took them, and has others all the same.
    #[error("{} still lacks the flags {}", mountpoint.display(), flags.join(","))]
    Ignored {
        /// Where the hierarchy is mounted.
        mountpoint: PathBuf,
        /// What it lacks.
        flags: Vec<String>,
    },
}

impl HostFlags {
    /// The flags that the unified hierarchy has now; none where this process sees none mounted.
    #[must_use]
    pub fn now() -> Option<Self> {
        of(&parse_mounts(&fs::read("/proc/self/mountinfo").ok()?))
    }

    /// With those that another one names.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        let more = other.lacking(&self);
        self.flags.extend(more);
        self
    }

    /// Those that `now` does not have.
    fn lacking(&self, now: &Self) -> Vec<String> {
        let flags = self.flags.iter().filter(|flag| !now.flags.contains(flag));
        flags.cloned().collect()
    }

    /// Sets those again that the hierarchy does not have any more. What it has beside them stays.
    ///
    /// # Errors
    /// See [`FlagsError`].
    pub fn put_back(&self) -> Result<(), FlagsError> {
        let now = Self::now().unwrap_or_else(|| Self {
            mountpoint: self.mountpoint.clone(),
            flags: Vec::new(),
        });
        if self.lacking(&now).is_empty() {
            return Ok(());
        }
        let Self { mountpoint, flags } = now.and(self);
        if let Err(source) = set(&mountpoint, &flags) {
            return Err(FlagsError::Set {
                mountpoint,
                flags,
                source,
            });
        }
        let flags = self.lacking(&Self::now().unwrap_or_default());
        if flags.is_empty() {
            return Ok(());
        }
        Err(FlagsError::Ignored { mountpoint, flags })
    }
}

/// What a mount of the unified hierarchy says: all of them have the same. The host's own is the first;
/// another CRIU may have one of its own for a moment.
fn of(mounts: &[CgroupMount]) -> Option<HostFlags> {
    let mut unified = mounts.iter().filter(|mount| mount.unified);
    let first = unified.clone().next()?;
    let mount = unified
        .find(|mount| mount.mountpoint.starts_with(ROOT))
        .unwrap_or(first);
    let known = |flag: &&String| KNOWN.contains(&flag.as_str());
    Some(HostFlags {
        mountpoint: mount.mountpoint.clone(),
        flags: mount.options.iter().filter(known).cloned().collect(),
    })
}

/// Gives the hierarchy these flags and no others; no mount changes.
fn set(mountpoint: &Path, flags: &[String]) -> io::Result<()> {
    let hierarchy = fspick(CWD, mountpoint, FsPickFlags::FSPICK_CLOEXEC)?;
    for flag in flags {
        fsconfig_set_flag(&hierarchy, flag.as_str())?;
    }
    Ok(fsconfig_reconfigure(&hierarchy)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(options: &str) -> Option<HostFlags> {
        let line = format!("27 26 0:23 / /c rw,nosuid - cgroup2 cgroup2 {options}\n");
        let v1 = "35 31 0:32 / /v1 rw - cgroup cgroup rw,memory,favordynmods\n";
        of(&parse_mounts((line + v1).as_bytes()))
    }

    fn flags(names: &[&str]) -> HostFlags {
        HostFlags {
            mountpoint: "/c".into(),
            flags: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn only_the_unified_hierarchy_s_own_flags_count() {
        let found = mounted("rw,nsdelegate,memory_recursiveprot,something_new");
        assert_eq!(found, Some(flags(&["nsdelegate", "memory_recursiveprot"])));
        assert_eq!(mounted("rw"), Some(flags(&[])));
        let places = |places: &[&str]| {
            let line = |place: &&str| format!("1 1 0:23 / {place} rw - cgroup2 none rw\n");
            let text: String = places.iter().map(line).collect();
            of(&parse_mounts(text.as_bytes())).map(|found| found.mountpoint)
        };
        let host = PathBuf::from("/sys/fs/cgroup/unified");
        let yard = "/images/.criu.cgyard.X/unified";
        let found = places(&[yard, "/sys/fs/cgroup/unified", yard]);
        assert_eq!(found, Some(host));
        assert_eq!(places(&["/a", yard]), Some("/a".into()));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn what_is_put_back_is_what_is_lacking_and_takes_nothing_away() {
        let before = flags(&["nsdelegate", "favordynmods"]);
        let now = flags(&["favordynmods", "pids_localevents"]);
        assert_eq!(before.lacking(&now), ["nsdelegate"]);
        assert_eq!(
            now.and(&before),
            flags(&["favordynmods", "pids_localevents", "nsdelegate"])
        );
        assert_eq!(before.lacking(&before), Vec::<String>::new());
    }
}
