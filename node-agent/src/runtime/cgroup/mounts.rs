//! Which hierarchy is mounted where, and in which cgroup of it a process is.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

use crate::apart::Hierarchy;

/// A mounted cgroup hierarchy, as `/proc/PID/mountinfo` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupMount {
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// Which cgroup of the hierarchy is the root of the mount.
    pub root: PathBuf,
    /// The unified hierarchy.
    pub unified: bool,
    /// Options of the superblock; on v1 the controllers are among them, or `name=NAME`.
    pub options: Vec<String>,
}

/// A process's cgroup in every hierarchy: controller (`""` for the unified one, `name=NAME` for a
/// named one) to path, as in `/proc/PID/cgroup`.
pub type Membership = BTreeMap<String, PathBuf>;

/// Reads the cgroup mounts out of a `mountinfo` file. Lines that are none are skipped.
#[must_use]
pub fn parse_mounts(mountinfo: &[u8]) -> Vec<CgroupMount> {
    mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(mount_line)
        .collect()
}

/// `ID PARENT MAJ:MIN ROOT MOUNTPOINT OPTIONS [TAGS…] - TYPE SOURCE SUPEROPTIONS`
fn mount_line(line: &[u8]) -> Option<CgroupMount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = unescape(fields.nth(3)?);
    let mountpoint = unescape(fields.next()?);
    fields.by_ref().find(|field| *field == b"-")?;
    let unified = match fields.next()? {
        b"cgroup" => false,
        b"cgroup2" => true,
        _ => return None,
    };
    let options = str::from_utf8(fields.nth(1)?).ok()?;
    let options = options.split(',').map(str::to_owned).collect();
    Some(CgroupMount {
        mountpoint,
        root,
        unified,
        options,
    })
}

