//! The gap file of the `clock` workload, as the observer reads it.

/// What one process says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    /// The epoch that its maximum belongs to.
    pub(crate) epoch: u64,
    /// Its largest gap in that epoch, in nanoseconds.
    pub(crate) max_gap_nanos: u64,
    /// When it last wrote, in nanoseconds of the monotonic clock.
    pub(crate) now_nanos: u64,
}

/// The lines of all processes that have written one; the first line is the observer's own.
pub(crate) fn parse(text: &str) -> Vec<Line> {
    text.lines().skip(1).filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Line> {
    let value = |key: &str| {
        line.split_ascii_whitespace()
            .filter_map(|word| word.split_once('='))
            .find(|(name, _)| *name == key)
            .and_then(|(_, value)| value.parse().ok())
    };
    Some(Line {
        epoch: value("epoch")?,
        max_gap_nanos: value("max_gap_ns")?,
        now_nanos: value("now_ns")?,
    })
}

/// The largest gap of all processes, once each of them has written in this epoch and after this moment.
pub(crate) fn largest(lines: &[Line], processes: usize, epoch: u64, after: u64) -> Option<u64> {
    let settled = lines.len() == processes
        && lines
            .iter()
            .all(|line| line.epoch == epoch && line.now_nanos >= after);
    settled.then(|| {
        lines
            .iter()
            .map(|line| line.max_gap_nanos)
            .max()
            .unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "epoch=3        \n\
        epoch=3 pid=1 ticks=9 max_gap_ns=70 max_gap_end_ns=1 max_boot_gap_ns=70 now_ns=500   \n\
        epoch=3 pid=2 ticks=9 max_gap_ns=90 max_gap_end_ns=1 max_boot_gap_ns=90 now_ns=600   \n";

    #[test]
    fn the_largest_gap_of_all_processes_counts() {
        assert_eq!(largest(&parse(TEXT), 2, 3, 500), Some(90));
    }

    #[test]
    fn nothing_counts_until_every_process_wrote_after_the_dump() {
        let lines = parse(TEXT);
        assert_eq!(largest(&lines, 2, 3, 501), None);
        assert_eq!(largest(&lines, 3, 3, 0), None);
        assert_eq!(largest(&lines, 2, 4, 0), None);
    }

    #[test]
    fn half_a_line_is_no_line() {
        assert!(parse("epoch=3\nepoch=3 pid=1 max_gap").is_empty());
    }
}
