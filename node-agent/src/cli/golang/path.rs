//! Go's `path/filepath`: paths are cleaned by their text alone.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// `filepath.Clean`: the shortest equal path by text, `.` for an empty one. Unlike Rust's
/// `components`, `..` takes the name before it away.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    let rooted = bytes.first() == Some(&b'/');
    let mut names: Vec<&[u8]> = Vec::new();
    for name in bytes.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if names.last().is_some_and(|last| *last != b"..") => {
                names.pop();
            }
            b".." if rooted => {}
            _ => names.push(name),
        }
    }
    let joined = names.join(&b'/');
    let mut out = if rooted { vec![b'/'] } else { Vec::new() };
    out.extend(joined);
    if out.is_empty() {
        out.push(b'.');
    }
    PathBuf::from(OsString::from_vec(out))
}

/// `filepath.Join` of two elements: empty ones are left out, an absolute second is no new start.
pub(crate) fn join(first: &Path, second: &Path) -> PathBuf {
    let parts: Vec<&[u8]> = [first, second]
        .iter()
        .map(|part| part.as_os_str().as_bytes())
        .filter(|part| !part.is_empty())
        .collect();
    if parts.is_empty() {
        return PathBuf::new();
    }
    clean(Path::new(&OsString::from_vec(parts.join(&b'/'))))
}

/// `filepath.Base`: the last name of a path, as an empty or rooted one has it.
pub(crate) fn base(path: &[u8]) -> Vec<u8> {
    let Some(end) = path.iter().rposition(|byte| *byte != b'/') else {
        return if path.is_empty() {
            b".".to_vec()
        } else {
            b"/".to_vec()
        };
    };
    let start = path[..end]
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |at| at + 1);
    path[start..=end].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_by_text_alone() {
        for (path, want) in [
            ("", "."),
            (".", "."),
            ("/", "/"),
            ("//", "/"),
            ("a/b/../c", "a/c"),
            ("a/..", "."),
            ("../../x", "../../x"),
            ("a/../../x", "../x"),
            ("/../x", "/x"),
            ("/a//b/./", "/a/b"),
        ] {
            assert_eq!(clean(Path::new(path)), Path::new(want), "{path:?}");
        }
    }

    #[test]
    fn joins_without_a_new_start() {
        for (first, second, want) in [
            ("/i", "../p", "/p"),
            ("/i", "/p", "/i/p"),
            ("", "p", "p"),
            ("i", "", "i"),
            ("", "", ""),
            ("checkpoint", "../parent", "parent"),
        ] {
            assert_eq!(join(Path::new(first), Path::new(second)), Path::new(want));
        }
    }

    #[test]
    fn finds_the_last_name() {
        for (path, want) in [
            ("", "."),
            ("/", "/"),
            ("a", "a"),
            ("/a/b", "b"),
            ("a/b//", "b"),
        ] {
            assert_eq!(base(path.as_bytes()), want.as_bytes(), "{path:?}");
        }
    }
}
