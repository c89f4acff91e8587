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

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::errno::Errno;
use stillframe_crds::checkpoint::RelativePath;

mod children;
mod dir;
mod error;
mod owner;
mod spot;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use owner::{Owner, Phase, SavedReport, figures};

use dir::{Dir, Kind};
use owner::Record;
use spot::Spot;

/// The directory that holds one directory of images for each namespace.
#[derive(Debug, Clone)]
pub struct ImageRoot(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: Dir,
    /// Held while names are taken and given back, so that no directory is removed as empty
    /// between its making and the first file in it.
    changing: Mutex<()>,
}

/// The place of one object's image.
#[derive(Debug, Clone)]
pub struct Place {
    root: ImageRoot,
    image: Spot,
    work: Option<Spot>,
}

/// What a removal found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// A complete image, which is gone now.
    Image,
    /// Files of the object, and no complete image.
    Leftovers,
    /// Nothing that belongs to the object.
    Nothing,
}

impl ImageRoot {
    /// Opens the root, made with mode 0700 where it is missing.
    ///
    /// # Errors
    /// It cannot be made or opened, or others may write to it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self(Arc::new(Shared {
            dir: Dir::root(path)?,
            changing: Mutex::new(()),
        })))
    }

    /// The root's path, without links in it.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.dir.path()
    }

    /// The place of an image in a namespace. The disk is not looked at.
    ///
    /// # Errors
    /// [`Error::Path`].
    pub fn place(&self, namespace: &str, image: &RelativePath) -> Result<Place, Error> {
        Ok(Place {
            root: self.clone(),
            image: Spot::of(namespace, image)?,
            work: None,
        })
    }

    /// The place of a parent: a complete image of this container in this namespace.
    ///
    /// # Errors
    /// There is none ([`Error::NoParent`]), it is of another container
    /// ([`Error::OtherContainer`]), or it cannot be looked at.
    pub fn parent(
        &self,
        namespace: &str,
        image: &RelativePath,
        container_id: &str,
    ) -> Result<Place, Error> {
        let place = self.place(namespace, image)?;
        let path = place.image_dir();
        match place.owner()? {
            Some(owner) if owner.container_id != container_id => Err(Error::OtherContainer {
                path,
                actual: owner.container_id,
            }),
            Some(_) if place.finished()? => Ok(place),
            _ => Err(Error::NoParent { path }),
        }
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        // What is guarded is on disk and is looked at anew each time.
        self.0
            .changing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory that holds a spot; `None` when it is not there.
    fn holder(&self, spot: &Spot) -> Result<Option<Dir>, Error> {
        let mut at: Option<Dir> = None;
        for name in &spot.parents {
            match at.as_ref().unwrap_or(&self.0.dir).enter(name)? {
                Some(next) => at = Some(next),
                None => return Ok(None),
            }
        }
        Ok(at)
    }

    /// The directory that holds a spot, made where it is missing. None of the directories on the
    /// way may be an image.
    fn make_holder(&self, spot: &Spot) -> Result<Dir, Error> {
        let mut at = self.0.dir.enter_or_make(namespace_of(spot))?;
        for name in spot.parents.iter().skip(1) {
            let next = at.enter_or_make(name)?;
            if let Some(record) = Record::read(&at, name)? {
                return Err(taken(&at, name, record));
            }
            at = next;
        }
        Ok(at)
    }

    /// Removes the directories that led to a spot and are empty now, the namespace's included.
    fn prune(&self, spot: &Spot) {
        let mut parents = spot.parents.clone();
        while let Some(name) = parents.pop() {
            let above = Spot {
                parents: parents.clone(),
                name,
            };
            let holder = if parents.is_empty() {
                None
            } else {
                match self.holder(&above) {
                    Ok(Some(holder)) => Some(holder),
                    _ => return,
                }
            };
            if !holder
                .as_ref()
                .unwrap_or(&self.0.dir)
                .remove_empty(&above.name)
            {
                return;
            }
        }
    }
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
        let work = Spot::of(namespace_of(&self.image), path)?;
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
            None => self.root.path().join(named(&self.image, ".work").path()),
        }
    }

    /// The image's path below its namespace's directory.
    #[must_use]
    pub fn relative(&self) -> PathBuf {
        self.image.path().components().skip(1).collect()
    }

    /// Takes the place for an object: makes the directories that lead to it, the owner file, and
    /// the work directory. Taking it again for the same object changes nothing.
    ///
    /// # Errors
    /// Another object has it ([`Error::Taken`]), something else is there ([`Error::Foreign`],
    /// [`Error::InTheWay`]), or the disk refuses. What this call made is then removed.
    pub fn reserve(&self, owner: &Owner) -> Result<(), Error> {
        let _changing = self.root.changing();
        let new = self.claim(&self.image, owner, false)?;
        let made = match &self.work {
            None => self
                .root
                .make_holder(&self.image)
                .and_then(|dir| dir.enter_or_make(&format!("{}.work", self.image.name))),
            Some(work) => self
                .claim(work, owner, true)
                .and_then(|_| self.root.make_holder(work))
                .and_then(|dir| dir.enter_or_make(&work.name)),
        };
        match made {
            Ok(_) => Ok(()),
            Err(error) => {
                if new {
                    // The first error tells more than one of the way back.
                    let _ = self.release(&owner.uid);
                }
                Err(error)
            }
        }
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
                path: self.root.path().join(named(&self.image, ".owner").path()),
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

    /// Removes what a dump that came to nothing has written of the image; the log stays. Does
    /// nothing when the place is not the object's.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn discard_partial(&self, uid: &str) -> Result<(), Error> {
        let _changing = self.root.changing();
        match self.owned(uid)? {
            Some(dir) => dir.remove_tree(&partial(&self.image)),
            None => Ok(()),
        }
    }

    /// Removes the image, what was written of it, the work directory and at last the owner file,
    /// when that names the object, and the directories that are empty then. Idempotent, and safe
    /// to be cut short: the owner file stays until everything else is gone, and an image that is
    /// being removed has its final name no more.
    ///
    /// # Errors
    /// The disk refuses, or the owner file cannot be read.
    pub fn remove(&self, uid: &str) -> Result<Removed, Error> {
        let _changing = self.root.changing();
        self.release(uid)
    }

    /// Leaves a complete image with its log and owner file where it is, and says so; without a
    /// complete image, everything is removed.
    ///
    /// # Errors
    /// As [`Place::remove`].
    pub fn keep(&self, uid: &str) -> Result<bool, Error> {
        let _changing = self.root.changing();
        let Some(dir) = self.owned(uid)? else {
            return Ok(false);
        };
        if dir.kind(&self.image.name)? == Some(Kind::Directory) {
            dir.remove_tree(&partial(&self.image))?;
            return Ok(true);
        }
        self.release(uid)?;
        Ok(false)
    }

    /// Takes one name; says whether it was free before.
    fn claim(&self, spot: &Spot, owner: &Owner, work: bool) -> Result<bool, Error> {
        let made = self.root.make_holder(spot);
        let claimed = made.and_then(|dir| take(&dir, spot, owner, work));
        if claimed.is_err() {
            self.root.prune(spot);
        }
        claimed
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

    fn release(&self, uid: &str) -> Result<Removed, Error> {
        let Some(dir) = self.owned(uid)? else {
            return Ok(Removed::Nothing);
        };
        let name = &self.image.name;
        let partial = partial(&self.image);
        dir.remove_tree(&partial)?;
        let had_image = dir.kind(name)? == Some(Kind::Directory);
        match dir.rename(name, &partial, false) {
            Ok(()) => dir.sync()?,
            Err(Errno::ENOENT) => {}
            Err(source) => {
                return Err(Error::System {
                    call: "rename",
                    path: dir.at(name),
                    source,
                });
            }
        }
        dir.remove_tree(&partial)?;
        dir.remove_tree(&format!("{name}.work"))?;
        if let Some(work) = &self.work {
            self.release_work(work, uid)?;
        }
        Record::remove(&dir, name)?;
        dir.sync()?;
        self.root.prune(&self.image);
        Ok(if had_image {
            Removed::Image
        } else {
            Removed::Leftovers
        })
    }

    fn release_work(&self, work: &Spot, uid: &str) -> Result<(), Error> {
        let Some(dir) = self.root.holder(work)? else {
            return Ok(());
        };
        let record = Record::read(&dir, &work.name)?;
        if record.is_some_and(|record| record.work && record.owner.uid == uid) {
            dir.remove_tree(&work.name)?;
            Record::remove(&dir, &work.name)?;
            self.root.prune(work);
        }
        Ok(())
    }
}

