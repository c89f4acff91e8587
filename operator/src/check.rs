//! `check`: whether an installation works, for `helm test`.

use std::{
    io::{self, Write},
    time::Duration,
};

use kube::{Api, Client, api::ListParams, core::DeserializeGuard};
use stillframe_crds::{CheckpointNode, GROUP, VERSION, condition};
use tokio::time::Instant;

use crate::controller::chain;

/// What the API server has to serve.
const KINDS: [&str; 3] = ["containercheckpoints", "checkpointnodes", "pagereceivers"];

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The table's head.
const HEAD: [&str; 5] = ["NODE", "READY", "REASON", "CRIU", "AGENT"];

/// What has to be there, and by when.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// How many nodes have to be ready at least.
    #[arg(long, default_value_t = 1)]
    pub agents: usize,
    /// How long to wait for that, such as 60s or 2m.
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub timeout: Duration,
}

/// Seconds, or with s or m.
fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let number: u64 = digits.parse().map_err(|_| "use a number with s or m")?;
    let seconds = number.checked_mul(unit).ok_or("too long")?;
    Ok(Duration::from_secs(seconds))
}

/// What was found.
#[derive(Debug, Default, PartialEq)]
struct Found {
    /// Which kinds of ours the API server serves.
    kinds: Vec<String>,
    /// What the agents have reported.
    nodes: Vec<CheckpointNode>,
}

/// What is missing; nothing when the installation works.
fn missing(found: &Found, agents: usize) -> Vec<String> {
    let served = |kind: &str| found.kinds.iter().any(|one| one == kind);
    let mut missing: Vec<String> = KINDS
        .into_iter()
        .filter(|kind| !served(kind))
        .map(|kind| format!("the API server does not serve {kind}.{GROUP} ({VERSION})"))
        .collect();
    let ready = found.nodes.iter().filter(|node| is_ready(node)).count();
    if ready < agents {
        missing.push(format!("{ready} of at least {agents} nodes are ready"));
        let unready = found.nodes.iter().filter(|node| !is_ready(node));
        missing.extend(unready.map(|node| {
            let ready = ready_of(node).map_or("its agent has not reported yet", |c| &c.message);
            format!("{}: {ready}", name_of(node))
        }));
    }
    missing
}

/// What is there, for people.
fn table(nodes: &[CheckpointNode]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(nodes.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..HEAD.len()).filter_map(width).collect();
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn row(node: &CheckpointNode) -> [String; 5] {
    let unknown = || "-".to_owned();
    let ready = ready_of(node);
    let status = node.status.as_ref();
    let criu = status.and_then(|status| status.criu.as_ref());
    [
        name_of(node).to_owned(),
        ready.map_or_else(unknown, |c| c.status.clone()),
        ready.map_or_else(unknown, |c| c.reason.clone()),
        criu.map_or_else(unknown, |criu| criu.version.clone()),
        status.map_or_else(unknown, |status| status.agent_version.clone()),
    ]
}

fn name_of(node: &CheckpointNode) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

fn ready_of(
    node: &CheckpointNode,
) -> Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    let status = node.status.as_ref()?;
    condition::get(&status.conditions, condition::READY)
}

fn is_ready(node: &CheckpointNode) -> bool {
    ready_of(node).is_some_and(|ready| ready.status == "True")
}

