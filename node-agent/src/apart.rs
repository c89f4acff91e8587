//! Starting children apart from this process: in a cgroup of their own, in the host's mounts, or to outlive it.

mod cgroup;
mod mounts;
pub(crate) mod sentinel;

pub use cgroup::{Cgroup, CgroupPath, Door, Error as CgroupError, Hierarchy, InvalidPath};
pub use mounts::{Error as MountsError, Mounts};
pub(crate) use sentinel::Sentinel;
