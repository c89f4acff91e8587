//! Whether a container is the one that an object names, told from what its engine wrote into the
//! container's own state, and whether it is one that this agent may touch at all.

use stillframe_crds::Reason;

use crate::runtime::{
    Container,
    locate::{self, Engine, PodContainerId, Roots},
    processes,
};

/// What the operator found; status is hostile, so that it is held against the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Who runs the pod. Only that engine's own annotations are looked at: CRI-O hands the pod's
    /// annotations on to its containers, among which the other engine's could be forged.
    pub engine: Engine,
    /// The pod's namespace, which is the object's.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID as the engine knows it.
    pub sandbox_uid: String,
    /// The container's name in the pod.
    pub container: String,
}

/// Why a container is not to be touched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine knows the container under another name.
    #[error(
        "the container has {key} {actual:?} where the object names {expected:?}",
        actual = actual.as_deref().unwrap_or("(none)")
    )]
    Mismatch {
        /// The annotation.
        key: &'static str,
        /// What the object says.
        expected: String,
        /// What the container says; the first value that differs.
        actual: Option<String>,
    },
    /// This process runs in it.
    #[error("the agent itself runs in the container")]
    Own,
    /// Its processes are a sandbox's, not the workload's.
    #[error("the container runs in a sandbox, under {shim}")]
    Sandboxed {
        /// The shim that runs it.
        shim: String,
    },
    /// It cannot be found.
    #[error("the container is not there")]
    NotFound(#[source] locate::Error),
    /// Its state cannot be read.
    #[error("failed to read what the runtime keeps of the container")]
    Unreadable(#[source] locate::Error),
    /// Its processes cannot be listed.
    #[error("failed to tell the container's processes")]
    Processes(#[source] processes::Error),
}

impl Error {
    /// The stable word for it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Mismatch { .. } => Reason::IdentityMismatch,
            Self::Own => Reason::SelfCheckpoint,
            Self::Sandboxed { .. } => Reason::SandboxedRuntime,
            Self::NotFound(_) => Reason::ContainerReplaced,
            Self::Unreadable(_) | Self::Processes(_) => Reason::StateUnreadable,
        }
    }
}

/// The annotations that an engine gives each container.
struct Keys {
    namespace: &'static str,
    pod: &'static str,
    uid: &'static str,
    container: &'static str,
    kind: &'static str,
}

/// `pkg/annotations` of containerd's CRI plugin.
const CONTAINERD: Keys = Keys {
    namespace: "io.kubernetes.cri.sandbox-namespace",
    pod: "io.kubernetes.cri.sandbox-name",
    uid: "io.kubernetes.cri.sandbox-uid",
    container: "io.kubernetes.cri.container-name",
    kind: "io.kubernetes.cri.container-type",
};
/// The kubelet's labels, which CRI-O writes down last, over whatever a pod's annotations say
/// (`SpecAddAnnotations` in internal/factory/container), and its own `pkg/annotations`.
const CRIO: Keys = Keys {
    namespace: "io.kubernetes.pod.namespace",
    pod: "io.kubernetes.pod.name",
    uid: "io.kubernetes.pod.uid",
    container: "io.kubernetes.container.name",
    kind: "io.kubernetes.cri-o.ContainerType",
};
/// The kind of what is not a pod's sandbox.
const CONTAINER: &str = "container";

/// Whether the container's own annotations name the pod and container of the object. A missing one
/// is a mismatch, and so is one that is there twice with two values.
///
/// # Errors
/// [`Error::Mismatch`] with the first annotation that differs.
pub fn check(container: &Container, expected: &Expected) -> Result<(), Error> {
    let Expected {
        engine,
        namespace,
        pod,
        sandbox_uid,
        container: name,
    } = expected;
    let keys = match engine {
        Engine::Containerd => CONTAINERD,
        Engine::Crio => CRIO,
    };
    let pairs = [
        (keys.kind, CONTAINER),
        (keys.namespace, namespace),
        (keys.pod, pod),
        (keys.uid, sandbox_uid),
        (keys.container, name),
    ];
    for (key, expected) in pairs {
        let mut values = container.annotation_values(key).peekable();
        let missing = values.peek().is_none();
        let other = values.find(|value| *value != expected);
        if missing || other.is_some() || expected.is_empty() {
            return Err(Error::Mismatch {
                key,
                expected: expected.to_owned(),
                actual: other.map(str::to_owned),
            });
        }
    }
    Ok(())
}

/// Refuses the container that this process runs in.
///
/// # Errors
/// [`Error::Own`], or the container's processes cannot be listed.
pub fn check_not_own(container: &Container) -> Result<(), Error> {
    let listed = processes::pids(container).map_err(Error::Processes)?;
    let ours = std::process::id().cast_signed();
    if is_own(ours, container.init.pid, &listed) {
        return Err(Error::Own);
    }
    Ok(())
}

fn is_own(ours: i32, init: i32, listed: &[i32]) -> bool {
    ours == init || listed.contains(&ours)
}

