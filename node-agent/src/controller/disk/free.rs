//! Free bytes as they are published: coarsely, so that they change seldom.

/// Rounds down to a step of an eighth of a power of two: three binary digits behind the first.
#[must_use]
pub fn coarse(bytes: u64) -> u64 {
    bytes - bytes % step(bytes)
}

/// The width of the step that a number lies on.
fn step(bytes: u64) -> u64 {
    bytes
        .checked_ilog2()
        .map_or(1, |log| 1 << log.saturating_sub(3))
}

/// What was published last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FreeBytes(Option<u64>);

impl FreeBytes {
    /// What is published.
    #[must_use]
    pub fn published(self) -> Option<u64> {
        self.0
    }

    /// Takes a new measurement and says what to publish when that has changed. It never promises
    /// more than there is: less room shows at once, more only when it exceeds the published step by
    /// half a step, so that a disk at a step's edge does not flicker.
    pub fn look(&mut self, usable: u64) -> Option<u64> {
        if let Some(published) = self.0 {
            let step = step(published);
            let rise = published.saturating_add(step).saturating_add(step / 2);
            let small = published > 0 && usable >= published && usable < rise;
            if small || usable == published {
                return None;
            }
        }
        let now = coarse(usable);
        let changed = self.0 != Some(now);
        self.0 = Some(now);
        changed.then_some(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_rounded_down_to_an_eighth_of_a_power_of_two() {
        for (bytes, rounded) in [
            (0, 0),
            (1, 1),
            (15, 15),
            (17, 16),
            (1000, 960),
            (1023, 960),
            (1024, 1024),
            (1151, 1024),
            (1152, 1152),
            (u64::MAX, 0xf << 60),
        ] {
            assert_eq!(coarse(bytes), rounded, "{bytes}");
        }
    }

    #[test]
    fn a_disk_at_a_steps_edge_does_not_flicker() {
        let mut free = FreeBytes::default();
        assert_eq!(free.look(1152), Some(1152));
        assert_eq!(free.look(1151), Some(1024));
        assert_eq!(free.look(1152), None);
        assert_eq!(free.look(1151), None);
        assert_eq!(free.look(1215), None);
        assert_eq!(free.look(1216), Some(1152));
        assert_eq!(free.look(1152), None);
        assert_eq!(free.look(0), Some(0));
        assert_eq!(free.look(0), None);
        assert_eq!(free.look(5), Some(5));
    }

    proptest! {
        #[test]
        fn no_more_is_promised_than_there_is(looks in proptest::collection::vec(any::<u64>(), 1..20)) {
            let mut free = FreeBytes::default();
            for usable in looks {
                free.look(usable);
                let published = free.published().unwrap();
                prop_assert!(published <= usable);
                prop_assert_eq!(published, coarse(published));
            }
        }
    }
}
