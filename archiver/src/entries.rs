//! The entries of a small mount, and their tar form.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use tar::{EntryType, Header};

/// More entries than this are left to the real `tar`: a mount of that size is not one of the small
/// mounts that every container has.
const ENTRIES_MAX: usize = 512;

/// Content beyond this, all files together, is left to the real `tar`.
const CONTENT_MAX_BYTES: u64 = 256 << 10;

/// Of a tar archive.
const BLOCK: usize = 512;

/// The size of the name and link fields of a tar header; longer ones need an extension.
const FIELD_MAX: usize = 100;

/// Why a mount is left to the real `tar`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory or one of its entries could not be read.
    #[error("failed to read {path}")]
    Read {
        /// The entry.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The entry is of a kind that needs the real `tar`.
    #[error("{path} needs a full archiver: {why}")]
    Unsuited {
        /// The entry.
        path: PathBuf,
        /// What it is.
        why: &'static str,
    },
    /// The archive could not be put together.
    #[error("failed to write the archive")]
    Write(#[source] io::Error),
}

/// Everything in a mount, in the order in which it is written.
#[derive(Debug, Default)]
pub struct Entries {
    entries: Vec<(Header, Vec<u8>)>,
    content_bytes: u64,
}

impl Entries {
    /// Reads the tree at `root`.
    ///
    /// # Errors
    /// [`Error::Unsuited`] for what one header and a little content do not say: large files, hard
    /// links, sockets, another file system, names beyond a header's fields.
    pub fn read(root: &Path) -> Result<Self, Error> {
        let mut entries = Self::default();
        let top = fs::metadata(root).map_err(|source| read_error(root, source))?;
        entries.push(root, b"./", &top, top.dev())?;
        entries.descend(root, b"./", top.dev())?;
        Ok(entries)
    }

    /// The archive, compressed as `tar --gzip` would.
    ///
    /// # Errors
    /// [`Error::Write`]; nothing has left this process by then.
    pub fn gzip(&self) -> Result<Vec<u8>, Error> {
        let mut out = GzEncoder::new(Vec::new(), Compression::fast());
        for (header, content) in &self.entries {
            let padding = vec![0; content.len().next_multiple_of(BLOCK) - content.len()];
            for part in [header.as_bytes().as_slice(), content, &padding] {
                out.write_all(part).map_err(Error::Write)?;
            }
        }
        // Two empty blocks end an archive.
        out.write_all(&[0; 2 * BLOCK]).map_err(Error::Write)?;
        out.finish().map_err(Error::Write)
    }

    fn descend(&mut self, folder: &Path, name: &[u8], device: u64) -> Result<(), Error> {
        for entry in fs::read_dir(folder).map_err(|source| read_error(folder, source))? {
            let entry = entry.map_err(|source| read_error(folder, source))?;
            let path = entry.path();
            let meta = fs::symlink_metadata(&path).map_err(|source| read_error(&path, source))?;
            let mut inner = [name, entry.file_name().as_bytes()].concat();
            if meta.is_dir() {
                inner.push(b'/');
            }
            self.push(&path, &inner, &meta, device)?;
            if meta.is_dir() {
                self.descend(&path, &inner, device)?;
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        path: &Path,
        name: &[u8],
        meta: &fs::Metadata,
        device: u64,
    ) -> Result<(), Error> {
        let unsuited = |why| Error::Unsuited {
            path: path.to_owned(),
            why,
        };
        if self.entries.len() == ENTRIES_MAX {
            return Err(unsuited("one entry too many"));
        }
        if meta.dev() != device {
            return Err(unsuited("another file system"));
        }
        if !meta.is_dir() && meta.nlink() > 1 {
            return Err(unsuited("a hard link"));
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(kind(meta).ok_or_else(|| unsuited("a socket"))?);
        header.set_mode(meta.mode() & 0o7777);
        header.set_uid(meta.uid().into());
        header.set_gid(meta.gid().into());
        header.set_mtime(u64::try_from(meta.mtime()).map_err(|_| unsuited("a date before 1970"))?);
        let content = if meta.is_file() {
            self.content(path, meta)?
        } else {
            Vec::new()
        };
        header.set_size(content.len() as u64);
        let fields = header.as_old_mut();
        fill(&mut fields.name, name).ok_or_else(|| unsuited("a long name"))?;
        if meta.is_symlink() {
            let target = fs::read_link(path).map_err(|source| read_error(path, source))?;
            fill(&mut fields.linkname, OsStr::as_bytes(target.as_os_str()))
                .ok_or_else(|| unsuited("a long link"))?;
        }
        if meta.file_type().is_char_device() || meta.file_type().is_block_device() {
            let (major, minor) = (
                nix::sys::stat::major(meta.rdev()),
                nix::sys::stat::minor(meta.rdev()),
            );
            let number = |n: u64| u32::try_from(n).map_err(|_| unsuited("a large device number"));
            header
                .set_device_major(number(major)?)
                .map_err(Error::Write)?;
            header
                .set_device_minor(number(minor)?)
                .map_err(Error::Write)?;
        }
        header.set_cksum();
        self.entries.push((header, content));
        Ok(())
    }

    /// A file's content, within what is left of the room for all of them.
    fn content(&mut self, path: &Path, meta: &fs::Metadata) -> Result<Vec<u8>, Error> {
        let unsuited = |why| Error::Unsuited {
            path: path.to_owned(),
            why,
        };
        self.content_bytes += meta.len();
        if self.content_bytes > CONTENT_MAX_BYTES {
            return Err(unsuited("much content"));
        }
        if meta.len() == 0 {
            return Ok(Vec::new());
        }
        let content = fs::read(path).map_err(|source| read_error(path, source))?;
        if content.len() as u64 == meta.len() {
            Ok(content)
        } else {
            Err(unsuited("a file that changes"))
        }
    }
}

fn read_error(path: &Path, source: io::Error) -> Error {
    Error::Read {
        path: path.to_owned(),
        source,
    }
}

fn kind(meta: &fs::Metadata) -> Option<EntryType> {
    let kind = meta.file_type();
    if kind.is_file() {
        Some(EntryType::Regular)
    } else if kind.is_dir() {
        Some(EntryType::Directory)
    } else if kind.is_symlink() {
        Some(EntryType::Symlink)
    } else if kind.is_char_device() {
        Some(EntryType::Char)
    } else if kind.is_block_device() {
        Some(EntryType::Block)
    } else if kind.is_fifo() {
        Some(EntryType::Fifo)
    } else {
        None
    }
}

/// Copies `value` into a header field; `None` when it does not fit.
fn fill(field: &mut [u8; FIELD_MAX], value: &[u8]) -> Option<()> {
    field.get_mut(..value.len())?.copy_from_slice(value);
    Some(())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, process::Command};

    use super::*;

    fn listing(archive: &[u8], folder: &Path) -> String {
        let file = folder.join("a.tar.gz");
        fs::write(&file, archive).unwrap();
        let out = Command::new("tar")
            .args(["--numeric-owner", "-tvzf"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap()
    }

    fn sorted(text: &str) -> Vec<&str> {
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn lists_like_the_archive_of_the_real_tar() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("mount");
        fs::create_dir_all(root.join("pts/deep")).unwrap();
        fs::set_permissions(root.join("pts"), fs::Permissions::from_mode(0o1777)).unwrap();
        std::os::unix::fs::symlink("/proc/self/fd", root.join("fd")).unwrap();
        fs::write(root.join("termination-log"), "").unwrap();
        fs::write(root.join("pid"), "42\n").unwrap();
        nix::unistd::mkfifo(
            &root.join("pipe"),
            nix::sys::stat::Mode::from_bits_truncate(0o600),
        )
        .unwrap();

        let ours = Entries::read(&root).unwrap().gzip().unwrap();
        let real = Command::new("tar")
            .args(["--create", "--gzip", "--numeric-owner", "--directory"])
            .arg(&root)
            .arg(".")
            .output()
            .unwrap();
        assert!(real.status.success());
        let (ours, real) = (
            listing(&ours, scratch.path()),
            listing(&real.stdout, scratch.path()),
        );
        assert_eq!(sorted(&ours), sorted(&real));
        assert_eq!(ours.lines().count(), 7, "{ours}");
    }

    #[test]
    fn leaves_much_content_hard_links_and_sockets_to_the_real_tar() {
        type Make = fn(&Path);
        let cases: [(Make, &str); 3] = [
            (
                |at| fs::write(at.join("f"), vec![7; 300 << 10]).unwrap(),
                "much content",
            ),
            (
                |at| {
                    fs::write(at.join("f"), "x").unwrap();
                    fs::hard_link(at.join("f"), at.join("g")).unwrap();
                },
                "a hard link",
            ),
            (
                |at| drop(std::os::unix::net::UnixListener::bind(at.join("s")).unwrap()),
                "a socket",
            ),
        ];
        for (make, wanted) in cases {
            let scratch = tempfile::tempdir().unwrap();
            make(scratch.path());
            let error = Entries::read(scratch.path()).unwrap_err();
            assert!(
                matches!(error, Error::Unsuited { why, .. } if why == wanted),
                "{error}"
            );
        }
    }

    #[test]
    fn brings_small_files_back_to_the_letter() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let contents = [0, 1, 511, 512, 513, 4000].map(|n| vec![b'x'; n]);
        for (n, content) in contents.iter().enumerate() {
            fs::write(from.path().join(n.to_string()), content).unwrap();
        }
        let archive = to.path().join("a");
        fs::write(
            &archive,
            Entries::read(from.path()).unwrap().gzip().unwrap(),
        )
        .unwrap();
        let tar = Command::new("tar")
            .arg("-xzf")
            .arg(&archive)
            .arg("-C")
            .arg(to.path())
            .status();
        assert!(tar.unwrap().success());
        for (n, content) in contents.iter().enumerate() {
            assert_eq!(fs::read(to.path().join(n.to_string())).unwrap(), *content);
        }
    }

    #[test]
    fn leaves_a_name_that_no_header_holds_to_the_real_tar() {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("n".repeat(120))).unwrap();
        let error = Entries::read(scratch.path()).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Unsuited {
                    why: "a long name",
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn leaves_many_entries_to_the_real_tar() {
        let scratch = tempfile::tempdir().unwrap();
        for n in 0..ENTRIES_MAX {
            fs::create_dir(scratch.path().join(n.to_string())).unwrap();
        }
        assert!(Entries::read(scratch.path()).is_err());
    }
}
