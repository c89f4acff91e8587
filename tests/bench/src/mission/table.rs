//! The rows of the cluster on the terminal.

use std::fmt::Write as _;

use super::latency::{Latency, TARGET};
use super::scale::{MOST_WRITES, Scale};
use super::{AGENT_TARGET, Idle, Mission, OPERATOR_TARGET};
use crate::summary::Spread;

/// A line for each figure; nothing without rows.
pub(crate) fn render(mission: &Mission) -> String {
    let mut lines = Vec::new();
    if let Some(row) = &mission.apply {
        lines.extend(latency(row));
    }
    if let Some(row) = &mission.idle {
        lines.extend(idle(row));
    }
    if let Some(row) = &mission.scale {
        lines.extend(scale(row));
    }
    let mut text = String::new();
    for (what, figure, verdict) in lines {
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{what:<64}{figure:>36}  {}", verdict_of(verdict));
    }
    text
}

type Line = (String, String, Option<bool>);

fn latency(row: &Latency) -> Vec<Line> {
    let informs = |what: &str, spread: &Spread| (what.to_owned(), times(spread), None);
    let kubelet = row.kubelet.as_ref().map_or_else(
        || {
            let why = row.kubelet_refuses.as_deref().unwrap_or("not asked");
            let what = format!("the kubelet's checkpoint API refuses: {why}");
            (what, "–".to_owned(), None)
        },
        |kubelet| informs("the kubelet's checkpoint API, ms", kubelet),
    );
    vec![
        informs("apply → Ready, ms: median (p10–p90)", &row.apply),
        informs("the same dump by the command, ms", &row.command),
        kubelet,
        informs(
            "create → status patch → watch of a bare object, ms",
            &row.bare,
        ),
        (
            format!("apply → Ready less the dump, ms; in bare round trips (at most {TARGET:.0})"),
            format!("{} = {:.1} ×", times(&row.around), row.ratio),
            Some(row.passed),
        ),
    ]
}

fn idle(row: &Idle) -> Vec<Line> {
    let around = format!(
        "{} pods, {} nodes",
        row.population.pods, row.population.nodes
    );
    let line = |who: &str, memory: super::Memory, target: f64| {
        (
            format!("idle {who} with {around}, MiB RSS (at most {target:.0})"),
            format!("{:.1}, {:.1} at its peak", memory.rss, memory.peak),
            Some(memory.rss <= target),
        )
    };
    vec![
        line("agent", row.agent, AGENT_TARGET),
        line("operator", row.operator, OPERATOR_TARGET),
    ]
}

fn scale(row: &Scale) -> Vec<Line> {
    let [before, after] = row.operator;
    vec![
        (
            format!(
                "{} checkpoints over {} agents: lost, run twice",
                row.checkpoints, row.agents
            ),
            format!("{}, {} in {:.0} s", row.lost, row.twice, row.seconds),
            Some(row.lost == 0 && row.twice == 0),
        ),
        (
            "create → assigned, ms: median (p10–p90), p99".to_owned(),
            format!("{}, {:.0}", times(&row.assigned), row.assigned_p99),
            None,
        ),
        ("create → Ready, ms".to_owned(), times(&row.ended), None),
        (
            format!("requests of a checkpoint: writes (at most {MOST_WRITES:.0}), reads"),
            format!(
                "{:.2}, {:.2}; {} refused",
                row.requests.writes, row.requests.reads, row.requests.refused
            ),
            Some(row.requests.writes <= MOST_WRITES),
        ),
        (
            "the operator, MiB RSS: before, peak".to_owned(),
            format!("{:.1}, {:.1}", before.rss, after.peak),
            None,
        ),
    ]
}

fn verdict_of(passed: Option<bool>) -> &'static str {
    match passed {
        Some(true) => "PASS",
        Some(false) => "FAIL",
        None => "–",
    }
}

fn times(spread: &Spread) -> String {
    format!("{:.1} ({:.1}–{:.1})", spread.median, spread.p10, spread.p90)
}

#[cfg(test)]
mod tests {
    use super::super::latency::Sample;
    use super::*;

    #[test]
    fn the_latency_says_its_ratio_and_verdict() {
        let sample = Sample {
            apply: 150.0,
            command: 100.0,
            bare: 10.0,
            kubelet: Some(300.0),
        };
        let mission = Mission {
            apply: Some(Latency::of(vec![sample; 3], None)),
            ..Mission::default()
        };
        let text = render(&mission);
        let last = text.lines().last().expect("a line");
        assert!(last.contains("= 5.0 ×") && last.ends_with("PASS"), "{text}");
        assert!(text.contains("300.0"));
    }

    #[test]
    fn without_rows_there_are_no_lines() {
        assert_eq!(render(&Mission::default()), "");
    }
}
