//! When an object that could not be let go is looked at again.

use std::{collections::HashMap, time::Duration};

use super::store::Uid;

/// The first and the longest wait.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_mins(5);

/// How long each object that could not be let go has waited last.
#[derive(Debug, Default)]
pub(super) struct Waits(HashMap<Uid, Duration>);

impl Waits {
    /// How long to wait before the next look: twice as long as before, up to a bound.
    pub(super) fn next(&mut self, uid: &str) -> Duration {
        let last = self.0.get(uid);
        let wait = last.map_or(FIRST, |last| (*last * 2).min(LONGEST));
        self.0.insert(uid.to_owned(), wait);
        wait
    }

    /// The object has changed, is let go or gone.
    pub(super) fn forget(&mut self, uid: &str) {
        self.0.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_begin_anew_for_who_was_forgotten() {
        let mut waits = Waits::default();
        let seconds: Vec<_> = (0..8).map(|_| waits.next("a").as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(waits.next("b"), FIRST);
        waits.forget("a");
        assert_eq!(waits.next("a"), FIRST);
    }
}
