//! The matrix as people read it: what is known of each option and place, the table of `docs/compatibility.md`, and what lacks.

use std::collections::BTreeMap;

use super::options::{ALL, Listed};
use super::{Cell, How, Outcome, Place};

/// The line of `docs/compatibility.md` after which the table begins.
pub const BEGIN: &str = "<!-- the matrix, written by `make compatibility` -->";
/// The line at which it ends.
pub const END: &str = "<!-- end of the matrix -->";

const HEAD: &str = "\
| option | in a `ContainerCheckpoint` | runtime | CRIU | cgroups | kernel | shown by | on |
|---|---|---|---|---|---|---|---|
";

/// What separates two ways in a row.
const BETWEEN: &str = "; ";
/// What a row says in front of what is missing.
const LACKS: &str = "not here: needs ";

/// What was shown of one option in one place, each way with its best outcome and the last day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The option.
    pub option: &'static Listed,
    /// The place.
    pub place: Place,
    /// Each way at most once, and in order.
    pub shown: Vec<(How, Outcome)>,
    /// The last day on which any of it was shown.
    pub date: String,
}

/// The rows of these cells: the options in the order of the list, the places in their own.
#[must_use]
pub fn rows(cells: &[Cell]) -> Vec<Row> {
    let mut rows = Vec::new();
    for option in &ALL {
        let mut places: BTreeMap<&Place, (BTreeMap<How, &Outcome>, &str)> = BTreeMap::new();
        for cell in cells.iter().filter(|cell| cell.option == option.name) {
            let (shown, date) = places.entry(&cell.place).or_default();
            let best = shown.entry(cell.how).or_insert(&cell.outcome);
            // In the order of their declaration the better outcome is the smaller.
            *best = (*best).min(&cell.outcome);
            *date = (*date).max(&cell.date);
        }
        rows.extend(places.into_iter().map(|(place, (shown, date))| {
            Row {
                option,
                place: place.clone(),
                shown: shown
                    .into_iter()
                    .map(|(how, outcome)| (how, outcome.clone()))
                    .collect(),
                date: date.to_owned(),
            }
        }));
    }
    rows
}

/// The options of runc's that no cell shows restored, and that no cell says something is missing for.
#[must_use]
pub fn unshown(cells: &[Cell]) -> Vec<&'static str> {
    let accounted_for = |listed: &Listed| {
        cells
            .iter()
            .any(|cell| cell.option == listed.name && accounts(&cell.outcome))
    };
    let options = ALL.iter().filter(|listed| listed.of_runc);
    options
        .filter(|listed| !accounted_for(listed))
        .map(|listed| listed.name)
        .collect()
}

/// Whether no more is to be shown after this.
fn accounts(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Restored | Outcome::RestoredByCriu | Outcome::Lacks(_) => true,
        Outcome::Dumped | Outcome::Sent => false,
    }
}

/// The table in Markdown.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let lines: String = rows.iter().map(line).collect();
    format!("{HEAD}{lines}")
}

/// The table for a terminal: each option with its places below it.
#[must_use]
pub fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut option = "";
    for row in rows {
        if row.option.name != option {
            option = row.option.name;
            text.push_str(option);
            text.push('\n');
        }
        let [ways, place] = [ways(&row.shown), row.place.to_string()];
        text.extend(["    ", &ways, "  (", &place, ")\n"]);
    }
    text
}

fn ways(shown: &[(How, Outcome)]) -> String {
    let ways: Vec<String> = shown
        .iter()
        .map(|(how, outcome)| words(*how, outcome))
        .collect();
    ways.join(BETWEEN)
}

fn line(row: &Row) -> String {
    let Row {
        option,
        place,
        shown,
        date,
    } = row;
    // Fields without a flag are written as the API writes them.
    let name = if option.name.contains(char::is_uppercase) {
        "–".to_owned()
    } else {
        format!("`--{}`", option.name)
    };
    format!(
        "| {name} | `{}` | {} | {} | {} | {}{} | {} | {date} |\n",
        option.field,
        place.runtime,
        place.criu,
        place.cgroups,
        place.kernel,
        if place.vm { IN_VM } else { "" },
        ways(shown),
    )
}

const IN_VM: &str = ", virtual machine";

fn words(how: How, outcome: &Outcome) -> String {
    let how = match how {
        How::Command => "command",
        How::Object => "object",
    };
    match outcome {
        Outcome::Restored => format!("{how}, restored"),
        Outcome::RestoredByCriu => format!("{how}, restored by `criu restore`"),
        Outcome::Dumped => format!("{how}, dumped"),
        Outcome::Sent => format!("{how}, as sent to CRIU"),
        Outcome::Lacks(what) => format!("{how}, {LACKS}{what}"),
    }
}

