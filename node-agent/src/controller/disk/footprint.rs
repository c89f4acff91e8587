//! How much an image may take, told from the container's processes before they are stopped.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::Path,
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sys::{
        stat::fstat,
        statfs::{TMPFS_MAGIC, fstatfs},
    },
};

use crate::runtime::{Container, MountKind, processes};

/// What an image takes beside memory: descriptors, mappings, sockets, deleted files, page maps.
const BESIDE: u64 = 32 << 20;

/// Memory of a container that would be in an image, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Private memory of each process, in RAM or swapped out; what processes share after a fork
    /// counts for each, as CRIU writes it.
    pub private: u64,
    /// Shared memory, with the container's own tmpfs mounts.
    pub shared: u64,
    /// The container's own tmpfs mounts alone, whose files CRIU archives.
    pub files: u64,
}

/// Where the memory is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryGoes {
    /// Into the image.
    ToDisk,
    /// To a page server, or it is served on demand.
    Elsewhere,
}

impl Footprint {
    /// Looks at a container that runs. What cannot be read counts as nothing: a process that
    /// ended is not in the image either.
    #[must_use]
    pub fn of(container: &Container) -> Self {
        let pids = processes::pids(container).unwrap_or_default();
        let mut memory = Memory::default();
        for pid in pids.iter().filter(|pid| **pid != container.init.pid) {
            memory.add_process(*pid);
        }
        memory.add_process(container.init.pid);
        let files = tmpfs_bytes(container);
        Self {
            private: memory.private,
            shared: shared_bytes(charged(container), memory.largest_shared, files),
            files,
        }
    }

    /// The most that an image may take, with an eighth for what grows meanwhile.
    #[must_use]
    pub fn needed(self, memory: MemoryGoes) -> u64 {
        let Self {
            private,
            shared,
            files,
        } = self;
        let pages = match memory {
            MemoryGoes::ToDisk => private.saturating_add(shared.max(files)),
            MemoryGoes::Elsewhere => files,
        };
        pages.saturating_add(pages / 8).saturating_add(BESIDE)
    }
}

/// Sums over processes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Memory {
    private: u64,
    largest_shared: u64,
}

impl Memory {
    fn add_process(&mut self, pid: i32) {
        let status = fs::read_to_string(format!("/proc/{pid}/status"));
        self.add(&status.unwrap_or_default());
    }

    /// Adds what `/proc/PID/status` says; it counts what is resident without a walk over all
    /// mappings, which would hold the process up.
    fn add(&mut self, status: &str) {
        let private = [kib(status, "RssAnon:"), kib(status, "VmSwap:")];
        self.private = private
            .iter()
            .fold(self.private, |sum, bytes| sum.saturating_add(*bytes));
        self.largest_shared = self.largest_shared.max(kib(status, "RssShmem:"));
    }
}

/// Shared memory is in an image once, while each process that maps it counts all of it: the
/// cgroup's own figure is the truth, and holds the tmpfs mounts' pages as well. Without it, the
/// process with the most and the mounts.
fn shared_bytes(charged: Option<u64>, largest: u64, files: u64) -> u64 {
    charged.map_or(largest.saturating_add(files), |bytes| {
        bytes.max(largest).max(files)
    })
}

/// A line of `/proc/PID/status` in bytes.
fn kib(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0).saturating_mul(1024)
}

/// `shmem` of the memory cgroup: on v2 of the unified hierarchy, on v1 of the controller.
fn charged(container: &Container) -> Option<u64> {
    let dir = ["memory", ""]
        .iter()
        .find_map(|key| container.cgroups.get(*key))?;
    shmem(&fs::read_to_string(dir.join("memory.stat")).ok()?)
}

fn shmem(stat: &str) -> Option<u64> {
    // v1 has the sum over the groups below under a name of its own.
    ["total_shmem ", "shmem "].iter().find_map(|key| {
        let line = stat.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().parse().ok()
    })
}

