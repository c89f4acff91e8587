//! Freezing a cgroup without losing a step of 100 ms to waiting, and never leaving it half frozen.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::runtime::cgroup::{Error, Version, gone};

/// First wait between two looks; doubled up to [`LONGEST_NAP`].
const FIRST_NAP: Duration = Duration::from_micros(100);
/// Longest wait between two looks.
const LONGEST_NAP: Duration = Duration::from_millis(1);
/// The v1 freezer misses tasks that are born while it works unless it is told again (kernel
/// documentation of freezer.state; `FreezerGroup.Set` of runc's cgroups library).
const TELL_AGAIN: Duration = Duration::from_millis(3);
/// How long a v1 freezer may stay on its way before it is thawed for a moment and frozen anew, which helps where
/// telling it again does not. Mirrors `cgroupv1_freezer_kludges` of CRIU 4.2, with shorter steps.
const START_OVER: Duration = Duration::from_millis(30);

/// A cgroup's freezer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freezer {
    dir: PathBuf,
    version: Version,
}

/// What a freezer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezerState {
    /// Its tasks run.
    Thawed,
    /// It was told to freeze, and some tasks still run.
    Freezing,
    /// It was told to freeze, and no task runs.
    Frozen,
    /// A cgroup above it is frozen, and it is not itself. runc calls that thawed.
    FrozenAbove,
}

/// What a successful [`Freezer::freeze`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Froze {
    /// It was thawed, and is frozen now: whoever asked owes a thaw.
    Now,
    /// It was frozen before: it has to stay so.
    Already,
}

impl Freezer {
    /// The freezer of the cgroup at `dir`, which is looked at only when asked.
    #[must_use]
    pub fn new(dir: &Path, version: Version) -> Self {
        Self {
            dir: dir.to_owned(),
            version,
        }
    }

