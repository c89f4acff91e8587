//! `--output json`: one object on stdout, whether it went well or not.

use serde::Serialize;

use super::Error;
use crate::checkpoint::Report;

/// What is printed of a failure.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failed<'a> {
    reason: &'a str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    criu_errno: Option<i32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    log: &'a [String],
}

#[derive(Serialize)]
struct Outcome<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<&'a Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failed<'a>>,
}

/// `{"checkpoint": …}` and a newline.
pub(super) fn success(report: &Report) -> String {
    line(&Outcome {
        checkpoint: Some(report),
        failure: None,
    })
}

/// `{"failure": {"reason", "message", "hint", "criuErrno", "log"}}` and a newline.
pub(super) fn failure(error: &Error) -> String {
    let failure = Failed {
        reason: error.reason(),
        message: error.to_string(),
        hint: error.hint(),
        criu_errno: error.criu_errno(),
        log: error.quoted(),
    };
    line(&Outcome {
        checkpoint: None,
        failure: Some(failure),
    })
}

fn line(outcome: &Outcome<'_>) -> String {
    // Strings, numbers and lists always become JSON; a path that is no UTF-8 does not.
    match serde_json::to_string(outcome) {
        Ok(text) => text + "\n",
        Err(error) => {
            serde_json::json!({ "failure": {
            "reason": "OutputUnprintable", "message": error.to_string() } })
            .to_string()
                + "\n"
        }
    }
}
