//! The table on the terminal.

use std::fmt::Write as _;

use crate::summary::{RowResult, Spread};

/// The whole table: medians with p10–p90, ratios with their targets, verdicts.
pub(crate) fn render(results: &[RowResult]) -> String {
    let mut text = format!(
        "{:<36}{:>26}{:>26}{:>16}{:>26}{:>26}{:>16}{:>16}{:>12}  verdict\n",
        "milliseconds: median (p10–p90)",
        "pause runc",
        "pause ours",
        "ratio (target)",
        "wall runc",
        "wall ours",
        "ratio (target)",
        "frozen r/o",
        "durable"
    );
    for result in results {
        let target = |pick: fn(&crate::plan::Target) -> f64| {
            result
                .row
                .target
                .as_ref()
                .map(pick)
                .map_or_else(|| "–".to_owned(), |t| format!("{t:.2}"))
        };
        let verdict = match result.passed {
            Some(true) => "PASS",
            Some(false) => "FAIL",
            None => "–",
        };
        // Writing to a string cannot fail.
        let _written = writeln!(
            text,
            "{:<36}{:>26}{:>26}{:>16}{:>26}{:>26}{:>16}{:>16}{:>12.1}  {verdict}",
            result.row.title,
            spread(&result.runc.pause),
            spread(&result.ours.pause),
            format!("{:.2} ({})", result.pause_ratio, target(|t| t.pause)),
            spread(&result.runc.wall),
            spread(&result.ours.wall),
            format!("{:.2} ({})", result.wall_ratio, target(|t| t.wall)),
            format!(
                "{:.0}/{:.0}",
                result.runc.frozen.median, result.ours.frozen.median
            ),
            result.durable.wall.median,
        );
    }
    text
}

fn spread(spread: &Spread) -> String {
    format!("{:.1} ({:.1}–{:.1})", spread.median, spread.p10, spread.p90)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ROWS;
    use crate::summary::tests::result;

    #[test]
    fn a_row_says_its_medians_ratio_target_and_verdict() {
        let text = render(&[result(ROWS[0], 200.0, 60.0), result(ROWS[6], 200.0, 150.0)]);
        let row = text.lines().nth(1).expect("a row");
        assert!(row.contains("60.0 (60.0–60.0)"));
        assert!(row.contains("0.30 (0.40)"));
        assert!(row.ends_with("PASS"));
        assert!(text.lines().nth(2).expect("a row").ends_with('–'));
    }
}