/// The path from an image to its parent as CRIU wants it: relative to the image's directory. It
/// serves for the unfinished image too, which lies beside the final name.
#[must_use]
pub fn parent_link(from: &Place, to: &Place) -> PathBuf {
    from.image.path_to(&to.image)
}

/// Takes a name in a directory; says whether it was free before.
fn take(dir: &Dir, spot: &Spot, owner: &Owner, work: bool) -> Result<bool, Error> {
    if let Some(record) = Record::read(dir, &spot.name)? {
        if record.owner.uid == owner.uid && record.work == work {
            return Ok(false);
        }
        return Err(taken(dir, &spot.name, record));
    }
    // Whatever we left has an owner file beside it: without one it is somebody else's.
    for name in [
        spot.name.clone(),
        partial(spot),
        format!("{}.work", spot.name),
    ] {
        if dir.kind(&name)?.is_some() {
            return Err(Error::Foreign { path: dir.at(name) });
        }
    }
    let record = Record {
        owner: owner.clone(),
        work,
    };
    match record.write(dir, &spot.name, false) {
        Ok(()) => Ok(true),
        // Another agent, which was quicker.
        Err(Error::System {
            source: Errno::EEXIST,
            path,
            ..
        }) => Err(Error::Foreign { path }),
        Err(error) => Err(error),
    }
}

fn taken(dir: &Dir, name: &str, record: Record) -> Error {
    Error::Taken {
        path: dir.at(name),
        namespace: record.owner.namespace,
        name: record.owner.name,
        uid: record.owner.uid,
    }
}

fn namespace_of(spot: &Spot) -> &str {
    spot.parents.first().map_or("", String::as_str)
}

fn partial(spot: &Spot) -> String {
    format!("{}.partial", spot.name)
}

fn named(spot: &Spot, ending: &str) -> Spot {
    Spot {
        parents: spot.parents.clone(),
        name: format!("{}{ending}", spot.name),
    }
}
