//! The Helm chart and what is made from it: what a real API server says to every object for every switch, what wrong values are told,
//! that the committed manifests are the chart's, and what the policies let through.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test ends it, with an explanation"
)]

#[path = "chart/argo.rs"]
mod argo;
#[path = "chart/objects.rs"]
mod objects;
#[path = "chart/policies.rs"]
mod policies;
#[path = "chart/values.rs"]
mod values;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rig::cluster::SYSTEM;
use rig::{Cluster, Node, Output};
use serde_json::Value;

/// The namespace of the agents.
const AGENTS: &str = "stillframe-agents";

/// A file or folder of the repository.
fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()))
}

/// The chart's folder in a node, with the script beside it.
const CHARTS: &str = "/run/rig/charts";

/// Brings a folder into a node, below the rig's folder there.
fn bring(node: &Node, folder: &Path, name: &str) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            bring(node, &entry.path(), &name);
        } else {
            node.put(&name, fs::read(entry.path()).expect("a file"));
        }
    }
}

/// The chart as Helm renders it in a node.
struct Chart {
    node: &'static Node,
}

impl Chart {
    /// The chart in the node that this process' tests share.
    fn shared() -> &'static Self {
        static CHART: OnceLock<Chart> = OnceLock::new();
        CHART.get_or_init(|| Self::in_node(Node::shared()))
    }

    /// The chart in the first node of the cluster that this process' tests share.
    fn in_cluster() -> &'static Self {
        static CHART: OnceLock<Chart> = OnceLock::new();
        CHART.get_or_init(|| Self::in_node(Cluster::shared().node(0)))
    }

    fn in_node(node: &'static Node) -> Self {
        bring(node, &repository("charts"), "charts");
        Self { node }
    }

    fn helm(&self, args: &[&str]) -> Output {
        self.node.command("helm").args(args).output()
    }

    /// `helm template` with these values, of these templates alone if any are named.
    fn template(&self, values: &Value, only: &[&str]) -> Output {
        let name = self.node.unique("values");
        let file = self.node.put(&name, values.to_string());
        let chart = format!("{CHARTS}/stillframe");
        let mut args = vec!["template", "stillframe", &chart];
        args.extend(["--namespace", SYSTEM, "--values", &file]);
        for one in only {
            args.extend(["--show-only", one]);
        }
        self.helm(&args)
    }

    /// What it renders, which must succeed.
    fn render(&self, values: &Value, only: &[&str]) -> String {
        self.template(values, only).ok().stdout
    }
}
