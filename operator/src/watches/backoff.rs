//! How long a watch that was interrupted waits before it is resumed.

use std::time::Duration;

use kube::runtime::utils::{Backoff, ResetTimerBackoff};

/// The first wait.
const FIRST: Duration = Duration::from_millis(500);

/// The longest wait. Checkpoints wait for the watches, so an API server that is back is noticed
/// soon; four watches of one process do it no harm.
const LONGEST: Duration = Duration::from_secs(8);

/// How long no watch may have been interrupted before the waits begin anew. Something that a watch
/// has brought is no sign of health: one that cannot list begins each time with the word that it
/// does.
const CALM: Duration = Duration::from_secs(30);

/// The waits of a watch.
pub(super) fn patience() -> impl Backoff {
    ResetTimerBackoff::new(Patience::default(), CALM)
}

/// Doubles the wait up to the longest.
#[derive(Debug)]
struct Patience(Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.0;
        self.0 = wait.saturating_mul(2).min(LONGEST);
        Some(wait)
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_the_longest_and_begins_anew() {
        let mut patience = Patience::default();
        let waits: Vec<u128> = patience
            .by_ref()
            .take(6)
            .map(|wait| wait.as_millis())
            .collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 8000]);
        patience.reset();
        assert_eq!(patience.next(), Some(FIRST));
    }
}
