//! Which image holds the last tracked dump of a process: the only one that another dump can build on.
//!
//! The kernel keeps one bit for each page, and each tracked dump clears it. What an image on top of any other parent takes from it
//! is older than the process's memory, and nobody notices before the restored process does. Objects come and go and cannot tell;
//! a note beside the journal can: it is broken before CRIU begins, and names an image again once that is complete.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{journal::name_of, process::ProcessId};

/// The file that CRIU writes into each image, pre-dumps included, and nobody changes.
const INVENTORY: &str = "inventory.img";

/// The note of one process.
#[derive(Debug)]
pub(super) struct Chain {
    path: PathBuf,
    init: ProcessId,
}

/// What it says.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// The container's first process.
    init: ProcessId,
    /// The image of its last tracked dump; none while there is no telling.
    last: Option<ImageId>,
}

/// An image, by what a new name leaves as it is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ImageId {
    device: u64,
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl ImageId {
    fn of(dir: &Path) -> io::Result<Self> {
        let inventory = fs::symlink_metadata(dir.join(INVENTORY))?;
        Ok(Self {
            device: inventory.dev(),
            inode: inventory.ino(),
            seconds: inventory.mtime(),
            nanoseconds: inventory.mtime_nsec(),
        })
    }
}

impl Chain {
    /// The note about the first process of the container with this state directory.
    pub(super) fn of(run_dir: &Path, state_dir: &Path, init: ProcessId) -> Self {
        Self {
            path: run_dir.join("chains").join(name_of(state_dir)),
            init,
        }
    }

    /// Whether this directory holds the process's last tracked dump. What cannot be told does not.
    pub(super) fn ends_with(&self, image: &Path) -> bool {
        let note = read(&self.path).filter(|note| note.init == self.init);
        let last = note.and_then(|note| note.last);
        last.is_some_and(|last| ImageId::of(image).is_ok_and(|this| this == last))
    }

    /// Notes that a tracked dump begins: until it is complete nothing can build on anything. Takes the notes away of
    /// processes that have ended.
    ///
    /// # Errors
    /// It could not be noted; CRIU must not begin then.
    pub(super) fn break_off(&self) -> io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        for entry in fs::read_dir(dir)?.flatten() {
            if read(&entry.path()).is_none_or(|note| !note.init.lives()) {
                let _ = fs::remove_file(entry.path());
            }
        }
        self.write(None)
    }

    /// Notes that this directory holds the last tracked dump.
    ///
    /// # Errors
    /// It could not be noted, and cannot be built on.
    pub(super) fn continue_with(&self, image: &Path) -> io::Result<()> {
        self.write(Some(ImageId::of(image)?))
    }

    fn write(&self, last: Option<ImageId>) -> io::Result<()> {
        let note = Note {
            init: self.init,
            last,
        };
        let new = self.path.with_extension("new");
        fs::write(&new, serde_json::to_vec(&note)?)?;
        fs::rename(new, &self.path)
    }
}

fn read(path: &Path) -> Option<Note> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(root: &Path, name: &str) -> PathBuf {
        let dir = root.join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(INVENTORY), name).unwrap();
        dir
    }

    #[test]
    fn only_the_last_complete_tracked_dump_of_the_same_process_can_be_built_on() {
        let scratch = tempfile::tempdir().unwrap();
        let (first, second) = (image(scratch.path(), "1"), image(scratch.path(), "2"));
        let ours = ProcessId::ours().unwrap();
        let chain = Chain::of(scratch.path(), Path::new("/run/runc/a"), ours);
        assert!(!chain.ends_with(&first), "nothing is known yet");
        chain.break_off().unwrap();
        chain.continue_with(&first).unwrap();
        assert!(chain.ends_with(&first));
        assert!(!chain.ends_with(&second));
        assert!(!chain.ends_with(&scratch.path().join("gone")));

        // Another name is the same image.
        let renamed = scratch.path().join("renamed");
        fs::rename(&first, &renamed).unwrap();
        assert!(chain.ends_with(&renamed));

        // A dump that has begun and did not end well.
        chain.break_off().unwrap();
        assert!(!chain.ends_with(&renamed));
        chain.continue_with(&second).unwrap();
        assert!(!chain.ends_with(&renamed));

        // The container was started again, or it is another one.
        let later = ProcessId {
            start: ours.start + 1,
            ..ours
        };
        let again = Chain::of(scratch.path(), Path::new("/run/runc/a"), later);
        assert!(!again.ends_with(&second));
        let other = Chain::of(scratch.path(), Path::new("/run/runc/b"), ours);
        assert!(!other.ends_with(&second));
    }

    #[test]
    fn notes_of_the_dead_go() {
        let scratch = tempfile::tempdir().unwrap();
        let dead = ProcessId {
            pid: i32::MAX,
            start: 1,
        };
        let gone = Chain::of(scratch.path(), Path::new("/run/runc/gone"), dead);
        gone.break_off().unwrap();
        assert!(gone.path.exists());
        let ours = ProcessId::ours().unwrap();
        let chain = Chain::of(scratch.path(), Path::new("/run/runc/a"), ours);
        chain.break_off().unwrap();
        assert!(!gone.path.exists() && chain.path.exists());
    }
}
