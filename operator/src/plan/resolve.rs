//! Finds the container that a request means, in its pod as it is now.

use stillframe_crds::{ContainerCheckpoint, Reason};

use super::verdict::{Verdict, refuse, wait};
use crate::pod::{Container, ContainerStatus, Pod, RestartPolicy, Terminated};

/// A container that runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) pod: &'a Pod,
    pub(super) node: &'a str,
    pub(super) container: &'a Container,
    pub(super) id: &'a str,
    pub(super) image: Option<&'a str>,
    pub(super) started: bool,
}

impl Found<'_> {
    /// The pod's UID as the node's runtime knows it: static pods have there the hash of their
    /// manifest (`kubelet/config.applyDefaults`).
    pub(super) fn sandbox_uid(&self) -> &str {
        let metadata = &self.pod.metadata;
        let annotations = &metadata.annotations;
        match (&annotations.mirror, &annotations.hash) {
            (Some(_), Some(hash)) => hash,
            _ => &metadata.uid,
        }
    }
}

/// The longest name of an image that the status takes.
const IMAGE_BYTES: usize = 1024;

/// Which of a pod's lists a container is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Regular,
    Init,
    Ephemeral,
}

/// Where the pod runs, once that is settled.
#[must_use]
pub fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec
        .node_name
        .as_deref()
        .filter(|node| !node.is_empty())
}

/// The container that is meant, when it runs.
pub(super) fn container<'a>(
    checkpoint: &ContainerCheckpoint,
    pod: Option<&'a Pod>,
) -> Result<Found<'a>, Verdict> {
    let pod = the_pod(checkpoint, pod)?;
    let (role, container) = the_container(checkpoint, pod)?;
    let status = status_of(pod, role, &container.name);
    if let Some(ended) = status.and_then(|status| status.state.terminated.as_ref())
        && !comes_back(pod, role, container, ended)
    {
        return Err(refuse(
            Reason::ContainerNotRunning,
            format!(
                "container {} has ended with exit code {} and is not started again",
                container.name, ended.exit_code
            ),
        ));
    }
    let running = status.filter(|status| status.state.running.is_some());
    let id = running.and_then(|status| status.container_id.as_deref());
    match (id.filter(|id| !id.is_empty()), node_of(pod)) {
        (Some(id), Some(node)) => Ok(Found {
            pod,
            node,
            container,
            id,
            image: running.and_then(image),
            started: running.and_then(|status| status.started).unwrap_or(true),
        }),
        _ => Err(wait(
            Reason::WaitingForContainer,
            Reason::ContainerNotRunning,
            format!("container {} does not run yet", container.name),
        )),
    }
}

/// The image that a container was started from; none that is longer than any name of one.
fn image(status: &ContainerStatus) -> Option<&str> {
    let image = status.image_id.as_deref();
    image.filter(|image| (1..=IMAGE_BYTES).contains(&image.len()))
}

fn the_pod<'a>(checkpoint: &ContainerCheckpoint, pod: Option<&'a Pod>) -> Result<&'a Pod, Verdict> {
    let source = &checkpoint.spec.source;
    let name = &source.pod_name;
    let seen = checkpoint
        .status
        .as_ref()
        .and_then(|s| s.pod_uid.as_deref());
    let Some(pod) = pod else {
        return Err(match seen {
            Some(_) => refuse(Reason::PodDeleted, format!("pod {name} was deleted")),
            None => refuse(Reason::PodNotFound, format!("there is no pod {name}")),
        });
    };
    let uid = &pod.metadata.uid;
    if let Some(meant) = source.pod_uid.as_deref().or(seen)
        && meant != uid
    {
        let message = format!("pod {name} has UID {uid}, and {meant} is meant");
        return Err(refuse(Reason::PodReplaced, message));
    }
    match pod.status.phase.as_deref() {
        Some(phase @ ("Succeeded" | "Failed")) => {
            let message = format!("pod {name} has ended: its phase is {phase}");
            Err(refuse(Reason::PodEnded, message))
        }
        _ if pod.metadata.deletion_timestamp.is_some() => {
            let message = format!("pod {name} is being deleted");
            Err(refuse(Reason::PodDeleted, message))
        }
        _ => Ok(pod),
    }
}

fn the_container<'a>(
    checkpoint: &ContainerCheckpoint,
    pod: &'a Pod,
) -> Result<(Role, &'a Container), Verdict> {
    let spec = &pod.spec;
    let source = &checkpoint.spec.source;
    let Some(name) = source.container_name.as_deref() else {
        return match spec.containers.as_slice() {
            [only] => Ok((Role::Regular, only)),
            several => Err(refuse(
                Reason::ContainerNotNamed,
                format!(
                    "pod {} has {} containers: {}",
                    source.pod_name,
                    several.len(),
                    listed(several)
                ),
            )),
        };
    };
    let lists = [
        (Role::Regular, &spec.containers),
        (Role::Init, &spec.init_containers),
        (Role::Ephemeral, &spec.ephemeral_containers),
    ];
    let mut all = lists
        .iter()
        .flat_map(|(role, list)| list.iter().map(|container| (*role, container)));
    all.find(|(_, container)| container.name == name)
        .ok_or_else(|| {
            let every = lists.iter().flat_map(|(_, list)| list.iter());
            refuse(
                Reason::UnknownContainer,
                format!(
                    "pod {} has no container {name}; it has {}",
                    source.pod_name,
                    listed(every)
                ),
            )
        })
}

fn listed<'a>(containers: impl IntoIterator<Item = &'a Container>) -> String {
    let names: Vec<&str> = containers.into_iter().map(|c| c.name.as_str()).collect();
    names.join(", ")
}

fn status_of<'a>(pod: &'a Pod, role: Role, name: &str) -> Option<&'a ContainerStatus> {
    let list = match role {
        Role::Regular => &pod.status.container_statuses,
        Role::Init => &pod.status.init_container_statuses,
        Role::Ephemeral => &pod.status.ephemeral_container_statuses,
    };
    list.iter().find(|status| status.name == name)
}

/// Whether the kubelet starts an ended container again (`kuberuntime.ShouldContainerBeRestarted`;
/// of an init container, what `computeInitContainerActions` does).
fn comes_back(pod: &Pod, role: Role, container: &Container, ended: &Terminated) -> bool {
    if role == Role::Ephemeral {
        return false;
    }
    if !container.restart_policy_rules.is_empty() {
        return true;
    }
    let of_pod = pod.spec.restart_policy.unwrap_or(RestartPolicy::Always);
    match (role, container.restart_policy) {
        (Role::Init, None) => ended.exit_code != 0 && of_pod != RestartPolicy::Never,
        (_, own) => match own.unwrap_or(of_pod) {
            RestartPolicy::Always | RestartPolicy::Unknown => true,
            RestartPolicy::OnFailure => ended.exit_code != 0,
            RestartPolicy::Never => false,
        },
    }
}
