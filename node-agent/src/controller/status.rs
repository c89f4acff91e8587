//! Writes status as the contract has it: a merge patch with the resourceVersion that was judged.

use std::time::Duration;

use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;
use stillframe_crds::{ContainerCheckpoint, checkpoint::ContainerCheckpointStatus, names};
use tracing::warn;

/// The first and the longest wait after the API server could not be reached.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What the API server will never take.
#[derive(Debug, thiserror::Error)]
#[error("failed to write the status of {object}")]
pub struct Error {
    /// The object's namespace and name.
    pub object: String,
    /// What the server said.
    pub source: kube::Error,
}

impl Error {
    /// A stable name.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        "StatusRefused"
    }
}

/// What became of a write.
#[derive(Debug)]
pub enum Written {
    /// The object as it is now.
    Stored(Box<ContainerCheckpoint>),
    /// The object changed meanwhile so that the write is not wanted any more.
    Unwanted(Box<ContainerCheckpoint>),
    /// The object is gone, or another one has its name.
    Gone,
}

/// An object by its name, and by its UID where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: Option<String>,
}

/// How to go on after an answer.
enum Next {
    LookAgain,
    Wait,
    Gone,
    GiveUp,
}

/// Writes the status of checkpoints.
#[derive(Clone)]
pub struct Writer {
    client: Client,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Writer")
    }
}

impl Writer {
    /// Writes through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Has the status become what `wanted` says of the object; `None` is that nothing is to be
    /// written any more. When somebody else has written meanwhile, the object is read and `wanted`
    /// asked again. A status that says so already is not written.
    ///
    /// While the server cannot be reached this goes on trying, until it is dropped.
    ///
    /// # Errors
    /// The server will never take it.
    ///
    /// # Cancel safety
    /// When dropped, the write has happened or not.
    pub async fn write(
        &self,
        object: &ContainerCheckpoint,
        wanted: impl Fn(&ContainerCheckpoint) -> Option<ContainerCheckpointStatus> + Send,
    ) -> Result<Written, Error> {
        let subject = Subject {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid(),
        };
        let known = Some(Box::new(object.clone()));
        self.write_to(subject, known, wanted).await
    }

    /// The same of an object that is not known yet, and looked at first.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub async fn write_unseen(
        &self,
        subject: Subject,
        wanted: impl Fn(&ContainerCheckpoint) -> Option<ContainerCheckpointStatus> + Send,
    ) -> Result<Written, Error> {
        self.write_to(subject, None, wanted).await
    }

    async fn write_to(
        &self,
        subject: Subject,
        mut known: Option<Box<ContainerCheckpoint>>,
        wanted: impl Fn(&ContainerCheckpoint) -> Option<ContainerCheckpointStatus> + Send,
    ) -> Result<Written, Error> {
        let Subject {
            namespace,
            name,
            uid,
        } = subject;
        let api: Api<ContainerCheckpoint> = Api::namespaced(self.client.clone(), &namespace);
        let mut wait = FIRST_WAIT;
        loop {
            let answer = match known.take() {
                None => match api.get(&name).await {
                    Ok(found) if found.uid() == uid => {
                        known = Some(Box::new(found));
                        continue;
                    }
                    Ok(_) => return Ok(Written::Gone),
                    Err(error) => error,
                },
                Some(object) => {
                    let Some(status) = wanted(&object) else {
                        return Ok(Written::Unwanted(object));
                    };
                    if object.status.as_ref() == Some(&status) {
                        return Ok(Written::Stored(object));
                    }
                    let params = PatchParams {
                        field_manager: Some(names::NODE_AGENT.to_owned()),
                        ..PatchParams::default()
                    };
                    let patch = patch(&object, &status);
                    match api.patch_status(&name, &params, &Patch::Merge(patch)).await {
                        Ok(stored) => return Ok(Written::Stored(Box::new(stored))),
                        Err(error) => error,
                    }
                }
            };
            // After any other answer it is read anew: whether the write has happened is not known.
            match next(&answer) {
                Next::Gone => return Ok(Written::Gone),
                Next::LookAgain => {}
                Next::GiveUp => {
                    return Err(Error {
                        object: format!("{namespace}/{name}"),
                        source: answer,
                    });
                }
                Next::Wait => {
                    warn!(namespace, name, error = %answer, "could not write status, trying again");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }
}

fn patch(object: &ContainerCheckpoint, status: &ContainerCheckpointStatus) -> serde_json::Value {
    json!({
        "metadata": {
            "resourceVersion": object.resource_version(),
            "uid": object.uid(),
        },
        "status": status,
    })
}

fn next(error: &kube::Error) -> Next {
    match error {
        kube::Error::Api(status) => match status.code {
            404 => Next::Gone,
            409 => Next::LookAgain,
            400 | 413 | 422 => Next::GiveUp,
            _ => Next::Wait,
        },
        kube::Error::SerdeError(_) => Next::GiveUp,
        _ => Next::Wait,
    }
}

#[cfg(test)]
mod tests;
