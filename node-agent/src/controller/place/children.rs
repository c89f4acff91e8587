//! Which images build on another one.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::{Error, ImageRoot, Place, dir::Dir, dir::Kind, owner::file_name, spot::reached};

/// The link that CRIU makes in an image that builds on another.
pub(super) const LINK: &str = "parent";

impl ImageRoot {
    /// The images in the same namespace, finished or not, whose `parent` link leads to this one:
    /// paths below the namespace's directory, in order. As long as there is one, this image is
    /// not to be removed.
    ///
    /// # Errors
    /// The namespace's directory cannot be read through.
    pub fn children_of(&self, place: &Place) -> Result<Vec<PathBuf>, Error> {
        let namespace = place.image.namespace();
        let wanted = place.image.path();
        let mut found = Vec::new();
        // Paths: there may be more directories than a process may have open.
        let mut waiting = vec![PathBuf::from(namespace)];
        while let Some(at) = waiting.pop() {
            let Some(dir) = self.reach(&at)? else {
                continue;
            };
            for name in dir.names()? {
                // What is no text is none of ours.
                let Some(name) = name.to_str() else {
                    continue;
                };
                if dir.kind(name)? != Some(Kind::Directory) {
                    continue;
                }
                let Some(inner) = dir.enter(name)? else {
                    continue;
                };
                let below = at.join(name);
                if leads_to(self.path(), &inner, &below, &wanted)? {
                    found.push(child_name(&below, name));
                } else if !dir.is_owned(name)? {
                    waiting.push(below);
                }
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// A directory below the root, unless it has gone.
    pub(super) fn reach(&self, path: &Path) -> Result<Option<Dir>, Error> {
        let mut at: Option<Dir> = None;
        for name in path.iter().filter_map(OsStr::to_str) {
            match at.as_ref().unwrap_or(&self.0.dir).enter(name)? {
                Some(next) => at = Some(next),
                None => return Ok(None),
            }
        }
        Ok(at)
    }
}

fn leads_to(root: &Path, dir: &Dir, at: &Path, wanted: &Path) -> Result<bool, Error> {
    let target = dir.link(LINK)?;
    let reached = target.and_then(|target| reached(root, at, &target));
    Ok(reached.is_some_and(|reached| reached == wanted))
}

impl Dir {
    /// Whether a directory belongs to an image: nothing of anybody else lies in it.
    pub(super) fn is_owned(&self, name: &str) -> Result<bool, Error> {
        let image = name
            .strip_suffix(".partial")
            .or_else(|| name.strip_suffix(".work"))
            .unwrap_or(name);
        Ok(self.kind(file_name(image))?.is_some())
    }
}

/// The path without the namespace, and an unfinished image under its final name.
fn child_name(below: &Path, name: &str) -> PathBuf {
    let image = name.strip_suffix(".partial").unwrap_or(name);
    below.with_file_name(image).components().skip(1).collect()
}
