//! Taking a place for an object.

use nix::errno::Errno;

use super::{Error, Owner, Place, dir::Dir, owner::Record, spot::Spot, taken};

impl Place {
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

    /// Takes one name; says whether it was free before.
    fn claim(&self, spot: &Spot, owner: &Owner, work: bool) -> Result<bool, Error> {
        let made = self.root.make_holder(spot);
        let claimed = made.and_then(|dir| take(&dir, spot, owner, work));
        if claimed.is_err() {
            self.root.prune(spot);
        }
        claimed
    }
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
        spot.partial(),
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
