//! The freezer's state that an image records, put right where it was our own doing.

use super::{Error, Folder};

/// The image of the cgroups.
const FILE_NAME: &str = "cgroup.img";

/// An image of thousands of cgroups is far smaller.
const SIZE_LIMIT: u64 = 64 << 20;

/// `cgroup_prop_entry { name: "freezer.state", value: "FROZEN" }` up to the value, as CRIU's
/// `images/cgroup.proto` (v4.2) puts it on disk.
const FROZEN_STATE: &[u8] = b"\x0a\x0dfreezer.state\x12\x06FROZEN";

/// The value to be there, of the same length.
const THAWED: &[u8] = b"THAWED";

/// Makes the image say that the container was not frozen.
///
/// CRIU saves the state in which it found the cgroup (`add_freezer_state` in `criu/cgroup.c`), and sets
/// it again at restore wherever it restores a cgroup's properties. A container whose cgroup we froze
/// for CRIU would then never wake.
///
/// # Errors
/// [`Error::Read`] and [`Error::Strange`]; [`Error::Change`] when the file cannot be written.
pub fn record_thawed(folder: &Folder) -> Result<(), Error> {
    let Some(content) = folder.read(FILE_NAME, SIZE_LIMIT)? else {
        return Ok(());
    };
    for start in frozen_values(&content) {
        folder.overwrite(FILE_NAME, start as u64, THAWED)?;
    }
    Ok(())
}

/// Where the values stand.
fn frozen_values(content: &[u8]) -> impl Iterator<Item = usize> {
    content
        .windows(FROZEN_STATE.len())
        .enumerate()
        .filter(|(_, window)| *window == FROZEN_STATE)
        .map(|(start, _)| start + FROZEN_STATE.len() - THAWED.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(content: &[u8]) -> Vec<u8> {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join(FILE_NAME);
        std::fs::write(&file, content).unwrap();
        record_thawed(&Folder::open(scratch.path()).unwrap()).unwrap();
        std::fs::read(file).unwrap()
    }

    #[test]
    fn a_frozen_state_becomes_thawed_and_nothing_else_changes() {
        let image = [b"head", FROZEN_STATE, b"\x1a\x02tail, FROZEN"].concat();
        let want = b"head\x0a\x0dfreezer.state\x12\x06THAWED\x1a\x02tail, FROZEN";
        assert_eq!(changed(&image), want);
        assert_eq!(changed(want), want);
        assert_eq!(changed(b""), b"");
    }

    #[test]
    fn an_image_without_cgroups_has_nothing_to_change() {
        let scratch = tempfile::tempdir().unwrap();
        record_thawed(&Folder::open(scratch.path()).unwrap()).unwrap();
        assert!(!scratch.path().join(FILE_NAME).exists());
    }

    #[test]
    fn a_link_is_not_followed() {
        let scratch = tempfile::tempdir().unwrap();
        let target = scratch.path().join("elsewhere");
        std::fs::write(&target, FROZEN_STATE).unwrap();
        std::os::unix::fs::symlink(&target, scratch.path().join(FILE_NAME)).unwrap();
        assert!(record_thawed(&Folder::open(scratch.path()).unwrap()).is_err());
        assert_eq!(std::fs::read(target).unwrap(), FROZEN_STATE);
    }
}
