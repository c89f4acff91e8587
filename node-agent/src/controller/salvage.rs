//! What ended its container is never thrown away: an image that only lacks its name gets it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use stillframe_crds::checkpoint::Options;

use crate::images::{self, Error, Folder, Kind, Pages};

/// The image directory while it is written.
pub(super) fn partial(image: &Path) -> PathBuf {
    let mut name = OsString::from(image);
    name.push(".partial");
    PathBuf::from(name)
}

/// Proves, flushes and names an image that a lost agent has written and not named, where its dump has
/// ended the container. Says whether there was one. To be called after the sweep, which has put away
/// whatever a container can do without.
///
/// # Errors
/// It is not complete, or cannot be flushed or named. It stays where it is.
pub(super) fn salvage(image: &Path, options: &Options) -> Result<bool, Error> {
    let unnamed = partial(image);
    if !options.ends_the_container() || !unnamed.is_dir() {
        return Ok(false);
    }
    let pages = if options.lazy_pages {
        Pages::Lazy
    } else if options.page_server.is_some() {
        Pages::Sent
    } else {
        Pages::Here
    };
    let folder = Folder::open(&unnamed)?;
    images::verify(&folder, Kind::Dump, pages)?;
    images::flush(&folder)?;
    images::name(&unnamed, image)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(leave_running: bool) -> Options {
        Options {
            leave_running,
            ..Options::default()
        }
    }

    #[test]
    fn nothing_is_salvaged_where_the_container_goes_on_or_nothing_is_left() {
        let scratch = tempfile::tempdir().unwrap();
        let image = scratch.path().join("a");
        assert!(!salvage(&image, &options(false)).unwrap());
        std::fs::create_dir(partial(&image)).unwrap();
        assert!(!salvage(&image, &options(true)).unwrap());
        assert!(!image.exists());
    }

    #[test]
    fn what_is_not_complete_stays_under_its_unfinished_name() {
        let scratch = tempfile::tempdir().unwrap();
        let image = scratch.path().join("a");
        std::fs::create_dir(partial(&image)).unwrap();
        assert!(salvage(&image, &options(false)).is_err());
        assert!(partial(&image).exists() && !image.exists());
    }
}
