//! Containers that are dumped by ours, or by the real runc, and brought back by their runtime with what they held in memory.
//!
//! Each case is run with both programs, so that the cases themselves are known to be right.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "what goes wrong in a test ends it, with an explanation"
)]

/// Makes two tests of each function that takes a [`rig::Program`].
macro_rules! with_both_programs {
    ($($(#[$attribute:meta])* $name:ident)*) => {
        mod with_ours {
            $($(#[$attribute])* #[test] #[ignore = "needs the node root: run make test"]
            fn $name() { super::$name(rig::Program::Ours); })*
        }
        mod with_runc {
            $($(#[$attribute])* #[test] #[ignore = "needs the node root: run make test"]
            fn $name() { super::$name(rig::Program::Runc); })*
        }
    };
}

#[path = "restores/files.rs"]
mod files;
#[path = "restores/flags.rs"]
mod flags;
#[path = "restores/journey.rs"]
mod journey;
#[path = "restores/network.rs"]
mod network;
#[path = "restores/own.rs"]
mod own;
#[path = "restores/pages.rs"]
mod pages;
#[path = "restores/shapes.rs"]
mod shapes;
