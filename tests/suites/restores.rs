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

/// Makes a test of each function that takes a [`journey::Subject`].
macro_rules! cases {
    ($module:ident: $program:ident, $runtime:ident; $($name:ident)*) => {
        mod $module {
            $(#[test] #[ignore = "needs the node root: run make test"]
            fn $name() {
                super::$name(crate::journey::Subject {
                    program: rig::Program::$program,
                    runtime: rig::container::Runtime::$runtime,
                });
            })*
        }
    };
}

/// Makes tests of each function that takes a [`journey::Subject`]: with both programs on runc's containers, and with ours on
/// those of another runc and of crun.
macro_rules! on_every_runtime {
    ($($name:ident)*) => {
        cases! { ours_on_runc: Ours, Runc; $($name)* }
        cases! { runc_on_runc: Runc, Runc; $($name)* }
        cases! { ours_on_debians_runc: Ours, DebiansRunc; $($name)* }
        cases! { ours_on_crun: Ours, Crun; $($name)* }
    };
}

/// The same without crun.
macro_rules! on_every_runc {
    ($($name:ident)*) => {
        cases! { ours_on_any_runc: Ours, Runc; $($name)* }
        cases! { runc_on_any_runc: Runc, Runc; $($name)* }
        cases! { ours_on_another_runc: Ours, DebiansRunc; $($name)* }
    };
}

#[path = "restores/cgroups.rs"]
mod cgroups;
#[path = "restores/empty.rs"]
mod empty;
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
#[path = "restores/shell_job.rs"]
mod shell_job;
