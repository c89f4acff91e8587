//! Turning a written image directory into a published one: on disk, summed up, under its name.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    io::Read,
    os::{
        fd::AsFd as _,
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, RenameFlags, open, renameat2},
    sys::stat::Mode,
    unistd::fsync,
};
use sha2::{Digest as _, Sha256};

use super::{
    Error, Folder,
    folder::{Entry, EntryKind, Regular, errno, shown, strange},
};

/// How much is read at once.
const CHUNK_BYTES: usize = 1 << 20;
/// With what the names of files with pages begin.
const PAGES: &str = "pages-";
/// What a block of `st_blocks` is.
const BLOCK_BYTES: u64 = 512;

/// How large an image is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes of all regular files, holes included.
    pub bytes: u64,
    /// Regular files.
    pub files: u64,
}

/// Counts the regular files of a directory; the `parent` link is not one of them.
///
/// # Errors
/// When the directory cannot be listed.
pub fn measure(folder: &Folder) -> Result<Size, Error> {
    let sizes = folder
        .entries()?
        .into_iter()
        .filter_map(|entry| match entry.kind {
            EntryKind::Regular(bytes) => Some(bytes),
            EntryKind::Link | EntryKind::Other => None,
        });
    Ok(sizes.fold(Size::default(), |sum, bytes| Size {
        bytes: sum.bytes.saturating_add(bytes),
        files: sum.files + 1,
    }))
}

/// Bytes that the pages of an image take of the disk, holes left out.
///
/// # Errors
/// When the directory or one of these files cannot be looked at.
pub fn allocated(folder: &Folder) -> Result<u64, Error> {
    let mut sum: u64 = 0;
    for Entry { name, .. } in folder.entries()? {
        if !name.as_bytes().starts_with(PAGES.as_bytes()) {
            continue;
        }
        let Some(Regular { file, .. }) = folder.regular(&name)? else {
            continue;
        };
        let about = file.metadata().map_err(|error| Error::Read {
            name: shown(&name),
            source: errno(&error),
        })?;
        sum = sum.saturating_add(about.blocks().saturating_mul(BLOCK_BYTES));
    }
    Ok(sum)
}

/// Brings every regular file to disk, then the directory itself.
///
/// # Errors
/// [`Error::Flush`] with the name of what did not get there.
pub fn flush(folder: &Folder) -> Result<(), Error> {
    for name in regular_names(folder)? {
        let Some(Regular { file, .. }) = folder.regular(OsStr::new(&name))? else {
            continue;
        };
        fsync(&file).map_err(|source| Error::Flush {
            name: shown(&name),
            source,
        })?;
    }
    fsync(folder.as_fd()).map_err(|source| Error::Flush {
        name: folder.path().display().to_string(),
        source,
    })
}

/// `sha256:` and the digest of the lines that `sha256sum` prints for the directory's files, sorted
/// by name byte by byte. Anybody can compute it again, in the image directory:
///
/// ```sh
/// LC_ALL=C; export LC_ALL; find . -maxdepth 1 -type f ! -name '.*' -printf '%P\0' |
///     sort -z | xargs -0 sha256sum -- | sha256sum
/// ```
///
/// So a line is the file's digest in hexadecimal, two blanks, its name and a newline, names with
/// newlines, carriage returns or backslashes escaped as `sha256sum` does it. The `parent` link is
/// left out: the parent is another image with a digest of its own. Holes count as the zeros they
/// read as. A `restore.log` written into the directory later is a file like any other.
///
/// # Errors
/// When a file cannot be read, or is no regular file.
pub fn digest(folder: &Folder) -> Result<String, Error> {
    let mut lines = Sha256::new();
    for name in regular_names(folder)? {
        let name = name.as_os_str();
        let Some(Regular { file, .. }) = folder.regular(name)? else {
            return Err(Error::Missing { name: shown(name) });
        };
        let sum = file_digest(file).map_err(|source| Error::Read {
            name: shown(name),
            source,
        })?;
        lines.update(line(&sum, name));
    }
    Ok(format!("sha256:{}", hex(&lines.finalize())))
}

