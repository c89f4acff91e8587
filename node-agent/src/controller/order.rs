//! What is to be dumped, as an object and its assignment say it; and what the engine is asked for.

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;
use kube::ResourceExt as _;
use stillframe_crds::{
    ContainerCheckpoint, Reason,
    checkpoint::{ByteCount, CgroupsMode, NetworkLock, Options, RelativePath, Rootfs},
    names,
};

use super::{failed::Failed, page_server::Target};
use crate::{
    checkpoint::{self, Image, Keep, Kind, PageServer, Parent, Request},
    criu::config::{Allowed, CgroupsMode as SiteCgroups, LockMethod},
};

/// What of a pause's bound is kept for rolling back, at least and at most; in between it is a tenth. CRIU has a quarter of a second to
/// give way, and what it left takes its time to be repaired.
const TO_ROLL_BACK: [Duration; 2] = [Duration::from_millis(400), Duration::from_secs(1)];

/// A dump that is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// The object's namespace, which is the pod's.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The object's UID.
    pub uid: String,
    /// The pod.
    pub pod_name: String,
    /// The pod's UID.
    pub pod_uid: String,
    /// The pod's UID as the runtime knows it.
    pub sandbox_uid: String,
    /// The container.
    pub container_name: String,
    /// The container's id, as in the pod's status.
    pub container_id: String,
    /// The container's image, as in the pod's status.
    pub image_id: Option<String>,
    /// What was asked for.
    pub options: Options,
    /// Whether the container's changed files are kept as well.
    pub rootfs: Rootfs,
    /// The image directory, below the namespace's.
    pub image: RelativePath,
    /// The parent's image directory, below the namespace's.
    pub parent: Option<RelativePath>,
    /// How long the container may stand still.
    pub max_pause: Option<Duration>,
    /// Where the memory goes, if not to disk.
    pub server: Option<Target>,
}

/// Directories on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    /// The image under its final name.
    pub image: PathBuf,
    /// CRIU's log and statistics.
    pub work: PathBuf,
    /// The way from the image to its parent.
    pub parent: Option<PathBuf>,
}

/// Where an object's image is, below its namespace's directory.
#[must_use]
pub fn image_path(object: &ContainerCheckpoint) -> RelativePath {
    let asked = object.spec.options.image_path.clone();
    asked.unwrap_or_else(|| {
        let uid = object.uid().unwrap_or_default();
        RelativePath(names::default_image_path(&object.name_any(), &uid))
    })
}

/// The end of a request's time. An object that the server has not stamped has none to lose.
#[must_use]
pub fn deadline(object: &ContainerCheckpoint) -> Timestamp {
    let created = object.metadata.creation_timestamp.as_ref();
    let allowed = jiff::SignedDuration::from_secs(i64::from(object.spec.timeout_seconds));
    let end = created.map(|created| created.0.checked_add(allowed));
    end.and_then(Result::ok).unwrap_or(Timestamp::MAX)
}

