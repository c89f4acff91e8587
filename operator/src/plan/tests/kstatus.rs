//! What Flux and others make of our statuses: the rules of kstatus, held against every status that
//! the operator writes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stillframe_crds::condition;

use super::*;
use crate::fixtures::{assigned, checkpoint, pod, ready, time};

/// What kstatus says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    InProgress,
    Failed,
    Current,
    Terminating,
}

/// `GetStatus` of sigs.k8s.io/cli-utils/pkg/kstatus/status, as far as it is about custom resources:
/// `checkGenericProperties` (deletion, observedGeneration, Reconciling, Stalled), then
/// `checkReadyCondition`.
fn health(object: &ContainerCheckpoint) -> Health {
    if object.metadata.deletion_timestamp.is_some() {
        return Health::Terminating;
    }
    // As the API server's defaults have it until somebody writes a status.
    let observed = object.status.as_ref().map_or(-1, |s| s.observed_generation);
    if object
        .metadata
        .generation
        .is_some_and(|now| now != observed)
    {
        return Health::InProgress;
    }
    let conditions: &[Condition] = object.status.as_ref().map_or(&[], |s| &s.conditions);
    if condition::holds(conditions, "Reconciling") {
        return Health::InProgress;
    }
    if condition::holds(conditions, "Stalled") {
        return Health::Failed;
    }
    match condition::get(conditions, "Ready").map(|ready| ready.status.as_str()) {
        Some("True") | None => Health::Current,
        Some(_) => Health::InProgress,
    }
}

/// The object as it is once the plan has been carried out.
fn after(object: &ContainerCheckpoint, plan: &Plan) -> ContainerCheckpoint {
    let mut after = object.clone();
    after.status = Some(status_of(plan).clone());
    after
}

#[test]
fn an_object_that_nobody_has_seen_is_in_progress() {
    let mut new = checkpoint("new");
    assert_eq!(health(&new), Health::InProgress);
    new.status = Some(ContainerCheckpointStatus {
        observed_generation: -1,
        ..ContainerCheckpointStatus::default()
    });
    assert_eq!(health(&new), Health::InProgress);
}

#[test]
fn every_status_that_the_operator_writes_is_read_as_it_is_meant() {
    let one = checkpoint("one");
    let without_agent = Surroundings {
        agent: None,
        ..around()
    };
    let mut pending = pod();
    pending.status.phase = Some("Pending".into());
    pending.status.container_statuses.clear();
    let starting = Surroundings {
        pod: Some(pending),
        ..around()
    };
    let rows = [
        ("assign", around(), 5, Health::InProgress),
        (
            "WaitingForAgent",
            without_agent.clone(),
            5,
            Health::InProgress,
        ),
        ("WaitingForContainer", starting, 5, Health::InProgress),
        ("PodNotFound", Surroundings::default(), 5, Health::Failed),
        ("NoAgent", without_agent, 500, Health::Failed),
    ];
    for (what, around, second, meant) in rows {
        let plan = decide(&one, &around, second);
        assert_eq!(word(&plan), what);
        assert_eq!(health(&after(&one, &plan)), meant, "{what}");
    }
    for (what, exists, second) in [("NodeGone", false, 60), ("AgentNotResponding", true, 500)] {
        let given = assigned("given");
        let plan = plan(&given, &Around::Node { exists }, fixtures::at(second));
        assert_eq!(word(&plan), what);
        assert_eq!(health(&after(&given, &plan)), Health::Failed, "{what}");
    }
}

#[test]
fn a_finished_object_is_current_and_a_change_of_its_two_open_fields_is_seen() {
    let mut done = ready("done");
    assert_eq!(health(&done), Health::Current);
    done.metadata.generation = Some(2);
    assert_eq!(health(&done), Health::InProgress);
    let seen = plan(&done, &Around::Nothing, fixtures::at(40));
    assert_eq!(word(&seen), "observe");
    done = after(&done, &seen);
    assert_eq!(health(&done), Health::Current);
    assert_eq!(
        word(&plan(&done, &Around::Nothing, fixtures::at(41))),
        "nothing"
    );
    done.metadata.deletion_timestamp = Some(time(50));
    assert_eq!(health(&done), Health::Terminating);
}
