//! The checkpoint itself, from the first look at the container to the report.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::statvfs::statvfs;

use super::{
    Error, Image, Kind, Observer, Report, Request, Step,
    dirs::Dirs,
    engine::Engine,
    guardian::Guardian,
    journal::{Entry, Journal},
    keep::{Saving, Until},
    plan::{self, FreezeFacts},
    prepare::Ready,
    repair,
    status_fd::StatusFd,
    target::Target,
    watch::{Hold, Proof, Seen, Watch, has_inventory},
};
use crate::{
    criu::{self, Cancel, Launch, Limits, Swrk, Version, messages::CriuReq},
    images::{self, Folder},
    runtime::{Container, Flavour},
};

/// Oldest CRIU that runc works with at all.
const OLDEST: u32 = 30_000;
/// Less room than this on a disk is none: CRIU writes several pages at a time.
const FULL_BELOW_BYTES: u64 = 64 << 10;

/// How long a container that was killed with its CRIU may take to be gone.
const END_WITHIN: Duration = Duration::from_millis(100);

/// Bound on CRIU's answers to questions, which come at once or never.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(30);

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

/// A dump with everything that it needs.
#[derive(Debug)]
pub(super) struct Dump<'a> {
    pub(super) engine: &'a Engine,
    pub(super) container: &'a Container,
    pub(super) request: &'a Request,
    pub(super) target: Target,
    pub(super) dirs: Dirs,
    pub(super) version: Version,
    pub(super) launch: Launch,
    pub(super) started: Instant,
}

