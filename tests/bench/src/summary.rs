//! From samples to medians, spreads and verdicts.

use serde::Serialize;

use crate::plan::{Contender, Row};

/// One checkpoint, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// The round it belongs to.
    pub(crate) round: usize,
    /// From the command's start to its end.
    pub(crate) wall: f64,
    /// The largest gap between two of the application's clock readings.
    pub(crate) pause: f64,
    /// CRIU's `frozen_time`.
    pub(crate) frozen: f64,
    /// CRIU's `freezing_time`.
    pub(crate) freezing: f64,
}

/// Where the values of one measure lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// The smallest.
    pub(crate) min: f64,
    /// A tenth is not larger.
    pub(crate) p10: f64,
    /// Half are not larger.
    pub(crate) median: f64,
    /// Nine tenths are not larger.
    pub(crate) p90: f64,
    /// The largest.
    pub(crate) max: f64,
}

impl Spread {
    /// The spread of some values; zeroes without any.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |percent| quantile(&sorted, percent);
        Self {
            min: at(0),
            p10: at(10),
            median: at(50),
            p90: at(90),
            max: at(100),
        }
    }
}

/// The value below which `percent` of a sorted list lie, between two neighbours if need be.
pub(crate) fn quantile(sorted: &[f64], percent: u32) -> f64 {
    let last = u32::try_from(sorted.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let position = f64::from(last) * f64::from(percent) / 100.0;
    let below = (u64::from(last) * u64::from(percent)) / 100;
    let index = usize::try_from(below).unwrap_or(usize::MAX);
    let low = sorted.get(index).copied().unwrap_or(0.0);
    let high = sorted.get(index + 1).copied().unwrap_or(low);
    low + (high - low) * position.fract()
}

/// What one contender did in one row.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    /// Who.
    pub(crate) contender: Contender,
    /// Its wall time.
    pub(crate) wall: Spread,
    /// The pause that the application saw.
    pub(crate) pause: Spread,
    /// CRIU's frozen time.
    pub(crate) frozen: Spread,
    /// All of it.
    pub(crate) samples: Vec<Sample>,
}

impl Measured {
    /// The spreads of some samples.
    pub(crate) fn of(contender: Contender, samples: Vec<Sample>) -> Self {
        let spread = |pick: fn(&Sample) -> f64| Spread::of(samples.iter().map(pick));
        Self {
            contender,
            wall: spread(|sample| sample.wall),
            pause: spread(|sample| sample.pause),
            frozen: spread(|sample| sample.frozen),
            samples,
        }
    }
}

/// A row's outcome.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RowResult {
    /// What was measured.
    pub(crate) row: Row,
    /// The largest gap per idle window of the workload, without any checkpoint: the noise.
    pub(crate) noise: Spread,
    /// runc.
    pub(crate) runc: Measured,
    /// Ours.
    pub(crate) ours: Measured,
    /// Ours with fsync and digest.
    pub(crate) durable: Measured,
    /// Our median pause as a part of runc's.
    pub(crate) pause_ratio: f64,
    /// Our median wall time as a part of runc's.
    pub(crate) wall_ratio: f64,
    /// Whether both are within the target; nothing without a target.
    pub(crate) passed: Option<bool>,
}

impl RowResult {
    /// Compares the medians with the row's target.
    pub(crate) fn of(row: Row, noise: Spread, [runc, ours, durable]: [Measured; 3]) -> Self {
        let pause_ratio = ratio(ours.pause.median, runc.pause.median);
        let wall_ratio = ratio(ours.wall.median, runc.wall.median);
        let passed = row
            .target
            .map(|target| pause_ratio <= target.pause && wall_ratio <= target.wall);
        Self {
            row,
            noise,
            runc,
            ours,
            durable,
            pause_ratio,
            wall_ratio,
            passed,
        }
    }
}

/// A part of a whole; infinite when the whole is nothing, which then passes no target.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        part / whole
    } else {
        f64::INFINITY
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::ROWS;

    pub(crate) fn measured(contender: Contender, milliseconds: f64) -> Measured {
        let sample = Sample {
            round: 0,
            wall: milliseconds,
            pause: milliseconds,
            frozen: milliseconds,
            freezing: 1.0,
        };
        Measured::of(contender, vec![sample; 3])
    }

    pub(crate) fn result(row: Row, runc: f64, ours: f64) -> RowResult {
        RowResult::of(
            row,
            Spread::of([0.3]),
            [
                measured(Contender::Runc, runc),
                measured(Contender::Ours, ours),
                measured(Contender::Durable, ours + 1.0),
            ],
        )
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]);
        assert!((spread.median - 2.5).abs() < 1e-9);
        assert!((spread.min - 1.0).abs() < 1e-9 && (spread.max - 4.0).abs() < 1e-9);
    }

    #[test]
    fn a_row_passes_at_its_target_and_fails_beyond_it() {
        assert_eq!(result(ROWS[0], 100.0, 40.0).passed, Some(true));
        assert_eq!(result(ROWS[0], 100.0, 40.1).passed, Some(false));
        assert_eq!(result(ROWS[6], 100.0, 400.0).passed, None);
    }

    #[test]
    fn nothing_measured_passes_nothing() {
        assert_eq!(result(ROWS[0], 0.0, 0.0).passed, Some(false));
    }

    proptest! {
        #[test]
        fn spreads_are_in_order(values in proptest::collection::vec(0.0..1e6_f64, 1..60)) {
            let spread = Spread::of(values);
            prop_assert!(spread.min <= spread.p10);
            prop_assert!(spread.p10 <= spread.median);
            prop_assert!(spread.median <= spread.p90);
            prop_assert!(spread.p90 <= spread.max);
        }
    }
}
