//! The plot: medians as bars with p10–p90 whiskers, runc above ours, one panel per measure.

use std::fmt::Write as _;

use crate::summary::{Measured, RowResult, Spread};

const WIDTH: f64 = 1120.0;
const LABELS: f64 = 270.0;
const PANEL: f64 = 360.0;
const PANEL_GAP: f64 = 50.0;
const TOP: f64 = 104.0;
const ROW: f64 = 56.0;
const BAR: f64 = 17.0;
const RUNC: &str = "#9aa5b1";
const OURS: &str = "#0b7285";
const FONT: &str = "font-family='Helvetica, Arial, sans-serif'";

/// One measure and the panel that shows it.
struct Panel {
    title: &'static str,
    pick: fn(&Measured) -> Spread,
    ratio: fn(&RowResult) -> f64,
    left: f64,
}

/// The picture as a standalone SVG document.
pub(crate) fn render(results: &[RowResult], caption: &str) -> String {
    let rows = u32::try_from(results.len()).map_or(0.0, f64::from);
    let height = TOP + rows * ROW + 52.0;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' \
         height='{height}' {FONT}>\n<rect width='100%' height='100%' fill='#ffffff'/>\n"
    );
    text(
        &mut svg,
        (24.0, 34.0),
        "font-size='20' font-weight='bold' fill='#1f2933'",
        "How long a checkpoint stops an application, and how long it takes",
    );
    legend(&mut svg);
    let panels = [
        Panel {
            title: "Pause seen by the application, ms",
            pick: |measured| measured.pause,
            ratio: |result| result.pause_ratio,
            left: LABELS,
        },
        Panel {
            title: "Wall time of the command, ms",
            pick: |measured| measured.wall,
            ratio: |result| result.wall_ratio,
            left: LABELS + PANEL + PANEL_GAP,
        },
    ];
    for (index, result) in results.iter().enumerate() {
        let y = row_top(index);
        if index % 2 == 0 {
            let _written = writeln!(
                svg,
                "<rect x='12' y='{:.1}' width='{}' height='{ROW}' fill='#f5f7fa'/>",
                y - 6.0,
                WIDTH - 24.0
            );
        }
        text(
            &mut svg,
            (24.0, y + 27.0),
            "font-size='13' fill='#1f2933'",
            result.row.title,
        );
    }
    for panel in &panels {
        draw_panel(&mut svg, panel, results);
    }
    text(
        &mut svg,
        (24.0, height - 18.0),
        "font-size='11' fill='#616e7c'",
        &format!("Bars: medians; whiskers: 10th to 90th percentile. {caption}"),
    );
    svg.push_str("</svg>\n");
    svg
}

fn row_top(index: usize) -> f64 {
    TOP + ROW * u32::try_from(index).map_or(0.0, f64::from)
}

fn legend(svg: &mut String) {
    for (x, colour, name) in [(24.0, RUNC, "runc checkpoint"), (160.0, OURS, "Stillframe")] {
        let _written = writeln!(
            svg,
            "<rect x='{x}' y='50' width='14' height='14' rx='2' fill='{colour}'/>"
        );
        text(svg, (x + 20.0, 62.0), "font-size='13' fill='#1f2933'", name);
    }
}

fn draw_panel(svg: &mut String, panel: &Panel, results: &[RowResult]) {
    let largest = results
        .iter()
        .flat_map(|result| [&result.runc, &result.ours])
        .map(|measured| (panel.pick)(measured).p90)
        .fold(1.0, f64::max);
    // Room for the figures to the right of the longest bar.
    let scale = (PANEL - 96.0) / largest;
    text(
        svg,
        (panel.left, TOP - 18.0),
        "font-size='13' font-weight='bold' fill='#1f2933'",
        panel.title,
    );
    for (index, result) in results.iter().enumerate() {
        let y = row_top(index);
        bar(
            svg,
            panel,
            (y + 3.0, RUNC, scale),
            &(panel.pick)(&result.runc),
            "",
        );
        let ratio = format!("  ({:.2}×)", (panel.ratio)(result));
        bar(
            svg,
            panel,
            (y + 6.0 + BAR, OURS, scale),
            &(panel.pick)(&result.ours),
            &ratio,
        );
    }
    let _written = writeln!(
        svg,
        "<line x1='{0}' y1='{1}' x2='{0}' y2='{2}' stroke='#9aa5b1'/>",
        panel.left,
        TOP - 6.0,
        row_top(results.len()) - 6.0
    );
}

fn bar(
    svg: &mut String,
    panel: &Panel,
    (y, colour, scale): (f64, &str, f64),
    spread: &Spread,
    suffix: &str,
) {
    let at = |value: f64| panel.left + value * scale;
    let middle = y + BAR / 2.0;
    let (low, high) = (at(spread.p10), at(spread.p90));
    let _written = writeln!(
        svg,
        "<rect x='{:.1}' y='{y:.1}' width='{:.1}' height='{BAR}' rx='2' fill='{colour}'/>\n\
         <path d='M{low:.1} {middle:.1}H{high:.1}M{low:.1} {:.1}v8M{high:.1} {:.1}v8' \
         stroke='#1f2933' stroke-width='1.2' fill='none'/>",
        panel.left,
        spread.median * scale,
        middle - 4.0,
        middle - 4.0
    );
    let label = format!("{:.0}{suffix}", spread.median);
    let x = high.max(at(spread.median)) + 6.0;
    text(
        svg,
        (x, middle + 4.5),
        "font-size='12' fill='#1f2933'",
        &label,
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), style: &str, content: &str) {
    let safe = content.replace('&', "&amp;").replace('<', "&lt;");
    let _written = writeln!(svg, "<text x='{x:.1}' y='{y:.1}' {style}>{safe}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ROWS;
    use crate::summary::tests::result;

    #[test]
    fn every_row_has_two_bars_in_each_panel() {
        let results: Vec<_> = ROWS.iter().map(|row| result(*row, 150.0, 50.0)).collect();
        let svg = render(&results, "15 rounds <here>");
        assert_eq!(svg.matches(OURS).count(), ROWS.len() * 2 + 1);
        assert_eq!(svg.matches(RUNC).count(), ROWS.len() * 2 + 1 + 2);
        assert!(svg.contains("0.33×"));
        assert!(svg.contains("&lt;here>"));
        assert!(svg.ends_with("</svg>\n"));
    }
}
