//! The request to CRIU, decided from what was asked and what was found. Nothing here looks or acts.

use std::path::{Path, PathBuf};

use super::{CgroupsMode, Kind, PageServer, Request, lock::Method};
use crate::{
    criu::{
        Tls,
        messages::{CgMode, CriuOpts, CriuReq, ExtMountMap, PageServerInfo, ReqType},
    },
    runtime::{Container, external::ExternalMount},
};

/// The log in the work directory.
pub(super) const LOG_FILE: &str = "dump.log";

/// CRIU's most talkative level, which runc asks for: the log is what explains a failure.
const LOG_LEVEL: i32 = 4;

/// `CLONE_NEWNET`, always sent: a runtime sets up the network, CRIU does not restore it.
const EMPTY_NETWORK: u32 = 0x4000_0000;

/// First CRIU with `SINGLE_PRE_DUMP`.
const SINGLE_PRE_DUMP_SINCE: u32 = 31_700;

/// First CRIU that freezes a cgroup of the unified hierarchy.
const UNIFIED_FREEZER_SINCE: u32 = 31_400;

/// Everything that goes into a request and is not asked for by the caller.
#[derive(Debug, Clone)]
pub(super) struct Found<'a> {
    /// The container.
    pub(super) container: &'a Container,
    /// CRIU's version number.
    pub(super) criu: u32,
    /// This process's descriptor of the image directory.
    pub(super) image_fd: i32,
    /// This process's descriptor of the work directory, where there is one.
    pub(super) work_fd: Option<i32>,
    /// The site's configuration file for CRIU.
    pub(super) config_file: Option<&'a Path>,
    /// External namespaces.
    pub(super) external: Vec<String>,
    /// External mounts.
    pub(super) mounts: Vec<ExternalMount>,
    /// The freezer's directory.
    pub(super) freezer: Option<&'a Path>,
    /// The freezer is one of the unified hierarchy.
    pub(super) unified: bool,
    /// Where CRIU finds the cgroup hierarchies, instead of mounting them anew.
    pub(super) yard: Option<PathBuf>,
    /// The network lock, where the request is to name one.
    pub(super) lock: Option<Method>,
}

/// The request. Mirrors `Checkpoint` in `criu_linux.go` of runc 1.5.2, option by option; what runc
/// never sends (`network_lock`, `ghost_limit`, `cgroup_yard`, TLS, memory tracking without a parent) is sent only when
/// it was decided here.
pub(super) fn request(asked: &Request, found: Found<'_>) -> CriuReq {
    let Request {
        kind,
        image: _,
        work_dir: _,
        parent,
        options,
        page_server,
        ..
    } = asked;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let server = page_server.as_ref().filter(|server| is_used(server));
    let freezer = found
        .freezer
        .filter(|_| !found.unified || found.criu >= UNIFIED_FREEZER_SINCE);
    let opts = CriuOpts {
        images_dir_fd: found.image_fd,
        work_dir_fd: found.work_fd,
        log_level: Some(LOG_LEVEL),
        log_file: Some(LOG_FILE.to_owned()),
        root: Some(text(&found.container.rootfs)),
        manage_cgroups: Some(true),
        manage_cgroups_mode: Some(cgroups(asked.cgroups_mode).into()),
        notify_scripts: Some(true),
        pid: Some(found.container.init.pid),
        shell_job: Some(options.shell_job),
        leave_running: Some(options.leave_running),
        tcp_established: Some(options.tcp_established),
        tcp_skip_in_flight: Some(options.tcp_skip_in_flight),
        link_remap: Some(options.link_remap),
        ext_unix_sk: Some(options.ext_unix_sk),
        file_locks: Some(options.file_locks),
        empty_ns: Some(EMPTY_NETWORK),
        orphan_pts_master: Some(true),
        auto_dedup: Some(options.auto_dedup),
        lazy_pages: Some(options.lazy_pages),
        config_file: found.config_file.map(text),
        external: found.external,
        freeze_cgroup: freezer.map(text),
        ps: server.map(server_info),
        parent_img: parent.as_ref().map(|parent| text(&parent.path)),
        track_mem: (parent.is_some() || options.track_memory).then_some(true),
        ext_mnt: found.mounts.into_iter().map(mount_map).collect(),
        cgroup_yard: found.yard.as_deref().map(text),
        network_lock: found.lock.map(Method::wire),
        ghost_limit: asked.ghost_limit,
        ..tls_options(server)
    };
    CriuReq {
        r#type: request_type(*kind, found.criu).into(),
        opts: Some(opts),
        ..CriuReq::default()
    }
}

/// runc's rule for sending a page server at all.
pub(super) fn is_used(server: &PageServer) -> bool {
    !server.address.is_empty() && server.port != 0
}

fn request_type(kind: Kind, criu: u32) -> ReqType {
    match kind {
        Kind::Dump => ReqType::Dump,
        Kind::PreDump if criu >= SINGLE_PRE_DUMP_SINCE => ReqType::SinglePreDump,
        Kind::PreDump => ReqType::PreDump,
    }
}

fn cgroups(mode: CgroupsMode) -> CgMode {
    match mode {
        CgroupsMode::Unset => CgMode::Default,
        CgroupsMode::Soft => CgMode::Soft,
        CgroupsMode::Full => CgMode::Full,
        CgroupsMode::Strict => CgMode::Strict,
        CgroupsMode::Ignore => CgMode::Ignore,
    }
}

