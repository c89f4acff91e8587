//! Where a container's root file system keeps what the container has changed: the upper directory of its overlay mount.
//!
//! The mounts of the host's first process are asked, among which the runtime made that mount: a workload has no hand in them, and
//! the directories that they name are its. A privileged agent reaches them through that process's root.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use nix::sys::stat::{major, minor};

use crate::runtime::{Container, cgroup::unescape};

/// The mounts of the host's first process, and its root.
const MOUNTS: &str = "/proc/1/mountinfo";
const ROOT: &str = "/proc/1/root";

/// An overlay mount's upper directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// The directory, as this process reaches it.
    pub upper: PathBuf,
    /// overlayfs keeps its marks in `user.overlay.*`, and not in `trusted.overlay.*`.
    pub user_marks: bool,
}

/// Why there is no such directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host's mounts cannot be read.
    #[error("failed to read {MOUNTS}")]
    Mounts(#[source] io::Error),
    /// Nothing is mounted there.
    #[error("nothing is mounted at the container's root {root}", root = root.display())]
    NotMounted {
        /// The root file system.
        root: PathBuf,
    },
    /// Something else is mounted there.
    #[error("the container's root {root} is of type {kind}", root = root.display())]
    NotOverlay {
        /// The root file system.
        root: PathBuf,
        /// Its type.
        kind: String,
    },
    /// An overlay that nothing can be written to.
    #[error("the container's root {root} is an overlay without an upper directory", root = root.display())]
    NoUpper {
        /// The root file system.
        root: PathBuf,
    },
    /// It is not what the container has for its root.
    #[error(
        "the overlay at {root} (device {mounted:?}) is not the one that the container has for its root ({seen})",
        root = root.display()
    )]
    Another {
        /// The root file system.
        root: PathBuf,
        /// Its device.
        mounted: (u64, u64),
        /// The device that the container has, or why nobody can tell.
        seen: String,
    },
}

/// An overlay among the mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mounted {
    device: (u64, u64),
    upper: PathBuf,
    user_marks: bool,
}

/// The overlay that a container has for its root.
///
/// # Errors
/// It has none whose changed files can be told apart.
pub fn of(container: &Container) -> Result<Overlay, Error> {
    let mounts = fs::read(MOUNTS).map_err(Error::Mounts)?;
    let root = &container.rootfs;
    let Mounted {
        device,
        upper,
        user_marks,
    } = mounted(&mounts, root)?;
    let seen = fs::metadata(container.proc_root()).map(|meta| meta.dev());
    let seen = seen.map(|seen| (major(seen), minor(seen)));
    if !matches!(seen, Ok(seen) if seen == device) {
        return Err(Error::Another {
            root: root.clone(),
            mounted: device,
            seen: seen.map_or_else(|error| error.to_string(), |seen| format!("{seen:?}")),
        });
    }
    Ok(Overlay {
        upper: Path::new(ROOT).join(upper.strip_prefix("/").unwrap_or(&upper)),
        user_marks,
    })
}

/// The overlay at a mount point: of several mounts there the last, which is the one seen.
fn mounted(mountinfo: &[u8], root: &Path) -> Result<Mounted, Error> {
    let lines = mountinfo.split(|byte| *byte == b'\n');
    let last = lines.filter_map(line).rfind(|line| line.point == root);
    let Some(Line {
        device,
        point: _,
        kind,
        options,
    }) = last
    else {
        return Err(Error::NotMounted {
            root: root.to_owned(),
        });
    };
    if kind != b"overlay" {
        return Err(Error::NotOverlay {
            root: root.to_owned(),
            kind: String::from_utf8_lossy(kind).into_owned(),
        });
    }
    let mut options = options.split(|byte| *byte == b',');
    let user_marks = options.clone().any(|option| option == b"userxattr");
    let upper = options.find_map(|option| option.strip_prefix(b"upperdir="));
    let upper = upper.map(unescape).filter(|upper| upper.is_absolute());
    let upper = upper.ok_or_else(|| Error::NoUpper {
        root: root.to_owned(),
    })?;
    Ok(Mounted {
        device,
        upper,
        user_marks,
    })
}

struct Line<'a> {
    device: (u64, u64),
    point: PathBuf,
    kind: &'a [u8],
    options: &'a [u8],
}

/// `ID PARENT MAJ:MIN ROOT MOUNTPOINT OPTIONS [TAGS…] - TYPE SOURCE SUPEROPTIONS`
fn line(line: &[u8]) -> Option<Line<'_>> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = OsStr::from_bytes(fields.nth(2)?).to_str()?;
    let (major, minor) = device.split_once(':')?;
    let point = unescape(fields.nth(1)?);
    fields.by_ref().find(|field| *field == b"-")?;
    Some(Line {
        device: (major.parse().ok()?, minor.parse().ok()?),
        point,
        kind: fields.next()?,
        options: fields.nth(1)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &[u8] = b"22 1 254:1 / / rw - ext4 /dev/vda rw\n\
        40 22 0:50 / /run/t/c/rootfs rw,relatime shared:7 - overlay overlay rw,lowerdir=/a:/b,upperdir=/var/lib/s/7/fs,workdir=/var/lib/s/7/work\n\
        41 22 0:51 / /run/t/space\\040d/rootfs rw - overlay overlay rw,lowerdir=/a,upperdir=/var/with\\040space/fs,workdir=/w,userxattr\n\
        42 22 0:52 / /run/t/view/rootfs ro - overlay overlay ro,lowerdir=/a:/b\n\
        43 22 0:53 / /run/t/b/rootfs rw - btrfs /dev/vdb rw,subvol=/x\n\
        44 22 0:54 / /run/t/twice rw - tmpfs tmpfs rw\n\
        45 22 0:55 / /run/t/twice rw - overlay overlay rw,lowerdir=/a,upperdir=/u,workdir=/w\n\
        nonsense\n";

    fn at(root: &str) -> Result<Mounted, Error> {
        mounted(MOUNTINFO, Path::new(root))
    }

    #[test]
    fn the_upper_directory_is_told_by_the_mount() {
        let rows = [
            ("/run/t/c/rootfs", (0, 50), "/var/lib/s/7/fs", false),
            ("/run/t/space d/rootfs", (0, 51), "/var/with space/fs", true),
            ("/run/t/twice", (0, 55), "/u", false),
        ];
        for (root, device, upper, user_marks) in rows {
            let expected = Mounted {
                device,
                upper: upper.into(),
                user_marks,
            };
            assert_eq!(at(root).unwrap(), expected, "{root}");
        }
    }

    #[test]
    fn what_is_no_overlay_says_what_it_is() {
        let rows = [
            ("/run/t/none", "nothing is mounted at"),
            ("/run/t/b/rootfs", "is of type btrfs"),
            ("/run/t/view/rootfs", "without an upper directory"),
        ];
        for (root, said) in rows {
            let error = at(root).unwrap_err().to_string();
            assert!(error.contains(said), "{root}: {error}");
        }
    }
}
