//! Whether the host's own cgroup mounts can serve CRIU instead of fresh ones.
//!
//! CRIU mounts every hierarchy anew to look at a container's cgroups. Mounting the unified one waits
//! in the kernel for 10 ms and more while the container stands still, and resets the host-wide flags
//! of that hierarchy (criu#3029). Given a `cgroup_yard`, a directory that holds the hierarchies under
//! their names, it opens those instead.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{CgroupMount, ROOT, parse_mounts};

/// The host's cgroup directory, where it is such a yard: each hierarchy mounted whole under its name.
/// It never is on a host with the unified hierarchy alone.
#[must_use]
pub fn yard() -> Option<PathBuf> {
    let mounts = parse_mounts(&fs::read("/proc/self/mountinfo").ok()?);
    let memberships = fs::read_to_string("/proc/self/cgroup").ok()?;
    let root = Path::new(ROOT);
    serves(root, &mounts, &memberships).then(|| root.to_owned())
}

/// Mirrors the names that `collect_cgroups` of `criu/cgroup.c` (v4.2) looks up in a yard.
fn serves(root: &Path, mounts: &[CgroupMount], memberships: &str) -> bool {
    let mut hierarchies = memberships
        .lines()
        .filter_map(|line| line.split(':').nth(1))
        .peekable();
    hierarchies.peek().is_some()
        && hierarchies.all(|name| {
            let entry = match name {
                "" => root.join("unified"),
                _ => root.join(name.strip_prefix("name=").unwrap_or(name)),
            };
            // The last mount on a place is the one that is seen.
            let seen = mounts.iter().rev().find(|mount| mount.mountpoint == entry);
            seen.is_some_and(|mount| {
                mount.root == Path::new("/") && mount.unified == name.is_empty()
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBERSHIPS: &str = "2:name=systemd:/x\n1:cpu,cpuacct:/x\n0::/x\n";

    fn mount(place: &str, root: &str, unified: bool) -> CgroupMount {
        CgroupMount {
            mountpoint: place.into(),
            root: root.into(),
            unified,
            options: Vec::new(),
        }
    }

    fn hybrid() -> Vec<CgroupMount> {
        vec![
            mount("/c/systemd", "/", false),
            mount("/c/cpu,cpuacct", "/", false),
            mount("/c/unified", "/", true),
        ]
    }

    #[test]
    fn a_hybrid_host_is_its_own_yard() {
        assert!(serves(Path::new("/c"), &hybrid(), MEMBERSHIPS));
    }

    #[test]
    fn a_missing_or_partial_hierarchy_makes_it_none() {
        for (at, instead) in [
            (0, mount("/c/elsewhere", "/", false)),
            (1, mount("/c/cpu,cpuacct", "/kubepods", false)),
            (2, mount("/c/unified", "/", false)),
        ] {
            let mut mounts = hybrid();
            mounts[at] = instead;
            assert!(
                !serves(Path::new("/c"), &mounts, MEMBERSHIPS),
                "{:?}",
                mounts[at]
            );
        }
    }

    #[test]
    fn a_unified_host_is_none() {
        assert!(!serves(
            Path::new("/c"),
            &[mount("/c", "/", true)],
            "0::/x\n"
        ));
        assert!(!serves(Path::new("/c"), &hybrid(), ""));
    }
}
