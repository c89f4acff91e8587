//! What a caller asks of a checkpoint: runc's options under runc's names, and ours beside them.

use std::{os::fd::RawFd, path::PathBuf, str::FromStr, time::Duration};

use super::{Admitted, Keep};

/// A checkpoint as asked for. Nothing in it has been tried against the container yet.
#[derive(Debug, Clone)]
pub struct Request {
    /// A dump, or only its memory with the container going on.
    pub kind: Kind,
    /// Where the image goes.
    pub image: Image,
    /// Where CRIU keeps `dump.log` and `stats-dump`; the image directory when unset.
    /// One missing level is created, as runc does.
    pub work_dir: Option<PathBuf>,
    /// An earlier image that this one builds on.
    pub parent: Option<Parent>,
    /// The options that reach CRIU under their own names.
    pub options: Options,
    /// Send the pages to this server instead of writing them.
    pub page_server: Option<PageServer>,
    /// Who alone may fetch lazy pages; whoever reaches the page server's port when unset, as in runc.
    pub lazy_pages_for: Option<Admitted>,
    /// A descriptor of this process that gets one `\0`, and is closed, once lazy pages can be
    /// fetched. Looked at only with [`Options::lazy_pages`], as in runc.
    pub status_fd: Option<RawFd>,
    /// How CRIU treats the container's cgroups.
    pub cgroups_mode: CgroupsMode,
    /// How the container's network is held still.
    pub network_lock: NetworkLock,
    /// Largest deleted but open file that is saved, in bytes; CRIU's own limit (1 MiB) when unset.
    pub ghost_limit: Option<u32>,
    /// Bound on the whole request.
    pub timeout: Option<Duration>,
    /// Bound on the time that the container stands still.
    pub max_pause: Option<Duration>,
    /// Hand CRIU the site's configuration file, as runc does.
    pub site_config: bool,
    /// Lift the network lock of a dump that has ended its container. CRIU leaves it, and runc with
    /// it, for the restore to lift; whoever else lives in that network namespace is locked with it.
    pub unlock_after_end: bool,
    /// What the image's directory is to hold beside CRIU's files. runc keeps nothing.
    pub keep: Keep,
}

/// What is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Everything (CRIU's `DUMP`).
    Dump,
    /// Memory alone, the container keeps running (CRIU's `PRE_DUMP`).
    PreDump,
}

/// Where an image is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// Into this directory as it stands, as runc does: no rename, no fsync, no digest unless
    /// `durable` asks for them.
    InPlace {
        /// The image directory. Its last level is created with mode 0700 when missing.
        dir: PathBuf,
        /// Also fsync every file and compute the digest.
        durable: bool,
    },
    /// Into `NAME.partial` beside its final name, which appears only once the image is complete,
    /// verified and on disk.
    Publish {
        /// The final image directory; must not exist.
        dir: PathBuf,
    },
}

/// An earlier image of the same container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// Path of the parent, relative to the image directory (CRIU links `parent` to it).
    pub path: PathBuf,
    /// Refuse it unless it holds the last tracked dump of the process: on top of another one the image would hold
    /// old memory. runc does not ask.
    pub latest: bool,
}

/// Options with a flag of their own in runc, all off unless asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one switch per flag of runc, each independent"
)]
pub struct Options {
    /// The container goes on after the dump; otherwise it ends.
    pub leave_running: bool,
    /// Dump established TCP connections.
    pub tcp_established: bool,
    /// Leave half-open connections out of the image.
    pub tcp_skip_in_flight: bool,
    /// Allow unix sockets whose peer is outside the container.
    pub ext_unix_sk: bool,
    /// Allow a session leader or terminal outside the container.
    pub shell_job: bool,
    /// Dump file locks.
    pub file_locks: bool,
    /// Link deleted files back while dumping.
    pub link_remap: bool,
    /// Serve memory on demand instead of writing it.
    pub lazy_pages: bool,
    /// Punch holes in parent images.
    pub auto_dedup: bool,
    /// Track memory although there is no parent, so that this image can become one.
    pub track_memory: bool,
}

/// A page server's address. CRIU is asked for one only when the address is not empty and the port
/// is not zero, which is runc's rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageServer {
    /// Host name or address, without brackets.
    pub address: String,
    /// Port as CRIU takes it: unchecked, as in runc.
    pub port: i32,
    /// How the connection is kept private; runc has none.
    pub tls: Option<Tls>,
}

/// TLS with a page server. The files are PEM, and read by CRIU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificate of the authority that both sides trust.
    pub ca: PathBuf,
    /// Revoked certificates.
    pub revoked: Option<PathBuf>,
    /// Our certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The server's certificate has to name the address.
    pub check_name: bool,
}

/// `--manage-cgroups-mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupsMode {
    /// Nothing was asked: CRIU's default, which is soft.
    #[default]
    Unset,
    /// Restore what does not exist yet.
    Soft,
    /// Always restore properties.
    Full,
    /// Fail when a cgroup exists.
    Strict,
    /// Do not touch cgroups.
    Ignore,
}

/// `--network-lock`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NetworkLock {
    /// Skip when no connection is dumped, else nftables where CRIU has it, else iptables.
    #[default]
    Auto,
    /// CRIU's chains in the filter table.
    Iptables,
    /// CRIU's own nftables table.
    Nftables,
    /// No lock.
    Skip,
}

/// A value that names no choice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// runc's text for an unknown cgroups mode.
    #[error("invalid manage-cgroups-mode value")]
    CgroupsMode,
    /// An unknown network lock method.
    #[error("invalid --network-lock value {0:?}: use auto, iptables, nftables or skip")]
    NetworkLock(String),
}

impl FromStr for CgroupsMode {
    type Err = RequestError;

    /// Mirrors `criuCgMode` of runc 1.5.2: the empty string means unset, case matters.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Ok(Self::Unset),
            "soft" => Ok(Self::Soft),
            "full" => Ok(Self::Full),
            "strict" => Ok(Self::Strict),
            "ignore" => Ok(Self::Ignore),
            _ => Err(RequestError::CgroupsMode),
        }
    }
}

impl FromStr for NetworkLock {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "iptables" => Ok(Self::Iptables),
            "nftables" => Ok(Self::Nftables),
            "skip" => Ok(Self::Skip),
            other => Err(RequestError::NetworkLock(other.to_owned())),
        }
    }
}
