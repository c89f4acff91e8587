//! The stable words for where a checkpoint stands and why it failed: conditions, events, metrics.
//!
//! This is the one table; `docs/reasons.md` is written from it.

use std::str::FromStr;

mod page;

pub use page::table;

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
        #[expect(clippy::doc_markdown, reason = "the meanings are shown to users as they are")]
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
        WaitingForReceiver: "The PageReceiver named by receiverRef does not listen yet.";
        WaitingForCheckpoint: "No checkpoint names this receiver yet; a node is chosen once one does.";
        Listening: "The agent listens: the checkpoint's memory can be sent.";
        Queued: "The agent has other dumps to finish first.";
        Dumping: "CRIU dumps the container.";
        Retrying: "The dump failed before the container stood still, and is tried again.";
    }
    Success {
        Checkpointed: "The image is complete, verified and on disk.";
        PreDumped: "The memory is saved; take the next checkpoint with this one as parentRef.";
        Received: "The memory is complete, verified and on disk.";
    }
    Failure {
        PodNotFound: "There is no pod of that name in the namespace."
            => "kubectl get pods shows the names; a checkpoint lives in the namespace of its pod";
        PodReplaced: "The pod that has the name is not the one whose UID was asked for, or was found before."
            => "create another ContainerCheckpoint for the new pod";
        PodEnded: "The pod has completed or failed; nothing of it runs."
            => "checkpoint a pod while it runs; kubectl get pod POD shows when this one ended";
        PodDeleted: "The pod was deleted."
            => "kubectl get pods shows those that are there; create another ContainerCheckpoint for one of them";
        ContainerNotNamed: "The pod has several containers and the request names none."
            => "create another ContainerCheckpoint with spec.source.containerName; the message lists the names";
        UnknownContainer: "The pod has no container of that name."
            => "kubectl get pod POD -o jsonpath='{.spec.containers[*].name}' lists them";
        ContainerNotRunning: "The container does not run."
            => "kubectl describe pod POD shows its state";
        ContainerReplaced: "The container that was found no longer runs: it ended or was restarted meanwhile. It was not touched."
            => "create another ContainerCheckpoint for the new container";
        IdentityMismatch: "The container is not the one that the object names: the runtime knows it under another namespace, pod or container. It was not touched."
            => "status is written by the operator alone: see who else has rights on containercheckpoints/status";
        SelfCheckpoint: "The agent cannot checkpoint the container that it runs in itself."
            => "create another ContainerCheckpoint for another container";
        SandboxedRuntime: "The pod runs in a sandbox (gVisor, Kata Containers) whose processes CRIU cannot see."
            => "checkpoint pods of the default runtime class";
        NodeGone: "The node no longer exists."
            => "images went with the node; create another ContainerCheckpoint for the pod that took this one's place: kubectl get pods";
        NoAgent: "No agent has reported from the pod's node in time."
            => "see that the agent runs there: kubectl get checkpointnodes";
        AgentNotReady: "The agent on the pod's node could not checkpoint in time."
            => "kubectl describe checkpointnode NODE says why";
        AgentNotResponding: "The agent had the request and did not report its end in time. It rolls back by itself and the container goes on; one that was to end (leaveRunning: false) may have ended, and then its image stays on the node."
            => "kubectl -n stillframe-agents logs of the agent on that node tells why; then create another ContainerCheckpoint";
        AgentRestarted: "The agent was restarted while it dumped. The dump was rolled back and the container goes on."
            => "create another ContainerCheckpoint";
        AgentStopping: "The agent was told to end while it dumped. The dump was rolled back and the container goes on."
            => "create another ContainerCheckpoint";
        TimedOut: "The request took longer than timeoutSeconds. The container goes on."
            => "create another ContainerCheckpoint with a larger spec.timeoutSeconds";
        Cancelled: "The object was deleted during the dump, which was rolled back. The container goes on."
            => "create another ContainerCheckpoint if it is wanted after all";
        PauseTooLong: "The container would have stood still for longer than it may. The dump was rolled back and the container goes on."
            => "create another ContainerCheckpoint with a larger spec.options.maxPauseSeconds, or, where the node's CheckpointNode has the feature memTrack, save most of the memory before: one with spec.options.preDump: true, then one with spec.options.parentRef that names it";
        ProbeWouldFail: "The pause that maxPauseSeconds allows is longer than a liveness probe of a container that stands still does: the kubelet would restart it."
            => "create another ContainerCheckpoint with a smaller spec.options.maxPauseSeconds, or without it to have it follow from the probes";
        InvalidSpec: "The spec asks for something that cannot be."
            => "create another ContainerCheckpoint with the field corrected that the message names";
        RootfsNotOverlay: "The container's root file system is no overlay mount, which alone tells the files that the container has changed. It was not touched."
            => "create another ContainerCheckpoint without spec.rootfs; containerd has an overlay with its snapshotter overlayfs, CRI-O with its storage driver overlay";
        RootfsDiffFailed: "The files that the container has changed could not be saved. The dump was rolled back and the container goes on."
            => "the message says why; create another ContainerCheckpoint, without spec.rootfs if need be";
        ParentNotFound: "There is no checkpoint named as parentRef says."
            => "kubectl get cckpt lists them";
        ParentNotReady: "The parent failed, is being deleted, or was not ready in time."
            => "kubectl describe cckpt PARENT says why; take the first checkpoint of a chain without a parent";
        ParentMismatch: "The parent is of another container, or on another node."
            => "take the first checkpoint of a chain without a parent";
        ParentNotLatest: "Another checkpoint has cleared the kernel's record of changed pages since the parent, or the parent tracked no memory."
            => "use the latest preDump or trackMemory checkpoint of this container as parent, or take one without a parent";
        ParentImageMissing: "The parent's image is not there, or does not hold what it should."
            => "take the first checkpoint of a chain without a parent";
        ImagePathTaken: "Something is already where the image or its log is to be, or above or below that: another object's image, or a file."
            => "the message names it; create another ContainerCheckpoint with another spec.options.imagePath or spec.options.workPath, or without them";
        ImagePathUnusable: "The image's directory cannot be used."
            => "the message says why; the levels of spec.options.imagePath, where it is given, have to be directories, and the disk writable";
        InsufficientSpace: "The node's disk cannot hold the image and the reserve that keeps the kubelet from evicting pods."
            => "free space on the node (delete checkpoints that are not needed: kubectl get cckpt -A), or send the memory elsewhere with spec.options.pageServer";
        NamespaceLimit: "The images of the namespace would take more of the node's disk than one namespace may. The container was not touched."
            => "delete checkpoints of this namespace that are not needed (kubectl get cckpt), or ask the administrator for more: the agents' flag --namespace-limit";
        DiskFull: "The node's disk was full during the dump, which was rolled back. The container goes on."
            => "free space on the node (delete checkpoints that are not needed: kubectl get cckpt -A), then create another ContainerCheckpoint";
        PageServerNotAllowed: "The agent's administrator has not allowed that page server."
            => "have its address allowed with the agents' flag --allow-page-server ADDRESS:PORT";
        PageServerKeysMissing: "TLS with the page server is on, and the agent has no keys."
            => "mount keys into the agents (--page-server-keys), or set spec.options.pageServer.tls: false where the network is trusted";
        PageServerUnreachable: "The page server could not be reached, or went away."
            => "see that a page server listens there (stillframe-node-agent page-server, a PageReceiver, or criu page-server) and that the node may reach it";
        PageServerTlsFailed: "The page server was reached, and TLS with it came to nothing."
            => "both sides need certificates of one authority, and the server's has to name the address; the log says what is wrong";
        ReceiverNotFound: "There is no PageReceiver named as receiverRef says."
            => "kubectl get pgrecv lists them; a receiver lives in the namespace of its checkpoint";
        ReceiverNotReady: "The PageReceiver failed, has ended, is being deleted, or did not listen in time."
            => "kubectl describe pgrecv RECEIVER says why; create another PageReceiver and another ContainerCheckpoint. Where no node receives, the chart's value pageServers.receivers.enabled has it switched on";
        ReceiverTaken: "The PageReceiver is another checkpoint's."
            => "create another PageReceiver: each receives the memory of one checkpoint";
        ReceiverFailed: "The memory was sent, and the receiver could not keep it. The container goes on."
            => "the message says why; kubectl describe pgrecv RECEIVER tells more";
        ReceivingNotAllowed: "The node's administrator has not switched receiving on."
            => "have it switched on: the chart's value pageServers.receivers.enabled, the agents' flag --receive-address";
        ListenFailed: "The agent cannot listen on the node's address."
            => "the message says why; the agents' flag --receive-address has to be an address of the node";
        NobodyCame: "No checkpoint sent anything in time."
            => "create another PageReceiver, and a ContainerCheckpoint whose spec.options.pageServer.receiverRef names it";
        TransferBroken: "The connection broke off before all of the memory had come. Nothing of it is kept."
            => "the checkpoint that sent it has failed as well and says why";
        CheckpointFailed: "The checkpoint that was to send its memory has failed or was deleted."
            => "kubectl describe cckpt CHECKPOINT says why; create another PageReceiver with the next one";
        EstablishedTcp: "The container has TCP connections."
            => "create another ContainerCheckpoint with spec.options.tcpEstablished: true, or have the connections closed before";
        InFlightTcp: "The container has a half-open TCP connection."
            => "create another ContainerCheckpoint with spec.options.tcpSkipInFlight: true, or try again";
        FileLocks: "The container holds file locks."
            => "create another ContainerCheckpoint with spec.options.fileLocks: true";
        ExternalUnixSocket: "The container has a unix socket whose other end is outside."
            => "create another ContainerCheckpoint with spec.options.extUnixSk: true (datagram sockets only), or have it closed before";
        ExternalUnixStream: "The container has a unix socket whose other end is outside, and a stream, without a name or in another network (a socket of the node, such as that of its log); no option of CRIU helps."
            => "have it closed before the checkpoint; the log names the path of the other end where it has one";
        ShellJob: "The container's session or terminal began outside of it."
            => "create another ContainerCheckpoint with spec.options.shellJob: true";
        ExternalMount: "The container has a mount that CRIU cannot save."
            => "the message names the mount point; have it unmounted, or use a volume that is a plain bind mount";
        IoUring: "The container uses io_uring, which CRIU cannot save."
            => "switch io_uring off in the workload (Node.js: UV_USE_IO_URING=0), or forbid it with a seccomp profile";
        GhostFileTooLarge: "The container holds a deleted file open that is larger than ghostLimit."
            => "create another ContainerCheckpoint with spec.options.ghostLimit above the size that the message tells";
        LinkedFileDeleted: "The container holds a file open whose name was deleted while another name is left."
            => "create another ContainerCheckpoint with spec.options.linkRemap: true";
        UnsupportedFile: "The container holds something open that CRIU cannot save (a device, a special socket or descriptor)."
            => "the message names it; have the workload close it. For MPTCP in Go programs: GODEBUG=multipathtcp=0";
        UnsupportedProcess: "The container has a process in a state that CRIU cannot save (traced by a debugger, in a namespace of its own, brought in from outside)."
            => "the message names its pid on the node; end it, or its debugger";
        NoSoftDirty: "The node's kernel cannot track memory changes (CONFIG_MEM_SOFT_DIRTY), which preDump, parents and trackMemory need."
            => "create another ContainerCheckpoint without these options, or run the pod on a node whose CheckpointNode has the feature memTrack: kubectl describe checkpointnodes";
        NoLazyPages: "The node's kernel cannot serve lazy pages, or not as it is set up."
            => "create another ContainerCheckpoint without spec.options.lazyPages; kubectl describe checkpointnode NODE says what the node lacks (userfaultfd, or fs.pipe-max-size of 16777216)";
        LazyPagesUnguarded: "Others than lazyPeers could not be kept from the port of the lazy pages by a rule of the node's firewall, so the dump did not begin. The container was not touched."
            => "the message says why; the agent needs nft or iptables that work on its node";
        LazyPagesNotFetched: "Lazy pages were served, and the connection of whoever fetched them ended before all were fetched. The container goes on."
            => "discard what was restored from them: it lacks memory; criu lazy-pages on the other node says why it ended. Then create another ContainerCheckpoint";
        MissingFeature: "CRIU or the node's kernel lacks what the options or the workload need."
            => "the message names it; kubectl describe checkpointnode NODE lists what the node has";
        NetworkLockUnavailable: "The network lock that was asked for cannot be had on the node."
            => "create another ContainerCheckpoint without spec.options.networkLock to have one chosen";
        NetworkRulesUnreadable: "The network's rules could not be read before the dump."
            => "install iptables on the node, or create another ContainerCheckpoint with spec.options.networkLock: Nftables";
        SecurityModule: "A security module (SELinux, AppArmor, seccomp) of the node stands in CRIU's way."
            => "the message says which; let the agent run unconfined";
        PermissionDenied: "The kernel refused CRIU something that it needs."
            => "the message says what; see that the agent's container is privileged";
        CriuTooOld: "The node's CRIU is too old."
            => "install CRIU 4.2 or newer";
        CriuNotFound: "The agent finds no CRIU."
            => "install CRIU 4.2 or newer on the node";
        CriuFailed: "CRIU failed for a reason that is not in this list. It was rolled back and the container goes on."
            => "the last error lines are in failure.log, the whole log is on the node";
        CriuDied: "CRIU ended unexpectedly. What it left was repaired and the container goes on."
            => "see whether the node ran out of memory; the last error lines are in failure.log, the whole log is on the node";
        CriuNotStarted: "CRIU could not be started."
            => "the message says why; CRIU on the node has to be an executable of its architecture";
        CriuOptionNotAllowed: "The container's own CRIU configuration names an option that only the request may set."
            => "take it out of the file that the annotation org.criu.config names, or of the runtime's own under /etc/criu";
        CriuConfigUnusable: "The container's own CRIU configuration cannot be read, or is not safe to obey."
            => "it has to be a well-formed file of root's beneath /etc/criu that nobody else may write";
        ContainerPaused: "The container is paused by its runtime."
            => "resume it first; the kubelet pauses no containers, so somebody did by hand: ctr -n k8s.io tasks resume ID";
        ContainerEnded: "The container ended during the dump."
            => "kubectl describe pod POD shows why; create another ContainerCheckpoint for the new container";
        CheckpointUnderWay: "Somebody else checkpoints this container outside of Kubernetes."
            => "wait for it to end";
        NeverStill: "The container's processes did not stand still in time. They go on."
            => "a process in uninterruptible sleep (a hanging disk or network mount) is the usual cause";
        ForeignCgroup: "The process that is recorded as the container's is in a cgroup of somebody else. It was not touched."
            => "restart the pod; what the runtime keeps of the container is wrong";
        StateUnreadable: "What the runtime or the kernel tells of the container cannot be read."
            => "the message names the file; see that the agent's host paths are those of the node's runtime";
        ImageIncomplete: "CRIU reported success and the image is not complete. It was discarded."
            => "create another ContainerCheckpoint; if it happens again see whether the node's disk is well";
        PublishFailed: "The image is complete and could not be brought to disk under its final name."
            => "the message says why; see whether the node's disk is well and has room";
        JournalUnusable: "The agent could not note what it would have to repair, or post a guardian over it, so it did not begin."
            => "see that /run/stillframe on the node can be written, and that the node can start processes";
        InternalError: "Something happened that should not."
            => "the agent's log tells more; please report it";
    }
    Notice {
        NodeReady: "Containers on this node can be checkpointed.";
        PauseBounded: "The pause is bounded by a liveness probe.";
        ImageDeleted: "The image has been removed from its node.";
        KeptTooLate: "The image was complete only after its checkpoint had been given up, and its container has ended: it stays on its node until the object is deleted.";
        ImageRetained: "The image stays on its node, as deletionPolicy says.";
        NothingToRemove: "There was no image to remove.";
        ChildrenDepend: "Another checkpoint builds on this image; it is removed once that one is.";
        CheckpointDepends: "A checkpoint's image has its memory here; it is removed with that checkpoint.";
        NotListening: "The agent does not listen yet, or no longer.";
        RemovalFailed: "The image could not be removed; it is tried again.";
        LazyPagesServed: "Lazy pages can be fetched.";
        NotServing: "Lazy pages are not served yet, or no longer.";
        NothingMissing: "The image's directory and the container's image hold what a restore needs.";
        PartsMissing: "The image's directory does not hold all that a restore needs once the pod is gone.";
        PagesRemoved: "A later checkpoint with autoDedup has removed pages from this image that it holds anew: only that one can be restored.";
        TTLIgnored: "The object outlives ttlSecondsAfterFinished: whoever keeps it as it is in Git would create it anew, and it would be dumped again.";
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
