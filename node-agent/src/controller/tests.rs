//! The whole agent against an API server in memory, with dumps that need no CRIU.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use kube::ResourceExt as _;
use serde_json::json;
use stillframe_crds::{ContainerCheckpoint, checkpoint::RelativePath};
use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    Config,
    dump::Deduplicated,
    metrics::Metrics,
    place::{ImageRoot, Owner, Phase},
};

mod server;
mod stub;

use server::{Api, NODE};
use stub::Stub;

struct Scene {
    api: Api,
    stub: Stub,
    scratch: tempfile::TempDir,
}

/// What the agents of this thread say.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn decisions(&self) -> usize {
        let said = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        said.matches("decided").count()
    }
}

impl io::Write for Log {
    fn write(&mut self, said: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(said)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Running {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// As SIGTERM does.
    async fn end(self) {
        let _ = self.end.send(());
        self.task.await.unwrap();
    }
}

impl Scene {
    fn new() -> Self {
        Self {
            api: Api::default(),
            stub: Stub::default(),
            scratch: tempfile::tempdir().unwrap(),
        }
    }

    fn images(&self) -> ImageRoot {
        ImageRoot::open(&self.scratch.path().join("images")).unwrap()
    }

    fn image(&self, name: &str) -> PathBuf {
        let root = self.images().path().to_owned();
        root.join(format!("shop/{name}-uid-{name}"))
    }

    /// Whether everybody may write to the namespace's directory: nothing is removed there then.
    fn open_to_others(&self, open: bool) {
        let dir = self.images().path().join("shop");
        let mode = Permissions::from_mode(if open { 0o777 } else { 0o700 });
        std::fs::set_permissions(dir, mode).unwrap();
    }

    fn start(&self, grace: Duration) -> Running {
        let config = Config {
            client: self.api.start(),
            node: NODE.to_owned(),
            address: None,
            images: self.images(),
            concurrency: 4,
            grace,
            metrics: Metrics::default(),
            synced: std::sync::Arc::default(),
        };
        let (end, told) = oneshot::channel();
        let told = async move {
            let _ = told.await;
        };
        let task = tokio::spawn(super::run(config, self.stub.clone(), told));
        Running { end, task }
    }

    async fn until_dumping(&self, name: &str) {
        self.api.until(name, "Reconciling", "True").await;
        while !self.stub.dumps().iter().any(|dumped| dumped == name) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn owner(name: &str) -> Owner {
    Owner {
        uid: format!("uid-{name}"),
        namespace: "shop".into(),
        name: name.into(),
        pod_uid: "pod-1".into(),
        container_id: "c".into(),
        phase: Phase::Started,
        report: None,
    }
}

fn failure(object: &ContainerCheckpoint) -> String {
    let failure = object.status.as_ref().and_then(|s| s.failure.as_ref());
    failure.unwrap().reason.clone()
}

const LONG: Duration = Duration::from_mins(1);

#[tokio::test]
async fn an_assigned_object_becomes_ready_with_two_status_writes_and_two_events() {
    let scene = Scene::new();
    scene.api.create("a", &json!({}), &json!({}));
    let agent = scene.start(LONG);
    assert_eq!(scene.api.until("a", "Ready", "True").await, "Checkpointed");
    agent.end().await;
    let status = scene.api.get("a").status.unwrap();
    assert_eq!(status.pause.as_deref(), Some("63ms"));
    assert_eq!(status.size.as_deref(), Some("5.2Mi"));
    assert_eq!(status.attempts, 1);
    assert!(status.start_time.is_some() && status.completion_time.is_some());
    let part = &status.artifact.unwrap().parts[0];
    assert_eq!(Path::new(&part.path), scene.image("a"));
    let writes: Vec<_> = scene
        .api
        .writes()
        .into_iter()
        .map(|(write, _)| write)
        .collect();
    let own = "PATCH /apis/stillframe.dev/v1alpha1/namespaces/shop/containercheckpoints/a/status";
    let event = "POST /apis/events.k8s.io/v1/namespaces/shop/events";
    assert_eq!(writes, [own, own, event, event]);
    assert_eq!(scene.stub.dumps(), ["a"]);
}

#[tokio::test]
async fn objects_of_one_container_wait_for_each_other_and_say_so() {
    let scene = Scene::new();
    scene.stub.tell(|told| told.hold.push("a"));
    scene.api.create("a", &json!({}), &json!({}));
    let agent = scene.start(LONG);
    scene.until_dumping("a").await;
    scene.api.create("b", &json!({}), &json!({}));
    assert_eq!(scene.api.until("b", "Reconciling", "True").await, "Queued");
    assert_eq!(scene.stub.dumps(), ["a"]);
    scene.stub.tell(|told| told.hold.clear());
    scene.api.until("a", "Ready", "True").await;
    scene.api.until("b", "Ready", "True").await;
    agent.end().await;
}

#[tokio::test]
async fn a_deleted_object_calls_its_dump_off_and_only_the_removal_is_reported() {
    let scene = Scene::new();
    scene.stub.tell(|told| told.hold.push("a"));
    scene.api.create("a", &json!({}), &json!({}));
    let agent = scene.start(LONG);
    scene.until_dumping("a").await;
    scene.api.delete("a");
    let reason = scene.api.until("a", "ImageRemoved", "True").await;
    assert_eq!(reason, "NothingToRemove");
    scene.api.finalize("a");
    agent.end().await;
    assert!(!scene.images().path().join("shop").exists());
    // Its status says nothing of that, and people may still ask what happened to the pod.
    let writes = scene.api.writes();
    let events = writes.iter().filter(|(write, _)| write.starts_with("POST"));
    let told: Vec<_> = events
        .map(|(_, event)| json!([event["regarding"]["kind"], event["reason"]]))
        .collect();
    assert_eq!(
        told,
        [
            json!(["ContainerCheckpoint", "Cancelled"]),
            json!(["Pod", "Cancelled"])
        ]
    );
}

#[tokio::test]
async fn the_image_of_a_deleted_object_goes_and_that_is_reported() {
    let scene = Scene::new();
    scene.api.create("a", &json!({}), &json!({}));
    let agent = scene.start(LONG);
    scene.api.until("a", "Ready", "True").await;
    assert!(scene.image("a").is_dir());
    scene.api.delete("a");
    assert_eq!(
        scene.api.until("a", "ImageRemoved", "True").await,
        "ImageDeleted"
    );
    assert!(!scene.image("a").exists());
    agent.end().await;
}

#[tokio::test]
async fn a_removal_is_tried_again_as_the_object_says_by_then() {
    let scene = Scene::new();
    scene.api.create("a", &json!({}), &json!({}));
    let agent = scene.start(LONG);
    scene.api.until("a", "Ready", "True").await;
    scene.open_to_others(true);
    scene.api.delete("a");
    let reason = scene.api.until("a", "ImageRemoved", "False").await;
    assert_eq!(reason, "RemovalFailed");
    scene.open_to_others(false);
    let retain = json!({"metadata": {"generation": 2}, "spec": {"deletionPolicy": "Retain"}});
    scene.api.change("a", &retain);
    let reason = scene.api.until("a", "ImageRemoved", "True").await;
    assert_eq!(reason, "ImageRetained");
    assert!(scene.image("a").is_dir());
    agent.end().await;
}

#[tokio::test]
async fn a_removal_that_fails_is_said_once_and_tried_again_by_itself() {
    let scene = Scene::new();
    scene.api.create("a", &json!({}), &json!({}));
    let agent = scene.start(LONG);
    scene.api.until("a", "Ready", "True").await;
    scene.open_to_others(true);
    scene.api.delete("a");
    scene.api.until("a", "ImageRemoved", "False").await;
    let writes = scene.api.writes().len();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(scene.api.writes().len(), writes);
    scene.open_to_others(false);
    scene.api.until("a", "ImageRemoved", "True").await;
    assert!(!scene.image("a").exists());
    agent.end().await;
}

#[tokio::test]
async fn a_removal_that_fails_ends_with_its_object_and_keeps_no_agent() {
    let scene = Scene::new();
    scene.api.create("a", &json!({}), &json!({}));
    scene.api.create("b", &json!({}), &json!({}));
    let agent = scene.start(Duration::from_hours(1));
    for name in ["a", "b"] {
        scene.api.until(name, "Ready", "True").await;
    }
    scene.open_to_others(true);
    for name in ["a", "b"] {
        scene.api.delete(name);
        scene.api.until(name, "ImageRemoved", "False").await;
    }
    scene.api.finalize("a");
    tokio::time::timeout(LONG, agent.end()).await.unwrap();
    scene.open_to_others(false);
    assert!(scene.image("a").is_dir() && scene.image("b").is_dir());
}

#[tokio::test]
async fn a_parent_waits_for_its_child_to_go() {
    let scene = Scene::new();
    let track = json!({"trackMemory": true});
    scene.api.create("a", &track, &json!({}));
    let agent = scene.start(LONG);
    scene.api.until("a", "Ready", "True").await;
    scene
        .api
        .create("b", &json!({"parentRef": {"name": "a"}}), &json!({}));
    scene.api.until("b", "Ready", "True").await;
    scene.api.delete("a");
    let reason = scene.api.until("a", "ImageRemoved", "False").await;
    assert_eq!(reason, "ChildrenDepend");
    assert!(scene.image("a").exists());
    let writes = scene.api.writes().len();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(scene.api.writes().len(), writes, "it is said once");
    scene.api.delete("b");
    assert_eq!(
        scene.api.until("b", "ImageRemoved", "True").await,
        "ImageDeleted"
    );
    scene.api.finalize("b");
    assert_eq!(
        scene.api.until("a", "ImageRemoved", "True").await,
        "ImageDeleted"
    );
    agent.end().await;
}

#[tokio::test]
async fn parents_of_images_that_no_object_owns_wait_quietly_and_see_them_go() {
    let log = Log::default();
    let _guard = log.listen();
    let scene = Scene::new();
    let agent = scene.start(LONG);
    let child = |name: &str| scene.images().path().join(format!("shop/child-of-{name}"));
    for name in ["a", "b"] {
        scene.api.create(name, &json!({}), &json!({}));
        scene.api.until(name, "Ready", "True").await;
        std::fs::create_dir(child(name)).unwrap();
        std::fs::set_permissions(child(name), Permissions::from_mode(0o700)).unwrap();
        let link = child(name).join("parent");
        std::os::unix::fs::symlink(format!("../{name}-uid-{name}"), link).unwrap();
    }
    for name in ["a", "b"] {
        scene.api.delete(name);
        let reason = scene.api.until(name, "ImageRemoved", "False").await;
        assert_eq!(reason, "ChildrenDepend");
    }
    let before = log.decisions();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let decided = log.decisions() - before;
    assert!(decided < 10, "they wake each other: {decided}");
    for name in ["a", "b"] {
        std::fs::remove_dir_all(child(name)).unwrap();
    }
    for name in ["a", "b"] {
        scene.api.until(name, "ImageRemoved", "True").await;
        assert!(!scene.image(name).exists());
    }
    agent.end().await;
}

#[tokio::test]
async fn a_parent_stays_while_nobody_can_tell_whether_it_has_children() {
    let scene = Scene::new();
    let agent = scene.start(LONG);
    for name in ["a", "kept"] {
        scene.api.create(name, &json!({}), &json!({}));
        scene.api.until(name, "Ready", "True").await;
    }
    let child = scene.images().path().join("shop/child");
    std::fs::create_dir(&child).unwrap();
    std::os::unix::fs::symlink("../a-uid-a", child.join("parent")).unwrap();
    std::fs::set_permissions(&child, Permissions::from_mode(0o777)).unwrap();
    scene.api.delete("a");
    let removed = |object: &ContainerCheckpoint| {
        let conditions = &object.status.as_ref()?.conditions;
        stillframe_crds::condition::get(conditions, "ImageRemoved").cloned()
    };
    let said = scene.api.until_that("a", removed).await;
    assert_eq!(said.reason, "RemovalFailed");
    let named = said.message.contains(child.to_str().unwrap());
    assert!(named && said.message.contains("777"), "{}", said.message);
    assert!(scene.image("a").is_dir());
    // What stays breaks nothing.
    let retain = json!({"spec": {"deletionPolicy": "Retain"}});
    scene.api.change("kept", &retain);
    scene.api.delete("kept");
    let reason = scene.api.until("kept", "ImageRemoved", "True").await;
    assert_eq!(reason, "ImageRetained");
    std::fs::remove_dir_all(&child).unwrap();
    // Any change of a spec has it looked at at once.
    let changed = json!({"metadata": {"generation": 2}});
    scene.api.change("a", &changed);
    scene.api.until("a", "ImageRemoved", "True").await;
    assert!(!scene.image("a").exists());
    agent.end().await;
}

#[tokio::test]
async fn a_finished_image_is_adopted_by_the_next_agent_with_its_figures() {
    let scene = Scene::new();
    let begun = json!({"startTime": "2026-01-01T00:00:00Z", "attempts": 1});
    scene.api.create("a", &json!({}), &begun);
    let path = RelativePath("a-uid-a".into());
    let place = scene.images().place("shop", &path).unwrap();
    let mut owner = owner("a");
    place.reserve(&owner).unwrap();
    owner.report = Some(stub::report());
    place.record(&owner).unwrap();
    std::fs::create_dir(place.image_dir()).unwrap();
    let agent = scene.start(LONG);
    scene.api.until("a", "Ready", "True").await;
    agent.end().await;
    assert_eq!(
        scene.api.get("a").status.unwrap().pause_milliseconds,
        Some(63)
    );
    assert!(scene.stub.dumps().is_empty());
}

#[tokio::test]
async fn what_a_lost_agent_had_begun_has_failed() {
    let scene = Scene::new();
    let begun = json!({"startTime": "2026-01-01T00:00:00Z", "attempts": 1});
    scene.api.create("begun", &json!({}), &begun);
    scene.api.create("taken", &json!({}), &json!({}));
    let path = RelativePath("taken-uid-taken".into());
    let place = scene.images().place("shop", &path).unwrap();
    place.reserve(&owner("taken")).unwrap();
    let agent = scene.start(LONG);
    for name in ["begun", "taken"] {
        scene.api.until(name, "Complete", "True").await;
        assert_eq!(failure(&scene.api.get(name)), "AgentRestarted");
    }
    agent.end().await;
    assert!(scene.stub.dumps().is_empty());
}

#[tokio::test]
async fn an_image_that_comes_after_the_operator_has_given_up_is_removed() {
    let scene = Scene::new();
    scene.stub.tell(|told| told.hold.push("a"));
    scene.api.create("a", &json!({}), &json!({}));
    let agent = scene.start(LONG);
    scene.until_dumping("a").await;
    // The dump ends well before the agent hears of it.
    scene.api.change(
        "a",
        &json!({"status": {"completionTime": "2026-01-01T00:00:00Z",
                           "failure": {"reason": "AgentNotResponding", "message": "m"}}}),
    );
    scene.stub.tell(|told| told.hold.clear());
    agent.end().await;
    assert!(!scene.image("a").exists());
    assert_eq!(failure(&scene.api.get("a")), "AgentNotResponding");
}

#[tokio::test]
async fn a_failure_that_touched_nothing_is_tried_again() {
    let scene = Scene::new();
    scene.stub.tell(|told| {
        told.fail.insert("a", 1);
    });
    scene.api.create("a", &json!({}), &json!({}));
    let agent = scene.start(LONG);
    scene.api.until("a", "Ready", "True").await;
    agent.end().await;
    assert_eq!(scene.api.get("a").status.unwrap().attempts, 2);
    assert_eq!(scene.stub.dumps(), ["a", "a"]);
}

#[tokio::test]
async fn a_container_that_is_another_is_refused_and_nothing_is_left() {
    let scene = Scene::new();
    scene.stub.tell(|told| told.refuse.push("a"));
    scene.api.create("a", &json!({}), &json!({}));
    let agent = scene.start(LONG);
    assert_eq!(
        scene.api.until("a", "Stalled", "True").await,
        "IdentityMismatch"
    );
    agent.end().await;
    assert!(scene.stub.dumps().is_empty());
    assert!(!scene.images().path().join("shop").exists());
}

#[tokio::test]
async fn an_agent_that_has_to_end_rolls_back_what_does_not_finish() {
    let scene = Scene::new();
    scene.stub.tell(|told| told.hold.push("a"));
    scene.api.create("a", &json!({}), &json!({}));
    let agent = scene.start(Duration::from_secs(2));
    scene.until_dumping("a").await;
    scene.api.create("b", &json!({}), &json!({}));
    scene.api.until("b", "Reconciling", "True").await;
    agent.end().await;
    assert_eq!(failure(&scene.api.get("a")), "AgentStopping");
    // What only waited is left to the next agent.
    assert!(!scene.api.get("b").is_finished());
    let next = scene.start(LONG);
    scene.api.until("b", "Ready", "True").await;
    next.end().await;
}

#[tokio::test]
async fn a_request_s_time_runs_out_in_the_queue() {
    let scene = Scene::new();
    scene.stub.tell(|told| told.hold.push("a"));
    scene.api.create("a", &json!({}), &json!({}));
    let agent = scene.start(Duration::ZERO);
    scene.until_dumping("a").await;
    scene.api.create("b", &json!({}), &json!({}));
    scene.api.until("b", "Reconciling", "True").await;
    scene.api.create("c", &json!({}), &json!({}));
    scene.api.change(
        "c",
        &json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}),
    );
    assert_eq!(scene.api.until("c", "Stalled", "True").await, "TimedOut");
    assert!(!scene.api.get("b").is_finished());
    agent.end().await;
}

#[tokio::test]
async fn a_result_outlives_an_api_server_that_is_away() {
    let scene = Scene::new();
    scene.stub.tell(|told| told.hold.push("a"));
    scene.api.create("a", &json!({}), &json!({}));
    let agent = scene.start(LONG);
    scene.until_dumping("a").await;
    scene.api.away(true);
    scene.stub.tell(|told| told.hold.clear());
    while !scene.image("a").exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!scene.api.get("a").is_finished());
    scene.api.away(false);
    scene.api.until("a", "Ready", "True").await;
    agent.end().await;
    assert_eq!(scene.stub.dumps(), ["a"]);
}

#[tokio::test]
async fn an_object_that_cannot_be_read_stops_nobody_else() {
    let scene = Scene::new();
    scene
        .api
        .create("bad", &json!({"ghostLimit": {"not": "text"}}), &json!({}));
    scene.api.create("good", &json!({}), &json!({}));
    let agent = scene.start(LONG);
    scene.api.until("good", "Ready", "True").await;
    agent.end().await;
    assert!(scene.api.get("good").uid().is_some());
}

/// What a child's deduplication took from the image of this object.
fn took_from(names: &[&str]) -> Deduplicated {
    Deduplicated {
        bytes_freed: 3 << 20,
        parents: names.iter().map(|name| owner(name)).collect(),
        warning: Some("not all of it".into()),
    }
}

#[tokio::test]
async fn a_parent_that_gave_pages_away_says_so_before_its_child_is_ready() {
    let scene = Scene::new();
    let gone = ["elsewhere", "never-was"];
    scene
        .stub
        .tell(|told| told.dedup = Some(took_from(&["a", gone[0], gone[1]])));
    scene
        .api
        .create("a", &json!({"trackMemory": true}), &json!({}));
    let other = json!({"nodeName": "n2", "completionTime": "2026-01-01T00:00:00Z"});
    scene.api.create("elsewhere", &json!({}), &other);
    let agent = scene.start(LONG);
    scene.api.until("a", "Ready", "True").await;
    assert_eq!(
        scene.api.until("a", "Restorable", "True").await,
        "NothingMissing"
    );
    let options = json!({"parentRef": {"name": "a"}, "autoDedup": true});
    scene.api.create("b", &options, &json!({}));
    scene.api.until("b", "Ready", "True").await;
    assert_eq!(
        scene.api.until("a", "Restorable", "False").await,
        "PagesRemoved"
    );
    agent.end().await;
    let child = scene.api.get("b").status.unwrap();
    assert_eq!(child.dedup.unwrap().bytes_freed, 3 << 20);
    assert_eq!(child.warnings, ["not all of it"]);
    // What is another node's to say is not said here.
    let other = scene.api.get("elsewhere").status.unwrap();
    assert!(other.conditions.is_empty());
    let own = |(write, _): &(String, _)| write.starts_with("PATCH");
    let order: Vec<_> = scene.api.writes().into_iter().filter(own).collect();
    let last: Vec<_> = order
        .iter()
        .rev()
        .take(2)
        .map(|(write, _)| write.as_str())
        .collect();
    assert!(
        last[1].ends_with("/a/status") && last[0].ends_with("/b/status"),
        "{last:?}"
    );
    assert_eq!(order.len(), 5, "{order:#?}");
}

#[tokio::test]
async fn an_agent_that_adopts_a_child_takes_its_pages_from_its_parents_once_more() {
    let scene = Scene::new();
    scene.stub.tell(|told| told.dedup = Some(took_from(&["a"])));
    scene
        .api
        .create("a", &json!({"trackMemory": true}), &json!({}));
    let agent = scene.start(LONG);
    scene.api.until("a", "Ready", "True").await;
    agent.end().await;
    // The former agent was killed after it had published the child.
    let place = scene
        .images()
        .place("shop", &RelativePath("b-uid-b".into()))
        .unwrap();
    place.reserve(&owner("b")).unwrap();
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(place.image_dir())
        .unwrap();
    let options = json!({"parentRef": {"name": "a"}, "autoDedup": true});
    let begun = json!({"startTime": "2026-01-01T00:00:00Z"});
    scene.api.create("b", &options, &begun);
    let agent = scene.start(LONG);
    scene.api.until("b", "Ready", "True").await;
    agent.end().await;
    assert_eq!(scene.stub.deduplicated(), [place.image_dir()]);
    assert_eq!(
        scene.api.until("a", "Restorable", "False").await,
        "PagesRemoved"
    );
}
