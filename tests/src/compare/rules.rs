//! The deliberate differences: each takes out of two outcomes what may differ, and no more.

use super::Outcome;

/// The keys of all differences; each is a heading of `docs/differences.md`.
pub const KEYS: [&str; 8] = [
    "added-flags",
    "caller",
    "no-directory",
    "other-verbs",
    "own-flags",
    "program-help",
    "state-json",
    "version",
];
/// The flags that runc does not have.
const OWN_FLAGS: [&str; 6] = [
    "--network-lock",
    "--ghost-limit",
    "--timeout",
    "--output",
    "--progress",
    "--durable",
];

/// Takes the difference out of both outcomes; false when it is not there or has no rule.
pub fn apply(key: &str, theirs: &mut Outcome, ours: &mut Outcome) -> bool {
    match key {
        "added-flags" => without_own_flags(ours),
        "caller" => [theirs, ours].into_iter().all(without_caller),
        "no-directory" => {
            let panicked = theirs.status == 2 && theirs.stderr.starts_with("panic: getwd");
            let said = ours.status == 1 && ours.stderr.contains("msg=\"getwd: ");
            panicked && said && same(theirs, ours)
        }
        "other-verbs" => {
            let none = ours.status == 3 && ours.stderr.contains("No help topic for '");
            none && theirs.status != 3 && same(theirs, ours)
        }
        "own-flags" => {
            let unknown = theirs
                .stdout
                .starts_with("Incorrect Usage: flag provided but not defined");
            let refused = ours.status == theirs.status;
            unknown && refused && same(theirs, ours)
        }
        "program-help" => [theirs, ours].into_iter().all(cut_help),
        "state-json" => {
            let both = [&*theirs, &*ours]
                .iter()
                .all(|outcome| outcome.stderr.contains("level=error"));
            both && same_text(theirs, ours)
        }
        "version" => {
            let both = [&*theirs, &*ours]
                .iter()
                .all(|outcome| outcome.stdout.contains(" version "));
            theirs.stdout.clone_from(&ours.stdout);
            both
        }
        _ => false,
    }
}

fn same(theirs: &mut Outcome, ours: &Outcome) -> bool {
    theirs.clone_from(ours);
    true
}

fn same_text(theirs: &mut Outcome, ours: &Outcome) -> bool {
    theirs.stderr.clone_from(&ours.stderr);
    true
}

/// Our help has a line more for each flag of ours.
fn without_own_flags(ours: &mut Outcome) -> bool {
    let own = |line: &&str| {
        OWN_FLAGS
            .iter()
            .any(|flag| line.trim_start().starts_with(flag))
    };
    let found = ours.stdout.lines().filter(own).count();
    let kept = ours.stdout.lines().filter(|line| !own(line));
    ours.stdout = kept.fold(String::new(), |out, line| out + line + "\n");
    found == OWN_FLAGS.len()
}

/// The source of a line is the program's own affair.
fn without_caller(outcome: &mut Outcome) -> bool {
    let json = outcome.stderr.starts_with('{');
    let starts = if json {
        ["\"file\":", ",\"func\":"]
    } else {
        [" func=", " file="]
    };
    starts.into_iter().all(|start| {
        let found = without_value(&outcome.stderr, start);
        found.is_some_and(|text| {
            outcome.stderr = text;
            true
        })
    })
}

/// The text without the first such key and its value, quoted or not.
fn without_value(text: &str, key: &str) -> Option<String> {
    let at = text.find(key)?;
    let rest = &text[at + key.len()..];
    let length = match rest.strip_prefix('"') {
        Some(quoted) => quoted.find('"')? + 2,
        None => rest.find([' ', '\n']).unwrap_or(rest.len()),
    };
    Some(format!("{}{}", &text[..at], &rest[length..]))
}

/// The program's own help begins at NAME.
fn cut_help(outcome: &mut Outcome) -> bool {
    let Some(at) = outcome.stdout.find("NAME:\n") else {
        return false;
    };
    outcome.stdout.truncate(at);
    true
}
