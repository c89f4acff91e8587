//! A cgroup that children are started in, in every hierarchy, so that what they use counts there and
//! they do not end with the cgroup of whoever started them.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::process::CommandExt as _,
    path::{Component, Path, PathBuf},
    process::Command,
    str::FromStr,
};

use nix::{errno::Errno, unistd::write};

/// The file through which a process enters a cgroup.
const PROCS: &str = "cgroup.procs";
/// What a cgroup of the v1 `cpuset` controller has to be told before it takes anybody.
const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];
/// With this a child of [`Cgroup::check`] says that it has entered, instead of starting a program.
const ENTERED: Errno = Errno::ECANCELED;

/// A mounted cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub dir: PathBuf,
    /// It is the one of the v1 `cpuset` controller, whose new cgroups take nobody at first.
    pub cpuset: bool,
}

/// The path of a cgroup below the root of every hierarchy: normal components, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupPath(PathBuf);

/// A text that is no path of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid cgroup path {0:?}: use names below the hierarchies' roots, such as stillframe")]
pub struct InvalidPath(String);

impl FromStr for CgroupPath {
    type Err = InvalidPath;

    /// A leading slash is the hierarchies' root.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = Path::new(text.trim_start_matches('/'));
        let plain = path
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if path.as_os_str().is_empty() || !plain {
            return Err(InvalidPath(text.to_owned()));
        }
        Ok(Self(path.components().collect()))
    }
}

impl std::fmt::Display for CgroupPath {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.display().fmt(out)
    }
}

/// Why nobody can be started in a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to make it in.
    #[error("failed to find a cgroup hierarchy: none is mounted under /sys/fs/cgroup")]
    NoHierarchy,
    /// It could not be made.
    #[error("failed to make the cgroup {}", dir.display())]
    Make {
        /// Its directory.
        dir: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It could not be opened for whoever is to enter.
    #[error("failed to open {}", file.display())]
    Open {
        /// Its list of processes.
        file: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A process could not enter.
    #[error("failed to move a process into the cgroup {path}")]
    Enter {
        /// Its path below each hierarchy's root.
        path: CgroupPath,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// A stable name.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoHierarchy => "NoCgroups",
            Self::Make { .. } | Self::Open { .. } | Self::Enter { .. } => "CgroupUnusable",
        }
    }
}

/// One cgroup of each hierarchy, all of the same path and without limits.
#[derive(Debug, Clone)]
pub struct Cgroup {
    hierarchies: Vec<Hierarchy>,
    path: CgroupPath,
}

impl Cgroup {
    /// The cgroup of that path in these hierarchies. Nothing is made yet.
    ///
    /// # Errors
    /// [`Error::NoHierarchy`].
    pub fn new(hierarchies: Vec<Hierarchy>, path: CgroupPath) -> Result<Self, Error> {
        if hierarchies.is_empty() {
            return Err(Error::NoHierarchy);
        }
        Ok(Self { hierarchies, path })
    }

    /// Opens it for a child, made where it is missing: whoever thinks it is not needed any more may
    /// have removed it since the last time.
    ///
    /// # Errors
    /// It cannot be made or opened.
    pub fn open(&self) -> Result<Door, Error> {
        let open = |hierarchy: &Hierarchy| {
            let file = make(hierarchy, &self.path.0)?.join(PROCS);
            let opened = OpenOptions::new().write(true).open(&file);
            opened.map_err(|source| Error::Open { file, source })
        };
        self.hierarchies
            .iter()
            .map(open)
            .collect::<Result<_, _>>()
            .map(Door)
    }

    /// Has a child enter, which then ends.
    ///
    /// # Errors
    /// It cannot be made, opened or entered.
    #[expect(
        unsafe_code,
        reason = "only a hook between fork and exec tells whether a child can enter"
    )]
    pub fn check(&self) -> Result<(), Error> {
        let mut command = Command::new("/proc/self/exe");
        self.open()?.lead(&mut command);
        // SAFETY: the hook makes a value without allocating and returns; nothing is started.
        unsafe { command.pre_exec(|| Err(ENTERED.into())) };
        let Err(source) = command.status() else {
            return Ok(());
        };
        if source.raw_os_error() == Some(ENTERED as i32) {
            return Ok(());
        }
        Err(Error::Enter {
            path: self.path.clone(),
            source,
        })
    }

    /// Removes it where nobody is in it.
    pub fn remove(&self) {
        for hierarchy in &self.hierarchies {
            // The kernel refuses while there is a process in it, and then it is still needed.
            let _ = fs::remove_dir(hierarchy.dir.join(&self.path.0));
        }
    }
}

/// Makes a cgroup with those above it, ready to be entered.
fn make(hierarchy: &Hierarchy, path: &Path) -> Result<PathBuf, Error> {
    let mut dir = hierarchy.dir.clone();
    for part in path.components() {
        let above = dir.clone();
        dir.push(part);
        make_one(&above, &dir, hierarchy.cpuset).map_err(|source| Error::Make {
            dir: dir.clone(),
            source,
        })?;
    }
    Ok(dir)
}

