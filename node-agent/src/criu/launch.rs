//! Which program is CRIU, and with which surroundings it is started.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, eaccess};

use super::error::Error;

/// How CRIU is started. It otherwise inherits this process's environment and working directory.
#[derive(Debug, Clone)]
pub struct Launch {
    /// A path, or a bare name to be looked up in the search path.
    pub program: PathBuf,
    /// The search path (`PATH`) that CRIU gets, and in which a bare `program` is looked up. This
    /// process's own when unset.
    pub path_env: Option<OsString>,
    /// Further environment variables.
    pub env: Vec<(OsString, OsString)>,
}

impl Default for Launch {
    /// `criu` of the search path, as runc has it.
    fn default() -> Self {
        Self {
            program: PathBuf::from("criu"),
            path_env: None,
            env: Vec::new(),
        }
    }
}

impl Launch {
    /// The file that will be started.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Relative`], with the texts of Go's `exec.LookPath`.
    pub fn resolve(&self) -> Result<PathBuf, Error> {
        match &self.path_env {
            Some(path) => look_path(&self.program, path),
            None => look_path(&self.program, &std::env::var_os("PATH").unwrap_or_default()),
        }
    }
}

/// Mirrors Go's `exec.LookPath`: an empty entry is the current directory, a match through a
/// relative entry is refused.
fn look_path(program: &Path, path: &OsStr) -> Result<PathBuf, Error> {
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
        if candidate.is_dir() || eaccess(&candidate, AccessFlags::X_OK).is_err() {
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
        assert_eq!(look_path(Path::new("criu"), &path).unwrap(), wanted);
    }

    #[test]
    fn nothing_found_is_said_in_go_s_words() {
        let error = look_path(Path::new("criu"), OsStr::new("/nonexistent")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "exec: \"criu\": executable file not found in $PATH"
        );
    }

    #[test]
    fn a_folder_of_that_name_is_not_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("criu")).unwrap();
        assert!(look_path(Path::new("criu"), folder.path().as_os_str()).is_err());
    }
}
