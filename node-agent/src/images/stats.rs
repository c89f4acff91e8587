//! `stats-dump`: CRIU's own figures of a dump.

use serde::Serialize;

use super::{Error, Folder, records::Records};

/// `IMG_SERVICE_MAGIC`, `STATS_MAGIC` (`criu/include/magic.h`).
const MAGICS: [u32; 2] = [0x5510_5940, 0x5709_3306];
const FILE_NAME: &str = "stats-dump";
/// One record of fourteen numbers.
const SIZE_LIMIT: u64 = 64 * 1024;

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

impl DumpStats {
    /// Reads `stats-dump` in the work directory; `None` when CRIU has written none.
    ///
    /// # Errors
    /// When there is something of that name that CRIU did not write.
    pub fn read(work: &Folder) -> Result<Option<Self>, Error> {
        work.read(FILE_NAME, SIZE_LIMIT)?
            .map(|content| Self::parse(&content))
            .transpose()
    }

    /// Reads the content of a `stats-dump`.
    ///
    /// # Errors
    /// When it is not what CRIU writes after a dump.
    pub fn parse(content: &[u8]) -> Result<Self, Error> {
        let mut records = Records::open(content, FILE_NAME, &MAGICS)?;
        let stats: StatsEntry = records.one()?;
        let dump = stats
            .dump
            .ok_or_else(|| records.strange("is not of a dump"))?;
        Ok(Self {
            freezing_time: dump.freezing_time,
            frozen_time: dump.frozen_time,
            memdump_time: dump.memdump_time,
            memwrite_time: dump.memwrite_time,
            pages_scanned: dump.pages_scanned,
            pages_skipped_parent: dump.pages_skipped_parent,
            pages_written: dump.pages_written,
            pages_lazy: dump.pages_lazy,
            page_pipes: dump.page_pipes.unwrap_or(0),
            page_pipe_bufs: dump.page_pipe_bufs.unwrap_or(0),
            shpages_scanned: dump.shpages_scanned.unwrap_or(0),
            shpages_skipped_parent: dump.shpages_skipped_parent.unwrap_or(0),
            shpages_written: dump.shpages_written.unwrap_or(0),
        })
    }
}

/// `images/stats.proto`.
#[derive(Clone, PartialEq, prost::Message)]
struct StatsEntry {
    #[prost(message, optional, tag = "1")]
    dump: Option<DumpStatsEntry>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DumpStatsEntry {
    #[prost(uint32, required, tag = "1")]
    freezing_time: u32,
    #[prost(uint32, required, tag = "2")]
    frozen_time: u32,
    #[prost(uint32, required, tag = "3")]
    memdump_time: u32,
    #[prost(uint32, required, tag = "4")]
    memwrite_time: u32,
    #[prost(uint64, required, tag = "5")]
    pages_scanned: u64,
    #[prost(uint64, required, tag = "6")]
    pages_skipped_parent: u64,
    #[prost(uint64, required, tag = "7")]
    pages_written: u64,
    #[prost(uint64, required, tag = "9")]
    pages_lazy: u64,
    #[prost(uint64, optional, tag = "10")]
    page_pipes: Option<u64>,
    #[prost(uint64, optional, tag = "11")]
    page_pipe_bufs: Option<u64>,
    #[prost(uint64, optional, tag = "12")]
    shpages_scanned: Option<u64>,
    #[prost(uint64, optional, tag = "13")]
    shpages_skipped_parent: Option<u64>,
    #[prost(uint64, optional, tag = "14")]
    shpages_written: Option<u64>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(record: &[u8]) -> Vec<u8> {
        let length = u32::try_from(record.len()).unwrap();
        let words = [MAGICS[0], MAGICS[1], length];
        words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .chain(record.iter().copied())
            .collect()
    }

    #[test]
    fn every_figure_is_read_from_its_field() {
        let numbers = [
            (1, 11),
            (2, 12),
            (3, 13),
            (4, 14),
            (5, 15),
            (6, 16),
            (7, 17),
            (9, 19),
        ];
        let optional = [(10, 20), (11, 21), (12, 22), (13, 23), (14, 24)];
        let dump: Vec<u8> = numbers
            .iter()
            .chain(&optional)
            .flat_map(|(tag, value)| [tag << 3, *value])
            .collect();
        let record: Vec<u8> = [0x0a, u8::try_from(dump.len()).unwrap()]
            .into_iter()
            .chain(dump)
            .collect();
        let stats = DumpStats::parse(&file(&record)).unwrap();
        assert_eq!((stats.freezing_time, stats.frozen_time), (11, 12));
        assert_eq!((stats.memdump_time, stats.memwrite_time), (13, 14));
        assert_eq!((stats.pages_scanned, stats.pages_skipped_parent), (15, 16));
        assert_eq!((stats.pages_written, stats.pages_lazy), (17, 19));
        assert_eq!((stats.page_pipes, stats.page_pipe_bufs), (20, 21));
        assert_eq!(
            (stats.shpages_scanned, stats.shpages_skipped_parent),
            (22, 23)
        );
        assert_eq!(stats.shpages_written, 24);
    }

    #[test]
    fn the_statistics_of_a_restore_are_refused() {
        let error = DumpStats::parse(&file(&[])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "image file \"stats-dump\" is not of a dump"
        );
    }

    #[test]
    fn another_file_under_that_name_is_refused() {
        assert!(DumpStats::parse(b"").is_err());
        assert!(DumpStats::parse(&[0; 12]).is_err());
        assert!(DumpStats::parse(&file(&[])[..10]).is_err());
    }

    proptest! {
        #[test]
        fn any_content_is_read_without_panic(record in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = DumpStats::parse(&record);
            let _ = DumpStats::parse(&file(&record));
        }
    }
}
