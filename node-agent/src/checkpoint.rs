//! The verb: everything that happens between "checkpoint this container" and a complete image.

mod report;
mod request;

pub use report::{Report, Step};
pub use request::{
    CgroupsMode, Image, Kind, NetworkLock, Options, PageServer, Parent, Request, RequestError,
};
