//! What is kept of a container beside CRIU's files, and what an image's directory tells of that later.
//!
//! `spec.dump` and `config.dump` have the names and contents that `checkpointctl` reads, `stillframe.json` is
//! ours.

use std::{
    fs::{self, File},
    path::Path,
};

use jiff::Timestamp;
use nix::{
    dir::Dir,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::{Mode, SFlag, fstat},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use stillframe_crds::checkpoint::{Options, Rootfs, RuntimeFacts};

use super::{
    failed::chain,
    order::Order,
    restorable::{self, Facts, FilesAre, PagesAre, ParentIs, Verdict, Volume},
};
use crate::{
    checkpoint::{self, Keep},
    layer,
    runtime::{self, Container, MountKind},
};

/// The container's OCI configuration, as the runtime had it.
pub const SPEC: &str = "spec.dump";
/// What `checkpointctl` wants to know of a container.
const CONFIG: &str = "config.dump";
/// The form of our own file; it changes when a reader has to know.
const VERSION: u32 = 1;
/// Our own file is far smaller than that.
const ABOUT_LIMIT: u64 = 4 << 20;

/// Names of a container's image: of containerd's CRI plugin, then of CRI-O.
const IMAGE_NAMES: [&str; 2] = [
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri-o.ImageName",
];
/// What CRI-O knows the image by, where the pod's status did not tell; containerd notes nothing of the kind.
const IMAGE_REFS: [&str; 1] = ["io.kubernetes.cri-o.ImageRef"];

/// What our own file tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// The form of the file.
    pub version: u32,
    /// When the dump began.
    pub time: Timestamp,
    /// The node.
    pub node: String,
    /// The object that asked for it.
    pub checkpoint: Name,
    /// The pod.
    pub pod: Pod,
    /// The container.
    pub container: Name,
    /// The container's image.
    pub image: Image,
    /// What ran and what dumped it.
    pub versions: Versions,
    /// What was asked for.
    pub options: Options,
    /// Whether its changed files were asked for.
    pub rootfs: Rootfs,
    /// What was mounted from outside, in the order of the configuration's bind mounts.
    pub mounts: Vec<Mount>,
}

impl About {
    /// Where what was mounted.
    #[must_use]
    pub fn volumes(&self) -> Vec<(&str, Volume)> {
        let mounts = self.mounts.iter();
        mounts
            .map(|mount| (mount.destination.as_str(), mount.volume))
            .collect()
    }
}

/// Who something is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Name {
    /// Its name.
    pub name: String,
    /// Its UID or id.
    pub id: String,
}

/// Who a pod is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its UID as the runtime knows it.
    pub sandbox_uid: String,
}

/// A container's image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// As the runtime lists it, which is as the pod names it and completed where that is short.
    #[serde(default)]
    pub name: Option<String>,
    /// What the pod's status has for it, with its digest where the runtime tells that.
    #[serde(default, rename = "ref")]
    pub reference: Option<String>,
}

/// Versions, beside CRIU's, which the engine adds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Versions {
    /// Ours.
    pub stillframe: String,
    /// The runtime that ran the container.
    pub runtime: String,
    /// Its version, where it can be told.
    #[serde(default)]
    pub runtime_version: Option<String>,
    /// The node's kernel.
    pub kernel: String,
    /// The node's architecture, as the kernel calls it.
    pub architecture: String,
}

/// Something from outside that was mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Where in the container.
    pub destination: String,
    /// From where on the node.
    pub source: String,
    /// What is needed in its place.
    pub kind: Kind,
    /// What becomes of it.
    pub volume: Volume,
}

/// What a mount's source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file, or a socket or device, for which a file stands.
    File,
}

/// What is known of a container before its dump.
#[derive(Debug)]
pub struct Known {
    /// What the image's directory is to hold.
    pub keep: Keep,
    /// What our own file tells.
    pub about: About,
    /// What could not be kept.
    pub warnings: Vec<String>,
}

/// Looks at a container that is about to be dumped.
#[must_use]
pub fn look(order: &Order, container: &Container, node: &str, runtime: &RuntimeFacts) -> Known {
    let about = about(order, container, node, runtime);
    let mut warnings = Vec::new();
    let mut files = Vec::new();
    match runtime::oci_config(container) {
        Ok(spec) => files.push((SPEC, spec)),
        Err(error) => warnings.push(format!("spec.dump is not kept: {}", chain(&error))),
    }
    let config = config(&about, created(container));
    files.push((CONFIG, config.to_string().into_bytes()));
    let keep = Keep {
        files,
        about: match serde_json::to_value(&about) {
            Ok(Value::Object(about)) => about,
            // A struct of texts and numbers is an object.
            Ok(_) | Err(_) => Map::new(),
        },
        rootfs: None,
    };
    Known {
        keep,
        about,
        warnings,
    }
}

