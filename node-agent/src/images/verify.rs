//! Whether an image directory is complete, from its metadata alone.

use std::{collections::BTreeMap, ffi::OsStr, io::BufReader};

use super::{
    Error, Folder, Inventory,
    folder::{EntryKind, Regular, shown, strange},
    pagemap::{self, PageMap},
};

/// A page map entry takes some 12 bytes and covers at least a page; 4 GiB of them is absurd.
const PAGEMAP_LIMIT: u64 = 256 << 20;

/// What a directory is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A dump.
    Dump,
    /// A pre-dump.
    PreDump,
}

/// Where the pages went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Into the directory.
    Here,
    /// To a page server, maps and all; nothing of them need be here.
    Sent,
    /// Some were served on demand. The maps do not count those.
    Lazy,
}

/// A complete image, summed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its inventory.
    pub inventory: Inventory,
    /// Page maps read.
    pub pagemaps: usize,
    /// Pages in the directory.
    pub pages: u64,
    /// Pages that a parent image has to hold.
    pub pages_in_parent: u64,
    /// There is a `parent` link.
    pub has_parent: bool,
}

/// Checks that the inventory is there and of the right kind, that every page map can be read, and
/// that each pages file is as long as its maps say. Reads no data blocks of pages files, so it may
/// run while tasks are stopped. A pre-dump's inventory is also written when it fails: CRIU's
/// response is the proof of success, this is the proof that nothing was lost on the way.
///
/// Pages files into which `auto_dedup` has punched holes keep their length and pass.
///
/// # Errors
/// What is missing, cut short, or no image at all.
pub fn verify(folder: &Folder, kind: Kind, pages: Pages) -> Result<Verified, Error> {
    let inventory = Inventory::required(folder)?;
    let is_pre_dump = inventory.pre_dump_mode.is_some();
    if is_pre_dump != (kind == Kind::PreDump) {
        let problem = if is_pre_dump {
            "is of a pre-dump"
        } else {
            "is not of a pre-dump"
        };
        return Err(strange(OsStr::new("inventory.img"), problem));
    }
    let counted = count(folder, pages)?;
    if counted.maps == 0 && pages != Pages::Sent {
        return Err(no_maps());
    }
    if counted.in_parent > 0 && !counted.has_parent {
        return Err(Error::Missing {
            name: "parent".to_owned(),
        });
    }
    Ok(Verified {
        inventory,
        pagemaps: counted.maps,
        pages: counted.pages,
        pages_in_parent: counted.in_parent,
        has_parent: counted.has_parent,
    })
}

/// Checks the half of an image that a page server has received: page maps, and pages files as long as
/// these say. Says how many pages there are.
///
/// # Errors
/// As [`verify`].
pub fn verify_pages(folder: &Folder) -> Result<u64, Error> {
    let counted = count(folder, Pages::Here)?;
    if counted.maps == 0 {
        return Err(no_maps());
    }
    Ok(counted.pages)
}

fn no_maps() -> Error {
    Error::Missing {
        name: "pagemap-*.img".to_owned(),
    }
}

/// What the page maps of a directory add up to.
#[derive(Debug, Default)]
struct Counted {
    has_parent: bool,
    maps: usize,
    pages: u64,
    in_parent: u64,
}

fn count(folder: &Folder, pages: Pages) -> Result<Counted, Error> {
    let mut counted = Counted::default();
    let mut files: BTreeMap<u32, u64> = BTreeMap::new();
    for entry in folder.entries()? {
        let name = entry.name.as_os_str();
        match entry.kind {
            EntryKind::Link if name == "parent" => counted.has_parent = true,
            EntryKind::Link => return Err(strange(name, "is a symbolic link")),
            EntryKind::Other => return Err(strange(name, "is not a regular file")),
            EntryKind::Regular(_) => {}
        }
        let Some(map) = read_map(folder, name)? else {
            continue;
        };
        counted.maps += 1;
        counted.in_parent = counted.in_parent.saturating_add(map.in_parent);
        let sum = files.entry(map.pages_id).or_default();
        *sum = sum
            .checked_add(map.present)
            .ok_or_else(|| strange(name, "lists too many pages"))?;
    }
    for (id, present) in files {
        check_pages(folder, id, present, pages)?;
        counted.pages = counted.pages.saturating_add(present);
    }
    Ok(counted)
}

fn read_map(folder: &Folder, name: &OsStr) -> Result<Option<PageMap>, Error> {
    let Some(plain) = name.to_str().filter(|name| is_pagemap(name)) else {
        return Ok(None);
    };
    let Some(Regular { file, size }) = folder.regular(name)? else {
        return Err(Error::Missing { name: shown(name) });
    };
    if size > PAGEMAP_LIMIT {
        return Err(strange(name, "is too large"));
    }
    pagemap::parse(BufReader::new(file), plain).map(Some)
}

