//! What people read: pauses, sizes, and what to do next.

use std::{borrow::Cow, path::Path};

use kube::ResourceExt as _;
use stillframe_crds::{
    ContainerCheckpoint, Reason,
    checkpoint::{CgroupsMode, Failure},
};

use super::milliseconds;
use crate::controller::{place::SavedReport, restorable::PagesAre};

/// How long something took, such as `63ms`, `1.2s` or `2m5s`.
#[must_use]
pub fn pause(milliseconds: i64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        ..1 => format!("{milliseconds}ms"),
        1..60 => format!("{seconds}.{}s", milliseconds % 1000 / 100),
        60.. => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}

/// A number of bytes, such as `512`, `5.2Mi` or `1.0Gi`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let mut unit = (1_u64, "");
    for name in ["Ki", "Mi", "Gi", "Ti", "Pi"] {
        let next = unit.0 * 1024;
        if bytes < next {
            break;
        }
        unit = (next, name);
    }
    let (size, name) = unit;
    if name.is_empty() {
        return bytes.to_string();
    }
    let tenths = u128::from(bytes) * 10 / u128::from(size);
    format!("{}.{}{name}", tenths / 10, tenths % 10)
}

/// The commands that bring an image here. What `kubectl debug` itself prints is lost where it ends before somebody listens, and kept
/// in a log that others may read: a second command fetches.
#[must_use]
pub fn fetch(node: &str, path: &str, name: &str) -> String {
    let inside = format!("/host{path}");
    format!(
        "To fetch it, with the pod that the first command names for POD:\n\
         kubectl debug node/{node} --image=busybox:1 --profile=sysadmin -- sleep 600\n\
         kubectl exec POD -- tar -C {inside} -cf - . > {name}.tar\n\
         kubectl delete pod POD --now",
        inside = quoted(&inside)
    )
}

/// As one word of a shell, whatever somebody has put into it.
fn quoted(path: &str) -> Cow<'_, str> {
    // Nothing but a zero byte cannot be quoted, and no path has one.
    shlex::try_quote(path).unwrap_or(Cow::Borrowed("''"))
}

/// What the images that it builds on have to do with it; nothing where it builds on none.
fn parents(saved: &SavedReport) -> String {
    let mut text = String::new();
    let stats = saved.stats.as_ref();
    let shared = stats.map(|s| {
        s.pages_skipped_parent
            .saturating_add(s.shpages_skipped_parent)
    });
    if let Some((shared, stats)) = shared.filter(|pages| *pages > 0).zip(stats) {
        let written = stats.pages_written.saturating_add(stats.shpages_written);
        let all = shared.saturating_add(written);
        text = format!("; {shared} of its {all} pages are in the image that it builds on");
    }
    if let Some(dedup) = &saved.dedup {
        let freed = size(u64::try_from(dedup.bytes_freed).unwrap_or(0));
        text.push_str("; autoDedup has given ");
        text.push_str(&freed);
        text.push_str(" of those back to the disk");
    }
    text
}

/// Where the memory is, if it is not with the rest of the image.
fn memory(object: &ContainerCheckpoint, saved: &SavedReport) -> Option<String> {
    let PagesAre::With(server) = PagesAre::of(&object.spec.options) else {
        return None;
    };
    Some(match &saved.other {
        Some(part) => {
            let size = size(u64::try_from(part.size_bytes).unwrap_or(0));
            format!("on node {} in {} ({size})", part.node, part.path)
        }
        None => format!("with the page server {server}"),
    })
}

/// Why it is ready, and what to do next.
#[must_use]
pub fn ready(
    object: &ContainerCheckpoint,
    node: &str,
    path: &Path,
    saved: &SavedReport,
) -> (Reason, String) {
    let name = object.name_any();
    let path = path.display().to_string();
    let size = size(saved.size_bytes);
    let fetch = fetch(node, &path, &name);
    let memory = memory(object, saved);
    if object.spec.options.pre_dump {
        let message = format!(
            "the memory is saved {there} ({size}){parents}. \
             Take the next checkpoint with options.parentRef.name {name}.\n{fetch}",
            there = match &memory {
                Some(elsewhere) =>
                    format!("{elsewhere}, and what tells its order on node {node} in {path}"),
                None => format!("on node {node} in {path}"),
            },
            parents = parents(saved)
        );
        return (Reason::PreDumped, message);
    }
    let ended = object.spec.options.ends_the_container();
    let stood = match saved.pause_microseconds.map(milliseconds).map(pause) {
        _ if ended => "the container has ended".to_owned(),
        Some(pause) => format!("the container stood still for {pause}"),
        None => "the container goes on".to_owned(),
    };
    if object.spec.options.lazy_pages {
        let message = format!(
            "whoever fetched the lazy pages has ended in order, and has the memory; {stood}. The rest of the image is on \
             node {node} in {path} ({size}): nothing can be restored from it alone.\n{fetch}"
        );
        return (Reason::Checkpointed, message);
    }
    if let Some(elsewhere) = memory {
        let message = format!(
            "the image is complete in two halves: the memory {elsewhere}, the rest on node {node} in {path} ({size}); \
             {stood}{parents}.\n{fetch}\n\
             To restore it, both halves have to be in one directory: docs/page-server.md, Restore from both halves",
            parents = parents(saved),
        );
        return (Reason::Checkpointed, message);
    }
    let message = format!(
        "the image is complete on node {node} in {path} ({size}); {stood}{parents}.\n{fetch}\n\
         To restore it there: {runtime} restore{cgroups} --image-path {word} --bundle BUNDLE {name}\n\
         (docs/kubernetes.md makes the BUNDLE: Bring it back)",
        word = quoted(&path),
        parents = parents(saved),
        // Nothing is known of cgroups then, and the restore is not to look for those that it had.
        cgroups = match object.spec.options.manage_cgroups_mode {
            None | Some(CgroupsMode::Ignore) => " --manage-cgroups-mode ignore",
            Some(CgroupsMode::Soft | CgroupsMode::Full | CgroupsMode::Strict) => "",
        },
        runtime = saved
            .runtime
            .as_ref()
            .map_or("runc", |runtime| runtime.name.as_str()),
    );
    (Reason::Checkpointed, message)
}

/// Why it failed, how long the container stood still, where the log is, what to do.
pub(super) fn failed(
    object: &ContainerCheckpoint,
    failure: &Failure,
    pause_milliseconds: Option<i64>,
) -> String {
    let mut text = failure.message.clone();
    let mut add = |more: String| {
        let end = if text.ends_with('.') { " " } else { ". " };
        text.push_str(end);
        text.push_str(&more);
    };
    if let Some(pause) = pause_milliseconds.map(pause) {
        add(format!("The container stood still for {pause}"));
    }
    if let Some(hint) = &failure.hint {
        add(format!("Hint: {hint}"));
    }
    let node = object.status.as_ref().and_then(|s| s.node_name.as_deref());
    if let Some((log, node)) = failure.log_path.as_deref().zip(node) {
        add(format!("CRIU's log: {log} on node {node}"));
    }
    text
}
