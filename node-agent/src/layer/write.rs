//! An upper directory as a tar archive: OCI whiteouts, hard links, holes, attributes.

use std::{
    collections::HashMap,
    io::{self, BufWriter, Read as _, Write},
    os::{fd::BorrowedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use nix::sys::stat::{FileStat, SFlag, fstat, major, minor};
use tar::{Builder, EntryType, Header};

use super::{
    Error, Limits, Marks,
    entry::{self, Attributes, OPAQUE, WHITEOUT},
    meter::Meter,
    sparse::{self, Piece, Pieces},
    walk::{Item, Next, is_too_long, walk},
};

/// How much is written at once.
const CHUNK: usize = 256 << 10;
/// The most hard links whose first name is remembered; of more, each is a file of its own.
const MOST_LINKS: usize = 1_000_000;
/// The most warnings that name what was left out.
const MOST_NAMED: usize = 3;
/// What a header's field for a link holds.
const LINK_FIELD: usize = 100;

/// What became of an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Its bytes.
    pub bytes: u64,
    /// Its entries.
    pub entries: u64,
    /// What it does not hold, and why.
    pub warnings: Vec<String>,
}

pub(super) fn write(
    top: BorrowedFd<'_>,
    marks: Marks,
    out: impl Write,
    limits: &Limits<'_>,
) -> Result<Written, Error> {
    let out = BufWriter::with_capacity(CHUNK, Meter::new(out, limits));
    let mut archive = Archive {
        tar: Builder::new(out),
        marks,
        links: HashMap::new(),
        entries: 0,
        left_out: LeftOut::default(),
    };
    archive.top(top)?;
    walk(top, |item| {
        if limits.passed() {
            return Err(Error::Interrupted);
        }
        archive.add(item)
    })?;
    archive.finish()
}

/// An archive under way.
struct Archive<'a, W: Write> {
    tar: Builder<BufWriter<Meter<'a, W>>>,
    marks: Marks,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), PathBuf>,
    entries: u64,
    left_out: LeftOut,
}

