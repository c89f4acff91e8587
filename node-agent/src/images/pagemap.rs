//! `pagemap-*.img`: which pages a task or a piece of shared memory has, and where they are.

use std::io::Read;

use super::{Error, records::Records};

/// `IMG_COMMON_MAGIC`, `PAGEMAP_MAGIC` (`criu/include/magic.h`).
const MAGICS: [u32; 2] = [0x5456_4319, 0x5608_4025];
/// `PE_PRESENT` and `PE_PARENT` (`criu/include/pagemap.h`).
const PRESENT: u32 = 1 << 2;
const PARENT: u32 = 1 << 0;

/// What one page map adds up to, in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageMap {
    /// The number of its pages file.
    pub(super) pages_id: u32,
    /// Pages in that file. Lazy ones are there as well unless they were left to be served, and
    /// then they are not marked present (`ppb_xfer_flags` of `criu/page-xfer.c`).
    pub(super) present: u64,
    /// Pages in a parent image.
    pub(super) in_parent: u64,
}

/// Reads a page map to its end.
pub(super) fn parse(input: impl Read, name: &str) -> Result<PageMap, Error> {
    let mut records = Records::open(input, name, &MAGICS)?;
    let head: PagemapHead = records.one()?;
    let mut map = PageMap {
        pages_id: head.pages_id,
        present: 0,
        in_parent: 0,
    };
    while let Some(entry) = records.next::<PagemapEntry>()? {
        let pages = entry
            .nr_pages
            .unwrap_or_else(|| u64::from(entry.compat_nr_pages));
        let flags = entry.effective_flags();
        let sum = if flags & PRESENT != 0 {
            &mut map.present
        } else if flags & PARENT != 0 {
            &mut map.in_parent
        } else {
            continue;
        };
        *sum = sum
            .checked_add(pages)
            .ok_or_else(|| records.strange("lists too many pages"))?;
    }
    Ok(map)
}

/// `images/pagemap.proto`.
#[derive(Clone, PartialEq, prost::Message)]
struct PagemapHead {
    #[prost(uint32, required, tag = "1")]
    pages_id: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PagemapEntry {
    #[prost(uint32, required, tag = "2")]
    compat_nr_pages: u32,
    #[prost(bool, optional, tag = "3")]
    in_parent: Option<bool>,
    #[prost(uint32, optional, tag = "4")]
    flags: Option<u32>,
    #[prost(uint64, optional, tag = "5")]
    nr_pages: Option<u64>,
}

impl PagemapEntry {
    /// Mirrors `init_compat_pagemap_entry` of `criu/pagemap.c`: old images have no flags.
    fn effective_flags(&self) -> u32 {
        match (self.in_parent, self.flags) {
            (Some(true), flags) => flags.unwrap_or(0) | PARENT,
            (_, None) => PRESENT,
            (_, Some(flags)) => flags,
        }
    }
}

#[cfg(test)]
pub(super) fn sample(pages_id: u8, entries: &[(u8, u8)]) -> Vec<u8> {
    let mut content: Vec<u8> = MAGICS
        .iter()
        .flat_map(|magic| magic.to_le_bytes())
        .collect();
    content.extend([2, 0, 0, 0, 0x08, pages_id]);
    for (pages, flags) in entries {
        content.extend([
            8, 0, 0, 0, 0x08, 0, 0x10, *pages, 0x20, *flags, 0x28, *pages,
        ]);
    }
    content
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn present_pages_are_counted_lazy_or_not_and_pages_left_to_be_served_are_not() {
        let content = sample(7, &[(3, 4), (2, 4 | 2), (5, 2), (9, 1)]);
        let map = parse(content.as_slice(), "pagemap-1.img").unwrap();
        assert_eq!(
            map,
            PageMap {
                pages_id: 7,
                present: 5,
                in_parent: 9
            }
        );
    }

    #[test]
    fn an_old_entry_without_flags_is_present_or_in_the_parent() {
        let mut content = sample(1, &[]);
        content.extend([4, 0, 0, 0, 0x08, 0, 0x10, 3]);
        content.extend([6, 0, 0, 0, 0x08, 0, 0x10, 4, 0x18, 1]);
        let map = parse(content.as_slice(), "pagemap-1.img").unwrap();
        assert_eq!((map.present, map.in_parent), (3, 4));
    }

    #[test]
    fn a_map_that_is_cut_short_or_has_an_overlong_record_is_refused() {
        let content = sample(1, &[(3, 4)]);
        assert!(parse(&content[..content.len() - 1], "p").is_err());
        assert!(parse(&content[..content.len() - 9], "p").is_err());
        let mut wild = sample(1, &[]);
        wild.extend([0xff; 4]);
        assert!(parse(wild.as_slice(), "p").is_err());
    }

    proptest! {
        #[test]
        fn any_content_is_read_without_panic(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut content = sample(1, &[]);
            content.extend(&tail);
            let _ = parse(content.as_slice(), "p");
            let _ = parse(tail.as_slice(), "p");
        }
    }
}
