//! Finds a container's state directory from the id that Kubernetes knows.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::runtime::{Container, ContainerId, document::Field, load};

mod pod_id;
mod shim;

pub use pod_id::{Engine, PodContainerId};

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
    /// The runtime's root, as [`load()`](crate::runtime::load()) takes it.
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

impl Roots {
    /// A path of the host as it is seen below the prefix.
    fn seen(&self, path: &Path) -> PathBuf {
        self.prefix.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The directories that may be the container's bundle.
    #[must_use]
    pub fn bundles(&self, id: &PodContainerId) -> Vec<PathBuf> {
        match id.engine() {
            Engine::Containerd => {
                let bundle = |dir: &PathBuf| {
                    self.seen(dir)
                        .join(&self.containerd_namespace)
                        .join(id.id().as_str())
                };
                self.containerd_bundles.iter().map(bundle).collect()
            }
            Engine::Crio => {
                vec![
                    self.seen(&self.crio_bundles)
                        .join(id.id().as_str())
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
        match id.engine() {
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

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const STATE: &str = include_str!("testdata/runc-1.5.2-state.json");

    fn pod_id(scheme: &str) -> PodContainerId {
        format!("{scheme}://{DIGITS}").parse().unwrap()
    }

    struct Host {
        dir: tempfile::TempDir,
        roots: Roots,
    }

    impl Host {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let roots = Roots {
                prefix: dir.path().to_owned(),
                ..Roots::default()
            };
            Self { dir, roots }
        }

        fn write(&self, path: &str, content: &str) {
            let file = self.dir.path().join(path.replace("ID", DIGITS));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }

        fn found_in(&self, scheme: &str) -> Result<String, Error> {
            let (container, _) = find(&self.roots, &pod_id(scheme))?;
            let dir = container.state_dir.strip_prefix(self.dir.path()).unwrap();
            Ok(dir.to_str().unwrap().replace(DIGITS, "ID"))
        }
    }

    const BUNDLE: &str = "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID";

    #[test]
    fn containerds_own_place_is_found() {
        let host = Host::new();
        host.write("run/containerd/runc/k8s.io/ID/state.json", STATE);
        assert_eq!(
            host.found_in("containerd").unwrap(),
            "run/containerd/runc/k8s.io/ID"
        );
    }

    #[test]
    fn a_moved_runtime_root_is_read_from_the_bundle() {
        let host = Host::new();
        let options =
            r#"{"binary_name":"/usr/bin/runc2","root":"/run/moved","systemd_cgroup":true}"#;
        host.write(&format!("{BUNDLE}/options.json"), options);
        host.write("run/moved/k8s.io/ID/state.json", STATE);
        let (container, candidate) = find(&host.roots, &pod_id("containerd")).unwrap();
        assert!(
            container
                .state_dir
                .starts_with(host.dir.path().join("run/moved"))
        );
        assert_eq!(candidate.binary.as_deref(), Some("/usr/bin/runc2"));
        assert!(candidate.bundle.unwrap().ends_with(DIGITS));
    }

    #[test]
    fn a_k3s_bundle_leaves_the_runtime_root_where_it_is() {
        let host = Host::new();
        let bundle = "run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/ID";
        host.write(&format!("{bundle}/options.json"), "{}");
        host.write("run/containerd/runc/k8s.io/ID/state.json", STATE);
        assert_eq!(
            host.found_in("containerd").unwrap(),
            "run/containerd/runc/k8s.io/ID"
        );
    }

    #[test]
    fn crio_keeps_crun_and_runc_apart() {
        let host = Host::new();
        host.write("run/runc/ID/state.json", STATE);
        assert_eq!(host.found_in("cri-o").unwrap(), "run/runc/ID");
        host.write(
            "run/crun/ID/status",
            include_str!("testdata/crun-1.28-status"),
        );
        host.write(
            "run/crun/ID/config.json",
            include_str!("testdata/crun-1.28-config.json"),
        );
        assert_eq!(host.found_in("cri-o").unwrap(), "run/crun/ID");
    }

    #[test]
    fn a_container_without_state_is_told_with_its_pid() {
        let host = Host::new();
        host.write(&format!("{BUNDLE}/init.pid"), "4711");
        let Err(Error::NotFound {
            tried, init_pid, ..
        }) = host.found_in("containerd")
        else {
            panic!("found");
        };
        assert_eq!(tried.len(), 1);
        assert_eq!(init_pid, Some(4711));
    }

    #[test]
    fn hostile_options_are_refused() {
        let host = Host::new();
        host.write(&format!("{BUNDLE}/options.json"), r#"{"root":"../../etc"}"#);
        let error = host.found_in("containerd").unwrap_err();
        assert_eq!(error.reason(), "StateMalformed");
    }

    #[test]
    fn only_a_pods_container_ids_are_taken() {
        let upper = DIGITS.to_uppercase();
        for bad in [
            "",
            DIGITS,
            "containerd://",
            "docker://0123",
            "containerd://../../etc",
            &format!("containerd://{upper}"),
            &format!("containerd://{DIGITS}0"),
            &format!("cri-o:/{DIGITS}"),
        ] {
            assert!(
                matches!(bad.parse::<PodContainerId>(), Err(Error::InvalidId(_))),
                "{bad}"
            );
        }
        let id = pod_id("cri-o");
        assert_eq!((id.engine(), id.id().as_str()), (Engine::Crio, DIGITS));
        assert_eq!(id.to_string(), format!("cri-o://{DIGITS}"));
    }
}
