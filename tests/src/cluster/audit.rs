//! The API server's audit log: who asked it for what.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use serde::Deserialize;

/// One answered request, or a watch's begin or end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// The request's id: a watch has two entries of one id.
    pub id: String,
    /// `ResponseComplete`, or `ResponseStarted` for a watch that begins.
    pub stage: String,
    /// The user's name, for instance `system:serviceaccount:stillframe-system:stillframe-operator`.
    pub user: String,
    /// The node that the user's token is bound to, directly or by its pod.
    pub node: Option<String>,
    /// What the client calls itself.
    pub user_agent: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for other paths the method.
    pub verb: String,
    /// The resource's plural name; empty for paths such as `/readyz`.
    pub resource: String,
    /// The subresource; empty if the object itself was meant.
    pub subresource: String,
    /// The namespace; empty if there is none.
    pub namespace: String,
    /// The object's name; empty for lists, for instance.
    pub name: String,
    /// The path with its query.
    pub uri: String,
    /// The HTTP status.
    pub code: u16,
    /// When the request arrived: RFC 3339 in UTC with six digits after the second, so that it sorts as text.
    pub at: String,
}

impl AuditEntry {
    /// Whether this is a request of its own, and not the end of a watch that was counted when it began.
    #[must_use]
    pub fn is_request(&self) -> bool {
        (self.verb == "watch") == (self.stage == "ResponseStarted")
    }

    /// Whether it changed something, or would have.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch" | "head")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    stage: String,
    #[serde(rename = "requestURI", default)]
    request_uri: String,
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: String,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
    #[serde(default)]
    extra: std::collections::BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize, Default)]
struct ObjectRef {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize, Default)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

impl From<Event> for AuditEntry {
    fn from(event: Event) -> Self {
        let node = event
            .user
            .extra
            .get("authentication.kubernetes.io/node-name");
        Self {
            node: node.and_then(|names| names.first()).cloned(),
            id: event.audit_id,
            stage: event.stage,
            user: event.user.username,
            user_agent: event.user_agent,
            verb: event.verb,
            resource: event.object_ref.resource,
            subresource: event.object_ref.subresource,
            namespace: event.object_ref.namespace,
            name: event.object_ref.name,
            uri: event.request_uri,
            code: event.response_status.code,
            at: event.request_received_timestamp,
        }
    }
}

/// Reads the log from this many bytes on. A last line that is still being written is left out.
pub(super) fn read(log: &Path, from: u64) -> Vec<AuditEntry> {
    let mut text = Vec::new();
    let mut file = File::open(log).expect("the API server writes its audit log");
    file.seek(SeekFrom::Start(from))
        .and_then(|_| file.read_to_end(&mut text))
        .expect("the audit log is a file");
    let complete = text.iter().rposition(|byte| *byte == b'\n');
    let complete = complete.map_or(0, |last| last + 1);
    text.truncate(complete);
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let event: Event = serde_json::from_slice(line).unwrap_or_else(|error| {
                panic!(
                    "the audit log holds a line that is none ({error}): {}",
                    String::from_utf8_lossy(line)
                )
            });
            event.into()
        })
        .collect()
}
