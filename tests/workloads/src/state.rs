//! The state file: a block of fixed size that is written in place, so that a dump may happen at any moment.
//!
//! CRIU refuses to restore an open file whose size differs from the one it saw, and a container that
//! goes on after its dump goes on writing: therefore the size never changes. A reader knows a torn
//! read by the first and last line, which carry the same number.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::Error;

/// Size of the block in bytes, one page.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// A state file that this process keeps open for as long as it lives.
#[derive(Debug)]
pub(crate) struct StateFile {
    file: File,
    path: PathBuf,
    mode: &'static str,
    session: String,
    sequence: u64,
}

impl StateFile {
    /// Opens (or makes) the file and draws a session.
    pub(crate) fn create(path: &Path, mode: &'static str) -> Result<Self, Error> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|source| Error::file("make", folder, source))?;
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(path)
            .map_err(|source| Error::file("open", path, source))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            mode,
            session: draw_session(),
            sequence: 0,
        })
    }

    /// The name of this run, which lives in memory only.
    pub(crate) fn session(&self) -> &str {
        &self.session
    }

    /// Replaces the block; `lines` come after `seq`, `mode`, `session` and `pid`.
    pub(crate) fn publish(&mut self, lines: &[(&str, &dyn Display)]) -> Result<(), Error> {
        self.sequence += 1;
        let block = render(self.sequence, self.mode, &self.session, lines);
        self.file
            .write_all_at(&block, 0)
            .map_err(|source| Error::file("write", self.path.as_path(), source))
    }
}

/// A number that no other run has: the wall clock's nanoseconds mixed with the pid.
fn draw_session() -> String {
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    format!("{nanos:x}-{:x}", std::process::id())
}

/// One block: the lines between two equal numbers, filled up with spaces.
fn render(sequence: u64, mode: &str, session: &str, lines: &[(&str, &dyn Display)]) -> Vec<u8> {
    let mut text = format!(
        "seq={sequence}\nmode={mode}\nsession={session}\npid={}\n",
        std::process::id()
    );
    for (key, value) in lines {
        text.push_str(&format!("{key}={value}\n").replace('\0', " "));
    }
    let end = format!("end={sequence}\n");
    text.truncate(BLOCK_BYTES - end.len());
    let mut block = text.into_bytes();
    block.extend_from_slice(end.as_bytes());
    block.resize(BLOCK_BYTES - 1, b' ');
    block.push(b'\n');
    block
}

/// Prints one line at once; a reader that went away is not this program's failure.
pub(crate) fn print_line(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _gone = writeln!(out, "{text}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_one_size_whatever_it_says() {
        assert_eq!(render(1, "count", "s", &[]).len(), BLOCK_BYTES);
        let long = "x".repeat(9000);
        assert_eq!(
            render(1, "count", "s", &[("long", &long)]).len(),
            BLOCK_BYTES
        );
    }

    #[test]
    fn a_block_begins_and_ends_with_its_number() {
        let block = String::from_utf8(render(42, "count", "s", &[("ticks", &3)])).expect("text");
        assert!(block.starts_with("seq=42\nmode=count\nsession=s\n"));
        assert!(block.contains("\nticks=3\nend=42\n"));
    }

    #[test]
    fn publishing_again_keeps_the_size() {
        let folder = tempfile::tempdir().expect("scratch folder");
        let path = folder.path().join("sub/state");
        let mut state = StateFile::create(&path, "count").expect("state file");
        state.publish(&[("ticks", &1)]).expect("first");
        state.publish(&[("ticks", &10_000)]).expect("second");
        let text = std::fs::read_to_string(&path).expect("state");
        assert_eq!(text.len(), BLOCK_BYTES);
        assert!(text.contains("ticks=10000"));
        assert!(!state.session().is_empty());
    }
}
