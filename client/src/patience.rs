//! How long a watch that was interrupted waits before it is resumed.

use std::time::Duration;

use backon::ExponentialBuilder;
use kube::runtime::{
    utils::{Backoff, ResetTimerBackoff},
    watcher::ExponentialBackoff,
};

/// The first wait.
const FIRST: Duration = Duration::from_millis(500);

/// The longest wait, before chance at most doubles it. Checkpoints and their removal wait for the
/// watches, so an API server that is back is noticed soon. The client's own default may wait for a
/// minute.
const LONGEST: Duration = Duration::from_secs(5);

/// How long no watch may have been interrupted before the waits begin anew. Something that a watch
/// has brought is no sign of health: one that cannot list begins each time with the word that it
/// does.
const CALM: Duration = Duration::from_secs(30);

/// The waits of a watch: each about twice the one before. Chance keeps the agents of a large
/// cluster from coming back all at once.
#[must_use]
pub fn patience() -> impl Backoff {
    let waits = ExponentialBuilder::new()
        .with_min_delay(FIRST)
        .with_max_delay(LONGEST)
        .with_factor(2.0)
        .without_max_times()
        .with_jitter();
    ResetTimerBackoff::new(ExponentialBackoff::from(waits), CALM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_up_to_the_longest_never_ends_and_begins_anew() {
        let mut patience = patience();
        for least in [500, 1000, 2000, 4000, 5000, 5000, 5000] {
            let least = Duration::from_millis(least);
            let wait = patience.next().unwrap_or_default();
            assert!(wait >= least && wait <= least * 2, "{wait:?} for {least:?}");
        }
        assert!(patience.by_ref().take(1000).count() == 1000);
        patience.reset();
        assert!(patience.next().is_some_and(|wait| wait <= FIRST * 2));
    }
}
