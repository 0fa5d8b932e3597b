//! Figures and how sure they are.

use crate::data::Rng;

/// Probabilities of logits divided by `temperature`.
pub fn softmax(x: &[f32], temperature: f64) -> Vec<f64> {
    let max = x.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(f64::from(v)));
    let e: Vec<f64> = x.iter().map(|&v| ((f64::from(v) - max) / temperature).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.into_iter().map(|v| v / sum).collect()
}

/// Kullback-Leibler divergence of the distribution of `q` from that of `p`, both logits, in nats.
pub fn kl(p: &[f32], q: &[f32]) -> f64 {
    let (p, q) = (softmax(p, 1.0), softmax(q, 1.0));
    p.iter().zip(&q).map(|(p, q)| p * ((p + 1e-12).ln() - (q + 1e-12).ln())).sum::<f64>().max(0.0)
}

/// The first largest value.
pub fn argmax(x: &[f32]) -> usize {
    let mut best = 0;
    for (i, v) in x.iter().enumerate() {
        if *v > x[best] {
            best = i;
        }
    }
    best
}

/// Wilson's 95 % interval of a rate (Wilson 1927).
pub fn wilson(hits: usize, n: usize) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (z, n, p) = (1.959_963_985f64, n as f64, hits as f64 / n as f64);
    let middle = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + z * z / n;
    (((middle - half) / whole).max(0.0), ((middle + half) / whole).min(1.0))
}

/// The 95 % interval of a statistic over `n` things by 1,000 resamples: `of` gets the drawn indices.
pub fn bootstrap(n: usize, seed: u64, of: impl Fn(&[usize]) -> f64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 0.0);
    }
    let mut rng = Rng::new(seed);
    let mut drawn = vec![0; n];
    let mut values: Vec<f64> = (0..1000)
        .map(|_| {
            drawn.iter_mut().for_each(|d| *d = rng.below(n));
            of(&drawn)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    (values[25], values[974])
}

/// The 95 % interval of a mean, by [`bootstrap`].
pub fn mean_interval(x: &[f64], seed: u64) -> (f64, f64) {
    bootstrap(x.len(), seed, |d| d.iter().map(|&i| x[i]).sum::<f64>() / d.len() as f64)
}

/// The 95 % interval of a ratio of sums of pairs, by [`bootstrap`] of the pairs: of what several tokens of a text
/// share, the text is drawn as a whole.
pub fn ratio_interval(x: &[(f64, f64)], seed: u64) -> (f64, f64) {
    bootstrap(x.len(), seed, |d| {
        let (a, b) = d.iter().fold((0.0, 0.0), |s, &i| (s.0 + x[i].0, s.1 + x[i].1));
        if b > 0.0 { a / b } else { 0.0 }
    })
}

/// A rate with its interval, in shares of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Rate {
    /// How many of `of`.
    pub hits: usize,
    /// Of how many; the rate of nothing is 0 with the interval 0 to 1.
    pub of: usize,
    /// `hits / of`.
    pub value: f64,
    /// Wilson's 95 % interval.
    pub interval: (f64, f64),
}

impl Rate {
    /// `hits` of `of`.
    pub fn new(hits: usize, of: usize) -> Rate {
        Rate { hits, of, value: hits as f64 / of.max(1) as f64, interval: wilson(hits, of) }
    }
}

/// The two-sided exact McNemar test: `b` right only before, `c` right only after.
pub fn mcnemar(b: usize, c: usize) -> f64 {
    let n = b + c;
    if n == 0 {
        return 1.0;
    }
    // Sum of binomial(n, 1/2) up to min(b, c), by logarithms.
    let ln_half = -(n as f64) * std::f64::consts::LN_2;
    let mut ln_choose = 0.0f64;
    let mut sum = 0.0;
    for i in 0..=b.min(c) {
        if i > 0 {
            ln_choose += ((n - i + 1) as f64 / i as f64).ln();
        }
        sum += (ln_choose + ln_half).exp();
    }
    (2.0 * sum).min(1.0)
}

/// Spearman's rank correlation; equal values share their mean rank.
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (ma, mb) = (mean(&a), mean(&b));
    let dot = |x: &[f64], mx: f64, y: &[f64], my: f64| {
        x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>()
    };
    dot(&a, ma, &b, mb) / (dot(&a, ma, &a, ma) * dot(&b, mb, &b, mb)).sqrt()
}

