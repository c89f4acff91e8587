//! The stable words for where a checkpoint stands and why it failed: conditions, events, metrics.
//!
//! This is the one table; `docs/reasons.md` is written from it.

use std::str::FromStr;

/// When a reason is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The checkpoint is on its way.
    Progress,
    /// The checkpoint has come to its end as asked.
    Success,
    /// The checkpoint has failed.
    Failure,
    /// About a node, a deletion, or worth an event.
    Notice,
}

macro_rules! reasons {
    ($( $kind:ident { $( $name:ident: $meaning:literal $(=> $hint:literal)?; )* } )*) => {
        /// A stable word. Its text is its name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $( $( #[doc = $meaning] $name, )* )*
        }

        impl Reason {
            /// Every reason, in the table's order.
            pub const ALL: &'static [Self] = &[ $( $( Self::$name, )* )* ];

            /// The word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $( $( Self::$name => stringify!($name), )* )* }
            }

            /// When it is used.
            #[must_use]
            pub fn kind(self) -> Kind {
                match self { $( $( Self::$name => Kind::$kind, )* )* }
            }

            /// What it means, as a sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $( $( Self::$name => $meaning, )* )* }
            }

            /// What to do about it, where that can be told without knowing more.
            #[must_use]
            pub fn hint(self) -> Option<&'static str> {
                match self { $( $( Self::$name => reasons!(@hint $($hint)?), )* )* }
            }
        }
    };
    (@hint $hint:literal) => { Some($hint) };
    (@hint) => { None };
}

