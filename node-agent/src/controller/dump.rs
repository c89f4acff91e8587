//! The dump itself, behind the seam that lets hundreds of agents be simulated without CRIU.

use std::{
    net::IpAddr,
    path::Path,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use nix::errno::Errno;
use stillframe_crds::{
    Reason,
    checkpoint::{RelativePath, RuntimeFacts},
};

use super::{
    disk::{self, Footprint, MemoryGoes, NamespaceLimit, Promise, Promises, Reserve, Space},
    failed::{Failed, chain},
    failure, identity, kept, lazy,
    order::{Dirs, Order},
    page_server::{self, Allowances},
    place::{ImageRoot, SavedReport},
};
use crate::{
    checkpoint::{self, Admitted, Engine, Request, Rootfs, Step, journal::Journal, repair},
    criu::{
        Cancel,
        config::{self, Allowed, Site},
    },
    runtime::{
        Container,
        locate::{self, PodContainerId, Roots},
    },
};

use adapter::Adapter;
use restore::Restore;

mod adapter;
mod dedup;
mod files;
mod restore;

pub use dedup::Deduplicated;

/// Is told how a dump goes.
pub trait Notes: Send {
    /// A step has been reached.
    fn step(&mut self, step: Step);
    /// This half of the image is complete; whether the other one has arrived as well.
    ///
    /// # Errors
    /// That it has not, in words.
    fn confirm(&mut self, until: Option<Instant>) -> Result<(), String> {
        let _ = until;
        Ok(())
    }
    /// The image is complete and gets its final name next.
    fn complete(&mut self, report: &SavedReport);
}

/// Makes dumps. Everything here blocks.
pub trait Dumper: Send + Sync + 'static {
    /// A container that was found and may be dumped.
    type Found: Send + Sync + 'static;

    /// Finds the container of an order and makes sure that it is the one, and may be dumped.
    ///
    /// # Errors
    /// Why not. Nothing has been touched.
    fn find(&self, order: &Order) -> Result<Self::Found, Failed>;

    /// Dumps it.
    ///
    /// # Errors
    /// Why it failed. The container goes on.
    fn dump(
        &self,
        order: &Order,
        found: &Self::Found,
        dirs: Dirs,
        bounds: &Bounds,
        notes: &mut dyn Notes,
    ) -> Result<SavedReport, Failed>;

    /// Removes from the images that a complete one builds on what it holds anew; `None` where it builds on none. To be called again
    /// where that was cut short.
    fn deduplicate(&self, image: &Path) -> Option<Deduplicated>;

    /// Puts right what killed agents left, and says what that was.
    fn sweep(&self) -> Vec<String>;
}

/// What ends a dump early.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// What is left of the request's time.
    pub timeout: Duration,
    /// Nobody wants it any more.
    pub cancel: Cancel,
}

/// Dumps with CRIU.
#[derive(Debug)]
pub struct Criu {
    /// This host's engine.
    pub engine: Engine,
    /// Where the runtimes keep their containers.
    pub roots: Roots,
    /// Where images go.
    pub images: ImageRoot,
    /// What stays free there.
    pub reserve: Reserve,
    /// The most that the images of one namespace may take there.
    pub limit: NamespaceLimit,
    /// What the dumps under way may still take of it.
    pub promises: Promises,
    /// Where memory may be sent.
    pub page_servers: Allowances,
    /// The address that the cluster knows this node by.
    pub address: Option<IpAddr>,
    /// This node's name.
    pub node: String,
    /// The node's runtimes, once they have been asked for their versions.
    pub runtimes: Arc<OnceLock<Vec<RuntimeFacts>>>,
}

/// A container that was found.
#[derive(Debug)]
pub struct Found {
    container: Container,
    site: Allowed,
    /// The changed files that are to be saved.
    rootfs: Option<Rootfs>,
    #[expect(dead_code, reason = "held until the dump has ended")]
    promise: Option<Promise>,
}

impl Dumper for Criu {
    type Found = Found;

