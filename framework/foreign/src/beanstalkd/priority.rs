//! The priorities of beanstalkd as those of the server.

/// The least priority of beanstalkd in each band, from the most urgent band to the least; the first is 9.
///
/// Their order is kept: of two jobs in different bands the one comes first that would with beanstalkd. Jobs
/// of one band come in the order of their arrival. The usual defaults of client libraries, 1,024, 65,536 and
/// 2,147,483,648, begin a band each.
const BANDS: [u32; 10] = [0, 1, 10, 100, 1_024, 10_000, 65_536, 1_000_000, 1 << 31, u32::MAX];

/// The first priority that is not urgent in the counts of beanstalkd.
const NOT_URGENT: u32 = 1_024;

/// The priority of the server, 9 to 0, for one of beanstalkd, of which 0 is the most urgent.
pub(super) fn band(priority: u32) -> u8 {
    let index = BANDS.partition_point(|least| *least <= priority);
    9 - (index.saturating_sub(1) as u8)
}

/// The number of urgent jobs among those of each priority of the server.
pub(super) fn urgent(due: &[u64; 10]) -> u64 {
    due[usize::from(band(NOT_URGENT)) + 1..].iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn band_keeps_the_order_of_priorities() {
        let priorities = [0, 1, 9, 10, 100, 1_023, 1_024, 65_535, 65_536, 1_000_000, 1 << 31, u32::MAX];
        assert_eq!(priorities.map(band), [9, 8, 8, 7, 6, 6, 5, 4, 3, 2, 1, 0]);
        let mut last = 9;
        for bit in 0..32 {
            let band = band(1 << bit);
            assert!(band <= last, "2^{bit}");
            last = band;
        }
    }

    #[test]
    fn urgent_counts_the_bands_below_1024() {
        assert_eq!(urgent(&[1, 1, 1, 1, 1, 1, 10, 100, 1_000, 10_000]), 11_110);
    }
}
