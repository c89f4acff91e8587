//! The page that documents the reasons.

use super::{Kind, Reason};

const HEAD: &str = "\
# Reasons

Conditions, events, metrics and `status.failure.reason` say where a checkpoint stands, and why it failed, with one of these
words. They do not change their meaning. `make generate` writes this page from `crds/src/reason.rs`.

The spec of a ContainerCheckpoint cannot be changed: what is to be done differently is asked for with another object.
";

const KINDS: [(Kind, &str, &str); 4] = [
    (
        Kind::Failure,
        "Failure",
        "The checkpoint failed; nobody tries again.",
    ),
    (Kind::Progress, "Progress", "The checkpoint is on its way."),
    (Kind::Success, "Success", "The checkpoint ended as asked."),
    (
        Kind::Notice,
        "Notice",
        "About a node, a deletion, or an event.",
    ),
];

/// The page, as Markdown.
#[must_use]
pub fn table() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n| kind | used when |\n|---|---|\n");
    for (_, name, when) in KINDS {
        page.extend(["| ", name, " | ", when, " |\n"]);
    }
    page.push_str("\n| reason | kind | meaning | what to do |\n|---|---|---|---|\n");
    for (kind, name, _) in KINDS {
        for reason in Reason::ALL.iter().filter(|reason| reason.kind() == kind) {
            let (meaning, hint) = (
                cell(reason.meaning()),
                cell(reason.hint().unwrap_or_default()),
            );
            let word = reason.as_str();
            page.extend([
                "| `", word, "` | ", name, " | ", &meaning, " | ", &hint, " |\n",
            ]);
        }
    }
    page
}

/// A text as a table's cell takes it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
