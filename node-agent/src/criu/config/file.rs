//! Opening a configuration file that may be obeyed.

use std::{
    fs::File,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::Mode,
};

use super::{Error, Site};

/// Where configuration files may be.
const ROOT: &str = "/etc/criu";
/// Real ones have a few hundred bytes.
const SIZE_LIMIT: u64 = 64 * 1024;
/// Only root may have written it.
const WRITABLE_BY_OTHERS: u32 = 0o022;

impl Site {
    /// Opens and reads a file beneath `/etc/criu`.
    ///
    /// # Guarantees
    /// The file is a regular one, reached without any symbolic link below `/etc/criu`, owned by root and
    /// writable by nobody else, and is not larger than 64 KiB.
    ///
    /// # Errors
    /// [`Error::Outside`], [`Error::Untrusted`], [`Error::Read`] (also when there is no such file:
    /// its source is `ENOENT`), [`Error::Syntax`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        open_beneath(Path::new(ROOT), path, 0)
    }
}

fn open_beneath(root: &Path, path: &Path, owner: u32) -> Result<Site, Error> {
    let outside = || Error::Outside {
        path: path.to_owned(),
        root: root.to_owned(),
    };
    let relative = path.strip_prefix(root).map_err(|_| outside())?;
    let plain = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !plain || relative.as_os_str().is_empty() {
        return Err(outside());
    }
    let read = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let untrusted = |problem| Error::Untrusted {
        path: path.to_owned(),
        problem,
    };
    let folder = open(
        root,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(read)?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let file = match openat2(&folder, relative, how) {
        Ok(file) => File::from(file),
        Err(Errno::ELOOP) => return Err(untrusted("is reached through a symbolic link")),
        Err(source) => return Err(read(source)),
    };
    let io = |error: std::io::Error| {
        read(Errno::from_raw(
            error.raw_os_error().unwrap_or(Errno::EIO as i32),
        ))
    };
    let about = file.metadata().map_err(io)?;
    if !about.is_file() {
        return Err(untrusted("is not a regular file"));
    }
    if about.uid() != owner {
        return Err(untrusted("is not owned by root"));
    }
    if about.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(untrusted("can be written by others than root"));
    }
    let mut text = Vec::new();
    file.take(SIZE_LIMIT + 1)
        .read_to_end(&mut text)
        .map_err(io)?;
    if text.len() as u64 > SIZE_LIMIT {
        return Err(untrusted("is too large"));
    }
    Site::parse(&String::from_utf8_lossy(&text))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    fn folder_with(text: &str, mode: u32) -> (tempfile::TempDir, u32) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("runc.conf");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let owner = fs::metadata(&file).unwrap().uid();
        (folder, owner)
    }

    fn problem(result: Result<Site, Error>) -> &'static str {
        match result {
            Err(Error::Untrusted { problem, .. }) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_trustworthy_file_is_read() {
        let (folder, owner) = folder_with("tcp-close\n", 0o644);
        let site = open_beneath(folder.path(), &folder.path().join("runc.conf"), owner).unwrap();
        assert_eq!(site.options, [("tcp-close".to_owned(), None)]);
    }

    #[test]
    fn a_file_of_another_owner_or_writable_by_others_is_refused() {
        let (folder, owner) = folder_with("", 0o664);
        let path = folder.path().join("runc.conf");
        assert_eq!(
            problem(open_beneath(folder.path(), &path, owner)),
            "can be written by others than root"
        );
        assert_eq!(
            problem(open_beneath(folder.path(), &path, owner + 1)),
            "is not owned by root"
        );
    }

    #[test]
    fn links_folders_and_oversized_files_are_refused() {
        let (folder, owner) = folder_with(&"#".repeat(70_000), 0o644);
        let path = |name| folder.path().join(name);
        symlink("runc.conf", path("link")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        let open = |name| open_beneath(folder.path(), &path(name), owner);
        assert_eq!(problem(open("link")), "is reached through a symbolic link");
        assert_eq!(problem(open("folder")), "is not a regular file");
        assert_eq!(problem(open("runc.conf")), "is too large");
    }

    #[test]
    fn a_path_elsewhere_is_refused_before_it_is_opened() {
        for path in [
            "/tmp/runc.conf",
            "/etc/criu/../shadow",
            "/etc/criu",
            "runc.conf",
        ] {
            let error = Site::open(Path::new(path)).unwrap_err();
            assert!(matches!(error, Error::Outside { .. }), "{path}: {error}");
        }
    }
}
