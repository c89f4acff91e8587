//! The other end of a dump to a page server: receives a container's memory into a directory of this
//! node, complete or not at all.
//!
//! [`run`] listens, has CRIU's own page server receive over the connection, proves what came, brings it to
//! disk and gives it its name. `listener` waits for the sender, [`warden`] ends CRIU when this process is
//! killed.

mod dirs;
mod error;
mod listener;
mod report;
mod request;
mod run;
pub mod warden;

pub use error::Error;
pub use report::{Observer, Report};
pub use request::Request;
pub use run::run;
