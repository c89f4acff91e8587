//! Putting right what a dump that did not end properly left behind, from its journal entry alone.

use std::{fs, io, path::Path, path::PathBuf, time::Duration};

use super::{
    connections, fence,
    journal::{Entry, FreezerBefore, Journal, LockedNetwork, Record},
    lock::{self, Method, Namespace},
    process::ProcessId,
    remap,
};
use crate::{
    criu, images,
    runtime::{
        cgroup::{self, Freezer},
        processes,
    },
};

/// How long a CRIU without its client may take to roll back before it is killed.
const CRIU_GRACE: Duration = Duration::from_secs(5);

/// The same where there is a bound on the pause, which may be over already: nobody is left who knows.
const BOUNDED_GRACE: Duration = Duration::from_millis(250);

/// How long a killed CRIU may take to go.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// How long a container that was paused may take to be paused again.
const PAUSE_WITHIN: Duration = Duration::from_secs(2);

/// One thing that could not be put right.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// CRIU could not be ended.
    #[error("failed to end CRIU (process {pid})")]
    Criu {
        /// Its number.
        pid: i32,
    },
    /// The cgroup could not be thawed, or paused again.
    #[error("failed to bring the container's freezer back to where it was")]
    Freezer(#[source] cgroup::Error),
    /// Connections still stand still.
    #[error("failed to set the container's connections going")]
    Connections(#[source] connections::Error),
    /// The network is still locked.
    #[error("failed to unlock the container's network")]
    Unlock(#[source] lock::Error),
    /// The unified hierarchy has lost flags.
    #[error("failed to put the flags of cgroup2 back")]
    CgroupFlags(#[source] cgroup::FlagsError),
    /// The port of the lazy pages is still closed.
    #[error("failed to open the port of the lazy pages again")]
    Fence(#[source] fence::Error),
    /// Temporary names are left in the container.
    #[error("failed to remove {0:?} from the container")]
    LinkRemap(Vec<PathBuf>),
    /// A directory that is no image looks like one.
    #[error(transparent)]
    Withdraw(images::withdraw::Error),
    /// A directory that is no image is left.
    #[error("failed to remove the unfinished image {path}")]
    Partial {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// A stable name.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Criu { .. } => "CriuStillRunning",
            Self::Freezer(_) => "FreezerChanged",
            Self::Connections(_) => "ConnectionsStopped",
            Self::Unlock(_) => "NetworkStillLocked",
            Self::CgroupFlags(_) => "CgroupFlagsChanged",
            Self::Fence(_) => "PortStillClosed",
            Self::LinkRemap(_) => "LinkRemapLeft",
            Self::Withdraw(_) => "FailedImageLeft",
            Self::Partial { .. } => "UnfinishedImageLeft",
        }
    }
}

/// Puts right what an entry names; everything is tried, and what failed comes back.
///
/// # Guarantees
/// Idempotent. Touches only what the entry names: its CRIU by number and start time, its cgroup, the
/// rules that were not there before, files by their inodes, the unfinished directory.
#[must_use]
pub fn repair(record: &Record) -> Vec<Error> {
    let entry = &record.entry;
    let Entry {
        container: _,
        state_dir: _,
        owner: _,
        criu,
        init,
        freezer,
        network,
        fence,
        ..
    } = entry;
    let mut left = Vec::new();
    left.extend(criu.and_then(|criu| end(criu, entry).err()));
    // Not while CRIU serves.
    if let Some(fence) = fence.as_ref().filter(|_| left.is_empty()) {
        left.extend(fence.lower().err().map(Error::Fence));
    }
    // Before the thaw: whoever uses such a connection meanwhile gets an error.
    if let Some(group) = freezer.as_ref().filter(|_| entry.connections) {
        let pids = processes::pids_in(&group.dir).unwrap_or_default();
        left.extend(connections::set_going(pids).err().map(Error::Connections));
    }
    left.extend(
        freezer
            .as_ref()
            .and_then(|group| restore(group).err())
            .map(Error::Freezer),
    );
    left.extend(put_flags_back(entry).err());
    // A dump that ended the container and is complete is all that is left of it, and keeps its lock
    // for the restore unless others are to use that network.
    let complete = entry.ends_container && !init.lives() && super::run::is_complete(&entry.image);
    if let Some(network) = network
        .as_ref()
        .filter(|_| !complete || entry.unlock_after_end)
    {
        left.extend(unlock(network).err().map(Error::Unlock));
    }
    if !complete && !entry.link_remaps.is_empty() {
        let root = PathBuf::from(format!("/proc/{}/root", init.pid));
        if init.lives() {
            let names = remap::remove(&root, &entry.link_remaps);
            left.extend((!names.is_empty()).then_some(Error::LinkRemap(names)));
        }
    }
    if entry.partial && !complete {
        left.extend(discard(&entry.image).err());
    } else if !complete {
        let withdrawn = images::withdraw(&entry.image, record.since());
        left.extend(withdrawn.err().map(Error::Withdraw));
    }
    left
}

/// Lets CRIU roll back, and ends it if it does not.
fn end(criu: ProcessId, entry: &Entry) -> Result<(), Error> {
    let grace = if entry.pause_is_bounded {
        BOUNDED_GRACE
    } else {
        CRIU_GRACE
    };
    if criu.ended_within(grace) {
        return Ok(());
    }
    // Its tasks are free once it is dead, and their connections do not go yet.
    if let Some(group) = entry.freezer.as_ref().filter(|_| entry.connections) {
        let _ = Freezer::new(&group.dir, group.version()).freeze(PAUSE_WITHIN);
    }
    if criu.kill().is_err() || !criu.ended_within(KILL_GRACE) {
        return Err(Error::Criu { pid: criu.pid });
    }
    Ok(())
}

/// Gives the unified hierarchy the flags again that CRIU has taken away, if it has.
pub(super) fn put_flags_back(entry: &Entry) -> Result<(), Error> {
    let flags = entry.cgroup_flags.as_ref();
    flags.map_or(Ok(()), |flags| flags.put_back().map_err(Error::CgroupFlags))
}

/// Thaws what ran, and stops what was paused.
fn restore(group: &FreezerBefore) -> Result<(), cgroup::Error> {
    let freezer = Freezer::new(&group.dir, group.version());
    if group.paused {
        freezer.freeze(PAUSE_WITHIN).map(|_| ())
    } else {
        freezer.thaw()
    }
}

/// Lifts the lock that a dump has left, if it is there.
pub(super) fn unlock(network: &LockedNetwork) -> Result<(), lock::Error> {
    // A namespace that is gone took its rules with it.
    let Some(inside) = Namespace::find(network.inode) else {
        return Ok(());
    };
    match network.method {
        Method::Skip => Ok(()),
        Method::Iptables => lock::remove_iptables(&inside, &network.before),
        // A run that has not named itself has locked nothing.
        Method::Nftables => match criu::log::run_id(&network.log) {
            Some(run) => lock::remove_nftables(&inside, &images::nftables_table(&run)),
            None => Ok(()),
        },
    }
}

fn discard(partial: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(partial) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Partial {
            path: partial.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Repairs after every dump in the journal that nobody holds any more.
#[must_use]
pub fn sweep(journal: &Journal) -> Vec<String> {
    let mut said = Vec::new();
    let records = match journal.abandoned() {
        Ok(records) => records,
        Err(error) => return vec![chain(&error)],
    };
    for record in records {
        match record {
            Ok(record) => {
                said.push(format!(
                    "repaired after a lost checkpoint of {}",
                    record.entry.container
                ));
                said.extend(repair(&record).iter().map(|error| chain(error)));
                said.extend(record.finish().err().map(|error| chain(&error)));
            }
            Err(error) => said.push(chain(&error)),
        }
    }
    said
}

/// An error with everything that caused it, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
