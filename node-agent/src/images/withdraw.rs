//! Making sure that what a failed dump wrote is not taken for an image.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// What a restore looks for first.
const INVENTORY: &str = "inventory.img";

/// The inventory of a failed dump is still there.
#[derive(Debug, thiserror::Error)]
#[error("failed to remove {path}", path = .path.display())]
pub struct Error {
    path: PathBuf,
    source: io::Error,
}

/// Removes the inventory of a directory into which images were written `since` then; without it
/// nothing restores the directory. One that a failed dump has not touched keeps its image.
///
/// # Errors
/// The inventory is there and cannot be removed.
pub fn withdraw(dir: &Path, since: SystemTime) -> Result<(), Error> {
    if !was_written(dir, since) {
        return Ok(());
    }
    let path = dir.join(INVENTORY);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error { path, source }),
        _ => Ok(()),
    }
}

fn was_written(dir: &Path, since: SystemTime) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut images = entries.filter(|entry| {
        Path::new(&entry.file_name())
            .extension()
            .is_some_and(|end| end == "img")
    });
    images.any(|entry| {
        let changed = entry.metadata().and_then(|meta| meta.modified());
        changed.is_ok_and(|changed| changed >= since)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn image(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(dir.path().join(name), "").unwrap();
        }
        dir
    }

    #[test]
    fn an_image_that_was_written_into_is_none_any_more() {
        let dir = image(&["inventory.img", "core-1.img", "dump.log"]);
        withdraw(dir.path(), SystemTime::now() - Duration::from_mins(1)).unwrap();
        assert!(!dir.path().join("inventory.img").exists());
        assert!(dir.path().join("core-1.img").exists());
    }

    #[test]
    fn an_older_image_that_was_not_touched_stays() {
        let dir = image(&["inventory.img", "core-1.img"]);
        withdraw(dir.path(), SystemTime::now() + Duration::from_mins(1)).unwrap();
        assert!(dir.path().join("inventory.img").exists());
        let log_only = image(&["dump.log", "descriptors.json"]);
        withdraw(log_only.path(), SystemTime::UNIX_EPOCH).unwrap();
        withdraw(Path::new("/nonexistent"), SystemTime::UNIX_EPOCH).unwrap();
    }
}
