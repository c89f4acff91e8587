//! What this node can do, as its agent publishes it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use stillframe_crds::{
    Reason,
    checkpoint::RuntimeFacts,
    condition::{self, Said},
    node::{CheckpointNodeStatus, ImageStore, NodeCriu},
};

use crate::{
    checkpoint::Engine,
    controller::disk::{Reserve, readable},
    criu::Launch,
    host,
};

mod patch;
mod publish;

pub use publish::{Error, Publisher};

/// Where runtimes are installed.
const PROGRAMS: [&str; 7] = [
    "usr/local/sbin",
    "usr/local/bin",
    "usr/sbin",
    "usr/bin",
    "sbin",
    "bin",
    "var/lib/rancher/k3s/data/current/bin",
];
/// Longest version of a runtime that is published.
const VERSION_BYTES: usize = 64;

/// How the agent was set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where images are kept.
    pub image_root: PathBuf,
    /// What is kept free of them.
    pub reserve: Reserve,
    /// How many dumps run at once.
    pub concurrency: u32,
    /// Where the host's root is seen.
    pub prefix: PathBuf,
}

/// What does not change while the agent runs.
#[derive(Debug, Clone)]
pub struct Facts {
    host: host::Facts,
    criu_is_there: bool,
    settings: Settings,
    started: Timestamp,
}

impl Facts {
    /// Finds out. Starts CRIU and the runtimes and waits for their answers: not for an event loop.
    #[must_use]
    pub fn gather(engine: &Engine, settings: Settings, now: Timestamp) -> Self {
        let cache = Some(engine.run_dir.as_path());
        Self {
            host: host::gather(&engine.launch, cache, &programs(&settings.prefix)),
            criu_is_there: engine.launch.metadata().is_some(),
            settings,
            started: now,
        }
    }

    /// Whether containers can be checkpointed here, the disk left aside.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.unready().is_none()
    }

    /// The whole status. `free` is what images may still take, coarsely
    /// ([`FreeBytes`](super::disk::FreeBytes)); `None` when the image root cannot be used.
    #[must_use]
    pub fn status(&self, free: Option<u64>, now: Timestamp) -> CheckpointNodeStatus {
        let Self {
            host,
            criu_is_there: _,
            settings,
            started,
        } = self;
        let Settings {
            image_root,
            reserve: _,
            concurrency,
            prefix: _,
        } = settings;
        let mut conditions = Vec::new();
        let ready = self.readiness(free);
        condition::set(&mut conditions, condition::READY, &ready, None, now);
        CheckpointNodeStatus {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            started: Some(Time(*started)),
            criu: criu(host),
            runtimes: self.runtimes(),
            kernel: host.kernel.release.clone(),
            architecture: architecture(&host.kernel.machine).to_owned(),
            cgroup_version: host.cgroups.clone(),
            images: free.map(|bytes| ImageStore {
                root: image_root.display().to_string(),
                free_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
                free: readable(bytes),
            }),
            concurrency: *concurrency,
            conditions,
        }
    }

    fn readiness(&self, free: Option<u64>) -> Said {
        let (reason, message) = match (self.unready(), free) {
            (Some(unready), _) => unready,
            (None, None) => {
                let root = self.settings.image_root.display();
                (
                    Reason::ImagePathUnusable,
                    format!("the image root {root} cannot be used"),
                )
            }
            (None, Some(_)) => (Reason::NodeReady, self.remarks()),
        };
        Said {
            holds: reason == Reason::NodeReady,
            reason,
            message,
        }
    }

    /// Looks again at what an administrator can change while the agent runs.
    pub fn look_again(&mut self) {
        self.host.pipe_max_bytes = host::pipe_max_bytes();
    }

    /// What keeps every container of this node from being checkpointed.
    fn unready(&self) -> Option<(Reason, String)> {
        let warnings = host::warnings(&self.host);
        warnings.into_iter().find_map(|warning| {
            let reason = self.hindrance(warning.reason)?;
            Some((reason, format!("{}: {}", warning.message, warning.advice)))
        })
    }

    /// Which of preflight's warnings is one that nothing helps against.
    fn hindrance(&self, warning: &str) -> Option<Reason> {
        match warning {
            "CriuUnusable" if self.criu_is_there => Some(Reason::CriuNotStarted),
            "CriuUnusable" => Some(Reason::CriuNotFound),
            "CriuTooOld" | "NoInetSockets" => Some(Reason::CriuTooOld),
            "MissingCapabilities" => Some(Reason::PermissionDenied),
            _ => None,
        }
    }

    /// The node's runtimes.
    #[must_use]
    pub fn runtimes(&self) -> Vec<RuntimeFacts> {
        self.host.runtimes.iter().map(runtime).collect()
    }

    fn remarks(&self) -> String {
        let mut text = Reason::NodeReady.meaning().to_owned();
        for warning in host::warnings(&self.host) {
            text.push_str(" Note: ");
            text.push_str(&warning.message);
            text.push('.');
        }
        text
    }
}

fn criu(host: &host::Facts) -> Option<NodeCriu> {
    let found = &host.criu;
    let small_pipes = host::small_pipes(host).is_some();
    let features = [
        (NodeCriu::MEM_TRACK, found.mem_track),
        (NodeCriu::LAZY_PAGES, found.lazy_pages && !small_pipes),
    ];
    let names = |features: &[(&str, bool)]| {
        let there = features.iter().filter(|(_, there)| *there);
        there.map(|(name, _)| (*name).to_owned()).collect()
    };
    let locks = found.network_locks.iter().filter(|lock| **lock != "skip");
    Some(NodeCriu {
        version: found.version.clone()?,
        features: names(&features),
        network_locks: locks.map(|lock| (*lock).to_owned()).collect(),
    })
}

