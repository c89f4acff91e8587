//! What lies outside the container and has to be named to CRIU: namespaces and mounts.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::runtime::{
    Container, Flavour, MountKind, NamespaceKind,
    cgroup::{self, CgroupMount, Membership, Version},
    error::go_errno,
};

mod scoped;

/// One `ext_mnt` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalMount {
    /// The mount point as the container sees it.
    pub key: String,
    /// The name under which the restore finds it again.
    pub value: String,
}

/// What to do when a recorded namespace path leads nowhere any more, as after a restart of a pod's
/// sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dangling {
    /// Fail, as runc does.
    Fail,
    /// Take the namespace that the first process is in: it is the same one.
    AskInit,
}

/// Why what lies outside could not be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of a joined namespace could not be looked at.
    #[error("failed to stat the container's {kind} namespace {}", path.display())]
    StatNamespace {
        /// `net` or `pid`.
        kind: &'static str,
        /// The recorded path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A masked path could not be looked at through the container's root.
    #[error("failed to stat {}", path.display())]
    StatMasked {
        /// The path, `/proc/PID/root` included.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The cgroup mounts of this process could not be read.
    #[error("failed to read the cgroup mounts of this process")]
    CgroupMounts(#[source] io::Error),
    /// This process is in no cgroup of a mounted hierarchy (`NotFoundError` of runc's library).
    #[error("mountpoint for {controller} not found")]
    NoCgroup {
        /// The first controller of that hierarchy.
        controller: String,
    },
    /// A mount point is not UTF-8, as CRIU's request has to be.
    #[error("invalid mount point {}: not UTF-8", path.display())]
    NotUtf8 {
        /// The mount point in the container.
        path: PathBuf,
    },
}

impl Error {
    /// A stable name for conditions, events and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::StatNamespace { .. } => "NamespaceUnreachable",
            Self::StatMasked { .. } => "MaskedPathUnreachable",
            Self::CgroupMounts(_) | Self::NoCgroup { .. } => "CgroupInaccessible",
            Self::NotUtf8 { .. } => "MountPointNotUtf8",
        }
    }

    /// What runc 1.5.2 prints for this failure, where that says less than `Display`.
    #[must_use]
    pub fn runc_text(&self) -> Option<String> {
        match self {
            Self::StatNamespace { source, .. } => Some(go_errno(source)),
            Self::StatMasked { path, source } => {
                Some(format!("stat {}: {}", path.display(), go_errno(source)))
            }
            Self::CgroupMounts(_) | Self::NoCgroup { .. } | Self::NotUtf8 { .. } => None,
        }
    }
}

/// The `external` list: a joined network namespace, then a joined pid namespace, each by its inode.
/// Mirrors `handleCheckpointingExternalNamespaces` of runc 1.5.2; the check of CRIU's version that
/// runc makes there even without a path is the caller's.
///
/// # Errors
/// [`Error::StatNamespace`].
pub fn namespaces(container: &Container, dangling: Dangling) -> Result<Vec<String>, Error> {
    let kinds = [
        (NamespaceKind::Network, "net", "extRootNetNS"),
        (NamespaceKind::Pid, "pid", "extRootPidNS"),
    ];
    let mut external = Vec::new();
    for (kind, short, key) in kinds {
        let Some(path) = container.joined_namespace(kind) else {
            continue;
        };
        let inode = match fs::metadata(path) {
            Ok(meta) => meta.ino(),
            Err(source) => {
                let from_init = match dangling {
                    Dangling::Fail => None,
                    Dangling::AskInit => fs::metadata(container.proc_namespace(kind)).ok(),
                };
                let failed = || Error::StatNamespace {
                    kind: short,
                    path: path.to_owned(),
                    source,
                };
                from_init.ok_or_else(failed)?.ino()
            }
        };
        external.push(format!("{short}[{inode}]:{key}"));
    }
    Ok(external)
}

/// The `ext_mnt` list of a full dump (a pre-dump sends none), in the order in which the container's
/// own runtime sends it.
///
/// # Errors
/// A masked path or, on cgroup v1, the cgroup mounts could not be looked at.
pub fn mounts(container: &Container) -> Result<Vec<ExternalMount>, Error> {
    match container.flavour {
        Flavour::Runc => runc_mounts(container),
        Flavour::Crun => crun_mounts(container),
    }
}

/// Mirrors `Checkpoint`, `addCriuDumpMount` and `addMaskPaths` in `criu_linux.go` of runc 1.5.2.
fn runc_mounts(container: &Container) -> Result<Vec<ExternalMount>, Error> {
    let mut list = Vec::new();
    for mount in &container.mounts {
        match &mount.kind {
            MountKind::Bind => list.push(same(&container.rootfs, &mount.destination)?),
            MountKind::Cgroup if cgroups_are_binds(container) => {
                for point in own_cgroup_points(&mount.destination)? {
                    list.push(same(&container.rootfs, &point)?);
                }
            }
            MountKind::Cgroup | MountKind::Other(_) => {}
        }
    }
    for path in &container.masked_paths {
        if masked(container, path)? == Some(Masked::File) {
            list.push(ExternalMount {
                key: text(path)?,
                value: "/dev/null".to_owned(),
            });
        }
    }
    for node in &container.devices {
        list.push(same(&container.rootfs, node)?);
    }
    Ok(list)
}

