//! What is known of a node, for whoever asks: `preflight` and the controller.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;

mod gather;
mod warnings;

pub(crate) use gather::{gather, pipe_max_bytes, pipes, programs};
pub(crate) use warnings::{Warning, small_pipes, warnings};

/// Everything that is found out.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Facts {
    /// Kernel release and machine.
    pub(crate) kernel: Kernel,
    /// CRIU and what it says it can.
    pub(crate) criu: Criu,
    /// `v1`, `hybrid` or `v2`.
    pub(crate) cgroups: String,
    /// The freezer that a container's tasks are stopped with; unset when there is none.
    pub(crate) freezer: Option<&'static str>,
    /// Runtimes by name, with version and path.
    pub(crate) runtimes: BTreeMap<&'static str, Runtime>,
    /// State roots that exist.
    pub(crate) state_roots: Vec<PathBuf>,
    /// The largest pipe of a process without `CAP_SYS_RESOURCE`, in bytes.
    pub(crate) pipe_max_bytes: Option<u64>,
    /// Whether each needed capability is effective.
    pub(crate) capabilities: BTreeMap<&'static str, bool>,
    /// Whether `/run` is a tmpfs, where CRIU keeps what it learned of the kernel.
    pub(crate) run_is_tmpfs: bool,
    /// Whether `/run/criu.kdat` is there.
    pub(crate) kerndat_cached: bool,
}

/// The kernel.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Kernel {
    /// As in `6.18.0-1-amd64`.
    pub(crate) release: String,
    /// As in `x86_64`.
    pub(crate) machine: String,
}

impl Kernel {
    /// The first two numbers of the release.
    pub(crate) fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

/// CRIU.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Criu {
    /// As in `4.2.1`; unset when it does not answer.
    pub(crate) version: Option<String>,
    /// runc's number of the version, as in 40201.
    pub(crate) number: Option<u32>,
    /// Why there is no version, or no features.
    pub(crate) error: Option<String>,
    /// Follows changes of memory: pre-dump and parents.
    pub(crate) mem_track: bool,
    /// Serves memory on demand.
    pub(crate) lazy_pages: bool,
    /// Keeps processes apart whose pid is used again.
    pub(crate) pidfd_store: bool,
    /// Names for `--network-lock`.
    pub(crate) network_locks: Vec<&'static str>,
}

/// A runtime that was found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Runtime {
    /// The program.
    pub(crate) path: PathBuf,
    /// The first line of `--version`; unset when it does not say.
    pub(crate) version: Option<String>,
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
