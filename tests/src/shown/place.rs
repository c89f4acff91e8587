//! Where something was shown: which runtime, CRIU, cgroups and kernel.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use crate::container::{Container, Runtime};
use crate::node::Node;

/// Names and versions of all that an option depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The runtime that made the container and restored it, with what is above it: `runc 1.5.2`, `containerd 2.2.7, crun 1.28`.
    pub runtime: String,
    /// CRIU's version.
    pub criu: String,
    /// The cgroup version: `1`, `2`, or `1, hybrid` where controllers are of version 1 beside an empty hierarchy of version 2.
    pub cgroups: String,
    /// The kernel's version.
    pub kernel: String,
    /// Whether it was a virtual machine of the rig's.
    pub vm: bool,
}

impl Place {
    /// A node, on this machine or in a virtual one, and a runtime in it.
    #[must_use]
    pub fn of(node: &Node, runtime: Runtime) -> Self {
        type Hosts = BTreeMap<bool, [String; 3]>;
        static HOSTS: Mutex<Hosts> = Mutex::new(Hosts::new());
        let mut hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
        // All nodes of a kind are made from one root, on one kernel.
        let [criu, cgroups, kernel] = hosts.entry(node.guest).or_insert_with(|| {
            let criu = first_line(node, &["criu", "--version"]);
            let mounts = node.run(&["cat", "/proc/mounts"]).ok().stdout;
            [
                criu.trim_start_matches("Version: ").to_owned(),
                cgroups(&mounts).to_owned(),
                kernel_version(&first_line(node, &["uname", "-r"])),
            ]
        });
        Self {
            runtime: runtime_version(node, runtime),
            criu: criu.clone(),
            cgroups: cgroups.clone(),
            kernel: kernel.clone(),
            vm: node.guest,
        }
    }

    /// Where a container of a node is, and what made it.
    #[must_use]
    pub fn of_container(container: &Container<'_>) -> Self {
        Self::of(container.node, container.runtime)
    }

    /// The same under the node's containerd.
    #[must_use]
    pub fn under_containerd(mut self, node: &Node) -> Self {
        static CONTAINERD: OnceLock<String> = OnceLock::new();
        let containerd = CONTAINERD.get_or_init(|| {
            let line = first_line(node, &["containerd", "--version"]);
            let version = line.split(' ').nth(2).unwrap_or_default();
            let version = version.split('+').next().unwrap_or_default();
            version.trim_start_matches('v').to_owned()
        });
        self.runtime = format!("containerd {containerd}, {}", self.runtime);
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            runtime,
            criu,
            cgroups,
            kernel,
            vm,
        } = self;
        let vm = if *vm { " (virtual machine)" } else { "" };
        write!(
            f,
            "{runtime}, CRIU {criu}, cgroups {cgroups}, kernel {kernel}{vm}"
        )
    }
}

fn first_line(node: &Node, command: &[&str]) -> String {
    let output = node.run(command).ok().stdout;
    output.lines().next().unwrap_or_default().trim().to_owned()
}

/// `runc version 1.5.2` and `crun version 1.28` without the word in the middle.
fn runtime_version(node: &Node, runtime: Runtime) -> String {
    first_line(node, &[runtime.command(), "--version"]).replace(" version ", " ")
}

/// The numbers of a kernel's version, without what its distribution adds.
fn kernel_version(release: &str) -> String {
    let end = release.find(|c: char| c != '.' && !c.is_ascii_digit());
    let numbers = end.map_or(release, |end| &release[..end]);
    numbers.trim_end_matches('.').to_owned()
}

/// The cgroup version that these mounts say.
fn cgroups(mounts: &str) -> &'static str {
    let has = |kind: &str| {
        mounts
            .lines()
            .any(|line| line.split(' ').nth(2) == Some(kind))
    };
    match (has("cgroup"), has("cgroup2")) {
        (true, true) => "1, hybrid",
        (true, false) => "1",
        (false, _) => "2",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_told_by_its_numbers() {
        assert_eq!(kernel_version("6.18.44-fc-v669"), "6.18.44");
        assert_eq!(kernel_version("6.12.117+deb13-cloud-amd64"), "6.12.117");
        assert_eq!(kernel_version("6.1"), "6.1");
    }

    #[test]
    fn cgroups_are_told_by_the_mounts() {
        let v1 = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n";
        let v2 = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        assert_eq!(cgroups(v1), "1");
        assert_eq!(cgroups(v2), "2");
        assert_eq!(cgroups(&format!("{v1}{v2}")), "1, hybrid");
    }
}