/// Waits until the installation works, prints what is there, and says whether it does.
///
/// # Errors
/// Nobody reads what is printed. That the API server does not answer is part of what is printed.
///
/// # Cancel safety
/// It only reads.
pub async fn run(client: Client, options: &Options, out: &mut impl Write) -> io::Result<bool> {
    let until = Instant::now() + options.timeout;
    loop {
        let (found, missing) = match look(&client).await {
            Ok(found) => {
                let missing = missing(&found, options.agents);
                (found, missing)
            }
            Err(error) => {
                let text = format!("the API server does not answer: {}", chain(&error));
                (Found::default(), vec![text])
            }
        };
        if missing.is_empty() || Instant::now() + LOOK_EVERY > until {
            out.write_all(table(&found.nodes).as_bytes())?;
            for line in &missing {
                writeln!(out, "{line}")?;
            }
            writeln!(out, "{}", if missing.is_empty() { "ok" } else { "failed" })?;
            return Ok(missing.is_empty());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(client: &Client) -> kube::Result<Found> {
    let version = format!("{GROUP}/{VERSION}");
    let kinds: Vec<String> = match client.list_api_group_resources(&version).await {
        Ok(list) => list.resources.into_iter().map(|kind| kind.name).collect(),
        Err(kube::Error::Api(status)) if status.is_not_found() => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut nodes = Vec::new();
    if kinds.iter().any(|kind| kind == KINDS[1]) {
        let api: Api<DeserializeGuard<CheckpointNode>> = Api::all(client.clone());
        let list = api.list(&ListParams::default()).await?;
        nodes.extend(list.items.into_iter().filter_map(|node| node.0.ok()));
    }
    Ok(Found { kinds, nodes })
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        fixtures,
        scenario::{Step, patient_server, step},
    };

    const SERVED: &str = "/apis/stillframe.dev/v1alpha1";
    const NODES: &str = "/apis/stillframe.dev/v1alpha1/checkpointnodes?";

    fn node(ready: &str) -> CheckpointNode {
        let mut node = (*fixtures::agent()).clone();
        let status = node.status.as_mut().unwrap();
        status.agent_version = "0.1.0".into();
        status.conditions[0].status = ready.into();
        node
    }

    fn found(nodes: Vec<CheckpointNode>) -> Found {
        let kinds = KINDS.map(str::to_owned).to_vec();
        Found { kinds, nodes }
    }

    fn served() -> Step {
        let resource = |name| json!({"name": name, "singularName": "", "namespaced": true, "kind": "K", "verbs": []});
        let list = json!({
            "apiVersion": "v1", "kind": "APIResourceList", "groupVersion": "stillframe.dev/v1alpha1",
            "resources": KINDS.map(resource),
        });
        step(Method::GET, SERVED, list)
    }

    fn listed(nodes: &[CheckpointNode]) -> Step {
        let list = json!({
            "apiVersion": "stillframe.dev/v1alpha1", "kind": "CheckpointNodeList",
            "metadata": {}, "items": nodes,
        });
        step(Method::GET, NODES, list)
    }

    async fn told(seconds: u64, steps: Vec<Step>) -> (bool, String) {
        // Between two looks passes as much as other servers wait for.
        let (client, server) = patient_server(steps);
        let options = Options {
            agents: 1,
            timeout: Duration::from_secs(seconds),
        };
        let mut out = Vec::new();
        let well = run(client, &options, &mut out).await.unwrap();
        server.await.unwrap();
        (well, String::from_utf8(out).unwrap())
    }

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("60s", 60), ("2m", 120), ("7", 7)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert!(duration("").is_err() && duration("1h").is_err());
    }

    #[test]
    fn each_thing_that_is_missing_is_named() {
        assert_eq!(missing(&found(vec![node("True")]), 1), [""; 0]);
        assert_eq!(missing(&found(Vec::new()), 0), [""; 0]);
        let few = missing(&found(vec![node("True"), node("False")]), 2);
        assert_eq!(few, ["1 of at least 2 nodes are ready", "node-1: m"]);
        let nothing = missing(&Found::default(), 1);
        assert_eq!(nothing.len(), KINDS.len() + 1);
        assert!(nothing[0].contains("containercheckpoints.stillframe.dev"));
    }

    #[test]
    fn the_table_has_a_row_for_each_node() {
        let mut silent = node("True");
        silent.metadata.name = Some("another-node".into());
        silent.status = None;
        let text = table(&[node("True"), silent]);
        assert_eq!(
            text,
            "NODE          READY  REASON     CRIU  AGENT\n\
             node-1        True   NodeReady  4.2   0.1.0\n\
             another-node  -      -          -     -\n"
        );
    }

    #[tokio::test]
    async fn an_installation_that_works_is_told_at_once() {
        let (well, text) = told(60, vec![served(), listed(&[node("True")])]).await;
        assert!(well && text.ends_with("ok\n"), "{text}");
    }

    #[tokio::test]
    async fn what_comes_up_in_time_is_waited_for() {
        let nothing =
            || step(Method::GET, SERVED, Value::Null).failing(StatusCode::NOT_FOUND, "NotFound");
        let steps = vec![nothing(), served(), listed(&[node("True")])];
        assert!(told(60, steps).await.0);
        let (well, text) = told(0, vec![nothing()]).await;
        assert!(!well);
        assert!(text.contains("does not serve checkpointnodes"), "{text}");
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_part_of_what_is_told() {
        let refused =
            step(Method::GET, SERVED, Value::Null).failing(StatusCode::FORBIDDEN, "Forbidden");
        let (well, text) = told(0, vec![refused]).await;
        assert!(!well && text.contains("Forbidden"), "{text}");
    }
}
