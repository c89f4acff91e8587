//! A container as its runtime recorded it.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use crate::runtime::{Error, cgroup::Version};

/// A container id that runc accepts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(String);

impl ContainerId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromStr for ContainerId {
    type Err = Error;

    /// Mirrors `getContainer` and `validateID` of runc 1.5.2.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(Error::EmptyId);
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
        if !text.bytes().all(allowed) || text == "." || text == ".." {
            return Err(Error::InvalidId);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Which runtime wrote the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// runc: `state.json`.
    Runc,
    /// crun: `status` and `config.json`.
    Crun,
}

impl fmt::Display for Flavour {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
        })
    }
}

/// The container's first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init {
    /// Its id in the pid namespace of the runtime, which is the host's.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`, clock ticks since boot; `None` when the runtime kept none.
    pub start_time: Option<u64>,
}

/// A namespace of the container's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Its type.
    pub kind: NamespaceKind,
    /// An existing namespace that was joined; `None` when it was created for the container.
    pub path: Option<PathBuf>,
}

/// A type of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kernel's")]
pub enum NamespaceKind {
    Network,
    Pid,
    Mount,
    Ipc,
    Uts,
    User,
    Cgroup,
    Time,
}

impl NamespaceKind {
    /// The name below `/proc/PID/ns`.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Network => "net",
            Self::Pid => "pid",
            Self::Mount => "mnt",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
}

/// A mount of the container's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where in the container, as configured: symbolic links are not resolved.
    pub destination: PathBuf,
    /// What is mounted; a path only for [`MountKind::Bind`].
    pub source: String,
    /// What kind of mount.
    pub kind: MountKind,
}

/// What kind of mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// A bind mount.
    Bind,
    /// The cgroup hierarchies (v1) or hierarchy (v2).
    Cgroup,
    /// A file system of this type.
    Other(String),
}

/// Directories of Intel's resource director that runc made for the container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntelRdt {
    /// The resource group (`intel_rdt_path`).
    pub group: Option<PathBuf>,
    /// The monitoring group (`intel_rdt_mon_path`).
    pub monitoring: Option<PathBuf>,
}

/// A command that the runtime runs at a turn of the container's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The program.
    pub path: PathBuf,
    /// Its arguments, the zeroth included; empty means the path alone.
    pub args: Vec<String>,
    /// Its environment as `KEY=VALUE`; `None` means ours.
    pub env: Option<Vec<String>>,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

/// A container as its runtime recorded it. Nothing in it has been held against the running system,
/// except that ids, numbers and paths are of a form that can be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Who wrote the state.
    pub flavour: Flavour,
    /// The state directory, `ROOT/ID`.
    pub state_dir: PathBuf,
    /// The OCI bundle, where recorded.
    pub bundle: Option<PathBuf>,
    /// The root file system as the runtime mounted it; absolute.
    pub rootfs: PathBuf,
    /// The first process.
    pub init: Init,
    /// Namespaces the container was configured with.
    pub namespaces: Vec<Namespace>,
    /// Mounts in the order of the configuration.
    pub mounts: Vec<Mount>,
    /// Paths in the container that are hidden from it.
    pub masked_paths: Vec<PathBuf>,
    /// Device nodes in the container, the default ones included. Empty for crun, which keeps none.
    pub devices: Vec<PathBuf>,
    /// Every cgroup directory: controller name to absolute path on v1 (`""` is the unified
    /// hierarchy of a hybrid layout), `""` alone on v2.
    pub cgroups: BTreeMap<String, PathBuf>,
    /// The systemd unit that holds the cgroups, when systemd manages them.
    pub systemd_unit: Option<String>,
    /// Started without root's rights.
    pub rootless: bool,
    /// Labels (runc) or annotations (crun), in recorded order.
    pub annotations: Vec<(String, String)>,
    /// What descriptors 0, 1 and 2 of the first process were when it started.
    pub external_descriptors: Vec<String>,
    /// Resource director groups.
    pub intel_rdt: IntelRdt,
    /// Hooks to run once the container is gone.
    pub poststop: Vec<Hook>,
}

impl Container {
    /// The value of an annotation such as `org.criu.config`; the first one counts, as in
    /// `SearchLabels` of runc.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// Every value of an annotation, in recorded order: who takes one for proof wants to know that
    /// there is no other.
    pub fn annotation_values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.annotations
            .iter()
            .filter(move |(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// The namespace of this type, when one was configured; the first one counts.
    #[must_use]
    pub fn namespace(&self, kind: NamespaceKind) -> Option<&Namespace> {
        self.namespaces
            .iter()
            .find(|namespace| namespace.kind == kind)
    }

    /// The path of a namespace of this type that was joined rather than created.
    #[must_use]
    pub fn joined_namespace(&self, kind: NamespaceKind) -> Option<&Path> {
        self.namespace(kind)?.path.as_deref()
    }

    /// Whether a namespace of this type was created for the container (`IsPrivate` of runc).
    #[must_use]
    pub fn has_private(&self, kind: NamespaceKind) -> bool {
        self.namespace(kind)
            .is_some_and(|namespace| namespace.path.is_none())
    }

    /// The directory whose freezer holds the container: CRIU's `freeze_cgroup`, as
    /// `Path("freezer")` of runc's cgroup managers gives it.
    #[must_use]
    pub fn freezer_dir(&self, version: Version) -> Option<&Path> {
        let key = match version {
            Version::V1 | Version::Hybrid => "freezer",
            Version::V2 => "",
        };
        self.cgroups.get(key).map(PathBuf::as_path)
    }

    /// Whether systemd manages the cgroups.
    #[must_use]
    pub fn systemd_cgroup(&self) -> bool {
        self.systemd_unit.is_some()
    }

    /// The file through which the container's root can be seen, whatever is mounted over it.
    #[must_use]
    pub fn proc_root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.init.pid))
    }

    /// The file of a namespace that the first process lives in.
    #[must_use]
    pub fn proc_namespace(&self, kind: NamespaceKind) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/{}", self.init.pid, kind.file_name()))
    }
}
