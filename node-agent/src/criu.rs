//! A client for CRIU's RPC: one `criu swrk` process, typed requests, typed notifications.
//!
//! [`Swrk`] is the conversation, [`Handler`] answers what CRIU asks during a dump, [`Cancel`] ends
//! it from outside. Beside it: what a CRIU version is, what its log says, what its configuration
//! files say and what this binary can do beyond the protocol's own feature check.

pub mod abilities;
mod cancel;
pub mod config;
mod error;
mod event;
mod launch;
pub mod log;
pub mod messages;
mod process;
mod serving;
mod session;
mod tls;
mod transport;
mod version;

pub use cancel::{Cancel, Why};
pub use error::{Break, Error, Stop, Via};
pub use event::{Answer, Event, Handler};
pub use launch::Launch;
pub use serving::{Bounds, Serving};
pub use session::{Finished, Limits, Passed, Swrk};
pub use tls::Tls;
pub use version::Version;