fn said(words: &str) -> Result<(How, Outcome), String> {
    let (how, outcome) = words
        .split_once(", ")
        .ok_or_else(|| format!("`{words}` is no way and outcome"))?;
    let how = match how {
        "command" => How::Command,
        "object" => How::Object,
        other => return Err(format!("`{other}` is no way")),
    };
    let outcome = match outcome {
        "restored" => Outcome::Restored,
        "restored by `criu restore`" => Outcome::RestoredByCriu,
        "dumped" => Outcome::Dumped,
        "as sent to CRIU" => Outcome::Sent,
        other => match other.strip_prefix(LACKS) {
            Some(what) => Outcome::Lacks(what.to_owned()),
            None => return Err(format!("`{other}` is no outcome")),
        },
    };
    Ok((how, outcome))
}

/// The rows of a table in Markdown.
///
/// # Errors
///
/// A sentence on the first thing that this could not have written.
pub fn parse(text: &str) -> Result<Vec<Row>, String> {
    let rows = text
        .strip_prefix(HEAD)
        .ok_or("the table has another head")?
        .lines()
        .map(row)
        .collect::<Result<Vec<Row>, String>>()?;
    if markdown(&rows) == text {
        Ok(rows)
    } else {
        Err("the table is not as `make compatibility` writes it".to_owned())
    }
}

fn row(line: &str) -> Result<Row, String> {
    let fields: Vec<&str> = line
        .trim_start_matches("| ")
        .trim_end_matches(" |")
        .split(" | ")
        .collect();
    let [_, field, runtime, criu, cgroups, kernel, shown, date] = fields[..] else {
        return Err(format!("`{line}` has not eight fields"));
    };
    let option = ALL
        .iter()
        .find(|listed| field == format!("`{}`", listed.field))
        .ok_or_else(|| format!("{field} is no option"))?;
    let vm = kernel.ends_with(IN_VM);
    for (what, text) in [("CRIU", criu), ("kernel", kernel.trim_end_matches(IN_VM))] {
        if text.is_empty() || !text.chars().all(|c| c == '.' || c.is_ascii_digit()) {
            return Err(format!("`{text}` is no version of {what}"));
        }
    }
    if !["1", "1, hybrid", "2"].contains(&cgroups) {
        return Err(format!("`{cgroups}` is no version of cgroups"));
    }
    let known = ["runc ", "crun ", "containerd "];
    if !known.iter().any(|name| runtime.starts_with(name)) {
        return Err(format!("`{runtime}` is no runtime"));
    }
    date.parse::<jiff::civil::Date>()
        .map_err(|error| format!("`{date}` is no day: {error}"))?;
    Ok(Row {
        option,
        place: Place {
            runtime: runtime.to_owned(),
            criu: criu.to_owned(),
            cgroups: cgroups.to_owned(),
            kernel: kernel.trim_end_matches(IN_VM).to_owned(),
            vm,
        },
        shown: shown
            .split(BETWEEN)
            .map(said)
            .collect::<Result<_, String>>()?,
        date: date.to_owned(),
    })
}

/// The table of a page, between its two lines.
///
/// # Errors
///
/// The page lacks one of the lines.
pub fn of_page(page: &str) -> Result<&str, String> {
    let (_, rest) = page
        .split_once(&format!("{BEGIN}\n"))
        .ok_or_else(|| format!("the page lacks the line {BEGIN}"))?;
    let (table, _) = rest
        .split_once(END)
        .ok_or_else(|| format!("the page lacks the line {END}"))?;
    Ok(table)
}