fn server_info(server: &PageServer) -> PageServerInfo {
    PageServerInfo {
        address: Some(server.address.clone()),
        port: Some(server.port),
        ..PageServerInfo::default()
    }
}

/// The options that keep the connection to a page server private, and no others. The command knows
/// no such thing, as runc.
fn tls_options(server: Option<&PageServer>) -> CriuOpts {
    let tls = server.filter(|server| is_used(server));
    let tls = tls.and_then(|server| server.tls.as_ref());
    tls.map(Tls::options).unwrap_or_default()
}

fn mount_map(mount: ExternalMount) -> ExtMountMap {
    ExtMountMap {
        key: mount.key,
        val: mount.value,
    }
}

/// What decides whether the cgroup is frozen before CRIU does it.
#[derive(Debug, Clone, Copy)]
pub(super) struct FreezeFacts {
    /// CRIU asks before it stops anybody; a pre-dump does not.
    pub(super) kind: Kind,
    /// The freezer is one of the unified hierarchy.
    pub(super) unified: bool,
    /// A connection is made between our freeze and CRIU's own, and may hang.
    pub(super) page_server: bool,
    /// The container runs, and each of its tasks can be attached to once it is frozen.
    pub(super) freezable: bool,
}

/// Whether the cgroup is frozen before CRIU does it. CRIU looks at a v1 freezer in steps of 100 ms,
/// and often needs one step; found frozen, it needs none.
pub(super) fn freezes_early(facts: FreezeFacts) -> bool {
    let FreezeFacts {
        kind,
        unified,
        page_server,
        freezable,
    } = facts;
    kind == Kind::Dump && !unified && !page_server && freezable
}

/// Which configuration file CRIU is handed. Mirrors `handleCriuConfigurationFile` of runc 1.5.2: the
/// annotation `org.criu.config` names it, an empty one means none, and without the annotation it is
/// the runtime's own.
pub(super) fn config_file<'a>(annotation: Option<&'a str>, default: &'a Path) -> Option<&'a Path> {
    match annotation {
        None => Some(default),
        Some("") => None,
        Some(path) => Some(Path::new(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: FreezeFacts = FreezeFacts {
        kind: Kind::Dump,
        unified: false,
        page_server: false,
        freezable: true,
    };

    #[test]
    fn freezes_early_only_where_criu_would_step_and_nothing_can_hang() {
        assert!(freezes_early(EARLY));
        for facts in [
            FreezeFacts {
                kind: Kind::PreDump,
                ..EARLY
            },
            FreezeFacts {
                unified: true,
                ..EARLY
            },
            FreezeFacts {
                page_server: true,
                ..EARLY
            },
            FreezeFacts {
                freezable: false,
                ..EARLY
            },
        ] {
            assert!(!freezes_early(facts), "{facts:?}");
        }
    }

    #[test]
    fn takes_the_configuration_file_by_runcs_rule() {
        let default = Path::new("/etc/criu/runc.conf");
        assert_eq!(config_file(None, default), Some(default));
        assert_eq!(config_file(Some(""), default), None);
        assert_eq!(config_file(Some("/x"), default), Some(Path::new("/x")));
    }

    #[test]
    fn sends_a_page_server_only_with_address_and_port() {
        let server = |address: &str, port| PageServer {
            address: address.to_owned(),
            port,
            tls: None,
        };
        assert!(is_used(&server("10.0.0.7", 27_277)));
        assert!(!is_used(&server("", 27_277)));
        assert!(!is_used(&server("10.0.0.7", 0)));
        assert!(is_used(&server("10.0.0.7", -1)));
    }

    #[test]
    fn sends_the_files_of_tls_only_where_it_is_asked_for() {
        let mut server = PageServer {
            address: "10.0.0.7".to_owned(),
            port: 27_277,
            tls: None,
        };
        assert_eq!(tls_options(Some(&server)), CriuOpts::default());
        server.tls = Some(Tls {
            ca: "/keys/ca.crt".into(),
            revoked: None,
            certificate: "/keys/tls.crt".into(),
            key: "/keys/tls.key".into(),
            check_name: true,
        });
        let sent = tls_options(Some(&server));
        assert_eq!(sent.tls, Some(true));
        assert_eq!(sent.tls_cacert.as_deref(), Some("/keys/ca.crt"));
        assert_eq!(sent.tls_cacrl, None);
        assert_eq!(sent.tls_cert.as_deref(), Some("/keys/tls.crt"));
        assert_eq!(sent.tls_key.as_deref(), Some("/keys/tls.key"));
        assert_eq!(sent.tls_no_cn_verify, Some(false));
        // runc's rule: without a port there is no page server, and nothing to keep private.
        server.port = 0;
        assert_eq!(tls_options(Some(&server)), CriuOpts::default());
    }

    #[test]
    fn asks_an_old_criu_for_a_pre_dump_the_old_way() {
        assert_eq!(request_type(Kind::PreDump, 31_600), ReqType::PreDump);
        assert_eq!(request_type(Kind::PreDump, 40_201), ReqType::SinglePreDump);
        assert_eq!(request_type(Kind::Dump, 40_201), ReqType::Dump);
    }
}