    /// The cgroup's directory, CRIU's `freeze_cgroup`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Which kind of freezer it is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// What the freezer says now; `None` when there is none (the cgroup is gone, or the kernel too
    /// old). Mirrors `GetState` (v1) and `getFreezer` (v2) of runc's cgroups library, without
    /// waiting.
    ///
    /// # Errors
    /// The files cannot be read, or say something undocumented.
    pub fn state(&self) -> Result<Option<FreezerState>, Error> {
        let state = match self.version {
            Version::V1 | Version::Hybrid => self.state_v1(),
            Version::V2 => self.state_v2(),
        };
        match state {
            Ok(state) => Ok(Some(state)),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Freezes the cgroup and waits until no task runs, looking every 100 µs to 1 ms.
    ///
    /// # Errors
    /// The freezer cannot be used, or not every task stopped within `within`.
    ///
    /// # Guarantees
    /// On an error the cgroup is as it was: thawed again if it was not frozen before.
    pub fn freeze(&self, within: Duration) -> Result<Froze, Error> {
        let before = self.look()?;
        if before == FreezerState::Frozen {
            return Ok(Froze::Already);
        }
        // Told to freeze by somebody else, and not there yet: theirs, also if we give up.
        let theirs = before == FreezerState::Freezing;
        match self.freeze_until_still(within, theirs) {
            Ok(()) if theirs => Ok(Froze::Already),
            Ok(()) => Ok(Froze::Now),
            Err(error) => {
                if !theirs {
                    // The first error says more than one of this attempt would.
                    let _ = self.thaw();
                }
                Err(error)
            }
        }
    }

    /// Thaws the cgroup. One that is gone is thawed; tasks under a frozen parent stay still.
    ///
    /// # Errors
    /// The freezer cannot be written.
    pub fn thaw(&self) -> Result<(), Error> {
        match self.tell(false) {
            Err(error) if !error.is_gone() => Err(error),
            _ => Ok(()),
        }
    }

    fn freeze_until_still(&self, within: Duration, theirs: bool) -> Result<(), Error> {
        let begun = Instant::now();
        self.tell(true)?;
        let mut told = begun;
        let mut thawed = begun;
        let mut nap = FIRST_NAP;
        loop {
            if self.look()? == FreezerState::Frozen {
                return Ok(());
            }
            let now = Instant::now();
            if now.duration_since(begun) >= within {
                let waited_ms = now.duration_since(begun).as_millis();
                return Err(Error::FreezeTimeout {
                    dir: self.dir.clone(),
                    waited_ms,
                });
            }
            if self.version != Version::V2 && now.duration_since(told) >= TELL_AGAIN {
                if !theirs && now.duration_since(thawed) >= START_OVER {
                    self.tell(false)?;
                    thread::sleep(LONGEST_NAP);
                    thawed = now;
                }
                self.tell(true)?;
                told = now;
            }
            thread::sleep(nap);
            nap = (nap * 2).min(LONGEST_NAP);
        }
    }

    /// The state of a freezer that has to be there.
    fn look(&self) -> Result<FreezerState, Error> {
        match self.version {
            Version::V1 | Version::Hybrid => self.state_v1(),
            Version::V2 => self.state_v2(),
        }
    }

    fn tell(&self, freeze: bool) -> Result<(), Error> {
        let (name, word) = match (self.version, freeze) {
            (Version::V2, true) => ("cgroup.freeze", "1"),
            (Version::V2, false) => ("cgroup.freeze", "0"),
            (Version::V1 | Version::Hybrid, true) => ("freezer.state", "FROZEN"),
            (Version::V1 | Version::Hybrid, false) => ("freezer.state", "THAWED"),
        };
        let file = self.dir.join(name);
        let opened = fs::OpenOptions::new().write(true).open(&file);
        opened
            .and_then(|mut handle| std::io::Write::write_all(&mut handle, word.as_bytes()))
            .map_err(|source| Error::Write { file, source })
    }

    fn read(&self, name: &str) -> Result<String, Error> {
        let file = self.dir.join(name);
        fs::read_to_string(&file).map_err(|source| Error::Read { file, source })
    }

    fn state_v1(&self) -> Result<FreezerState, Error> {
        let state = self.read("freezer.state")?;
        match state.trim_end() {
            "THAWED" => Ok(FreezerState::Thawed),
            "FREEZING" => Ok(self.unless_from_above(FreezerState::Freezing)?),
            "FROZEN" => Ok(self.unless_from_above(FreezerState::Frozen)?),
            _ => Err(Error::UnknownState {
                file: self.dir.join("freezer.state"),
                state,
            }),
        }
    }

    /// A v1 cgroup shows its parents' state as its own; `freezer.self_freezing` tells them apart.
    fn unless_from_above(&self, own: FreezerState) -> Result<FreezerState, Error> {
        match self.read("freezer.self_freezing") {
            Ok(text) if text.trim_end() == "0" => Ok(FreezerState::FrozenAbove),
            Ok(text) if text.trim_end() == "1" => Ok(own),
            Ok(state) => Err(Error::UnknownState {
                file: self.dir.join("freezer.self_freezing"),
                state,
            }),
            // A kernel without that file.
            Err(Error::Read { source, .. }) if gone(&source) => Ok(own),
            Err(error) => Err(error),
        }
    }

    fn state_v2(&self) -> Result<FreezerState, Error> {
        let own = self.read("cgroup.freeze")?;
        let events = self.read("cgroup.events")?;
        let still = events.lines().any(|line| line == "frozen 1");
        match (own.trim_end(), still) {
            ("0", false) => Ok(FreezerState::Thawed),
            ("0", true) => Ok(FreezerState::FrozenAbove),
            ("1", false) => Ok(FreezerState::Freezing),
            ("1", true) => Ok(FreezerState::Frozen),
            _ => Err(Error::UnknownState {
                file: self.dir.join("cgroup.freeze"),
                state: own,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freezer(version: Version, files: &[(&str, &str)]) -> (tempfile::TempDir, Freezer) {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(dir.path().join(name), content).unwrap();
        }
        let freezer = Freezer::new(dir.path(), version);
        (dir, freezer)
    }

    fn state(version: Version, files: &[(&str, &str)]) -> Option<FreezerState> {
        freezer(version, files).1.state().unwrap()
    }

    #[test]
    fn v1_tells_its_own_state_from_its_parents() {
        let of = |state_file: &str, own: &str| {
            state(
                Version::V1,
                &[
                    ("freezer.state", state_file),
                    ("freezer.self_freezing", own),
                ],
            )
        };
        assert_eq!(of("THAWED\n", "0\n"), Some(FreezerState::Thawed));
        assert_eq!(of("FREEZING\n", "1\n"), Some(FreezerState::Freezing));
        assert_eq!(of("FROZEN\n", "1\n"), Some(FreezerState::Frozen));
        assert_eq!(of("FROZEN\n", "0\n"), Some(FreezerState::FrozenAbove));
        assert_eq!(
            state(Version::V1, &[("freezer.state", "FROZEN\n")]),
            Some(FreezerState::Frozen)
        );
    }

    #[test]
    fn v2_takes_both_files_together() {
        let of = |own: &str, events: &str| {
            state(
                Version::V2,
                &[("cgroup.freeze", own), ("cgroup.events", events)],
            )
        };
        assert_eq!(
            of("0\n", "populated 1\nfrozen 0\n"),
            Some(FreezerState::Thawed)
        );
        assert_eq!(
            of("1\n", "populated 1\nfrozen 0\n"),
            Some(FreezerState::Freezing)
        );
        assert_eq!(
            of("1\n", "populated 1\nfrozen 1\n"),
            Some(FreezerState::Frozen)
        );
        assert_eq!(
            of("0\n", "populated 1\nfrozen 1\n"),
            Some(FreezerState::FrozenAbove)
        );
    }

    #[test]
    fn no_freezer_is_no_state_and_nonsense_is_an_error() {
        assert_eq!(state(Version::V1, &[]), None);
        assert_eq!(state(Version::V2, &[]), None);
        let (_dir, odd) = freezer(Version::V1, &[("freezer.state", "COLD\n")]);
        assert_eq!(odd.state().unwrap_err().reason(), "FreezerStateUnknown");
    }

    #[test]
    fn what_does_not_freeze_in_time_is_told_to_thaw() {
        let files = [("cgroup.freeze", "0\n"), ("cgroup.events", "frozen 0\n")];
        let (dir, freezer) = freezer(Version::V2, &files);
        let error = freezer.freeze(Duration::from_millis(5)).unwrap_err();
        assert!(matches!(error, Error::FreezeTimeout { .. }), "{error}");
        // Without a kernel behind it, the file holds the last word written over it.
        let last = fs::read_to_string(dir.path().join("cgroup.freeze")).unwrap();
        assert_eq!(last, "0\n");
    }

    #[test]
    fn what_somebody_else_froze_stays_frozen() {
        let files = [("cgroup.freeze", "1\n"), ("cgroup.events", "frozen 1\n")];
        let (dir, freezer) = freezer(Version::V2, &files);
        assert_eq!(freezer.freeze(Duration::ZERO).unwrap(), Froze::Already);
        let kept = fs::read_to_string(dir.path().join("cgroup.freeze")).unwrap();
        assert_eq!(kept, "1\n");
    }

    #[test]
    fn what_somebody_else_is_freezing_is_not_thawed_by_us() {
        let files = [("cgroup.freeze", "1\n"), ("cgroup.events", "frozen 0\n")];
        let (dir, freezer) = freezer(Version::V2, &files);
        assert!(freezer.freeze(Duration::from_millis(2)).is_err());
        let kept = fs::read_to_string(dir.path().join("cgroup.freeze")).unwrap();
        assert_eq!(kept, "1\n");
    }
}
