//! The mount namespace of the host, for a process that runs in a container: programs are found and
//! started there as if this process were not in one.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::Path,
    process::Command,
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sched::{CloneFlags, setns},
    unistd::{chroot, fchdir},
};

/// Where programs are beside what the host's first process has in its search path, which may be
/// little. The last is where k3s keeps its runtime.
const FOLDERS: [&str; 7] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/var/lib/rancher/k3s/data/current/bin",
];
/// Variables by which a container's image has its own libraries found, which the host has not.
const OF_THE_IMAGE: [&str; 2] = ["LD_LIBRARY_PATH", "LD_PRELOAD"];

/// Why the host's mounts cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This is the first process that it sees.
    #[error("failed to find the host: this is process 1 itself, so the pod needs hostPID")]
    NotSeen,
    /// Something of the host's first process cannot be opened.
    #[error("failed to open {file}")]
    Open {
        /// What.
        file: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// A stable name.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotSeen => "HostNotSeen",
            Self::Open { .. } => "HostUnreadable",
        }
    }
}

/// The mounts that a process of the host sees.
#[derive(Debug)]
pub struct Mounts {
    namespace: File,
    root: File,
    search_path: OsString,
}

impl Mounts {
    /// Those of the host's first process.
    ///
    /// # Errors
    /// This process has a pid namespace of its own, or may not look.
    pub fn of_the_host() -> Result<Self, Error> {
        if std::process::id() == 1 {
            return Err(Error::NotSeen);
        }
        Self::of(1)
    }

    /// Those of a process.
    ///
    /// # Errors
    /// It is gone, or this process may not look.
    pub fn of(pid: i32) -> Result<Self, Error> {
        let open = |name: &str, flags: OFlag| {
            let file = format!("/proc/{pid}/{name}");
            let mut how = OpenOptions::new();
            how.read(true).custom_flags(flags.bits());
            how.open(&file)
                .map_err(|source| Error::Open { file, source })
        };
        // Without one it has no search path of its own.
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        Ok(Self {
            namespace: open("ns/mnt", OFlag::empty())?,
            root: open("root", OFlag::O_PATH | OFlag::O_DIRECTORY)?,
            search_path: search_path(&environment),
        })
    }

    /// Whether they are this process's own.
    #[must_use]
    pub fn are_ours(&self) -> bool {
        let same = |file: &File, path: &str| {
            let both = file.metadata().ok().zip(fs::metadata(path).ok());
            both.is_some_and(|(a, b)| (a.dev(), a.ino()) == (b.dev(), b.ino()))
        };
        same(&self.namespace, "/proc/self/ns/mnt") && same(&self.root, "/")
    }

    /// Where programs are looked for.
    #[must_use]
    pub fn search_path(&self) -> &OsStr {
        &self.search_path
    }

    /// The file that a path is there, links in it followed as they lead there. It cannot be read.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, path: &Path) -> io::Result<File> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        Ok(File::from(openat2(&self.root, path, how)?))
    }

    /// Whether a path is a program there.
    #[must_use]
    pub fn has_program(&self, path: &Path) -> bool {
        let about = self.find(path).and_then(|file| file.metadata());
        about.is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
    }

    /// Has the child go there between fork and exec: its program is then the host's file of that
    /// path, and its working directory the host's root. Starting it fails when it cannot.
    ///
    /// # Errors
    /// No more descriptors can be had.
    #[expect(unsafe_code, reason = "only a hook between fork and exec can do this")]
    pub fn lead(&self, command: &mut Command) -> io::Result<()> {
        for name in OF_THE_IMAGE {
            command.env_remove(name);
        }
        let (namespace, root) = (self.namespace.try_clone()?, self.root.try_clone()?);
        let go = move || {
            setns(&namespace, CloneFlags::CLONE_NEWNS)?;
            // The namespace's root is not the process's own where that one has changed it.
            fchdir(&root)?;
            chroot(".")?;
            Ok(())
        };
        // SAFETY: the hook makes system calls alone: it takes no lock and allocates nothing (the
        // path is short), so it may run in the forked child of a process with threads.
        unsafe { command.pre_exec(go) };
        Ok(())
    }
}

/// The search path in a process's environment, followed by where programs are anyway. Relative
/// folders are left out.
fn search_path(environment: &[u8]) -> OsString {
    let own = environment
        .split(|byte| *byte == 0)
        .find_map(|variable| variable.strip_prefix(b"PATH="))
        .map(OsStr::from_bytes)
        .unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(own)
        .filter(|folder| folder.is_absolute())
        .collect();
    for folder in FOLDERS.map(Path::new) {
        if !folders.iter().any(|known| known == folder) {
            folders.push(folder.to_owned());
        }
    }
    // No folder has a colon in it: they were split at colons.
    std::env::join_paths(folders).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_hosts_own_folders_come_first_and_the_usual_ones_are_there() {
        let path = search_path(b"HOME=/\0PATH=/opt/bin:.:/usr/bin\0");
        let folders: Vec<_> = std::env::split_paths(&path).collect();
        assert_eq!(
            folders[..2],
            ["/opt/bin", "/usr/bin"].map(std::path::PathBuf::from)
        );
        assert_eq!(folders.len(), 1 + FOLDERS.len());
        let path = search_path(b"");
        assert_eq!(std::env::split_paths(&path).count(), FOLDERS.len());
    }

    #[test]
    fn our_own_mounts_are_known_as_ours() {
        let ours = Mounts::of(std::process::id().cast_signed()).unwrap();
        assert!(ours.are_ours());
        assert_eq!(Mounts::of(i32::MAX).unwrap_err().reason(), "HostUnreadable");
    }

    #[test]
    fn links_lead_nowhere_but_into_the_other_root() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("opt")).unwrap();
        let program = root.path().join("opt/criu");
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/opt/criu", root.path().join("criu")).unwrap();
        symlink("/etc/passwd", root.path().join("passwd")).unwrap();
        let mounts = Mounts {
            root: File::open(root.path()).unwrap(),
            ..Mounts::of(std::process::id().cast_signed()).unwrap()
        };
        assert!(!mounts.are_ours());
        assert!(mounts.has_program(Path::new("/criu")));
        assert!(!mounts.has_program(Path::new("/opt")));
        assert!(mounts.find(Path::new("/passwd")).is_err());
    }
}
