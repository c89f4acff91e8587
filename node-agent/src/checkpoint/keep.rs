//! What an image's directory holds beside CRIU's files, so that a container can be restored once all else of it is gone.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use nix::errno::Errno;

use super::{Error, copier::Copier};
use crate::{
    apart::Cgroup,
    criu::Cancel,
    layer::{self, Upper},
};

/// The file that tells of the container and of its dump.
pub const ABOUT: &str = "stillframe.json";
/// The member of [`ABOUT`] that the engine adds: CRIU's version.
const CRIU: &str = "criu";

/// What is kept.
#[derive(Debug, Clone, Default)]
pub struct Keep {
    /// Small files by their names, written before the container is touched.
    pub files: Vec<(&'static str, Vec<u8>)>,
    /// What [`ABOUT`] tells; nothing is written where it is empty.
    pub about: serde_json::Map<String, serde_json::Value>,
    /// The container's changed files, which are saved while it stands still.
    pub rootfs: Option<Rootfs>,
}

/// A container's changed files.
#[derive(Debug, Clone)]
pub struct Rootfs {
    /// Where they are.
    pub upper: Arc<Upper>,
    /// The most bytes that they may take.
    pub most: u64,
}

/// What ends the saving of changed files early.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until<'a> {
    pub(super) deadline: Option<Instant>,
    pub(super) cancel: &'a Cancel,
}

impl Keep {
    /// Writes everything but the changed files into an image's directory.
    pub(super) fn write(&self, dir: &Path, criu: &str) -> Result<(), Error> {
        for (name, content) in &self.files {
            write(&dir.join(name), content)?;
        }
        if self.about.is_empty() {
            return Ok(());
        }
        let mut about = self.about.clone();
        about.insert(CRIU.to_owned(), criu.into());
        let mut text = serde_json::to_vec_pretty(&about).map_err(|error| Error::Write {
            path: dir.join(ABOUT),
            source: error.into(),
        })?;
        text.push(b'\n');
        write(&dir.join(ABOUT), &text)
    }
}

/// Changed files whose archive is there, empty, with a process that waits to write it.
#[derive(Debug)]
pub(super) struct Saving<'a> {
    rootfs: &'a Rootfs,
    path: PathBuf,
    copier: Copier,
}

impl<'a> Saving<'a> {
    /// Makes ready in an image's directory.
    pub(super) fn prepare(
        rootfs: &'a Rootfs,
        dir: &Path,
        cgroup: Option<&Cgroup>,
    ) -> Result<Self, Error> {
        let path = dir.join(layer::FILE);
        let copier = create(&path).and_then(|file| Copier::start(file, cgroup));
        match copier {
            Ok(copier) => Ok(Self {
                rootfs,
                path,
                copier,
            }),
            Err(source) => Err(Error::Write { path, source }),
        }
    }

    /// Writes the archive; what it does not hold comes back.
    pub(super) fn save(self, until: Until<'_>) -> Result<Vec<String>, Error> {
        let Self {
            rootfs,
            path,
            copier,
        } = self;
        let limits = layer::Limits {
            until: until.deadline,
            called_off: &|| until.cancel.why().is_some(),
            most: rootfs.most,
        };
        let written = rootfs.upper.write(copier.sink(until), &limits);
        let is_broken = |error: &layer::Error| error.errno() == Some(Errno::EPIPE);
        let written = match written {
            // The copier says why it ended.
            Err(error) if !is_broken(&error) => return Err(error.into()),
            written => written,
        };
        let failed = |source| Error::Write {
            path: path.clone(),
            source,
        };
        match copier.finish(until) {
            None => return Err(layer::Error::Interrupted.into()),
            Some(done) => done.map_err(failed)?,
        }
        Ok(written?.warnings)
    }
}

fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let written = create(path).and_then(|mut file| file.write_all(content));
    written.map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}

/// A new file that nobody but root may read.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use serde_json::json;

    use super::*;

    #[test]
    fn files_are_root_s_alone_and_tell_which_criu_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let about = json!({"node": "n1"});
        let keep = Keep {
            files: vec![("spec.dump", b"{}".to_vec())],
            about: about.as_object().unwrap().clone(),
            rootfs: None,
        };
        keep.write(dir.path(), "4.2").unwrap();
        let mode = |name: &str| {
            let meta = fs::metadata(dir.path().join(name)).unwrap();
            meta.permissions().mode() & 0o777
        };
        assert_eq!((mode("spec.dump"), mode(ABOUT)), (0o600, 0o600));
        let text = fs::read(dir.path().join(ABOUT)).unwrap();
        let about: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(about, json!({"node": "n1", "criu": "4.2"}));
        // What is there already is somebody else's.
        assert!(keep.write(dir.path(), "4.2").is_err());
    }

    #[test]
    fn nothing_is_written_where_nothing_is_to_be_kept() {
        let dir = tempfile::tempdir().unwrap();
        Keep::default().write(dir.path(), "4.2").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
