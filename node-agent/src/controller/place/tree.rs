//! Removing a directory with all that is in it.

use std::ffi::OsStr;

use nix::fcntl::ResolveFlag;

use super::{
    Error,
    dir::{Dir, Kind},
};

/// Images hold files and nothing below; what nests deeper than this is not ours to understand.
const MAX_DEPTH: u32 = 32;

impl Dir {
    /// Removes whatever has that name. Links are removed, never followed, and nothing on another
    /// file system is touched.
    pub(super) fn remove_tree(&self, name: &str) -> Result<(), Error> {
        self.remove_below(OsStr::new(name), 0)
    }

    fn remove_below(&self, name: &OsStr, depth: u32) -> Result<(), Error> {
        match self.kind(name)? {
            None => Ok(()),
            Some(Kind::File | Kind::Link | Kind::Other) => self.unlink(name),
            Some(Kind::Directory) if depth >= MAX_DEPTH => Err(Error::TooDeep {
                path: self.at(name),
            }),
            Some(Kind::Directory) => {
                if let Some(inner) = self.open_dir(name, ResolveFlag::RESOLVE_NO_XDEV)? {
                    for entry in inner.names()? {
                        inner.remove_below(&entry, depth + 1)?;
                    }
                }
                self.remove_dir(name)
            }
        }
    }
}
