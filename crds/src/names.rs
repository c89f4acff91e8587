//! Names that the operator, the agent and the installation's policies have to agree on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Keeps an object until its image is gone, or is to stay. Set and dropped by the operator alone.
pub const FINALIZER: &str = "stillframe.dev/image";

/// Field manager, event source and leader of the operator.
pub const OPERATOR: &str = "stillframe-operator";

/// Field manager of the node agent.
pub const NODE_AGENT: &str = "stillframe-node-agent";

/// Event source of the node agent. The source's instance is the node.
pub const NODE_AGENT_EVENTS: &str = "stillframe.dev/node-agent";

/// What the image directories of one namespace may not be called: the agent keeps its own files
/// beside an image under these endings.
pub const RESERVED_ENDINGS: [&str; 3] = [".partial", ".work", ".owner"];

/// On an object that is kept as it is in Git: its time to live is honoured all the same.
pub const ALLOW_TTL: &str = "stillframe.dev/allow-ttl";

/// Labels by which Flux and Argo CD know the objects that they keep as they are in Git. An object
/// that is deleted is created anew.
pub const TRACKING_LABELS: [&str; 3] = [
    "kustomize.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/name",
    "argocd.argoproj.io/instance",
];

/// The annotation by which Argo CD knows them.
pub const TRACKING_ANNOTATION: &str = "argocd.argoproj.io/tracking-id";

/// The label by which Argo CD knows them unless it is told otherwise. Helm sets it as well, and then
/// says so in [`MANAGED_BY`].
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";

/// The label that tells who made an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// What [`MANAGED_BY`] says of an object that Helm made, which nobody creates anew.
pub const HELM: &str = "Helm";

/// The mark that tells that an object is kept as it is in Git, if it carries one.
#[must_use]
pub fn tracking_mark(metadata: &ObjectMeta) -> Option<&'static str> {
    let label = |name: &str| metadata.labels.as_ref()?.get(name);
    let of_flux_or_argo = TRACKING_LABELS
        .into_iter()
        .find(|name| label(name).is_some());
    let annotation = || {
        let annotations = metadata.annotations.as_ref()?;
        annotations
            .contains_key(TRACKING_ANNOTATION)
            .then_some(TRACKING_ANNOTATION)
    };
    let instance = || {
        let helms = label(MANAGED_BY).is_some_and(|by| by == HELM);
        (label(INSTANCE_LABEL).is_some() && !helms).then_some(INSTANCE_LABEL)
    };
    of_flux_or_argo.or_else(annotation).or_else(instance)
}

/// The mark for which an object's time to live is not honoured, if there is one: it would be created
/// anew after every expiry, and dumped again.
#[must_use]
pub fn outlives_its_ttl(metadata: &ObjectMeta) -> Option<&'static str> {
    let annotations = metadata.annotations.as_ref();
    let allowed = annotations.and_then(|all| all.get(ALLOW_TTL));
    tracking_mark(metadata).filter(|_| allowed.is_none_or(|value| value != "true"))
}

/// The start of an object's name that fits into an event's beside its time.
const EVENT_NAME_LIMIT: usize = 200;

/// The name of an event about an object of that name: together with the time no longer than names may be.
#[must_use]
pub fn event_name(about: &str, now: jiff::Timestamp) -> String {
    let start = crate::condition::cut(about, EVENT_NAME_LIMIT).trim_end_matches(['.', '-']);
    format!("{start}.{:x}", now.as_nanosecond())
}

/// The name of the Lease that tells that a node's agent is alive.
#[must_use]
pub fn lease_of(node: &str) -> String {
    format!("stillframe-node-{node}")
}

/// Longest start of an object's name in a directory's name: with a UID behind it and one of the
/// agent's endings, it fits into what file systems take.
const NAME_IN_PATH: usize = 160;

/// The image directory of a checkpoint that names none: its object's name, cut where it is very
/// long, and its UID, so that an object of the same name made later never meets it.
#[must_use]
pub fn default_image_path(name: &str, uid: &str) -> String {
    format!("{}-{uid}", crate::condition::cut(name, NAME_IN_PATH))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = &'static [(&'static str, &'static str)];

    fn marked(labels: Pairs, annotations: Pairs) -> ObjectMeta {
        let map = |pairs: Pairs| {
            let owned = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            Some(owned.collect())
        };
        ObjectMeta {
            labels: map(labels),
            annotations: map(annotations),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn what_is_kept_as_it_is_in_git_is_known_by_its_marks() {
        let rows: [(Pairs, Pairs, Option<&str>, bool); 10] = [
            (&[], &[], None, false),
            (&[(MANAGED_BY, HELM)], &[], None, false),
            (
                &[(TRACKING_LABELS[0], "x")],
                &[],
                Some(TRACKING_LABELS[0]),
                true,
            ),
            (
                &[(TRACKING_LABELS[1], "x")],
                &[],
                Some(TRACKING_LABELS[1]),
                true,
            ),
            (
                &[(TRACKING_LABELS[2], "")],
                &[],
                Some(TRACKING_LABELS[2]),
                true,
            ),
            (
                &[],
                &[(TRACKING_ANNOTATION, "x")],
                Some(TRACKING_ANNOTATION),
                true,
            ),
            (&[(INSTANCE_LABEL, "x")], &[], Some(INSTANCE_LABEL), true),
            (
                &[(INSTANCE_LABEL, "x"), (MANAGED_BY, HELM)],
                &[],
                None,
                false,
            ),
            (
                &[(INSTANCE_LABEL, "x")],
                &[(ALLOW_TTL, "true")],
                Some(INSTANCE_LABEL),
                false,
            ),
            (
                &[(INSTANCE_LABEL, "x")],
                &[(ALLOW_TTL, "yes")],
                Some(INSTANCE_LABEL),
                true,
            ),
        ];
        for (labels, annotations, mark, outlives) in rows {
            let metadata = marked(labels, annotations);
            assert_eq!(tracking_mark(&metadata), mark, "{labels:?} {annotations:?}");
            let found = outlives_its_ttl(&metadata).is_some();
            assert_eq!(found, outlives, "{labels:?} {annotations:?}");
        }
    }

    #[test]
    fn a_long_name_leaves_room_for_the_uid() {
        let uid = "0".repeat(36);
        assert_eq!(default_image_path("counter", "u"), "counter-u");
        assert_eq!(default_image_path(&"x".repeat(253), &uid).len(), 197);
    }
}
