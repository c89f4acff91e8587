//! From the creation of an object to its end, apart from its assignment.

use stillframe_crds::{condition, names};

use super::*;
use crate::fixtures::{assigned, at, checkpoint, condition_of, ready, time};

fn on(checkpoint: &ContainerCheckpoint, exists: bool, second: i64) -> Plan {
    plan(checkpoint, &Around::Node { exists }, at(second))
}

fn deleted(mut checkpoint: ContainerCheckpoint) -> ContainerCheckpoint {
    checkpoint.metadata.deletion_timestamp = Some(time(50));
    checkpoint
}

fn without_finalizer(mut checkpoint: ContainerCheckpoint) -> ContainerCheckpoint {
    checkpoint.metadata.finalizers = Some(vec!["example.com/other".into()]);
    checkpoint
}

fn image_removed(mut checkpoint: ContainerCheckpoint, status: &str) -> ContainerCheckpoint {
    let conditions = &mut checkpoint.status.as_mut().unwrap().conditions;
    conditions.push(condition_of(
        condition::IMAGE_REMOVED,
        status,
        "ImageDeleted",
    ));
    checkpoint
}

#[test]
#[expect(clippy::too_many_lines, reason = "one row per case")]
fn every_stage_looks_at_what_it_needs_and_does_what_is_due() {
    let rows = vec![
        (
            without_finalizer(checkpoint("new")),
            Look::Nothing,
            "add",
            "add",
        ),
        (
            without_finalizer(assigned("forged")),
            Look::Nothing,
            "add",
            "add",
        ),
        (
            without_finalizer(ready("released")),
            Look::Nothing,
            "add",
            "add",
        ),
        (
            without_finalizer(deleted(assigned("gone"))),
            Look::Nothing,
            "nothing",
            "nothing",
        ),
        (ready("kept"), Look::Nothing, "nothing", "nothing"),
        (
            assigned("running"),
            Look::Node("node-1"),
            "nothing",
            "NodeGone",
        ),
        (
            deleted(checkpoint("unassigned")),
            Look::Nothing,
            "drop",
            "drop",
        ),
        (
            deleted(assigned("cancelled")),
            Look::Node("node-1"),
            "nothing",
            "drop",
        ),
        (
            deleted(ready("removing")),
            Look::Node("node-1"),
            "nothing",
            "drop",
        ),
        (
            deleted(image_removed(ready("removed"), "True")),
            Look::Nothing,
            "drop",
            "drop",
        ),
        (
            deleted(image_removed(ready("depended"), "False")),
            Look::Node("node-1"),
            "nothing",
            "drop",
        ),
    ];
    for (checkpoint, looks, with_node, without_node) in rows {
        let name = checkpoint.metadata.name.clone();
        assert_eq!(look(&checkpoint), looks, "{name:?}");
        assert_eq!(word(&on(&checkpoint, true, 60)), with_node, "{name:?}");
        assert_eq!(word(&on(&checkpoint, false, 60)), without_node, "{name:?}");
    }
}

#[test]
fn an_agent_has_thirty_seconds_beyond_the_deadline() {
    let early = on(&assigned("one"), true, 149);
    assert_eq!((early.act, early.again), (Act::Nothing, Some(at(150))));
    let late = on(&assigned("one"), true, 150);
    assert_eq!(word(&late), "AgentNotResponding");
    let status = status_of(&late);
    assert_eq!(
        status.node_name.as_deref(),
        Some("node-1"),
        "the node is still to clean up"
    );
    assert_eq!(status.completion_time, Some(time(150)));
    assert_eq!(late.again, None);
}

#[test]
fn a_finished_object_is_deleted_when_its_time_to_live_is_over() {
    let mut one = ready("one");
    one.spec.ttl_seconds_after_finished = Some(100);
    let early = on(&one, true, 111);
    assert_eq!((early.act, early.again), (Act::Nothing, Some(at(112))));
    assert_eq!(word(&on(&one, true, 112)), "delete");
    one.spec.ttl_seconds_after_finished = Some(0);
    assert_eq!(word(&on(&one, true, 12)), "delete");
    assert_eq!(word(&on(&deleted(one.clone()), true, 500)), "nothing");
    // Without a finalizer its image would stay.
    assert_eq!(word(&on(&without_finalizer(one), true, 12)), "add");
    let mut unfinished = assigned("one");
    unfinished.spec.ttl_seconds_after_finished = Some(0);
    assert_eq!(word(&on(&unfinished, true, 60)), "nothing");
}

