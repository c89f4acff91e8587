//! The checkpoint itself, from the first look at the container to the report.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Error, Image, Kind, Observer, Report, Request, Step,
    engine::Engine,
    guardian::Guardian,
    journal::{Entry, FrozenGroup, Journal, LockedNetwork, Record},
    lock::{self, Circumstances, Method, Rules},
    plan::{self, Found, FreezeFacts},
    process::ProcessId,
    remap, repair,
    status_fd::StatusFd,
    target::Target,
    watch::{Proof, Seen, Watch, has_inventory},
};
use crate::{
    criu::{
        self, Cancel, Launch, Limits, Swrk, Version, abilities::Abilities, messages::CriuFeatures,
    },
    images::{self, DumpStats, Folder},
    runtime::{Container, Flavour, cgroup::Freezer, processes},
};

/// Oldest CRIU that runc works with at all.
const OLDEST: u32 = 30_000;
/// First CRIU with external network namespaces, then with external pid namespaces; runc asks for
/// both even where the container has neither.
const EXTERNAL_NETWORK_SINCE: u32 = 31_100;
const EXTERNAL_PID_SINCE: u32 = 31_500;

/// Bound on CRIU's answers to questions, which come at once or never.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What runc keeps of the descriptors that were the container's stdio when it started.
const DESCRIPTORS: &str = "descriptors.json";

/// Checkpoints a container.
///
/// # Flow
/// Repair after lost dumps, look at the container, ask CRIU what it is, prepare directories, write
/// the journal and post the guardian, dump, verify, publish. The order of the checks is that of
/// `Checkpoint` in `criu_linux.go` of runc 1.5.2.
///
/// # Guarantees
/// On every error the container goes on as before: thawed if it was, its network without a lock of
/// this dump's, nothing of ours in its file system; and no directory under the image's final name
/// when the image was to be published. A killed process is stood in for by its guardian, and a
/// killed guardian by the next call.
///
/// # Cancel
/// Once `cancel` is triggered the next answer to CRIU is no; what does not end CRIU within
/// [`Engine::grace`] kills it. After the last answer it is too late, and the checkpoint succeeds.
///
/// # Errors
/// See [`Error`]; texts are runc's where runc has one.
pub fn run(
    engine: &Engine,
    container: &Container,
    request: &Request,
    cancel: &Cancel,
    observer: &mut dyn Observer,
) -> Result<Report, Error> {
    let started = Instant::now();
    let journal = Journal::open(&engine.run_dir)?;
    let mut warnings = repair::sweep(&journal);
    let launch = engine.launch_with_archiver();
    let swrk = Swrk::start(&launch).map_err(Error::Version);
    // CRIU starts while the container is looked at.
    let target = Target::look(engine, container, request);
    let mut swrk = swrk?;
    let version = swrk
        .version(started + ANSWER_WITHIN)
        .map_err(Error::Version)?;
    at_least(&version, OLDEST)?;
    let target = target?;
    let dirs = Dirs::prepare(request)?;
    external_namespaces_known(&version)?;
    let dump = Dump {
        engine,
        container,
        request,
        target,
        dirs,
        version,
        launch,
        started,
    };
    let report = dump.run(swrk, &journal, cancel, observer)?;
    warnings.extend(report.warnings);
    Ok(Report { warnings, ..report })
}

fn at_least(version: &Version, wanted: u32) -> Result<(), Error> {
    let found = version.number();
    if found < wanted {
        Err(Error::CriuTooOld { found, wanted })
    } else {
        Ok(())
    }
}

fn external_namespaces_known(version: &Version) -> Result<(), Error> {
    for (kind, since) in [("net", EXTERNAL_NETWORK_SINCE), ("pid", EXTERNAL_PID_SINCE)] {
        if version.number() < since {
            return Err(Error::ExternalNamespaces { kind });
        }
    }
    Ok(())
}

/// The directories of a dump, open for CRIU.
#[derive(Debug)]
struct Dirs {
    image: PathBuf,
    image_file: File,
    work: PathBuf,
    work_file: Option<File>,
    /// There were files before the dump.
    mixed: bool,
}

