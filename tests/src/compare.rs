//! Holds one program's command line against another's: the same words in the same circumstances
//! must come to the same end, but for differences that are listed.

use std::fmt::Write as _;

mod list;
mod normal;
mod rules;
mod runner;

pub use list::{Case, ListError, Needed, parse};
pub use normal::normalise;
pub use rules::{KEYS, apply};
pub use runner::{Containers, Runner};

/// What a command came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The exit status; the signal's number plus 128 where it died of one.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said of errors.
    pub stderr: String,
    /// The file `log` in its directory.
    pub log: String,
    /// What is left in its directory: kind, mode and name of each entry.
    pub left: Vec<String>,
}

/// What differs, line by line; `None` when nothing does.
#[must_use]
pub fn difference(theirs: &Outcome, ours: &Outcome) -> Option<String> {
    if theirs == ours {
        return None;
    }
    let mut text = String::new();
    // Writing to a String cannot fail.
    if theirs.status != ours.status {
        let _ = writeln!(text, "  status: {} / {}", theirs.status, ours.status);
    }
    let parts = [
        ("stdout", &theirs.stdout, &ours.stdout),
        ("stderr", &theirs.stderr, &ours.stderr),
        ("log", &theirs.log, &ours.log),
        ("left", &theirs.left.join("\n"), &ours.left.join("\n")),
    ];
    for (name, theirs, ours) in parts.into_iter().filter(|(_, theirs, ours)| theirs != ours) {
        let _ = writeln!(text, "  {name}:");
        only_in(theirs, ours).for_each(|line| {
            let _ = writeln!(text, "    - {line}");
        });
        only_in(ours, theirs).for_each(|line| {
            let _ = writeln!(text, "    + {line}");
        });
    }
    Some(text)
}

fn only_in<'a>(one: &'a str, other: &'a str) -> impl Iterator<Item = &'a str> {
    let order = one.lines().eq(other.lines());
    one.lines()
        .filter(move |line| !order && !other.lines().any(|known| known == *line))
}

/// The verdict on a case: nothing, or what is wrong with it.
#[must_use]
pub fn judge(case: &Case, theirs: &Outcome, ours: &Outcome) -> Option<String> {
    let (mut theirs, mut ours) = (normalise(theirs, case.dump), normalise(ours, case.dump));
    let Some(key) = &case.differs else {
        return difference(&theirs, &ours);
    };
    if theirs == ours {
        return Some(format!("  marked {key}, but nothing differs\n"));
    }
    if !apply(key, &mut theirs, &mut ours) {
        return Some(format!("  marked {key}, but that is not what differs\n"));
    }
    difference(&theirs, &ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: i32, stderr: &str) -> Outcome {
        Outcome {
            status,
            stderr: stderr.to_owned(),
            ..Outcome::default()
        }
    }

    fn case(differs: Option<&str>) -> Case {
        Case {
            line: 1,
            needed: Needed::None,
            differs: differs.map(str::to_owned),
            dump: false,
            command: String::new(),
        }
    }

    #[test]
    fn names_what_differs() {
        let text = difference(&outcome(1, "a\nb\n"), &outcome(2, "a\nc\n")).unwrap();
        assert_eq!(text, "  status: 1 / 2\n  stderr:\n    - b\n    + c\n");
        assert_eq!(difference(&outcome(1, "a"), &outcome(1, "a")), None);
    }

    #[test]
    fn a_mark_without_a_difference_is_stale() {
        let verdict = judge(&case(Some("caller")), &outcome(1, "a"), &outcome(1, "a"));
        assert!(verdict.unwrap().contains("nothing differs"));
    }

    #[test]
    fn a_mark_covers_its_own_difference_only() {
        let (theirs, ours) = (
            outcome(1, "level=error msg=x func=\"f()\" file=\"a:1\""),
            outcome(1, "level=error msg=x func=g file=\"b:2\""),
        );
        assert_eq!(judge(&case(Some("caller")), &theirs, &ours), None);
        assert!(judge(&case(None), &theirs, &ours).is_some());
        let ours = outcome(2, &ours.stderr);
        assert!(judge(&case(Some("caller")), &theirs, &ours).is_some());
    }
}
