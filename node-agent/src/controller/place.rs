//! Where images are kept, and whose a directory is.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use stillframe_crds::checkpoint::{CriuFacts, DumpStats, RelativePath, RuntimeFacts};

/// Why a place cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is another object's.
    #[error("image path {path} is taken by another checkpoint", path = .0.display())]
    Taken(PathBuf),
    /// The file system refused.
    #[error("failed to use {path}", path = path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// A stable name.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Taken(_) => "ImagePathTaken",
            Self::File { .. } => "ImagePathUnusable",
        }
    }
}

/// How far an owner's dump has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It has begun.
    Started,
    /// The image is there.
    Finished,
}

/// What a status says of a finished dump.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SavedReport {
    /// The image directory.
    pub path: String,
    /// Bytes of its files.
    pub size_bytes: i64,
    /// Sum over its files.
    pub digest: Option<String>,
    /// How long the container stood still, in milliseconds.
    pub pause_milliseconds: Option<i64>,
    /// CRIU's own figures.
    pub stats: Option<DumpStats>,
    /// The CRIU that made it.
    pub criu: CriuFacts,
    /// The runtime of the container.
    pub runtime: RuntimeFacts,
    /// Worth knowing.
    pub warnings: Vec<String>,
}

/// Whose a place is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// The object's UID.
    pub uid: String,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The pod's UID.
    pub pod_uid: String,
    /// The container's id.
    pub container_id: String,
    /// How far its dump has come.
    pub phase: Phase,
    /// What came of it.
    pub report: Option<SavedReport>,
}

/// The directory that holds one for each namespace.
#[derive(Debug, Clone)]
pub struct ImageRoot {
    dir: PathBuf,
}

/// The place of one image.
#[derive(Debug, Clone)]
pub struct Place {
    image: PathBuf,
}

impl ImageRoot {
    /// Opens the root, which is made where missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        make(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// The place of an image.
    ///
    /// # Errors
    /// The path cannot be used.
    pub fn place(&self, namespace: &str, path: &RelativePath) -> Result<Place, Error> {
        Ok(Place {
            image: self.dir.join(namespace).join(&path.0),
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Images that build on this one.
    ///
    /// # Errors
    /// The namespace's directory cannot be read.
    pub fn children_of(&self, _place: &Place) -> Result<Vec<PathBuf>, Error> {
        Ok(Vec::new())
    }
}

impl Place {
    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.image.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    }

    /// Makes it the owner's.
    ///
    /// # Errors
    /// Somebody else has it.
    pub fn reserve(&self, owner: &Owner) -> Result<(), Error> {
        if let Some(parent) = self.image.parent() {
            make(parent)?;
        }
        let path = self.beside(".owner");
        let made = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        match made {
            Ok(mut file) => file
                .write_all(&serde_json::to_vec(owner).unwrap_or_default())
                .map_err(|source| Error::File { path, source }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::Taken(self.image.clone()))
            }
            Err(source) => Err(Error::File { path, source }),
        }
    }

    /// The image directory.
    #[must_use]
    pub fn image_dir(&self) -> PathBuf {
        self.image.clone()
    }

    /// CRIU's log and statistics.
    #[must_use]
    pub fn work_dir(&self) -> PathBuf {
        self.beside(".work")
    }

    /// Whose it is.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        serde_json::from_slice(&fs::read(self.beside(".owner")).ok()?).ok()
    }

    /// Notes how far it has come.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record(&self, owner: &Owner) -> Result<(), Error> {
        let path = self.beside(".owner.new");
        let text = serde_json::to_vec(owner).unwrap_or_default();
        fs::write(&path, text)
            .and_then(|()| fs::rename(&path, self.beside(".owner")))
            .map_err(|source| Error::File { path, source })
    }

    /// Whether the image is there under its final name.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.image.is_dir()
    }

    /// Removes what is no image yet.
    ///
    /// # Errors
    /// It is left.
    pub fn discard_partial(&self) -> Result<(), Error> {
        gone(fs::remove_dir_all, self.beside(".partial"))
    }

    /// Removes everything.
    ///
    /// # Errors
    /// Something is left.
    pub fn remove(&self) -> Result<(), Error> {
        gone(fs::remove_dir_all, self.image.clone())?;
        self.discard_partial()?;
        gone(fs::remove_dir_all, self.work_dir())?;
        gone(fs::remove_file, self.beside(".owner"))
    }
}

fn make(dir: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| Error::File {
            path: dir.to_owned(),
            source,
        })
}

fn gone(remove: fn(PathBuf) -> io::Result<()>, path: PathBuf) -> Result<(), Error> {
    match remove(path.clone()) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::File { path, source })
        }
        _ => Ok(()),
    }
}
