//! A histogram of whole numbers that threads fill without waiting for each other.
//!
//! Buckets are log-linear, as in Gil Tene's HdrHistogram: each power of two is split into [`SPLIT`] equal parts, so
//! a value is known to within 1/64 of itself, and its bucket's middle to within 1/128.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets of a power of two, as a power of two.
const BITS: u32 = 6;
/// Buckets of a power of two.
const SPLIT: u64 = 1 << BITS;

/// Counts of values from 1 to a largest one. Recording is two relaxed atomic additions.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// For values up to `2^bits`; larger ones count as that.
    pub(super) fn new(bits: u32) -> Histogram {
        let n = bucket((1 << bits.min(62)) - 1) + 1;
        Histogram { buckets: (0..n).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    /// Counts `value`; 0 counts as 1.
    pub(super) fn record(&self, value: u64) {
        // A bucket holds its upper bound and not its lower one, so that powers of two are bounds "or less".
        let last = self.buckets.len().saturating_sub(1);
        if let Some(b) = self.buckets.get(bucket(value.saturating_sub(1)).min(last)) {
            b.fetch_add(1, Ordering::Relaxed);
            self.sum.fetch_add(value, Ordering::Relaxed);
        }
    }

    /// What was counted so far. Other threads may go on counting: the copy's number of values is always that of
    /// its buckets, its sum may be ahead of them.
    pub(super) fn snapshot(&self) -> Distribution {
        let counts = self.buckets.iter().enumerate();
        let counts = counts.filter_map(|(i, c)| match c.load(Ordering::Relaxed) {
            0 => None,
            c => Some((i, c)),
        });
        let buckets: Vec<(usize, u64)> = counts.collect();
        Distribution { buckets, sum: self.sum.load(Ordering::Relaxed) }
    }
}

/// The bucket of `v`: exact below 64, then 64 per power of two.
fn bucket(v: u64) -> usize {
    if v < SPLIT {
        return v as usize;
    }
    let shift = 63 - v.leading_zeros() - BITS;
    ((u64::from(shift) << BITS) + (v >> shift)) as usize
}

/// The least value of a bucket and how many values it spans.
fn range(bucket: usize) -> (u64, u64) {
    let i = bucket as u64;
    if i < SPLIT {
        return (i, 1);
    }
    let shift = (i >> BITS) - 1;
    ((i - (shift << BITS)) << shift, 1 << shift)
}

/// A copy of a histogram: nanoseconds, or tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Index and count of the buckets that are not empty, by index.
    buckets: Vec<(usize, u64)>,
    sum: u64,
}

impl Distribution {
    /// How many values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |n, b| n.saturating_add(b.1))
    }

    /// All of them together, exactly.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The mean; 0 of nothing.
    pub fn mean(&self) -> f64 {
        self.sum as f64 / self.count().max(1) as f64
    }

    /// The value that a share `q` (0 to 1) of the values does not exceed, within 0.8 %; `None` of nothing.
    ///
    /// Of `n` values the one of rank `ceil(q * n)`, at least 1 (nearest rank).
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let rank = ((q.clamp(0.0, 1.0) * self.count() as f64).ceil() as u64).max(1);
        let mut seen = 0u64;
        for &(i, n) in &self.buckets {
            seen = seen.saturating_add(n);
            if seen >= rank {
                let (low, span) = range(i);
                return Some(low + span / 2 + 1 - u64::from(span > 1));
            }
        }
        None
    }

    /// How many values are at most `2^bits`, exactly.
    pub fn at_most_power(&self, bits: u32) -> u64 {
        let end = bucket(1 << bits.min(62));
        self.buckets.iter().filter(|b| b.0 < end).fold(0, |n, b| n.saturating_add(b.1))
    }

    /// Adds another's values.
    pub fn merge(&mut self, other: &Distribution) {
        for &(i, n) in &other.buckets {
            match self.buckets.binary_search_by_key(&i, |b| b.0) {
                Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(n),
                Err(at) => self.buckets.insert(at, (i, n)),
            }
        }
        self.sum = self.sum.saturating_add(other.sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_its_bucket_and_buckets_have_no_gaps() {
        let mut next = 0;
        for b in 0..35 * 64 {
            let (low, span) = range(b);
            assert_eq!(low, next, "bucket {b}");
            for v in [low, low + span / 2, low + span - 1] {
                assert_eq!(bucket(v), b, "{v}");
            }
            assert!(span == 1 || low / span >= 64);
            next = low + span;
        }
        assert_eq!(bucket(u64::MAX), bucket(u64::MAX - 1));
    }

    #[test]
    fn quantiles_are_near_those_of_the_sorted_values() {
        let h = Histogram::new(40);
        let mut state = 9u64;
        let mut all: Vec<u64> = (0..5000)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                1 + (state >> 33) % (1 << (1 + (state >> 58) % 30))
            })
            .collect();
        all.iter().for_each(|&v| h.record(v));
        all.sort_unstable();
        let d = h.snapshot();
        assert_eq!((d.count(), d.sum()), (5000, all.iter().sum()));
        for q in [0.0, 0.01, 0.5, 0.95, 0.99, 1.0] {
            let rank = ((q * 5000.0f64).ceil() as usize).max(1);
            let (exact, got) = (all[rank - 1] as f64, d.quantile(q).unwrap() as f64);
            assert!((got - exact).abs() <= exact / 128.0 + 0.5, "{q}: {got} for {exact}");
        }
        for bits in 0..32 {
            let exact = all.iter().filter(|&&v| v <= 1 << bits).count() as u64;
            assert_eq!(d.at_most_power(bits), exact, "2^{bits}");
        }
    }

    #[test]
    fn small_values_are_exact_and_large_ones_are_held() {
        let h = Histogram::new(20);
        for v in [0, 1, 16, 64, u64::MAX >> 1] {
            h.record(v);
        }
        let d = h.snapshot();
        assert_eq!(d.quantile(0.2), Some(1));
        assert_eq!(d.quantile(0.6), Some(16));
        assert_eq!(d.quantile(0.8), Some(64));
        assert!(d.quantile(1.0).unwrap() <= 1 << 20);
        assert_eq!(Histogram::new(20).snapshot().quantile(0.5), None);
    }

    #[test]
    fn threads_lose_nothing_and_merging_adds() {
        let h = Histogram::new(40);
        std::thread::scope(|s| {
            for t in 0..4u64 {
                let h = &h;
                s.spawn(move || (0..10_000).for_each(|i| h.record(1 + i % 97 * (t + 1))));
            }
        });
        let mut d = h.snapshot();
        assert_eq!(d.count(), 40_000);
        let one = d.clone();
        d.merge(&one);
        assert_eq!((d.count(), d.sum()), (80_000, 2 * one.sum()));
        assert_eq!(d.quantile(0.5), one.quantile(0.5));
    }
}
