//! Finds a container's state directory from the id that Kubernetes knows.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::runtime::{Container, ContainerId, document::Field, load};

/// Who runs the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// containerd's CRI plugin.
    Containerd,
    /// CRI-O.
    Crio,
}

/// `status.containerStatuses[].containerID` of a pod: `containerd://` or `cri-o://` and 64 hex
/// digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodContainerId {
    engine: Engine,
    id: ContainerId,
}

/// Where the engines keep what is looked for. Every path is taken below `prefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// Where the host's root is seen: `/`, or a mount of it.
    pub prefix: PathBuf,
    /// Directories of containerd's task bundles, without the containerd namespace.
    pub containerd_bundles: Vec<PathBuf>,
    /// The runtime root of containerd's shim, without the containerd namespace. A constant of the
    /// shim: it does not move with containerd's state directory.
    pub containerd_state: PathBuf,
    /// The containerd namespace of Kubernetes' containers.
    pub containerd_namespace: String,
    /// Runtime roots of CRI-O's handlers.
    pub crio_state: Vec<PathBuf>,
    /// Where CRI-O keeps its bundles: `ID/userdata` below it.
    pub crio_bundles: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            prefix: PathBuf::from("/"),
            containerd_bundles: [
                "/run/containerd/io.containerd.runtime.v2.task",
                "/run/k3s/containerd/io.containerd.runtime.v2.task",
                "/var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task",
            ]
            .map(PathBuf::from)
            .to_vec(),
            containerd_state: PathBuf::from("/run/containerd/runc"),
            containerd_namespace: "k8s.io".to_owned(),
            crio_state: ["/run/crun", "/run/runc"].map(PathBuf::from).to_vec(),
            crio_bundles: PathBuf::from("/run/containers/storage/overlay-containers"),
        }
    }
}

/// A directory whose `ID` below may hold a container's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The runtime's root, as [`load`] takes it.
    pub root: PathBuf,
    /// The bundle it was read from, if any.
    pub bundle: Option<PathBuf>,
    /// The runtime's program, where the bundle names another one than `runc`.
    pub binary: Option<String>,
}

/// What containerd's shim keeps beside a bundle in `options.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleOptions {
    /// The runtime's root, where it is not the shim's own.
    pub root: Option<PathBuf>,
    /// The runtime's program.
    pub binary: Option<String>,
}

/// Why a container could not be found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The id is none that a pod's status holds.
    #[error("invalid container id {0:?}: not containerd:// or cri-o:// and 64 hex digits")]
    InvalidId(String),
    /// No place holds a state of this container.
    #[error("failed to find the state of container {id} in {}", places(tried))]
    NotFound {
        /// The id.
        id: ContainerId,
        /// The state directories that were looked for.
        tried: Vec<PathBuf>,
        /// The first process as the bundle's pid file names it, when there is one: the container
        /// is there, and its state somewhere else.
        init_pid: Option<i32>,
    },
    /// A bundle's options could not be read.
    #[error("failed to read the shim's options of a container")]
    Options(#[source] crate::runtime::Error),
    /// The state is there and cannot be read.
    #[error(transparent)]
    State(#[from] crate::runtime::Error),
}

impl Error {
    /// A stable name for conditions, events and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidId(_) => "InvalidContainerId",
            Self::NotFound { .. } => "ContainerNotFound",
            Self::Options(source) | Self::State(source) => source.reason(),
        }
    }
}

impl PodContainerId {
    /// Who runs the pod.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// The id as the runtime knows it.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.id
    }
}

impl FromStr for PodContainerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || Error::InvalidId(text.to_owned());
        let (engine, digits) = if let Some(digits) = text.strip_prefix("containerd://") {
            (Engine::Containerd, digits)
        } else if let Some(digits) = text.strip_prefix("cri-o://") {
            (Engine::Crio, digits)
        } else {
            return Err(invalid());
        };
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != 64 || !digits.bytes().all(hex) {
            return Err(invalid());
        }
        Ok(Self {
            engine,
            id: digits.parse().map_err(|_| invalid())?,
        })
    }
}

impl fmt::Display for PodContainerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.engine {
            Engine::Containerd => "containerd",
            Engine::Crio => "cri-o",
        };
        write!(out, "{scheme}://{}", self.id)
    }
}

