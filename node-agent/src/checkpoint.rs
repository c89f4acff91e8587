//! The verb: everything that happens between "checkpoint this container" and a complete image.
//!
//! [`run`] is the way of a request: `target` looks, `plan` decides what CRIU is sent, `lock` chooses
//! the network lock, `chain` knows what a dump can build on, `watch` answers CRIU's notifications,
//! `keep` writes what a restore needs beside CRIU's files, the [`Report`] says what came of it. For
//! when things go wrong, `journal` notes what is under way, `repair` puts right what it names, and
//! [`guardian`] does so when this process is killed.

mod chain;
mod connections;
pub mod copier;
mod dirs;
mod engine;
mod error;
mod fence;
pub mod guardian;
pub mod journal;
mod keep;
pub mod lock;
mod plan;
mod prepare;
pub mod process;
mod publish;
pub mod remap;
pub mod repair;
mod report;
mod request;
mod run;
mod status_fd;
pub mod still;
mod target;
mod watch;

pub use engine::Engine;
pub use error::Error;
pub use fence::{Admitted, InvalidNetwork, Network};
pub use keep::{ABOUT, Keep, Rootfs};
pub use report::{Observer, Report, Step};
pub use request::{
    CgroupsMode, Image, Kind, NetworkLock, Options, PageServer, Parent, Request, RequestError, Tls,
};
pub use run::run;
pub use target::config_of;
