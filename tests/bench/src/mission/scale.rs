//! Thousands of checkpoints at once: real API server, real operator, and agents that only lack CRIU.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::PostParams;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use rig::Cluster;
use serde::Serialize;
use stillframe_crds::checkpoint::{ContainerCheckpointSpec, Source};
use stillframe_crds::{ContainerCheckpoint, condition};
use tokio::sync::oneshot;

use super::agents::{Agents, Stub};
use super::client;
use super::memory::Memory;
use super::population::{self, NAMESPACE, Population};
use super::requests::Requests;
use crate::error::Error;
use crate::summary::{Spread, quantile};

/// The most write requests of one checkpoint, events included.
pub(crate) const MOST_WRITES: f64 = 8.0;

/// When nothing has happened for so long, nothing will.
const STALLED: Duration = Duration::from_mins(1);

/// Checkpoints that are asked for at once.
const AT_ONCE: usize = 32;

/// Objects in one answer to a list.
const PAGE: u32 = 500;

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Scale {
    /// Checkpoints that were asked for.
    pub(crate) checkpoints: usize,
    /// Agents that had them.
    pub(crate) agents: usize,
    /// Those that did not become Ready.
    pub(crate) lost: usize,
    /// Those that were dumped more than once.
    pub(crate) twice: usize,
    /// From the first create to the last Ready, in seconds.
    pub(crate) seconds: f64,
    /// From a create's answer until a watch told of the node, in milliseconds.
    pub(crate) assigned: Spread,
    /// Of that, what 99 in 100 took at most.
    pub(crate) assigned_p99: f64,
    /// From a create's answer until a watch told of the end, in milliseconds.
    pub(crate) ended: Spread,
    /// What it cost the API server.
    pub(crate) requests: Requests,
    /// The operator's memory before, and its peak at the end.
    pub(crate) operator: [Memory; 2],
    /// Whether all of it went as it has to.
    pub(crate) passed: bool,
}

