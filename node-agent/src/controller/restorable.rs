//! Whether an image can be restored once its pod is gone, and what with. Nothing here looks or acts.

use serde::{Deserialize, Serialize};
use stillframe_crds::checkpoint::{Options, PageServer};

/// The most things of one kind that are named.
const NAMED: usize = 4;

/// Where a dump's pages are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PagesAre {
    /// In the image's directory, or in those that it builds on.
    Here,
    /// With a page server.
    With(String),
    /// They were served on demand.
    Fetched,
}

impl PagesAre {
    /// Where the pages of a dump with these options go.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        match &options.page_server {
            _ if options.lazy_pages => Self::Fetched,
            Some(server) => Self::With(called(server)),
            None => Self::Here,
        }
    }
}

/// A page server as its request names it.
fn called(server: &PageServer) -> String {
    let PageServer {
        address,
        port,
        tls: _,
        receiver_ref,
    } = server;
    match (receiver_ref, address, port) {
        (Some(receiver), ..) => format!("receiver {}", receiver.name),
        (None, Some(address), Some(port)) => format!("{address}:{port}"),
        (None, ..) => "a page server".to_owned(),
    }
}

/// What is known of the files that the container has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilesAre {
    /// In the image's directory.
    Kept,
    /// There are none.
    Unchanged,
    /// Not kept; this is one of them.
    Lost(String),
    /// Not kept, and nobody knows whether there are any; this is why.
    Unknown(String),
}

/// The image that one builds on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParentIs {
    /// It builds on none.
    None,
    /// It is there.
    There(String),
    /// It is not there.
    Gone(String),
}

/// What becomes of something from outside that was mounted in the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Volume {
    /// An empty file or directory does in its place: what Kubernetes puts into every container.
    StandIn,
    /// It goes with the pod, and held something.
    GoesWithPod,
    /// The cluster makes it anew: configuration, secrets, tokens.
    Configuration,
    /// It outlives the pod: a directory of the node, a persistent volume.
    Outside,
}

/// What a restore needs to know of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts<'a> {
    /// It holds memory alone.
    pub pre_dump: bool,
    /// Where its pages are.
    pub pages: PagesAre,
    /// The container's OCI configuration is there.
    pub spec: bool,
    /// The files that the container has changed.
    pub files: FilesAre,
    /// The image that it builds on.
    pub parent: ParentIs,
    /// The container's image, by its name.
    pub image: Option<&'a str>,
    /// Where what was mounted, by its path in the container.
    pub volumes: Vec<(&'a str, Volume)>,
}

/// Whether it can be restored, and what is to be said of that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// It can.
    pub holds: bool,
    /// What it needs, or what is missing.
    pub message: String,
}

/// Whether an image can be restored once its pod is gone.
#[must_use]
pub fn judge(facts: &Facts<'_>) -> Verdict {
    let missing = missing(facts);
    if missing.is_empty() {
        return Verdict {
            holds: true,
            message: format!("the image can be restored with {}", needed(facts)),
        };
    }
    Verdict {
        holds: false,
        message: format!(
            "once the pod is gone, this is missing: {}",
            missing.join("; ")
        ),
    }
}

/// What an image lacks whose pages a later one has taken over.
#[must_use]
pub fn deduplicated(by: &str) -> Verdict {
    Verdict {
        holds: false,
        message: format!(
            "checkpoint {by} (autoDedup) has removed the pages from this image that it holds anew: restore that one"
        ),
    }
}

fn missing(facts: &Facts<'_>) -> Vec<String> {
    let Facts {
        pre_dump,
        pages,
        spec,
        files,
        parent,
        image: _,
        volumes,
    } = facts;
    if *pre_dump {
        return vec![
            "all but the memory, since it is a pre-dump: the checkpoint that ends its chain is the one to restore".to_owned(),
        ];
    }
    let mut missing = Vec::new();
    match pages {
        PagesAre::Here => {}
        PagesAre::With(server) => {
            missing.push(format!(
                "the memory, which is with the page server {server}"
            ));
        }
        PagesAre::Fetched => {
            missing.push(
                "the memory that was served on demand, which is with whoever fetched it".to_owned(),
            );
        }
    }
    if !spec {
        missing.push("the container's configuration, which could not be read".to_owned());
    }
    match files {
        FilesAre::Kept | FilesAre::Unchanged => {}
        FilesAre::Lost(one) => missing.push(format!(
            "the files that the container has changed, such as {one:?} (spec.rootfs: Diff saves them)"
        )),
        FilesAre::Unknown(why) => missing.push(format!(
            "the files that the container has changed, if there are any ({why})"
        )),
    }
    if let ParentIs::Gone(path) = parent {
        missing.push(format!("the image that it builds on, {path}"));
    }
    let gone = named(volumes, Volume::GoesWithPod);
    if !gone.is_empty() {
        missing.push(format!("what was in {gone}"));
    }
    missing
}