fn runtime((name, found): (&&'static str, &host::Runtime)) -> RuntimeFacts {
    RuntimeFacts {
        name: (*name).to_owned(),
        version: found.version.as_deref().and_then(version),
    }
}

/// The version in `runc version 1.5.2` or `crun version 1.28`.
fn version(line: &str) -> Option<String> {
    let word = line.split_ascii_whitespace().last()?;
    Some(condition::cut(word, VERSION_BYTES).to_owned())
}

/// As Kubernetes writes it.
fn architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// How the host's runtimes are found and started: below the prefix, where there is one.
fn programs(prefix: &Path) -> Launch {
    if prefix == Path::new("/") {
        return host::programs();
    }
    Launch {
        path_env: Some(search_path(prefix)),
        ..Launch::default()
    }
}

/// Where the host's runtimes are looked for below a prefix.
fn search_path(prefix: &Path) -> OsString {
    // A prefix with a colon in it cannot be in a search path; nothing is found then.
    std::env::join_paths(PROGRAMS.map(|dir| prefix.join(dir))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn facts() -> Facts {
        let criu = host::Criu {
            version: Some("4.2.1".into()),
            number: Some(40_201),
            mem_track: true,
            network_locks: vec!["iptables", "nftables", "skip"],
            ..host::Criu::default()
        };
        let runc = host::Runtime {
            path: "/usr/bin/runc".into(),
            version: Some("runc version 1.5.2".into()),
        };
        let needed = ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_NET_ADMIN"];
        Facts {
            host: host::Facts {
                kernel: host::Kernel {
                    release: "6.18.5".into(),
                    machine: "x86_64".into(),
                },
                criu,
                cgroups: "v2".into(),
                freezer: Some("v2"),
                runtimes: [("runc", runc)].into(),
                capabilities: needed.map(|name| (name, true)).into(),
                run_is_tmpfs: true,
                ..host::Facts::default()
            },
            criu_is_there: true,
            settings: Settings {
                image_root: "/images".into(),
                reserve: Reserve::default(),
                concurrency: 2,
                prefix: "/".into(),
            },
            started: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_good_node_is_ready_and_tells_what_it_can() {
        let status = facts().status(Some(3 << 30), Timestamp::UNIX_EPOCH);
        let criu = status.criu.unwrap();
        assert_eq!(criu.version, "4.2.1");
        assert_eq!(criu.features, ["memTrack"]);
        assert_eq!(criu.network_locks, ["iptables", "nftables"]);
        assert_eq!(status.runtimes[0].version.as_deref(), Some("1.5.2"));
        assert_eq!(status.architecture, "amd64");
        assert_eq!(status.images.unwrap().free, "3.0 GiB");
        let ready = condition::get(&status.conditions, condition::READY).unwrap();
        assert_eq!(
            (ready.status.as_str(), ready.reason.as_str()),
            ("True", "NodeReady")
        );
        assert!(
            ready.message.contains("no usable userfaultfd"),
            "{}",
            ready.message
        );
    }

    #[test]
    fn lazy_pages_need_userfaultfd_and_large_pipes() {
        let features = |change: fn(&mut Facts)| {
            let mut facts = facts();
            facts.host.criu.lazy_pages = true;
            change(&mut facts);
            criu(&facts.host).unwrap().features
        };
        let small = |facts: &mut Facts| facts.host.pipe_max_bytes = Some(1 << 20);
        assert_eq!(features(|_| {}), ["memTrack", "lazyPages"]);
        assert_eq!(features(small), ["memTrack"]);
        assert_eq!(
            features(|facts| {
                facts.host.pipe_max_bytes = Some(1 << 20);
                facts.host.capabilities.insert("CAP_SYS_RESOURCE", true);
            }),
            ["memTrack", "lazyPages"]
        );
    }

    #[test]
    fn each_hindrance_has_its_reason() {
        type Change = fn(&mut Facts);
        let table: [(Change, Option<u64>, Reason); 6] = [
            (
                |f| {
                    f.host.criu = host::Criu::default();
                    f.criu_is_there = false;
                },
                Some(1),
                Reason::CriuNotFound,
            ),
            (
                |f| f.host.criu.version = None,
                Some(1),
                Reason::CriuNotStarted,
            ),
            (
                |f| f.host.criu.number = Some(31_400),
                Some(1),
                Reason::CriuTooOld,
            ),
            (
                |f| f.host.criu.number = Some(40_100),
                Some(1),
                Reason::CriuTooOld,
            ),
            (
                |f| f.host.capabilities.clear(),
                Some(1),
                Reason::PermissionDenied,
            ),
            (|_| {}, None, Reason::ImagePathUnusable),
        ];
        for (change, free, reason) in table {
            let mut facts = facts();
            change(&mut facts);
            let status = facts.status(free, Timestamp::UNIX_EPOCH);
            let ready = condition::get(&status.conditions, condition::READY).unwrap();
            assert_eq!(ready.status, "False");
            assert_eq!(ready.reason, reason.as_str());
            assert!(!ready.message.is_empty());
        }
    }

    #[test]
    fn the_hosts_programs_are_looked_for_below_the_prefix() {
        let path = search_path(Path::new("/host"));
        assert!(std::env::split_paths(&path).all(|dir| dir.starts_with("/host")));
        assert_eq!(std::env::split_paths(&path).count(), PROGRAMS.len());
    }
}
