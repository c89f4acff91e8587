//! Memory of which a share is written each second, and whose content can be told at any time.

use std::thread;
use std::time::Duration;

use clap::Args;

use crate::cli::Publishing;
use crate::error::Error;
use crate::state::StateFile;

/// Bytes of a page.
const PAGE: usize = 4096;
/// Each page begins with the number of times that it was written.
const HEAD: usize = 8;
/// Pages of the same content, but for their heads, are this far apart.
const KINDS: usize = 251;

#[derive(Debug, Args)]
pub(crate) struct DirtyArgs {
    #[command(flatten)]
    publishing: Publishing,
    /// MiB of anonymous memory.
    #[arg(long, value_name = "MIB", default_value_t = 16)]
    mib: usize,
    /// How much of it is written each second, from the front, round and round; no more, however late a tick is.
    #[arg(long, value_name = "PERCENT", default_value_t = 5)]
    percent: usize,
}

/// Pages that are filled by their number, and how often each was written.
#[derive(Debug)]
struct Pages {
    bytes: Vec<u8>,
    written: Vec<u64>,
    /// What a page of each kind holds behind its head. Kept, so that a look at the pages takes no memory: an image in a chain then finds in
    /// its parent every page that it leaves out, however the two fall together with the looks.
    bodies: Vec<Vec<u8>>,
}

/// What a page is filled with: never zeros, which take no room in an image.
fn kind(page: usize) -> u8 {
    u8::try_from(page % KINDS + 1).unwrap_or(1)
}

impl Pages {
    fn fill(mib: usize) -> Self {
        let pages = mib << 8;
        let mut this = Self {
            bytes: vec![0; pages * PAGE],
            written: vec![0; pages],
            bodies: (0..KINDS)
                .map(|number| vec![kind(number); PAGE - HEAD])
                .collect(),
        };
        for (number, page) in this.bytes.chunks_mut(PAGE).enumerate() {
            page.fill(kind(number));
        }
        for page in 0..pages {
            this.write(page);
        }
        this
    }

    fn write(&mut self, page: usize) {
        let head = self.bytes.get_mut(page * PAGE..page * PAGE + HEAD);
        if let (Some(head), Some(written)) = (head, self.written.get_mut(page)) {
            *written += 1;
            head.copy_from_slice(&written.to_le_bytes());
        }
    }

    /// How many pages do not hold what they should.
    fn corrupt(&self) -> usize {
        let pages = self.bytes.chunks(PAGE).zip(&self.written);
        pages
            .zip(self.bodies.iter().cycle())
            .filter(|((page, written), body)| {
                let (head, rest) = page.split_at(HEAD);
                head != written.to_le_bytes() || rest != body.as_slice()
            })
            .count()
    }
}

/// Publishes how many pages there are, were `written` since the start, and were found `corrupt` in `rounds` whole passes, one a second.
pub(crate) fn run(args: &DirtyArgs) -> Result<(), Error> {
    let mut state = StateFile::create(&args.publishing.state, "dirty")?;
    let mut pages = Pages::fill(args.mib);
    let total = pages.written.len();
    let tick = Duration::from_millis(args.publishing.tick_ms);
    let ticks_a_second = (1000 / args.publishing.tick_ms.max(1)).max(1);
    let each = total * args.percent / 100 / usize::try_from(ticks_a_second).unwrap_or(1);
    let (mut ticks, mut rounds, mut corrupt, mut written, mut next) = (0_u64, 0_u64, 0, 0_u64, 0);
    loop {
        ticks += 1;
        for _ in 0..each {
            pages.write(next);
            next = (next + 1) % total;
            written += 1;
        }
        if ticks % ticks_a_second == 0 {
            corrupt += pages.corrupt();
            rounds += 1;
        }
        state.publish(&[
            ("ticks", &ticks),
            ("pages", &total),
            ("written", &written),
            ("rounds", &rounds),
            ("corrupt", &corrupt),
        ])?;
        thread::sleep(tick);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_and_written_pages_are_whole_and_a_changed_byte_is_found() {
        let mut pages = Pages::fill(2);
        pages.write(300);
        assert_eq!(pages.corrupt(), 0);
        pages.bytes[300 * PAGE + 4000] ^= 1;
        pages.bytes[7 * PAGE] ^= 1;
        assert_eq!(pages.corrupt(), 2);
    }
}
