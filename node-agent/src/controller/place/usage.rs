//! How much the images of a namespace take.

use super::{
    Error, ImageRoot,
    dir::{Dir, Kind},
    owner::Record,
};
use crate::images::{self, Folder};

/// The ending of an owner file.
const OWNER: &str = ".owner";

impl ImageRoot {
    /// Bytes of all complete images of a namespace, as their owner files tell; the images
    /// themselves are looked into only where an owner file tells nothing.
    ///
    /// # Errors
    /// The namespace's directory or an owner file cannot be read.
    pub fn used(&self, namespace: &str) -> Result<u64, Error> {
        let Some(top) = self.0.dir.enter(namespace)? else {
            return Ok(0);
        };
        let mut sum: u64 = 0;
        let mut waiting = vec![top];
        while let Some(dir) = waiting.pop() {
            for name in dir.names()? {
                // What is no text is none of ours.
                let Some(name) = name.to_str() else {
                    continue;
                };
                if let Some(image) = name.strip_suffix(OWNER) {
                    sum = sum.saturating_add(size_of(&dir, image)?);
                } else if dir.kind(name)? == Some(Kind::Directory) && !dir.is_owned(name)? {
                    waiting.extend(dir.enter(name)?);
                }
            }
        }
        Ok(sum)
    }
}

/// The size of a complete image; an unfinished one is somebody's who counts it, or goes.
fn size_of(dir: &Dir, image: &str) -> Result<u64, Error> {
    let Some(record) = Record::read(dir, image)?.filter(|record| !record.work) else {
        return Ok(0);
    };
    if dir.kind(image)? != Some(Kind::Directory) {
        return Ok(0);
    }
    if let Some(report) = record.owner.report {
        return Ok(report.size_bytes);
    }
    // The agent that made it was killed before it could note the size. One that cannot be measured
    // is counted once it has been reported, or removed.
    let folder = Folder::open(&dir.at(image));
    let size = folder.and_then(|folder| images::measure(&folder));
    Ok(size.map_or(0, |size| size.bytes))
}