reasons! {
    Progress {
        Assigned: "The operator has found the container and given it to its node's agent.";
        WaitingForContainer: "The container has not started yet.";
        WaitingForAgent: "No agent has reported from the pod's node yet."
            => "see that the agent runs there: kubectl get checkpointnodes";
        WaitingForNode: "The agent on the pod's node cannot checkpoint at present."
            => "kubectl describe checkpointnode NODE says why";
        WaitingForParent: "The checkpoint named by parentRef has not finished yet.";
        Queued: "The agent has other dumps to finish first.";
        Dumping: "CRIU dumps the container.";
        Retrying: "The dump failed before the container stood still, and is tried again.";
    }
    Success {
        Checkpointed: "The image is complete, verified and on disk.";
        PreDumped: "The memory is saved; take the next checkpoint with this one as parentRef.";
    }
    Failure {
        PodNotFound: "There is no pod of that name in the namespace."
            => "kubectl get pods shows the names; a checkpoint lives in the namespace of its pod";
        PodReplaced: "The pod that has the name is not the one whose UID was asked for, or was found before."
            => "create another ContainerCheckpoint for the new pod";
        PodEnded: "The pod has completed or failed; nothing of it runs.";
        PodDeleted: "The pod was deleted.";
        ContainerNotNamed: "The pod has several containers and the request names none."
            => "set source.containerName";
        UnknownContainer: "The pod has no container of that name."
            => "kubectl get pod POD -o jsonpath='{.spec.containers[*].name}' lists them";
        ContainerNotRunning: "The container does not run."
            => "kubectl describe pod POD shows its state";
        ContainerReplaced: "The container that was found no longer runs: it ended or was restarted meanwhile. It was not touched."
            => "create another ContainerCheckpoint for the new container";
        IdentityMismatch: "The container is not the one that the object names: the runtime knows it under another namespace, pod or container. It was not touched."
            => "status is written by the operator alone: see who else has rights on containercheckpoints/status";
        SelfCheckpoint: "The agent cannot checkpoint the container that it runs in itself.";
        SandboxedRuntime: "The pod runs in a sandbox (gVisor, Kata Containers) whose processes CRIU cannot see."
            => "checkpoint pods of the default runtime class";
        NodeGone: "The node no longer exists.";
        NoAgent: "No agent has reported from the pod's node in time."
            => "see that the agent runs there: kubectl get checkpointnodes";
        AgentNotReady: "The agent on the pod's node could not checkpoint in time."
            => "kubectl describe checkpointnode NODE says why";
        AgentNotResponding: "The agent had the request and did not report its end in time. It rolls back by itself: the container goes on."
            => "see the agent's log on that node; a checkpoint made later takes a new object";
        AgentRestarted: "The agent was restarted while it dumped. The dump was rolled back and the container goes on."
            => "create another ContainerCheckpoint";
        AgentStopping: "The agent was told to end while it dumped. The dump was rolled back and the container goes on."
            => "create another ContainerCheckpoint";
        TimedOut: "The request took longer than timeoutSeconds. The container goes on."
            => "allow more time in timeoutSeconds";
        Cancelled: "The object was deleted during the dump, which was rolled back. The container goes on.";
        PauseTooLong: "The container stood still longer than it may. The dump was rolled back and the container goes on."
            => "allow more in maxPauseSeconds, or save most of the memory before with preDump checkpoints";
        ProbeWouldFail: "maxPauseSeconds is longer than a liveness probe of a container that stands still allows: the kubelet would restart it."
            => "lower maxPauseSeconds, or leave it out to have it follow from the probes";
        InvalidSpec: "The spec asks for something that cannot be."
            => "create another ContainerCheckpoint with the field corrected";
        RootfsDiffUnsupported: "This version does not save changed files."
            => "leave rootfs out";
        ParentNotFound: "There is no checkpoint named as parentRef says."
            => "kubectl get cckpt lists them";
        ParentNotReady: "The parent failed or is being deleted.";
        ParentMismatch: "The parent is of another container, or on another node."
            => "take the first checkpoint of a chain without a parent";
        ParentNotLatest: "Another checkpoint has cleared the kernel's record of changed pages since the parent, or the parent tracked no memory."
            => "use the latest preDump or trackMemory checkpoint of this container as parent, or take one without a parent";
        ParentImageMissing: "The parent's image directory is not there.";
        ImagePathTaken: "Another object's image has that imagePath, or something else is there."
            => "choose another imagePath, or leave it out";
        ImagePathUnusable: "The image's directory cannot be used.";
        InsufficientSpace: "The node's disk cannot hold the image and the reserve that keeps the kubelet from evicting pods."
            => "free space on the node, or send the memory elsewhere with pageServer";
        DiskFull: "The node's disk was full during the dump, which was rolled back. The container goes on."
            => "free space on the node";
        PageServerNotAllowed: "The agent's administrator has not allowed that page server."
            => "have its address allowed with the agent's --allow-page-server";
        PageServerKeysMissing: "pageServer.tls is on and the agent has no keys."
            => "mount keys into the agent, or set pageServer.tls to false where the network is trusted";
        PageServerUnreachable: "The page server could not be reached, or went away."
            => "see that a page server listens on that address and port and that the node may reach it";
        EstablishedTcp: "The container has TCP connections."
            => "set options.tcpEstablished to true, or have the connections closed before";
        InFlightTcp: "The container has a half-open TCP connection."
            => "set options.tcpSkipInFlight to true, or try again";
        FileLocks: "The container holds file locks."
            => "set options.fileLocks to true";
        ExternalUnixSocket: "The container has a unix socket whose other end is outside."
            => "set options.extUnixSk to true if the workload survives its loss, or have it closed before";
        ShellJob: "The container's session or terminal began outside of it."
            => "set options.shellJob to true";
        ExternalMount: "The container has a mount that CRIU cannot save."
            => "have the volume unmounted, or use a volume type that is a plain bind mount";
        IoUring: "The container uses io_uring, which CRIU cannot save."
            => "switch io_uring off in the workload";
        GhostFileTooLarge: "The container holds a deleted file open that is larger than ghostLimit."
            => "set options.ghostLimit to more than the file's size";
        LinkedFileDeleted: "The container holds a file open whose name was deleted while another name is left."
            => "set options.linkRemap to true";
        UnsupportedFile: "The container holds something open that CRIU cannot save (a device, a special socket or descriptor)."
            => "the log names it; have the workload close it";
        UnsupportedProcess: "The container has a process in a state that CRIU cannot save (traced, stopped oddly, in a nested namespace)."
            => "the log names it; end the debugger or the process";
        NoSoftDirty: "The node's kernel cannot track memory changes (CONFIG_MEM_SOFT_DIRTY), which preDump, parents and trackMemory need."
            => "take a checkpoint without them, or on another node";
        NoLazyPages: "The node's kernel cannot serve lazy pages."
            => "leave lazyPages out";
        MissingFeature: "CRIU or the node's kernel lacks what the options need.";
        NetworkLockUnavailable: "The network lock that was asked for cannot be had on the node."
            => "leave networkLock out to have one chosen";
        NetworkRulesUnreadable: "The network's rules could not be read before the dump.";
        SecurityModule: "A security module (SELinux, AppArmor, seccomp) of the node stands in CRIU's way.";
        PermissionDenied: "The kernel refused CRIU something that it needs."
            => "the log says what; see that the agent is privileged";
        CriuTooOld: "The node's CRIU is too old."
            => "install CRIU 4.2 or newer";
        CriuNotFound: "The agent finds no CRIU."
            => "install CRIU 4.2 or newer on the node";
        CriuFailed: "CRIU failed for a reason that is not in this list. It was rolled back and the container goes on."
            => "the last error lines are in failure.log, the whole log is on the node";
        CriuDied: "CRIU ended unexpectedly. What it left was repaired and the container goes on.";
        CriuNotStarted: "CRIU could not be started.";
        CriuOptionNotAllowed: "The container's own CRIU configuration names an option that only the request may set."
            => "take it out of the org.criu.config annotation's file, or of the runtime's configuration";
        ContainerPaused: "The container is paused by its runtime."
            => "resume it first";
        ContainerEnded: "The container ended during the dump.";
        CheckpointUnderWay: "Somebody else checkpoints this container outside of Kubernetes."
            => "wait for it to end";
        NeverStill: "The container's processes did not stand still in time. They go on."
            => "a process in uninterruptible sleep (a hanging disk or network mount) is the usual cause";
        ForeignCgroup: "A process of the container is in a cgroup of somebody else.";
        StateUnreadable: "What the runtime keeps of the container cannot be read.";
        ImageIncomplete: "CRIU reported success and the image is not complete. It was discarded.";
        PublishFailed: "The image is complete and could not be put under its final name.";
        JournalUnusable: "The agent could not note what it would have to repair, so it did not begin.";
        InternalError: "Something happened that should not."
            => "the agent's log tells more; please report it";
    }
    Notice {
        NodeReady: "Containers on this node can be checkpointed.";
        DumpStarted: "The agent has begun to dump.";
        PauseBounded: "The pause is bounded by a liveness probe.";
        ImageDeleted: "The image has been removed from its node.";
        ImageRetained: "The image stays on its node, as deletionPolicy says.";
        NothingToRemove: "There was no image to remove.";
        ChildrenDepend: "Another checkpoint builds on this image; it is removed once that one is.";
        RemovalFailed: "The image could not be removed; it is tried again.";
        LazyPagesServed: "Lazy pages can be fetched.";
        NotServing: "Lazy pages are not served yet, or no longer.";
        PartsMissing: "Something that a restore needs is missing.";
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A word that is no reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownReason(pub String);

impl std::fmt::Display for UnknownReason {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?} is no reason of this API", self.0)
    }
}

impl std::error::Error for UnknownReason {}

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|reason| reason.as_str() == text);
        found.copied().ok_or_else(|| UnknownReason(text.to_owned()))
    }
}
