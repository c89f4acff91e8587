//! Tests: an API server made of expected requests and canned answers.

use std::{pin::Pin, time::Duration};

use http::{Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tower_test::mock::{Handle, SendResponse};

/// A request that does not come within this time fails the test.
const WITHIN: Duration = Duration::from_secs(10);

pub(crate) struct Server(Pin<Box<Handle<Request<Body>, Response<Body>>>>);

pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Value,
}

pub(crate) struct Answer(SendResponse<Response<Body>>);

impl Server {
    pub(crate) fn new() -> (Client, Self) {
        let (service, handle) = tower_test::mock::pair();
        (Client::new(service, "default"), Self(Box::pin(handle)))
    }

    /// The next request, and the way to answer it.
    pub(crate) async fn next(&mut self) -> (Asked, Answer) {
        let next = tokio::time::timeout(WITHIN, self.0.next_request());
        let (request, answer) = next
            .await
            .expect("no request came")
            .expect("client is gone");
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let asked = Asked {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        };
        (asked, Answer(answer))
    }

    /// Expects this request, answers it and returns its body.
    pub(crate) async fn expect(
        &mut self,
        method: &str,
        path: &str,
        (status, answer): (u16, Value),
    ) -> Value {
        let (asked, send) = self.next().await;
        assert_eq!((asked.method.as_str(), asked.path.as_str()), (method, path));
        send.send(status, &answer);
        asked.body
    }
}

impl Answer {
    pub(crate) fn send(self, status: u16, body: &Value) {
        let body = Body::from(serde_json::to_vec(body).unwrap());
        let response = Response::builder().status(status).body(body).unwrap();
        self.0.send_response(response);
    }
}

pub(crate) fn not_found() -> (u16, Value) {
    failure(404, "NotFound")
}

pub(crate) fn conflict() -> (u16, Value) {
    failure(409, "AlreadyExists")
}

fn failure(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure",
                        "message": reason, "reason": reason, "code": code});
    (code, status)
}
