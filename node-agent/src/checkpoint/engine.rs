//! Where the engine finds CRIU and keeps its notes on this host.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::criu::Launch;

/// CRIU's configuration that is read whatever a request says, beside the one in the home directory.
const DEFAULT_CONFIG: &str = "/etc/criu/default.conf";

/// The host as the engine uses it.
#[derive(Debug, Clone)]
pub struct Engine {
    /// For the journal, CRIU's abilities and the fast archiver; a tmpfs that is the host's own.
    pub run_dir: PathBuf,
    /// How CRIU is started.
    pub launch: Launch,
    /// How long CRIU may take to give way once a dump is to end, before it is killed.
    pub grace: Duration,
    /// CRIU's own configuration files, in the order in which it reads them.
    pub own_configs: Vec<PathBuf>,
}

impl Engine {
    /// The engine of this host: `/run/stillframe`, `criu` of the search path.
    #[must_use]
    pub fn of_this_host() -> Self {
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".criu/default.conf"));
        Self {
            run_dir: PathBuf::from("/run/stillframe"),
            launch: Launch::default(),
            grace: Duration::from_secs(5),
            own_configs: std::iter::once(PathBuf::from(DEFAULT_CONFIG))
                .chain(home)
                .collect(),
        }
    }

    /// How CRIU is started for a dump: with our archiver before the real one in its search path.
    /// Without the archiver a dump takes longer and is none the worse.
    pub(super) fn launch_with_archiver(&self) -> Launch {
        let mut launch = self.launch.clone();
        let Ok(folder) = archiver::install(&self.run_dir) else {
            return launch;
        };
        let path = launch.search_path();
        // The program itself is looked up in the caller's path, not behind ours.
        if let Ok(program) = launch.resolve() {
            launch.program = program;
            launch.path_env = Some(in_front(folder.into_os_string(), path));
        }
        launch
    }
}

fn in_front(first: OsString, rest: Option<OsString>) -> OsString {
    let mut path = first;
    if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
        path.push(":");
        path.push(rest);
    }
    path
}
