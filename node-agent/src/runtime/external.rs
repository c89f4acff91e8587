//! What lies outside the container and has to be named to CRIU: namespaces and mounts.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::runtime::{
    Container, Flavour, MountKind, NamespaceKind,
    cgroup::{self, CgroupMount, Membership, Version},
};

mod error;
mod scoped;

pub use error::Error;

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
/// that cannot be resolved stays as configured. runc cuts the root off as text, also from the name
/// of a neighbour such as `rootfs-2`; here it is cut off as a path.
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

#[cfg(test)]
mod tests {
    use super::*;

    const ROOTFS: &str = "/nowhere/rootfs";

    #[test]
    fn the_roots_own_path_is_cut_off_a_destination() {
        let point = |destination: &str| mount_point(Path::new(ROOTFS), Path::new(destination));
        assert_eq!(point("/nowhere/rootfs/etc/x"), Path::new("/etc/x"));
        assert_eq!(
            point("/nowhere/rootfs-2/x"),
            Path::new("/nowhere/rootfs-2/x")
        );
        assert_eq!(point("etc//x/"), Path::new("/etc/x"));
    }

    #[test]
    fn each_v1_hierarchy_is_one_mount_point_named_as_on_the_host() {
        let mounts = cgroup::parse_mounts(
            b"1 0 0:1 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
              2 0 0:2 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
              3 0 0:1 / /mnt/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
              4 0 0:3 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
              5 0 0:4 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        );
        let membership = cgroup::parse_membership(b"2:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n");
        let points = cgroup_points(Path::new("/sys/fs/cgroup"), &mounts, &membership).unwrap();
        let expected = ["cpu,cpuacct", "systemd"].map(|name| Path::new(cgroup::ROOT).join(name));
        assert_eq!(points, expected);
    }

    #[test]
    fn crun_names_hierarchies_as_systemd_does() {
        let text = "4:net_prio,net_cls:/\n3:cpuacct,cpu:/\n2:freezer:/\n1:name=systemd:/\n0::/\n";
        let expected = ["net_cls,net_prio", "cpu,cpuacct", "freezer", "systemd"];
        assert_eq!(crun_controllers(text), expected);
    }
}
