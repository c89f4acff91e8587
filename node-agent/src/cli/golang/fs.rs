//! Go's file operations as runc's command uses them, failing with Go's texts.

use std::{
    ffi::{OsStr, OsString},
    fmt, fs, io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use super::quote::plain;
use crate::go_text::go_error;

/// Go's `os.PathError`: the operation, the path as it was given, and the system's reason.
#[derive(Debug, thiserror::Error)]
#[error("{op} {}: {}", plain(path.as_os_str().as_bytes()), Reason(source))]
pub(crate) struct PathError {
    /// Go's name of the operation; empty in the one place where runc leaves it out.
    pub(crate) op: &'static str,
    /// What it was tried on.
    pub(crate) path: PathBuf,
    /// What the system said.
    #[source]
    pub(crate) source: io::Error,
}

impl PathError {
    fn new(op: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            op,
            path: path.to_owned(),
            source,
        }
    }
}

/// A system error in Go's words.
pub(crate) struct Reason<'a>(pub(crate) &'a io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&go_error(self.0))
    }
}

/// `os.MkdirAll`: the path's own text decides what its parents are, and an existing directory of
/// any mode is good.
///
/// # Errors
/// The first level that could not be made, or `mkdir PATH: not a directory`.
pub(crate) fn make_all(path: &Path, mode: u32) -> Result<(), PathError> {
    if let Ok(found) = fs::metadata(path) {
        return if found.is_dir() {
            Ok(())
        } else {
            Err(not_a_directory("mkdir", path))
        };
    }
    if let Some(parent) = parent_by_text(path.as_os_str()) {
        make_all(Path::new(&parent), mode)?;
    }
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(()),
        // "dir/." exists once "dir" does.
        Err(_) if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) => Ok(()),
        Err(source) => Err(PathError::new("mkdir", path, source)),
    }
}

/// What `MkdirAll` takes for the parent: trailing slashes and the last name cut off.
fn parent_by_text(path: &OsStr) -> Option<OsString> {
    let bytes = path.as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/')?;
    let slash = bytes[..=end].iter().rposition(|byte| *byte == b'/')?;
    // Go keeps the text before the last name's slash; for "/name" that is nothing.
    (slash > 0).then(|| OsString::from_vec(bytes[..slash].to_vec()))
}

/// An error for a path that should have been a directory.
pub(crate) fn not_a_directory(op: &'static str, path: &Path) -> PathError {
    PathError::new(op, path, io::Error::from_raw_os_error(libc::ENOTDIR))
}

/// `os.Stat`.
///
/// # Errors
/// `stat PATH: …`.
pub(crate) fn stat(path: &Path) -> Result<fs::Metadata, PathError> {
    fs::metadata(path).map_err(|source| PathError::new("stat", path, source))
}

/// `os.OpenFile` with what runc opens its log with: created with 0644, appended to, synchronous.
///
/// # Errors
/// `open PATH: …`.
pub(crate) fn open_log(path: &Path) -> Result<fs::File, PathError> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .custom_flags(libc::O_SYNC)
        .open(path)
        .map_err(|source| PathError::new("open", path, source))
}

/// `os.Getwd`: `$PWD` when it names the current directory, so that a symlink in it stays.
///
/// # Errors
/// The system's reason, which Go prints after `getwd: `.
pub(crate) fn current_dir(pwd: Option<&OsStr>) -> io::Result<PathBuf> {
    if let Some(pwd) = pwd.map(Path::new).filter(|pwd| pwd.is_absolute()) {
        let (here, named) = (fs::metadata(".")?, fs::metadata(pwd));
        if named.is_ok_and(|named| (named.dev(), named.ino()) == (here.dev(), here.ino())) {
            return Ok(pwd.to_owned());
        }
    }
    std::env::current_dir()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn takes_parents_from_the_text() {
        for (path, want) in [
            ("a", None),
            ("/a", None),
            ("a/b", Some("a")),
            ("/a/b//", Some("/a")),
            ("a//b", Some("a/")),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(
                parent_by_text(OsStr::new(path)).as_deref(),
                want.map(OsStr::new),
                "{path}"
            );
        }
    }

    #[test]
    fn makes_every_level_with_the_mode_asked_for() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("a");
        make_all(&dir.join("."), 0o700).unwrap();
        assert_eq!(
            fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
            0o700
        );
        make_all(&dir, 0o600).unwrap();
        assert_eq!(
            fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn refuses_a_file_in_the_way() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("f");
        fs::write(&file, "").unwrap();
        let text = make_all(&file, 0o600).unwrap_err().to_string();
        assert_eq!(text, format!("mkdir {}: not a directory", file.display()));
        let text = make_all(&file.join("x/y"), 0o600).unwrap_err().to_string();
        assert_eq!(text, format!("mkdir {}: not a directory", file.display()));
        assert_eq!(
            make_all(Path::new(""), 0o600).unwrap_err().to_string(),
            "mkdir : no such file or directory"
        );
    }
}
