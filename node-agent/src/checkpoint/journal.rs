//! The note that a dump leaves while it is under way, so that whoever finds it can put things right.
//!
//! One small file per container under the run directory, held under a file lock for as long as the
//! dump, its guardian or a repair is alive. A file that nobody holds is what a killed process left:
//! repair and sweep touch only what such a file names.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    thread,
    time::SystemTime,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use sha2::{Digest, Sha256};

mod entry;

pub use entry::{Entry, FreezerBefore, LockedNetwork};

/// How long a dead dump's file may stay held before it is left to its guardian.
const LOST_WITHIN: Duration = Duration::from_secs(1);

/// Between two looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A longer file is none of ours.
const ENTRY_MAX_BYTES: u64 = 1 << 20;

/// Why the journal could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the journal could not be handled.
    #[error("failed to {doing} {path}")]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Somebody holds the container's file.
    #[error("another checkpoint of this container is under way ({path} is held)")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// A lost dump of the container has not been put right yet.
    #[error("an earlier checkpoint of this container is still being put right ({path})")]
    Unfinished {
        /// The file.
        path: PathBuf,
    },
    /// The file is not an entry.
    #[error("invalid journal entry {path}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where it departs from one.
        source: serde_json::Error,
    },
}

/// The folder of all entries.
#[derive(Debug, Clone)]
pub struct Journal {
    dir: PathBuf,
}

impl Journal {
    /// The journal under a run directory, which is created where missing (0700).
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn open(run_dir: &Path) -> Result<Self, Error> {
        let dir = run_dir.join("journal");
        let make = || {
            use std::os::unix::fs::DirBuilderExt;
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
        };
        make().map_err(|source| Error::File {
            doing: "create",
            path: dir.clone(),
            source,
        })?;
        Ok(Self { dir })
    }

    /// Starts an entry, unless somebody else's for the same container is alive.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Unfinished`], or the file cannot be written.
    pub fn begin(&self, entry: Entry) -> Result<Record, Error> {
        let name = name_of(&entry.state_dir);
        let path = self.dir.join(format!("{name}.json"));
        let lock = hold(&path)?.ok_or_else(|| Error::Busy { path: path.clone() })?;
        // Whoever held it when abandoned entries were looked for has died since: its entry is all that
        // is known of what it left, and what was found out about the container may be its doing.
        if parse(&lock, &path).is_ok() {
            return Err(Error::Unfinished { path });
        }
        let mut record = Record { path, lock, entry };
        record.write()?;
        Ok(record)
    }

    /// What the entries say, held or not, as far as they can be read.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let entries = files.filter_map(|file| {
            let path = file.path();
            parse(&File::open(&path).ok()?, &path).ok()
        });
        entries.collect()
    }

    /// The entries that nobody holds, each now held by the caller. An unreadable one is returned as
    /// its error; a fresh one that its owner has not written yet is nobody's business.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn abandoned(&self) -> Result<Vec<Result<Record, Error>>, Error> {
        let failed = |source| Error::File {
            doing: "read",
            path: self.dir.clone(),
            source,
        };
        let mut found = Vec::new();
        for file in fs::read_dir(&self.dir).map_err(failed)? {
            let path = file.map_err(failed)?.path();
            if path.extension().is_some_and(|end| end == "json") {
                found.extend(Record::adopt(path).transpose());
            }
        }
        Ok(found)
    }
}

/// What names a container, by its state directory, among all of this host.
pub(super) fn name_of(state_dir: &Path) -> String {
    let digest = Sha256::digest(state_dir.as_os_str().as_encoded_bytes());
    let mut name = [0; 8];
    name.copy_from_slice(&digest[..8]);
    format!("{:016x}", u64::from_be_bytes(name))
}

/// An entry held by this process.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    lock: Flock<File>,
    /// What it says.
    pub entry: Entry,
}

impl Record {
    /// Takes over an entry that nobody holds; `None` when somebody does, or it is gone.
    fn adopt(path: PathBuf) -> Result<Option<Self>, Error> {
        if !path.exists() {
            return Ok(None);
        }
        let Some(lock) = hold_lost(&path)? else {
            return Ok(None);
        };
        match parse(&lock, &path) {
            Ok(entry) => Ok(Some(Self { path, lock, entry })),
            Err(error) => {
                // Nothing can be put right from it, and it would stand in every sweep's way.
                remove(&path)?;
                Err(error)
            }
        }
    }

    /// Takes over the entry in a file that is held already, as a guardian gets it.
    ///
    /// # Errors
    /// The file holds no entry.
    pub fn inherit(path: PathBuf, file: File) -> Result<Self, Error> {
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
            Error::File {
                doing: "lock",
                path: path.clone(),
                source: errno.into(),
            }
        })?;
        let entry = parse(&lock, &path)?;
        Ok(Self { path, lock, entry })
    }

    /// When the entry was written, by the clock that dates files: what the dump wrote is younger.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        let written = self.lock.metadata().and_then(|meta| meta.modified());
        written.unwrap_or_else(|_| SystemTime::now())
    }

    /// Where the entry is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, whose lock a child that inherits it shares.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// Writes the entry as it is now.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self) -> Result<(), Error> {
        let failed = |source| Error::File {
            doing: "write",
            path: self.path.clone(),
            source,
        };
        let text = serde_json::to_vec(&self.entry).map_err(|error| failed(error.into()))?;
        // Written before it is cut: a reader after a kill between the two sees JSON and a tail.
        self.lock.write_all_at(&text, 0).map_err(failed)?;
        self.lock.set_len(text.len() as u64).map_err(failed)
    }

    /// Ends the entry: there is nothing left to put right.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn finish(self) -> Result<(), Error> {
        remove(&self.path)
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::File {
            doing: "remove",
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Opens and locks a file; `None` when somebody else holds it. A file that was removed between the
/// two is opened anew.
fn hold(path: &Path) -> Result<Option<Flock<File>>, Error> {
    let failed = |doing| {
        move |source| Error::File {
            doing,
            path: path.to_owned(),
            source,
        }
    };
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(path)
            .map_err(failed("open"))?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, errno)) => return Err(failed("lock")(errno.into())),
        };
        let ours = lock.metadata().map_err(failed("read"))?.ino();
        if fs::metadata(path).is_ok_and(|named| named.ino() == ours) {
            return Ok(Some(lock));
        }
    }
}

