//! An API server in memory: lists, watches, status patches with their lock, and events.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response};
use jiff::Timestamp;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use stillframe_crds::ContainerCheckpoint;
use tower_test::mock::{self, Handle, SendResponse};

use crate::controller::sample::merge;

pub(super) const NODE: &str = "n1";
/// Nothing here takes longer, however busy the machine is.
const WITHIN: Duration = Duration::from_mins(1);

#[derive(Clone, Default)]
pub(super) struct Api(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<String, Value>,
    log: Vec<(u64, Value)>,
    watches: Vec<(u64, SendResponse<Response<Body>>)>,
    writes: Vec<(String, Value)>,
    away: bool,
}

impl Api {
    pub(super) fn start(&self) -> Client {
        let (service, handle) = mock::pair();
        let api = self.clone();
        tokio::spawn(async move { api.serve(handle).await });
        Client::new(service, "default")
    }

    async fn serve(self, handle: Handle<Request<Body>, Response<Body>>) {
        let mut handle = std::pin::pin!(handle);
        while let Some((request, send)) = handle.next_request().await {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let query = head.uri.query().unwrap_or_default();
            let mut state = self.0.lock().unwrap();
            if query.contains("watch=true") {
                let since = query
                    .split('&')
                    .find_map(|pair| pair.strip_prefix("resourceVersion="));
                let since = since.and_then(|text| text.parse().ok()).unwrap_or(0);
                state.watches.push((since, send));
                state.tell();
                continue;
            }
            let (code, answer) = state.answer(head.method.as_str(), head.uri.path(), &body);
            reply(send, code, &serde_json::to_vec(&answer).unwrap());
        }
    }

    /// Creates an object of the node with this spec's options and status.
    pub(super) fn create(&self, name: &str, options: &Value, status: &Value) {
        let mut state = self.0.lock().unwrap();
        let mut object = json!({
            "apiVersion": "stillframe.dev/v1alpha1", "kind": "ContainerCheckpoint",
            "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "generation": 1,
                         "creationTimestamp": Timestamp::now().to_string(), "finalizers": ["stillframe.dev/image"]},
            "spec": {"source": {"podName": "counter"}, "options": options},
            "status": {"observedGeneration": 1, "nodeName": NODE, "podUID": "pod-1", "containerName": "app",
                       "containerID": format!("containerd://{}", "ab".repeat(32))},
        });
        merge(&mut object["status"], status);
        state.store(name, object, "ADDED");
    }

    /// Changes an object behind the agent's back.
    pub(super) fn change(&self, name: &str, patch: &Value) {
        let mut state = self.0.lock().unwrap();
        let mut object = state.objects[name].clone();
        merge(&mut object, patch);
        state.store(name, object, "MODIFIED");
    }

    pub(super) fn delete(&self, name: &str) {
        let now = Timestamp::now().to_string();
        self.change(name, &json!({"metadata": {"deletionTimestamp": now}}));
    }

    /// The finalizer was dropped.
    pub(super) fn finalize(&self, name: &str) {
        let mut state = self.0.lock().unwrap();
        let object = state.objects[name].clone();
        state.store(name, object, "DELETED");
        state.objects.remove(name);
    }

    /// No request is answered well.
    pub(super) fn away(&self, away: bool) {
        self.0.lock().unwrap().away = away;
    }

    pub(super) fn get(&self, name: &str) -> ContainerCheckpoint {
        let object = self.0.lock().unwrap().objects[name].clone();
        serde_json::from_value(object).unwrap()
    }

    /// Every write so far: its method and path, and its body.
    pub(super) fn writes(&self) -> Vec<(String, Value)> {
        self.0.lock().unwrap().writes.clone()
    }

    /// Waits until the condition has that status, and gives its reason.
    pub(super) async fn until(&self, name: &str, kind: &str, status: &str) -> String {
        let found = self.until_that(name, |object| {
            let conditions = &object.status.as_ref()?.conditions;
            let found = stillframe_crds::condition::get(conditions, kind)?;
            (found.status == status).then(|| found.reason.clone())
        });
        found.await
    }

    pub(super) async fn until_that<T>(
        &self,
        name: &str,
        found: impl Fn(&ContainerCheckpoint) -> Option<T>,
    ) -> T {
        let look = async {
            loop {
                if let Some(found) = found(&self.get(name)) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let in_time = tokio::time::timeout(WITHIN, look).await;
        in_time.unwrap_or_else(|_| panic!("{name} stays {:#?}", self.get(name).status))
    }
}

impl State {
    fn store(&mut self, name: &str, mut object: Value, event: &str) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(name.to_owned(), object.clone());
        let event = json!({"type": event, "object": object});
        self.log.push((self.version, event));
        self.tell();
    }

    /// Answers the watches that have something to hear; they end with it and begin anew.
    fn tell(&mut self) {
        let version = self.version;
        for (since, send) in std::mem::take(&mut self.watches) {
            if since >= version {
                self.watches.push((since, send));
                continue;
            }
            let mut lines = Vec::new();
            for (_, event) in self.log.iter().filter(|(at, _)| *at > since) {
                lines.extend(serde_json::to_vec(event).unwrap());
                lines.push(b'\n');
            }
            reply(send, 200, &lines);
        }
    }

    fn answer(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        if self.away {
            return failure(500, "InternalError");
        }
        if method != "GET" {
            self.writes.push((format!("{method} {path}"), body.clone()));
        }
        if path.contains("/events") {
            return (201, body.clone());
        }
        let rest = path.strip_prefix("/apis/stillframe.dev/v1alpha1/").unwrap();
        let parts: Vec<&str> = rest.split('/').collect();
        match (method, parts.as_slice()) {
            ("GET", ["containercheckpoints"]) => {
                let items: Vec<_> = self.objects.values().cloned().collect();
                let version = self.version.to_string();
                (
                    200,
                    json!({"kind": "ContainerCheckpointList", "apiVersion": "stillframe.dev/v1alpha1",
                           "metadata": {"resourceVersion": version}, "items": items}),
                )
            }
            ("GET", [_, "shop", _, name]) => match self.objects.get(*name) {
                Some(object) => (200, object.clone()),
                None => failure(404, "NotFound"),
            },
            ("PATCH", [_, "shop", _, name, "status"]) => {
                let Some(object) = self.objects.get(*name) else {
                    return failure(404, "NotFound");
                };
                let mut object = object.clone();
                if body["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
                    return failure(409, "Conflict");
                }
                merge(&mut object["status"], &body["status"]);
                self.store(name, object, "MODIFIED");
                (200, self.objects[*name].clone())
            }
            _ => failure(405, "MethodNotAllowed"),
        }
    }
}

fn reply(send: SendResponse<Response<Body>>, code: u16, body: &[u8]) {
    let response = Response::builder().status(code);
    send.send_response(response.body(Body::from(body.to_vec())).unwrap());
}

fn failure(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure",
                        "message": reason, "reason": reason, "code": code});
    (code, status)
}
