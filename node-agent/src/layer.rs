//! What a container has changed of its root file system, as an OCI layer: the upper directory of its overlay mount, read without
//! a look at what is mounted over it.
//!
//! The workload chose every name, link and attribute in there, and somebody who shares its processes may go on writing while
//! its own stand still. So nothing is reached but through the directory's descriptor, no link is followed, a file is as long in
//! the archive as it was when it was opened, and what an archive cannot hold is left out and told.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    time::Instant,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::stat::Mode,
};

mod changes;
mod entry;
mod meter;
mod sparse;
mod walk;
mod write;

pub use write::Written;

/// The archive in an image's directory.
pub const FILE: &str = "rootfs-diff.tar";

/// Whose attributes tell what overlayfs keeps of its own in an upper directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// `trusted.overlay.*`.
    Trusted,
    /// `user.overlay.*`, of mounts with the option `userxattr`.
    User,
}

impl Marks {
    fn prefix(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.",
            Self::User => "user.overlay.",
        }
    }
}

/// An upper directory, held open.
#[derive(Debug)]
pub struct Upper {
    dir: OwnedFd,
    marks: Marks,
}

/// What an upper directory takes, the most that its archive takes included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes of an archive of it.
    pub bytes: u64,
}

/// What ends the writing of an archive early.
pub struct Limits<'a> {
    /// It is too late then.
    pub until: Option<Instant>,
    /// Nobody wants it any more.
    pub called_off: &'a dyn Fn() -> bool,
    /// The most bytes that it may take.
    pub most: u64,
}

impl std::fmt::Debug for Limits<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Limits")
            .field("until", &self.until)
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

/// Why the changed files could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The upper directory cannot be opened.
    #[error("failed to open {path}", path = path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
    /// Something in it cannot be read.
    #[error("failed to read {path:?} among the changed files")]
    Read {
        /// Its path in the container's root.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
    /// A file or directory whose content is elsewhere.
    #[error(
        "{path:?} was moved or changed by a feature of overlayfs whose content is elsewhere (redirect_dir, metacopy)"
    )]
    Elsewhere {
        /// Its path in the container's root.
        path: PathBuf,
    },
    /// There are more entries than anybody can be kept busy with.
    #[error("there are too many changed files")]
    TooMany,
    /// They take more than was set aside before the dump.
    #[error("the changed files take more than the {most} bytes that were set aside for them")]
    TooLarge {
        /// How much that is.
        most: u64,
    },
    /// It was too late, or nobody wanted it any more.
    #[error("the changed files could not be saved in time")]
    Interrupted,
    /// The archive cannot be written.
    #[error("failed to write the archive of the changed files")]
    Write(#[source] io::Error),
}

impl Error {
    /// A stable name.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        "RootfsDiffFailed"
    }

    /// What the kernel said, where it was the kernel.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } => Some(*source),
            Self::Write(source) => source.raw_os_error().map(Errno::from_raw),
            Self::Elsewhere { .. } | Self::TooMany | Self::TooLarge { .. } | Self::Interrupted => {
                None
            }
        }
    }
}

impl Upper {
    /// Opens an upper directory by a path that is root's own.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(path: &Path, marks: Marks) -> Result<Self, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let dir = open(path, flags, Mode::empty()).map_err(|source| Error::Open {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self { dir, marks })
    }

    /// Adds up what an archive takes. What goes meanwhile counts as nothing.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::TooMany`].
    pub fn size(&self) -> Result<Size, Error> {
        changes::size(self.dir.as_fd())
    }

    /// The first thing that the container has changed, by its path in the root; what had to be there for something
    /// to be mounted on it (`mounts`, as the container sees them) does not count.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::TooMany`].
    pub fn first_change(&self, mounts: &[PathBuf]) -> Result<Option<PathBuf>, Error> {
        changes::first(self.dir.as_fd(), self.marks, mounts)
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// See [`Error`]. What was written until then is no archive.
    pub fn write(&self, out: impl io::Write, limits: &Limits<'_>) -> Result<Written, Error> {
        write::write(self.dir.as_fd(), self.marks, out, limits)
    }
}

#[cfg(test)]
mod tests;
