//! Decides about a checkpoint that no agent has yet: assign it, wait, or refuse it.

use jiff::Timestamp;
use stillframe_crds::{
    ContainerCheckpoint, Reason,
    checkpoint::{ByteCount, ContainerCheckpointSpec, Rootfs},
};

use super::{
    Act, Notice, Plan, Surroundings, capability, lifecycle, parent, probes,
    probes::Bound,
    report,
    resolve::{self, Found},
    verdict::{Refusal, Verdict, Wait, refuse, weightiest},
};

pub(super) fn decide(
    checkpoint: &ContainerCheckpoint,
    around: &Surroundings,
    now: Timestamp,
) -> Plan {
    match verdict(checkpoint, around) {
        Ok((found, bound)) => assign(checkpoint, &found, bound, now),
        Err(Verdict::Refuse(why)) => report::failed(checkpoint, why, now),
        Err(Verdict::Wait(wait)) => hold(checkpoint, around, wait, now),
    }
}

fn verdict<'a>(
    checkpoint: &ContainerCheckpoint,
    around: &'a Surroundings,
) -> Result<(Found<'a>, Bound), Verdict> {
    if let Some(never) = impossible(&checkpoint.spec) {
        return Err(never);
    }
    let found = resolve::container(checkpoint, around.pod.as_ref())?;
    let options = &checkpoint.spec.options;
    let bound = probes::bound(options, &found);
    let in_the_way = [
        capability::check(options, found.node, around.agent.as_deref()),
        parent::check(checkpoint, &found, around),
        bound.as_ref().err().cloned(),
    ];
    match weightiest(in_the_way.into_iter().flatten()) {
        Some(verdict) => Err(verdict),
        None => bound.map(|bound| (found, bound)),
    }
}

/// What can never be, whatever the cluster looks like. Admission refuses most of it; this is for
/// what was written past it.
fn impossible(spec: &ContainerCheckpointSpec) -> Option<Verdict> {
    let options = &spec.options;
    if spec.rootfs == Rootfs::Diff && options.pre_dump {
        let message = "rootfs Diff: a pre-dump saves the memory alone";
        return Some(refuse(Reason::InvalidSpec, message));
    }
    if let Some(Err(error)) = options.ghost_limit.as_ref().map(ByteCount::bytes) {
        return Some(refuse(
            Reason::InvalidSpec,
            format!("options.ghostLimit: {error}"),
        ));
    }
    if options.parent_ref.is_some() && options.parent_path.is_some() {
        let message = "options.parentRef and options.parentPath name the same thing";
        return Some(refuse(Reason::InvalidSpec, message));
    }
    None
}

fn assign(
    checkpoint: &ContainerCheckpoint,
    found: &Found<'_>,
    bound: Bound,
    now: Timestamp,
) -> Plan {
    let deadline = lifecycle::deadline(checkpoint, now);
    if deadline <= now {
        let message = format!(
            "timeoutSeconds ({}) had passed before the container could be given to an agent",
            checkpoint.spec.timeout_seconds
        );
        let reason = Reason::TimedOut;
        return report::failed(checkpoint, Refusal { reason, message }, now);
    }
    let message = format!("given to the agent on node {}", found.node);
    let Bound { seconds, warning } = bound;
    let status = report::working(checkpoint, Reason::Assigned, &message, now, |status| {
        status.node_name = Some(found.node.to_owned());
        status.pod_uid = Some(found.pod.metadata.uid.clone());
        status.sandbox_uid = Some(found.sandbox_uid().to_owned());
        status.container_name = Some(found.container.name.clone());
        status.container_id = Some(found.id.to_owned());
        status.max_pause_seconds = seconds;
    });
    let reason = Reason::PauseBounded;
    Plan {
        notice: warning.map(|note| Notice { reason, note }),
        ..Plan::only(Act::Assign(status))
    }
}

/// Waits until the deadline, and notes the pod that is meant from now on: another one that takes
/// its name is refused.
fn hold(
    checkpoint: &ContainerCheckpoint,
    around: &Surroundings,
    wait: Wait,
    now: Timestamp,
) -> Plan {
    let Wait {
        reason,
        message,
        late,
    } = wait;
    let deadline = lifecycle::deadline(checkpoint, now);
    if deadline <= now {
        let seconds = checkpoint.spec.timeout_seconds;
        let message = format!("{message}, and timeoutSeconds ({seconds}) has passed");
        let why = Refusal {
            reason: late,
            message,
        };
        return report::failed(checkpoint, why, now);
    }
    let status = report::working(checkpoint, reason, &message, now, |status| {
        let uid = around.pod.as_ref().map(|pod| pod.metadata.uid.clone());
        status.pod_uid = uid.or(status.pod_uid.take());
    });
    let act = if checkpoint.status.as_ref() == Some(&*status) {
        Act::Nothing
    } else {
        Act::Wait(status)
    };
    Plan {
        again: Some(deadline),
        ..Plan::only(act)
    }
}