fn needed(facts: &Facts<'_>) -> String {
    let mut needed = vec![match facts.image {
        Some(image) => format!("the container's image {image}"),
        None => "the container's image".to_owned(),
    }];
    if let ParentIs::There(path) = &facts.parent {
        needed.push(format!("the image that it builds on, {path}"));
    }
    for volume in [Volume::Outside, Volume::Configuration] {
        let named = named(&facts.volumes, volume);
        if !named.is_empty() {
            needed.push(match volume {
                Volume::Configuration => {
                    format!("what Kubernetes mounted at {named} (ConfigMaps, Secrets, tokens)")
                }
                _ => format!("the volumes at {named}"),
            });
        }
    }
    needed.join(", ")
}

/// The paths at which something of this kind was mounted.
fn named(volumes: &[(&str, Volume)], kind: Volume) -> String {
    let paths = volumes.iter().filter(|(_, of)| *of == kind);
    let paths: Vec<_> = paths.map(|(path, _)| *path).collect();
    let first: Vec<_> = paths.iter().take(NAMED).map(|path| plain(path)).collect();
    let first = first.join(", ");
    match paths.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// Quoted where it would not be read as a path.
fn plain(path: &str) -> String {
    let fine = |c: char| c.is_ascii_alphanumeric() || "/._-~".contains(c);
    if path.chars().all(fine) {
        path.to_owned()
    } else {
        format!("{path:?}")
    }
}

/// What becomes of what was mounted from this path of the node; `holds` is whether it holds something.
#[must_use]
pub fn volume(source: &str, holds: bool) -> Volume {
    let has = |part: &str| source.contains(part);
    let passing =
        has("/kubernetes.io~empty-dir/") || is_the_sandbox_s(source) && source.ends_with("/shm");
    let configuration = [
        "/kubernetes.io~projected/",
        "/kubernetes.io~configmap/",
        "/kubernetes.io~secret/",
        "/kubernetes.io~downward-api/",
    ];
    if passing {
        return if holds {
            Volume::GoesWithPod
        } else {
            Volume::StandIn
        };
    }
    if configuration.iter().any(|part| has(part)) {
        return Volume::Configuration;
    }
    if is_the_sandbox_s(source) || is_the_kubelet_s(source) {
        return Volume::StandIn;
    }
    Volume::Outside
}

/// Of the pod's own: its host name, its resolver's configuration, its shared memory.
fn is_the_sandbox_s(source: &str) -> bool {
    source.contains("/io.containerd.grpc.v1.cri/sandboxes/")
        || (source.contains("/overlay-containers/") && source.contains("/userdata/"))
}

/// `/pods/UID/etc-hosts`, and the termination log in `/pods/UID/containers/`.
fn is_the_kubelet_s(source: &str) -> bool {
    let below = source.split_once("/pods/").map(|(_, rest)| rest);
    let inside = below
        .and_then(|rest| rest.split_once('/'))
        .map(|(_, rest)| rest);
    inside.is_some_and(|rest| rest == "etc-hosts" || rest.starts_with("containers/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts<'static> {
        Facts {
            pre_dump: false,
            pages: PagesAre::Here,
            spec: true,
            files: FilesAre::Kept,
            parent: ParentIs::None,
            image: Some("docker.io/library/app:1"),
            volumes: vec![("/etc/hosts", Volume::StandIn)],
        }
    }

    type Change = fn(&mut Facts<'static>);

    #[test]
    fn each_missing_part_is_told() {
        let rows: &[(Change, &[&str])] = &[
            (|f| f.pre_dump = true, &["it is a pre-dump"]),
            (
                |f| f.pages = PagesAre::With("10.0.0.7:27277".into()),
                &["the page server 10.0.0.7:27277"],
            ),
            (|f| f.pages = PagesAre::Fetched, &["whoever fetched it"]),
            (|f| f.spec = false, &["the container's configuration"]),
            (
                |f| f.files = FilesAre::Lost("/a\nb".into()),
                &["such as \"/a\\nb\"", "spec.rootfs: Diff"],
            ),
            (
                |f| f.files = FilesAre::Unknown("of type btrfs".into()),
                &["if there are any (of type btrfs)"],
            ),
            (
                |f| f.parent = ParentIs::Gone("/i/shop/p".into()),
                &["the image that it builds on, /i/shop/p"],
            ),
            (
                |f| f.volumes.push(("/cache", Volume::GoesWithPod)),
                &["what was in /cache"],
            ),
            (
                |f| {
                    f.pages = PagesAre::Fetched;
                    f.spec = false;
                },
                &["whoever fetched it; the container's configuration"],
            ),
        ];
        for (change, parts) in rows {
            let mut facts = facts();
            change(&mut facts);
            let Verdict { holds, message } = judge(&facts);
            assert!(!holds, "{message}");
            for part in *parts {
                assert!(message.contains(part), "{part}: {message}");
            }
        }
    }

    #[test]
    fn what_is_needed_beside_the_directory_is_told() {
        let rows: &[(Change, &str)] = &[
            (|_| {}, "the container's image docker.io/library/app:1"),
            (|f| f.image = None, "the container's image"),
            (
                |f| f.files = FilesAre::Unchanged,
                "the container's image docker.io/library/app:1",
            ),
            (
                |f| {
                    f.parent = ParentIs::There("/i/shop/p".into());
                    f.volumes.push(("/data", Volume::Outside));
                    f.volumes.push(("/run/s\n", Volume::Configuration));
                },
                "the container's image docker.io/library/app:1, the image that it builds on, /i/shop/p, \
                 the volumes at /data, what Kubernetes mounted at \"/run/s\\n\" (ConfigMaps, Secrets, tokens)",
            ),
            (
                |f| f.volumes = [("/v", Volume::Outside); 6].to_vec(),
                "the container's image docker.io/library/app:1, the volumes at /v, /v, /v, /v and 2 more",
            ),
        ];
        for (change, needed) in rows {
            let mut facts = facts();
            change(&mut facts);
            let verdict = judge(&facts);
            let message = format!("the image can be restored with {needed}");
            assert_eq!(
                verdict,
                Verdict {
                    holds: true,
                    message
                }
            );
        }
    }

    #[test]
    fn a_mount_is_told_by_where_it_came_from() {
        let kubelet = "/var/lib/kubelet/pods/0-1/";
        let sandbox = "/run/containerd/io.containerd.grpc.v1.cri/sandboxes/ab/shm";
        let rows = [
            (
                "volumes/kubernetes.io~empty-dir/cache",
                true,
                Volume::GoesWithPod,
            ),
            (
                "volumes/kubernetes.io~empty-dir/cache",
                false,
                Volume::StandIn,
            ),
            (
                "volumes/kubernetes.io~projected/token",
                true,
                Volume::Configuration,
            ),
            (
                "volumes/kubernetes.io~configmap/c",
                true,
                Volume::Configuration,
            ),
            (
                "volumes/kubernetes.io~secret/s",
                true,
                Volume::Configuration,
            ),
            (
                "volumes/kubernetes.io~csi/pvc-1/mount",
                true,
                Volume::Outside,
            ),
            ("etc-hosts", true, Volume::StandIn),
            ("containers/app/12ab", false, Volume::StandIn),
        ];
        for (path, holds, expected) in rows {
            assert_eq!(
                volume(&format!("{kubelet}{path}"), holds),
                expected,
                "{path}"
            );
        }
        assert_eq!(volume(sandbox, true), Volume::GoesWithPod);
        assert_eq!(volume(sandbox, false), Volume::StandIn);
        let hostname = sandbox.replace("shm", "hostname");
        assert_eq!(volume(&hostname, true), Volume::StandIn);
        let crio = "/var/run/containers/storage/overlay-containers/ab/userdata/resolv.conf";
        assert_eq!(volume(crio, true), Volume::StandIn);
        assert_eq!(volume("/srv/pods/data", true), Volume::Outside);
    }
}
