//! Medians, percentiles and bootstrap intervals, and the clock of what is measured without others on the machine.

use std::time::Duration;

use kernel_tests::random::Random;
use rustix::time::{ClockId, clock_gettime};

/// Resamplings of a bootstrap: enough for two digits of its interval.
const RESAMPLINGS: usize = 2000;

/// Processor time of this thread, exact also while it runs (`/proc/thread-self/schedstat` is as of the last tick).
pub(crate) fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// A median with the interval that holds it with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The value below which a part `q` (0 to 1) of the samples lies; the nearest one that was seen. NaN without samples.
pub(crate) fn quantile(samples: &[f64], q: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    sorted[(last as f64 * q).round() as usize]
}

/// The middle of the samples. NaN without samples.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// The median and its bootstrap interval.
pub(crate) fn estimate(samples: &[f64]) -> Estimate {
    let mut random = Random(1);
    let medians: Vec<f64> = (0..RESAMPLINGS)
        .map(|_| {
            let again: Vec<f64> = samples.iter().map(|_| samples[random.below(samples.len())]).collect();
            median(&again)
        })
        .collect();
    Estimate { median: median(samples), low: quantile(&medians, 0.025), high: quantile(&medians, 0.975) }
}

/// How far rounds of one and the same thing lie apart: the median of |a/b - 1| over neighbours.
pub(crate) fn noise(rounds: &[f64]) -> f64 {
    let steps: Vec<f64> = rounds.windows(2).map(|pair| (pair[0] / pair[1] - 1.0).abs()).collect();
    median(&steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
        let hundred: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(
            (quantile(&hundred, 0.5), quantile(&hundred, 0.99), quantile(&hundred, 1.0)),
            (50.0, 99.0, 100.0)
        );
    }

    #[test]
    fn the_interval_holds_the_median_and_shrinks() {
        let wide: Vec<f64> = (0..15).map(|i| 1.0 + f64::from(i % 5) * 0.1).collect();
        let narrow: Vec<f64> = (0..15).map(|i| 1.0 + f64::from(i % 5) * 0.01).collect();
        let (wide, narrow) = (estimate(&wide), estimate(&narrow));
        assert!(wide.low <= wide.median && wide.median <= wide.high);
        assert!(narrow.high - narrow.low < wide.high - wide.low);
        assert_eq!(estimate(&[2.0]), Estimate { median: 2.0, low: 2.0, high: 2.0 });
    }

    #[test]
    fn noise_of_steady_and_of_shaky_rounds() {
        assert_eq!(noise(&[5.0, 5.0, 5.0]), 0.0);
        assert!((noise(&[1.0, 2.0, 1.0]) - 0.75).abs() < 1e-9);
    }
}
