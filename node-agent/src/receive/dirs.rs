//! The directories that pages are received into: under a name that is not final yet, and gone unless
//! it becomes so.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use super::{Error, Request};

/// The directories, open for CRIU. Dropping them removes what has not been published.
#[derive(Debug)]
pub(super) struct Dirs {
    pub(super) partial: PathBuf,
    pub(super) partial_file: File,
    pub(super) work: PathBuf,
    pub(super) work_file: Option<File>,
    published: bool,
}

impl Dirs {
    pub(super) fn prepare(request: &Request) -> Result<Self, Error> {
        let image = &request.image;
        if image.symlink_metadata().is_ok() {
            return Err(Error::ImageExists(image.clone()));
        }
        let partial = partial_name(image);
        // An empty one is what a process left that was killed before anything came.
        let _ = fs::remove_dir(&partial);
        if let Err(source) = make(&partial) {
            return Err(match source.kind() {
                io::ErrorKind::AlreadyExists => Error::InTheWay(partial),
                _ => failed("make", &partial)(source),
            });
        }
        let opened = open(&partial).and_then(|partial_file| {
            let work_file = request.work_dir.as_deref().map(work_dir).transpose()?;
            Ok((partial_file, work_file))
        });
        let (partial_file, work_file) = opened.inspect_err(|_| {
            let _ = fs::remove_dir(&partial);
        })?;
        Ok(Self {
            work: request.work_dir.clone().unwrap_or_else(|| partial.clone()),
            partial,
            partial_file,
            work_file,
            published: false,
        })
    }

    /// What is in the directory has its final name now.
    pub(super) fn published(&mut self) {
        self.published = true;
    }

    /// Removes what a sender left who did not send to the end.
    pub(super) fn clear(&self) {
        for entry in fs::read_dir(&self.partial).into_iter().flatten().flatten() {
            // What is left in the way shows when the next one is proved.
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Drop for Dirs {
    fn drop(&mut self) {
        if !self.published {
            // It was made by this call, and holds nothing but what CRIU put there since.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

fn work_dir(dir: &Path) -> Result<File, Error> {
    match make(dir) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(failed("make", dir)(source))
        }
        _ => open(dir),
    }
}

fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(dir)
}

fn open(dir: &Path) -> Result<File, Error> {
    File::open(dir).map_err(failed("open", dir))
}

fn failed(call: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Directory {
        call,
        path: path.to_owned(),
        source,
    }
}

fn partial_name(image: &Path) -> PathBuf {
    let mut name = OsString::from(image);
    name.push(".partial");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(image: PathBuf, work_dir: Option<PathBuf>) -> Request {
        Request {
            listen: "127.0.0.1:0".parse().unwrap(),
            from: Vec::new(),
            image,
            work_dir,
            tls: None,
            timeout: None,
        }
    }

    #[test]
    fn what_is_not_published_is_gone() {
        let scratch = tempfile::tempdir().unwrap();
        let image = scratch.path().join("a");
        let dirs = Dirs::prepare(&request(image.clone(), None)).unwrap();
        fs::write(dirs.partial.join("pages-1.img"), "x").unwrap();
        drop(dirs);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[test]
    fn names_that_are_taken_are_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let image = scratch.path().join("a");
        let reason = |work| {
            let refused = Dirs::prepare(&request(image.clone(), work)).unwrap_err();
            refused.reason()
        };
        let partial = partial_name(&image);
        fs::create_dir(&partial).unwrap();
        fs::write(partial.join("x"), "").unwrap();
        assert_eq!(reason(None), "ImagePathTaken");
        assert!(partial.join("x").exists());
        fs::remove_dir_all(&partial).unwrap();
        fs::create_dir(&image).unwrap();
        assert_eq!(reason(None), "ImageExists");
        fs::remove_dir(&image).unwrap();
        assert_eq!(
            reason(Some(scratch.path().join("no/work"))),
            "DirectoryUnusable"
        );
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