impl<W: Write> Archive<'_, W> {
    /// The root itself, whose mode and owner may have changed.
    fn top(&mut self, top: BorrowedFd<'_>) -> Result<(), Error> {
        let stat = fstat(top).map_err(|source| Error::Read {
            path: PathBuf::from("/"),
            source,
        })?;
        let mut header = header(&stat, EntryType::Directory);
        // A name that the crate has no path for.
        let [first, second, ..] = &mut header.as_old_mut().name;
        (*first, *second) = (b'.', b'/');
        header.set_cksum();
        let done = self.tar.append(&header, io::empty());
        self.done(done)
    }

    fn add(&mut self, item: &Item<'_>) -> Result<Next, Error> {
        if item.name.as_bytes().starts_with(WHITEOUT) {
            let why = "their names are those of a layer's own marks";
            self.left_out.add(why, item.path);
            return Ok(Next::Over);
        }
        if entry::is_whiteout(item) {
            self.mark(&entry::whiteout_of(item))?;
            return Ok(Next::On);
        }
        match item.kind() {
            SFlag::S_IFDIR => return self.directory(item),
            SFlag::S_IFREG => self.file(item)?,
            SFlag::S_IFLNK => self.symlink(item)?,
            SFlag::S_IFCHR => self.special(item, EntryType::Char)?,
            SFlag::S_IFBLK => self.special(item, EntryType::Block)?,
            SFlag::S_IFIFO => self.special(item, EntryType::Fifo)?,
            _ => self.left_out.add("an archive has no sockets", item.path),
        }
        Ok(Next::On)
    }

    fn directory(&mut self, item: &Item<'_>) -> Result<Next, Error> {
        let Some(dir) = entry::open(item)? else {
            return Ok(Next::Over);
        };
        let attributes = entry::attributes(item, &dir, self.marks)?;
        refuse_elsewhere(item, &attributes)?;
        self.extensions(item, &attributes)?;
        let mut header = header(&item.stat, EntryType::Directory);
        let done = self.tar.append_data(&mut header, item.path, io::empty());
        self.done(done)?;
        if attributes.opaque {
            self.mark(&item.path.join(OPAQUE))?;
        }
        if is_too_long(item.path) {
            let why = "their paths are longer than the kernel takes";
            self.left_out.add(why, item.path);
        }
        Ok(Next::On)
    }

    fn file(&mut self, item: &Item<'_>) -> Result<(), Error> {
        if self.link(item)? {
            return Ok(());
        }
        let Some(file) = entry::open(item)? else {
            return Ok(());
        };
        let attributes = entry::attributes(item, &file, self.marks)?;
        if attributes.whiteout {
            return self.mark(&entry::whiteout_of(item));
        }
        refuse_elsewhere(item, &attributes)?;
        // As long as it is now, whoever goes on writing.
        let stat = fstat(&file).map_err(|source| item.failed(source))?;
        let length = u64::try_from(stat.st_size).unwrap_or(0);
        self.extensions(item, &attributes)?;
        let mut header = header(&stat, EntryType::Regular);
        let whole = [Piece { start: 0, length }];
        let found = sparse::pieces(&file, length, stat.st_blocks);
        let (pieces, more) = if let Some(pieces) = &found {
            let more = sparse::describe(&mut header, length, pieces);
            (pieces.as_slice(), more)
        } else {
            header.set_size(length);
            (whole.as_slice(), Vec::new())
        };
        let content = io::BufReader::with_capacity(CHUNK, Pieces::new(&file, pieces));
        let content = more.as_slice().chain(content);
        let done = self.tar.append_data(&mut header, item.path, content);
        self.done(done)?;
        if stat.st_nlink > 1 && self.links.len() < MOST_LINKS {
            self.links.insert(id(&stat), item.path.to_owned());
        }
        Ok(())
    }

    /// Another name of a file that is in the archive already.
    fn link(&mut self, item: &Item<'_>) -> Result<bool, Error> {
        if item.stat.st_nlink < 2 {
            return Ok(false);
        }
        let Some(first) = self.links.get(&id(&item.stat)) else {
            return Ok(false);
        };
        let mut header = header(&item.stat, EntryType::Link);
        let done = self.tar.append_link(&mut header, item.path, first);
        self.done(done)?;
        Ok(true)
    }

    fn symlink(&mut self, item: &Item<'_>) -> Result<(), Error> {
        let Some(target) = entry::target(item)? else {
            return Ok(());
        };
        self.extensions(item, &Attributes::default())?;
        let mut header = header(&item.stat, EntryType::Symlink);
        let done = if target.len() <= LINK_FIELD {
            // As it is: the other way tidies it up.
            let literal = header.set_link_name_literal(target.as_bytes());
            literal.and_then(|()| self.tar.append_data(&mut header, item.path, io::empty()))
        } else {
            self.tar.append_link(&mut header, item.path, &target)
        };
        self.done(done)
    }

    fn special(&mut self, item: &Item<'_>, kind: EntryType) -> Result<(), Error> {
        self.extensions(item, &Attributes::default())?;
        let mut header = header(&item.stat, kind);
        if kind != EntryType::Fifo {
            let number = |part: u64| u32::try_from(part).unwrap_or(u32::MAX);
            let device = item.stat.st_rdev;
            let set = header
                .set_device_major(number(major(device)))
                .and_then(|()| header.set_device_minor(number(minor(device))));
            set.map_err(Error::Write)?;
        }
        let done = self.tar.append_data(&mut header, item.path, io::empty());
        self.done(done)
    }

    /// One of the layer's own marks: an empty file.
    fn mark(&mut self, path: &Path) -> Result<(), Error> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        let done = self.tar.append_data(&mut header, path, io::empty());
        self.done(done)
    }

    /// What a header has no field for.
    fn extensions(&mut self, item: &Item<'_>, attributes: &Attributes) -> Result<(), Error> {
        let before_1970 = (item.stat.st_mtime < 0).then(|| item.stat.st_mtime.to_string());
        let time = before_1970.as_ref().map(|time| ("mtime", time.as_bytes()));
        let kept = attributes.kept.iter();
        let kept = kept.map(|(key, value)| (key.as_str(), value.as_slice()));
        let done = self.tar.append_pax_extensions(time.into_iter().chain(kept));
        done.map_err(|error| self.error(error))
    }

    fn done(&mut self, done: io::Result<()>) -> Result<(), Error> {
        self.entries += 1;
        done.map_err(|error| self.error(error))
    }

    fn error(&self, error: io::Error) -> Error {
        self.tar.get_ref().get_ref().error(error)
    }

    fn finish(mut self) -> Result<Written, Error> {
        let finished = self.tar.finish().and_then(|()| self.tar.get_mut().flush());
        finished.map_err(|error| self.error(error))?;
        Ok(Written {
            bytes: self.tar.get_ref().get_ref().bytes,
            entries: self.entries,
            warnings: self.left_out.warnings(),
        })
    }
}

/// A header with everything but names, sizes and what depends on the type.
fn header(stat: &FileStat, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(0);
    header
}

fn id(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn refuse_elsewhere(item: &Item<'_>, attributes: &Attributes) -> Result<(), Error> {
    if !attributes.elsewhere {
        return Ok(());
    }
    Err(Error::Elsewhere {
        path: item.path.to_owned(),
    })
}

/// What the archive does not hold.
#[derive(Debug, Default)]
struct LeftOut(Vec<(&'static str, Vec<PathBuf>, u64)>);

impl LeftOut {
    fn add(&mut self, why: &'static str, path: &Path) {
        let known = self.0.iter_mut().find(|(other, ..)| *other == why);
        match known {
            Some((_, named, count)) => {
                *count += 1;
                if named.len() < MOST_NAMED {
                    named.push(path.to_owned());
                }
            }
            None => self.0.push((why, vec![path.to_owned()], 1)),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let warning = |(why, named, count): &(&str, Vec<PathBuf>, u64)| {
            // Quoted, control characters escaped: the workload chose them.
            let names = format!("{named:?}");
            let names = names.trim_matches(['[', ']']);
            let more = count - named.len() as u64;
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            format!("rootfs-diff.tar does not hold {names}{more}: {why}")
        };
        self.0.iter().map(warning).collect()
    }
}