/// Marks of an object, and whether its time to live is honoured.
fn marked(
    checkpoint: ContainerCheckpoint,
    label: &str,
    allowed: Option<&str>,
) -> ContainerCheckpoint {
    let mut marked = checkpoint;
    marked.metadata.labels = Some([(label.to_owned(), "x".to_owned())].into());
    let annotation = allowed.map(|value| (names::ALLOW_TTL.to_owned(), value.to_owned()));
    marked.metadata.annotations = Some(annotation.into_iter().collect());
    marked
}

#[test]
fn what_git_would_bring_back_does_not_expire_unless_that_is_allowed() {
    let flux = names::TRACKING_LABELS[0];
    for (label, allowed, expired) in [
        ("app", None, "delete"),
        (flux, None, "nothing"),
        (flux, Some("false"), "nothing"),
        (flux, Some("true"), "delete"),
        (names::INSTANCE_LABEL, None, "nothing"),
    ] {
        let mut finished = marked(ready("one"), label, allowed);
        finished.spec.ttl_seconds_after_finished = Some(0);
        let plan = on(&finished, true, 500);
        assert_eq!(word(&plan), expired, "{label} {allowed:?}");
        assert_eq!(
            (plan.notice, plan.again),
            (None, None),
            "{label} {allowed:?}"
        );
    }
}

#[test]
fn that_it_does_not_expire_is_told_with_the_first_write() {
    let flux = names::TRACKING_LABELS[0];
    for (label, allowed, ttl, told) in [
        (flux, None, Some(0), true),
        (flux, Some("true"), Some(0), false),
        (flux, None, None, false),
        ("app", None, Some(0), false),
    ] {
        let mut new = without_finalizer(marked(checkpoint("new"), label, allowed));
        new.spec.ttl_seconds_after_finished = ttl;
        let plan = on(&new, true, 1);
        assert_eq!(plan.act, Act::AddFinalizer);
        let row = (label, allowed, ttl);
        assert_eq!(plan.notice.is_some(), told, "{row:?}");
        if let Some(Notice { reason, note }) = plan.notice {
            assert_eq!(reason, Reason::TTLIgnored);
            assert!(
                note.contains(flux) && note.contains("stillframe.dev/allow-ttl=true"),
                "{note}"
            );
        }
    }
}

#[test]
fn an_empty_node_name_assigns_nothing() {
    let mut one = checkpoint("one");
    one.status = Some(ContainerCheckpointStatus {
        node_name: Some(String::new()),
        ..ContainerCheckpointStatus::default()
    });
    assert_eq!(look(&one), Look::Source);
    assert_eq!(word(&plan(&deleted(one), &Around::Nothing, at(60))), "drop");
}

#[test]
fn a_written_decision_is_not_written_again() {
    let mut one = checkpoint("one");
    let gone = Surroundings::default();
    let failed = decide(&one, &gone, 5);
    one.status = Some(status_of(&failed).clone());
    assert_eq!(look(&one), Look::Nothing);
    assert_eq!(decide(&one, &gone, 6), Plan::nothing());
    let mut two = checkpoint("two");
    let given = decide(&two, &around(), 5);
    two.status = Some(status_of(&given).clone());
    assert_eq!(look(&two), Look::Node("node-1"));
    assert_eq!(on(&two, true, 6).act, Act::Nothing);
}

#[test]
fn only_names_of_objects_are_put_into_paths() {
    for good in [
        "a",
        "node-1",
        "ip-10-0-0-1.eu.example.com",
        "0",
        &"a".repeat(253),
    ] {
        assert!(names_an_object(good), "{good}");
    }
    let long = "a".repeat(254);
    for bad in [
        "",
        ".",
        "..",
        "../secrets/x",
        "a/b",
        "a?b",
        "a%2fb",
        "A",
        "-a",
        "a-",
        "a..b",
        "a.",
        "ä",
        "a b",
        "a,b",
        "a=b",
        &long,
    ] {
        assert!(!names_an_object(bad), "{bad}");
    }
}