/// Has every pod checkpointed.
pub(crate) fn measure(
    cluster: &Cluster,
    population: Population,
    operator: &str,
) -> Result<Scale, Error> {
    let admin = client::admin(cluster)?;
    let agent = cluster.kubeconfig(&cluster.token("stillframe-node-agent", None));
    let folder = tempfile::tempdir_in("/dev/shm").map_err(|source| Error::File {
        what: "make a folder in",
        path: "/dev/shm".into(),
        source,
    })?;
    let stub = Stub::default();
    let before = Memory::of(cluster.node(0), operator)?;
    let (tell_ready, ready) = mpsc::channel();
    let (end, told) = oneshot::channel::<()>();
    let (mark, driven) = thread::scope(|scope| {
        let agents = scope.spawn(|| {
            client::within(cluster, async || {
                let client = client::client(&agent).await?;
                let agents = Agents::start(&client, population.nodes, &stub, folder.path())?;
                while !agents.know_all() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                let _ = tell_ready.send(());
                let _ = told.await;
                agents.end().await;
                Ok(())
            })
        });
        // It hears nothing when the agents could not be started, which their thread then says.
        let driven = ready.recv().ok().map(|()| {
            let mark = cluster.audit_mark();
            let driven = client::within(cluster, async || {
                drive(&client::client(&admin).await?, population.pods).await
            });
            (mark, driven)
        });
        drop(end);
        match agents.join() {
            Ok(Ok(())) => Ok(driven),
            Ok(Err(error)) => Err(error),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?
    .ok_or_else(|| Error::Mission {
        what: "start the simulated agents".to_owned(),
        why: "they ended".to_owned(),
    })?;
    let driven = driven?;
    let requests = Requests::count(&cluster.audit_since(mark), population.pods);
    let after = Memory::of(cluster.node(0), operator)?;
    Ok(driven.judge(population, &stub.dumps(), requests, [before, after]))
}

/// When what was seen of a checkpoint.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    created: Option<Instant>,
    assigned: Option<Instant>,
    ended: Option<Instant>,
    ready: bool,
}

/// What was seen of all.
#[derive(Debug)]
struct Driven {
    began: Instant,
    seen: HashMap<String, Seen>,
}

impl Driven {
    fn judge(
        &self,
        population: Population,
        dumps: &HashMap<String, u32>,
        requests: Requests,
        operator: [Memory; 2],
    ) -> Scale {
        let after = |pick: fn(&Seen) -> Option<Instant>| -> Vec<f64> {
            let took = |seen: &Seen| {
                let span = pick(seen)?.saturating_duration_since(seen.created?);
                Some(span.as_secs_f64() * 1000.0)
            };
            let mut all: Vec<f64> = self.seen.values().filter_map(took).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let assigned = after(|seen| seen.assigned);
        let ready = self.seen.values().filter(|seen| seen.ready).count();
        let end = self.seen.values().filter_map(|seen| seen.ended).max();
        let lost = population.pods.saturating_sub(ready);
        let twice = dumps.values().filter(|times| **times > 1).count();
        Scale {
            checkpoints: population.pods,
            agents: population.nodes,
            lost,
            twice,
            seconds: end.map_or(0.0, |end| (end - self.began).as_secs_f64()),
            assigned_p99: quantile(&assigned, 99),
            assigned: Spread::of(assigned),
            ended: Spread::of(after(|seen| seen.ended)),
            requests,
            operator,
            passed: lost == 0
                && twice == 0
                && dumps.len() == population.pods
                && requests.writes <= MOST_WRITES,
        }
    }
}

/// Asks for a checkpoint of every pod, and looks on until all have ended.
async fn drive(client: &Client, checkpoints: usize) -> Result<Driven, Error> {
    let api: Api<ContainerCheckpoint> = Api::namespaced(client.clone(), NAMESPACE);
    let began = Instant::now();
    let (created, mut seen) =
        futures::try_join!(create(&api, checkpoints), look_on(&api, checkpoints))?;
    for (name, at) in created {
        seen.entry(name).or_default().created = Some(at);
    }
    Ok(Driven { began, seen })
}

async fn create(
    api: &Api<ContainerCheckpoint>,
    checkpoints: usize,
) -> Result<Vec<(String, Instant)>, Error> {
    let make = async |index: usize| {
        let name = format!("checkpoint-{index}");
        // Spread over the nodes from the first on.
        let stride = checkpoints.div_ceil(population::PODS_PER_NODE).max(1);
        let pod = population::pod((index % stride) * population::PODS_PER_NODE + index / stride);
        let spec = ContainerCheckpointSpec {
            source: Source {
                pod_name: pod,
                ..Source::default()
            },
            timeout_seconds: 3600,
            ..serde_json::from_str(r#"{"source": {"podName": ""}}"#).map_err(Error::Json)?
        };
        let object = ContainerCheckpoint::new(&name, spec);
        api.create(&PostParams::default(), &object)
            .await
            .map_err(|error| Error::kube("ask for a checkpoint", error))?;
        Ok((name, Instant::now()))
    };
    let indices = (0..checkpoints).map(make);
    stream::iter(indices)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

async fn look_on(
    api: &Api<ContainerCheckpoint>,
    checkpoints: usize,
) -> Result<HashMap<String, Seen>, Error> {
    let mut seen: HashMap<String, Seen> = HashMap::new();
    let mut ended = 0;
    let config = watcher::Config::default().page_size(PAGE);
    let mut events = pin!(watcher(api.clone(), config));
    while ended < checkpoints {
        let Ok(Some(event)) = tokio::time::timeout(STALLED, events.next()).await else {
            break;
        };
        // What is interrupted is taken up again by the next call.
        let Ok(Event::Apply(object) | Event::InitApply(object)) = event else {
            continue;
        };
        let (Some(name), Some(status)) = (object.metadata.name, object.status) else {
            continue;
        };
        let now = Instant::now();
        let seen = seen.entry(name).or_default();
        if status.node_name.is_some() {
            seen.assigned.get_or_insert(now);
        }
        if status.completion_time.is_some() && seen.ended.is_none() {
            seen.ended = Some(now);
            seen.ready = condition::holds(&status.conditions, condition::READY);
            ended += 1;
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(ready: &[bool], dumps: &[u32], writes: f64) -> Scale {
        let now = Instant::now();
        let seen = |ready| Seen {
            created: Some(now),
            assigned: Some(now + Duration::from_millis(5)),
            ended: Some(now + Duration::from_millis(9)),
            ready,
        };
        let driven = Driven {
            began: now,
            seen: ready
                .iter()
                .enumerate()
                .map(|(index, ready)| (index.to_string(), seen(*ready)))
                .collect(),
        };
        let dumps = dumps
            .iter()
            .enumerate()
            .map(|(index, times)| (index.to_string(), *times))
            .collect();
        let requests = Requests {
            writes,
            ..Requests::default()
        };
        let memory = Memory {
            rss: 1.0,
            anonymous: 1.0,
            peak: 1.0,
        };
        driven.judge(Population::of(2), &dumps, requests, [memory; 2])
    }

    #[test]
    fn one_that_is_lost_or_runs_twice_fails_the_row() {
        assert!(judged(&[true, true], &[1, 1], 6.0).passed);
        assert_eq!(judged(&[true, false], &[1, 1], 6.0).lost, 1);
        assert!(!judged(&[true, false], &[1, 1], 6.0).passed);
        assert_eq!(judged(&[true, true], &[1, 2], 6.0).twice, 1);
        assert!(!judged(&[true, true], &[1, 2], 6.0).passed);
        assert!(!judged(&[true, true], &[1, 1], 8.1).passed);
    }

    #[test]
    fn times_count_from_the_answer_to_the_create() {
        let scale = judged(&[true, true], &[1, 1], 6.0);
        assert!((scale.assigned_p99 - 5.0).abs() < 1e-6);
        assert!((scale.ended.median - 9.0).abs() < 1e-6);
    }
}
