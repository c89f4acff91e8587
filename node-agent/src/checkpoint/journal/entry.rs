//! What a journal entry says.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::{
        fence::Fence,
        lock::{Method, Rules},
        process::ProcessId,
        remap,
    },
    runtime::cgroup::{HostFlags, Version},
};

/// What a dump would leave behind if everything died now.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of the dump that a repair depends on"
)]
pub struct Entry {
    /// The container's id.
    pub container: String,
    /// Its state directory.
    pub state_dir: PathBuf,
    /// The process that runs the dump.
    pub owner: ProcessId,
    /// The CRIU that it started.
    pub criu: Option<ProcessId>,
    /// The container's first process.
    pub init: ProcessId,
    /// The freezer as it was, where the container has one of its own.
    pub freezer: Option<FreezerBefore>,
    /// The network lock, where one is taken.
    pub network: Option<LockedNetwork>,
    /// What stands before the port of the lazy pages, where they are for some alone.
    #[serde(default)]
    pub fence: Option<Fence>,
    /// Established connections are dumped, which CRIU stops for that.
    #[serde(default)]
    pub connections: bool,
    /// The container may stand still for so long and no longer.
    #[serde(default)]
    pub pause_is_bounded: bool,
    /// The flags of the unified hierarchy, which CRIU may take away.
    #[serde(default)]
    pub cgroup_flags: Option<HostFlags>,
    /// Folders in which CRIU may link deleted files back.
    pub link_remaps: Vec<remap::Folder>,
    /// The directory that the image is written to.
    pub image: PathBuf,
    /// It is no image until it has been renamed, and goes if it never is.
    pub partial: bool,
    /// The container ends, and a lock that outlives it is CRIU's word to the restore.
    pub ends_container: bool,
    /// That lock goes all the same, since others live in that network.
    #[serde(default)]
    pub unlock_after_end: bool,
}

/// A freezer before the dump.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FreezerBefore {
    /// The cgroup's directory.
    pub dir: PathBuf,
    /// It belongs to the unified hierarchy.
    pub unified: bool,
    /// The container was paused, and is to stay so.
    pub paused: bool,
}

impl FreezerBefore {
    /// Which files its freezer has.
    #[must_use]
    pub fn version(&self) -> Version {
        if self.unified {
            Version::V2
        } else {
            Version::V1
        }
    }
}

/// A network namespace that is locked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LockedNetwork {
    /// Inode of the namespace.
    pub inode: u64,
    /// How.
    pub method: Method,
    /// Rules of CRIU's kind that were there before.
    pub before: Rules,
    /// The log that names CRIU's run.
    pub log: PathBuf,
}