/// `pagemap-<pid>.img`, `pagemap-shmem-<id>.img`.
fn is_pagemap(name: &str) -> bool {
    name.strip_prefix("pagemap-")
        .is_some_and(|rest| rest.strip_suffix(".img").is_some())
}

fn check_pages(folder: &Folder, id: u32, present: u64, pages: Pages) -> Result<(), Error> {
    let name = format!("pages-{id}.img");
    let expected = present
        .checked_mul(page_size())
        .ok_or_else(|| strange(OsStr::new(&name), "is listed with too many pages"))?;
    match folder.regular(OsStr::new(&name))? {
        Some(Regular { size, .. }) if size == expected => Ok(()),
        Some(Regular { size, .. }) => Err(Error::PagesSize {
            name,
            expected,
            actual: size,
        }),
        None if pages == Pages::Sent || expected == 0 => Ok(()),
        None => Err(Error::Missing { name }),
    }
}

/// Images count in the pages of the machine they were made on.
fn page_size() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| u64::try_from(size).ok())
        .unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::{super::inventory, *};

    fn image(pre_dump: bool) -> tempfile::TempDir {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::write(at("inventory.img"), inventory::sample(pre_dump)).unwrap();
        fs::write(at("pagemap-1.img"), pagemap::sample(1, &[(2, 4), (3, 2)])).unwrap();
        fs::write(at("pagemap-shmem-9.img"), pagemap::sample(2, &[(1, 4)])).unwrap();
        fs::write(at("pages-1.img"), vec![0; 8192]).unwrap();
        fs::write(at("pages-2.img"), vec![0; 4096]).unwrap();
        scratch
    }

    fn check(path: &Path, pages: Pages) -> Result<Verified, Error> {
        verify(&Folder::open(path).unwrap(), Kind::Dump, pages)
    }

    #[test]
    fn a_complete_image_is_summed_up() {
        let scratch = image(false);
        let verified = check(scratch.path(), Pages::Here).unwrap();
        assert_eq!(
            (verified.pagemaps, verified.pages, verified.pages_in_parent),
            (2, 3, 0)
        );
        assert!(!verified.has_parent);
    }

    #[test]
    fn a_pages_file_of_another_length_is_named() {
        let scratch = image(false);
        fs::write(scratch.path().join("pages-1.img"), vec![0; 8191]).unwrap();
        let error = check(scratch.path(), Pages::Here).unwrap_err();
        assert_eq!(
            error.to_string(),
            "image file \"pages-1.img\" has 8191 bytes where 8192 are listed"
        );
    }

    #[test]
    fn a_missing_pages_file_is_an_error_unless_the_pages_were_sent() {
        let scratch = image(false);
        fs::remove_file(scratch.path().join("pages-2.img")).unwrap();
        let error = check(scratch.path(), Pages::Here).unwrap_err();
        assert_eq!(error.to_string(), "image file \"pages-2.img\" is missing");
        assert!(check(scratch.path(), Pages::Lazy).is_err());
        assert!(check(scratch.path(), Pages::Sent).is_ok());
    }

    #[test]
    fn no_inventory_is_no_image() {
        let scratch = image(false);
        fs::remove_file(scratch.path().join("inventory.img")).unwrap();
        let error = check(scratch.path(), Pages::Here).unwrap_err();
        assert_eq!(error.to_string(), "image file \"inventory.img\" is missing");
    }

    #[test]
    fn a_pre_dump_does_not_pass_for_a_dump_nor_the_reverse() {
        let scratch = image(true);
        assert!(check(scratch.path(), Pages::Here).is_err());
        let folder = Folder::open(scratch.path()).unwrap();
        assert!(verify(&folder, Kind::PreDump, Pages::Here).is_ok());
    }

    #[test]
    fn pages_in_a_parent_need_a_parent_link() {
        let scratch = image(false);
        fs::write(
            scratch.path().join("pagemap-1.img"),
            pagemap::sample(1, &[(2, 4), (3, 1)]),
        )
        .unwrap();
        let error = check(scratch.path(), Pages::Here).unwrap_err();
        assert_eq!(error.to_string(), "image file \"parent\" is missing");
        symlink("../before", scratch.path().join("parent")).unwrap();
        let verified = check(scratch.path(), Pages::Here).unwrap();
        assert_eq!((verified.pages_in_parent, verified.has_parent), (3, true));
    }

    #[test]
    fn links_and_fifos_in_place_of_images_are_refused() {
        for name in [
            "pages-1.img",
            "pagemap-7.img",
            "inventory.img",
            "core-1.img",
        ] {
            let scratch = image(false);
            let _ = fs::remove_file(scratch.path().join(name));
            symlink("/dev/zero", scratch.path().join(name)).unwrap();
            assert!(check(scratch.path(), Pages::Here).is_err(), "{name}");
            fs::remove_file(scratch.path().join(name)).unwrap();
            nix::unistd::mkfifo(&scratch.path().join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
            assert!(check(scratch.path(), Pages::Here).is_err(), "{name}");
        }
    }
}