/// Mirrors `libcrun_container_checkpoint_linux_criu` and `register_masked_paths_mounts` of crun
/// 1.29, but looks at masked paths through the container's root rather than at the host's.
fn crun_mounts(container: &Container) -> Result<Vec<ExternalMount>, Error> {
    let mut list = Vec::new();
    let has_cgroup = container
        .mounts
        .iter()
        .any(|mount| mount.kind == MountKind::Cgroup);
    if has_cgroup && cgroup::version() != Version::V2 {
        let membership = fs::read("/proc/self/cgroup").map_err(Error::CgroupMounts)?;
        for name in crun_controllers(&String::from_utf8_lossy(&membership)) {
            let point = format!("{}/{name}", cgroup::ROOT);
            list.push(ExternalMount {
                key: point.clone(),
                value: point,
            });
        }
    }
    for mount in container
        .mounts
        .iter()
        .filter(|mount| mount.kind == MountKind::Bind)
    {
        list.push(same(&container.rootfs, &mount.destination)?);
    }
    let empty = shared_empty_directory(container);
    let mut empty_named = false;
    for path in &container.masked_paths {
        let key = text(path)?;
        match masked(container, path)? {
            None => {}
            Some(Masked::File) => list.push(ExternalMount {
                value: key.clone(),
                key,
            }),
            Some(Masked::Directory) => {
                let value = text(&empty)?;
                if !empty_named {
                    list.push(ExternalMount {
                        key: value.clone(),
                        value: value.clone(),
                    });
                    empty_named = true;
                }
                list.push(ExternalMount { key, value });
            }
        }
    }
    Ok(list)
}

/// The directory names of the v1 hierarchies, in the order of `/proc/self/cgroup`. Mirrors
/// `parse_cgroup_subsystem` of crun: hierarchies with two controllers are named as systemd names
/// them, the unified one of a hybrid layout is left out.
fn crun_controllers(membership: &str) -> Vec<&str> {
    let names = membership.lines().filter_map(|line| line.split(':').nth(1));
    let names = names.filter(|names| !names.is_empty());
    let renamed = names.map(|names| match names.strip_prefix("name=").unwrap_or(names) {
        "net_prio,net_cls" => "net_cls,net_prio",
        "cpuacct,cpu" => "cpu,cpuacct",
        other => other,
    });
    renamed.collect()
}

/// Where crun keeps the directory that it binds over masked ones.
fn shared_empty_directory(container: &Container) -> PathBuf {
    container
        .state_dir
        .parent()
        .unwrap_or(Path::new("/"))
        .join(".empty-directory")
}

/// What is hidden at a masked path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Masked {
    File,
    Directory,
}

/// Looks at a masked path through the container's root; `None` when nothing is there.
fn masked(container: &Container, path: &Path) -> Result<Option<Masked>, Error> {
    let mut seen = container.proc_root().into_os_string();
    // runc writes `/proc/PID/root/` and then the path with its own slash.
    seen.push("/");
    seen.push(path);
    let seen = PathBuf::from(seen);
    match fs::metadata(&seen) {
        Ok(meta) if meta.is_dir() => Ok(Some(Masked::Directory)),
        Ok(_) => Ok(Some(Masked::File)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::StatMasked { path: seen, source }),
    }
}

/// On v1 without a cgroup namespace of its own, a container's cgroup mount is a set of binds.
fn cgroups_are_binds(container: &Container) -> bool {
    cgroup::version() != Version::V2 && container.namespace(NamespaceKind::Cgroup).is_none()
}

fn own_cgroup_points(destination: &Path) -> Result<Vec<PathBuf>, Error> {
    let mounts = cgroup::own_mounts().map_err(Error::CgroupMounts)?;
    let membership = fs::read("/proc/self/cgroup").map_err(Error::CgroupMounts)?;
    cgroup_points(destination, &mounts, &cgroup::parse_membership(&membership))
}

/// One mount point per v1 hierarchy, named as the host's is. Mirrors `getCgroupMounts` of runc and
/// `getCgroupMountsHelper` of its cgroups library: the first mount of every controller that this
/// process is in.
fn cgroup_points(
    destination: &Path,
    mounts: &[CgroupMount],
    membership: &Membership,
) -> Result<Vec<PathBuf>, Error> {
    let mut seen: Vec<&str> = Vec::new();
    let mut points = Vec::new();
    for mount in mounts.iter().filter(|mount| !mount.unified) {
        let fresh: Vec<&str> = mount
            .options
            .iter()
            .map(String::as_str)
            .filter(|option| membership.contains_key(*option) && !seen.contains(option))
            .collect();
        let Some(first) = fresh.first() else { continue };
        let Some(name) = mount.mountpoint.file_name() else {
            return Err(Error::NoCgroup {
                controller: (*first).to_owned(),
            });
        };
        points.push(destination.join(name));
        seen.extend(fresh);
        if seen.len() >= membership.len() {
            break;
        }
    }
    Ok(points)
}

/// An entry whose name is its mount point, links in it resolved within the root.
fn same(rootfs: &Path, destination: &Path) -> Result<ExternalMount, Error> {
    let key = text(&mount_point(rootfs, destination))?;
    Ok(ExternalMount {
        value: key.clone(),
        key,
    })
}

/// Where a configured destination really lies in the container. Mirrors `addCriuDumpMount`: the
/// root's own path is cut off the front, links are resolved as `securejoin` does, and a destination
/// that cannot be resolved stays as configured.
fn mount_point(rootfs: &Path, destination: &Path) -> PathBuf {
    let cut = destination
        .strip_prefix(rootfs)
        .map(|rest| Path::new("/").join(rest));
    let destination = cut.unwrap_or_else(|_| destination.to_owned());
    scoped::resolve(rootfs, &destination).unwrap_or(destination)
}

fn text(path: &Path) -> Result<String, Error> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::NotUtf8 {
        path: path.to_owned(),
    })
}