fn make_one(above: &Path, dir: &Path, cpuset: bool) -> io::Result<()> {
    match DirBuilder::new().create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for file in CPUSET.iter().filter(|_| cpuset) {
        if fs::read(dir.join(file))?.trim_ascii().is_empty() {
            fs::write(dir.join(file), fs::read(above.join(file))?)?;
        }
    }
    Ok(())
}

/// A cgroup that is open for one child.
#[derive(Debug)]
pub struct Door(Vec<File>);

impl Door {
    /// Has the child enter between fork and exec. Starting it fails when it cannot.
    #[expect(unsafe_code, reason = "only a hook between fork and exec can do this")]
    pub fn lead(self, command: &mut Command) {
        let enter = move || {
            for procs in &self.0 {
                // 0 is whoever writes it.
                write(procs, b"0")?;
            }
            Ok(())
        };
        // SAFETY: the hook calls write(2) alone: it takes no lock and allocates nothing, so it may
        // run in the forked child of a process with threads.
        unsafe { command.pre_exec(enter) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like two hierarchies.
    fn scene() -> (tempfile::TempDir, Vec<Hierarchy>) {
        let scratch = tempfile::tempdir().unwrap();
        let hierarchies = ["memory", "cpuset"].map(|name| {
            let dir = scratch.path().join(name);
            fs::create_dir(&dir).unwrap();
            Hierarchy {
                dir,
                cpuset: name == "cpuset",
            }
        });
        fs::write(scratch.path().join("cpuset/cpuset.cpus"), "0-3\n").unwrap();
        fs::write(scratch.path().join("cpuset/cpuset.mems"), "0\n").unwrap();
        (scratch, hierarchies.to_vec())
    }

    fn in_each(hierarchies: &[Hierarchy], path: &str) {
        for hierarchy in hierarchies {
            let dir = hierarchy.dir.join(path);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(PROCS), "").unwrap();
            if hierarchy.cpuset {
                for file in CPUSET {
                    fs::write(dir.join(file), "\n").unwrap();
                }
            }
        }
    }

    #[test]
    fn only_names_below_the_root_are_a_path() {
        for (text, path) in [
            ("stillframe", "stillframe"),
            ("/stillframe", "stillframe"),
            ("system/stillframe/", "system/stillframe"),
        ] {
            assert_eq!(text.parse(), Ok(CgroupPath(path.into())), "{text}");
        }
        for text in ["", "/", "..", "../x", "a/../b"] {
            let error = text.parse::<CgroupPath>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn a_child_enters_every_hierarchy_before_its_program_starts() {
        let (scratch, hierarchies) = scene();
        in_each(&hierarchies, "stillframe");
        let cgroup = Cgroup::new(hierarchies.clone(), "stillframe".parse().unwrap()).unwrap();
        let mut command = Command::new("cat");
        command.arg(scratch.path().join("memory/stillframe").join(PROCS));
        cgroup.open().unwrap().lead(&mut command);
        assert_eq!(command.output().unwrap().stdout, b"0");
        let written = scratch.path().join("cpuset/stillframe").join(PROCS);
        assert_eq!(fs::read_to_string(written).unwrap(), "0");
    }

    #[test]
    fn a_new_cpuset_is_told_the_processors_of_the_one_above() {
        let (scratch, hierarchies) = scene();
        for path in ["a", "a/b"] {
            in_each(&hierarchies, path);
        }
        fs::write(scratch.path().join("cpuset/a/cpuset.cpus"), "1\n").unwrap();
        let cgroup = Cgroup::new(hierarchies, "a/b".parse().unwrap()).unwrap();
        cgroup.open().unwrap();
        let read = |file: &str| fs::read_to_string(scratch.path().join("cpuset/a/b").join(file));
        assert_eq!(read("cpuset.cpus").unwrap(), "1\n");
        assert_eq!(read("cpuset.mems").unwrap(), "0\n");
    }

    #[test]
    fn a_cgroup_that_takes_nobody_is_told_beforehand() {
        let (_scratch, mut hierarchies) = scene();
        let path: CgroupPath = "stillframe".parse().unwrap();
        let error = Cgroup::new(Vec::new(), path.clone()).unwrap_err();
        assert_eq!(error.reason(), "NoCgroups");
        hierarchies.pop();
        // A plain folder has no list of processes.
        let cgroup = Cgroup::new(hierarchies.clone(), path.clone()).unwrap();
        assert!(matches!(cgroup.check(), Err(Error::Open { .. })));
        in_each(&hierarchies, "stillframe");
        cgroup.check().unwrap();
        // This one takes no writes, as a kernel that refuses.
        let procs = hierarchies[0].dir.join("stillframe").join(PROCS);
        fs::remove_file(&procs).unwrap();
        std::os::unix::fs::symlink("/dev/full", &procs).unwrap();
        let error = cgroup.check().unwrap_err();
        assert!(
            matches!(&error, Error::Enter { path: at, .. } if *at == path),
            "{error:?}"
        );
    }
}
