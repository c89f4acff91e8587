//! Giving a place back.

use nix::errno::Errno;

use super::{Error, Place, dir::Kind, owner::Record, spot::Spot};

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

impl Place {
    /// Removes what a dump that came to nothing has written of the image; the log stays. Does
    /// nothing when the place is not the object's.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn discard_partial(&self, uid: &str) -> Result<(), Error> {
        let _changing = self.root.changing();
        match self.owned(uid)? {
            Some(dir) => dir.remove_tree(&self.image.partial()),
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
            dir.remove_tree(&self.image.partial())?;
            return Ok(true);
        }
        self.release(uid)?;
        Ok(false)
    }

    pub(super) fn release(&self, uid: &str) -> Result<Removed, Error> {
        let Some(dir) = self.owned(uid)? else {
            return Ok(Removed::Nothing);
        };
        let name = &self.image.name;
        let partial = self.image.partial();
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
