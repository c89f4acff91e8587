//! What a workload publishes: `key=value` lines that stand between two equal numbers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::node::PATIENCE;

/// One block of a workload's state file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State(BTreeMap<String, String>);

impl State {
    /// Reads a state file; a block that is being written is read again.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        Self::read_when(path, |_| true)
    }

    /// Reads a state file until it is as wanted.
    #[must_use]
    pub fn read_when(path: &Path, wanted: impl Fn(&Self) -> bool) -> Self {
        let name = path.display().to_string();
        Self::of_when(&name, PATIENCE, || fs::read(path).ok(), wanted)
    }

    /// Reads what `read` gets, which is called this, until it is as wanted; not for longer than the patience.
    #[must_use]
    pub fn of_when(
        name: &str,
        patience: Duration,
        read: impl Fn() -> Option<Vec<u8>>,
        wanted: impl Fn(&Self) -> bool,
    ) -> Self {
        let deadline = Instant::now() + patience;
        let mut last = None;
        while Instant::now() < deadline {
            last = read().and_then(|bytes| Self::of(&bytes));
            match last {
                Some(state) if wanted(&state) => return state,
                _ => sleep(Duration::from_millis(5)),
            }
        }
        panic!("{name} does not become what is waited for: {last:?}")
    }

    /// What this block says; none while it is being written.
    #[must_use]
    pub fn of(block: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(block);
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let map: BTreeMap<_, _> = pairs
            .map(|(key, value)| (key.to_owned(), value.trim_end().to_owned()))
            .collect();
        (map.contains_key("seq") && map.get("seq") == map.get("end")).then_some(Self(map))
    }

    /// The value of a key, if there is that key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The value of a key.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.get(key)
            .unwrap_or_else(|| panic!("no {key} in {self:?}"))
    }

    /// The value of a key that is a number.
    #[must_use]
    pub fn number(&self, key: &str) -> u64 {
        let text = self.text(key);
        text.parse()
            .unwrap_or_else(|_| panic!("{key} is {text} and no number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_is_being_written_is_none() {
        assert!(State::of(b"seq=1\nticks=3\nend=1\n   ").is_some());
        assert_eq!(State::of(b"seq=2\nticks=3\nend=1\n"), None);
        assert_eq!(State::of(b""), None);
    }
}
