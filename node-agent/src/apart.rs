//! Starting children apart from this process: in a cgroup of their own, in the host's mounts.

mod cgroup;
mod mounts;

pub use cgroup::{Cgroup, CgroupPath, Door, Error as CgroupError, Hierarchy, InvalidPath};
pub use mounts::{Error as MountsError, Mounts};
