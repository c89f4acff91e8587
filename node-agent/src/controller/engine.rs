//! The engine as the agent's arguments set it up: whose CRIU it starts, and in which cgroup.

use std::{fmt, path::Path, str::FromStr, sync::Arc};

use clap::ValueEnum;

use crate::{
    apart::{Cgroup, CgroupError, CgroupPath, InvalidPath, Mounts, MountsError},
    checkpoint::Engine,
    criu::Launch,
    runtime::cgroup,
};

/// Where the root of the host's first process is seen, whose mounts CRIU sees then.
const ITS_ROOT: &str = "/proc/1/root";

/// Whose CRIU is started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum CriuOf {
    /// The one in this process's own search path, which sees this process's mounts.
    #[default]
    Bundled,
    /// The one in the search path of the host's first process (/proc/1), which sees that one's
    /// mounts. It needs the host's pid namespace.
    Host,
}

impl CriuOf {
    /// How that CRIU is started.
    ///
    /// # Errors
    /// The host's mounts cannot be had.
    pub fn launch(self) -> Result<Launch, MountsError> {
        let mounts = match self {
            Self::Bundled => None,
            Self::Host => Some(Arc::new(Mounts::of_the_host()?)),
        };
        Ok(Launch {
            mounts,
            ..Launch::default()
        })
    }
}

/// The cgroup that CRIU and the guardian are started in, if any: `--dump-cgroup`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DumpCgroup(pub Option<CgroupPath>);

impl FromStr for DumpCgroup {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self(None)),
            path => path.parse().map(|path| Self(Some(path))),
        }
    }
}

impl fmt::Display for DumpCgroup {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(path) => path.fmt(out),
            None => out.write_str("off"),
        }
    }
}

/// Why there is no such engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host's mounts cannot be had.
    #[error("failed to use the host's CRIU (--criu host)")]
    Host(#[from] MountsError),
    /// Nobody can be started in the cgroup.
    #[error("failed to use the cgroup {path} (--dump-cgroup)")]
    Cgroup {
        /// Its path below each hierarchy's root.
        path: CgroupPath,
        /// Why.
        source: CgroupError,
    },
}

impl Error {
    /// A stable name.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Host(error) => error.reason(),
            Self::Cgroup { source, .. } => source.reason(),
        }
    }
}

/// This host's engine, with CRIU and cgroup as they were asked for.
///
/// # Errors
/// The host's mounts or the cgroup cannot be had: found out now, and not at the first dump.
pub fn engine(criu: CriuOf, dump_cgroup: &DumpCgroup) -> Result<Engine, Error> {
    let mut engine = Engine::of_this_host();
    engine.launch = criu.launch()?;
    if criu == CriuOf::Host {
        // CRIU reads the files that it sees.
        for file in &mut engine.own_configs {
            *file = Path::new(ITS_ROOT).join(file.strip_prefix("/").unwrap_or(file));
        }
    }
    if let DumpCgroup(Some(path)) = dump_cgroup {
        let cgroup = usable(path).map_err(|source| Error::Cgroup {
            path: path.clone(),
            source,
        })?;
        engine.launch.cgroup = Some(Arc::new(cgroup));
    }
    Ok(engine)
}

fn usable(path: &CgroupPath) -> Result<Cgroup, CgroupError> {
    // Mounts that cannot be read are mounts that are not there.
    let hierarchies = cgroup::hierarchies().unwrap_or_default();
    let cgroup = Cgroup::new(hierarchies, path.clone())?;
    cgroup.check()?;
    Ok(cgroup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_asked_for_by_default() {
        let engine = engine(CriuOf::default(), &DumpCgroup::default()).unwrap();
        assert!(engine.launch.cgroup.is_none() && engine.launch.mounts.is_none());
        let configs = Engine::of_this_host().own_configs;
        assert_eq!(engine.own_configs, configs);
    }

    #[test]
    fn a_cgroup_is_a_path_or_off() {
        assert_eq!("off".parse(), Ok(DumpCgroup(None)));
        assert_eq!(DumpCgroup::default().to_string(), "off");
        let named: DumpCgroup = "/stillframe".parse().unwrap();
        assert_eq!(named.to_string(), "stillframe");
        assert!("../x".parse::<DumpCgroup>().is_err());
    }
}