/// Gives a complete image its final name, unless there is something of that name already, and
/// brings the new name to disk.
///
/// # Errors
/// [`Error::Name`]; its source is `EEXIST` when the name is taken. [`Error::Flush`] when the name
/// may not outlive a crash.
pub fn name(partial: &Path, image: &Path) -> Result<(), Error> {
    let failed = |source| Error::Name {
        partial: partial.to_owned(),
        image: image.to_owned(),
        source,
    };
    renameat2(
        AT_FDCWD,
        partial,
        AT_FDCWD,
        image,
        RenameFlags::RENAME_NOREPLACE,
    )
    .map_err(failed)?;
    let parent = match image.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(parent, flags, Mode::empty())
        .and_then(fsync)
        .map_err(|source| Error::Flush {
            name: parent.display().to_string(),
            source,
        })
}

/// Names of the regular files. CRIU makes no hidden ones, and nothing else than files but the
/// `parent` link.
fn regular_names(folder: &Folder) -> Result<Vec<std::ffi::OsString>, Error> {
    let mut names = Vec::new();
    for Entry { name, kind } in folder.entries()? {
        match kind {
            EntryKind::Regular(_) if name.as_bytes().starts_with(b".") => {}
            EntryKind::Regular(_) => names.push(name),
            EntryKind::Link if name == "parent" => {}
            EntryKind::Link => return Err(strange(&name, "is a symbolic link")),
            EntryKind::Other => return Err(strange(&name, "is not a regular file")),
        }
    }
    Ok(names)
}

fn file_digest(mut file: impl Read) -> Result<Vec<u8>, Errno> {
    let mut sum = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(sum.finalize().to_vec()),
            Ok(got) => sum.update(chunk.get(..got).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(errno(&error)),
        }
    }
}

/// A line of `sha256sum`; one with an escaped name starts with a backslash.
fn line(sum: &[u8], name: &OsStr) -> Vec<u8> {
    let mut escaped = Vec::new();
    for byte in name.as_bytes() {
        match byte {
            b'\\' => escaped.extend(b"\\\\"),
            b'\n' => escaped.extend(b"\\n"),
            b'\r' => escaped.extend(b"\\r"),
            other => escaped.push(*other),
        }
    }
    let mark: &[u8] = if escaped.len() == name.len() {
        b""
    } else {
        b"\\"
    };
    [mark, hex(sum).as_bytes(), b"  ", &escaped, b"\n"].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, process::Command};

    use super::*;

    fn image() -> tempfile::TempDir {
        let scratch = tempfile::tempdir().unwrap();
        let files: [(&str, &[u8]); 4] = [
            ("b", b"two"),
            ("a", b""),
            ("B-img", b"three"),
            ("odd\n\\\rname", b"four"),
        ];
        for (name, content) in files {
            fs::write(scratch.path().join(name), content).unwrap();
        }
        symlink("../nowhere", scratch.path().join("parent")).unwrap();
        scratch
    }

    #[test]
    fn the_digest_is_what_coreutils_compute() {
        let scratch = image();
        let ours = digest(&Folder::open(scratch.path()).unwrap()).unwrap();
        let script = "LC_ALL=C; export LC_ALL; find . -maxdepth 1 -type f ! -name '.*' -printf '%P\\0' | \
                      sort -z | xargs -0 sha256sum -- | sha256sum";
        let output = Command::new("sh")
            .args(["-c", script])
            .current_dir(scratch.path())
            .output();
        let output = String::from_utf8(output.unwrap().stdout).unwrap();
        let theirs = output.split_whitespace().next().unwrap();
        assert_eq!(ours, format!("sha256:{theirs}"));
    }

    #[test]
    fn the_digest_depends_on_names_and_contents() {
        let scratch = image();
        let folder = Folder::open(scratch.path()).unwrap();
        let before = digest(&folder).unwrap();
        fs::rename(scratch.path().join("b"), scratch.path().join("c")).unwrap();
        let renamed = digest(&folder).unwrap();
        fs::write(scratch.path().join("c"), "twp").unwrap();
        let changed = digest(&folder).unwrap();
        assert!(before != renamed && renamed != changed && before != changed);
    }

    #[test]
    fn sizes_count_regular_files_alone() {
        let scratch = image();
        let folder = Folder::open(scratch.path()).unwrap();
        assert_eq!(
            measure(&folder).unwrap(),
            Size {
                bytes: 12,
                files: 4
            }
        );
        flush(&folder).unwrap();
    }

    #[test]
    fn a_taken_name_is_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir(at("x.partial")).unwrap();
        name(&at("x.partial"), &at("x")).unwrap();
        assert!(at("x").is_dir());
        fs::create_dir(at("x.partial")).unwrap();
        let error = name(&at("x.partial"), &at("x")).unwrap_err();
        assert_eq!(error.reason(), "ImageExists");
        assert!(at("x.partial").is_dir());
    }
}
