//! What is measured: the rows, the programs, and who goes first in which round.

use serde::Serialize;

/// How a row's container is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Shape {
    /// runc with its default configuration.
    Plain,
    /// containerd: a container of its own owns the namespaces, another one joins them.
    Pod,
}

/// A command that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Contender {
    /// The real runc.
    Runc,
    /// Our command.
    Ours,
    /// Our command with fsync and digest.
    Durable,
}

/// All of them; each round runs each once.
pub(crate) const CONTENDERS: [Contender; 3] =
    [Contender::Runc, Contender::Ours, Contender::Durable];

/// The largest medians allowed, as parts of runc's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Target {
    /// Of the pause that the application sees.
    pub(crate) pause: f64,
    /// Of the wall time.
    pub(crate) wall: f64,
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Row {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// Its name for people.
    pub(crate) title: &'static str,
    /// Its container.
    pub(crate) shape: Shape,
    /// The workload's arguments after `clock --out FILE`.
    pub(crate) workload: &'static [&'static str],
    /// Processes that read their clocks.
    pub(crate) processes: usize,
    /// Flags that every contender gets.
    pub(crate) flags: &'static [&'static str],
    /// Flags that ours get on top.
    pub(crate) our_flags: &'static [&'static str],
    /// What is promised; nothing for a row that only informs.
    pub(crate) target: Option<Target>,
}

const SHORT: Option<Target> = Some(Target {
    pause: 0.40,
    wall: 0.60,
});
const CONNECTED: Option<Target> = Some(Target {
    pause: 0.60,
    wall: 0.60,
});
const NOT_WORSE: Option<Target> = Some(Target {
    pause: 1.0,
    wall: 1.0,
});

const SMALL: Row = Row {
    name: "small",
    title: "small single process",
    shape: Shape::Plain,
    workload: &[],
    processes: 1,
    flags: &[],
    our_flags: &[],
    target: SHORT,
};
const POD: Row = Row {
    name: "pod",
    title: "containerd container in a pod",
    shape: Shape::Pod,
    ..SMALL
};

/// Every row, in the order of the table.
pub(crate) const ROWS: [Row; 7] = [
    SMALL,
    Row {
        name: "many",
        title: "20 processes, 64 threads in all",
        workload: &["--procs", "20", "--threads", "64", "--sleep-us", "1000"],
        processes: 20,
        target: NOT_WORSE,
        ..SMALL
    },
    Row {
        name: "memory",
        title: "512 MiB of dirty memory",
        workload: &["--dirty", "512"],
        target: NOT_WORSE,
        ..SMALL
    },
    POD,
    Row {
        name: "small-tcp",
        title: "small, --tcp-established",
        workload: &["--connection"],
        flags: &["--tcp-established"],
        target: CONNECTED,
        ..SMALL
    },
    Row {
        name: "pod-tcp",
        title: "pod, --tcp-established",
        workload: &["--connection"],
        flags: &["--tcp-established"],
        target: CONNECTED,
        ..POD
    },
    Row {
        name: "small-iptables",
        title: "small, iptables lock on both sides",
        our_flags: &["--network-lock", "iptables"],
        target: None,
        ..SMALL
    },
];

/// Who goes first, second and third in a round: every order comes up equally often.
pub(crate) fn order(round: usize) -> [Contender; 3] {
    let mut order = CONTENDERS;
    order.rotate_left(round % 3);
    if round / 3 % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn six_rounds_have_six_different_orders() {
        let orders: BTreeSet<String> = (0..6).map(|round| format!("{:?}", order(round))).collect();
        assert_eq!(orders.len(), 6);
    }

    #[test]
    fn every_round_runs_every_contender() {
        for round in 0..12 {
            for contender in CONTENDERS {
                assert!(order(round).contains(&contender));
            }
        }
    }

    #[test]
    fn names_of_rows_differ() {
        let names: BTreeSet<&str> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
    }
}
