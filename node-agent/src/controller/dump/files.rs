//! The files that a container has changed: to be saved, or only looked for.

use std::sync::Arc;

use stillframe_crds::{Reason, checkpoint, condition};

use crate::{
    checkpoint::Rootfs,
    controller::{
        failed::{Failed, chain},
        order::Order,
        restorable::FilesAre,
    },
    layer::{Marks, Upper},
    runtime::{Container, Status, overlay},
};

/// What an archive may take beside what its files took when they were looked at: they may grow until the container stands still.
const BESIDE: u64 = 1 << 20;
/// As much of a path as is told.
const SHOWN_BYTES: usize = 256;

/// What is to be saved, if anything is, and the most that it may take.
pub(super) fn wanted(order: &Order, container: &Container) -> Result<Option<Rootfs>, Failed> {
    if order.rootfs == checkpoint::Rootfs::None {
        return Ok(None);
    }
    let failed = |error: &dyn std::error::Error| Failed::of(Reason::RootfsDiffFailed, chain(error));
    let overlay = overlay::of(container)
        .map_err(|error| Failed::of(Reason::RootfsNotOverlay, chain(&error)))?;
    let upper = open(&overlay).map_err(|error| failed(&error))?;
    let size = upper.size().map_err(|error| failed(&error))?;
    Ok(Some(Rootfs {
        upper: Arc::new(upper),
        most: most(size.bytes),
    }))
}

/// An eighth more, as for memory.
fn most(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 8).saturating_add(BESIDE)
}

/// Whether there is anything that was not saved.
pub(super) fn lost(container: &Container) -> FilesAre {
    let unknown = |error: &dyn std::error::Error| {
        let ended = matches!(container.status(), Ok(Status::Stopped));
        let gone = "the container has ended, and they went with it";
        FilesAre::Unknown(if ended { gone.to_owned() } else { chain(error) })
    };
    let overlay = match overlay::of(container) {
        Ok(overlay) => overlay,
        Err(error) => return unknown(&error),
    };
    let mounts: Vec<_> = container
        .mounts
        .iter()
        .map(|mount| mount.destination.clone())
        .collect();
    match open(&overlay).and_then(|upper| upper.first_change(&mounts)) {
        Ok(None) => FilesAre::Unchanged,
        Ok(Some(path)) => {
            let path = path.to_string_lossy();
            FilesAre::Lost(condition::cut(&path, SHOWN_BYTES).to_owned())
        }
        Err(error) => unknown(&error),
    }
}

fn open(overlay: &overlay::Overlay) -> Result<Upper, crate::layer::Error> {
    let marks = if overlay.user_marks {
        Marks::User
    } else {
        Marks::Trusted
    };
    Upper::open(&overlay.upper, marks)
}