    fn find(&self, order: &Order) -> Result<Found, Failed> {
        let container = self.locate(order)?;
        running(&container)?;
        self.memory_may_go(order)?;
        let rootfs = files::wanted(order, &container)?;
        let most = rootfs.as_ref().map_or(0, |rootfs| rootfs.most);
        let promise = self.room(order, &container, most)?;
        let site = site(&container)?;
        Ok(Found {
            container,
            site,
            rootfs,
            promise,
        })
    }

    fn dump(
        &self,
        order: &Order,
        found: &Found,
        dirs: Dirs,
        bounds: &Bounds,
        notes: &mut dyn Notes,
    ) -> Result<SavedReport, Failed> {
        let Found {
            container,
            site,
            rootfs,
            ..
        } = found;
        let log = dirs.work.join("dump.log");
        let parent = order.parent.as_ref().map(|RelativePath(path)| {
            let namespace = self.images.path().join(&order.namespace);
            namespace.join(path)
        });
        let mut request = order.request(dirs, site, bounds.timeout)?;
        self.lead_memory(&mut request, order)?;
        let started = Time(Timestamp::now());
        let runtime = self.told_of(&container.flavour.to_string());
        let known = kept::look(order, container, &self.node, &runtime);
        request.keep = known.keep.clone();
        request.keep.rootfs.clone_from(rootfs);
        let mut observer = Adapter {
            notes,
            runtime: &runtime,
            started: &started,
            restorable: Restore {
                order,
                container,
                parent,
                known: &known,
                // Of a container that ends with its dump nothing is left to be looked at afterwards.
                files: (order.options.ends_the_container() && rootfs.is_none())
                    .then(|| files::lost(container)),
                verdict: None,
            },
        };
        let report = checkpoint::run(
            &self.engine,
            container,
            &request,
            &bounds.cancel,
            &mut observer,
        )
        .map_err(|error| Failed {
            retryable: failure::retryable(&error),
            failure: Box::new(failure::of(&error, log.exists().then_some(log.as_path()))),
        })
        .map_err(|failed| unasked_parent(order, failed))?;
        let restorable = observer.restorable.verdict.take();
        let ended = Time(Timestamp::now());
        let mut saved = SavedReport::of(&report, Some(runtime), started, ended);
        saved.warnings.extend(known.warnings);
        saved.restorable = restorable;
        Ok(saved)
    }

    fn deduplicate(&self, image: &Path) -> Option<Deduplicated> {
        dedup::run(&self.engine, &self.images, image)
    }

    fn sweep(&self) -> Vec<String> {
        match Journal::open(&self.engine.run_dir) {
            Ok(journal) => repair::sweep(&journal),
            Err(error) => vec![chain(&error)],
        }
    }
}

impl Criu {
    /// The container, once it is sure that it is the one and no other that nobody may touch.
    fn locate(&self, order: &Order) -> Result<Container, Failed> {
        let refused = |error: identity::Error| Failed::of(error.reason(), chain(&error));
        let id: PodContainerId = order
            .container_id
            .parse()
            .map_err(|error: locate::Error| Failed::of(Reason::InvalidSpec, chain(&error)))?;
        let found = locate::find(&self.roots, &id);
        let found = found.map_err(|error| identity::not_found(&self.roots, &id, error));
        let (container, _) = found.map_err(refused)?;
        let expected = identity::Expected {
            engine: id.engine(),
            namespace: order.namespace.clone(),
            pod: order.pod_name.clone(),
            sandbox_uid: order.sandbox_uid.clone(),
            container: order.container_name.clone(),
        };
        identity::check(&container, &expected).map_err(refused)?;
        identity::check_not_own(&container).map_err(refused)?;
        Ok(container)
    }

