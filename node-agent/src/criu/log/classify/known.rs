//! The messages of CRIU 4.2 that tell why a dump failed, each as its format string begins.

use super::{
    Cause::{
        self, ContainerEnded, DiskFull, EstablishedTcp, ExternalMount, ExternalUnixSocket,
        ExternalUnixStream, FileLocks, GhostFileTooLarge, InFlightTcp, IoUring, LinkedFileDeleted,
        MissingFeature, NetworkLockUnavailable, NeverStill, NoSoftDirty, PageServerTlsFailed,
        PageServerUnreachable, ParentImageMissing, PermissionDenied, SecurityModule, ShellJob,
        UnsupportedFile, UnsupportedProcess,
    },
    Known, Weight,
};

const fn cause(text: &'static str, cause: Cause) -> Known {
    Known {
        text,
        cause,
        weight: Weight::Cause,
    }
}

const fn hint(text: &'static str, cause: Cause) -> Known {
    Known {
        text,
        cause,
        weight: Weight::Hint,
    }
}

const fn aside(text: &'static str, cause: Cause) -> Known {
    Known {
        text,
        cause,
        weight: Weight::Aside,
    }
}

/// The one that comes first is looked for first.
#[rustfmt::skip]
pub(super) const KNOWN: &[Known] = &[
    // sk-inet.c
    cause("inet: Connected TCP socket, consider using --tcp-established option.", EstablishedTcp),
    cause("inet: In-flight connection (l) for %x", InFlightTcp),
    cause("inet: Unsupported proto %d for socket %x", UnsupportedFile),
    cause("inet: Can't dump corked dgram socket %x", UnsupportedFile),
    cause("inet: Can't dump %d inet socket %x. Only stream, dgram and raw are supported.", UnsupportedFile),
    cause("inet: Unknown inet socket %x state %d", UnsupportedFile),
    cause("inet: Unsupported socket family: %d", UnsupportedFile),
    // sk-unix.c
    cause("unix: External socket is used. Consider using --ext-unix-sk option.", ExternalUnixSocket),
    cause("unix: Can't dump half of stream unix connection. name: …", ExternalUnixStream),
    cause("unix: Can't dump name-less external socket.", ExternalUnixStream),
    // It looks for the other end in the container's network namespace only.
    cause("unix: Unix socket %d without peer %d", ExternalUnixStream),
    cause("unix: Unsupported type (%d) on socket %d.", UnsupportedFile),
    cause("unix: Unix socket %d with unreachable peer %d (%d)", UnsupportedFile),
    // sockets.c, sk-netlink.c, sk-packet.c, net.c
    cause("sockets: BUG! Unknown socket collected (family %d)", UnsupportedFile),
    cause("netlink: The socket has data to read", UnsupportedFile),
    cause("netlink: The netlink socket %x has more than 32 groups", UnsupportedFile),
    cause("packet: Multiple MC membership not supported (but can be)", UnsupportedFile),
    cause("net: Unable to dump a socket from an external network namespace", UnsupportedFile),
    cause("sockets: Diag module missing (%d)", MissingFeature),
    // file-lock.c
    cause("Some file locks are hold by dumping tasks! You can try --file-locks to dump them.", FileLocks),
    cause("Some file locks are hold by dumping tasks!You can try --file-locks to dump them.", FileLocks),
    // tty.c, pstree.c, files-reg.c; a terminal of the host is on a mount that the container lacks
    cause("tty: Found dangling tty with sid %d pgid %d (…", ShellJob),
    cause("The root process %d is not a session leader. Consider using --shell-job option", ShellJob),
    cause("Can't lookup mount=%d for fd=%d path=/dev/pts/%d", ShellJob),
    cause("Can't lookup mount=%d for fd=%d path=/dev/tty%d", ShellJob),
    cause("Can't lookup mount=%d for fd=%d path=/dev/console", ShellJob),
    cause("Can't lookup mount=%d for fd=%d path=…", UnsupportedFile),
    // mount.c
    cause("mnt: FS mnt …", ExternalMount),
    cause("mnt: %d:… doesn't have a proper root mount", ExternalMount),
    cause("mnt: Unable to dump a file system for %d:…", ExternalMount),
    cause("mnt: Mount %d:… is autodetected external mount. Try \"--ext-mount-map auto\" to allow them.", ExternalMount),
    cause("mnt: Mount %d …) has unreachable sharing. Try --enable-external-masters.", ExternalMount),
    cause("mnt: No mapping for %d:…", ExternalMount),
    cause("mnt: The root task has another root than mntns: …", UnsupportedProcess),
    // files-ext.c, proc_parse.c, pie/parasite.c; the kernel passes no io_uring over a socket
    cause("Can't dump file %d of that type [%x] (anon anon_inode:[io_uring])", IoUring),
    cause("Unknown shit %x (anon_inode:[io_uring])", IoUring),
    cause("send_fds failed (-22)", IoUring),
    cause("Can't dump file %d of that type [%x] (…", UnsupportedFile),
    cause("Unknown shit %x (…", UnsupportedFile),
    cause("Can't handle non-regular mapping on %d's map %x", UnsupportedFile),
    cause("Unsupported mapping found %x-%x", UnsupportedFile),
    // files-reg.c, bpfmap.c, pipes.c, pidfd.c, eventpoll.c, fsnotify.c
    cause("Open files on overmounted mounts are not supported yet; mount=%d fd=%d path=…", UnsupportedFile),
    cause("The path […] is not supported", UnsupportedFile),
    cause("CRIU does not currently support dumping BPF map type %d!", UnsupportedFile),
    cause("The packetized mode for pipes is not supported yet", UnsupportedFile),
    cause("pidfd: PIDFD_THREAD flag is currently not supported", UnsupportedFile),
    cause("pidfd: pidfd pid %d is not a part of process tree..", UnsupportedFile),
    cause("epoll: Escaped/closed fd descriptor %d on pid %d", UnsupportedFile),
    cause("fsnotify: \tCan't dump that handle", UnsupportedFile),
    // files-reg.c
    cause("Can't dump ghost file …", GhostFileTooLarge),
    cause("Can't create link remap for …", LinkedFileDeleted),
    // namespaces.c, net.c
    cause("Can't dump nested …", UnsupportedProcess),
    cause("Can't dump a pid namespace without the process init", UnsupportedProcess),
    cause("net: Unable to dump more than one netns if the --emptyns is set", UnsupportedProcess),
    // cr-dump.c, seize.c, proc_parse.c, shmem.c, compel
    cause("A root task is dead", ContainerEnded),
    cause("A session leader of zombie process %d(%d) is outside of its pid namespace", UnsupportedProcess),
    cause("A session leader of %d(%d) is outside of its pid namespace", UnsupportedProcess),
    cause("Task %d with SysVIPC shmem map @%x doesn't live in IPC ns", UnsupportedProcess),
    cause("Sysv shmem %x with tail hole not supported", UnsupportedProcess),
    cause("Sysv shmem %x with a hole not supported", UnsupportedProcess),
    cause("Zombies with threads are not supported", UnsupportedProcess),
    cause("Zombie thread not supported", UnsupportedProcess),
    cause("Individually stopped threads not supported", UnsupportedProcess),
    cause("PID %d has uprobes vma. Consider using --allow-uprobes.", UnsupportedProcess),
    cause("Unseizable non-zombie %d found, state D, err %d/%d", NeverStill),
    cause("Unseizable non-zombie %d found, state …", UnsupportedProcess),
    cause("SEIZE %d: unsupported stop signal %d", UnsupportedProcess),
    cause("Can't dump the %d thread with a pending SIGTRAP.", UnsupportedProcess),
    cause("Can't dump task %d running in 32-bit mode", UnsupportedProcess),
    cause("Can't dump task %d with LDT descriptors", UnsupportedProcess),
    cause("%d has rseq but kernel lacks get_rseq_conf feature", MissingFeature),
    cause("Unable to freeze cgroup …", NeverStill),
    // A traced process looks like a zombie to CRIU, which looks again until its time is up.
    hint("zombie %d (comm …", UnsupportedProcess),
    hint("Timeout reached. Try to interrupt: %d", NeverStill),
    // config.c, mem.c, kerndat.c
    cause("Tracking memory is not available. Consider omitting --track-mem option.", NoSoftDirty),
    cause("Can't reset %d's dirty memory tracker: …", NoSoftDirty),
    cause("Lazy pages are not available", MissingFeature),
    // image.c, page-xfer.c, mem.c
    cause("Invalid parent image directory provided: …", ParentImageMissing),
    cause("page-xfer: Missing %x in parent pagemap", ParentImageMissing),
    cause("page-xfer: Hole %x - %x not found in parent", ParentImageMissing),
    cause("Pid-reuse detection failed: no parent inventory, check warnings in get_parent_inventory", ParentImageMissing),
    // util.c, page-xfer.c, tls.c
    cause("Failed to resolve hostname: …", PageServerUnreachable),
    cause("Invalid server address \"…", PageServerUnreachable),
    cause("page-xfer: The page server doesn't answer: …", PageServerUnreachable),
    cause("page-xfer: Can't write to page server: …", PageServerUnreachable),
    cause("page-xfer: Can't write pages to socket: …", PageServerUnreachable),
    cause("page-xfer: Can't send PSI %d to server: …", PageServerUnreachable),
    cause("page-xfer: Error reading data from page server: …", PageServerUnreachable),
    cause("page-xfer: Remote side closed connection", PageServerUnreachable),
    cause("page-xfer: A socket was closed unexpectedly", PageServerUnreachable),
    hint("page-xfer: Can't send the final package: …", PageServerUnreachable),
    aside("Can't connect to server …", PageServerUnreachable),
    // The connection under it.
    cause("tls: Push callback send failed: …", PageServerUnreachable),
    cause("tls: Pull callback recv failed: …", PageServerUnreachable),
    cause("tls: …", PageServerTlsFailed),
    // net.c, netfilter.c
    cause("net: Locking network failed using nftables", NetworkLockUnavailable),
    cause("net: Locking network failed: iptables-restore returned %d. …", NetworkLockUnavailable),
    cause("net: CRIU was built without libnftables support", NetworkLockUnavailable),
    cause("Locking connection failed using nftables", NetworkLockUnavailable),
    cause("Iptables configuration failed", NetworkLockUnavailable),
    // lsm.c, seccomp.c, compel's ptrace.c
    cause("getting selinux profile failed: …", SecurityModule),
    cause("Invalid selinux context …", SecurityModule),
    cause("Unable to reset socket SELinux context: …", SecurityModule),
    cause("Unable to set the … socket SELinux context: Permission denied", SecurityModule),
    cause("failed to collect AA namespace", SecurityModule),
    cause("suspending seccomp failed: …", SecurityModule),
    cause("seccomp: Can't fetch filter on tid_real %d i %d: …", SecurityModule),
    // What the kernel answered, where no name of a workload stands before it.
    hint("page-xfer: Unable to spice data: No space left on device", DiskFull),
    hint("page-xfer: Unable to spice data: Disk quota exceeded", DiskFull),
    hint("bfd: Error flushing image: No space left on device", DiskFull),
    hint("bfd: Error flushing image: Disk quota exceeded", DiskFull),
    hint("Can't write img file: No space left on device", DiskFull),
    hint("Can't write %d bytes: No space left on device", DiskFull),
    hint("Can't send ghost to image: No space left on device", DiskFull),
    hint("Can't setns %d/net: Operation not permitted", PermissionDenied),
    hint("Can't setns %d/mnt: Operation not permitted", PermissionDenied),
    hint("Can't setns %d/ipc: Operation not permitted", PermissionDenied),
    hint("%d reported by netlink: Operation not permitted", PermissionDenied),
    hint("Can't get rlimit %d: Operation not permitted", PermissionDenied),
    hint("Can't open map_files: Operation not permitted", PermissionDenied),
    hint("Can't open map_files: Permission denied", PermissionDenied),
    hint("sockets: Can't set %d:%d (len %d): Operation not permitted", PermissionDenied),
];
