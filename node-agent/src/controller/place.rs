//! Where a checkpoint's files lie on this node, and whose they are.
//!
//! ```text
//! IMAGE-ROOT/NAMESPACE/[…/]NAME           the image, once complete
//!                          NAME.partial   while it is written
//!                          NAME.work      CRIU's log and statistics, unless workPath says where
//!                          NAME.owner     the object that has the name
//! ```
//! Nothing below the root is reached but through the root's descriptor, one part at a time, with
//! `openat2`: no link is followed, no `..` climbs. Every directory on the way has to belong to
//! this process's user and be writable for nobody else.
//!
//! CRIU and the engine are handed paths, which the kernel walks anew. Between our walk and theirs
//! only somebody who may write to one of those directories could put a link in the way. That is
//! root on this node alone, since each was found to be root's own and closed to others; and only
//! their owner can open them again.

use std::path::PathBuf;

use stillframe_crds::checkpoint::RelativePath;

mod ancestors;
mod children;
mod claim;
mod dir;
mod error;
mod owner;
mod removal;
mod root;
mod spot;
#[cfg(test)]
mod tests;
mod tree;
mod usage;

pub use ancestors::Ancestor;
pub use error::Error;
pub use owner::{Owner, Phase, SavedReport, figures};
pub use removal::Removed;
pub use root::ImageRoot;

use dir::{Dir, Kind};
use owner::Record;
use spot::Spot;

/// The place of one object's image.
#[derive(Debug, Clone)]
pub struct Place {
    root: ImageRoot,
    image: Spot,
    work: Option<Spot>,
}

impl Place {
    /// The same place with a work directory of its own choosing.
    ///
    /// # Errors
    /// [`Error::Path`], also when one of image and work directory would lie in the other.
    pub fn with_work(mut self, work: Option<&RelativePath>) -> Result<Self, Error> {
        let Some(path) = work else {
            return Ok(self);
        };
        let work = Spot::of(self.image.namespace(), path)?;
        if work.overlaps(&self.image) {
            let RelativePath(path) = path;
            return Err(Error::Path {
                path: path.clone(),
                problem: "image and work directory lie in one another",
            });
        }
        self.work = Some(work);
        Ok(self)
    }

    /// The image's final directory.
    #[must_use]
    pub fn image_dir(&self) -> PathBuf {
        self.root.path().join(self.image.path())
    }

    /// The directory of CRIU's log and statistics.
    #[must_use]
    pub fn work_dir(&self) -> PathBuf {
        match &self.work {
            Some(work) => self.root.path().join(work.path()),
            None => self.root.path().join(self.image.beside(".work").path()),
        }
    }

    /// The image's path below its namespace's directory.
    #[must_use]
    pub fn relative(&self) -> PathBuf {
        self.image.path().components().skip(1).collect()
    }

    /// Whose the place is; `None` when nobody has taken it.
    ///
    /// # Errors
    /// The owner file cannot be read, or the place is another image's work directory.
    pub fn owner(&self) -> Result<Option<Owner>, Error> {
        let Some(dir) = self.root.holder(&self.image)? else {
            return Ok(None);
        };
        match Record::read(&dir, &self.image.name)? {
            Some(record) if record.work => Err(taken(&dir, &self.image.name, record)),
            record => Ok(record.map(|record| record.owner)),
        }
    }

    /// Writes what has become of the object's dump, in one step.
    ///
    /// # Errors
    /// [`Error::NotOwned`] when the place is not the object's, or the disk refuses.
    pub fn record(&self, owner: &Owner) -> Result<(), Error> {
        let _changing = self.root.changing();
        let Some(dir) = self.owned(&owner.uid)? else {
            return Err(Error::NotOwned {
                path: self.root.path().join(self.image.beside(".owner").path()),
                uid: owner.uid.clone(),
            });
        };
        let record = Record {
            owner: owner.clone(),
            work: false,
        };
        record.write(&dir, &self.image.name, true)
    }

    /// Whether the image is there under its final name, which it gets only once it is complete.
    ///
    /// # Errors
    /// Something on the way cannot be looked at.
    pub fn finished(&self) -> Result<bool, Error> {
        match self.root.holder(&self.image)? {
            Some(dir) => Ok(dir.kind(&self.image.name)? == Some(Kind::Directory)),
            None => Ok(false),
        }
    }

    /// The directory that holds the image, when the image is this object's.
    fn owned(&self, uid: &str) -> Result<Option<Dir>, Error> {
        let Some(dir) = self.root.holder(&self.image)? else {
            return Ok(None);
        };
        let record = Record::read(&dir, &self.image.name)?;
        let ours = record.is_some_and(|record| !record.work && record.owner.uid == uid);
        Ok(ours.then_some(dir))
    }
}

/// The path from an image to its parent as CRIU wants it: relative to the image's directory. It
/// serves for the unfinished image too, which lies beside the final name.
#[must_use]
pub fn parent_link(from: &Place, to: &Place) -> PathBuf {
    from.image.path_to(&to.image)
}

fn taken(dir: &Dir, name: &str, record: Record) -> Error {
    Error::Taken {
        path: dir.at(name),
        namespace: record.owner.namespace,
        name: record.owner.name,
        uid: record.owner.uid,
    }
}
