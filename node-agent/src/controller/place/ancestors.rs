//! The images that one builds on.

use std::path::{Path, PathBuf};

use super::{Error, ImageRoot, Owner, children::LINK, owner::Record, spot::reached};

/// No chain is longer than that; one that goes round in a circle is somebody's doing.
const LONGEST: usize = 1000;

/// An image that another builds on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestor {
    /// Its directory.
    pub path: PathBuf,
    /// Whose it is, where that is known.
    pub owner: Option<Owner>,
}

impl ImageRoot {
    /// The images below the root that an image builds on, the nearest first, as far as they are there.
    ///
    /// # Errors
    /// A directory or an owner file cannot be read.
    pub fn ancestors_of(&self, image: &Path) -> Result<Vec<Ancestor>, Error> {
        let mut found: Vec<Ancestor> = Vec::new();
        let Ok(below) = image.strip_prefix(self.path()) else {
            return Ok(found);
        };
        let mut at = below.to_owned();
        while let Some(dir) = self.reach(&at)?
            && let Some(target) = dir.link(LINK)?
            && let Some(next) = reached(self.path(), &at, &target)
            && found.len() < LONGEST
        {
            let holder = next.parent().map(|above| self.reach(above)).transpose()?;
            let name = next.file_name().and_then(|name| name.to_str());
            let (Some(holder), Some(name)) = (holder.flatten(), name) else {
                break;
            };
            let record = Record::read(&holder, name)?.filter(|record| !record.work);
            found.push(Ancestor {
                path: self.path().join(&next),
                owner: record.map(|record| record.owner),
            });
            at = next;
        }
        // The last link may lead to what is not there.
        found.retain(|ancestor| ancestor.path.is_dir());
        Ok(found)
    }
}
