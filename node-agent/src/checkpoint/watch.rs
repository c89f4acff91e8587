//! What happens at each of CRIU's notifications: freeze, check, answer, and let go.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Error, Observer, Step,
    keep::{Saving, Until},
    status_fd::StatusFd,
    still,
};
use crate::{
    criu::{Answer, Event, Handler},
    images::{self, Folder},
    layer,
    runtime::{
        cgroup::{Freezer, FreezerState},
        guard::Guard,
        processes,
    },
};

/// Longest that the cgroup may take to freeze before that is left to CRIU.
const FREEZE_WITHIN: Duration = Duration::from_secs(2);

/// How often is looked whether CRIU has begun to stop tasks, which it does not announce.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What an image must hold before its container may end.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) image: PathBuf,
    pub(super) pages: images::Pages,
    /// Also bring it to the disk first.
    pub(super) flush: bool,
    /// Files of an earlier image may lie about; only the inventory must be there.
    pub(super) mixed: bool,
}

impl Proof {
    /// Checks the image, and flushes it where that is asked for.
    pub(super) fn check(&self, kind: images::Kind) -> Result<(), Error> {
        let folder = Folder::open(&self.image).map_err(Error::Incomplete)?;
        match images::verify(&folder, kind, self.pages) {
            Err(_) if self.mixed && has_inventory(&folder) => {}
            result => result.map(|_| ()).map_err(Error::Incomplete)?,
        }
        if self.flush {
            images::flush(&folder).map_err(Error::Publish)?;
        }
        Ok(())
    }
}

pub(super) fn has_inventory(folder: &Folder) -> bool {
    images::Inventory::read(folder).is_ok_and(|inventory| inventory.is_some())
}

/// A container with connections that CRIU stops, and that must not run before they go again.
///
/// CRIU thaws the cgroup once it has seized every task, so that tasks are free the moment it dies,
/// and whoever uses a stopped connection then gets an error. While pages are read they have to be
/// able to run; afterwards the freezer can hold them until CRIU has let go in order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold<'a> {
    pub(super) freezer: &'a Freezer,
    /// It was paused before the dump, and stays frozen.
    pub(super) paused: bool,
}

/// The handler of one dump.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    pub(super) guard: &'a Guard,
    /// Freeze this before CRIU does.
    pub(super) freezer: Option<&'a Freezer>,
    /// CRIU's process.
    pub(super) criu: Option<i32>,
    /// Frozen, this tells that CRIU has begun.
    pub(super) criu_freezes: Option<&'a Freezer>,
    /// Freeze this before tasks could come free with connections that CRIU has stopped.
    pub(super) hold: Option<Hold<'a>>,
    pub(super) max_pause: Option<Duration>,
    /// When the whole request is over.
    pub(super) deadline: Option<Instant>,
    /// runc's marker in its state directory.
    pub(super) marker: Option<PathBuf>,
    /// Where the image is written.
    pub(super) image: PathBuf,
    /// To be proved before the container ends.
    pub(super) proof: Option<Proof>,
    /// Changed files to be saved while the container stands still.
    pub(super) saving: Option<Saving<'a>>,
    /// How long that may take, whatever the pause's bound says.
    pub(super) until: Until<'a>,
    pub(super) status_fd: Option<StatusFd>,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) seen: Seen,
}

/// What a dump has come to so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// We froze the cgroup, and owe a thaw.
    frozen: bool,
    /// CRIU has begun, with what it does before it stops tasks: a page server that does not answer is waited for here.
    announced: bool,
    began: Option<Instant>,
    released: Option<Instant>,
    /// Lazy pages could be fetched.
    pub(super) serving: bool,
    /// Why we said no.
    pub(super) refusal: Option<Error>,
    pub(super) warnings: Vec<String>,
}

impl Seen {
    /// CRIU has begun, and not with any task.
    pub(super) fn has_stopped_nobody(&self) -> bool {
        self.announced && self.began.is_none()
    }

    /// From the first freeze or seize that was seen to the thaw.
    pub(super) fn pause(&self) -> Option<Duration> {
        Some(self.released?.duration_since(self.began?))
    }
}

