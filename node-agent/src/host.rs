//! What is known of a node.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;

/// Everything preflight finds out.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Facts {
    /// Kernel release and machine.
    pub(super) kernel: Kernel,
    /// CRIU and what it says it can.
    pub(super) criu: Criu,
    /// `v1`, `hybrid` or `v2`.
    pub(super) cgroups: String,
    /// The freezer that a container's tasks are stopped with; unset when there is none.
    pub(super) freezer: Option<&'static str>,
    /// Runtimes by name, with version and path.
    pub(super) runtimes: BTreeMap<&'static str, Runtime>,
    /// State roots that exist.
    pub(super) state_roots: Vec<PathBuf>,
    /// The largest pipe of a process without `CAP_SYS_RESOURCE`, in bytes.
    pub(super) pipe_max_bytes: Option<u64>,
    /// Whether each needed capability is effective.
    pub(super) capabilities: BTreeMap<&'static str, bool>,
    /// Whether `/run` is a tmpfs, where CRIU keeps what it learned of the kernel.
    pub(super) run_is_tmpfs: bool,
    /// Whether `/run/criu.kdat` is there.
    pub(super) kerndat_cached: bool,
}

/// The kernel.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Kernel {
    /// As in `6.18.0-1-amd64`.
    pub(super) release: String,
    /// As in `x86_64`.
    pub(super) machine: String,
}

impl Kernel {
    /// The first two numbers of the release.
    pub(super) fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

/// CRIU.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Criu {
    /// As in `4.2.1`; unset when it does not answer.
    pub(super) version: Option<String>,
    /// runc's number of the version, as in 40201.
    pub(super) number: Option<u32>,
    /// Why there is no version, or no features.
    pub(super) error: Option<String>,
    /// Follows changes of memory: pre-dump and parents.
    pub(super) mem_track: bool,
    /// Serves memory on demand.
    pub(super) lazy_pages: bool,
    /// Keeps processes apart whose pid is used again.
    pub(super) pidfd_store: bool,
    /// Names for `--network-lock`.
    pub(super) network_locks: Vec<&'static str>,
}

/// A runtime that was found.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Runtime {
    /// The program.
    pub(super) path: PathBuf,
    /// The first line of `--version`; unset when it does not say.
    pub(super) version: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernel_version_from_its_release() {
        let version = |release: &str| {
            Kernel {
                release: release.into(),
                machine: String::new(),
            }
            .version()
        };
        assert_eq!(version("6.18.0-1-amd64"), Some((6, 18)));
        assert_eq!(version("5.10"), Some((5, 10)));
        assert_eq!(version("6.12+deb13-cloud"), Some((6, 12)));
        assert_eq!(version("weird"), None);
        assert_eq!(version(""), None);
    }
}
