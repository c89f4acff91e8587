//! Where containers are looked for: the state root, as runc finds it.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::{app::Stop, golang::path};

/// The state root when `--root` is not given, and whether it came from `$XDG_RUNTIME_DIR`.
/// Mirrors `shouldHonorXDGRuntimeDir` of runc: root itself keeps `/run/runc`, and root of a user
/// namespace does when `$USER` says so too.
pub(crate) fn default_root(
    xdg_runtime_dir: Option<&OsStr>,
    user: Option<&OsStr>,
    is_root: bool,
    in_user_namespace: bool,
) -> (PathBuf, bool) {
    let honoured = !is_root || (in_user_namespace && user.is_none_or(|user| user != "root"));
    match xdg_runtime_dir.filter(|dir| honoured && !dir.is_empty()) {
        Some(dir) => {
            let mut root = dir.to_owned();
            root.push("/runc");
            (PathBuf::from(root), true)
        }
        None => (PathBuf::from("/run/runc"), false),
    }
}

/// `reviseRootDir` of runc: a given root is made absolute by its text and may not be `/`.
///
/// # Errors
/// The root is `/`.
pub(crate) fn revise_root(root: &Path, current_dir: &Path) -> Result<PathBuf, Stop> {
    let root = if root.is_absolute() {
        path::clean(root)
    } else {
        path::join(current_dir, root)
    };
    if root == Path::new("/") {
        return Err(Stop::failed(
            &"Option --root argument should not be set to /",
        ));
    }
    Ok(root)
}

/// Whether a process's `uid_map` is that of a user namespace (`RunningInUserNS` of moby/sys): any
/// but the whole range mapped on itself.
pub(crate) fn is_user_namespace(uid_map: &str) -> bool {
    let first = uid_map.lines().next().unwrap_or_default();
    let numbers: Vec<u64> = first
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    !uid_map.is_empty() && numbers != [0, 0, 4_294_967_295]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_root_is_absolute_and_not_the_whole_system() {
        let revise = |root| revise_root(Path::new(root), Path::new("/cwd"));
        assert_eq!(revise("x/../y"), Ok(PathBuf::from("/cwd/y")));
        assert_eq!(revise(""), Ok(PathBuf::from("/cwd")));
        assert_eq!(revise("/a//b/"), Ok(PathBuf::from("/a/b")));
        for root in ["/", "..", "//", "/a/.."] {
            let want = Stop::failed(&"Option --root argument should not be set to /");
            assert_eq!(revise(root), Err(want), "{root}");
        }
    }

    #[test]
    fn only_who_is_not_the_real_root_gets_a_root_of_their_own() {
        let (xdg, root) = (Some(OsStr::new("/run/user/7")), Some(OsStr::new("root")));
        let own = (PathBuf::from("/run/user/7/runc"), true);
        let shared = (PathBuf::from("/run/runc"), false);
        assert_eq!(default_root(xdg, root, false, false), own);
        assert_eq!(default_root(xdg, root, true, false), shared);
        assert_eq!(default_root(xdg, root, true, true), shared);
        assert_eq!(default_root(xdg, None, true, true), own);
        assert_eq!(default_root(None, None, false, false), shared);
        assert_eq!(
            default_root(Some(OsStr::new("")), None, false, false),
            shared
        );
    }

    #[test]
    fn knows_a_user_namespace_by_its_map() {
        assert!(!is_user_namespace("         0          0 4294967295\n"));
        assert!(!is_user_namespace(""));
        assert!(is_user_namespace("0 1000 1\n"));
        assert!(is_user_namespace("0 0 65536\n"));
    }
}