impl Dirs {
    fn prepare(request: &Request) -> Result<Self, Error> {
        let image = match &request.image {
            Image::InPlace { dir, .. } => {
                make(dir, true)?;
                dir.clone()
            }
            Image::Publish { dir } => {
                if dir.symlink_metadata().is_ok() {
                    return Err(Error::ImageExists(dir.clone()));
                }
                let partial = partial_name(dir);
                make(&partial, false)?;
                partial
            }
        };
        let image_file = open(&image)?;
        let mixed = fs::read_dir(&image).is_ok_and(|mut entries| entries.next().is_some());
        let work_file = match &request.work_dir {
            Some(work) => {
                make(work, true)?;
                Some(open(work)?)
            }
            None => None,
        };
        let work = request.work_dir.clone().unwrap_or_else(|| image.clone());
        Ok(Self {
            image,
            image_file,
            work,
            work_file,
            mixed,
        })
    }
}

/// The name of an image that is not complete yet.
fn partial_name(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

fn make(dir: &Path, may_exist: bool) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(source) if !(may_exist && source.kind() == io::ErrorKind::AlreadyExists) => {
            Err(Error::Directory {
                call: "mkdir",
                path: dir.to_owned(),
                source,
            })
        }
        _ => Ok(()),
    }
}

fn open(dir: &Path) -> Result<File, Error> {
    File::open(dir).map_err(|source| Error::Directory {
        call: "open",
        path: dir.to_owned(),
        source,
    })
}

/// A dump with everything that it needs.
#[derive(Debug)]
struct Dump<'a> {
    engine: &'a Engine,
    container: &'a Container,
    request: &'a Request,
    target: Target,
    dirs: Dirs,
    version: Version,
    launch: Launch,
    started: Instant,
}

