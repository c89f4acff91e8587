//! Whatever is observed, deciding comes to rest.

use proptest::prelude::*;
use stillframe_crds::names;

use super::*;
use crate::fixtures::{agent, at, checkpoint, object_name, pod, ready, time};

/// Any of the shapes that an object and what surrounds it can have.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
struct Shape {
    held: bool,
    deleted: bool,
    assigned: bool,
    finished: bool,
    changed: bool,
    ttl: Option<u32>,
    pod: bool,
    phase: Option<&'static str>,
    runs: bool,
    agent: bool,
    parent: Option<bool>,
    node: bool,
    second: i64,
}

prop_compose! {
    fn shapes()(
        (held, deleted, assigned, finished, changed) in any::<(bool, bool, bool, bool, bool)>(),
        (pod, runs, agent, node) in any::<(bool, bool, bool, bool)>(),
        ttl in proptest::option::of(0_u32..400),
        phase in proptest::option::of(prop_oneof![Just("Running"), Just("Pending"), Just("Failed")]),
        parent in proptest::option::of(any::<bool>()),
        second in 0_i64..400,
    ) -> Shape {
        Shape { held, deleted, assigned, finished, changed, ttl, pod, phase, runs, agent, parent, node, second }
    }
}

fn object(shape: &Shape) -> ContainerCheckpoint {
    let mut object = if shape.finished {
        ready("one")
    } else {
        checkpoint("one")
    };
    if shape.assigned && !shape.finished {
        object.status = Some(fixtures::assigned_status());
    }
    if !shape.held {
        object.metadata.finalizers = None;
    }
    object.metadata.deletion_timestamp = shape.deleted.then(|| time(50));
    object.metadata.generation = Some(if shape.changed { 2 } else { 1 });
    object.spec.ttl_seconds_after_finished = shape.ttl;
    object.spec.options.parent_ref = shape.parent.map(|_| object_name("parent"));
    object
}

fn seen(shape: &Shape, checkpoint: &ContainerCheckpoint) -> Around {
    match look(checkpoint) {
        Look::Nothing => Around::Nothing,
        Look::Node(_) => Around::Node { exists: shape.node },
        Look::Leaving(..) => Around::Leaving {
            exists: shape.node,
            receiver: Receiver::Gone,
        },
        Look::Source => {
            let mut found = pod();
            found.status.phase = shape.phase.map(str::to_owned);
            if !shape.runs {
                found.status.container_statuses.clear();
            }
            let parent = shape
                .parent
                .filter(|there| *there)
                .map(|_| Box::new(ready("parent")));
            Around::Source(Box::new(Surroundings {
                pod: shape.pod.then_some(found),
                agent: shape.agent.then(agent),
                parent,
                others: Vec::new(),
                receiver: None,
            }))
        }
    }
}

proptest! {
    #[test]
    fn three_decisions_at_one_time_bring_an_object_to_rest(shape in shapes()) {
        let mut object = object(&shape);
        for _ in 0..3 {
            let around = seen(&shape, &object);
            let plan = plan(&object, &around, at(shape.second));
            let finished_before = object.is_finished();
            match plan.act {
                Act::Nothing => {
                    prop_assert!(plan.again.is_none_or(|again| again > at(shape.second)));
                    return Ok(());
                }
                Act::AddFinalizer => {
                    object.metadata.finalizers = Some(vec![names::FINALIZER.into()]);
                }
                Act::DropFinalizer => object.metadata.finalizers = None,
                Act::Claim(..) | Act::DeleteReceiver { .. } => {
                    prop_assert!(false, "it names no receiver");
                }
                Act::Delete => object.metadata.deletion_timestamp = Some(time(shape.second)),
                Act::Observe(status) => {
                    let mut before = object.status.clone().unwrap();
                    before.observed_generation = status.observed_generation;
                    prop_assert_eq!(&before, &*status, "the rest of a final status stays");
                    object.status = Some(*status);
                }
                Act::Wait(status) | Act::Assign(status) | Act::Fail(_, status) => {
                    prop_assert!(!finished_before, "a final status is not written again");
                    prop_assert!(!object.is_deleted(), "a deleted object is not decided about");
                    object.status = Some(*status);
                }
            }
        }
        let around = seen(&shape, &object);
        prop_assert_eq!(plan(&object, &around, at(shape.second)).act, Act::Nothing);
    }
}
