//! What can be wrong with an image directory.

use std::path::PathBuf;

use nix::errno::Errno;

/// An image directory that cannot be read, is not complete, or cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be opened or listed.
    #[error("failed to open image directory {}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Errno,
    },
    /// A file is missing.
    #[error("image file {name:?} is missing")]
    Missing {
        /// Its name.
        name: String,
    },
    /// A file cannot be read.
    #[error("failed to read image file {name:?}")]
    Read {
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: Errno,
    },
    /// Something that no image has.
    #[error("image file {name:?} {problem}")]
    Strange {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A record that is no message.
    #[error("failed to decode image file {name:?}")]
    Decode {
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: prost::DecodeError,
    },
    /// Pages that are listed and not there, or the other way round.
    #[error("image file {name:?} has {actual} bytes where {expected} are listed")]
    PagesSize {
        /// The pages file.
        name: String,
        /// What the page maps list.
        expected: u64,
        /// What there is.
        actual: u64,
    },
    /// A file cannot be changed.
    #[error("failed to change image file {name:?}")]
    Change {
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: Errno,
    },
    /// A file or directory did not get to the disk.
    #[error("failed to flush {name:?} to disk")]
    Flush {
        /// Which.
        name: String,
        /// Why not.
        #[source]
        source: Errno,
    },
    /// The image did not get its final name.
    #[error("failed to rename {} to {}", partial.display(), image.display())]
    Name {
        /// What was to be renamed.
        partial: PathBuf,
        /// The final name.
        image: PathBuf,
        /// Why not; `EEXIST` when there is one already.
        #[source]
        source: Errno,
    },
}

impl Error {
    /// A stable name for the class of failure.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Open { .. } | Self::Read { .. } => "ImageUnreadable",
            Self::Missing { .. } | Self::PagesSize { .. } => "ImageIncomplete",
            Self::Strange { .. } | Self::Decode { .. } => "ImageMalformed",
            Self::Change { .. } => "ImageNotChanged",
            Self::Flush { .. } => "ImageNotFlushed",
            Self::Name {
                source: Errno::EEXIST,
                ..
            } => "ImageExists",
            Self::Name { .. } => "ImageNotNamed",
        }
    }
}
