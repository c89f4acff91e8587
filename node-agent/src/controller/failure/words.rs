//! The engine's words for its failures, and the API's for the same.

use stillframe_crds::Reason::{
    self, Cancelled, CheckpointUnderWay, ContainerReplaced, CriuConfigUnusable, CriuDied,
    CriuFailed, CriuNotFound, CriuNotStarted, CriuOptionNotAllowed, CriuTooOld, ExternalMount,
    ForeignCgroup, ImageIncomplete, ImagePathTaken, ImagePathUnusable, InternalError,
    JournalUnusable, LazyPagesUnguarded, MissingFeature, NetworkLockUnavailable,
    NetworkRulesUnreadable, NeverStill, NoSoftDirty, ParentNotLatest, PauseTooLong, PublishFailed,
    RootfsDiffFailed, StateUnreadable, TimedOut, UnsupportedProcess,
};

/// Each word that an error of the engine gives as its reason, see `reason()` of those errors.
pub(super) const WORDS: &[(&str, Reason)] = &[
    // CRIU and the conversation with it
    ("CriuNotFound", CriuNotFound),
    ("CriuNotStarted", CriuNotStarted),
    ("CriuTooOld", CriuTooOld),
    ("CriuDied", CriuDied),
    ("CriuFailed", CriuFailed),
    ("CriuExitedBadly", CriuFailed),
    ("CriuUnintelligible", CriuFailed),
    ("SystemCallFailed", InternalError),
    ("Refused", InternalError),
    ("Cancelled", Cancelled),
    ("TimedOut", TimedOut),
    ("PauseTooLong", PauseTooLong),
    // Its configuration files
    ("CriuOptionNotAllowed", CriuOptionNotAllowed),
    ("CriuOptionInvalid", CriuConfigUnusable),
    ("CriuConfigMalformed", CriuConfigUnusable),
    ("CriuConfigUntrusted", CriuConfigUnusable),
    ("CriuConfigUnreadable", CriuConfigUnusable),
    // What a dump needs
    ("NoSoftDirty", NoSoftDirty),
    ("MissingFeature", MissingFeature),
    ("NetworkLockUnavailable", NetworkLockUnavailable),
    ("NetworkRulesUnreadable", NetworkRulesUnreadable),
    ("LazyPagesUnguarded", LazyPagesUnguarded),
    ("CheckpointUnderWay", CheckpointUnderWay),
    ("JournalUnusable", JournalUnusable),
    ("GuardianNotStarted", JournalUnusable),
    ("InvalidStatusFd", InternalError),
    // The container
    ("ContainerEnded", ContainerReplaced),
    ("PidReused", ContainerReplaced),
    ("ContainerNotFound", ContainerReplaced),
    ("ForeignCgroup", ForeignCgroup),
    ("InvalidContainerId", StateUnreadable),
    ("ProcessInaccessible", StateUnreadable),
    ("StateUnreadable", StateUnreadable),
    ("StateMalformed", StateUnreadable),
    ("SystemdNotRunning", StateUnreadable),
    ("CgroupInaccessible", StateUnreadable),
    ("FreezerStateUnknown", StateUnreadable),
    ("NamespaceUnreachable", StateUnreadable),
    ("MaskedPathUnreachable", StateUnreadable),
    ("MountPointNotUtf8", ExternalMount),
    ("ProcessTraced", UnsupportedProcess),
    ("ParentNotLatest", ParentNotLatest),
    ("FreezeTimeout", NeverStill),
    ("NeverStill", NeverStill),
    ("RootfsDiffFailed", RootfsDiffFailed),
    // The image
    ("DirectoryUnusable", ImagePathUnusable),
    ("WriteFailed", ImagePathUnusable),
    ("ImageExists", ImagePathTaken),
    ("ImageUnreadable", ImageIncomplete),
    ("ImageMalformed", ImageIncomplete),
    ("ImageIncomplete", ImageIncomplete),
    ("ImageNotChanged", PublishFailed),
    ("ImageNotFlushed", PublishFailed),
    ("ImageNotNamed", PublishFailed),
    ("PublishFailed", PublishFailed),
];

/// The API's word for the engine's.
pub(super) fn reason(word: &str) -> Reason {
    let found = WORDS.iter().find(|(engine, _)| *engine == word);
    found.map_or(InternalError, |(_, reason)| *reason)
}
