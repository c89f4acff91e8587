//! CRIU's image directory: reading what the engine needs of it, proving it complete, publishing it.

mod stats;

pub use stats::DumpStats;
