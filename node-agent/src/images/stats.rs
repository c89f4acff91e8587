//! `stats-dump`: CRIU's own figures of a dump.

use serde::Serialize;

/// CRIU's `dump_stats_entry`. Times are microseconds, pages are 4 KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DumpStats {
    /// From the start of collecting the tree until every task is seized.
    pub freezing_time: u32,
    /// From then until tasks are resumed or killed.
    pub frozen_time: u32,
    /// Collecting pages.
    pub memdump_time: u32,
    /// Writing pages; nested in `memdump_time` for a dump.
    pub memwrite_time: u32,
    /// Pages looked at.
    pub pages_scanned: u64,
    /// Pages that the parent image already holds.
    pub pages_skipped_parent: u64,
    /// Pages written.
    pub pages_written: u64,
    /// Pages left to be served.
    pub pages_lazy: u64,
    /// Pipes used to carry pages.
    pub page_pipes: u64,
    /// Buffers of those pipes.
    pub page_pipe_bufs: u64,
    /// Shared-memory pages looked at.
    pub shpages_scanned: u64,
    /// Shared-memory pages that the parent image already holds.
    pub shpages_skipped_parent: u64,
    /// Shared-memory pages written.
    pub shpages_written: u64,
}