/// What the tmpfs mounts hold that are the container's own; those of the host (bind mounts) are
/// not in the image.
fn tmpfs_bytes(container: &Container) -> u64 {
    let Ok(root) = File::open(container.proc_root()) else {
        return 0;
    };
    let own = container
        .mounts
        .iter()
        .filter(|mount| mount.kind == MountKind::Other("tmpfs".to_owned()));
    let mut seen = BTreeSet::new();
    own.filter_map(|mount| used_tmpfs(&root, &mount.destination))
        .filter(|(device, _)| seen.insert(*device))
        .fold(0, |sum, (_, bytes)| sum.saturating_add(bytes))
}

/// Device and used bytes of the tmpfs at a path in the container, whose links lead nowhere but
/// into the container.
fn used_tmpfs(root: &File, path: &Path) -> Option<(u64, u64)> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let mount = openat2(root, path, how).ok()?;
    let found = fstatfs(&mount).ok()?;
    if found.filesystem_type() != TMPFS_MAGIC {
        return None;
    }
    let blocks = found.blocks().saturating_sub(found.blocks_free());
    let unit = u64::try_from(found.block_size()).ok()?;
    Some((fstat(&mount).ok()?.st_dev, blocks.saturating_mul(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn memory_is_summed_over_processes_and_shared_memory_counted_once() {
        let status =
            "Name:\tx\nVmRSS:\t  900 kB\nRssAnon:\t 100 kB\nRssShmem:\t 700 kB\nVmSwap:\t 4 kB\n";
        let mut memory = Memory::default();
        memory.add(status);
        memory.add(status);
        memory.add("RssShmem:\t 800 kB\nRssAnon:\tmany\n");
        memory.add("");
        let expected = Memory {
            private: 2 * 104 * 1024,
            largest_shared: 800 * 1024,
        };
        assert_eq!(memory, expected);
    }

    #[test]
    fn the_cgroups_figure_of_shared_memory_counts_where_there_is_one() {
        assert_eq!(
            shmem("anon 5\nfile 9\nshmem 4096\nshmem_thp 0\n"),
            Some(4096)
        );
        assert_eq!(shmem("shmem 1\ntotal_shmem 2\n"), Some(2));
        assert_eq!(shmem("anon 5\n"), None);
        assert_eq!(shared_bytes(Some(10), 3, 4), 10);
        assert_eq!(shared_bytes(Some(1), 3, 4), 4);
        assert_eq!(shared_bytes(None, 3, 4), 7);
    }

    #[test]
    fn what_is_sent_elsewhere_needs_little_disk() {
        let footprint = Footprint {
            private: 800 * MIB,
            shared: 160 * MIB,
            files: 80 * MIB,
        };
        assert_eq!(footprint.needed(MemoryGoes::ToDisk), (960 + 120 + 32) * MIB);
        assert_eq!(
            footprint.needed(MemoryGoes::Elsewhere),
            (80 + 10 + 32) * MIB
        );
        let absurd = Footprint {
            private: u64::MAX,
            shared: u64::MAX,
            files: 0,
        };
        assert_eq!(absurd.needed(MemoryGoes::ToDisk), u64::MAX);
    }

    #[test]
    fn a_process_that_runs_has_a_footprint() {
        let mut memory = Memory::default();
        memory.add_process(std::process::id().cast_signed());
        assert!(memory.private > 0);
        memory.add_process(i32::MAX);
    }

    #[test]
    fn only_a_tmpfs_counts_and_links_stay_in_the_root() {
        let scratch = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev", scratch.path().join("out")).unwrap();
        let root = File::open(scratch.path()).unwrap();
        assert_eq!(used_tmpfs(&root, Path::new("/out")), None);
        assert_eq!(used_tmpfs(&root, Path::new("/missing")), None);
        let host = File::open("/").unwrap();
        assert_eq!(used_tmpfs(&host, Path::new("/proc")), None);
    }
}