/// Undoes the kernel's `\040` and the like.
pub(in crate::runtime) fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let code = tail.get(..3).filter(|_| *first == b'\\').and_then(octal);
        if let Some(byte) = code {
            bytes.push(byte);
            rest = tail.get(3..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok()
}

/// Reads `/proc/PID/cgroup`. Mirrors `parseCgroupFromReader` of runc's cgroups library; a line
/// without two colons is skipped.
#[must_use]
pub fn parse_membership(text: &[u8]) -> Membership {
    let mut cgroups = Membership::new();
    for line in text.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(3, |byte| *byte == b':').skip(1);
        let (Some(names), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let Ok(names) = str::from_utf8(names) else {
            continue;
        };
        for name in names.split(',') {
            cgroups.insert(name.to_owned(), PathBuf::from(OsStr::from_bytes(path)));
        }
    }
    cgroups
}

/// The hierarchies that this process sees mounted under [`ROOT`](super::ROOT).
///
/// # Errors
/// Its mounts cannot be read.
pub fn hierarchies() -> io::Result<Vec<Hierarchy>> {
    Ok(below(Path::new(super::ROOT), &own_mounts()?))
}

/// Those among `mounts` that are mounted at a directory or below it, each place once.
fn below(dir: &Path, mounts: &[CgroupMount]) -> Vec<Hierarchy> {
    let mut found: BTreeMap<&Path, bool> = BTreeMap::new();
    for mount in mounts.iter().filter(|m| m.mountpoint.starts_with(dir)) {
        let cpuset = !mount.unified && mount.options.iter().any(|option| option == "cpuset");
        // The kernel lists them in the order in which they were mounted: the last is the one seen.
        found.insert(&mount.mountpoint, cpuset);
    }
    let hierarchy = |(dir, cpuset): (&Path, bool)| Hierarchy {
        dir: dir.to_owned(),
        cpuset,
    };
    found.into_iter().map(hierarchy).collect()
}

/// The cgroup mounts that this process sees.
pub(in crate::runtime) fn own_mounts() -> io::Result<Vec<CgroupMount>> {
    Ok(parse_mounts(&fs::read("/proc/self/mountinfo")?))
}

/// The cgroups of a process.
pub(in crate::runtime) fn membership(pid: i32) -> io::Result<Membership> {
    Ok(parse_membership(&fs::read(format!("/proc/{pid}/cgroup"))?))
}

/// The directory of the cgroup that a process with this membership is in, in the hierarchy that
/// `recorded` lies in; `None` when no mount holds `recorded` or shows that cgroup.
#[must_use]
pub(in crate::runtime) fn actual_dir(
    recorded: &Path,
    mounts: &[CgroupMount],
    membership: &Membership,
) -> Option<PathBuf> {
    let mount = mounts
        .iter()
        .filter(|mount| recorded.starts_with(&mount.mountpoint))
        .max_by_key(|mount| mount.mountpoint.as_os_str().len())?;
    let path = if mount.unified {
        membership.get("")
    } else {
        mount
            .options
            .iter()
            .find_map(|option| membership.get(option))
    }?;
    let below = path.strip_prefix(&mount.root).ok()?;
    let plain = below
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    plain.then(|| mount.mountpoint.join(below).components().collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOUNTINFO: &[u8] = b"\
        23 1 0:21 / /sys rw - sysfs sysfs rw\n\
        31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:8 master:2 - cgroup cgroup rw,memory\n\
        37 31 0:34 /in /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
        40 31 0:37 / /sys/fs/cgroup/a\\040b rw - cgroup cgroup rw,name=systemd\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    const MEMBERSHIP: &[u8] =
        b"6:freezer:/in/app/sub\n4:memory:/app\n2:cpu,cpuacct:/x\n1:name=systemd:/s:t\n0::/app\n";

    #[test]
    fn only_cgroup_mounts_are_kept() {
        let mounts = parse_mounts(MOUNTINFO);
        let points: Vec<&str> = mounts
            .iter()
            .map(|mount| mount.mountpoint.to_str().unwrap())
            .collect();
        let expected =
            ["memory", "freezer", "a b", "unified"].map(|n| format!("/sys/fs/cgroup/{n}"));
        assert_eq!(points, expected);
        assert_eq!(mounts[1].root, Path::new("/in"));
        assert!(mounts[3].unified && !mounts[2].unified);
    }

    #[test]
    fn each_hierarchy_is_named_once_and_the_cpuset_is_known() {
        let more = b"\
            50 1 0:40 / /mnt/cgroup rw - cgroup cgroup rw,pids\n\
            51 31 0:41 / /sys/fs/cgroup/x rw - cgroup cgroup rw,cpu\n\
            52 51 0:42 / /sys/fs/cgroup/x rw - cgroup cgroup rw,cpuset\n";
        let mounts = parse_mounts(&[MOUNTINFO, more].concat());
        let found = below(Path::new("/sys/fs/cgroup"), &mounts);
        let found: Vec<_> = found
            .iter()
            .map(|h| (h.dir.to_str().unwrap(), h.cpuset))
            .collect();
        let expected = [
            ("/sys/fs/cgroup/a b", false),
            ("/sys/fs/cgroup/freezer", false),
            ("/sys/fs/cgroup/memory", false),
            ("/sys/fs/cgroup/unified", false),
            ("/sys/fs/cgroup/x", true),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn every_controller_has_its_path() {
        let membership = parse_membership(MEMBERSHIP);
        assert_eq!(membership.get("cpuacct"), Some(&PathBuf::from("/x")));
        assert_eq!(membership.get("name=systemd"), Some(&PathBuf::from("/s:t")));
        assert_eq!(membership.get(""), Some(&PathBuf::from("/app")));
    }

    #[test]
    fn the_actual_directory_is_found_below_the_mount() {
        let (mounts, membership) = (parse_mounts(MOUNTINFO), parse_membership(MEMBERSHIP));
        let actual = |recorded: &str| actual_dir(Path::new(recorded), &mounts, &membership);
        let freezer = PathBuf::from("/sys/fs/cgroup/freezer/app/sub");
        assert_eq!(actual("/sys/fs/cgroup/freezer/other"), Some(freezer));
        let unified = PathBuf::from("/sys/fs/cgroup/unified/app");
        assert_eq!(actual("/sys/fs/cgroup/unified/app"), Some(unified));
        assert_eq!(actual("/elsewhere"), None);
    }

    #[test]
    fn a_cgroup_above_the_mounts_root_is_not_guessed() {
        let mounts = parse_mounts(MOUNTINFO);
        let membership = parse_membership(b"6:freezer:/app\n4:memory:/../app\n");
        let actual = |recorded: &str| actual_dir(Path::new(recorded), &mounts, &membership);
        assert_eq!(actual("/sys/fs/cgroup/freezer/app"), None);
        assert_eq!(actual("/sys/fs/cgroup/memory/app"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (parse_mounts(&bytes), parse_membership(&bytes));
        }
    }
}
