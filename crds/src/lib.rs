//! The API of Stillframe: the one contract between the operator and the node agent.
//!
//! The crate holds data and pure helpers: no client, no runtime, no logging.
#![forbid(unsafe_code)]

pub mod advice;
pub mod checkpoint;
pub mod condition;
pub mod manifest;
pub mod names;
pub mod node;
pub mod reason;
pub mod receiver;
pub mod reference;

pub use checkpoint::{ContainerCheckpoint, ContainerCheckpointSpec};
pub use node::{CheckpointNode, CheckpointNodeSpec};
pub use reason::Reason;
pub use receiver::{PageReceiver, PageReceiverSpec};

/// API group of every Stillframe object.
pub const GROUP: &str = "stillframe.dev";

/// Version of the API that this build serves.
pub const VERSION: &str = "v1alpha1";
