//! Why an image's place cannot be had or used.

use std::path::PathBuf;

use nix::errno::Errno;
use stillframe_crds::Reason;

/// What kept a place from being used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image root cannot be made or opened.
    #[error("failed to open the image root {}", path.display())]
    Root {
        /// The root.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A path of the request is none that may be used.
    #[error("invalid path {path:?}: {problem}")]
    Path {
        /// As asked for.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A link, a file or a device stands where a directory has to be.
    #[error("failed to enter {}: it is {kind}", path.display())]
    InTheWay {
        /// Where.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Somebody else may write to a directory, and could exchange what is below it.
    #[error("failed to trust {}: it belongs to user {uid} and has mode {mode:o}", path.display())]
    Writable {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
        /// Its permissions.
        mode: u32,
    },
    /// Another object has the place.
    #[error("failed to take {}: it belongs to {namespace}/{name} ({uid})", path.display())]
    Taken {
        /// The place.
        path: PathBuf,
        /// The namespace of the object.
        namespace: String,
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Something that no object owns is there.
    #[error("failed to take {}: it exists and belongs to no checkpoint", path.display())]
    Foreign {
        /// What is there.
        path: PathBuf,
    },
    /// The owner file is not the one that this object wrote.
    #[error("failed to write {}: it does not name the object {uid}", path.display())]
    NotOwned {
        /// The owner file.
        path: PathBuf,
        /// The object.
        uid: String,
    },
    /// The owner file holds what no agent wrote.
    #[error("failed to understand {}", path.display())]
    Owner {
        /// The owner file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file of ours is larger than we write them.
    #[error("failed to take {}: it is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is read at most.
        limit: u64,
    },
    /// Directories nest deeper than in any image.
    #[error("failed to remove {}: it nests too deeply", path.display())]
    TooDeep {
        /// Where it was given up.
        path: PathBuf,
    },
    /// There is no complete image where the parent should be.
    #[error("failed to find a complete image in {}", path.display())]
    NoParent {
        /// The place.
        path: PathBuf,
    },
    /// The parent is an image of another container.
    #[error("failed to take {} as parent: it is of the container {actual}", path.display())]
    OtherContainer {
        /// The place.
        path: PathBuf,
        /// The container of that image.
        actual: String,
    },
    /// The kernel refused something.
    #[error("failed to {call} {}", path.display())]
    System {
        /// What was tried.
        call: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
}

impl Error {
    /// The stable word for it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Path { .. } => Reason::InvalidSpec,
            Self::InTheWay { .. } | Self::Taken { .. } | Self::Foreign { .. } => {
                Reason::ImagePathTaken
            }
            Self::NoParent { .. } => Reason::ParentImageMissing,
            Self::OtherContainer { .. } => Reason::ParentMismatch,
            Self::System {
                source: Errno::ENOSPC | Errno::EDQUOT,
                ..
            } => Reason::InsufficientSpace,
            Self::Root { .. }
            | Self::Writable { .. }
            | Self::NotOwned { .. }
            | Self::Owner { .. }
            | Self::TooLarge { .. }
            | Self::TooDeep { .. }
            | Self::System { .. } => Reason::ImagePathUnusable,
        }
    }
}
