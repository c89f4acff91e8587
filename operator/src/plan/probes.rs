//! Holds the pause against the probes of the containers that it silences.

use stillframe_crds::{
    Reason,
    checkpoint::{NetworkLock, Options},
};

use super::{
    resolve::Found,
    verdict::{Verdict, refuse},
};
use crate::pod::{Container, ContainerStatus, Probe};

/// The longest pause that the schema of the status takes.
const PAUSE_LIMIT_SECONDS: u32 = 86_400;

/// A pause so short that people should hear of it.
const TIGHT_SECONDS: u32 = 3;

/// How long the container may stand still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bound {
    /// In seconds; none when nothing bounds it.
    pub(super) seconds: Option<u32>,
    /// What people should hear of it.
    pub(super) warning: Option<String>,
}

struct Tightest<'a> {
    container: &'a str,
    kind: &'static str,
    seconds: u32,
}

/// The bound on the pause, or why it cannot be kept.
pub(super) fn bound(options: &Options, found: &Found<'_>) -> Result<Bound, Verdict> {
    let asked = options.max_pause_seconds;
    let as_asked = Bound {
        seconds: asked,
        warning: None,
    };
    // A container that ends has nothing to keep alive.
    if options.ends_the_container() {
        return Ok(as_asked);
    }
    let Some(tightest) = tightest(options, found) else {
        return Ok(as_asked);
    };
    let Tightest {
        container,
        kind,
        seconds,
    } = tightest;
    match asked {
        Some(asked) if asked > seconds => Err(refuse(
            Reason::ProbeWouldFail,
            format!(
                "maxPauseSeconds is {asked}, and the {kind} probe of container {container} allows \
                 {seconds} s"
            ),
        )),
        Some(_) => Ok(as_asked),
        None => Ok(Bound {
            seconds: Some(seconds),
            warning: (seconds <= TIGHT_SECONDS).then(|| {
                format!(
                    "the container may stand still for {seconds} s at most: the {kind} probe of \
                     container {container} allows no more"
                )
            }),
        }),
    }
}

/// The probe that allows the shortest pause, among those that get no answer during it: the
/// container's own, and while the network is locked those that ask the others over it.
fn tightest<'a>(options: &Options, found: &Found<'a>) -> Option<Tightest<'a>> {
    let own = probe_of(found.container, found.started).map(|probe| (found.container, probe));
    let locked = options.tcp_established
        && options.network_lock != NetworkLock::Skip
        // CRIU locks no network for a pre-dump.
        && !options.pre_dump;
    let pod = found.pod;
    let others = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    let others = others
        .filter(|other| locked && other.name != found.container.name)
        .filter_map(|other| {
            let status = running(found, other)?;
            let probe = probe_of(other, status.started.unwrap_or(true))?;
            probe.1.uses_the_network().then_some((other, probe))
        });
    own.into_iter()
        .chain(others)
        .map(|(container, (kind, probe))| Tightest {
            container: &container.name,
            kind,
            seconds: probe.tolerance_seconds(locked).min(PAUSE_LIMIT_SECONDS),
        })
        .min_by_key(|tightest| tightest.seconds)
}

fn running<'a>(found: &Found<'a>, container: &Container) -> Option<&'a ContainerStatus> {
    let status = &found.pod.status;
    let mut all = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses);
    all.find(|one| one.name == container.name && one.state.running.is_some())
}

/// The probe that may restart the container: the startup probe until it has succeeded, then the
/// liveness probe.
fn probe_of(container: &Container, started: bool) -> Option<(&'static str, &Probe)> {
    match &container.startup_probe {
        Some(startup) if !started => Some(("startup", startup)),
        _ => container.liveness_probe.as_ref().map(|p| ("liveness", p)),
    }
}
