//! Hundreds of agents in this process: the real agent, with a stub where it would call CRIU.

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use node_agent::checkpoint::Step;
use node_agent::controller::dump::{Bounds, Deduplicated, Notes};
use node_agent::controller::failed::Failed;
use node_agent::controller::order::{Dirs, Order};
use node_agent::controller::place::{ImageRoot, SavedReport};
use node_agent::controller::{self, Config, Dumper, lease, metrics::Metrics};
use rig::cluster::SYSTEM;
use stillframe_crds::Reason;
use stillframe_crds::checkpoint::RuntimeFacts;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::population;
use crate::error::Error;

/// How long an agent may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// Counts dumps by their object's UID, and makes none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stub(Arc<Mutex<HashMap<String, u32>>>);

impl Stub {
    /// How often each object was dumped.
    pub(crate) fn dumps(&self) -> HashMap<String, u32> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Dumper for Stub {
    type Found = ();

    fn find(&self, _: &Order) -> Result<(), Failed> {
        Ok(())
    }

    fn dump(
        &self,
        order: &Order,
        (): &(),
        dirs: Dirs,
        _: &Bounds,
        notes: &mut dyn Notes,
    ) -> Result<SavedReport, Failed> {
        let mut dumps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *dumps.entry(order.uid.clone()).or_default() += 1;
        drop(dumps);
        notes.step(Step::Freezing);
        notes.step(Step::Released);
        let report = report();
        notes.complete(&report);
        DirBuilder::new()
            .mode(0o700)
            .create(dirs.image)
            .map_err(|error| Failed::of(Reason::InternalError, error.to_string()))?;
        Ok(report)
    }

    fn deduplicate(&self, _: &Path) -> Option<Deduplicated> {
        None
    }

    fn sweep(&self) -> Vec<String> {
        Vec::new()
    }
}

fn report() -> SavedReport {
    let now = Time(Timestamp::now());
    SavedReport {
        started: now.clone(),
        ended: now,
        pause_microseconds: Some(62_500),
        dump_microseconds: 100_000,
        publish_microseconds: 1000,
        size_bytes: 5_452_596,
        files: 9,
        digest: Some(format!("sha256:{:064x}", 0)),
        stats: None,
        criu_version: "4.2".to_owned(),
        network_lock: Some("skip".to_owned()),
        runtime: Some(RuntimeFacts {
            name: "runc".to_owned(),
            version: None,
        }),
        warnings: Vec::new(),
        restorable: None,
        dedup: None,
    }
}

/// Agents that run. Dropping this does not end them: [`Agents::end`] does.
#[derive(Debug)]
pub(crate) struct Agents {
    tasks: JoinSet<()>,
    told: watch::Sender<bool>,
    synced: Vec<Arc<AtomicBool>>,
}

impl Agents {
    /// Starts the agents of so many simulated nodes, with their leases; their images go below this folder.
    pub(crate) fn start(
        client: &Client,
        nodes: usize,
        stub: &Stub,
        folder: &Path,
    ) -> Result<Self, Error> {
        let (told, hear) = watch::channel(false);
        let until_told = || {
            let mut hear = hear.clone();
            async move {
                // Ends as well when nobody is left to say so.
                let _ = hear.wait_for(|told| *told).await;
            }
        };
        let (mut tasks, mut synced) = (JoinSet::new(), Vec::new());
        for index in 0..nodes {
            let node = population::node(index);
            let images = folder.join(&node);
            let unusable = |why: String| Error::Mission {
                what: format!("make an image root of {node}"),
                why,
            };
            let made = DirBuilder::new().mode(0o700).create(&images);
            made.map_err(|error| unusable(error.to_string()))?;
            let config = Config {
                client: client.clone(),
                node: node.clone(),
                address: None,
                images: ImageRoot::open(&images).map_err(|error| unusable(error.to_string()))?,
                concurrency: 1,
                grace: GRACE,
                metrics: Metrics::default(),
                synced: Arc::default(),
            };
            synced.push(Arc::clone(&config.synced));
            tasks.spawn(controller::run(config, stub.clone(), until_told()));
            let (client, stop) = (client.clone(), until_told());
            tasks.spawn(async move { lease::keep(client, SYSTEM, &node, stop).await });
        }
        Ok(Self {
            tasks,
            told,
            synced,
        })
    }

    /// Whether every agent knows its objects.
    pub(crate) fn know_all(&self) -> bool {
        self.synced
            .iter()
            .all(|synced| synced.load(Ordering::Relaxed))
    }

    /// Ends them, and waits for that.
    pub(crate) async fn end(mut self) {
        self.told.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}