    /// Makes sure that memory may go where the order says, and says who may fetch it if anybody. Asked when the container is found
    /// and once more for the request: a name may have moved meanwhile, and the address that was checked is the one that is used.
    fn memory_may_go(&self, order: &Order) -> Result<Option<Admitted>, Failed> {
        let Some(server) = &order.server else {
            return Ok(None);
        };
        if order.options.lazy_pages {
            lazy::admitted(&order.options, server, &self.page_servers, self.address).map(Some)
        } else {
            page_server::address(server, &self.page_servers).map(|_| None)
        }
    }

    /// Has the engine send memory where the order says, or serve it to whom the order names.
    fn lead_memory(&self, request: &mut Request, order: &Order) -> Result<(), Failed> {
        request.lazy_pages_for = self.memory_may_go(order)?;
        let asked = order.server.as_ref();
        let Some((server, asked)) = request.page_server.as_mut().zip(asked) else {
            return Ok(());
        };
        if !order.options.lazy_pages {
            // The address that is allowed, not whatever the name means to CRIU.
            server.address = page_server::address(asked, &self.page_servers)?.to_string();
        }
        let keys = self.page_servers.keys.as_ref().filter(|_| asked.tls);
        server.tls = keys.map(|keys| page_server::tls(keys, &asked.address));
        Ok(())
    }

    /// A runtime with its version, where that is known by now.
    fn told_of(&self, name: &str) -> RuntimeFacts {
        let mut known = self.runtimes.get().into_iter().flatten();
        let known = known.find(|known| known.name == name);
        known.cloned().unwrap_or_else(|| RuntimeFacts {
            name: name.to_owned(),
            version: None,
        })
    }

    /// Whether there is room for the image, of which its changed files may take `files` bytes.
    fn room(
        &self,
        order: &Order,
        container: &Container,
        files: u64,
    ) -> Result<Option<Promise>, Failed> {
        let memory = match &order.server {
            Some(_) => MemoryGoes::Elsewhere,
            None => MemoryGoes::ToDisk,
        };
        let space = Space::of(self.images.path())
            .map_err(|error| Failed::of(error.reason(), chain(&error)))?;
        let needed = Footprint::of(container)
            .needed(memory)
            .saturating_add(files);
        disk::fits(space, self.reserve, needed)
            .map_err(|error| Failed::of(error.reason(), chain(&error)))?;
        let NamespaceLimit(Some(limit)) = self.limit else {
            return Ok(None);
        };
        let namespace = &order.namespace;
        let used = || self.images.used(namespace).map_err(Failed::from);
        let promise = self.promises.promise(namespace, limit, needed, used)?;
        Ok(Some(promise))
    }
}

/// A server that wants TLS answers a sender in the clear with an alert, and CRIU takes that for word of a
/// parent image.
fn unasked_parent(order: &Order, failed: Failed) -> Failed {
    let in_the_clear = order.server.as_ref().is_some_and(|server| !server.tls);
    if in_the_clear && order.parent.is_none() && failed.reason() == Reason::ParentImageMissing {
        let message = "the page server answers what none does in the clear: it may want TLS";
        return Failed::of(Reason::PageServerTlsFailed, message);
    }
    failed
}

fn running(container: &Container) -> Result<(), Failed> {
    match container.status() {
        Ok(status) => failure::of_status(status).map_or(Ok(()), |failure| Err(failure.into())),
        Err(error) => Err(Failed::of(Reason::StateUnreadable, chain(&error))),
    }
}

/// What the container's own CRIU configuration asks for, as far as a file may.
fn site(container: &Container) -> Result<Allowed, Failed> {
    let Some(path) = checkpoint::config_of(container) else {
        return Ok(Allowed::default());
    };
    let read = Site::open(&path).and_then(|site| site.allowed());
    match read {
        Err(config::Error::Read {
            source: Errno::ENOENT,
            ..
        }) => Ok(Allowed::default()),
        Ok(allowed) if allowed.tcp_close == Some(true) => {
            let message = format!("{} asks for tcp-close", path.display());
            Err(Failed::of(Reason::CriuOptionNotAllowed, message))
        }
        Ok(allowed) => Ok(allowed),
        Err(error) => Err(failure::of_config(&error).into()),
    }
}
