//! Which program is CRIU, and with which surroundings it is started.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, Metadata},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use nix::{
    errno::Errno,
    unistd::{AccessFlags, eaccess},
};

use super::error::Error;
use crate::apart::{Cgroup, Mounts};

/// How CRIU is started. It otherwise inherits this process's environment and working directory.
#[derive(Debug, Clone)]
pub struct Launch {
    /// A path, or a bare name to be looked up in the search path.
    pub program: PathBuf,
    /// The search path (`PATH`) that CRIU gets, and in which a bare `program` is looked up. This
    /// process's own, or that of `mounts`, when unset.
    pub path_env: Option<OsString>,
    /// Further environment variables.
    pub env: Vec<(OsString, OsString)>,
    /// The cgroup that CRIU is started in; this process's own when unset.
    pub cgroup: Option<Arc<Cgroup>>,
    /// The mounts that CRIU sees, and among which it is looked up; this process's own when unset.
    pub mounts: Option<Arc<Mounts>>,
}

impl Default for Launch {
    /// `criu` of the search path, as runc has it.
    fn default() -> Self {
        Self {
            program: PathBuf::from("criu"),
            path_env: None,
            env: Vec::new(),
            cgroup: None,
            mounts: None,
        }
    }
}

impl Launch {
    /// The file that will be started, as it is called among the mounts that CRIU sees.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Relative`], with the texts of Go's `exec.LookPath`.
    pub fn resolve(&self) -> Result<PathBuf, Error> {
        let path = self.search_path().unwrap_or_default();
        match &self.mounts {
            Some(mounts) => look_path(&self.program, &path, |file| mounts.has_program(file)),
            None => look_path(&self.program, &path, is_program),
        }
    }

    /// What is known of that file; `None` when there is none.
    #[must_use]
    pub fn metadata(&self) -> Option<Metadata> {
        let program = self.resolve().ok()?;
        match &self.mounts {
            Some(mounts) => mounts.find(&program).ok()?.metadata().ok(),
            None => fs::metadata(program).ok(),
        }
    }

    /// The search path that CRIU gets.
    #[must_use]
    pub fn search_path(&self) -> Option<OsString> {
        let theirs = || self.mounts.as_ref().map(|m| m.search_path().to_owned());
        let given = self.path_env.clone().or_else(theirs);
        given.or_else(|| std::env::var_os("PATH"))
    }

    /// The command that starts it, among its mounts and in its cgroup.
    ///
    /// # Errors
    /// There is no such program, or the cgroup is not to be had.
    pub fn command(&self) -> Result<Command, Error> {
        let mut command = Command::new(self.resolve()?);
        if let Some(path) = self.search_path() {
            command.env("PATH", path);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(cgroup) = &self.cgroup {
            // First: a hierarchy is found where this process sees it.
            cgroup.open().map_err(Error::Cgroup)?.lead(&mut command);
        }
        if let Some(mounts) = &self.mounts {
            mounts.lead(&mut command).map_err(|source| Error::System {
                call: "dup",
                source: Errno::from_raw(source.raw_os_error().unwrap_or(libc::EINVAL)),
            })?;
        }
        Ok(command)
    }
}

/// Whether a path among our own mounts is a program that we may start.
fn is_program(file: &Path) -> bool {
    !file.is_dir() && eaccess(file, AccessFlags::X_OK).is_ok()
}

/// Mirrors Go's `exec.LookPath`: an empty entry is the current directory, a match through a
/// relative entry is refused.
fn look_path(
    program: &Path,
    path: &OsStr,
    is_program: impl Fn(&Path) -> bool,
) -> Result<PathBuf, Error> {
    if program.as_os_str().as_bytes().contains(&b'/') {
        return Ok(program.to_owned());
    }
    let name = || program.to_string_lossy().into_owned();
    for folder in std::env::split_paths(path) {
        let folder = if folder.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            folder
        };
        let candidate = folder.join(program);
        if !is_program(&candidate) {
            continue;
        }
        if candidate.is_absolute() {
            return Ok(candidate);
        }
        return Err(Error::Relative { program: name() });
    }
    Err(Error::NotFound { program: name() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn program(folder: &Path, mode: u32) -> PathBuf {
        let file = folder.join("criu");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn the_first_executable_in_the_search_path_wins() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        program(one.path(), 0o644);
        let wanted = program(two.path(), 0o755);
        let path = std::env::join_paths([one.path(), two.path()]).unwrap();
        assert_eq!(
            look_path(Path::new("criu"), &path, is_program).unwrap(),
            wanted
        );
    }

    #[test]
    fn nothing_found_is_said_in_go_s_words() {
        let error =
            look_path(Path::new("criu"), OsStr::new("/nonexistent"), is_program).unwrap_err();
        assert_eq!(
            error.to_string(),
            "exec: \"criu\": executable file not found in $PATH"
        );
    }

    #[test]
    fn a_folder_of_that_name_is_not_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("criu")).unwrap();
        assert!(look_path(Path::new("criu"), folder.path().as_os_str(), is_program).is_err());
    }
}