impl Dump<'_> {
    fn run(
        mut self,
        mut swrk: Swrk,
        journal: &Journal,
        cancel: &Cancel,
        observer: &mut dyn Observer,
    ) -> Result<Report, Error> {
        let Ready {
            mut record,
            request,
            status_fd,
            saving,
            lock,
        } = match self.prepare(&mut swrk, journal) {
            Ok(ready) => ready,
            Err(error) => {
                // Nothing has been touched but the directory that was made for this dump.
                self.discard_partial();
                return Err(error);
            }
        };
        let guardian = match Guardian::post(&record, self.launch.cgroup.as_deref()) {
            Ok(guardian) => guardian,
            Err(source) => {
                self.discard_partial();
                record.finish()?;
                return Err(Error::Guardian(source));
            }
        };
        let outcome = self.fence_off(&record.entry).and_then(|()| {
            observer.step(Step::Requested);
            self.converse(swrk, &request, (status_fd, saving), cancel, observer)
        });
        let mut left = false;
        let mut ended = match outcome {
            Ok((mut seen, responded)) => {
                // What ended its container is never thrown away, whatever happens to it next.
                record.entry.partial &= !self.ends_container();
                // Before the image is published: whoever else lives in that network waits.
                let locked = self.unlock_after_end(&record.entry);
                let fenced = lower(&record.entry);
                let flags = repair::put_flags_back(&record.entry).err();
                let flags = flags.map(|error| repair::chain(&error));
                let undone = [locked, fenced, flags];
                left = undone.iter().any(Option::is_some);
                seen.warnings.extend(undone.into_iter().flatten());
                self.publish(seen, responded, lock, observer)
            }
            Err(error) => Err(error),
        };
        if ended.is_err() {
            // Whatever could not be put right stays in the journal for the next attempt.
            let repaired = repair::repair(&record).is_empty();
            // Not before: what is killed while it is frozen ends once it is thawed. What we stopped needs no other reason.
            if let Err(Error::Dump { source, ended, .. }) = &mut ended
                && !matches!(source, criu::Error::Stopped { .. })
            {
                *ended = self.container_has_ended();
            }
            if !repaired {
                guardian.dismiss();
                return ended;
            }
        }
        if left {
            // The next sweep tries again.
            guardian.dismiss();
            return ended;
        }
        let finished = record.finish();
        guardian.dismiss();
        finished?;
        ended
    }

    /// Closes the port of the lazy pages to those who may not fetch them, before there is one.
    fn fence_off(&self, entry: &Entry) -> Result<(), Error> {
        let admitted = self.request.lazy_pages_for.as_ref();
        match entry.fence.as_ref().zip(admitted) {
            Some((fence, admitted)) => fence.raise(admitted).map_err(Error::Fence),
            None => Ok(()),
        }
    }

    /// Lifts the lock of a dump that has ended its container, where that is asked for; what went
    /// wrong comes back.
    fn unlock_after_end(&self, entry: &Entry) -> Option<String> {
        let network = entry.network.as_ref();
        let network = network.filter(|_| self.request.unlock_after_end && self.ends_container())?;
        let failed = repair::unlock(network).err()?;
        Some(repair::chain(&repair::Error::Unlock(failed)))
    }

    pub(super) fn ends_container(&self) -> bool {
        self.request.kind == Kind::Dump && !self.request.options.leave_running
    }

    /// Whether the container has ended, where this dump was not to end it.
    fn container_has_ended(&self) -> bool {
        let ended = || self.target.guard.wait_ended(END_WITHIN).unwrap_or(false);
        !self.ends_container() && ended()
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dirs.work.join(plan::LOG_FILE)
    }

    fn uses_page_server(&self) -> bool {
        self.request.page_server.as_ref().is_some_and(plan::is_used)
    }

    pub(super) fn proof(&self, flush: bool) -> Proof {
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

    pub(super) fn durable(&self) -> bool {
        match &self.request.image {
            Image::InPlace { durable, .. } => *durable,
            Image::Publish { .. } => true,
        }
    }

    /// Has CRIU dump, and says what came of it.
    fn converse(
        &self,
        swrk: Swrk,
        request: &CriuReq,
        (status_fd, saving): (Option<StatusFd>, Option<Saving<'_>>),
        cancel: &Cancel,
        observer: &mut dyn Observer,
    ) -> Result<(Seen, Instant), Error> {
        let early = plan::freezes_early(FreezeFacts {
            kind: self.request.kind,
            unified: self.target.unified,
            page_server: self.uses_page_server(),
            freezable: self.target.thawed() && !self.target.one_by_one,
        });
        let marker = (self.container.flavour == Flavour::Runc)
            .then(|| self.container.state_dir.join("checkpoint"));
        let deadline = self.deadline();
        let mut watch = Watch {
            guard: &self.target.guard,
            freezer: self.target.freezer.as_ref().filter(|_| early),
            criu: swrk.pid().map(u32::cast_signed),
            criu_freezes: self
                .target
                .freezer
                .as_ref()
                .filter(|_| self.target.thawed()),
            hold: self.hold(),
            max_pause: self.request.max_pause,
            deadline,
            marker,
            image: self.dirs.image.clone(),
            // What ends is proved while it can still be kept; what goes on is not kept waiting.
            proof: self.ends_container().then(|| self.proof(self.durable())),
            saving,
            until: Until { deadline, cancel },
            status_fd,
            observer,
            seen: Seen::default(),
        };
        let limits = Limits {
            deadline,
            grace: self.engine.grace,
            cancel,
        };
        match swrk.run(request, &mut watch, &limits) {
            Ok(finished) => Ok((watch.seen, finished.responded)),
            Err(source) => {
                let connecting = self.uses_page_server() && watch.seen.has_stopped_nobody();
                let Seen {
                    refusal, serving, ..
                } = watch.seen;
                Err(refusal.unwrap_or_else(|| self.failed(source, serving, connecting)))
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.request.timeout.map(|timeout| self.started + timeout)
    }

    fn hold(&self) -> Option<Hold<'_>> {
        let freezer = self.target.freezer.as_ref();
        let freezer = freezer.filter(|_| self.stops_connections())?;
        let paused = self.target.paused()?;
        Some(Hold { freezer, paused })
    }

    fn failed(&self, source: criu::Error, serving: bool, connecting: bool) -> Error {
        let log = self.log();
        let dirs = [&self.dirs.image, &self.dirs.work];
        let full = dirs.into_iter().find(|dir| is_full(dir));
        let full = full.map(|dir| format!("no space left on device: {}", dir.display()));
        Error::Dump {
            source,
            full: full.is_some(),
            cause: full.or_else(|| criu::log::cause(&log)),
            log,
            serving,
            connecting,
            ended: false,
        }
    }

    fn discard_partial(&self) {
        if matches!(self.request.image, Image::Publish { .. }) {
            // It was made by this dump, and holds nothing but what this dump put there.
            let _ = fs::remove_dir_all(&self.dirs.image);
        }
    }
}

/// Takes the fence away, once CRIU has ended; what went wrong comes back.
fn lower(entry: &Entry) -> Option<String> {
    let failed = entry.fence.as_ref()?.lower().err()?;
    Some(repair::chain(&repair::Error::Fence(failed)))
}

/// Whether nothing more fits on a directory's disk, give or take what was freed meanwhile.
fn is_full(dir: &Path) -> bool {
    statvfs(dir).is_ok_and(|disk| {
        disk.blocks_available().saturating_mul(disk.fragment_size()) < FULL_BELOW_BYTES
    })
}

/// Whether a directory holds an image that has its inventory, which CRIU writes last.
#[must_use]
pub(super) fn is_complete(dir: &Path) -> bool {
    Folder::open(dir).is_ok_and(|folder| has_inventory(&folder))
}
