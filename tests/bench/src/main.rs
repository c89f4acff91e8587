//! `make bench`: our checkpoint command against runc's, interleaved on one machine, in a real node; and
//! the two binaries in a real cluster.

mod error;
mod gaps;
mod mission;
mod plan;
mod plot;
mod round;
mod summary;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use rig::Node;
use rig::pod::Containerd;
use serde::Serialize;

use crate::error::Error;
use crate::mission::Mission;
use crate::plan::{ROWS, Row};
use crate::round::{Bench, Settings};
use crate::summary::RowResult;

/// Measures our checkpoint command against runc's, and the two binaries in a cluster.
#[derive(Debug, Parser)]
struct Args {
    /// Our program on this machine [default: the one that was built beside this one].
    #[arg(long, value_name = "PATH")]
    ours: Option<PathBuf>,
    /// The program to compare with, on this machine [default: the node's own runc].
    #[arg(long, value_name = "PATH")]
    runc: Option<PathBuf>,
    /// Measured rounds per row; at least 15 for figures that are to be believed.
    #[arg(long, value_name = "N", default_value_t = 15)]
    rounds: usize,
    /// Rounds before them that are not measured.
    #[arg(long, value_name = "N", default_value_t = 2)]
    warm_ups: usize,
    /// Only this row; may be given more than once. Those of the cluster are apply, idle and scale.
    #[arg(long = "row", value_name = "NAME")]
    rows: Vec<String>,
    /// Pods of the rows idle and scale, and checkpoints of scale; a tenth as many nodes.
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u16).range(1..))]
    scale: u16,
    /// Where in the node the images are written; removed after each round. It must lie below /run/rig.
    #[arg(long, value_name = "DIR", default_value = "/run/rig/images")]
    images: String,
    /// Keeps CRIU's log of each row's last round with each command in this folder.
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// The result with every sample.
    #[arg(long, value_name = "FILE", default_value = "target/bench.json")]
    json: PathBuf,
    /// The plot [default: docs/bench.svg for a whole run, target/bench.svg for a part of one].
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Rounds that figures for readers need.
const ENOUGH_ROUNDS: usize = 15;

impl Args {
    /// The plot that readers see is only replaced by one that shows everything.
    fn plot(&self) -> PathBuf {
        let whole = self.rows.is_empty() && self.rounds >= ENOUGH_ROUNDS;
        let default = if whole {
            "docs/bench.svg"
        } else {
            "target/bench.svg"
        };
        self.svg.clone().unwrap_or_else(|| PathBuf::from(default))
    }
}

/// What the JSON file holds.
#[derive(Debug, Serialize)]
struct Report<'a> {
    unit: &'static str,
    rounds: usize,
    warm_ups: usize,
    kernel: &'a str,
    versions: &'a str,
    rows: &'a [RowResult],
    mission: &'a Mission,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("stillframe-bench: {} ({})", error, error.reason());
            ExitCode::FAILURE
        }
    }
}

/// True when every row is within its target.
fn run(args: &Args) -> Result<bool, Error> {
    let (rows, of_cluster) = choose(&args.rows)?;
    let (results, versions) = measure_command(args, &rows)?;
    let mission = mission::measure(&mission::Settings {
        rows: of_cluster,
        rounds: args.rounds,
        warm_ups: args.warm_ups,
        scale: args.scale.into(),
    })?;
    write_results(args, &results, &mission, &versions)?;
    if !results.is_empty() {
        println!("{}", table::render(&results));
    }
    print!("{}", mission::render(&mission));
    Ok(results.iter().all(|result| result.passed != Some(false)) && mission.passed())
}

/// The rows of the command, in a node that goes afterwards; and the versions in it.
fn measure_command(args: &Args, rows: &[Row]) -> Result<(Vec<RowResult>, String), Error> {
    let node = Node::start();
    let bring = |from: &Path, name: &str| {
        let to = node.path("bin").join(name);
        std::fs::copy(from, &to)
            .map(|_| format!("/run/rig/bin/{name}"))
            .map_err(|source| Error::File {
                what: "copy",
                path: from.to_owned(),
                source,
            })
    };
    let versions = node
        .shell("uname -r; runc --version | head -1; criu --version | sed -n 's/^Version:/CRIU/p'")
        .stdout;
    if rows.is_empty() {
        return Ok((Vec::new(), versions));
    }
    node.install("workload");
    node.install("stillframe-archiver");
    let settings = Settings {
        rounds: args.rounds,
        warm_ups: args.warm_ups,
        runc: args
            .runc
            .as_deref()
            .map_or(Ok("runc".to_owned()), |path| bring(path, "runc-compared"))?,
        ours: match &args.ours {
            Some(path) => bring(path, "stillframe-node-agent")?,
            None => node.install("stillframe-node-agent"),
        },
        images: args.images.clone(),
        logs: args.logs.clone(),
    };
    let containerd = Containerd::start(&node);
    let bench = Bench::new(&node, &containerd, settings);
    let mut results = Vec::new();
    for row in rows {
        eprintln!("bench: {} …", row.title);
        results.push(bench.measure(*row)?);
    }
    Ok((results, versions))
}

/// The rows of these names, those of the command and those of the cluster; all of them without names.
fn choose(names: &[String]) -> Result<(Vec<Row>, Vec<mission::Row>), Error> {
    if names.is_empty() {
        return Ok((ROWS.to_vec(), mission::ROWS.to_vec()));
    }
    let (mut rows, mut of_cluster) = (Vec::new(), Vec::new());
    for name in names {
        let row = ROWS.iter().find(|row| row.name == name);
        let other = mission::ROWS.iter().find(|row| row.name() == name);
        if row.is_none() && other.is_none() {
            let known = ROWS.iter().map(|row| row.name);
            let known: Vec<&str> = known.chain(mission::ROWS.map(mission::Row::name)).collect();
            return Err(Error::UnknownRow {
                name: name.clone(),
                known: known.join(", "),
            });
        }
        rows.extend(row);
        of_cluster.extend(other);
    }
    Ok((rows, of_cluster))
}

fn write_results(
    args: &Args,
    results: &[RowResult],
    mission: &Mission,
    versions: &str,
) -> Result<(), Error> {
    let report = Report {
        unit: "milliseconds",
        rounds: args.rounds,
        warm_ups: args.warm_ups,
        kernel: versions.lines().next().unwrap_or_default(),
        versions,
        rows: results,
        mission,
    };
    let json = serde_json::to_string_pretty(&report).map_err(Error::Json)?;
    let facts = versions.lines().skip(1).collect::<Vec<_>>().join(" · ");
    let caption = format!(
        "{} interleaved rounds · {facts} · kernel {}",
        args.rounds, report.kernel
    );
    for (path, text) in [
        (&args.json, json),
        (&args.plot(), plot::render(results, &caption)),
    ] {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| Error::File {
                what: "make",
                path: folder.to_owned(),
                source,
            })?;
        }
        std::fs::write(path, text).map_err(|source| Error::File {
            what: "write",
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}
