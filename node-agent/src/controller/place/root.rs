//! The directory below which everything lies, and the way down from it.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stillframe_crds::checkpoint::RelativePath;

use super::{Error, Place, dir::Dir, owner::Record, spot::Spot, taken};

/// The directory that holds one directory of images for each namespace.
#[derive(Debug, Clone)]
pub struct ImageRoot(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dir: Dir,
    /// Held while names are taken and given back, so that no directory is removed as empty
    /// between its making and the first file in it.
    changing: Mutex<()>,
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

    pub(super) fn changing(&self) -> MutexGuard<'_, ()> {
        // What is guarded is on disk and is looked at anew each time.
        self.0
            .changing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory that holds a spot; `None` when it is not there.
    pub(super) fn holder(&self, spot: &Spot) -> Result<Option<Dir>, Error> {
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
    pub(super) fn make_holder(&self, spot: &Spot) -> Result<Dir, Error> {
        let mut at = self.0.dir.enter_or_make(spot.namespace())?;
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
    pub(super) fn prune(&self, spot: &Spot) {
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
