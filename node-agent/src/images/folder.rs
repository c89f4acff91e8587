//! An image directory, held open, whose entries are opened as regular files or not at all.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Read as _,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            ffi::{OsStrExt as _, OsStringExt as _},
            fs::FileExt as _,
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, OFlag, open, openat},
    sys::stat::{FileStat, Mode, SFlag, fstat, fstatat},
};

use super::Error;

/// No image has more files; a directory with more is somebody's attempt to keep us busy.
const ENTRY_LIMIT: usize = 1_000_000;

/// An open directory.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

/// A regular file in a [`Folder`].
#[derive(Debug)]
pub(super) struct Regular {
    pub(super) file: File,
    pub(super) size: u64,
}

/// What an entry is, without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EntryKind {
    Regular(u64),
    Link,
    Other,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: OsString,
    pub(super) kind: EntryKind,
}

impl Folder {
    /// Opens a directory by its path; a link there is followed, since the caller named it.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty()).map_err(|source| Error::Open {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            fd,
            path: path.to_owned(),
        })
    }

    /// Its path, as it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a regular file for reading; `None` when there is nothing of that name.
    pub(super) fn regular(&self, name: &OsStr) -> Result<Option<Regular>, Error> {
        // Not blocking, so that a fifo put there does not hold us.
        let flags = OFlag::O_RDONLY
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY
            | OFlag::O_CLOEXEC;
        let read = |source| Error::Read {
            name: shown(name),
            source,
        };
        let fd = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => return Err(strange(name, "is a symbolic link")),
            Err(Errno::ENXIO) => return Err(strange(name, "is not a regular file")),
            Err(source) => return Err(read(source)),
        };
        match kind_of(&fstat(&fd).map_err(read)?) {
            EntryKind::Regular(size) => Ok(Some(Regular {
                file: File::from(fd),
                size,
            })),
            EntryKind::Link | EntryKind::Other => Err(strange(name, "is not a regular file")),
        }
    }

    /// The whole content of a small regular file; `None` when there is nothing of that name.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(Regular { file, size }) = self.regular(OsStr::new(name))? else {
            return Ok(None);
        };
        let mut content = Vec::new();
        if size <= limit {
            file.take(limit + 1)
                .read_to_end(&mut content)
                .map_err(|error| Error::Read {
                    name: name.to_owned(),
                    source: errno(&error),
                })?;
        }
        if size > limit || content.len() as u64 > limit {
            return Err(strange(OsStr::new(name), "is too large"));
        }
        Ok(Some(content))
    }

    /// Replaces bytes of a file that is there, from this offset on.
    pub(super) fn overwrite(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let change = |source| Error::Change {
            name: name.to_owned(),
            source,
        };
        let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::empty()).map_err(change)?;
        File::from(fd)
            .write_all_at(bytes, offset)
            .map_err(|error| change(errno(&error)))
    }

    /// All entries, sorted by name, byte by byte.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, Error> {
        let failed = |source| Error::Open {
            path: self.path.clone(),
            source,
        };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        // A description of its own: reading moves its offset.
        let mut dir = Dir::openat(&self.fd, ".", flags, Mode::empty()).map_err(failed)?;
        let mut entries = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            if entries.len() == ENTRY_LIMIT {
                return Err(failed(Errno::EOVERFLOW));
            }
            let name = OsString::from_vec(name.to_vec());
            let about = match fstatat(&self.fd, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(about) => about,
                Err(Errno::ENOENT) => continue,
                Err(source) => {
                    return Err(Error::Read {
                        name: shown(&name),
                        source,
                    });
                }
            };
            entries.push(Entry {
                name,
                kind: kind_of(&about),
            });
        }
        entries.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        Ok(entries)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(super) fn strange(name: &OsStr, problem: &'static str) -> Error {
    Error::Strange {
        name: shown(name),
        problem,
    }
}

/// A name fit for a message.
pub(super) fn shown(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}

pub(super) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32))
}

fn kind_of(about: &FileStat) -> EntryKind {
    match SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => EntryKind::Regular(u64::try_from(about.st_size).unwrap_or(0)),
        SFlag::S_IFLNK => EntryKind::Link,
        _ => EntryKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn links_fifos_and_folders_are_refused_without_hanging() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        std::fs::write(at("file"), "x").unwrap();
        symlink("file", at("link")).unwrap();
        mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        let folder = Folder::open(scratch.path()).unwrap();
        for name in ["link", "fifo", "folder"] {
            let error = folder.read(name, 10).unwrap_err();
            assert!(matches!(error, Error::Strange { .. }), "{name}: {error}");
        }
        assert_eq!(folder.read("file", 10).unwrap().as_deref(), Some(&b"x"[..]));
        assert_eq!(folder.read("nothing", 10).unwrap(), None);
        assert!(folder.read("file", 0).is_err());
        let names: Vec<_> = folder
            .entries()
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        assert_eq!(names, ["fifo", "file", "folder", "link"]);
    }
}
