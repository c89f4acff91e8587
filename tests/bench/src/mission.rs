//! What a checkpoint by way of a cluster costs: latency, memory, and thousands at once.

mod agents;
mod client;
mod latency;
mod memory;
mod population;
mod requests;
mod scale;
mod table;

use std::thread::sleep;
use std::time::Duration;

use rig::Cluster;
use rig::cluster::{Manifest, Options, Running};
use serde::Serialize;

use crate::error::Error;
use latency::Latency;
use memory::Memory;
use population::Population;
use scale::Scale;

pub(crate) use table::render;

/// The most memory of an idle agent, in MiB.
const AGENT_TARGET: f64 = 15.0;
/// The most memory of an idle operator, in MiB.
const OPERATOR_TARGET: f64 = 40.0;

/// How long the programs are left alone before their memory is read.
const REST: Duration = Duration::from_secs(15);

/// How the two programs are called in the node.
const OPERATOR: &str = "/run/rig/bin/stillframe-operator";
const AGENT: &str = "/run/rig/bin/stillframe-node-agent run";

/// A row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Row {
    /// From apply to Ready.
    Apply,
    /// Memory of idle programs.
    Idle,
    /// Thousands at once.
    Scale,
}

/// All of them, in the order in which they are measured.
pub(crate) const ROWS: [Row; 3] = [Row::Apply, Row::Idle, Row::Scale];

impl Row {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Idle => "idle",
            Self::Scale => "scale",
        }
    }
}

/// What the command line decides.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The rows.
    pub(crate) rows: Vec<Row>,
    /// Measured rounds of the latency.
    pub(crate) rounds: usize,
    /// Rounds before them, not measured.
    pub(crate) warm_ups: usize,
    /// Pods that are there, and checkpoints of them.
    pub(crate) scale: usize,
}

/// Memory of the two programs with many objects around them.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Idle {
    /// What is there.
    pub(crate) population: Population,
    /// The agent's.
    pub(crate) agent: Memory,
    /// The operator's.
    pub(crate) operator: Memory,
    /// Whether both are within their targets.
    pub(crate) passed: bool,
}

impl Idle {
    fn of(population: Population, agent: Memory, operator: Memory) -> Self {
        Self {
            population,
            agent,
            operator,
            passed: agent.rss <= AGENT_TARGET && operator.rss <= OPERATOR_TARGET,
        }
    }
}

/// What was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Mission {
    /// Latency.
    pub(crate) apply: Option<Latency>,
    /// Memory.
    pub(crate) idle: Option<Idle>,
    /// Thousands at once.
    pub(crate) scale: Option<Scale>,
}

impl Mission {
    /// Whether every row that was measured is within its target.
    pub(crate) fn passed(&self) -> bool {
        let rows = [
            self.apply.as_ref().map(|row| row.passed),
            self.idle.as_ref().map(|row| row.passed),
            self.scale.as_ref().map(|row| row.passed),
        ];
        rows.iter().all(|row| *row != Some(false))
    }
}

/// Measures the rows in a cluster of one node.
pub(crate) fn measure(settings: &Settings) -> Result<Mission, Error> {
    let mut mission = Mission::default();
    if settings.rows.is_empty() {
        return Ok(mission);
    }
    let wanted = |row| settings.rows.contains(&row);
    let cluster = Cluster::start();
    cluster.install_crds();
    let options = Options::default();
    let agent = cluster.start_agent(cluster.node_name(0), &options);
    if wanted(Row::Apply) {
        eprintln!("bench: from apply to Ready …");
        let operator = start_operator(&cluster);
        let own = format!("checkpointnode/{}", cluster.node_name(0));
        cluster.wait(&own, "create");
        cluster.wait(&own, "condition=Ready");
        let pod = cluster.run(&Manifest::new("bench"));
        let measured = latency::measure(&cluster, &pod, settings.warm_ups, settings.rounds);
        mission.apply = Some(measured.inspect_err(|_| explain(&[&operator, &agent]))?);
        pod.delete();
    }
    if wanted(Row::Idle) || wanted(Row::Scale) {
        let population = Population::of(settings.scale);
        eprintln!(
            "bench: making {} pods and {} nodes …",
            population.pods, population.nodes
        );
        // Nobody renews the nodes' leases: the controllers would take the pods away.
        cluster.stop_controllers();
        let admin = client::admin(&cluster)?;
        client::within(&cluster, async || {
            population::create(&client::client(&admin).await?, population).await
        })?;
        drop(agent);
        let agent = cluster.start_agent(cluster.node_name(0), &options);
        let operator = start_operator(&cluster);
        if wanted(Row::Idle) {
            eprintln!("bench: idle memory …");
            sleep(REST);
            let node = cluster.node(0);
            mission.idle = Some(Idle::of(
                population,
                Memory::of(node, AGENT)?,
                Memory::of(node, OPERATOR)?,
            ));
        }
        if wanted(Row::Scale) {
            eprintln!("bench: a checkpoint of every pod …");
            let measured = scale::measure(&cluster, population, OPERATOR);
            mission.scale = Some(measured.inspect_err(|_| explain(&[&operator, &agent]))?);
        }
    }
    Ok(mission)
}

/// Starts the operator and waits until it knows everything.
fn start_operator(cluster: &Cluster) -> Running<'_> {
    let operator = cluster.start_operator(&Options::default());
    cluster
        .node(0)
        .shell("until curl --fail --silent --output /dev/null http://127.0.0.1:8081/readyz; do sleep 0.1; done")
        .ok();
    operator
}

/// What the programs said last, beside an error.
fn explain(programs: &[&Running<'_>]) {
    for program in programs {
        let log = program.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.len().saturating_sub(10);
        eprintln!("{}", lines[last..].join("\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_beyond_either_target_fails_the_row() {
        let memory = |rss| Memory {
            rss,
            anonymous: rss,
            peak: rss,
        };
        let idle = |agent, operator| Idle::of(Population::of(10), memory(agent), memory(operator));
        assert!(idle(15.0, 40.0).passed);
        assert!(!idle(15.1, 40.0).passed);
        assert!(!idle(15.0, 40.1).passed);
    }
}
