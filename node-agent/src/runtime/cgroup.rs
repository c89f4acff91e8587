//! The cgroups of this host: which version, where mounted, and how to freeze one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};

mod flags;
mod freezer;
mod mounts;
mod yard;

pub use flags::{FlagsError, HostFlags};
pub use freezer::{Freezer, FreezerState, Froze};
pub use mounts::{CgroupMount, Membership, hierarchies, parse_membership, parse_mounts};
pub(super) use mounts::{actual_dir, membership, own_mounts, unescape};
pub use yard::yard;

/// Where the hierarchies are mounted.
pub const ROOT: &str = "/sys/fs/cgroup";

/// How this host arranges its cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy per controller.
    V1,
    /// As v1, with a unified hierarchy without controllers at `/sys/fs/cgroup/unified`.
    Hybrid,
    /// One unified hierarchy.
    V2,
}

/// Why a cgroup could not be asked or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A cgroup file could not be read.
    #[error("failed to read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A cgroup file could not be written.
    #[error("failed to write {}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The freezer answered with something that no kernel documents.
    #[error("invalid state {state:?} in {}", file.display())]
    UnknownState {
        /// The file.
        file: PathBuf,
        /// Its content.
        state: String,
    },
    /// The cgroup did not freeze in time, and was thawed again.
    #[error("failed to freeze {} within {waited_ms} ms", dir.display())]
    FreezeTimeout {
        /// The cgroup.
        dir: PathBuf,
        /// How long was waited, in milliseconds.
        waited_ms: u128,
    },
}

impl Error {
    /// A stable name for conditions, events and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Read { .. } | Self::Write { .. } => "CgroupInaccessible",
            Self::UnknownState { .. } => "FreezerStateUnknown",
            Self::FreezeTimeout { .. } => "FreezeTimeout",
        }
    }

    /// Whether the cgroup is simply not there: never made, or removed since.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => gone(source),
            Self::UnknownState { .. } | Self::FreezeTimeout { .. } => false,
        }
    }
}

/// Which version this host runs. Mirrors `IsCgroup2UnifiedMode` and `IsCgroup2HybridMode` of
/// runc's cgroups library; a root that cannot be asked counts as v1, as there.
#[must_use]
pub fn version() -> Version {
    version_below(Path::new(ROOT))
}

fn version_below(root: &Path) -> Version {
    let is_v2 =
        |dir: &Path| statfs(dir).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC);
    if is_v2(root) {
        Version::V2
    } else if is_v2(&root.join("unified")) {
        Version::Hybrid
    } else {
        Version::V1
    }
}

/// Whether a directory lies on a cgroup file system of either version.
fn is_cgroup_dir(dir: &Path) -> bool {
    statfs(dir).is_ok_and(|fs| {
        let kind = fs.filesystem_type();
        kind == CGROUP_SUPER_MAGIC || kind == CGROUP2_SUPER_MAGIC
    })
}

/// Whether a directory is a cgroup and not the root of a hierarchy.
pub(super) fn is_below_root(dir: &Path) -> bool {
    is_cgroup_dir(dir) && dir.parent().is_some_and(is_cgroup_dir)
}

/// The names of the v1 hierarchies' directories below [`ROOT`], links such as `cpu` for
/// `cpu,cpuacct` left out.
pub(super) fn controllers() -> Vec<String> {
    let Ok(entries) = fs::read_dir(ROOT) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter(|entry| is_cgroup_dir(&entry.path()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// A cgroup file that is gone answers ENOENT on open and ENODEV on read.
fn gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}
