//! A walk through a directory in which somebody else may be writing: each level is reached anew from the top, beneath it and through
//! no link.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Path, PathBuf},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::{FileStat, Mode, SFlag, fstatat},
};

use super::Error;

/// The most entries that are looked at, and the most bytes of names that are kept for later.
const MOST_ENTRIES: u64 = 4_000_000;
const MOST_BYTES: usize = 64 << 20;
/// The longest path that the kernel takes at once, with the zero at its end.
const PATH_MAX: usize = 4096;

/// Something in the directory.
#[derive(Debug)]
pub(super) struct Item<'a> {
    /// From the top.
    pub(super) path: &'a Path,
    /// The directory that it is in.
    pub(super) dir: BorrowedFd<'a>,
    pub(super) name: &'a OsStr,
    pub(super) stat: FileStat,
}

impl Item<'_> {
    pub(super) fn kind(&self) -> SFlag {
        kind(&self.stat)
    }

    pub(super) fn failed(&self, source: Errno) -> Error {
        read(self.path, source)
    }
}

/// How a walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Into a directory, and on.
    On,
    /// Past a directory.
    Over,
    /// No further.
    Stop,
}

/// What kind of file a status is of.
pub(super) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

pub(super) fn read(path: &Path, source: Errno) -> Error {
    Error::Read {
        path: path.to_owned(),
        source,
    }
}

/// Visits everything below `top`, a directory before what is in it, names in order. What goes meanwhile is not visited; a path that is longer
/// than the kernel takes is visited, and not entered.
pub(super) fn walk(
    top: BorrowedFd<'_>,
    mut visit: impl FnMut(&Item<'_>) -> Result<Next, Error>,
) -> Result<(), Error> {
    let mut waiting = vec![PathBuf::new()];
    let (mut entries, mut bytes) = (0, 0_usize);
    while let Some(at) = waiting.pop() {
        bytes = bytes.saturating_sub(at.as_os_str().len());
        let Some(dir) = enter(top, &at)? else {
            continue;
        };
        let names = names(&dir, &at)?;
        entries += names.len() as u64;
        if entries > MOST_ENTRIES {
            return Err(Error::TooMany);
        }
        let mut inner = Vec::new();
        for name in names {
            let path = at.join(&name);
            let stat = match fstatat(&dir, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::ENOENT) => continue,
                Err(source) => return Err(read(&path, source)),
            };
            let item = Item {
                path: &path,
                dir: dir.as_fd(),
                name: &name,
                stat,
            };
            let is_dir = item.kind() == SFlag::S_IFDIR;
            match visit(&item)? {
                Next::Stop => return Ok(()),
                Next::On if is_dir && !is_too_long(&path) => inner.push(path),
                Next::On | Next::Over => {}
            }
        }
        let more: usize = inner.iter().map(|path| path.as_os_str().len()).sum();
        bytes = bytes.saturating_add(more);
        if bytes > MOST_BYTES {
            return Err(Error::TooMany);
        }
        waiting.extend(inner.into_iter().rev());
    }
    Ok(())
}

/// Whether the kernel does not take a path.
pub(super) fn is_too_long(path: &Path) -> bool {
    path.as_os_str().len() >= PATH_MAX
}

/// A directory below the top; `None` when it is none any more.
fn enter(top: BorrowedFd<'_>, path: &Path) -> Result<Option<OwnedFd>, Error> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS
                | ResolveFlag::RESOLVE_NO_XDEV,
        );
    let here = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    loop {
        return match openat2(top, here, how) {
            Ok(dir) => Ok(Some(dir)),
            // Somebody renames on the way.
            Err(Errno::EAGAIN) => continue,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => Ok(None),
            Err(source) => Err(read(path, source)),
        };
    }
}

fn names(dir: &OwnedFd, path: &Path) -> Result<Vec<OsString>, Error> {
    let failed = |source| read(path, source);
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    // A description of its own: reading moves its offset.
    let mut listing = Dir::openat(dir, ".", flags, Mode::empty()).map_err(failed)?;
    let mut names = Vec::new();
    let mut bytes = 0;
    for entry in listing.iter() {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        bytes += name.len();
        if bytes > MOST_BYTES {
            return Err(Error::TooMany);
        }
        names.push(OsString::from_vec(name.to_vec()));
    }
    names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    Ok(names)
}
