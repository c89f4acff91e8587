//! The names under which CRIU links deleted files back, found again after it was killed.
//!
//! With `--link-remap` CRIU gives an open file that was deleted, but has another name, a temporary
//! one (`link_remap.N`) beside the deleted one, and takes it away at the end. Killed, it leaves it.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    dir::Dir,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::{Mode, fstatat},
    unistd::{UnlinkatFlags, unlinkat},
};
use serde::{Deserialize, Serialize};

const PREFIX: &str = "link_remap.";
const DELETED: &[u8] = b" (deleted)";

/// A folder of the container in which an open file lost its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// As the container sees it.
    pub path: PathBuf,
    /// Device and inode of the files that lost their name: only these are ever unlinked.
    pub files: Vec<(u64, u64)>,
}

/// The folders in which CRIU may link files back, from what the processes hold open.
///
/// Best effort: a process that ends meanwhile has nothing to link back.
#[must_use]
pub fn folders(pids: &[i32]) -> Vec<Folder> {
    let mut found: BTreeMap<PathBuf, Vec<(u64, u64)>> = BTreeMap::new();
    for pid in pids {
        for kind in ["fd", "map_files"] {
            let links = fs::read_dir(format!("/proc/{pid}/{kind}"))
                .into_iter()
                .flatten()
                .flatten();
            for link in links.map(|entry| entry.path()) {
                if let Some((folder, file)) = deleted(&link) {
                    found.entry(folder).or_default().push(file);
                }
            }
        }
    }
    found
        .into_iter()
        .map(|(path, files)| Folder { path, files })
        .collect()
}

fn deleted(link: &Path) -> Option<(PathBuf, (u64, u64))> {
    let target = fs::read_link(link).ok()?;
    let name = target.as_os_str().as_bytes().strip_suffix(DELETED)?;
    let meta = fs::metadata(link).ok()?;
    let folder = Path::new(OsStr::from_bytes(name)).parent()?;
    // Without another name it becomes a ghost file in the image, not a link.
    (meta.nlink() > 0 && folder.is_absolute())
        .then(|| (folder.to_owned(), (meta.dev(), meta.ino())))
}

/// Unlinks what CRIU left in these folders; the names that could not be removed come back.
///
/// `root` is the container's root. Its links are resolved inside it, and only a file that the
/// journal names by its inode is removed.
#[must_use]
pub fn remove(root: &Path, folders: &[Folder]) -> Vec<PathBuf> {
    folders
        .iter()
        .flat_map(|folder| remove_in(root, folder))
        .collect()
}

fn remove_in(root: &Path, folder: &Folder) -> Vec<PathBuf> {
    let Some(handle) = open_inside(root, &folder.path) else {
        return Vec::new();
    };
    let Ok(mut listing) = Dir::openat(
        handle.as_fd(),
        ".",
        OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    ) else {
        return Vec::new();
    };
    let names: Vec<_> = listing
        .iter()
        .flatten()
        .map(|e| e.file_name().to_owned())
        .collect();
    let left = |name: &std::ffi::CStr| {
        let name = OsStr::from_bytes(name.to_bytes());
        if !is_remap(name) {
            return None;
        }
        let meta = fstatat(&handle, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        if !folder.files.contains(&(meta.st_dev, meta.st_ino)) {
            return None;
        }
        match unlinkat(&handle, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => None,
            Err(_) => Some(folder.path.join(name)),
        }
    };
    names.iter().filter_map(|name| left(name)).collect()
}

fn open_inside(root: &Path, path: &Path) -> Option<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
    let root = open(root, flags, Mode::empty()).ok()?;
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT);
    openat2(&root, path, how).ok()
}

fn is_remap(name: &OsStr) -> bool {
    name.to_str()
        .and_then(|name| name.strip_prefix(PREFIX))
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_only_links_to_the_named_files() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::create_dir(&data).unwrap();
        for name in ["kept", "own"] {
            fs::write(data.join(name), name).unwrap();
        }
        fs::hard_link(data.join("kept"), data.join("link_remap.3")).unwrap();
        fs::hard_link(data.join("own"), data.join("link_remap.4")).unwrap();
        fs::hard_link(data.join("kept"), data.join("link_remap.x")).unwrap();
        let meta = fs::metadata(data.join("kept")).unwrap();
        let folder = Folder {
            path: "/data".into(),
            files: vec![(meta.dev(), meta.ino())],
        };

        assert_eq!(remove(root.path(), &[folder]), Vec::<PathBuf>::new());
        let mut left: Vec<_> = fs::read_dir(&data)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["kept", "link_remap.4", "link_remap.x", "own"]);
    }

    #[test]
    fn follows_no_link_out_of_the_container() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("link_remap.1"), "").unwrap();
        let meta = fs::metadata(outside.path().join("link_remap.1")).unwrap();
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("data")).unwrap();
        let folder = Folder {
            path: "/data".into(),
            files: vec![(meta.dev(), meta.ino())],
        };

        let _ = remove(root.path(), &[folder]);
        assert!(outside.path().join("link_remap.1").exists());
    }
}
