//! What is known at a dump of the restore that may follow.

use std::path::PathBuf;

use stillframe_crds::checkpoint::Rootfs;

use super::files;
use crate::{
    controller::{
        kept,
        order::Order,
        restorable::{self, Facts, FilesAre, PagesAre, ParentIs, Verdict},
    },
    runtime::Container,
};

/// What is known of an image's restore.
pub(super) struct Restore<'a> {
    pub(super) order: &'a Order,
    pub(super) container: &'a Container,
    /// Where the image that it builds on is.
    pub(super) parent: Option<PathBuf>,
    pub(super) known: &'a kept::Known,
    /// The changed files that are not saved, where they had to be looked for before the dump.
    pub(super) files: Option<FilesAre>,
    pub(super) verdict: Option<Verdict>,
}

impl Restore<'_> {
    /// Whether the image that is complete now can be restored once its pod is gone.
    pub(super) fn judge(&self) -> Verdict {
        let saved = self.order.rootfs == Rootfs::Diff;
        let files = if saved || self.order.options.pre_dump {
            FilesAre::Kept
        } else {
            let looked = self.files.clone();
            looked.unwrap_or_else(|| files::lost(self.container))
        };
        let about = &self.known.about;
        let spec = self.known.keep.files.iter();
        let spec = spec.into_iter().any(|(name, _)| *name == kept::SPEC);
        let parent = match &self.parent {
            None => ParentIs::None,
            Some(path) if path.is_dir() => ParentIs::There(path.display().to_string()),
            Some(path) => ParentIs::Gone(path.display().to_string()),
        };
        restorable::judge(&Facts {
            pre_dump: self.order.options.pre_dump,
            pages: PagesAre::of(&self.order.options),
            spec,
            files,
            parent,
            image: about.image.name.as_deref(),
            volumes: about.volumes(),
        })
    }
}
