//! CRIU's RPC messages (`images/rpc.proto`, v4.2), written by hand as prost structs.
//!
//! Field names and numbers are CRIU's own. An older CRIU ignores fields it does not know and refuses
//! enum values it does not know, so look at its version before relying on one.

mod opts;

pub use opts::CriuOpts;

/// What a request asks for, and what a response answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum ReqType {
    /// Nothing; the type of CRIU's answer to a request it could not understand.
    Empty = 0,
    /// Dump a process tree.
    Dump = 1,
    /// Restore a process tree.
    Restore = 2,
    /// Check the kernel.
    Check = 3,
    /// Dump memory alone, then wait for another `PRE_DUMP` or a `DUMP`.
    PreDump = 4,
    /// Start a page server.
    PageServer = 5,
    /// A step of the dump, and the client's answer to it.
    Notify = 6,
    /// Write the CPU's description.
    CpuinfoDump = 7,
    /// Compare the CPU with its description.
    CpuinfoCheck = 8,
    /// Ask which features kernel and CRIU have.
    FeatureCheck = 9,
    /// Ask for CRIU's version.
    Version = 10,
    /// Wait for a child of CRIU.
    WaitPid = 11,
    /// Start a page server as a child.
    PageServerChld = 12,
    /// One pre-dump and no more; CRIU 3.17.
    SinglePreDump = 13,
}

impl ReqType {
    /// The name as Go's generated code prints it, such as `PRE_DUMP`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "EMPTY",
            Self::Dump => "DUMP",
            Self::Restore => "RESTORE",
            Self::Check => "CHECK",
            Self::PreDump => "PRE_DUMP",
            Self::PageServer => "PAGE_SERVER",
            Self::Notify => "NOTIFY",
            Self::CpuinfoDump => "CPUINFO_DUMP",
            Self::CpuinfoCheck => "CPUINFO_CHECK",
            Self::FeatureCheck => "FEATURE_CHECK",
            Self::Version => "VERSION",
            Self::WaitPid => "WAIT_PID",
            Self::PageServerChld => "PAGE_SERVER_CHLD",
            Self::SinglePreDump => "SINGLE_PRE_DUMP",
        }
    }
}

/// How CRIU treats cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum CgMode {
    /// Do not touch them.
    Ignore = 0,
    /// Require them to exist.
    CgNone = 1,
    /// Restore properties alone.
    Props = 2,
    /// Restore what does not exist yet.
    Soft = 3,
    /// Always restore everything.
    Full = 4,
    /// Fail when one exists.
    Strict = 5,
    /// CRIU's default, which is soft.
    Default = 6,
}

/// How CRIU holds the network still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum NetworkLockMethod {
    /// Chains in the filter table; what an older CRIU always does.
    Iptables = 1,
    /// A table of its own; CRIU 3.16, when built with libnftables.
    Nftables = 2,
    /// Not at all; CRIU 3.19.
    Skip = 3,
}

/// How a pre-dump reads memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum PreDumpMode {
    /// Pinned in pipes by the parasite.
    Splice = 1,
    /// Read from outside; CRIU 3.14.
    VmRead = 2,
}

/// A request, or the answer to a notification.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CriuReq {
    /// What is asked.
    #[prost(enumeration = "ReqType", required, tag = "1")]
    pub r#type: i32,
    /// Options of the request.
    #[prost(message, optional, tag = "2")]
    pub opts: Option<CriuOpts>,
    /// The answer to a notification; anything but true makes CRIU roll back.
    #[prost(bool, optional, tag = "3")]
    pub notify_success: Option<bool>,
    /// Serve further requests afterwards. CRIU refuses it for dumps.
    #[prost(bool, optional, tag = "4")]
    pub keep_open: Option<bool>,
    /// Features asked about. CRIU crashes its handler when a `FEATURE_CHECK` has none.
    #[prost(message, optional, tag = "5")]
    pub features: Option<CriuFeatures>,
    /// Child that `WAIT_PID` is about.
    #[prost(uint32, optional, tag = "6")]
    pub pid: Option<u32>,
}

/// A response, or a notification.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CriuResp {
    /// What is answered.
    #[prost(enumeration = "ReqType", required, tag = "1")]
    pub r#type: i32,
    /// Whether it worked.
    #[prost(bool, required, tag = "2")]
    pub success: bool,
    /// Result of a dump.
    #[prost(message, optional, tag = "3")]
    pub dump: Option<CriuDumpResp>,
    /// Result of a restore.
    #[prost(message, optional, tag = "4")]
    pub restore: Option<CriuRestoreResp>,
    /// The step that a notification is about.
    #[prost(message, optional, tag = "5")]
    pub notify: Option<CriuNotify>,
    /// The page server that was started.
    #[prost(message, optional, tag = "6")]
    pub ps: Option<PageServerInfo>,
    /// CRIU's error number.
    #[prost(int32, optional, tag = "7")]
    pub cr_errno: Option<i32>,
    /// Result of a feature check.
    #[prost(message, optional, tag = "8")]
    pub features: Option<CriuFeatures>,
    /// The first error line of CRIU's log, which may be a harmless one.
    #[prost(string, optional, tag = "9")]
    pub cr_errmsg: Option<String>,
    /// CRIU's version.
    #[prost(message, optional, tag = "10")]
    pub version: Option<CriuVersion>,
    /// Wait status of a child.
    #[prost(int32, optional, tag = "11")]
    pub status: Option<i32>,
}

/// Result of a dump.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CriuDumpResp {
    /// True in the restored copy of a process that dumped itself.
    #[prost(bool, optional, tag = "1")]
    pub restored: Option<bool>,
}