/// What it means that a container's state was not found: it is gone, or it runs in a sandbox, or
/// its runtime keeps its state where no one looks.
#[must_use]
pub fn not_found(roots: &Roots, id: &PodContainerId, error: locate::Error) -> Error {
    match (&error, roots.foreign_shim(id)) {
        (locate::Error::NotFound { .. }, Some(shim)) => Error::Sandboxed { shim },
        (locate::Error::NotFound { init_pid: None, .. } | locate::Error::InvalidId(_), _) => {
            Error::NotFound(error)
        }
        _ => Error::Unreadable(error),
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::runtime;

    const STATE: &str = include_str!("../runtime/testdata/runc-1.5.2-state.json");

    fn container(annotations: &[(&str, &str)]) -> Container {
        let dir = tempfile::tempdir().unwrap();
        let digits = "ab".repeat(32);
        let state = dir.path().join(&digits);
        std::fs::create_dir(&state).unwrap();
        std::fs::write(state.join("state.json"), STATE).unwrap();
        let mut container = runtime::load(dir.path(), &digits.parse().unwrap()).unwrap();
        container.annotations = annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        container
    }

    fn expected(engine: Engine) -> Expected {
        Expected {
            engine,
            namespace: "shop".into(),
            pod: "counter".into(),
            sandbox_uid: "uid-1".into(),
            container: "app".into(),
        }
    }

    fn annotations(keys: &Keys) -> Vec<(&'static str, &'static str)> {
        vec![
            (keys.kind, "container"),
            (keys.namespace, "shop"),
            (keys.pod, "counter"),
            (keys.uid, "uid-1"),
            (keys.container, "app"),
        ]
    }

    #[test]
    fn the_container_of_the_object_passes_under_either_engine() {
        for (engine, keys) in [(Engine::Containerd, &CONTAINERD), (Engine::Crio, &CRIO)] {
            let container = container(&annotations(keys));
            check(&container, &expected(engine)).unwrap();
        }
    }

    #[test]
    fn each_annotation_that_differs_or_is_missing_or_doubled_is_a_mismatch() {
        for (engine, keys) in [(Engine::Containerd, &CONTAINERD), (Engine::Crio, &CRIO)] {
            for index in 0..5 {
                let mut other = annotations(keys);
                other[index].1 = "other";
                let error = check(&container(&other), &expected(engine)).unwrap_err();
                assert_eq!(error.reason(), Reason::IdentityMismatch);
                assert!(error.to_string().contains("\"other\""), "{error}");
                let mut missing = annotations(keys);
                missing.remove(index);
                let error = check(&container(&missing), &expected(engine)).unwrap_err();
                assert!(error.to_string().contains("(none)"), "{error}");
                let mut doubled = annotations(keys);
                doubled.push((doubled[index].0, "other"));
                assert!(check(&container(&doubled), &expected(engine)).is_err());
            }
        }
    }

    #[test]
    fn the_pods_sandbox_is_refused() {
        let mut sandbox = annotations(&CONTAINERD);
        sandbox[0].1 = "sandbox";
        assert!(check(&container(&sandbox), &expected(Engine::Containerd)).is_err());
    }

    #[test]
    fn annotations_of_the_other_engine_prove_nothing() {
        let forged = container(&annotations(&CONTAINERD));
        assert!(check(&forged, &expected(Engine::Crio)).is_err());
    }

    #[test]
    fn an_object_that_names_nothing_matches_nothing() {
        let mut keys = annotations(&CONTAINERD);
        keys[3].1 = "";
        let mut nobody = expected(Engine::Containerd);
        nobody.sandbox_uid = String::new();
        assert!(check(&container(&keys), &nobody).is_err());
    }

    #[test]
    fn the_agents_own_container_is_known_by_its_processes() {
        assert!(is_own(7, 7, &[]));
        assert!(is_own(7, 2, &[2, 7]));
        assert!(!is_own(7, 2, &[2, 3]));
        let mut ours = container(&[]);
        ours.init.pid = std::process::id().cast_signed();
        ours.cgroups.clear();
        assert_eq!(
            check_not_own(&ours).unwrap_err().reason(),
            Reason::SelfCheckpoint
        );
    }

    #[test]
    fn a_state_that_is_not_found_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots {
            prefix: dir.path().to_owned(),
            ..Roots::default()
        };
        let digits = "ab".repeat(32);
        let id: PodContainerId = format!("containerd://{digits}").parse().unwrap();
        let explained = || not_found(&roots, &id, locate::find(&roots, &id).unwrap_err());
        assert_eq!(explained().reason(), Reason::ContainerReplaced);
        let tasks = Path::new("run/containerd/io.containerd.runtime.v2.task/k8s.io");
        let bundle: PathBuf = dir.path().join(tasks).join(digits);
        std::fs::create_dir_all(&bundle).unwrap();
        std::fs::write(bundle.join("init.pid"), "4711").unwrap();
        assert_eq!(explained().reason(), Reason::StateUnreadable);
        let kata = "/usr/bin/containerd-shim-kata-v2";
        std::fs::write(bundle.join("shim-binary-path"), kata).unwrap();
        assert_eq!(explained().reason(), Reason::SandboxedRuntime);
    }
}
