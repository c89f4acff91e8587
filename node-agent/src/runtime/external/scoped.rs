//! Resolves the links of a path as if a directory were the root of the file system.

use std::{
    fs, io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

/// How many links are followed (`MaxSymlinkLimit` of securejoin).
const MAX_LINKS: usize = 255;

/// Where `path` lies below `root` once every symbolic link in it is followed without leaving
/// `root`; the answer starts with `/`, which stands for `root`. Components that do not exist stay
/// as they are. Mirrors `SecureJoin` of filepath-securejoin 0.6.
///
/// # Errors
/// A component could not be looked at, or there are too many links.
pub(super) fn resolve(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut done = PathBuf::from("/");
    let mut links = 0;
    // The rest as bytes, since a link's target goes in front of it as it stands.
    let mut rest = path.as_os_str().as_bytes().to_vec();
    while !rest.is_empty() {
        let end = rest
            .iter()
            .position(|byte| *byte == b'/')
            .unwrap_or(rest.len());
        let tail = rest.get(end + 1..).unwrap_or_default().to_vec();
        rest.truncate(end);
        let part = std::mem::replace(&mut rest, tail);
        match part.as_slice() {
            b"" | b"." => continue,
            b".." => {
                done.pop();
                continue;
            }
            _ => {}
        }
        let next = done.join(PathBuf::from(std::ffi::OsString::from_vec(part)));
        let on_host = root.join(next.strip_prefix("/").unwrap_or(&next));
        if !is_link(&on_host)? {
            done = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let target = fs::read_link(&on_host)?;
        if target.is_absolute() {
            done = PathBuf::from("/");
        }
        let mut joined = target.into_os_string().into_vec();
        joined.push(b'/');
        joined.append(&mut rest);
        rest = joined;
    }
    Ok(done)
}

/// What does not exist, or lies below a file, is no link.
fn is_link(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(meta.is_symlink()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => Ok(false),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn resolved(links: &[(&str, &str)], path: &str) -> String {
        let root = tempfile::tempdir().unwrap();
        for (name, target) in links {
            let link = root.path().join(name);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(target, link).unwrap();
        }
        fs::create_dir_all(root.path().join("real/dir")).unwrap();
        resolve(root.path(), Path::new(path))
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn a_path_without_links_stays() {
        assert_eq!(resolved(&[], "/real/dir"), "/real/dir");
        assert_eq!(resolved(&[], "real//./dir/"), "/real/dir");
    }

    #[test]
    fn an_absolute_link_starts_at_the_root() {
        assert_eq!(
            resolved(&[("var/run", "/real")], "/var/run/dir/x"),
            "/real/dir/x"
        );
    }

    #[test]
    fn a_relative_link_starts_beside_itself() {
        assert_eq!(
            resolved(&[("real/here", "dir")], "/real/here/x"),
            "/real/dir/x"
        );
    }

    #[test]
    fn no_link_and_no_dots_lead_out() {
        assert_eq!(
            resolved(&[("out", "../../../etc")], "/out/passwd"),
            "/etc/passwd"
        );
        assert_eq!(resolved(&[], "/../../etc/../x"), "/x");
    }

    #[test]
    fn what_is_missing_stays_as_written() {
        assert_eq!(
            resolved(&[("gone", "/nowhere/at")], "/gone/all"),
            "/nowhere/at/all"
        );
    }

    #[test]
    fn a_loop_of_links_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        let error = resolve(root.path(), Path::new("/a/x")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }
}