/// A page with this table instead of the one that it has.
///
/// # Errors
///
/// The page lacks one of the lines.
pub fn into_page(page: &str, table: &str) -> Result<String, String> {
    let old = of_page(page)?;
    let begin = format!("{BEGIN}\n");
    Ok(page.replace(
        &format!("{begin}{old}{END}"),
        &format!("{begin}{table}{END}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(option: &str, how: How, outcome: Outcome, date: &str) -> Cell {
        Cell {
            option: option.to_owned(),
            place: Place {
                runtime: "runc 1.5.2".to_owned(),
                criu: "4.2.1".to_owned(),
                cgroups: "2".to_owned(),
                kernel: "6.12.1".to_owned(),
                vm: true,
            },
            how,
            outcome,
            date: date.to_owned(),
        }
    }

    #[test]
    fn of_two_outcomes_the_better_is_told_and_of_two_days_the_later() {
        let cells = [
            cell("pre-dump", How::Command, Outcome::Sent, "2026-11-30"),
            cell("pre-dump", How::Command, Outcome::Restored, "2026-11-29"),
        ];
        let [row] = &rows(&cells)[..] else {
            panic!("one row was expected");
        };
        assert_eq!(row.shown, [(How::Command, Outcome::Restored)]);
        assert_eq!(row.date, "2026-11-30");
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let cells = [
            cell("file-locks", How::Command, Outcome::Restored, "2026-11-29"),
            cell("file-locks", How::Object, Outcome::Dumped, "2026-11-29"),
            cell("trackMemory", How::Object, Outcome::Sent, "2026-11-29"),
            cell(
                "pre-dump",
                How::Object,
                Outcome::Lacks("a kernel".to_owned()),
                "2026-11-29",
            ),
        ];
        let rows = rows(&cells);
        assert_eq!(parse(&markdown(&rows)), Ok(rows));
    }

    #[test]
    fn what_nobody_could_have_recorded_is_no_table() {
        let cells = [cell(
            "pre-dump",
            How::Command,
            Outcome::Restored,
            "2026-11-29",
        )];
        let table = markdown(&rows(&cells));
        for (from, to) in [
            ("preDump", "noDump"),
            ("4.2.1", "newest"),
            ("| 2 |", "| 3 |"),
            ("runc 1.5.2", "youki 0.7"),
            ("restored", "works"),
            ("command", "magic"),
            ("2026-11-29", "yesterday"),
            ("`--pre-dump`", "`--another`"),
            ("| on |", "| when |"),
        ] {
            let forged = table.replacen(from, to, 1);
            assert_ne!(forged, table, "{from}");
            assert!(parse(&forged).is_err(), "{forged}");
        }
    }

    #[test]
    fn an_option_is_accounted_for_by_a_restore_or_by_what_is_missing() {
        let day = "2026-11-29";
        let mut cells: Vec<Cell> = ALL
            .iter()
            .filter(|listed| listed.of_runc)
            .map(|listed| cell(listed.name, How::Command, Outcome::Restored, day))
            .collect();
        assert_eq!(unshown(&cells), Vec::<&str>::new());
        cells[0].outcome = Outcome::Dumped;
        cells[1].outcome = Outcome::Lacks("something".to_owned());
        let first = cells.remove(2);
        assert_eq!(unshown(&cells), ["image-path", &first.option]);
    }

    #[test]
    fn a_terminal_is_told_each_option_once() {
        let day = "2026-11-29";
        let mut cells = [
            cell("pre-dump", How::Command, Outcome::Restored, day),
            cell("pre-dump", How::Object, Outcome::Restored, day),
        ];
        cells[1].place.cgroups = "1".to_owned();
        assert_eq!(
            text(&rows(&cells)),
            "pre-dump\n    \
             object, restored  (runc 1.5.2, CRIU 4.2.1, cgroups 1, kernel 6.12.1 (virtual machine))\n    \
             command, restored  (runc 1.5.2, CRIU 4.2.1, cgroups 2, kernel 6.12.1 (virtual machine))\n"
        );
    }

    #[test]
    fn the_page_of_this_repository_tells_of_every_option_of_runc_and_was_written_by_this() {
        let page =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
        let page = std::fs::read_to_string(page).expect("docs/compatibility.md");
        let rows = of_page(&page).and_then(parse).expect("a table");
        for listed in ALL.iter().filter(|listed| listed.of_runc) {
            let mut told = rows.iter().filter(|row| row.option == listed);
            assert!(
                told.any(|row| row.shown.iter().any(|(_, outcome)| accounts(outcome))),
                "docs/compatibility.md says nothing of {}: `make test` and `make compatibility` write it",
                listed.name
            );
        }
    }

    #[test]
    fn a_page_keeps_what_is_around_its_table() {
        let page = format!("# A page\n\n{BEGIN}\nold\n{END}\n\nThe end.\n");
        let new = into_page(&page, "new\n");
        assert_eq!(
            new,
            Ok(format!("# A page\n\n{BEGIN}\nnew\n{END}\n\nThe end.\n"))
        );
        assert_eq!(new.as_deref().map(of_page), Ok(Ok("new\n")));
        assert!(into_page("# A page\n", "new\n").is_err());
    }
}
