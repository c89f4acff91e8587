//! runc's `state.json`, as `State` in `libcontainer/container_linux.go` of runc 1.5.2 writes it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::runtime::{
    Container, ContainerId, Error, Flavour, Hook, Init, IntelRdt, Mount, MountKind, Namespace,
    NamespaceKind, document::Field,
};

/// Reads a whole state document.
pub(super) fn parse(
    state_dir: &Path,
    id: &ContainerId,
    file: &Path,
    value: &Value,
) -> Result<Container, Error> {
    let state = Field::document(file, value)?;
    let config = state.require("config")?;
    let labels = labels(&config)?;
    let bundle = labels.iter().rev().find(|(key, _)| key == "bundle");
    Ok(Container {
        id: id.clone(),
        flavour: Flavour::Runc,
        state_dir: state_dir.to_owned(),
        bundle: bundle.map(|(_, value)| PathBuf::from(value)),
        rootfs: config.require("rootfs")?.absolute()?,
        init: Init {
            pid: state.require("init_process_pid")?.pid()?,
            start_time: Some(state.require("init_process_start")?.unsigned()?),
        },
        namespaces: each(&config, "namespaces", namespace)?,
        mounts: each(&config, "mounts", mount)?,
        masked_paths: config
            .texts_of("mask_paths")?
            .into_iter()
            .map(PathBuf::from)
            .collect(),
        devices: each(&config, "devices", |device| {
            Ok(PathBuf::from(device.require("path")?.text()?))
        })?,
        cgroups: cgroups(&state)?,
        systemd_unit: systemd_unit(&config)?,
        rootless: state.flag_of("rootless")?,
        annotations: labels,
        external_descriptors: state.texts_of("external_descriptors")?,
        intel_rdt: IntelRdt {
            group: optional_path(&state, "intel_rdt_path")?,
            monitoring: optional_path(&state, "intel_rdt_mon_path")?,
        },
        poststop: poststop(&config)?,
    })
}

fn each<T>(
    parent: &Field<'_>,
    key: &str,
    read: impl Fn(&Field<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    parent.items_of(key)?.iter().map(read).collect()
}

fn optional_path(parent: &Field<'_>, key: &str) -> Result<Option<PathBuf>, Error> {
    match parent.text_of(key)? {
        None => Ok(None),
        Some(_) => parent.require(key)?.absolute().map(Some),
    }
}

/// A label without `=` is skipped, as `Annotations` of runc does.
fn labels(config: &Field<'_>) -> Result<Vec<(String, String)>, Error> {
    let texts = config.texts_of("labels")?;
    let pairs = texts.iter().filter_map(|text| text.split_once('='));
    Ok(pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect())
}

fn namespace(field: &Field<'_>) -> Result<Namespace, Error> {
    let name = field.require("type")?;
    let kind = match name.text()? {
        "NEWNET" => NamespaceKind::Network,
        "NEWPID" => NamespaceKind::Pid,
        "NEWNS" => NamespaceKind::Mount,
        "NEWIPC" => NamespaceKind::Ipc,
        "NEWUTS" => NamespaceKind::Uts,
        "NEWUSER" => NamespaceKind::User,
        "NEWCGROUP" => NamespaceKind::Cgroup,
        "NEWTIME" => NamespaceKind::Time,
        _ => return Err(name.wrong("is no namespace type")),
    };
    Ok(Namespace {
        kind,
        path: field.text_of("path")?.map(PathBuf::from),
    })
}

fn mount(field: &Field<'_>) -> Result<Mount, Error> {
    let kind = match field.text_of("device")?.unwrap_or_default() {
        "bind" => MountKind::Bind,
        "cgroup" => MountKind::Cgroup,
        other => MountKind::Other(other.to_owned()),
    };
    Ok(Mount {
        destination: PathBuf::from(field.require("destination")?.text()?),
        source: field.text_of("source")?.unwrap_or_default().to_owned(),
        kind,
    })
}

fn cgroups(state: &Field<'_>) -> Result<BTreeMap<String, PathBuf>, Error> {
    let Some(paths) = state.get("cgroup_paths")? else {
        return Ok(BTreeMap::new());
    };
    paths
        .members()?
        .into_iter()
        .map(|(key, path)| Ok((key.to_owned(), path.absolute()?)))
        .collect()
}

/// Mirrors `getUnitName` of runc's cgroups library.
fn systemd_unit(config: &Field<'_>) -> Result<Option<String>, Error> {
    let cgroups = config.require("cgroups")?;
    if !cgroups.flag_of("Systemd")? && !cgroups.flag_of("systemd")? {
        return Ok(None);
    }
    let name = cgroups.require("name")?.text()?;
    let prefix = cgroups.text_of("scope_prefix")?.unwrap_or_default();
    if name.strip_suffix(".slice").is_some() {
        return Ok(Some(name.to_owned()));
    }
    Ok(Some(format!("{prefix}-{name}.scope")))
}

fn poststop(config: &Field<'_>) -> Result<Vec<Hook>, Error> {
    let Some(hooks) = config.get("Hooks")? else {
        return Ok(Vec::new());
    };
    each(&hooks, "poststop", |hook| {
        // A Go duration, in nanoseconds; one that is not positive runs out at once.
        let timeout = hook.integer_of("timeout")?;
        Ok(Hook {
            path: hook.require("path")?.absolute()?,
            args: hook.texts_of("args")?,
            env: hook.get("env")?.map(|_| hook.texts_of("env")).transpose()?,
            timeout: timeout.map(|ns| Duration::from_nanos(u64::try_from(ns).unwrap_or(0))),
        })
    })
}