/// What an image's directory tells of its container, where our own file is there.
#[must_use]
pub fn read(dir: &Path) -> Option<About> {
    let file = dir.join(checkpoint::ABOUT);
    let meta = fs::symlink_metadata(&file).ok()?;
    if !meta.is_file() || meta.len() > ABOUT_LIMIT {
        return None;
    }
    serde_json::from_slice(&fs::read(&file).ok()?).ok()
}

/// Whether an image can be restored, as far as its directory tells: by an agent that did not see the dump.
#[must_use]
pub fn judge(dir: &Path) -> Option<Verdict> {
    let about = read(dir)?;
    let files = if about.options.pre_dump || dir.join(layer::FILE).is_file() {
        FilesAre::Kept
    } else {
        FilesAre::Unknown("the agent was restarted before it could look for them".to_owned())
    };
    let parent = dir.join("parent");
    let parent = match (fs::read_link(&parent), parent.canonicalize()) {
        (Err(_), _) => ParentIs::None,
        (Ok(_), Ok(there)) => ParentIs::There(there.display().to_string()),
        (Ok(link), Err(_)) => ParentIs::Gone(link.display().to_string()),
    };
    Some(restorable::judge(&Facts {
        pre_dump: about.options.pre_dump,
        pages: PagesAre::of(&about.options),
        spec: dir.join(SPEC).is_file(),
        files,
        parent,
        image: about.image.name.as_deref(),
        volumes: about.volumes(),
    }))
}

fn about(order: &Order, container: &Container, node: &str, runtime: &RuntimeFacts) -> About {
    let annotation = |keys: &[&str]| {
        let found = keys.iter().find_map(|key| container.annotation(key));
        found.map(str::to_owned)
    };
    let (kernel, architecture) = nix::sys::utsname::uname().map_or_else(
        |_| (String::new(), String::new()),
        |name| {
            let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
            (text(name.release()), text(name.machine()))
        },
    );
    About {
        version: VERSION,
        time: Timestamp::now(),
        node: node.to_owned(),
        checkpoint: Name {
            name: order.name.clone(),
            id: order.uid.clone(),
        },
        pod: Pod {
            namespace: order.namespace.clone(),
            name: order.pod_name.clone(),
            uid: order.pod_uid.clone(),
            sandbox_uid: order.sandbox_uid.clone(),
        },
        container: Name {
            name: order.container_name.clone(),
            id: order.container_id.clone(),
        },
        image: Image {
            name: annotation(&IMAGE_NAMES).as_deref().map(full_name),
            reference: order.image_id.clone().or(annotation(&IMAGE_REFS)),
        },
        versions: Versions {
            stillframe: env!("CARGO_PKG_VERSION").to_owned(),
            runtime: runtime.name.clone(),
            runtime_version: runtime.version.clone(),
            kernel,
            architecture,
        },
        options: order.options.clone(),
        rootfs: order.rootfs,
        mounts: mounts(container),
    }
}

/// An image's name as a runtime lists it, where a pod may have named it in short: Docker's rules, by which containerd completes it
/// (`ParseDockerRef` of `github.com/distribution/reference`).
fn full_name(name: &str) -> String {
    let is_host = |first: &str| first.contains(['.', ':']) || first == "localhost";
    let mut full = match name.split_once('/') {
        Some(("docker.io", rest)) if !rest.contains('/') => format!("docker.io/library/{rest}"),
        Some((first, _)) if is_host(first) => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    };
    let last = full.rsplit('/').next().unwrap_or_default();
    if !last.contains([':', '@']) {
        full.push_str(":latest");
    }
    full
}

/// As containerd's own checkpoints have it.
fn config(about: &About, created: Option<Timestamp>) -> Value {
    let name = about.image.name.as_deref().unwrap_or_default();
    let id = &about.container.id;
    let id = id.split_once("://").map_or(id.as_str(), |(_, id)| id);
    json!({
        "id": id,
        "name": about.container.name,
        "rootfsImage": name,
        "rootfsImageName": name,
        "rootfsImageRef": about.image.reference.as_deref().unwrap_or_default(),
        "runtime": about.versions.runtime,
        "createdTime": created.unwrap_or(about.time),
        "checkpointedTime": about.time,
        "restored": false,
    })
}

/// When the runtime made the container: it wrote its state then.
fn created(container: &Container) -> Option<Timestamp> {
    let meta = fs::metadata(&container.state_dir).ok()?;
    Timestamp::try_from(meta.created().or(meta.modified()).ok()?).ok()
}

fn mounts(container: &Container) -> Vec<Mount> {
    let root = File::open(container.proc_root());
    let binds = container.mounts.iter();
    let binds = binds.filter(|mount| mount.kind == MountKind::Bind);
    let mount = |mount: &runtime::Mount| {
        let inside = root.as_ref().ok();
        let inside = inside.and_then(|root| inside_of(root, &mount.destination));
        let (kind, holds) = inside.unwrap_or((Kind::Directory, true));
        Mount {
            destination: mount.destination.to_string_lossy().into_owned(),
            source: mount.source.clone(),
            kind,
            volume: restorable::volume(&mount.source, holds),
        }
    };
    binds.map(mount).collect()
}