impl Dump<'_> {
    fn run(
        mut self,
        mut swrk: Swrk,
        journal: &Journal,
        cancel: &Cancel,
        observer: &mut dyn Observer,
    ) -> Result<Report, Error> {
        let result = self.attempt(&mut swrk, journal);
        let (record, request, status_fd, lock) = match result {
            Ok(ready) => ready,
            Err(error) => {
                // Nothing has been touched but the directory that was made for this dump.
                self.discard_partial();
                return Err(error);
            }
        };
        let guardian = match Guardian::post(&record) {
            Ok(guardian) => guardian,
            Err(source) => {
                self.discard_partial();
                record.finish()?;
                return Err(Error::Guardian(source));
            }
        };
        observer.step(Step::Requested);
        let outcome = self.converse(swrk, &request, status_fd, cancel, observer);
        let ended = match outcome {
            Ok((seen, responded)) => self.publish(seen, responded, lock, observer),
            Err(error) => Err(error),
        };
        if ended.is_err() {
            // Whatever could not be put right stays in the journal for the next attempt.
            if !repair::repair(&record.entry).is_empty() {
                guardian.dismiss();
                return ended;
            }
        }
        let finished = record.finish();
        guardian.dismiss();
        finished?;
        ended
    }

    /// Everything up to the request, in runc's order.
    fn attempt(
        &mut self,
        swrk: &mut Swrk,
        journal: &Journal,
    ) -> Result<
        (
            Record,
            criu::messages::CriuReq,
            Option<StatusFd>,
            Option<Method>,
        ),
        Error,
    > {
        let namespaces = std::mem::replace(&mut self.target.namespaces, Ok(Vec::new()));
        let external = namespaces.map_err(Error::External)?;
        let status_fd = self.require_features(swrk)?;
        let mut mounts = Vec::new();
        if self.request.kind == Kind::Dump {
            let found = std::mem::replace(&mut self.target.mounts, Ok(Vec::new()));
            mounts = found.map_err(Error::External)?;
            self.write_descriptors()?;
        }
        let (lock, sent) = self.lock()?;
        let record = journal.begin(self.entry(swrk, lock)?)?;
        let found = Found {
            container: self.container,
            criu: self.version.number(),
            image_fd: self.dirs.image_file.as_raw_fd(),
            work_fd: self.dirs.work_file.as_ref().map(AsRawFd::as_raw_fd),
            config_file: self.target.site.file.as_deref(),
            external,
            mounts,
            freezer: self.target.freezer.as_ref().map(Freezer::dir),
            unified: self.target.unified,
            lock: sent,
        };
        Ok((record, plan::request(self.request, found), status_fd, lock))
    }

    fn require_features(&self, swrk: &mut Swrk) -> Result<Option<StatusFd>, Error> {
        let until = Instant::now() + ANSWER_WITHIN;
        if self.request.kind == Kind::PreDump {
            let wanted = CriuFeatures {
                mem_track: Some(true),
                ..CriuFeatures::default()
            };
            let features = swrk.features(wanted, until).map_err(Error::FeatureCheck)?;
            if features.mem_track != Some(true) {
                return Err(Error::MissingFeature("MemTrack"));
            }
        }
        if !self.request.options.lazy_pages {
            return Ok(None);
        }
        let wanted = CriuFeatures {
            lazy_pages: Some(true),
            ..CriuFeatures::default()
        };
        let features = swrk.features(wanted, until).map_err(Error::FeatureCheck)?;
        if features.lazy_pages != Some(true) {
            return Err(Error::MissingFeature("LazyPages"));
        }
        self.request.status_fd.map(StatusFd::new).transpose()
    }

    /// Mirrors `Checkpoint` of runc 1.5.2: what the restore needs to know of the original stdio.
    fn write_descriptors(&self) -> Result<(), Error> {
        let path = self.dirs.image.join(DESCRIPTORS);
        let write = || {
            let text = serde_json::to_vec(&self.container.external_descriptors)?;
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)?;
            io::Write::write_all(&mut file, &text)
        };
        write().map_err(|source| Error::Write {
            path: path.clone(),
            source,
        })
    }

    /// The lock that the dump will take, and the one that the request names.
    fn lock(&self) -> Result<(Option<Method>, Option<Method>), Error> {
        if self.request.kind == Kind::PreDump {
            return Ok((None, None));
        }
        let site = &self.target.site;
        let asked = self.request.network_lock;
        let own = site
            .own_network_lock
            .filter(|_| asked == super::NetworkLock::Auto);
        let connections = self.request.options.tcp_established || site.tcp_established;
        let wants_nftables = connections || asked == super::NetworkLock::Nftables;
        let now = Circumstances {
            criu: self.version.number(),
            nftables: wants_nftables && self.nftables(),
            connections,
            site: site.network_lock.or(own),
        };
        let method = lock::choose(asked, now)?;
        Ok((Some(method), now.site.is_none().then_some(method)))
    }

    fn nftables(&self) -> bool {
        let folder = Some(self.engine.run_dir.as_path());
        Abilities::of(&self.launch, folder, Instant::now() + ANSWER_WITHIN).nftables_lock
    }

    fn entry(&self, swrk: &Swrk, lock: Option<Method>) -> Result<Entry, Error> {
        let guard = &self.target.guard;
        let freezer = self.target.freezer.as_ref().filter(|_| self.target.thawed);
        let links = self.request.options.link_remap || self.target.site.link_remap;
        let link_remaps = if links {
            remap::folders(&processes::pids(self.container)?)
        } else {
            Vec::new()
        };
        let network = self.target.network.as_ref().zip(lock);
        let network = network.filter(|(_, method)| *method != Method::Skip);
        let network = network.map(|(inside, method)| -> Result<_, Error> {
            let before = match method {
                Method::Iptables => Rules::read(inside).map_err(Error::Rules)?,
                Method::Nftables | Method::Skip => Rules::default(),
            };
            let log = self.log();
            Ok(LockedNetwork {
                inode: inside.inode,
                method,
                before,
                log,
            })
        });
        Ok(Entry {
            container: self.container.id.to_string(),
            state_dir: self.container.state_dir.clone(),
            owner: ProcessId::ours().unwrap_or(ProcessId { pid: 0, start: 0 }),
            criu: swrk.pid().and_then(|pid| ProcessId::now(pid.cast_signed())),
            init: ProcessId {
                pid: guard.pid(),
                start: guard.start_time(),
            },
            freezer: freezer.map(|freezer| FrozenGroup {
                dir: freezer.dir().to_owned(),
                unified: self.target.unified,
            }),
            network: network.transpose()?,
            link_remaps,
            image: self.dirs.image.clone(),
            partial: matches!(self.request.image, Image::Publish { .. }),
            ends_container: self.ends_container(),
        })
    }

    fn ends_container(&self) -> bool {
        self.request.kind == Kind::Dump && !self.request.options.leave_running
    }

    fn log(&self) -> PathBuf {
        self.dirs.work.join(plan::LOG_FILE)
    }

    fn uses_page_server(&self) -> bool {
        self.request.page_server.as_ref().is_some_and(plan::is_used)
    }

    fn proof(&self, flush: bool) -> Proof {
        let pages = if self.request.options.lazy_pages {
            images::Pages::Lazy
        } else if self.uses_page_server() {
            images::Pages::Sent
        } else {
            images::Pages::Here
        };
        Proof {
            image: self.dirs.image.clone(),
            pages,
            flush,
            mixed: self.dirs.mixed,
        }
    }

    fn durable(&self) -> bool {
        match &self.request.image {
            Image::InPlace { durable, .. } => *durable,
            Image::Publish { .. } => true,
        }
    }

    /// Has CRIU dump, and says what came of it.
    fn converse(
        &self,
        swrk: Swrk,
        request: &criu::messages::CriuReq,
        status_fd: Option<StatusFd>,
        cancel: &Cancel,
        observer: &mut dyn Observer,
    ) -> Result<(Seen, Instant), Error> {
        let early = plan::freezes_early(FreezeFacts {
            kind: self.request.kind,
            unified: self.target.unified,
            page_server: self.uses_page_server(),
            thawed: self.target.thawed,
        });
        let marker = (self.container.flavour == Flavour::Runc)
            .then(|| self.container.state_dir.join("checkpoint"));
        let mut watch = Watch {
            guard: &self.target.guard,
            freezer: self.target.freezer.as_ref().filter(|_| early),
            max_pause: self.request.max_pause,
            marker,
            // What ends is proved while it can still be kept; what goes on is not kept waiting.
            proof: self.ends_container().then(|| self.proof(self.durable())),
            status_fd,
            observer,
            seen: Seen::default(),
        };
        let limits = Limits {
            deadline: self.request.timeout.map(|timeout| self.started + timeout),
            grace: self.engine.grace,
            cancel,
        };
        match swrk.run(request, &mut watch, &limits) {
            Ok(finished) => Ok((watch.seen, finished.responded)),
            Err(source) => Err(watch.seen.refusal.unwrap_or_else(|| self.failed(source))),
        }
    }

    fn failed(&self, source: criu::Error) -> Error {
        let log = self.log();
        let cause = criu::log::cause(&log);
        Error::Dump { source, log, cause }
    }

    /// After CRIU's success: what goes on has been let go by now.
    fn publish(
        &self,
        seen: Seen,
        responded: Instant,
        lock: Option<Method>,
        observer: &mut dyn Observer,
    ) -> Result<Report, Error> {
        observer.step(Step::Publishing);
        let kind = match self.request.kind {
            Kind::Dump => images::Kind::Dump,
            Kind::PreDump => images::Kind::PreDump,
        };
        if !self.ends_container() {
            self.proof(self.durable()).check(kind)?;
        }
        let pause = seen.pause();
        let mut warnings = seen.warnings;
        let stats = Folder::open(&self.dirs.work).and_then(|work| DumpStats::read(&work));
        let stats = stats.unwrap_or_else(|error| {
            warnings.push(repair::chain(&error));
            None
        });
        let folder = Folder::open(&self.dirs.image).map_err(Error::Publish)?;
        let size = images::measure(&folder).map_err(Error::Publish)?;
        let digest = self.durable().then(|| images::digest(&folder)).transpose();
        let digest = digest.map_err(Error::Publish)?;
        let image_path = match &self.request.image {
            Image::InPlace { dir, .. } => dir.clone(),
            Image::Publish { dir } => {
                images::name(&self.dirs.image, dir).map_err(Error::Publish)?;
                dir.clone()
            }
        };
        if let Some(pause) = pause {
            observer.step(Step::Done(pause));
        }
        let work_path = match (&self.request.work_dir, &self.request.image) {
            (Some(work), _) => work.clone(),
            (None, _) => image_path.clone(),
        };
        Ok(Report {
            image_path,
            work_path,
            size_bytes: size.bytes,
            files: size.files,
            digest,
            pause_microseconds: pause
                .filter(|_| self.request.kind == Kind::Dump)
                .map(micros),
            dump_microseconds: micros(responded - self.started),
            publish_microseconds: micros(responded.elapsed()),
            stats,
            criu_version: self.version.to_string(),
            network_lock: lock.map(|method| method.as_str().to_owned()),
            warnings,
        })
    }

    fn discard_partial(&self) {
        if matches!(self.request.image, Image::Publish { .. }) {
            // It was made by this dump, and holds nothing but what this dump put there.
            let _ = fs::remove_dir_all(&self.dirs.image);
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Whether a directory holds an image that has its inventory, which CRIU writes last.
#[must_use]
pub(super) fn is_complete(dir: &Path) -> bool {
    Folder::open(dir).is_ok_and(|folder| has_inventory(&folder))
}
