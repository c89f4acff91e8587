//! The directories of a dump: made by runc's rules, or under a name that is no image's yet.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::{Error, Image, Request};

/// The directories of a dump, open for CRIU.
#[derive(Debug)]
pub(super) struct Dirs {
    pub(super) image: PathBuf,
    pub(super) image_file: File,
    pub(super) work: PathBuf,
    pub(super) work_file: Option<File>,
    /// There were files before the dump.
    pub(super) mixed: bool,
}

impl Dirs {
    pub(super) fn prepare(request: &Request) -> Result<Self, Error> {
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
                // An empty one is what a process left that was killed before it wrote its journal.
                let _ = fs::remove_dir(&partial);
                make(&partial, false)?;
                partial
            }
        };
        let image_file = open(&image)?;
        let mixed = fs::read_dir(&image).is_ok_and(|mut entries| entries.next().is_some());
        let work_file = match request.work_dir.as_deref().map(work_dir).transpose() {
            Ok(file) => file,
            Err(error) => {
                if matches!(request.image, Image::Publish { .. }) {
                    let _ = fs::remove_dir(&image);
                }
                return Err(error);
            }
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

fn work_dir(dir: &Path) -> Result<File, Error> {
    make(dir, true)?;
    open(dir)
}

/// The name of an image that is not complete yet.
fn partial_name(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

fn make(dir: &Path, may_exist: bool) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(said) if !(may_exist && said.kind() == io::ErrorKind::AlreadyExists) => {
            Err(Error::Directory {
                call: "mkdir",
                path: dir.to_owned(),
                said,
            })
        }
        _ => Ok(()),
    }
}

fn open(dir: &Path) -> Result<File, Error> {
    File::open(dir).map_err(|said| Error::Directory {
        call: "open",
        path: dir.to_owned(),
        said,
    })
}
