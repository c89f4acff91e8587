//! Files with holes, in the form that GNU tar has for them.

use std::{fs::File, os::unix::fs::FileExt as _};

use nix::{
    errno::Errno,
    unistd::{Whence, lseek},
};
use tar::{EntryType, GnuExtSparseHeader, Header};

/// What a block of `st_blocks` is.
const BLOCK: u64 = 512;
/// More pieces than this are written as one: their headers would be as large as the holes.
const MOST_PIECES: usize = 4096;

/// A part of a file that is no hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) length: u64,
}

/// The parts of a file of this length that are no holes; `None` where it has none worth the name.
pub(super) fn pieces(file: &File, length: u64, blocks: i64) -> Option<Vec<Piece>> {
    let allocated = u64::try_from(blocks).unwrap_or(0).saturating_mul(BLOCK);
    if allocated >= length {
        return None;
    }
    let seek = |from: u64, whence| {
        let found = lseek(file, i64::try_from(from).ok()?, whence);
        Some(found.map(|at| u64::try_from(at).unwrap_or(0)))
    };
    let (mut pieces, mut at) = (Vec::new(), 0);
    while at < length {
        let start = match seek(at, Whence::SeekData)? {
            Ok(start) => start.min(length),
            Err(Errno::ENXIO) => length,
            Err(_) => return None,
        };
        if start >= length {
            break;
        }
        let end = seek(start, Whence::SeekHole)?.ok()?.min(length);
        if end <= start || pieces.len() == MOST_PIECES {
            return None;
        }
        pieces.push(Piece {
            start,
            length: end - start,
        });
        at = end;
    }
    // Where a file ends is told by an empty piece.
    pieces.push(Piece {
        start: length,
        length: 0,
    });
    Some(pieces)
}

/// Makes a header one of a file with holes; what follows it before the pieces comes back.
pub(super) fn describe(header: &mut Header, length: u64, pieces: &[Piece]) -> Vec<u8> {
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(pieces.iter().map(|piece| piece.length).sum());
    let Some(gnu) = header.as_gnu_mut() else {
        return Vec::new();
    };
    gnu.set_real_size(length);
    let here = gnu.sparse.len();
    for (field, piece) in gnu.sparse.iter_mut().zip(pieces) {
        field.set_offset(piece.start);
        field.set_length(piece.length);
    }
    gnu.set_is_extended(pieces.len() > here);
    let mut more = Vec::new();
    let mut rest = pieces.get(here..).unwrap_or_default();
    while !rest.is_empty() {
        let mut extension = GnuExtSparseHeader::new();
        let now = rest.len().min(extension.sparse.len());
        let (first, later) = rest.split_at(now);
        for (field, piece) in extension.sparse.iter_mut().zip(first) {
            field.set_offset(piece.start);
            field.set_length(piece.length);
        }
        extension.set_is_extended(!later.is_empty());
        more.extend_from_slice(extension.as_bytes());
        rest = later;
    }
    more
}

/// Reads pieces of a file one after the other, each as long as it was said to be: what somebody has cut off meanwhile reads as
/// zeros.
pub(super) struct Pieces<'a> {
    file: &'a File,
    rest: std::slice::Iter<'a, Piece>,
    now: Piece,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(file: &'a File, pieces: &'a [Piece]) -> Self {
        Self {
            file,
            rest: pieces.iter(),
            now: Piece {
                start: 0,
                length: 0,
            },
        }
    }
}

impl std::io::Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while self.now.length == 0 {
            let Some(next) = self.rest.next() else {
                return Ok(0);
            };
            self.now = *next;
        }
        let most = usize::try_from(self.now.length).unwrap_or(usize::MAX);
        let wanted = most.min(into.len());
        let Some(into) = into.get_mut(..wanted) else {
            return Ok(0);
        };
        let got = match self.file.read_at(into, self.now.start)? {
            0 => {
                into.fill(0);
                wanted
            }
            got => got,
        };
        self.now.start += got as u64;
        self.now.length -= got as u64;
        Ok(got)
    }
}
