//! The pods: each needs something that an option permits, and takes others along that change nothing for it.

use rig::cluster::Manifest;
use rig::container::Runtime;
use serde_json::{Value, json};

/// A folder of the node that pods mount in the same place, with sockets of somebody outside: a restore finds them by the path that
/// they were bound to.
pub(crate) const SOCKETS: &str = "/run/rig/sockets";
/// Where the peer of connections listens, in the node.
pub(crate) const SERVER: u16 = 7001;
/// Where a pod listens and never accepts.
pub(crate) const HALF_OPEN: u16 = 7002;

/// One kind of pod, and what is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    name: &'static str,
    workload: &'static [&'static str],
    /// The reason for which it is not checkpointed without the option.
    pub(crate) refused: Option<&'static str>,
    /// JSON: what is asked for then, beside the defaults.
    without: &'static str,
    /// JSON: what is asked for so that it is checkpointed.
    with: &'static str,
    /// What the runtime's `restore` is to be told.
    pub(crate) restore: &'static [&'static str],
    /// The options that have been shown once it is back.
    pub(crate) shows: &'static [&'static str],
}

/// Nothing is asked for.
const NONE: &str = "{}";

const CASES: [Case; 9] = [
    Case {
        name: "flock",
        workload: &["flock"],
        refused: Some("FileLocks"),
        without: NONE,
        with: r#"{"fileLocks": true, "networkLock": "Iptables", "imagePath": "matrix/RUNTIME", "workPath": "matrix/RUNTIME-log"}"#,
        restore: &["--file-locks"],
        shows: &["image-path", "work-path", "network-lock iptables"],
    },
    Case {
        name: "posix-lock",
        workload: &["posix-lock"],
        refused: Some("FileLocks"),
        without: NONE,
        with: r#"{"fileLocks": true, "networkLock": "Nftables", "manageCgroupsMode": "Soft"}"#,
        restore: &["--file-locks"],
        shows: &["network-lock nftables", "manage-cgroups-mode soft"],
    },
    Case {
        name: "lease",
        workload: &["lease"],
        refused: Some("FileLocks"),
        without: NONE,
        with: r#"{"fileLocks": true, "networkLock": "Skip", "emptyNamespaces": ["Network"]}"#,
        restore: &["--file-locks"],
        // After the other kinds of locks, in the order of this table.
        shows: &["file-locks", "network-lock skip", "empty-ns network"],
    },
    Case {
        name: "linked",
        workload: &["unlinked", "--keep-link"],
        refused: Some("LinkedFileDeleted"),
        without: NONE,
        with: r#"{"linkRemap": true, "manageCgroupsMode": "Full"}"#,
        restore: &[],
        shows: &["link-remap", "manage-cgroups-mode full"],
    },
    Case {
        name: "ghost",
        workload: &["unlinked", "--size=3000000"],
        refused: Some("GhostFileTooLarge"),
        without: NONE,
        with: r#"{"ghostLimit": "4Mi", "manageCgroupsMode": "Strict"}"#,
        restore: &[],
        shows: &["ghost-limit", "manage-cgroups-mode strict"],
    },
    Case {
        name: "datagram",
        workload: &["unix-dgram", "--peer=/run/rig/sockets/RUNTIME"],
        refused: Some("ExternalUnixSocket"),
        without: NONE,
        with: r#"{"extUnixSk": true, "manageCgroupsMode": "Ignore"}"#,
        restore: &["--ext-unix-sk"],
        shows: &["ext-unix-sk", "manage-cgroups-mode ignore"],
    },
    Case {
        name: "half-open",
        workload: &["half-open"],
        refused: Some("InFlightTcp"),
        without: r#"{"tcpEstablished": true}"#,
        with: r#"{"tcpEstablished": true, "tcpSkipInFlight": true, "acceptConnectionLoss": true}"#,
        restore: &["--tcp-established"],
        shows: &["tcp-skip-in-flight"],
    },
    Case {
        name: "counts",
        workload: &["count", "--quiet"],
        refused: None,
        without: NONE,
        with: r#"{"leaveRunning": true}"#,
        restore: &[],
        shows: &["leave-running"],
    },
    Case {
        name: "talks",
        workload: &["tcp-client", "--connect=ADDRESS:7001"],
        refused: Some("EstablishedTcp"),
        without: NONE,
        with: r#"{"tcpEstablished": true, "acceptConnectionLoss": true}"#,
        restore: &["--tcp-established"],
        shows: &["tcp-established"],
    },
];

impl Case {
    /// The case of this name.
    pub(crate) fn named(name: &str) -> Self {
        let found = CASES.into_iter().find(|case| case.name == name);
        found.unwrap_or_else(|| panic!("there is no case {name}"))
    }

    /// A pod of this kind under this runtime.
    pub(crate) fn on(self, runtime: Runtime) -> Subject {
        Subject {
            case: self,
            runtime,
        }
    }

    /// Whether it holds a connection to somebody outside.
    pub(crate) fn talks(&self) -> bool {
        self.name == "talks"
    }

    /// Whether it listens and does not accept.
    pub(crate) fn is_half_open(&self) -> bool {
        self.name == "half-open"
    }

    /// Whether it sends to a socket outside.
    pub(crate) fn sends(&self) -> bool {
        self.name == "datagram"
    }

    /// Whether the pod goes on after its checkpoint.
    pub(crate) fn leaves_running(&self) -> bool {
        self.name == "counts"
    }

    /// The options of the request that is refused.
    pub(crate) fn without(&self) -> Value {
        serde_json::from_str(self.without).expect("JSON")
    }
}

/// A pod under one runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    pub(crate) case: Case,
    pub(crate) runtime: Runtime,
}

impl Subject {
    /// Its name.
    pub(crate) fn pod(&self) -> String {
        format!("{}-{}", self.case.name, self.runtime)
    }

    /// The options with which it is checkpointed, and ends unless they say otherwise.
    pub(crate) fn options(&self) -> Value {
        let text = self.case.with.replace("RUNTIME", self.runtime.command());
        let mut options: Value = serde_json::from_str(&text).expect("JSON");
        if options["leaveRunning"].is_null() {
            options["leaveRunning"] = json!(false);
        }
        options
    }

    /// Its manifest; the node has this address.
    pub(crate) fn manifest(&self, address: &str) -> Manifest {
        let args: Vec<String> = self
            .case
            .workload
            .iter()
            .map(|arg| {
                arg.replace("ADDRESS", address)
                    .replace("RUNTIME", self.runtime.command())
            })
            .collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut manifest = Manifest::empty(&self.pod()).workload("app", &args);
        if self.runtime == Runtime::Crun {
            manifest = manifest.spec("runtimeClassName", json!("crun"));
        }
        if self.case.sends() {
            let mounts = json!([{"name": "s", "mountPath": SOCKETS}]);
            let volumes = json!([{"name": "s", "hostPath": {"path": SOCKETS}}]);
            manifest = manifest
                .of_container("app", "volumeMounts", mounts)
                .spec("volumes", volumes)
                .host_network();
        }
        manifest
    }
}

/// All pods that there are to be.
pub(crate) fn subjects() -> Vec<Subject> {
    let runtimes = [Runtime::Runc, Runtime::Crun];
    let of = |runtime| CASES.map(|case| case.on(runtime));
    runtimes.into_iter().flat_map(of).collect()
}

/// A pod in which a job is to be left.
pub(crate) fn shell_job() -> Manifest {
    Manifest::empty("shell-job").workload("app", &["count", "--quiet"])
}
