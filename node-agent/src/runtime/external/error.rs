//! Why what lies outside the container could not be told.

use std::{io, path::PathBuf};

use crate::go_text::go_error;

/// Why what lies outside could not be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of a joined namespace could not be looked at.
    #[error("failed to stat the container's {kind} namespace {}", path.display())]
    StatNamespace {
        /// `net` or `pid`.
        kind: &'static str,
        /// The recorded path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A masked path could not be looked at through the container's root.
    #[error("failed to stat {}", path.display())]
    StatMasked {
        /// The path, `/proc/PID/root` included.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The cgroup mounts of this process could not be read.
    #[error("failed to read the cgroup mounts of this process")]
    CgroupMounts(#[source] io::Error),
    /// This process is in no cgroup of a mounted hierarchy (`NotFoundError` of runc's library).
    #[error("mountpoint for {controller} not found")]
    NoCgroup {
        /// The first controller of that hierarchy.
        controller: String,
    },
    /// A mount point is not UTF-8, as CRIU's request has to be.
    #[error("invalid mount point {}: not UTF-8", path.display())]
    NotUtf8 {
        /// The mount point in the container.
        path: PathBuf,
    },
}

impl Error {
    /// A stable name for conditions, events and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::StatNamespace { .. } => "NamespaceUnreachable",
            Self::StatMasked { .. } => "MaskedPathUnreachable",
            Self::CgroupMounts(_) | Self::NoCgroup { .. } => "CgroupInaccessible",
            Self::NotUtf8 { .. } => "MountPointNotUtf8",
        }
    }

    /// What runc 1.5.2 prints for this failure, where that says less than `Display`.
    #[must_use]
    pub fn runc_text(&self) -> Option<String> {
        match self {
            Self::StatNamespace { source, .. } => Some(go_error(source)),
            Self::StatMasked { path, source } => {
                Some(format!("stat {}: {}", path.display(), go_error(source)))
            }
            Self::CgroupMounts(_) | Self::NoCgroup { .. } | Self::NotUtf8 { .. } => None,
        }
    }
}
