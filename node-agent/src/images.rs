//! CRIU's image directory: reading what the engine needs of it, proving it complete, publishing it.
//!
//! Whoever can write an image directory may have put anything there, so nothing here follows a
//! link, opens what is no regular file, or reads without a bound.

mod error;
mod folder;
mod freezer;
mod inventory;
mod pagemap;
mod publish;
mod records;
mod stats;
mod verify;
pub mod withdraw;

pub use error::Error;
pub use folder::Folder;
pub use freezer::record_thawed;
pub use inventory::{Inventory, NetworkLock, nftables_table};
pub use publish::{Size, allocated, digest, flush, measure, name};
pub use stats::DumpStats;
pub use verify::{Kind, Pages, Verified, verify};
pub use withdraw::withdraw;
