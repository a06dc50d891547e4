//! Exponential backoff, for failed tasks and lost connections alike.

use std::time::Duration;

/// The pause after so many failures in a row: `base` after the first one, doubled with every further one up
/// to `limit`, or to `base` where that is longer. It is spread at random from half to one and a half of that,
/// so that what failed together is not tried again together.
pub fn backoff(base: Duration, failures: u32, limit: Duration) -> Duration {
    let doubled = base.saturating_mul(1 << failures.saturating_sub(1).min(20));
    doubled.min(limit.max(base)).mul_f64(0.5 + fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_limit_and_spreads_around_its_mean() {
        for (failures, mean) in [(0, 1), (1, 1), (2, 2), (3, 4), (30, 3600), (u32::MAX, 3600)] {
            for _ in 0..100 {
                let pause = backoff(Duration::from_secs(1), failures, Duration::from_secs(3600));
                let mean = Duration::from_secs(mean);
                assert!((mean / 2..mean * 3 / 2).contains(&pause), "after {failures}: {pause:?}");
            }
        }
    }

    #[test]
    fn backoff_keeps_a_base_that_is_longer_than_the_limit() {
        let day = Duration::from_secs(24 * 60 * 60);
        for failures in [1, 2, 9] {
            let pause = backoff(day, failures, Duration::from_secs(3600));
            assert!((day / 2..day * 3 / 2).contains(&pause), "after {failures}: {pause:?}");
        }
    }
}