/// What there is at a path of the container, whose links lead nowhere but into it, and whether it holds something.
fn inside_of(root: &File, path: &Path) -> Option<(Kind, bool)> {
    let open = |flags| {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(root, path, how).ok()
    };
    let stat = fstat(open(OFlag::O_PATH)?).ok()?;
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFDIR {
        return Some((Kind::File, stat.st_size > 0));
    }
    let dir = open(OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    let mut listing = Dir::openat(&dir, ".", OFlag::O_DIRECTORY, Mode::empty()).ok()?;
    let mut entries = listing.iter().flatten();
    let holds = entries.any(|entry| !matches!(entry.file_name().to_bytes(), b"." | b".."));
    Some((Kind::Directory, holds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> About {
        About {
            version: VERSION,
            time: "2026-01-01T00:00:00Z".parse().unwrap(),
            node: "n1".into(),
            checkpoint: Name::default(),
            pod: Pod::default(),
            container: Name {
                name: "app".into(),
                id: "containerd://ab".into(),
            },
            image: Image {
                name: Some("docker.io/library/app:1".into()),
                reference: None,
            },
            versions: Versions {
                runtime: "runc".into(),
                ..Versions::default()
            },
            options: Options::default(),
            rootfs: Rootfs::Diff,
            mounts: vec![Mount {
                destination: "/data".into(),
                source: "/srv/data".into(),
                kind: Kind::Directory,
                volume: Volume::Outside,
            }],
        }
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(checkpoint::ABOUT);
        assert_eq!(read(dir.path()), None);
        let mut about = serde_json::to_value(sample()).unwrap();
        about["criu"] = json!("4.2");
        fs::write(&file, about.to_string()).unwrap();
        assert_eq!(read(dir.path()), Some(sample()));
        fs::write(&file, "{").unwrap();
        assert_eq!(read(dir.path()), None);
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/proc/self/status", &file).unwrap();
        assert_eq!(read(dir.path()), None);
    }

    #[test]
    fn an_agent_that_did_not_see_a_dump_judges_by_its_directory() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("child");
        fs::create_dir(&dir).unwrap();
        assert_eq!(judge(&dir), None);
        let about = serde_json::to_string(&sample()).unwrap();
        fs::write(dir.join(checkpoint::ABOUT), about).unwrap();
        let said = || judge(&dir).unwrap();
        for missing in ["the container's configuration", "if there are any"] {
            assert!(said().message.contains(missing), "{}", said().message);
        }
        fs::write(dir.join(SPEC), "{}").unwrap();
        fs::write(dir.join(layer::FILE), "").unwrap();
        assert!(said().holds, "{}", said().message);
        std::os::unix::fs::symlink("../parent", dir.join("parent")).unwrap();
        assert!(!said().holds && said().message.contains("../parent"));
        fs::create_dir(scratch.path().join("parent")).unwrap();
        let there = scratch.path().canonicalize().unwrap().join("parent");
        assert!(said().holds && said().message.contains(&there.display().to_string()));
    }

    #[test]
    fn an_image_is_named_as_the_runtime_lists_it() {
        for (short, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1", "docker.io/library/busybox:1"),
            ("docker.io/busybox:1", "docker.io/library/busybox:1"),
            ("team/app:1", "docker.io/team/app:1"),
            ("localhost/app:1", "localhost/app:1"),
            ("here:5000/app", "here:5000/app:latest"),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
            ("app@sha256:00", "docker.io/library/app@sha256:00"),
        ] {
            assert_eq!(full_name(short), full);
            assert_eq!(full_name(full), full);
        }
    }

    #[test]
    fn checkpointctl_finds_what_it_asks_for() {
        let config = config(&sample(), None);
        for (key, value) in [
            ("id", "ab"),
            ("name", "app"),
            ("rootfsImageName", "docker.io/library/app:1"),
            ("runtime", "runc"),
            ("createdTime", "2026-01-01T00:00:00Z"),
            ("checkpointedTime", "2026-01-01T00:00:00Z"),
        ] {
            assert_eq!(config[key], value, "{key}");
        }
    }

    #[test]
    fn what_a_mount_needs_in_its_place_is_seen_from_inside() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir(at("empty")).unwrap();
        fs::create_dir(at("full")).unwrap();
        fs::write(at("full/file"), "x").unwrap();
        std::os::unix::fs::symlink("/full", at("link")).unwrap();
        std::os::unix::fs::symlink("/etc", at("out")).unwrap();
        let root = File::open(scratch.path()).unwrap();
        let seen = |path: &str| inside_of(&root, Path::new(path));
        assert_eq!(seen("/empty"), Some((Kind::Directory, false)));
        assert_eq!(seen("/link"), Some((Kind::Directory, true)));
        assert_eq!(seen("/link/file"), Some((Kind::File, true)));
        assert_eq!(seen("/out"), None);
    }
}
