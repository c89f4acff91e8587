//! What to do about a failure, in words that name the objects it is about.

use crate::{ContainerCheckpoint, PageReceiver, Reason, checkpoint::Failure, condition};

/// The longest message of a failure that the schema takes, in bytes.
const MESSAGE_LIMIT: usize = 2048;
/// The longest hint that the schema takes, in bytes.
const HINT_LIMIT: usize = 1024;

/// An object that a failure can be about.
pub trait Subject {
    /// The name that a word of a hint (`POD`, `NODE`, …) stands for, where it is known.
    fn named(&self, word: &str) -> Option<&str>;
}

impl Subject for ContainerCheckpoint {
    fn named(&self, word: &str) -> Option<&str> {
        let options = &self.spec.options;
        match word {
            "POD" => Some(&self.spec.source.pod_name),
            "NODE" => self.status.as_ref()?.node_name.as_deref(),
            "PARENT" => options.parent_ref.as_ref().map(|parent| &*parent.name),
            "RECEIVER" => options.receiver(),
            _ => None,
        }
    }
}

impl Subject for PageReceiver {
    fn named(&self, word: &str) -> Option<&str> {
        let status = self.status.as_ref();
        match word {
            "RECEIVER" => self.metadata.name.as_deref(),
            "NODE" => status?.node_name.as_deref(),
            "CHECKPOINT" => status?.checkpoint.as_ref().map(|sender| &*sender.name),
            _ => None,
        }
    }
}

/// A hint with the names in place of the words that stand for them.
fn about(subject: &impl Subject, hint: &str) -> String {
    hint.split_inclusive(' ')
        .map(|piece| {
            let word = piece.trim_end_matches(|c: char| !c.is_ascii_uppercase());
            let rest = &piece[word.len()..];
            [subject.named(word).unwrap_or(word), rest].concat()
        })
        .collect()
}

impl Failure {
    /// A failure with a reason's own hint.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason: reason.as_str().to_owned(),
            message: message.into(),
            hint: reason.hint().map(str::to_owned),
            ..Self::default()
        }
    }

    /// The same as the status of `subject` takes it: its hint names the objects, and everything is as short as the schema wants it.
    #[must_use]
    pub fn of(self, subject: &impl Subject) -> Self {
        let hint = self.hint.map(|hint| about(subject, &hint));
        Self {
            message: condition::cut(&self.message, MESSAGE_LIMIT).to_owned(),
            hint: hint.map(|hint| condition::cut(&hint, HINT_LIMIT).to_owned()),
            ..self
        }
    }

    /// The message and the hint, for whoever reads a condition or an event alone.
    #[must_use]
    pub fn advice(&self) -> String {
        let message = self.message.strip_suffix('.').unwrap_or(&self.message);
        match &self.hint {
            Some(hint) => format!("{message}. Hint: {hint}"),
            None => self.message.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checkpoint() -> ContainerCheckpoint {
        let spec = json!({"source": {"podName": "web-0"}});
        ContainerCheckpoint::new("one", serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn a_hint_names_what_is_known_and_leaves_the_rest() {
        let hint = "kubectl get pod POD shows, POD; node NODE, (POD) and CRIU";
        let named = about(&checkpoint(), hint);
        assert_eq!(
            named,
            "kubectl get pod web-0 shows, web-0; node NODE, (POD) and CRIU"
        );
    }

    #[test]
    fn a_sentence_ends_once() {
        for message in ["it failed", "it failed."] {
            let failure = Failure {
                hint: Some("look".into()),
                message: message.into(),
                ..Failure::default()
            };
            assert_eq!(failure.advice(), "it failed. Hint: look");
        }
        let bare = Failure::new(Reason::Queued, "it waits.");
        assert_eq!(bare.advice(), "it waits.");
    }

    #[test]
    fn what_is_too_long_for_the_schema_is_cut() {
        let long = Failure {
            message: "é".repeat(2000),
            hint: Some("POD ".repeat(1000)),
            ..Failure::default()
        };
        let cut = long.of(&checkpoint());
        assert!(cut.message.len() <= MESSAGE_LIMIT);
        assert!(cut.hint.is_some_and(|hint| hint.len() <= HINT_LIMIT));
    }
}
