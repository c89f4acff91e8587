//! crun's `status` beside its copy of the OCI `config.json`, as crun 1.29 writes them.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::runtime::{
    Container, ContainerId, Error, Flavour, Hook, Init, IntelRdt, Mount, MountKind, Namespace,
    NamespaceKind, document::Field,
};

/// Where every cgroup hierarchy is mounted (`CGROUP_ROOT` of crun).
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// The cgroup hierarchies of this host: crun records only a path below each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hierarchies {
    /// cgroup v2.
    Unified,
    /// cgroup v1: the names of the controllers' directories.
    PerController(Vec<String>),
}

/// What a crun state directory holds.
#[derive(Debug)]
pub(super) struct State<'a> {
    pub(super) dir: &'a Path,
    pub(super) id: &'a ContainerId,
    pub(super) status: (&'a Path, &'a Value),
    pub(super) config: (&'a Path, &'a Value),
    pub(super) hierarchies: &'a Hierarchies,
}

/// Reads both documents. Mirrors `libcrun_read_container_status` for what has to be there.
pub(super) fn parse(state: &State<'_>) -> Result<Container, Error> {
    let status = Field::document(state.status.0, state.status.1)?;
    let config = Field::document(state.config.0, state.config.1)?;
    let linux = config.require("linux")?;
    let bundle = status.require("bundle")?.absolute()?;
    let systemd = status.flag_of("systemd-cgroup")?;
    let start_time = status
        .get("process-start-time")?
        .map(|field| field.unsigned())
        .transpose()?;
    Ok(Container {
        id: state.id.clone(),
        flavour: Flavour::Crun,
        state_dir: state.dir.to_owned(),
        rootfs: rootfs(&status, &bundle)?,
        bundle: Some(bundle),
        init: Init {
            pid: status.require("pid")?.pid()?,
            start_time: start_time.filter(|ticks| *ticks != 0),
        },
        namespaces: linux
            .items_of("namespaces")?
            .iter()
            .map(namespace)
            .collect::<Result<_, _>>()?,
        mounts: config
            .items_of("mounts")?
            .iter()
            .map(mount)
            .collect::<Result<_, _>>()?,
        masked_paths: linux
            .texts_of("maskedPaths")?
            .into_iter()
            .map(PathBuf::from)
            .collect(),
        devices: Vec::new(),
        cgroups: cgroups(&status, state.hierarchies)?,
        systemd_unit: status
            .text_of("scope")?
            .filter(|_| systemd)
            .map(str::to_owned),
        rootless: false,
        annotations: annotations(&config)?,
        external_descriptors: external_descriptors(&status)?,
        intel_rdt: IntelRdt::default(),
        poststop: poststop(&config)?,
    })
}

/// The root as crun hands it to CRIU: bundle and recorded root joined, unless that is absolute.
fn rootfs(status: &Field<'_>, bundle: &Path) -> Result<PathBuf, Error> {
    let field = status.require("rootfs")?;
    let path = Path::new(field.text()?);
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(field.wrong("is a path with \"..\" in it"));
    }
    Ok(bundle.join(path).components().collect())
}

fn namespace(field: &Field<'_>) -> Result<Namespace, Error> {
    let name = field.require("type")?;
    let kind = match name.text()? {
        "network" => NamespaceKind::Network,
        "pid" => NamespaceKind::Pid,
        "mount" => NamespaceKind::Mount,
        "ipc" => NamespaceKind::Ipc,
        "uts" => NamespaceKind::Uts,
        "user" => NamespaceKind::User,
        "cgroup" => NamespaceKind::Cgroup,
        "time" => NamespaceKind::Time,
        _ => return Err(name.wrong("is no namespace type")),
    };
    Ok(Namespace {
        kind,
        path: field.text_of("path")?.map(PathBuf::from),
    })
}

/// Mirrors `is_bind_mount` of crun: the options decide, not the type.
fn mount(field: &Field<'_>) -> Result<Mount, Error> {
    let options = field.texts_of("options")?;
    let kind = field.text_of("type")?.unwrap_or_default();
    let kind = if options
        .iter()
        .any(|option| option == "bind" || option == "rbind")
    {
        MountKind::Bind
    } else if kind == "cgroup" {
        MountKind::Cgroup
    } else {
        MountKind::Other(kind.to_owned())
    };
    Ok(Mount {
        destination: PathBuf::from(field.require("destination")?.text()?),
        source: field.text_of("source")?.unwrap_or_default().to_owned(),
        kind,
    })
}

fn cgroups(
    status: &Field<'_>,
    hierarchies: &Hierarchies,
) -> Result<BTreeMap<String, PathBuf>, Error> {
    let field = status.require("cgroup-path")?;
    let path = field.text()?.trim_matches('/');
    if path.is_empty() {
        return Ok(BTreeMap::new());
    }
    if Path::new(path)
        .components()
        .any(|part| !matches!(part, Component::Normal(_)))
    {
        return Err(field.wrong("is no plain path below a cgroup hierarchy"));
    }
    let root = Path::new(CGROUP_ROOT);
    Ok(match hierarchies {
        Hierarchies::Unified => BTreeMap::from([(String::new(), root.join(path))]),
        Hierarchies::PerController(names) => names
            .iter()
            .map(|name| (name.clone(), root.join(name).join(path)))
            .collect(),
    })
}

fn annotations(config: &Field<'_>) -> Result<Vec<(String, String)>, Error> {
    let Some(annotations) = config.get("annotations")? else {
        return Ok(Vec::new());
    };
    let pairs = annotations.members()?;
    pairs
        .into_iter()
        .map(|(key, value)| Ok((key.to_owned(), value.text()?.to_owned())))
        .collect()
}

/// crun keeps this list as JSON inside a string.
fn external_descriptors(status: &Field<'_>) -> Result<Vec<String>, Error> {
    let Some(text) = status.text_of("external_descriptors")? else {
        return Ok(Vec::new());
    };
    let field = status.require("external_descriptors")?;
    serde_json::from_str(text).map_err(|_| field.wrong("is no JSON array of strings in a string"))
}

fn poststop(config: &Field<'_>) -> Result<Vec<Hook>, Error> {
    let Some(hooks) = config.get("hooks")? else {
        return Ok(Vec::new());
    };
    let read = |hook: &Field<'_>| {
        let seconds = hook
            .integer_of("timeout")?
            .and_then(|seconds| u64::try_from(seconds).ok());
        Ok(Hook {
            path: hook.require("path")?.absolute()?,
            args: hook.texts_of("args")?,
            env: hook.get("env")?.map(|_| hook.texts_of("env")).transpose()?,
            timeout: seconds
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
        })
    };
    hooks.items_of("poststop")?.iter().map(read).collect()
}
