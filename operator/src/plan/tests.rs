//! Tables of what is observed and what follows from it.

use super::*;
use crate::fixtures;

mod fixpoint;
mod kstatus;
mod lifecycle;
mod parent;
mod probes;
mod receiver;
mod source;

/// What surrounds a checkpoint that can be assigned at once.
fn around() -> Surroundings {
    Surroundings {
        pod: Some(fixtures::pod()),
        agent: Some(fixtures::agent()),
        parent: None,
        others: Vec::new(),
        receiver: None,
    }
}

fn decide(checkpoint: &ContainerCheckpoint, around: &Surroundings, second: i64) -> Plan {
    let around = Around::Source(Box::new(around.clone()));
    plan(checkpoint, &around, fixtures::at(second))
}

/// The word for what a plan does: the reason it fails or waits with, or the name of the act.
fn word(plan: &Plan) -> String {
    match &plan.act {
        Act::Nothing => "nothing".into(),
        Act::AddFinalizer => "add".into(),
        Act::DropFinalizer => "drop".into(),
        Act::Delete => "delete".into(),
        Act::Claim(..) => "claim".into(),
        Act::DeleteReceiver { .. } => "delete receiver".into(),
        Act::Observe(_) => "observe".into(),
        Act::Assign(_) => "assign".into(),
        Act::Fail(reason, _) => reason.to_string(),
        Act::Wait(status) => {
            let conditions = &status.conditions;
            let reconciling = stillframe_crds::condition::get(conditions, "Reconciling");
            reconciling.unwrap().reason.clone()
        }
    }
}

fn status_of(plan: &Plan) -> &ContainerCheckpointStatus {
    match &plan.act {
        Act::Wait(status) | Act::Assign(status) | Act::Observe(status) | Act::Fail(_, status) => {
            status
        }
        other => panic!("{other:?} writes no status"),
    }
}