/// As [`hold`], with a moment's patience where the dump's own process is dead: its guardian may be
/// about to finish, or be dying with it.
fn hold_lost(path: &Path) -> Result<Option<Flock<File>>, Error> {
    let until = Instant::now() + LOST_WITHIN;
    loop {
        let held = hold(path)?;
        if held.is_some() || Instant::now() >= until || !is_lost(path) {
            return Ok(held);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Whether the file names a dump whose own process is dead.
fn is_lost(path: &Path) -> bool {
    let entry = File::open(path)
        .ok()
        .and_then(|file| parse(&file, path).ok());
    entry.is_some_and(|entry| !entry.owner.lives())
}

fn parse(file: &File, path: &Path) -> Result<Entry, Error> {
    let mut text = Vec::new();
    let mut reader = file;
    io::Seek::rewind(&mut reader)
        .and_then(|()| reader.take(ENTRY_MAX_BYTES).read_to_end(&mut text))
        .map_err(|source| Error::File {
            doing: "read",
            path: path.to_owned(),
            source,
        })?;
    // The first value counts: see `Record::write` for what may follow it.
    let mut values = serde_json::Deserializer::from_slice(&text).into_iter::<Entry>();
    let missing = || <serde_json::Error as serde::de::Error>::custom("the file is empty");
    values
        .next()
        .unwrap_or_else(|| Err(missing()))
        .map_err(|source| Error::Invalid {
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::process::ProcessId;

    fn entry(container: &str) -> Entry {
        Entry {
            container: container.to_owned(),
            state_dir: Path::new("/run/runc").join(container),
            owner: ProcessId { pid: 2, start: 20 },
            criu: None,
            init: ProcessId { pid: 3, start: 30 },
            freezer: None,
            network: None,
            fence: None,
            connections: false,
            pause_is_bounded: false,
            cgroup_flags: None,
            link_remaps: Vec::new(),
            image: PathBuf::from("/images/a"),
            partial: false,
            ends_container: false,
            unlock_after_end: false,
        }
    }

    #[test]
    fn refuses_a_second_dump_of_the_same_container() {
        let scratch = tempfile::tempdir().unwrap();
        let journal = Journal::open(scratch.path()).unwrap();
        let first = journal.begin(entry("a")).unwrap();
        assert!(matches!(journal.begin(entry("a")), Err(Error::Busy { .. })));
        let other = journal.begin(entry("b")).unwrap();
        first.finish().unwrap();
        journal.begin(entry("a")).unwrap().finish().unwrap();
        other.finish().unwrap();
    }

    #[test]
    fn never_writes_over_what_has_not_been_put_right() {
        let scratch = tempfile::tempdir().unwrap();
        let journal = Journal::open(scratch.path()).unwrap();
        drop(journal.begin(entry("a")).unwrap());
        assert!(matches!(
            journal.begin(entry("a")),
            Err(Error::Unfinished { .. })
        ));
        for record in journal.abandoned().unwrap() {
            record.unwrap().finish().unwrap();
        }
        journal.begin(entry("a")).unwrap().finish().unwrap();
    }

    #[test]
    fn finds_only_what_nobody_holds() {
        let scratch = tempfile::tempdir().unwrap();
        let journal = Journal::open(scratch.path()).unwrap();
        let held = journal.begin(entry("held")).unwrap();
        let left = journal.begin(entry("left")).unwrap();
        drop(left);
        let found: Vec<_> = journal.abandoned().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].as_ref().unwrap().entry.container, "left");
        let mut all: Vec<_> = journal.entries().into_iter().map(|e| e.container).collect();
        all.sort();
        assert_eq!(all, ["held", "left"]);
        drop(held);
    }

    #[test]
    fn reads_an_entry_whose_last_write_was_cut_off() {
        let scratch = tempfile::tempdir().unwrap();
        let journal = Journal::open(scratch.path()).unwrap();
        let record = journal.begin(entry("a")).unwrap();
        let path = record.path().to_owned();
        drop(record);
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(b"}tail of a longer entry");
        fs::write(&path, text).unwrap();
        let found = journal.abandoned().unwrap();
        assert_eq!(found[0].as_ref().unwrap().entry.container, "a");
    }

    #[test]
    fn removes_an_entry_that_says_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let journal = Journal::open(scratch.path()).unwrap();
        let path = scratch.path().join("journal/0.json");
        fs::write(&path, "garbage").unwrap();
        assert!(matches!(
            journal.abandoned().unwrap()[0],
            Err(Error::Invalid { .. })
        ));
        assert!(!path.exists());
    }
}
