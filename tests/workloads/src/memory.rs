//! Memory whose content can be told from a seed, so that a restore can prove it came back whole.

use std::thread;
use std::time::Duration;

use clap::Args;

use crate::cli::Publishing;
use crate::error::Error;
use crate::random::Words;
use crate::state::StateFile;

/// Words that are checked between two ticks: 8 MiB, a few milliseconds.
const WORDS_PER_TICK: usize = 1 << 20;

#[derive(Debug, Args)]
pub(crate) struct MemoryArgs {
    #[command(flatten)]
    publishing: Publishing,
    /// MiB of anonymous memory.
    #[arg(long, value_name = "MIB", default_value_t = 16)]
    mib: usize,
    /// The seed of its content.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Pages that get new content of the next seed at each tick, from the front, round and round.
    #[arg(long, value_name = "N", default_value_t = 0)]
    rewrite_pages: usize,
}

/// Words of a page of 4 KiB.
const PAGE_WORDS: usize = 512;

/// Every page with content of its own: page number and generation make its seed.
#[derive(Debug)]
struct Pages {
    words: Vec<u64>,
    generations: Vec<u64>,
    seed: u64,
}

impl Pages {
    fn fill(mib: usize, seed: u64) -> Self {
        let pages = mib << 8;
        let mut this = Self {
            words: vec![0; pages * PAGE_WORDS],
            generations: vec![0; pages],
            seed,
        };
        for page in 0..pages {
            this.rewrite(page);
        }
        this
    }

    fn expected(&self, page: usize, generation: u64) -> Words {
        let number = u64::try_from(page).unwrap_or(0);
        Words::new(self.seed ^ (number << 20) ^ generation.rotate_left(48))
    }

    fn rewrite(&mut self, page: usize) {
        let Some(generation) = self.generations.get_mut(page) else {
            return;
        };
        *generation += 1;
        let fresh = *generation;
        let content = self.expected(page, fresh);
        let words = self
            .words
            .iter_mut()
            .skip(page * PAGE_WORDS)
            .take(PAGE_WORDS);
        for (word, value) in words.zip(content) {
            *word = value;
        }
    }

    /// True when the page holds what its generation says.
    fn intact(&self, page: usize) -> bool {
        let generation = self.generations.get(page).copied().unwrap_or(0);
        let words = self.words.iter().skip(page * PAGE_WORDS).take(PAGE_WORDS);
        words
            .copied()
            .eq(self.expected(page, generation).take(PAGE_WORDS))
    }
}

/// Publishes `rounds` (whole passes over the memory), `corrupt` pages found and `rewritten` pages.
pub(crate) fn run(args: &MemoryArgs) -> Result<(), Error> {
    let mut state = StateFile::create(&args.publishing.state, "memory")?;
    let mut pages = Pages::fill(args.mib, args.seed);
    let total = pages.generations.len();
    let (mut ticks, mut rounds, mut corrupt, mut rewritten) = (0_u64, 0_u64, 0_u64, 0_u64);
    let (mut next_check, mut next_rewrite) = (0, 0);
    loop {
        ticks += 1;
        for _ in 0..(WORDS_PER_TICK / PAGE_WORDS).min(total) {
            corrupt += u64::from(!pages.intact(next_check));
            next_check += 1;
            if next_check == total {
                next_check = 0;
                rounds += 1;
            }
        }
        for _ in 0..args.rewrite_pages.min(total) {
            pages.rewrite(next_rewrite);
            next_rewrite = (next_rewrite + 1) % total;
            rewritten += 1;
        }
        state.publish(&[
            ("ticks", &ticks),
            ("mib", &args.mib),
            ("rounds", &rounds),
            ("corrupt", &corrupt),
            ("rewritten", &rewritten),
        ])?;
        thread::sleep(Duration::from_millis(args.publishing.tick_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_pages_are_intact_and_a_changed_word_is_found() {
        let mut pages = Pages::fill(1, 9);
        assert!((0..256).all(|page| pages.intact(page)));
        pages.words[3 * PAGE_WORDS + 17] ^= 1;
        assert!(!pages.intact(3));
        assert!(pages.intact(2) && pages.intact(4));
    }

    #[test]
    fn a_rewritten_page_has_other_content_and_is_intact() {
        let mut pages = Pages::fill(1, 9);
        let before = pages.words[0];
        pages.rewrite(0);
        assert_ne!(pages.words[0], before);
        assert!(pages.intact(0));
    }
}