impl Order {
    /// The dump that an assigned object asks for. `parent` is where the image of its parentRef is.
    ///
    /// # Errors
    /// The assignment is not complete, or the parent is not there.
    pub fn of(object: &ContainerCheckpoint, parent: Option<&RelativePath>) -> Result<Self, Failed> {
        let status = object.status.clone().unwrap_or_default();
        let missing = |field| {
            let message = format!("the assignment is not complete: status.{field} is missing");
            Failed::of(Reason::InternalError, message)
        };
        let options = object.spec.options.clone();
        let parent = match (&options.parent_ref, &options.parent_path) {
            (Some(wanted), _) => Some(parent.cloned().ok_or_else(|| {
                let message = format!("this node has no image of checkpoint {}", wanted.name);
                Failed::of(Reason::ParentImageMissing, message)
            })?),
            (None, path) => path.clone(),
        };
        let server = match &options.page_server {
            Some(asked) => Some(
                Target::of(asked, status.page_server.as_ref())
                    .ok_or_else(|| missing("pageServer"))?,
            ),
            None => None,
        };
        let pod_uid = status.pod_uid.ok_or_else(|| missing("podUID"))?;
        Ok(Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            pod_name: object.spec.source.pod_name.clone(),
            sandbox_uid: status.sandbox_uid.unwrap_or_else(|| pod_uid.clone()),
            pod_uid,
            container_name: status
                .container_name
                .ok_or_else(|| missing("containerName"))?,
            container_id: status.container_id.ok_or_else(|| missing("containerID"))?,
            image_id: status.image_id,
            image: image_path(object),
            parent,
            max_pause: status.max_pause_seconds.map(patience),
            server,
            options,
            rootfs: object.spec.rootfs,
        })
    }

    /// The engine's request. `site` is what the container's own CRIU configuration asks for and
    /// may; `timeout` is what is left of the request's time.
    ///
    /// # Errors
    /// A value of the spec that the API's schema should have refused.
    pub fn request(
        &self,
        dirs: Dirs,
        site: &Allowed,
        timeout: Duration,
    ) -> Result<Request, Failed> {
        let Options {
            leave_running: _,
            pre_dump,
            parent_ref: _,
            parent_path: _,
            tcp_established: _,
            accept_connection_loss: _,
            tcp_skip_in_flight: _,
            ext_unix_sk: _,
            shell_job: _,
            file_locks: _,
            link_remap: _,
            lazy_pages: _,
            // Told apart by the node's own addresses and the administrator's allowances.
            lazy_peers: _,
            // Runs once the image is complete.
            auto_dedup: _,
            manage_cgroups_mode,
            // The network is left out of every image.
            empty_namespaces: _,
            // Resolved with the assignment.
            page_server: _,
            image_path: _,
            work_path: _,
            network_lock,
            track_memory: _,
            ghost_limit,
            max_pause_seconds: _,
        } = &self.options;
        let ghost_limit = ghost_limit.as_ref().map(ByteCount::bytes).transpose();
        let ghost_limit = ghost_limit
            .map_err(|error| Failed::of(Reason::InvalidSpec, format!("ghostLimit: {error}")))?;
        Ok(Request {
            kind: if *pre_dump { Kind::PreDump } else { Kind::Dump },
            image: Image::Publish { dir: dirs.image },
            work_dir: Some(dirs.work),
            parent: dirs.parent.map(|path| Parent { path, latest: true }),
            options: switches(&self.options, site),
            page_server: self.server.as_ref().map(|server| PageServer {
                address: server.address.clone(),
                port: server.port.into(),
                tls: None,
            }),
            lazy_pages_for: None,
            status_fd: None,
            cgroups_mode: cgroups(*manage_cgroups_mode, site.manage_cgroups),
            network_lock: lock(*network_lock, site.network_lock),
            ghost_limit: ghost_limit.or(site.ghost_limit),
            timeout: Some(timeout),
            max_pause: self.max_pause,
            site_config: false,
            unlock_after_end: true,
            // What is known of the container, and not of the order.
            keep: Keep::default(),
        })
    }
}

/// After how long a pause a dump is rolled back so that the container goes on within this many seconds: to roll back takes its time too, and
/// what follows from a probe leaves none.
fn patience(seconds: u32) -> Duration {
    let bound = Duration::from_secs(seconds.into());
    let [least, most] = TO_ROLL_BACK;
    bound.saturating_sub((bound / 10).clamp(least, most))
}

fn switches(asked: &Options, site: &Allowed) -> checkpoint::Options {
    let either = |asked: bool, site: Option<bool>| asked || site == Some(true);
    checkpoint::Options {
        leave_running: asked.leave_running,
        tcp_established: either(asked.tcp_established, site.tcp_established),
        tcp_skip_in_flight: either(asked.tcp_skip_in_flight, site.tcp_skip_in_flight),
        ext_unix_sk: either(asked.ext_unix_sk, site.ext_unix_sk),
        shell_job: asked.shell_job,
        file_locks: either(asked.file_locks, site.file_locks),
        link_remap: either(asked.link_remap, site.link_remap),
        lazy_pages: asked.lazy_pages,
        auto_dedup: false,
        track_memory: asked.track_memory,
    }
}

fn cgroups(asked: Option<CgroupsMode>, site: Option<SiteCgroups>) -> checkpoint::CgroupsMode {
    match (asked, site) {
        (Some(CgroupsMode::Soft), _) | (None, Some(SiteCgroups::Soft)) => {
            checkpoint::CgroupsMode::Soft
        }
        (Some(CgroupsMode::Full), _) | (None, Some(SiteCgroups::Full)) => {
            checkpoint::CgroupsMode::Full
        }
        (Some(CgroupsMode::Strict), _) | (None, Some(SiteCgroups::Strict)) => {
            checkpoint::CgroupsMode::Strict
        }
        (Some(CgroupsMode::Ignore), _)
        | (None, None | Some(SiteCgroups::None | SiteCgroups::Props | SiteCgroups::Ignore)) => {
            checkpoint::CgroupsMode::Ignore
        }
    }
}

fn lock(asked: NetworkLock, site: Option<LockMethod>) -> checkpoint::NetworkLock {
    match (asked, site) {
        (NetworkLock::Iptables, _) | (NetworkLock::Auto, Some(LockMethod::Iptables)) => {
            checkpoint::NetworkLock::Iptables
        }
        (NetworkLock::Nftables, _) | (NetworkLock::Auto, Some(LockMethod::Nftables)) => {
            checkpoint::NetworkLock::Nftables
        }
        (NetworkLock::Skip, _) | (NetworkLock::Auto, Some(LockMethod::Skip)) => {
            checkpoint::NetworkLock::Skip
        }
        (NetworkLock::Auto, None) => checkpoint::NetworkLock::Auto,
    }
}

#[cfg(test)]
mod tests;