fn ranks(x: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&i, &j| x[i].total_cmp(&x[j]));
    let mut out = vec![0.0; x.len()];
    let mut i = 0;
    while i < order.len() {
        let mut j = i;
        while j < order.len() && x[order[j]] == x[order[i]] {
            j += 1;
        }
        for &o in &order[i..j] {
            out[o] = (i + j - 1) as f64 / 2.0;
        }
        i = j;
    }
    out
}

/// One of the ten stretches of confidence in a reliability diagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Bin {
    /// Answers in it.
    pub n: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// How many are right.
    pub accuracy: f64,
}

/// Expected calibration error over ten bins (Naeini et al. 2015; Guo et al. 2017) and the bins, from pairs of
/// confidence and being right.
pub fn ece(answers: &[(f64, bool)]) -> (f64, Vec<Bin>) {
    let mut bins = vec![(0usize, 0.0f64, 0usize); 10];
    for &(p, right) in answers {
        let b = &mut bins[((p * 10.0) as usize).min(9)];
        *b = (b.0 + 1, b.1 + p, b.2 + usize::from(right));
    }
    let n = answers.len().max(1) as f64;
    let error = bins.iter().map(|&(_, p, right)| (p - right as f64).abs() / n).sum();
    let bins = bins
        .into_iter()
        .map(|(k, p, right)| {
            let d = k.max(1) as f64;
            Bin { n: k, confidence: p / d, accuracy: right as f64 / d }
        })
        .collect();
    (error, bins)
}

/// The temperature that gives right labels the highest likelihood (Guo et al. 2017), 0.2 to 5.
pub fn temperature(logits: &[(&[f32], usize)]) -> f64 {
    let loss = |ln_t: f64| -> f64 {
        let t = ln_t.exp();
        logits.iter().map(|(x, y)| -(softmax(x, t).get(*y).copied().unwrap_or(0.0) + 1e-12).ln()).sum()
    };
    // Golden-section search: the loss has one minimum in 1/t.
    let (mut a, mut b) = (0.2f64.ln(), 5.0f64.ln());
    let g = (5f64.sqrt() - 1.0) / 2.0;
    while b - a > 1e-4 {
        let (c, d) = (b - g * (b - a), a + g * (b - a));
        if loss(c) < loss(d) {
            b = d;
        } else {
            a = c;
        }
    }
    ((a + b) / 2.0).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn textbook_values() {
        // Wilson's interval of 10 in 100 (R: prop.test(10, 100, correct = FALSE)).
        let (a, b) = wilson(10, 100);
        assert!((a - 0.0552).abs() < 1e-4 && (b - 0.1744).abs() < 1e-4, "{a} {b}");
        // binom.test(3, 12): 0.1460.
        assert!((mcnemar(3, 9) - 0.145_996).abs() < 1e-5);
        assert_eq!(mcnemar(0, 0), 1.0);
        assert!((spearman(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0]) - 0.8).abs() < 1e-12);
        assert!((spearman(&[1.0, 1.0, 2.0], &[5.0, 5.0, 9.0]) - 1.0).abs() < 1e-12);
        assert!(
            (kl(&[0.0, 0.0], &[0.0, 3f32.ln()]) - (0.5 * (2.0f64 / 1.0).ln() + 0.5 * (2.0f64 / 3.0).ln()))
                .abs()
                < 1e-6
        );
    }

    #[test]
    fn calibration() {
        let answers: Vec<(f64, bool)> = (0..100).map(|i| (0.85, i < 85)).collect();
        assert!(ece(&answers).0 < 1e-9);
        let sure: Vec<(f64, bool)> = (0..100).map(|i| (0.95, i < 50)).collect();
        assert!((ece(&sure).0 - 0.45).abs() < 1e-9);
        // Logits twice too large for labels that are right with probability 3/4.
        let x = [0.0f32, 2.0 * 3f32.ln()];
        let rows: Vec<(&[f32], usize)> = (0..400).map(|i| (&x[..], usize::from(i % 4 != 0))).collect();
        assert!((temperature(&rows) - 2.0).abs() < 1e-2);
    }

    #[test]
    fn a_bootstrap_holds_the_mean() {
        let x: Vec<f64> = (0..400).map(|i| f64::from(i % 10)).collect();
        let (a, b) = bootstrap(x.len(), 1, |d| d.iter().map(|&i| x[i]).sum::<f64>() / d.len() as f64);
        assert!(a < 4.5 && 4.5 < b && b - a < 0.7, "{a} {b}");
    }
}
