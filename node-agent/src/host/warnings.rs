//! Pairs that are known to be bad, decided from the facts alone.

use serde::Serialize;

use super::Facts;

/// The oldest CRIU whose dumps of containers are supported (external pid namespaces).
const OLDEST_CRIU: u32 = 31_500;
/// The first CRIU that copes with `SO_PASSRIGHTS` kernels: it asks only unix sockets for
/// `SO_PASSCRED`.
const INET_CRIU: u32 = 40_200;
/// The first kernel that refuses `SO_PASSCRED` on other sockets.
const INET_KERNEL: (u32, u32) = (6, 16);
/// What CRIU's page server wants of a pipe.
const PIPE_BYTES: u64 = 16 << 20;

/// Something that will not work, or not well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Warning {
    /// A stable name.
    pub(crate) reason: &'static str,
    /// What does not work.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) advice: &'static str,
}

/// Every warning that the facts give, the gravest first.
pub(crate) fn warnings(facts: &Facts) -> Vec<Warning> {
    let checks = [
        criu_silent,
        criu_too_old,
        no_inet_sockets,
        missing_rights,
        no_memory_tracking,
        no_lazy_pages,
        small_pipes,
        iptables_only,
        cold_kerndat,
        no_freezer,
        no_runtime,
    ];
    checks
        .into_iter()
        .filter_map(|check| check(facts))
        .collect()
}

fn warning(reason: &'static str, message: impl Into<String>, advice: &'static str) -> Warning {
    Warning {
        reason,
        message: message.into(),
        advice,
    }
}

fn criu_silent(facts: &Facts) -> Option<Warning> {
    if facts.criu.version.is_some() {
        return None;
    }
    let error = facts.criu.error.as_deref().unwrap_or("no answer");
    Some(warning(
        "CriuUnusable",
        format!("CRIU does not tell its version ({error}): nothing can be checkpointed"),
        "install CRIU 4.2 or newer; an older one may fail to start on a recent kernel, run `criu check` to see why",
    ))
}

fn criu_too_old(facts: &Facts) -> Option<Warning> {
    facts.criu.number.filter(|number| *number < OLDEST_CRIU)?;
    Some(warning(
        "CriuTooOld",
        "CRIU before 3.15 cannot dump containers with namespaces of other containers",
        "install CRIU 4.2 or newer",
    ))
}

fn no_inet_sockets(facts: &Facts) -> Option<Warning> {
    facts.criu.number.filter(|number| *number < INET_CRIU)?;
    facts
        .kernel
        .version()
        .filter(|version| *version >= INET_KERNEL)?;
    Some(warning(
        "NoInetSockets",
        "CRIU before 4.2 on a kernel from 6.16 on: no container with an inet socket can be dumped",
        "install CRIU 4.2 or newer",
    ))
}

fn missing_rights(facts: &Facts) -> Option<Warning> {
    // CAP_SYS_ADMIN holds what CAP_CHECKPOINT_RESTORE gives; CAP_SYS_RESOURCE has checks of its own.
    let has = |name: &str| facts.capabilities.get(name).copied().unwrap_or(false);
    let missing: Vec<_> = ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_NET_ADMIN"]
        .into_iter()
        .filter(|name| !has(name))
        .collect();
    if missing.is_empty() {
        return None;
    }
    Some(warning(
        "MissingCapabilities",
        format!(
            "without {}: CRIU cannot dump a container",
            missing.join(", ")
        ),
        "run as root with these capabilities",
    ))
}

fn no_memory_tracking(facts: &Facts) -> Option<Warning> {
    if facts.criu.version.is_none() || facts.criu.mem_track {
        return None;
    }
    Some(warning(
        "NoMemoryTracking",
        "the kernel does not track changed memory: no pre-dump and no parent image",
        "use a kernel with CONFIG_MEM_SOFT_DIRTY",
    ))
}

fn no_lazy_pages(facts: &Facts) -> Option<Warning> {
    if facts.criu.version.is_none() || facts.criu.lazy_pages {
        return None;
    }
    Some(warning(
        "NoLazyPages",
        "CRIU finds no usable userfaultfd: no lazy pages",
        "use a kernel with CONFIG_USERFAULTFD",
    ))
}

/// Why CRIU cannot serve lazy pages through pipes as they are, if so.
pub(crate) fn small_pipes(facts: &Facts) -> Option<Warning> {
    let may_grow = facts
        .capabilities
        .get("CAP_SYS_RESOURCE")
        .copied()
        .unwrap_or(false);
    let limit = facts
        .pipe_max_bytes
        .filter(|limit| !may_grow && *limit < PIPE_BYTES)?;
    Some(warning(
        "SmallPipes",
        format!("no CAP_SYS_RESOURCE and fs.pipe-max-size is {limit}: no lazy page can be served"),
        "set fs.pipe-max-size to 16777216, or give CAP_SYS_RESOURCE",
    ))
}

