//! The rows of the matrix: every option of runc's `checkpoint`, and ours beyond.

/// An option of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The flag without its dashes; with a value where each value is a case of its own. Ours without a flag: the field.
    pub name: &'static str,
    /// The field of a `ContainerCheckpoint`'s options that asks for the same, or what stands in for it.
    pub field: &'static str,
    /// Whether runc has it.
    pub of_runc: bool,
}

const fn runc(name: &'static str, field: &'static str) -> Listed {
    Listed {
        name,
        field,
        of_runc: true,
    }
}

const fn ours(name: &'static str, field: &'static str) -> Listed {
    Listed {
        name,
        field,
        of_runc: false,
    }
}

/// All of them, runc's in runc's order.
pub const ALL: [Listed; 27] = [
    runc("image-path", "imagePath"),
    runc("work-path", "workPath"),
    runc("parent-path", "parentPath, parentRef"),
    runc("leave-running", "leaveRunning"),
    runc("tcp-established", "tcpEstablished"),
    runc("tcp-skip-in-flight", "tcpSkipInFlight"),
    runc("link-remap", "linkRemap"),
    runc("ext-unix-sk", "extUnixSk"),
    runc("shell-job", "shellJob"),
    runc("lazy-pages", "lazyPages"),
    runc("status-fd", "condition LazyPagesReady"),
    runc("page-server", "pageServer"),
    runc("file-locks", "fileLocks"),
    runc("pre-dump", "preDump"),
    runc("manage-cgroups-mode soft", "manageCgroupsMode: Soft"),
    runc("manage-cgroups-mode full", "manageCgroupsMode: Full"),
    runc("manage-cgroups-mode strict", "manageCgroupsMode: Strict"),
    runc("manage-cgroups-mode ignore", "manageCgroupsMode: Ignore"),
    runc("empty-ns network", "emptyNamespaces: [Network]"),
    runc("auto-dedup", "autoDedup"),
    ours("network-lock iptables", "networkLock: Iptables"),
    ours("network-lock nftables", "networkLock: Nftables"),
    ours("network-lock skip", "networkLock: Skip"),
    ours("ghost-limit", "ghostLimit"),
    ours("trackMemory", "trackMemory"),
    ours("maxPauseSeconds", "maxPauseSeconds"),
    ours("rootfs Diff", "rootfs: Diff"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_option_is_listed_once() {
        let names: BTreeSet<_> = ALL.iter().map(|listed| listed.name).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn the_seventeen_flags_of_runc_are_listed() {
        let flags: BTreeSet<_> = ALL
            .iter()
            .filter(|listed| listed.of_runc)
            .filter_map(|listed| listed.name.split(' ').next())
            .collect();
        assert_eq!(flags.len(), 17, "{flags:?}");
    }
}
