//! The process: log, client, signals, health, lease, node, and the loop among them.

use std::{
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use kube::Client;
use prometheus_client::registry::Registry;
use stillframe_crds::checkpoint::RuntimeFacts;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use super::{
    Config, Error,
    args::{Arguments, Log, LogFormat},
    disk::{FreeBytes, Promises, Space},
    dump::Criu,
    engine,
    failed::chain,
    health::{self, Ready},
    lease,
    metrics::Metrics,
    node,
    page_server::Allowances,
    place::ImageRoot,
    sole,
};
use crate::{checkpoint::Engine, runtime::locate::Roots};

/// How often it is looked whether the node's facts have changed. They are told only when they have.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// How long the lease may take to be given back.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(2);

/// Threads beside those of the dumps, for looks at the disk.
const MORE_THREADS: usize = 4;

/// Runs the agent until it is told to end, and says the exit status of the process.
#[must_use]
pub fn serve(arguments: Arguments) -> u8 {
    if let Err(error) = log(&arguments.log) {
        // Where else, without a log.
        eprintln!("stillframe-node-agent: {error}");
        return 2;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(arguments.concurrency as usize + MORE_THREADS)
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(until_told(arguments)),
        Err(source) => Err(Error::Runtime(source)),
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            error!(
                reason = error.reason(),
                error = chain(&error),
                "the agent ends"
            );
            1
        }
    }
}

fn log(log: &Log) -> Result<(), String> {
    let filter = EnvFilter::try_new(&log.filter);
    let filter = filter.map_err(|error| format!("invalid --log-filter: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let set = match log.format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    set.map_err(|error| error.to_string())
}

async fn until_told(arguments: Arguments) -> Result<(), Error> {
    let client = stillframe_client::infer().await?;
    let images = ImageRoot::open(&arguments.image_root).map_err(Error::Images)?;
    let engine = engine::engine(arguments.criu, &arguments.dump_cgroup)?;
    let cgroup = engine.launch.cgroup.clone();
    let metrics = Metrics::default();
    let ready = Ready::default();
    listen(&arguments, &metrics, &ready).await?;
    let mut told = Box::pin(told()?);
    let alone = tokio::select! {
        alone = sole::alone(&engine.run_dir, sole::PATIENCE) => alone?,
        () = &mut told => return Ok(()),
    };
    ready.alone.store(true, Ordering::Relaxed);
    let (ends, lease) = keep_lease(&client, &arguments);
    let teller = Teller::new(&client, &engine, &images, &ready, &arguments);
    let runtimes = Arc::clone(&teller.runtimes);
    let teller = tokio::spawn(teller.tell());
    let roots = Roots {
        prefix: arguments.prefix.clone(),
        ..Roots::default()
    };
    let dumper = Criu {
        engine,
        roots,
        images: images.clone(),
        reserve: arguments.reserve,
        limit: arguments.namespace_limit,
        promises: Promises::default(),
        page_servers: Allowances {
            allowed: arguments.page_servers.allowed,
            keys: arguments.page_servers.keys,
        },
        address: arguments.node_address,
        node: arguments.node_name.clone(),
        runtimes,
    };
    info!(node = arguments.node_name, "begins");
    let config = Config {
        client,
        node: arguments.node_name,
        address: arguments.node_address,
        images,
        concurrency: arguments.concurrency as usize,
        grace: arguments.grace_period,
        metrics,
        synced: ready.synced,
    };
    super::run(config, dumper, told).await;
    teller.abort();
    ends.send_replace(true);
    let _ = tokio::time::timeout(GIVE_BACK_WITHIN, lease).await;
    if let Some(cgroup) = cgroup {
        cgroup.remove();
    }
    drop(alone);
    info!("has ended");
    Ok(())
}

/// Keeps the lease until the sender says so, or is gone.
fn keep_lease(client: &Client, arguments: &Arguments) -> (watch::Sender<bool>, JoinHandle<()>) {
    let (ends, mut ended) = watch::channel(false);
    let until_ended = async move {
        // Ends as well when nobody is left to say so.
        let _ = ended.wait_for(|ended| *ended).await;
    };
    let client = client.clone();
    let (namespace, node) = (arguments.namespace.clone(), arguments.node_name.clone());
    let lease =
        tokio::spawn(async move { lease::keep(client, &namespace, &node, until_ended).await });
    (ends, lease)
}

async fn listen(arguments: &Arguments, metrics: &Metrics, ready: &Ready) -> Result<(), Error> {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let counted = health::metrics(Arc::new(registry));
    let probes = health::probes(ready.clone());
    let (probes_at, metrics_at) = (arguments.health_address.0, arguments.metrics_address.0);
    if probes_at.is_some() && probes_at == metrics_at {
        let both = probes.merge(counted);
        return match probes_at {
            Some(address) => Ok(health::answer(address, both).await?),
            None => Ok(()),
        };
    }
    if let Some(address) = probes_at {
        health::answer(address, probes).await?;
    }
    if let Some(address) = metrics_at {
        health::answer(address, counted).await?;
    }
    Ok(())
}

/// Done once the process is told to end.
fn told() -> Result<impl Future<Output = ()> + Send + 'static, Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Tells the operator what this node can do.
struct Teller {
    client: Client,
    node: String,
    engine: Engine,
    images: ImageRoot,
    settings: node::Settings,
    ready: Ready,
    /// What is found out about the node's runtimes.
    runtimes: Arc<OnceLock<Vec<RuntimeFacts>>>,
}

impl Teller {
    fn new(
        client: &Client,
        engine: &Engine,
        images: &ImageRoot,
        ready: &Ready,
        arguments: &Arguments,
    ) -> Self {
        Self {
            client: client.clone(),
            node: arguments.node_name.clone(),
            engine: engine.clone(),
            images: images.clone(),
            settings: node::Settings {
                image_root: arguments.image_root.clone(),
                reserve: arguments.reserve,
                concurrency: arguments.concurrency,
                prefix: arguments.prefix.clone(),
            },
            ready: ready.clone(),
            runtimes: Arc::default(),
        }
    }

    /// Tells it whenever it has changed, for ever.
    async fn tell(self) {
        let Self {
            client,
            node,
            engine,
            images,
            settings,
            ready,
            runtimes,
        } = self;
        let reserve = settings.reserve;
        let gather = move || node::Facts::gather(&engine, settings, Timestamp::now());
        let Ok(mut facts) = tokio::task::spawn_blocking(gather).await else {
            return;
        };
        ready.criu.store(facts.is_ready(), Ordering::Relaxed);
        runtimes.get_or_init(|| facts.runtimes());
        let mut publisher = node::Publisher::new(client, &node);
        let mut free = FreeBytes::default();
        loop {
            let root = images.path().to_owned();
            let space = tokio::task::spawn_blocking(move || Space::of(&root)).await;
            let usable = space.ok().and_then(Result::ok);
            if let Some(space) = usable {
                free.look(space.usable(reserve));
            }
            let told = usable.and_then(|_| free.published());
            facts.look_again();
            let status = facts.status(told, Timestamp::now());
            if let Err(error) = publisher.publish(&status).await {
                warn!(error = chain(&error), "could not tell of this node");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