impl Roots {
    /// A path of the host as it is seen below the prefix.
    fn seen(&self, path: &Path) -> PathBuf {
        self.prefix.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The directories that may be the container's bundle.
    #[must_use]
    pub fn bundles(&self, id: &PodContainerId) -> Vec<PathBuf> {
        match id.engine {
            Engine::Containerd => {
                let bundle = |dir: &PathBuf| {
                    self.seen(dir)
                        .join(&self.containerd_namespace)
                        .join(id.id.as_str())
                };
                self.containerd_bundles.iter().map(bundle).collect()
            }
            Engine::Crio => {
                vec![
                    self.seen(&self.crio_bundles)
                        .join(id.id.as_str())
                        .join("userdata"),
                ]
            }
        }
    }

    /// Where the state may be, the likeliest first: what the bundles' options say, then the
    /// engine's own places.
    #[must_use]
    pub fn candidates(
        &self,
        id: &PodContainerId,
        options: &[(PathBuf, BundleOptions)],
    ) -> Vec<Candidate> {
        let mut list: Vec<Candidate> = Vec::new();
        let mut add = |candidate: Candidate| {
            if !list.iter().any(|known| known.root == candidate.root) {
                list.push(candidate);
            }
        };
        match id.engine {
            Engine::Containerd => {
                for (bundle, options) in options {
                    let root = options.root.as_deref().unwrap_or(&self.containerd_state);
                    add(Candidate {
                        root: self.seen(root).join(&self.containerd_namespace),
                        bundle: Some(bundle.clone()),
                        binary: options.binary.clone(),
                    });
                }
                let root = self
                    .seen(&self.containerd_state)
                    .join(&self.containerd_namespace);
                add(Candidate {
                    root,
                    bundle: None,
                    binary: None,
                });
            }
            Engine::Crio => {
                for root in &self.crio_state {
                    add(Candidate {
                        root: self.seen(root),
                        bundle: None,
                        binary: None,
                    });
                }
            }
        }
        list
    }

    /// Reads the options of every bundle of this container that exists.
    fn options(&self, id: &PodContainerId) -> Result<Vec<(PathBuf, BundleOptions)>, Error> {
        let mut found = Vec::new();
        for bundle in self
            .bundles(id)
            .into_iter()
            .filter(|bundle| bundle.is_dir())
        {
            let file = bundle.join("options.json");
            let value = load::read_json(&file).map_err(Error::Options)?;
            let options = match &value {
                Some(value) => parse_options(&file, value).map_err(Error::Options)?,
                None => BundleOptions::default(),
            };
            found.push((bundle, options));
        }
        Ok(found)
    }
}

/// Finds and reads the state of a pod's container.
///
/// # Errors
/// The first state that is there and cannot be read, or [`Error::NotFound`].
pub fn find(roots: &Roots, id: &PodContainerId) -> Result<(Container, Candidate), Error> {
    let mut tried = Vec::new();
    for candidate in roots.candidates(id, &roots.options(id)?) {
        match load::load(&candidate.root, id.id()) {
            Ok(container) => return Ok((container, candidate)),
            Err(crate::runtime::Error::NotFound { state_dir }) => tried.push(state_dir),
            Err(error) => return Err(error.into()),
        }
    }
    let init_pid = roots.bundles(id).iter().find_map(|bundle| init_pid(bundle));
    Err(Error::NotFound {
        id: id.id().clone(),
        tried,
        init_pid,
    })
}

/// The first process as containerd (`init.pid`) or CRI-O (`pidfile`) noted it. It carries no start
/// time, so that it proves nothing and serves for messages only.
#[must_use]
pub fn init_pid(bundle: &Path) -> Option<i32> {
    /// A decimal number and a line's end.
    const MAX_BYTES: u64 = 32;
    let read = |name: &str| -> io::Result<String> {
        let mut text = String::new();
        let file = fs::File::open(bundle.join(name))?;
        io::Read::read_to_string(&mut io::Read::take(file, MAX_BYTES), &mut text)?;
        Ok(text)
    };
    let text = read("init.pid").or_else(|_| read("pidfile")).ok()?;
    text.trim().parse().ok().filter(|pid| *pid > 1)
}

/// Reads `options.json`, which containerd 2.2's shim writes as plain JSON of its `Options` message
/// (`WriteOptions` in cmd/containerd-shim-runc-v2/runc).
fn parse_options(
    file: &Path,
    value: &serde_json::Value,
) -> Result<BundleOptions, crate::runtime::Error> {
    let options = Field::document(file, value)?;
    let root = match options.text_of("root")? {
        None => None,
        Some(_) => Some(options.require("root")?.absolute()?),
    };
    Ok(BundleOptions {
        root,
        binary: options.text_of("binary_name")?.map(str::to_owned),
    })
}

fn places(tried: &[PathBuf]) -> String {
    let names: Vec<String> = tried.iter().map(|dir| dir.display().to_string()).collect();
    names.join(", ")
}