impl Watch<'_> {
    fn begin(&mut self) -> Result<(), Error> {
        self.guard.check()?;
        self.seen.announced = true;
        if let Some(freezer) = self.freezer {
            self.stands_still();
            match still::freeze(freezer, FREEZE_WITHIN) {
                Ok(()) => self.seen.frozen = true,
                // CRIU would wait for that task with everybody frozen, and then fail.
                Err(error @ still::Error::InVfork { .. }) => return Err(error.into()),
                // It is thawed again, and CRIU has ways of its own.
                Err(error) => self.seen.warnings.push(super::repair::chain(&error)),
            }
        }
        Ok(())
    }

    /// From now on the container stands still.
    fn stands_still(&mut self) {
        if self.seen.began.is_none() {
            self.seen.began = Some(Instant::now());
            self.observer.step(Step::Freezing);
        }
    }

    /// Whether CRIU has begun to stop tasks: with the freezer first, where it is handed one, then by tracing each.
    fn is_being_stopped(&self) -> bool {
        let frozen = |freezer: &Freezer| {
            use FreezerState::{Freezing, Frozen};
            matches!(freezer.state(), Ok(Some(Freezing | Frozen)))
        };
        // Somebody else's debugger stops nobody for us.
        let traced = processes::tracer(self.guard.pid());
        self.criu_freezes.is_some_and(frozen) || traced.is_some() && traced == self.criu
    }

    fn written(&mut self) -> Result<(), Error> {
        if let Some(marker) = &self.marker {
            mark(marker)?;
        }
        if self.seen.frozen {
            // CRIU has found our freeze, and takes it for the container's own.
            Folder::open(&self.image)
                .and_then(|folder| images::record_thawed(&folder))
                .map_err(Error::Incomplete)?;
        }
        self.hold();
        // The one thing that a container is kept waiting for although nothing of it could be told later: its files have to be
        // those that its memory knows.
        if let Some(saving) = self.saving.take() {
            let deadline = self.pause_deadline().into_iter().chain(self.until.deadline);
            let until = Until {
                deadline: deadline.min(),
                ..self.until
            };
            let left_out = saving.save(until)?;
            self.seen.warnings.extend(left_out);
        }
        if let Some(proof) = &self.proof {
            proof.check(images::Kind::Dump)?;
            let until = self.pause_deadline().into_iter().chain(self.deadline).min();
            self.observer.confirm(until).map_err(Error::OtherHalf)?;
            self.let_end();
        }
        self.observer.step(Step::Dumped);
        Ok(())
    }

    fn hold(&mut self) {
        let Some(hold) = self.hold else {
            return;
        };
        match hold.freezer.freeze(FREEZE_WITHIN) {
            Ok(_) => self.seen.frozen |= !hold.paused,
            // CRIU holds them as well, as long as it lives.
            Err(error) => self.seen.warnings.push(super::repair::chain(&error)),
        }
    }

    /// Opens the freezer for a container that CRIU is about to end: on cgroup v1 no frozen task dies,
    /// and CRIU waits for them. That a thaw is owed stays so: a CRIU that fails freezes again.
    fn let_end(&mut self) {
        if let Some(Err(error)) = self.hold.map(|hold| hold.freezer.thaw()) {
            self.seen.warnings.push(super::repair::chain(&error));
        }
    }

    fn thaw(&mut self) {
        if !std::mem::take(&mut self.seen.frozen) {
            return;
        }
        let freezer = self.freezer.or(self.hold.map(|hold| hold.freezer));
        if let Some(Err(error)) = freezer.map(Freezer::thaw) {
            // The repair after a failure, or the guardian, tries again.
            self.seen.warnings.push(super::repair::chain(&error));
        }
    }
}

/// Mirrors what runc 1.5.2 does at `post-dump`; its next restore removes the file.
fn mark(marker: &Path) -> Result<(), Error> {
    let made = fs::File::create(marker).map(|_| ());
    made.map_err(|source: io::Error| Error::Write {
        path: marker.to_owned(),
        source,
    })
}

impl Handler for Watch<'_> {
    fn on(&mut self, event: &Event) -> Answer {
        if self.seen.announced {
            // CRIU speaks next once it has stopped every task.
            self.stands_still();
        }
        let result = match event {
            Event::PreDump => self.begin(),
            Event::QueryExtFiles => {
                self.observer.step(Step::Dumping);
                Ok(())
            }
            Event::PostDump => self.written(),
            Event::StatusReady => {
                self.seen.serving = true;
                self.observer.step(Step::Serving);
                self.seen
                    .warnings
                    .extend(self.status_fd.take().and_then(StatusFd::ready));
                Ok(())
            }
            Event::NetworkLock | Event::NetworkUnlock | Event::Other(_) => Ok(()),
        };
        match result {
            Ok(()) => Answer::Go,
            // What interrupted it is told by whoever set the bound.
            Err(Error::Rootfs(layer::Error::Interrupted)) => Answer::Refuse,
            Err(error) => {
                self.seen.refusal = Some(error);
                Answer::Refuse
            }
        }
    }

    fn look(&mut self) -> Option<Instant> {
        if !self.seen.announced || self.seen.began.is_some() {
            return None;
        }
        if self.is_being_stopped() {
            self.stands_still();
            return None;
        }
        Some(Instant::now() + LOOK_EVERY)
    }

    fn pause_deadline(&self) -> Option<Instant> {
        Some(self.seen.began? + self.max_pause?)
    }

    fn about_to_kill(&mut self) {
        self.hold();
    }

    fn responded(&mut self) {
        // CRIU leaves a cgroup that it found frozen as it found it.
        self.thaw();
        self.seen.released = Some(Instant::now());
        self.observer.step(Step::Released);
    }
}
