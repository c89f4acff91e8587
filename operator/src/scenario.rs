//! An API server made of expected requests and canned answers; a request that does not come
//! within a second fails the test, and so does one that nobody expects.

use std::{future::Future, sync::Arc, time::Duration};

use http::{Method, Request, Response, StatusCode};
use kube::{
    Client,
    client::Body,
    runtime::reflector::{self, store::Writer},
};
use serde_json::{Value, json};
use stillframe_crds::{CheckpointNode, ContainerCheckpoint};
use tokio::task::JoinHandle;
use tower_test::mock::{self, Handle};

use crate::{
    context::{Context, Failures, Nodes},
    events::Events,
    fixtures,
    index::Index,
    metrics::Metrics,
    reconcile,
    written::Written,
};

/// How long a request may let itself be waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A request and its answer.
pub(crate) struct Step {
    method: Method,
    path: String,
    body: Option<Value>,
    answer: (StatusCode, Value),
}

/// Expects `method` on `path` (with its query) and answers with `object`.
pub(crate) fn step(method: Method, path: impl Into<String>, object: Value) -> Step {
    Step {
        method,
        path: path.into(),
        body: None,
        answer: (StatusCode::OK, object),
    }
}

impl Step {
    /// Expects that body, in which `"*"` stands for any text.
    pub(crate) fn with_body(self, body: Value) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }

    /// Answers with that error instead.
    pub(crate) fn failing(self, status: StatusCode, reason: &str) -> Self {
        let error = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "code": status.as_u16(), "reason": reason, "message": reason,
        });
        Self {
            answer: (status, error),
            ..self
        }
    }
}

/// A client of a server that expects those requests in that order and no others.
pub(crate) fn server(steps: Vec<Step>) -> (Client, JoinHandle<()>) {
    serving(steps, PATIENCE)
}

/// The same for a clock that tests turn themselves.
pub(crate) fn patient_server(steps: Vec<Step>) -> (Client, JoinHandle<()>) {
    serving(steps, PATIENCE * 60)
}

fn serving(steps: Vec<Step>, patience: Duration) -> (Client, JoinHandle<()>) {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    let client = Client::new(service, "default");
    (client, tokio::spawn(serve(handle, steps, patience)))
}

async fn serve(
    mut handle: Handle<Request<Body>, Response<Body>>,
    steps: Vec<Step>,
    patience: Duration,
) {
    for step in steps {
        let what = format!("{} {}", step.method, step.path);
        let next = tokio::time::timeout(patience, handle.next_request()).await;
        let (request, send) = next
            .unwrap_or_else(|_| panic!("{what} did not come"))
            .unwrap_or_else(|| panic!("{what} did not come before the client was gone"));
        let path = request.uri().path_and_query().unwrap().as_str().to_owned();
        assert_eq!(format!("{} {path}", request.method()), what);
        let body = request.into_body().collect_bytes().await.unwrap();
        if let Some(expected) = step.body {
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_matches(&expected, &body, &what);
        }
        let (status, object) = step.answer;
        let body = Body::from(serde_json::to_vec(&object).unwrap());
        send.send_response(Response::builder().status(status).body(body).unwrap());
    }
    let rest = tokio::time::timeout(Duration::from_millis(50), handle.next_request()).await;
    if let Ok(Some((request, _))) = rest {
        panic!("nobody expects {} {}", request.method(), request.uri());
    }
}

fn assert_matches(expected: &Value, found: &Value, what: &str) {
    match (expected, found) {
        (Value::String(any), Value::String(_)) if any == "*" => {}
        (Value::Object(expected), Value::Object(found)) => {
            let names = |map: &serde_json::Map<_, _>| map.keys().cloned().collect::<Vec<String>>();
            let (mut left, mut right) = (names(expected), names(found));
            left.sort();
            right.sort();
            assert_eq!(left, right, "fields in the body of {what}");
            for (name, value) in expected {
                assert_matches(value, &found[name], what);
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            for (expected, found) in expected.iter().zip(found) {
                assert_matches(expected, found, what);
            }
        }
        _ => assert_eq!(expected, found, "in the body of {what}"),
    }
}

/// What reconciliations work with, where node-1 exists and its agent is ready.
pub(crate) fn context(client: Client) -> Arc<Context> {
    let (agents, mut writer): (_, Writer<CheckpointNode>) = reflector::store();
    let event = kube::runtime::watcher::Event::Apply((*fixtures::agent()).clone());
    writer.apply_watcher_event(&event);
    let nodes = Nodes::default();
    nodes.insert("node-1".into());
    Arc::new(Context {
        events: Events::new(client.clone(), "test".into()),
        client,
        agents,
        checkpoints: reflector::store().0,
        receivers: reflector::store().0,
        nodes,
        index: Index::default(),
        written: Written::default(),
        chains: tokio::sync::Mutex::default(),
        failures: Failures::default(),
        metrics: Arc::new(Metrics::default()),
    })
}

/// Reconciles `checkpoint` once against `steps`, and then sees that all of them were taken.
pub(crate) async fn reconcile_once(
    checkpoint: ContainerCheckpoint,
    steps: Vec<Step>,
) -> Result<kube::runtime::controller::Action, reconcile::Error> {
    let (client, server) = server(steps);
    let context = context(client);
    context.index.put(&checkpoint);
    let result = within(reconcile::reconcile(
        Arc::new(checkpoint),
        Arc::clone(&context),
    ))
    .await;
    drop(context);
    server.await.unwrap();
    result
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    let patience = PATIENCE * 5;
    tokio::time::timeout(patience, work)
        .await
        .expect("the work did not end")
}

mod tests;
