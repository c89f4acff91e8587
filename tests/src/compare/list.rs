//! The list of command lines.

/// The container that a command line needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needed {
    /// None.
    None,
    /// A running one, that goes on whatever is done.
    Running,
    /// A frozen one.
    Paused,
    /// One that waits for its start.
    Created,
    /// One whose first process has ended.
    Stopped,
    /// A running one for each program, that may end.
    Fresh,
}

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Its number, from 1.
    pub line: usize,
    /// What it needs.
    pub needed: Needed,
    /// The key of the difference that is meant.
    pub differs: Option<String>,
    /// It gets as far as the engine's own checks and the dump.
    pub dump: bool,
    /// The shell's command.
    pub command: String,
}

/// A line that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid line {line}: {problem}")]
pub struct ListError {
    /// Its number.
    line: usize,
    /// Why.
    problem: String,
}

/// Reads the list; empty lines and those with `#` are comments.
///
/// # Errors
/// The first line that is none.
pub fn parse(text: &str) -> Result<Vec<Case>, ListError> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(line, text)| case(line, text))
        .collect()
}

fn case(line: usize, text: &str) -> Result<Case, ListError> {
    let wrong = |problem: &str| ListError {
        line,
        problem: problem.to_owned(),
    };
    let (circumstances, command) = text.split_once('|').ok_or_else(|| wrong("no |"))?;
    let mut words = circumstances.split_whitespace();
    let needed = match words.next() {
        Some("none") => Needed::None,
        Some("running") => Needed::Running,
        Some("paused") => Needed::Paused,
        Some("created") => Needed::Created,
        Some("stopped") => Needed::Stopped,
        Some("fresh") => Needed::Fresh,
        _ => return Err(wrong("no known container")),
    };
    let command = command.trim().to_owned();
    let mut case = Case {
        line,
        needed,
        differs: None,
        dump: false,
        command,
    };
    for word in words {
        match word.strip_prefix("differs=") {
            Some(key) => case.differs = Some(key.to_owned()),
            None if word == "dump" => case.dump = true,
            None => return Err(wrong(&format!("no circumstance {word:?}"))),
        }
    }
    Ok(case)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::compare::KEYS;

    const LIST: &str = include_str!("../../suites/cli/commands.txt");
    const DOCUMENT: &str = include_str!("../../../docs/differences.md");

    #[test]
    fn refuses_what_is_no_line() {
        assert!(parse("none x").is_err());
        assert!(parse("what | x").is_err());
        assert!(
            parse("none odd | x")
                .unwrap_err()
                .to_string()
                .contains("line 1")
        );
        assert_eq!(parse("# x\n\n").unwrap(), []);
    }

    #[test]
    fn the_list_is_long_enough_and_each_line_stands_once() {
        let cases = parse(LIST).unwrap();
        assert!(cases.len() >= 60, "{}", cases.len());
        let distinct: BTreeSet<_> = cases
            .iter()
            .map(|case| (case.needed, case.command.as_str()))
            .collect();
        assert_eq!(distinct.len(), cases.len());
    }

    #[test]
    fn every_difference_is_known_used_and_described() {
        let cases = parse(LIST).unwrap();
        let used: BTreeSet<&str> = cases
            .iter()
            .filter_map(|case| case.differs.as_deref())
            .collect();
        assert_eq!(used, BTreeSet::from(KEYS));
        for key in used {
            assert!(
                DOCUMENT.contains(&format!("\n## {key}\n")),
                "{key} is not in the document"
            );
        }
    }
}