/// Result of a restore.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CriuRestoreResp {
    /// Root of the restored tree.
    #[prost(int32, required, tag = "1")]
    pub pid: i32,
}

/// A step of a dump or restore.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CriuNotify {
    /// Name of the step.
    #[prost(string, optional, tag = "1")]
    pub script: Option<String>,
    /// Root of the tree; only at restore.
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
}

/// CRIU's version.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CriuVersion {
    /// Major number.
    #[prost(int32, required, tag = "1")]
    pub major_number: i32,
    /// Minor number.
    #[prost(int32, required, tag = "2")]
    pub minor_number: i32,
    /// Set in development builds.
    #[prost(string, optional, tag = "3")]
    pub gitid: Option<String>,
    /// Third number.
    #[prost(int32, optional, tag = "4")]
    pub sublevel: Option<i32>,
    /// Fourth number.
    #[prost(int32, optional, tag = "5")]
    pub extra: Option<i32>,
    /// Name of the release.
    #[prost(string, optional, tag = "6")]
    pub name: Option<String>,
}

/// Features asked about, and the answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CriuFeatures {
    /// The kernel tracks written pages.
    #[prost(bool, optional, tag = "1")]
    pub mem_track: Option<bool>,
    /// The kernel lets pages be fetched on demand.
    #[prost(bool, optional, tag = "2")]
    pub lazy_pages: Option<bool>,
    /// The kernel has what telling reused pids apart needs; CRIU 3.16.
    #[prost(bool, optional, tag = "3")]
    pub pidfd_store: Option<bool>,
}

/// Where a page server is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PageServerInfo {
    /// Host name or address.
    #[prost(string, optional, tag = "1")]
    pub address: Option<String>,
    /// TCP port.
    #[prost(int32, optional, tag = "2")]
    pub port: Option<i32>,
    /// Its process; in a request nothing.
    #[prost(int32, optional, tag = "3")]
    pub pid: Option<i32>,
    /// An open connection to it.
    #[prost(int32, optional, tag = "4")]
    pub fd: Option<i32>,
}

/// A pair of network devices at restore.
#[derive(Clone, PartialEq, prost::Message)]
pub struct VethPair {
    /// Name inside.
    #[prost(string, required, tag = "1")]
    pub if_in: String,
    /// Name outside.
    #[prost(string, required, tag = "2")]
    pub if_out: String,
}

/// A mount that is not part of the image.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExtMountMap {
    /// Mount point in the container, for a dump.
    #[prost(string, required, tag = "1")]
    pub key: String,
    /// Name it is remembered by.
    #[prost(string, required, tag = "2")]
    pub val: String,
}

/// A namespace to join at restore.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JoinNamespace {
    /// Kind.
    #[prost(string, required, tag = "1")]
    pub ns: String,
    /// Its file or a pid.
    #[prost(string, required, tag = "2")]
    pub ns_file: String,
    /// Further option.
    #[prost(string, optional, tag = "3")]
    pub extra_opt: Option<String>,
}

/// A descriptor handed over at restore.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InheritFd {
    /// What it stands for.
    #[prost(string, required, tag = "1")]
    pub key: String,
    /// Number in CRIU.
    #[prost(int32, required, tag = "2")]
    pub fd: i32,
}

/// Where a cgroup hierarchy is re-rooted at restore.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CgroupRoot {
    /// Controller.
    #[prost(string, optional, tag = "1")]
    pub ctrl: Option<String>,
    /// Path.
    #[prost(string, required, tag = "2")]
    pub path: String,
}

/// A unix socket whose peer is outside.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UnixSk {
    /// Its inode.
    #[prost(uint32, required, tag = "1")]
    pub inode: u32,
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn unset_options_answer_with_the_defaults_of_the_protocol() {
        let opts = CriuOpts::default();
        assert_eq!(opts.images_dir_fd, -1);
        assert_eq!(opts.log_level(), 2);
        assert_eq!(opts.cpu_cap(), u32::MAX);
        assert_eq!(opts.ghost_limit(), 1 << 20);
        assert_eq!(opts.pre_dump_mode(), PreDumpMode::Splice);
        assert_eq!(opts.network_lock(), NetworkLockMethod::Iptables);
    }

    #[test]
    fn explicit_false_and_the_required_descriptor_are_on_the_wire() {
        let opts = CriuOpts {
            images_dir_fd: 5,
            leave_running: Some(false),
            ..CriuOpts::default()
        };
        assert_eq!(opts.encode_to_vec(), [0x08, 5, 0x18, 0]);
    }

    #[test]
    fn an_answer_to_a_notification_has_its_two_fields() {
        let request = CriuReq {
            r#type: ReqType::Notify.into(),
            notify_success: Some(true),
            ..CriuReq::default()
        };
        assert_eq!(request.encode_to_vec(), [0x08, 6, 0x18, 1]);
    }

    #[test]
    fn field_numbers_above_fifteen_keep_their_place() {
        let opts = CriuOpts {
            images_dir_fd: -1,
            freeze_cgroup: Some("/f".to_owned()),
            network_lock: Some(NetworkLockMethod::Skip.into()),
            ..CriuOpts::default()
        };
        let wire = opts.encode_to_vec();
        assert!(
            wire.windows(5).any(|w| w == [0xe2, 0x02, 2, b'/', b'f']),
            "{wire:x?}"
        );
        assert!(wire.ends_with(&[0x80, 0x04, 3]), "{wire:x?}");
    }
}
