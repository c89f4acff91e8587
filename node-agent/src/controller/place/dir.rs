//! A directory below the image root, held open, through which everything below it is reached.

use std::{
    ffi::{OsStr, OsString},
    fs::{DirBuilder, File},
    io::{self, Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt as _,
            fs::{DirBuilderExt as _, MetadataExt as _},
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag, openat2, readlinkat, renameat2},
    sys::stat::{Mode, SFlag, fstat, fstatat, mkdirat},
    unistd::{UnlinkatFlags, fsync, geteuid, unlinkat},
};

use super::Error;

/// Writable for the group or for everybody.
const OTHERS_WRITE: u32 = 0o022;

/// What an entry is, without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    Link,
    Other,
}

/// An open directory.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Makes the root where it is missing and opens it. Links on the way are the administrator's
    /// and are followed once, here.
    pub(super) fn root(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Root {
            path: path.to_owned(),
            source,
        };
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let file = File::open(&path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::NotADirectory)));
        }
        Self {
            fd: file.into(),
            path,
        }
        .trusted()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// The directory of that name; `None` when there is nothing.
    pub(super) fn enter(&self, name: &str) -> Result<Option<Self>, Error> {
        self.open_dir(OsStr::new(name), ResolveFlag::empty())?
            .map(Self::trusted)
            .transpose()
    }

    /// The directory of that name, made with mode 0700 where it is missing.
    pub(super) fn enter_or_make(&self, name: &str) -> Result<Self, Error> {
        match mkdirat(&self.fd, name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(source) => return Err(self.failed("make", name)(source)),
        }
        self.enter(name)?
            .ok_or_else(|| self.failed("enter", name)(Errno::ENOENT))
    }

    /// What is there under that name.
    pub(super) fn kind(&self, name: impl AsRef<OsStr>) -> Result<Option<Kind>, Error> {
        let name = name.as_ref();
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(
                match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
                    SFlag::S_IFDIR => Kind::Directory,
                    SFlag::S_IFREG => Kind::File,
                    SFlag::S_IFLNK => Kind::Link,
                    _ => Kind::Other,
                },
            )),
            Err(Errno::ENOENT) => Ok(None),
            Err(source) => Err(self.failed("look at", name)(source)),
        }
    }

    /// The content of a small regular file that belongs to us; `None` when there is nothing.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        // Not blocking, so that a fifo put there does not hold us.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let fd = match self.open(OsStr::new(name), flags, Mode::empty(), ResolveFlag::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => return Err(self.in_the_way(name, "a symbolic link")),
            Err(source) => return Err(self.failed("open", name)(source)),
        };
        let file = File::from(fd);
        let unread = |error: io::Error| self.failed("read", name)(errno(&error));
        let about = file.metadata().map_err(unread)?;
        if !about.is_file() {
            return Err(self.in_the_way(name, "no regular file"));
        }
        if about.uid() != geteuid().as_raw() || about.mode() & OTHERS_WRITE != 0 {
            return Err(Error::Writable {
                path: self.at(name),
                uid: about.uid(),
                mode: about.mode() & 0o7777,
            });
        }
        let mut content = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut content)
            .map_err(unread)?;
        if content.len() as u64 > limit {
            return Err(Error::TooLarge {
                path: self.at(name),
                limit,
            });
        }
        Ok(Some(content))
    }

    /// Makes a file of mode 0600 that was not there, and flushes it.
    pub(super) fn create(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let fd = self
            .open(OsStr::new(name), flags, mode, ResolveFlag::empty())
            .map_err(self.failed("create", name))?;
        let mut file = File::from(fd);
        file.write_all(content)
            .and_then(|()| file.sync_all())
            .map_err(|error| self.failed("write", name)(errno(&error)))
    }

    /// Gives an entry another name; one that has the name already is not replaced unless asked.
    pub(super) fn rename(&self, from: &str, to: &str, replace: bool) -> Result<(), Errno> {
        let flags = if replace {
            RenameFlags::empty()
        } else {
            RenameFlags::RENAME_NOREPLACE
        };
        renameat2(&self.fd, from, &self.fd, to, flags)
    }

    /// Removes a file or a link; nothing there is as good.
    pub(super) fn unlink(&self, name: impl AsRef<OsStr>) -> Result<(), Error> {
        self.remove_entry(name.as_ref(), UnlinkatFlags::NoRemoveDir)
    }

    /// Removes a directory that is empty; nothing there is as good.
    pub(super) fn remove_dir(&self, name: &OsStr) -> Result<(), Error> {
        self.remove_entry(name, UnlinkatFlags::RemoveDir)
    }

    fn remove_entry(&self, name: &OsStr, kind: UnlinkatFlags) -> Result<(), Error> {
        match unlinkat(&self.fd, name, kind) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(source) => Err(self.failed("remove", name)(source)),
        }
    }

    /// Removes a directory if it is empty, and says whether it did.
    pub(super) fn remove_empty(&self, name: &str) -> bool {
        unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir).is_ok()
    }

    /// The names of all entries.
    pub(super) fn names(&self) -> Result<Vec<OsString>, Error> {
        let failed = self.failed("list", "");
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        // A description of its own, so that two listings do not share a position.
        let fd = self
            .open(OsStr::new("."), flags, Mode::empty(), ResolveFlag::empty())
            .map_err(&failed)?;
        let mut names = Vec::new();
        for entry in nix::dir::Dir::from_fd(fd).map_err(&failed)?.iter() {
            let entry = match entry {
                Ok(entry) => entry,
                // The directory itself was removed meanwhile.
                Err(Errno::ENOENT) => break,
                Err(source) => return Err(failed(source)),
            };
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// Where a link points to; `None` when there is none of that name.
    pub(super) fn link(&self, name: &str) -> Result<Option<PathBuf>, Error> {
        match readlinkat(&self.fd, name) {
            Ok(target) => Ok(Some(target.into())),
            Err(Errno::ENOENT | Errno::EINVAL) => Ok(None),
            Err(source) => Err(self.failed("read the link", name)(source)),
        }
    }

    /// Has the names of the directory's entries written to disk.
    pub(super) fn sync(&self) -> Result<(), Error> {
        fsync(&self.fd).map_err(self.failed("flush", ""))
    }

    /// The directory of that name, whoever may write to it.
    pub(super) fn open_dir(
        &self,
        name: &OsStr,
        further: ResolveFlag,
    ) -> Result<Option<Self>, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        match self.open(name, flags, Mode::empty(), further) {
            Ok(fd) => Ok(Some(Self {
                fd,
                path: self.at(name),
            })),
            Err(Errno::ENOENT) => Ok(None),
            Err(Errno::ELOOP) => Err(self.in_the_way(name, "a symbolic link")),
            Err(Errno::ENOTDIR) => Err(self.in_the_way(name, "no directory")),
            Err(Errno::EXDEV) => Err(self.in_the_way(name, "a mount point")),
            Err(source) => Err(self.failed("enter", name)(source)),
        }
    }

    fn open(
        &self,
        name: &OsStr,
        flags: OFlag,
        mode: Mode,
        further: ResolveFlag,
    ) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | further;
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .mode(mode)
            .resolve(resolve);
        openat2(&self.fd, name, how)
    }

    fn trusted(self) -> Result<Self, Error> {
        let stat = fstat(&self.fd).map_err(self.failed("look at", ""))?;
        if stat.st_uid == geteuid().as_raw() && stat.st_mode & OTHERS_WRITE == 0 {
            return Ok(self);
        }
        Err(Error::Writable {
            path: self.path,
            uid: stat.st_uid,
            mode: stat.st_mode & 0o7777,
        })
    }

    fn in_the_way(&self, name: impl AsRef<Path>, kind: &'static str) -> Error {
        Error::InTheWay {
            path: self.at(name),
            kind,
        }
    }

    pub(super) fn failed(
        &self,
        call: &'static str,
        name: impl AsRef<Path>,
    ) -> impl Fn(Errno) -> Error {
        let path = if name.as_ref().as_os_str().is_empty() {
            self.path.clone()
        } else {
            self.at(name)
        };
        move |source| Error::System {
            call,
            path: path.clone(),
            source,
        }
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
