//! Finding out: each fact from where the system tells it. What cannot be found stays unset.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::sys::statfs;

use super::{Criu, Facts, Kernel, Runtime};
use crate::{
    apart::Mounts,
    criu::{Launch, Swrk, abilities::Abilities, messages::CriuFeatures},
    runtime::cgroup,
};

/// The capabilities that a dump needs, by their bits in `CapEff`.
const CAPABILITIES: [(&str, u32); 5] = [
    ("CAP_NET_ADMIN", 12),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_SYS_RESOURCE", 24),
    ("CAP_CHECKPOINT_RESTORE", 40),
];
/// Where runtimes keep the state of their containers.
const STATE_ROOTS: [&str; 6] = [
    "/run/runc",
    "/run/crun",
    "/run/containerd/runc/k8s.io",
    "/run/containerd/runc/default",
    "/run/docker/runtime-runc/moby",
    "/run/crio",
];
/// CRIU answers within milliseconds; probing the kernel anew takes a few dozen.
const CRIU_WITHIN: Duration = Duration::from_secs(10);
/// From this on CRIU knows no lock at all (3.19).
const SKIP_CRIU: u32 = 31_900;

/// How the host's own programs are found and started: in a container, among the host's mounts.
pub(crate) fn programs() -> Launch {
    let mounts = Mounts::of_the_host().ok();
    let theirs = mounts.filter(|mounts| !mounts.are_ours());
    Launch {
        mounts: theirs.map(Arc::new),
        ..Launch::default()
    }
}

/// Everything, as CRIU tells it when it is started like this; its abilities are remembered in
/// `cache`. Runtimes are found and started as `programs` says.
pub(crate) fn gather(launch: &Launch, cache: Option<&Path>, programs: &Launch) -> Facts {
    let version = cgroup::version();
    Facts {
        kernel: kernel(),
        criu: criu(launch, cache),
        cgroups: version_name(version).to_owned(),
        freezer: freezer(version),
        runtimes: runtimes(programs),
        state_roots: STATE_ROOTS
            .map(PathBuf::from)
            .into_iter()
            .filter(|root| root.is_dir())
            .collect(),
        pipe_max_bytes: pipe_max_bytes(),
        capabilities: own_capabilities(),
        run_is_tmpfs: statfs::statfs("/run")
            .is_ok_and(|found| found.filesystem_type() == statfs::TMPFS_MAGIC),
        kerndat_cached: Path::new("/run/criu.kdat").exists(),
    }
}

/// The largest pipe of a process without `CAP_SYS_RESOURCE`, in bytes.
pub(crate) fn pipe_max_bytes() -> Option<u64> {
    number_in("/proc/sys/fs/pipe-max-size")
}

/// This process's capabilities.
fn own_capabilities() -> BTreeMap<&'static str, bool> {
    capabilities(&fs::read_to_string("/proc/self/status").unwrap_or_default())
}

/// What decides whether lazy pages can be served here, beside CRIU itself.
pub(crate) fn pipes() -> Facts {
    Facts {
        pipe_max_bytes: pipe_max_bytes(),
        capabilities: own_capabilities(),
        ..Facts::default()
    }
}

fn kernel() -> Kernel {
    nix::sys::utsname::uname().map_or_else(
        |_| Kernel::default(),
        |name| Kernel {
            release: name.release().to_string_lossy().into_owned(),
            machine: name.machine().to_string_lossy().into_owned(),
        },
    )
}

/// Asks CRIU twice, each time a process of its own: one that cannot answer the second question
/// still has told its version.
fn criu(launch: &Launch, cache: Option<&Path>) -> Criu {
    let until = Instant::now() + CRIU_WITHIN;
    let version = match Swrk::start(launch).and_then(|mut criu| criu.version(until)) {
        Ok(version) => version,
        Err(error) => {
            return Criu {
                error: Some(error.to_string()),
                ..Criu::default()
            };
        }
    };
    let wanted = CriuFeatures {
        mem_track: Some(true),
        lazy_pages: Some(true),
        pidfd_store: Some(true),
    };
    let asked = Swrk::start(launch).and_then(|mut criu| criu.features(wanted, until));
    let (features, error) = match asked {
        Ok(features) => (features, None),
        Err(error) => (CriuFeatures::default(), Some(error.to_string())),
    };
    let number = version.number();
    Criu {
        version: Some(version.to_string()),
        number: Some(number),
        error,
        mem_track: features.mem_track.unwrap_or(false),
        lazy_pages: features.lazy_pages.unwrap_or(false),
        pidfd_store: features.pidfd_store.unwrap_or(false),
        network_locks: network_locks(number, Abilities::of(launch, cache, until)),
    }
}

/// The nftables lock depends on how CRIU was built and on the kernel: CRIU itself is asked.
fn network_locks(criu: u32, abilities: Abilities) -> Vec<&'static str> {
    let Abilities { nftables_lock } = abilities;
    [
        ("iptables", true),
        ("nftables", nftables_lock),
        ("skip", criu >= SKIP_CRIU),
    ]
    .into_iter()
    .filter(|(_, there)| *there)
    .map(|(name, _)| name)
    .collect()
}

fn version_name(version: cgroup::Version) -> &'static str {
    match version {
        cgroup::Version::V1 => "v1",
        cgroup::Version::Hybrid => "hybrid",
        cgroup::Version::V2 => "v2",
    }
}

/// cgroup v2 always has one (Linux 5.2); v1 has it where the controller is mounted.
fn freezer(version: cgroup::Version) -> Option<&'static str> {
    match version {
        cgroup::Version::V2 => Some("v2"),
        cgroup::Version::V1 | cgroup::Version::Hybrid => Path::new(cgroup::ROOT)
            .join("freezer")
            .is_dir()
            .then_some("v1"),
    }
}

/// The runtimes that are found.
fn runtimes(programs: &Launch) -> BTreeMap<&'static str, Runtime> {
    let find = |name: &'static str| {
        let launch = Launch {
            program: name.into(),
            ..programs.clone()
        };
        let path = launch.resolve().ok()?;
        let version = first_line(&launch);
        Some((name, Runtime { path, version }))
    };
    ["runc", "crun"].into_iter().filter_map(find).collect()
}

/// The first line of `PROGRAM --version`.
fn first_line(launch: &Launch) -> Option<String> {
    let mut command = launch.command().ok()?;
    let output = command
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .next()
        .map(str::to_owned)
}

fn number_in(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Which of the needed capabilities are in a process's `CapEff`.
fn capabilities(status: &str) -> BTreeMap<&'static str, bool> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    CAPABILITIES
        .into_iter()
        .map(|(name, bit)| (name, mask & (1 << bit) != 0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_capabilities_by_their_bits() {
        let all = capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n");
        assert!(all.len() == 5 && all.values().all(|has| *has));
        let without = capabilities("CapEff:\t000001fffeffffff\n");
        assert!(!without["CAP_SYS_RESOURCE"] && without["CAP_SYS_ADMIN"]);
        assert!(capabilities("").values().all(|has| !*has));
    }

    #[test]
    fn lock_methods_come_with_versions_and_builds() {
        let nftables = |nftables_lock| Abilities { nftables_lock };
        assert_eq!(network_locks(31_500, nftables(false)), ["iptables"]);
        assert_eq!(
            network_locks(31_700, nftables(true)),
            ["iptables", "nftables"]
        );
        assert_eq!(network_locks(40_201, nftables(false)), ["iptables", "skip"]);
    }
}
