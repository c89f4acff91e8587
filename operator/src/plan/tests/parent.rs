//! Which parents can be built on.

use super::*;
use crate::fixtures::{assigned, checkpoint, object_name, ready, time};

fn child() -> ContainerCheckpoint {
    let mut child = checkpoint("child");
    child.spec.options.parent_ref = Some(object_name("parent"));
    child
}

/// A tracked dump from second 10 to 12.
fn tracked(name: &str) -> ContainerCheckpoint {
    let mut tracked = ready(name);
    tracked.spec.options.pre_dump = true;
    tracked
}

fn dumped(name: &str, began: Option<i64>, ended: i64) -> ContainerCheckpoint {
    let mut other = tracked(name);
    let status = other.status.as_mut().unwrap();
    status.start_time = began.map(time);
    status.completion_time = Some(time(ended));
    other
}

fn failed(mut checkpoint: ContainerCheckpoint, reason: Reason) -> ContainerCheckpoint {
    let status = checkpoint.status.as_mut().unwrap();
    status.failure = Some(stillframe_crds::checkpoint::Failure {
        reason: reason.to_string(),
        ..Default::default()
    });
    stillframe_crds::condition::ended(
        &mut status.conditions,
        false,
        reason,
        "m",
        None,
        Timestamp::UNIX_EPOCH,
    );
    checkpoint
}

fn with(
    mut checkpoint: ContainerCheckpoint,
    change: fn(&mut ContainerCheckpoint),
) -> ContainerCheckpoint {
    change(&mut checkpoint);
    checkpoint
}

fn outcome(parent: Option<ContainerCheckpoint>, others: Vec<ContainerCheckpoint>) -> String {
    let parent = parent.map(Box::new);
    word(&decide(
        &child(),
        &Surroundings {
            parent,
            others,
            ..around()
        },
        60,
    ))
}

#[test]
fn only_a_ready_tracked_dump_of_the_same_container_is_a_parent() {
    let rows = [
        (None, "ParentNotFound"),
        (Some(tracked("parent")), "assign"),
        (Some(checkpoint("parent")), "WaitingForParent"),
        (Some(assigned("parent")), "WaitingForParent"),
        (
            Some(failed(tracked("parent"), Reason::CriuFailed)),
            "ParentNotReady",
        ),
        (
            Some(with(tracked("parent"), |p| {
                p.metadata.deletion_timestamp = Some(time(20));
            })),
            "ParentNotReady",
        ),
        (Some(ready("parent")), "ParentNotLatest"),
        (
            Some(with(tracked("parent"), |p| {
                p.status.as_mut().unwrap().container_id = Some("containerd://before".into());
            })),
            "ParentMismatch",
        ),
        (
            Some(with(tracked("parent"), |p| {
                p.status.as_mut().unwrap().node_name = Some("node-2".into());
            })),
            "ParentMismatch",
        ),
        (
            Some(with(assigned("parent"), |p| {
                p.status.as_mut().unwrap().node_name = Some("node-2".into());
            })),
            "ParentMismatch",
        ),
    ];
    for (number, (parent, expected)) in rows.into_iter().enumerate() {
        assert_eq!(outcome(parent, Vec::new()), expected, "row {number}");
    }
}

#[test]
fn a_wait_for_a_parent_ends_at_the_deadline() {
    let around = Surroundings {
        parent: Some(Box::new(assigned("parent"))),
        ..around()
    };
    assert_eq!(word(&decide(&child(), &around, 120)), "ParentNotReady");
}

#[test]
fn an_object_cannot_be_its_own_parent() {
    let mut one = checkpoint("one");
    one.spec.options.parent_ref = Some(object_name("one"));
    assert_eq!(word(&decide(&one, &around(), 5)), "InvalidSpec");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one row per case")]
fn a_tracked_dump_since_the_parent_breaks_the_chain() {
    let elsewhere = |c: &mut ContainerCheckpoint| {
        c.status.as_mut().unwrap().container_id = Some("containerd://x".into());
    };
    let untracked = |c: &mut ContainerCheckpoint| c.spec.options.pre_dump = false;
    let rows = [
        ("none", vec![], "assign"),
        ("the parent itself", vec![tracked("parent")], "assign"),
        ("one before", vec![dumped("other", Some(5), 9)], "assign"),
        (
            "one after",
            vec![dumped("other", Some(20), 22)],
            "ParentNotLatest",
        ),
        (
            "one in the same second, of which the agent knows more",
            vec![dumped("other", Some(10), 10)],
            "assign",
        ),
        (
            "a failed one after",
            vec![failed(dumped("other", Some(20), 22), Reason::CriuFailed)],
            "ParentNotLatest",
        ),
        (
            "one whose own parent was refused",
            vec![failed(
                dumped("other", Some(20), 22),
                Reason::ParentNotLatest,
            )],
            "assign",
        ),
        (
            "one that never began",
            vec![failed(dumped("other", None, 22), Reason::NoAgent)],
            "assign",
        ),
        (
            "one never heard of again",
            vec![failed(
                dumped("other", None, 22),
                Reason::AgentNotResponding,
            )],
            "ParentNotLatest",
        ),
        (
            "another container's",
            vec![with(dumped("other", Some(20), 22), elsewhere)],
            "assign",
        ),
        (
            "one that tracked nothing",
            vec![with(dumped("other", Some(20), 22), untracked)],
            "assign",
        ),
        (
            "one under way that has not begun",
            vec![with(assigned("other"), |c| {
                c.spec.options.track_memory = true;
            })],
            "WaitingForParent",
        ),
        (
            "one under way that has begun",
            vec![with(assigned("other"), |c| {
                c.spec.options.track_memory = true;
                c.status.as_mut().unwrap().start_time = Some(time(30));
            })],
            "ParentNotLatest",
        ),
    ];
    for (what, others, expected) in rows {
        assert_eq!(outcome(Some(tracked("parent")), others), expected, "{what}");
    }
}

#[test]
fn what_the_parent_builds_on_came_before_it_whatever_the_clock_says() {
    let parent = with(tracked("parent"), |p| {
        p.spec.options.parent_ref = Some(object_name("grandparent"));
    });
    let grandparent = dumped("grandparent", Some(10), 10);
    let all = vec![parent.clone(), grandparent];
    assert_eq!(outcome(Some(parent), all), "assign");
    // A ring of parents, which nobody can make but by forging, ends the search.
    let one = with(tracked("parent"), |p| {
        p.spec.options.parent_ref = Some(object_name("other"));
    });
    let two = with(tracked("other"), |p| {
        p.spec.options.parent_ref = Some(object_name("parent"));
    });
    assert_eq!(outcome(Some(one.clone()), vec![one, two]), "assign");
}
