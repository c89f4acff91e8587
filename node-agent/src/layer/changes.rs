//! How much a container has changed, and whether it has at all.

use std::{
    collections::HashSet,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
};

use nix::sys::stat::SFlag;

use super::{
    Error, Marks, Size, entry,
    walk::{Item, Next, walk},
};

/// What an entry takes in an archive beside its content: its header, and those of a long name and of attributes.
const BESIDE: u64 = 4096;
/// What a block of `st_blocks` is.
const BLOCK: u64 = 512;

pub(super) fn size(top: BorrowedFd<'_>) -> Result<Size, Error> {
    let mut sum = Size::default();
    let mut linked = HashSet::new();
    walk(top, |item| {
        sum.bytes = sum.bytes.saturating_add(BESIDE);
        let is_file = item.kind() == SFlag::S_IFREG;
        if is_file && (item.stat.st_nlink < 2 || linked.insert(item.stat.st_ino)) {
            sum.bytes = sum.bytes.saturating_add(content(item));
        }
        Ok(Next::On)
    })?;
    Ok(sum)
}

/// What a file's content takes: what is allocated, and no more than it is long.
fn content(item: &Item<'_>) -> u64 {
    let bytes = |number: i64| u64::try_from(number).unwrap_or(0);
    let length = bytes(item.stat.st_size).next_multiple_of(BLOCK);
    length.min(
        bytes(item.stat.st_blocks)
            .saturating_mul(BLOCK)
            .saturating_add(BLOCK),
    )
}

pub(super) fn first(
    top: BorrowedFd<'_>,
    marks: Marks,
    mounts: &[PathBuf],
) -> Result<Option<PathBuf>, Error> {
    let mut found = None;
    walk(top, |item| {
        if !counts(item, marks, mounts)? {
            return Ok(Next::On);
        }
        found = Some(Path::new("/").join(item.path));
        Ok(Next::Stop)
    })?;
    Ok(found)
}

/// A directory is copied up whenever something in it changes: only one that hides what was there, or is new, counts.
fn counts(item: &Item<'_>, marks: Marks, mounts: &[PathBuf]) -> Result<bool, Error> {
    let path = Path::new("/").join(item.path);
    if item.kind() == SFlag::S_IFDIR {
        let for_a_mount = mounts.iter().any(|mount| mount.starts_with(&path));
        return Ok(!for_a_mount && entry::is_opaque(item, marks)?);
    }
    let for_a_mount = item.kind() == SFlag::S_IFREG && item.stat.st_size == 0;
    Ok(!(for_a_mount && mounts.contains(&path)))
}
