//! One entry of an upper directory: what overlayfs means by it, and the attributes that an archive keeps.

use std::{
    ffi::OsString,
    fs::File,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat, readlinkat},
    sys::stat::{Mode, SFlag, fstat},
};
use xattr::FileExt as _;

use super::{
    Error, Marks,
    walk::{Item, kind},
};

/// What an archive has of an attribute, before its name.
const KEY: &str = "SCHILY.xattr.";
/// The most attributes of one file, and the most bytes of one, that the kernel has.
const MOST_ATTRIBUTES: usize = 1024;
/// It is the node's that the file is on, not the file's.
const LABEL: &str = "security.selinux";

/// Attributes of a file as overlayfs and an archive see them.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    /// What was below is hidden.
    pub(super) opaque: bool,
    /// Nothing is there: what was below is removed.
    pub(super) whiteout: bool,
    /// Its content, or where it came from, is elsewhere.
    pub(super) elsewhere: bool,
    /// What is kept, by the keys of an archive.
    pub(super) kept: Vec<(String, Vec<u8>)>,
}

/// Opens a file or directory to be read, unless it is something else by now.
pub(super) fn open(item: &Item<'_>) -> Result<Option<File>, Error> {
    // Not blocking, so that a fifo put there does not hold us.
    let flags = OFlag::O_RDONLY
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC;
    let fd = match openat(item.dir, item.name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO) => return Ok(None),
        Err(source) => return Err(item.failed(source)),
    };
    let now = fstat(&fd).map_err(|source| item.failed(source))?;
    let same = kind(&now) == item.kind() && now.st_ino == item.stat.st_ino;
    Ok(same.then(|| File::from(fd)))
}

/// Whether a directory hides what was below.
pub(super) fn is_opaque(item: &Item<'_>, marks: Marks) -> Result<bool, Error> {
    let Some(dir) = open(item)? else {
        return Ok(false);
    };
    attributes(item, &dir, marks).map(|found| found.opaque)
}

/// Whether the kernel's own mark says that what was below is removed.
pub(super) fn is_whiteout(item: &Item<'_>) -> bool {
    item.kind() == SFlag::S_IFCHR && item.stat.st_rdev == 0
}

/// Where a symbolic link leads; `None` when it is none any more.
pub(super) fn target(item: &Item<'_>) -> Result<Option<OsString>, Error> {
    match readlinkat(item.dir, item.name) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::ENOENT | Errno::EINVAL) => Ok(None),
        Err(source) => Err(item.failed(source)),
    }
}

/// The attributes of an open file or directory.
pub(super) fn attributes(item: &Item<'_>, file: &File, marks: Marks) -> Result<Attributes, Error> {
    let failed = |error: std::io::Error| {
        item.failed(Errno::from_raw(error.raw_os_error().unwrap_or_default()))
    };
    let mut found = Attributes::default();
    let names = match file.list_xattr() {
        Ok(names) => names,
        Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => return Ok(found),
        Err(error) => return Err(failed(error)),
    };
    for name in names.take(MOST_ATTRIBUTES) {
        let Some(value) = file.get_xattr(&name).map_err(failed)? else {
            continue;
        };
        // Linux has names in UTF-8 by convention alone; an archive has no others.
        let Some(name) = name.to_str() else {
            continue;
        };
        match name.strip_prefix(marks.prefix()) {
            Some("opaque") => found.opaque |= value == b"y",
            Some("whiteout") => found.whiteout |= item.stat.st_size == 0,
            Some("redirect" | "metacopy") => found.elsewhere = true,
            // What else overlayfs notes (origin, impure, nlink, …) is of this mount alone.
            Some(_) => {}
            None if name == LABEL || name.contains(['=', '\n']) => {}
            None => found.kept.push((format!("{KEY}{name}"), value)),
        }
    }
    Ok(found)
}

/// The name that a layer gives to what is removed.
pub(super) fn whiteout_of(item: &Item<'_>) -> std::path::PathBuf {
    let name = [WHITEOUT, item.name.as_bytes()].concat();
    item.path.with_file_name(OsString::from_vec(name))
}

/// With what a layer's own marks begin.
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// The mark in a directory that hides what was below.
pub(super) const OPAQUE: &str = ".wh..wh..opq";
