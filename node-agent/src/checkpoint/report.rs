//! What a checkpoint came to, and the steps it passes on the way.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::Serialize;

/// A finished checkpoint.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The image directory under its final name.
    pub image_path: PathBuf,
    /// Where `dump.log` and `stats-dump` are.
    pub work_path: PathBuf,
    /// Bytes of all files in the image directory.
    pub size_bytes: u64,
    /// Files in the image directory.
    pub files: u64,
    /// `sha256:…` over the sorted names and contents of the image; unset when not asked for.
    pub digest: Option<String>,
    /// Measured by us: from the first freeze or seize to the thaw, in microseconds. Unset for a
    /// pre-dump, for which CRIU gives no signal; its own figure is in `stats`.
    pub pause_microseconds: Option<u64>,
    /// From the start to CRIU's answer, in microseconds.
    pub dump_microseconds: u64,
    /// From CRIU's answer to the published image (fsync, digest, rename), in microseconds.
    pub publish_microseconds: u64,
    /// CRIU's own statistics; unset when it wrote none.
    pub stats: Option<crate::images::DumpStats>,
    /// CRIU's version, such as `4.2.1`.
    pub criu_version: String,
    /// The lock that was used: `iptables`, `nftables` or `skip`; unset where the site's
    /// configuration decides.
    pub network_lock: Option<String>,
    /// Things worth knowing that did not fail the checkpoint.
    pub warnings: Vec<String>,
}

/// Where a checkpoint stands; what `--progress` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// CRIU has been started and asked.
    Requested,
    /// Tasks are being stopped.
    Freezing,
    /// All tasks stand still; the dump is written.
    Dumping,
    /// Everything is written, tasks still stand.
    Dumped,
    /// Lazy pages can be fetched.
    Serving,
    /// Tasks run again, or have ended.
    Released,
    /// The image is checked, flushed and named.
    Publishing,
    /// How long the container stood still, once known.
    Done(Duration),
}

/// Is told of each step as it is reached.
pub trait Observer: std::fmt::Debug {
    /// A step has been reached.
    fn step(&mut self, step: Step);

    /// All of this half of the image is written and proved. Asked whether the other half has arrived as
    /// well, where memory went elsewhere: while the tasks still stand if they are to end, and otherwise
    /// before the image gets its final name. To be answered by then.
    ///
    /// # Errors
    /// That it has not, in words; the checkpoint has failed then, and the container goes on.
    fn confirm(&mut self, until: Option<Instant>) -> Result<(), String> {
        let _ = until;
        Ok(())
    }

    /// The image is complete and gets its final name next: what the report will say, but for
    /// `publish_microseconds`. Whoever notes it now knows of a found image how it was made.
    fn complete(&mut self, report: &Report) {
        let _ = report;
    }
}
