//! What a container runtime left on disk about a container, read as hostile input.
//!
//! [`load()`] reads one state directory (runc's or crun's) into a [`Container`]; [`locate`] finds that
//! directory from a Kubernetes container id; [`guard`] makes sure that the recorded pid is still the
//! recorded process; [`external`] tells CRIU what lies outside the container; [`overlay`] where it keeps what it has changed of its
//! files; [`cgroup`] freezes;
//! [`destroy`] does what `runc checkpoint` does to a container that a dump has ended.

pub mod cgroup;
pub mod container;
mod crun;
pub mod destroy;
mod document;
pub mod error;
pub mod external;
pub mod guard;
mod load;
pub mod locate;
pub mod overlay;
pub(crate) mod proc_stat;
pub mod processes;
mod runc;
mod status;
#[cfg(test)]
mod tests;

pub use container::{
    Container, ContainerId, Flavour, Hook, Init, IntelRdt, Mount, MountKind, Namespace,
    NamespaceKind,
};
pub use error::Error;
pub use load::{load, oci_config};
pub use proc_stat::start_time;
pub use status::Status;