fn iptables_only(facts: &Facts) -> Option<Warning> {
    if facts.criu.version.is_none() || facts.criu.network_locks.contains(&"nftables") {
        return None;
    }
    Some(warning(
        "NoNftablesLock",
        "this CRIU cannot lock the network with nftables: iptables is used, which takes longer",
        "install CRIU 4.2 or newer with nftables",
    ))
}

fn cold_kerndat(facts: &Facts) -> Option<Warning> {
    if facts.run_is_tmpfs {
        return None;
    }
    Some(warning(
        "RunIsNoTmpfs",
        "/run is no tmpfs: CRIU does not keep what it learns of the kernel, and probes it each time",
        "mount a tmpfs on /run",
    ))
}

fn no_freezer(facts: &Facts) -> Option<Warning> {
    if facts.freezer.is_some() {
        return None;
    }
    Some(warning(
        "NoFreezer",
        "no cgroup freezer is mounted: tasks are stopped one by one",
        "mount the freezer of cgroup v1, or cgroup v2",
    ))
}

fn no_runtime(facts: &Facts) -> Option<Warning> {
    if !facts.runtimes.is_empty() || !facts.state_roots.is_empty() {
        return None;
    }
    Some(warning(
        "NoRuntime",
        "neither runc nor crun is in $PATH, nor is there any state of theirs",
        "point --root at the runtime's state, where it is elsewhere",
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::host::{Criu, Kernel};

    fn good() -> Facts {
        Facts {
            kernel: Kernel {
                release: "6.18.5".into(),
                machine: "x86_64".into(),
            },
            criu: Criu {
                version: Some("4.2.1".into()),
                number: Some(40_201),
                error: None,
                mem_track: true,
                lazy_pages: true,
                pidfd_store: true,
                network_locks: vec!["iptables", "skip", "nftables"],
            },
            cgroups: "v2".into(),
            freezer: Some("v2"),
            runtimes: BTreeMap::new(),
            state_roots: vec!["/run/runc".into()],
            pipe_max_bytes: Some(1 << 20),
            capabilities: [
                "CAP_SYS_ADMIN",
                "CAP_SYS_PTRACE",
                "CAP_NET_ADMIN",
                "CAP_SYS_RESOURCE",
            ]
            .map(|name| (name, true))
            .into(),
            run_is_tmpfs: true,
            kerndat_cached: true,
        }
    }

    fn reasons(change: impl FnOnce(&mut Facts)) -> Vec<&'static str> {
        let mut facts = good();
        change(&mut facts);
        warnings(&facts)
            .into_iter()
            .map(|warning| warning.reason)
            .collect()
    }

    #[test]
    fn a_good_node_has_no_warning() {
        assert!(reasons(|_| {}).is_empty());
    }

    #[test]
    fn an_old_criu_is_bad_only_with_a_recent_kernel() {
        let old = |facts: &mut Facts| facts.criu.number = Some(40_101);
        assert_eq!(reasons(old), ["NoInetSockets"]);
        let release = |release: &'static str| {
            reasons(move |facts| {
                old(facts);
                facts.kernel.release = release.into();
            })
        };
        assert_eq!(release("6.16.0"), ["NoInetSockets"]);
        assert!(release("6.15.9").is_empty());
        assert!(release("unknown").is_empty());
    }

    #[test]
    fn each_fact_has_its_warning() {
        type Change = fn(&mut Facts);
        let table: [(Change, &[&str]); 10] = [
            (
                |f| {
                    f.criu = Criu {
                        error: Some("rt vDSO".into()),
                        ..Criu::default()
                    }
                },
                &["CriuUnusable"],
            ),
            (
                |f| f.criu.number = Some(31_400),
                &["CriuTooOld", "NoInetSockets"],
            ),
            (|f| f.criu.mem_track = false, &["NoMemoryTracking"]),
            (|f| f.criu.lazy_pages = false, &["NoLazyPages"]),
            (
                |f| {
                    f.capabilities.insert("CAP_SYS_RESOURCE", false);
                },
                &["SmallPipes"],
            ),
            (
                |f| {
                    f.capabilities.remove("CAP_NET_ADMIN");
                },
                &["MissingCapabilities"],
            ),
            (
                |f| f.criu.network_locks = vec!["iptables"],
                &["NoNftablesLock"],
            ),
            (|f| f.run_is_tmpfs = false, &["RunIsNoTmpfs"]),
            (|f| f.freezer = None, &["NoFreezer"]),
            (|f| f.state_roots.clear(), &["NoRuntime"]),
        ];
        for (change, want) in table {
            assert_eq!(reasons(change), want);
        }
    }

    #[test]
    fn large_pipes_need_no_right() {
        let change = |facts: &mut Facts| {
            facts.capabilities.insert("CAP_SYS_RESOURCE", false);
            facts.pipe_max_bytes = Some(PIPE_BYTES);
        };
        assert!(reasons(change).is_empty());
    }
}
