//! Remembers which versions of an object our own writes have replaced, so that a cache that has
//! not heard of them yet is not taken for the truth, which would cost a request that must fail.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use stillframe_crds::ContainerCheckpoint;

/// The versions that were replaced, by the object's UID.
#[derive(Debug, Default)]
pub struct Written(Mutex<HashMap<String, Vec<String>>>);

impl Written {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `earlier` was replaced by `later`.
    pub fn note(&self, earlier: &ContainerCheckpoint, later: &ContainerCheckpoint) {
        let (before, after) = (&earlier.metadata, &later.metadata);
        if before.resource_version == after.resource_version {
            return;
        }
        if let (Some(uid), Some(version)) = (&before.uid, &before.resource_version) {
            let mut all = self.lock();
            all.entry(uid.clone()).or_default().push(version.clone());
        }
    }

    /// Whether a write of ours has replaced this version. The event of a later one is on its way.
    /// Once that has been seen, nothing of the object is remembered.
    #[must_use]
    pub fn has_replaced(&self, seen: &ContainerCheckpoint) -> bool {
        let (Some(uid), Some(version)) = (&seen.metadata.uid, &seen.metadata.resource_version)
        else {
            return false;
        };
        let mut all = self.lock();
        let Some(versions) = all.get(uid) else {
            return false;
        };
        let replaced = versions.contains(version);
        if !replaced {
            all.remove(uid);
        }
        replaced
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn a_version_that_was_replaced_is_known_until_a_later_one_is_seen() {
        let written = Written::default();
        let object = |version: &str| {
            let mut object = fixtures::checkpoint("one");
            object.metadata.resource_version = Some(version.to_owned());
            object
        };
        let (first, second, third) = (object("1"), object("2"), object("3"));
        assert!(!written.has_replaced(&first));
        written.note(&first, &second);
        written.note(&second, &third);
        assert!(written.has_replaced(&first));
        assert!(written.has_replaced(&second));
        assert!(!written.has_replaced(&third));
        assert!(
            !written.has_replaced(&first),
            "the note is gone once it has served"
        );
    }

    #[test]
    fn a_write_that_changed_nothing_replaces_nothing() {
        let written = Written::default();
        let object = fixtures::checkpoint("one");
        written.note(&object, &object);
        assert!(!written.has_replaced(&object));
    }
}
