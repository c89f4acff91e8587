//! `criu_opts`: the options of a request.

use super::{
    CgMode, CgroupRoot, ExtMountMap, InheritFd, JoinNamespace, NetworkLockMethod, PageServerInfo,
    PreDumpMode, UnixSk, VethPair,
};

/// Options of a request. What is unset is CRIU's default.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CriuOpts {
    /// The image directory: a descriptor number of the process that made the socket pair.
    #[prost(int32, required, tag = "1", default = "-1")]
    pub images_dir_fd: i32,
    /// Root of the tree. Unset dumps the requester.
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
    /// Go on afterwards.
    #[prost(bool, optional, tag = "3")]
    pub leave_running: Option<bool>,
    /// Allow unix sockets with a peer outside.
    #[prost(bool, optional, tag = "4")]
    pub ext_unix_sk: Option<bool>,
    /// Dump established connections.
    #[prost(bool, optional, tag = "5")]
    pub tcp_established: Option<bool>,
    /// Use any path of a device that works.
    #[prost(bool, optional, tag = "6")]
    pub evasive_devices: Option<bool>,
    /// Allow a session leader outside.
    #[prost(bool, optional, tag = "7")]
    pub shell_job: Option<bool>,
    /// Dump file locks.
    #[prost(bool, optional, tag = "8")]
    pub file_locks: Option<bool>,
    /// How much is logged, 0 to 4.
    #[prost(int32, optional, tag = "9", default = "2")]
    pub log_level: Option<i32>,
    /// Name of the log in the work directory; no slash.
    #[prost(string, optional, tag = "10")]
    pub log_file: Option<String>,
    /// Where pages go.
    #[prost(message, optional, tag = "11")]
    pub ps: Option<PageServerInfo>,
    /// Send notifications.
    #[prost(bool, optional, tag = "12")]
    pub notify_scripts: Option<bool>,
    /// The container's root.
    #[prost(string, optional, tag = "13")]
    pub root: Option<String>,
    /// The parent image, relative to the image directory.
    #[prost(string, optional, tag = "14")]
    pub parent_img: Option<String>,
    /// Track written pages from here on.
    #[prost(bool, optional, tag = "15")]
    pub track_mem: Option<bool>,
    /// Punch holes in parent images.
    #[prost(bool, optional, tag = "16")]
    pub auto_dedup: Option<bool>,
    /// Where log and statistics go, numbered as `images_dir_fd`.
    #[prost(int32, optional, tag = "17")]
    pub work_dir_fd: Option<i32>,
    /// Link deleted files back while dumping.
    #[prost(bool, optional, tag = "18")]
    pub link_remap: Option<bool>,
    /// Deprecated by `external`.
    #[prost(message, repeated, tag = "19")]
    pub veths: Vec<VethPair>,
    /// CPU capabilities to check.
    #[prost(uint32, optional, tag = "20", default = "4294967295")]
    pub cpu_cap: Option<u32>,
    /// Resolve inotify paths by scanning.
    #[prost(bool, optional, tag = "21")]
    pub force_irmap: Option<bool>,
    /// Command to run after a restore.
    #[prost(string, repeated, tag = "22")]
    pub exec_cmd: Vec<String>,
    /// Mounts that are not part of the image; deprecated by `external`, still honoured.
    #[prost(message, repeated, tag = "23")]
    pub ext_mnt: Vec<ExtMountMap>,
    /// Deal with cgroups.
    #[prost(bool, optional, tag = "24")]
    pub manage_cgroups: Option<bool>,
    /// New cgroup roots at restore.
    #[prost(message, repeated, tag = "25")]
    pub cg_root: Vec<CgroupRoot>,
    /// Restore as a sibling of CRIU.
    #[prost(bool, optional, tag = "26")]
    pub rst_sibling: Option<bool>,
    /// Descriptors handed over at restore.
    #[prost(message, repeated, tag = "27")]
    pub inherit_fd: Vec<InheritFd>,
    /// Find external mounts by itself.
    #[prost(bool, optional, tag = "28")]
    pub auto_ext_mnt: Option<bool>,
    /// Allow external shared mounts.
    #[prost(bool, optional, tag = "29")]
    pub ext_sharing: Option<bool>,
    /// Allow external slave mounts.
    #[prost(bool, optional, tag = "30")]
    pub ext_masters: Option<bool>,
    /// Mount points left out.
    #[prost(string, repeated, tag = "31")]
    pub skip_mnt: Vec<String>,
    /// File systems taken for known.
    #[prost(string, repeated, tag = "32")]
    pub enable_fs: Vec<String>,
    /// Deprecated by `external`.
    #[prost(message, repeated, tag = "33")]
    pub unix_sk_ino: Vec<UnixSk>,
    /// How to deal with cgroups.
    #[prost(enumeration = "CgMode", optional, tag = "34")]
    pub manage_cgroups_mode: Option<i32>,
    /// Largest deleted but open file that is saved, bytes.
    #[prost(uint32, optional, tag = "35", default = "1048576")]
    pub ghost_limit: Option<u32>,
    /// Where to scan for inotify paths.
    #[prost(string, repeated, tag = "36")]
    pub irmap_scan_paths: Vec<String>,
    /// Things that are not part of the image, such as `net[INODE]:NAME`.
    #[prost(string, repeated, tag = "37")]
    pub external: Vec<String>,
    /// Namespaces (`CLONE_NEW…`) dumped without content.
    #[prost(uint32, optional, tag = "38")]
    pub empty_ns: Option<u32>,
    /// Namespaces to join at restore.
    #[prost(message, repeated, tag = "39")]
    pub join_ns: Vec<JoinNamespace>,
    /// Cgroup properties, as text.
    #[prost(string, optional, tag = "41")]
    pub cgroup_props: Option<String>,
    /// Cgroup properties, as a file.
    #[prost(string, optional, tag = "42")]
    pub cgroup_props_file: Option<String>,
    /// Controllers to dump.
    #[prost(string, repeated, tag = "43")]
    pub cgroup_dump_controller: Vec<String>,
    /// Cgroup that CRIU freezes to find and stop all tasks.
    #[prost(string, optional, tag = "44")]
    pub freeze_cgroup: Option<String>,
    /// Bound on collecting the tree, seconds.
    #[prost(uint32, optional, tag = "45")]
    pub timeout: Option<u32>,
    /// Leave half-open connections out.
    #[prost(bool, optional, tag = "46")]
    pub tcp_skip_in_flight: Option<bool>,
    /// Go on when a sysctl cannot be restored.
    #[prost(bool, optional, tag = "47")]
    pub weak_sysctls: Option<bool>,
    /// Serve memory on demand.
    #[prost(bool, optional, tag = "48")]
    pub lazy_pages: Option<bool>,
    /// Gets a zero byte when a server is ready; CRIU before 3.15.
    #[prost(int32, optional, tag = "49")]
    pub status_fd: Option<i32>,
    /// Hand out the master of a container's terminal at restore.
    #[prost(bool, optional, tag = "50")]
    pub orphan_pts_master: Option<bool>,
    /// Configuration file that overrides this request; CRIU 3.11.
    #[prost(string, optional, tag = "51")]
    pub config_file: Option<String>,
    /// Close connections instead of dumping them; CRIU 3.12.
    #[prost(bool, optional, tag = "52")]
    pub tcp_close: Option<bool>,
    /// Security label at restore.
    #[prost(string, optional, tag = "53")]
    pub lsm_profile: Option<String>,
    /// File of the authority's certificate; CRIU 3.13 as the next five.
    #[prost(string, optional, tag = "54")]
    pub tls_cacert: Option<String>,
    /// File of the revocation list.
    #[prost(string, optional, tag = "55")]
    pub tls_cacrl: Option<String>,
    /// File of the certificate.
    #[prost(string, optional, tag = "56")]
    pub tls_cert: Option<String>,
    /// File of the key.
    #[prost(string, optional, tag = "57")]
    pub tls_key: Option<String>,
    /// Use TLS to the page server.
    #[prost(bool, optional, tag = "58")]
    pub tls: Option<bool>,
    /// Do not compare the server's name.
    #[prost(bool, optional, tag = "59")]
    pub tls_no_cn_verify: Option<bool>,
    /// Where cgroup hierarchies are mounted; CRIU 3.14.
    #[prost(string, optional, tag = "60")]
    pub cgroup_yard: Option<String>,
    /// How a pre-dump reads memory; CRIU 3.14.
    #[prost(enumeration = "PreDumpMode", optional, tag = "61", default = "Splice")]
    pub pre_dump_mode: Option<i32>,
    /// Socket that keeps pidfds between dumps; CRIU 3.16.
    #[prost(int32, optional, tag = "62")]
    pub pidfd_store_sk: Option<i32>,
    /// Mount context at restore; CRIU 3.16.
    #[prost(string, optional, tag = "63")]
    pub lsm_mount_context: Option<String>,
    /// How the network is held still; CRIU 3.16.
    #[prost(
        enumeration = "NetworkLockMethod",
        optional,
        tag = "64",
        default = "Iptables"
    )]
    pub network_lock: Option<i32>,
    /// Use the old mount engine; CRIU 3.17.
    #[prost(bool, optional, tag = "65")]
    pub mntns_compat_mode: Option<bool>,
    /// Do not compare file modes at restore; CRIU 3.18.
    #[prost(bool, optional, tag = "66")]
    pub skip_file_rwx_check: Option<bool>,
    /// Run without root; CRIU 3.18.
    #[prost(bool, optional, tag = "67")]
    pub unprivileged: Option<bool>,
    /// The image directory by path, with `images_dir_fd` -1; CRIU 3.19 as the next three.
    #[prost(string, optional, tag = "68")]
    pub images_dir: Option<String>,
    /// Leave tasks stopped.
    #[prost(bool, optional, tag = "69")]
    pub leave_stopped: Option<bool>,
    /// Print statistics.
    #[prost(bool, optional, tag = "70")]
    pub display_stats: Option<bool>,
    /// Log to stderr.
    #[prost(bool, optional, tag = "71")]
    pub log_to_stderr: Option<bool>,
}
