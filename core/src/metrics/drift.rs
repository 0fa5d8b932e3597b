//! Whether texts and answers still look like those of the baseline.
//!
//! The score is the population stability index of each axis over a window of texts, Σ (q - p) ln(q / p) with p the
//! baseline's shares and q the window's. An index that is large by chance alone raises no alarm: with shares that
//! did not change it is about χ² distributed, times 1/n + 1/m for n and m texts (B. Yurdakul, "Statistical properties
//! of population stability index", 2018), so it has to pass that distribution's 99.9 % quantile as well as the
//! threshold. The Jensen-Shannon divergence is told beside it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{
    AtomicBool, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::sync::{Mutex, PoisonError};

use super::Seen;
use super::baseline::{CONFIDENCE, HeadBaseline, TOKENS, UNKNOWN, label_bins};
use crate::error::{Error, Result};

/// A rarer bin joins its rare neighbours until they expect this many texts of a window together, as usual for χ².
const FEWEST: f64 = 5.0;
/// The 99.9 % quantile of the normal distribution.
const Z: f64 = 3.0902;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Axis {
    /// Tokens per text.
    TokenLength,
    /// Share of tokens that the vocabulary lacks.
    UnknownRate,
    /// How sure answers are.
    Confidence,
    /// Which labels are given.
    LabelMix,
}

impl Axis {
    /// The name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Axis::TokenLength => "token_length",
            Axis::UnknownRate => "unknown_rate",
            Axis::Confidence => "confidence",
            Axis::LabelMix => "label_mix",
        }
    }
}

/// How to watch.
#[derive(Clone, Debug, PartialEq)]
pub struct DriftOptions {
    /// Texts of a window, 50 to 1,000,000.
    pub window: u64,
    /// An axis has drifted when its population stability index is above this. Usual reading: below 0.1 nothing,
    /// to 0.25 a little, above that much.
    pub threshold: f64,
}

impl Default for DriftOptions {
    /// Windows of 500 texts, threshold 0.2.
    fn default() -> Self {
        DriftOptions { window: 500, threshold: 0.2 }
    }
}

/// One axis of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AxisScore {
    /// Which.
    pub axis: Axis,
    /// Population stability index: 0 for equal shares, without upper bound.
    pub psi: f64,
    /// Jensen-Shannon divergence in bits: 0 for equal shares, at most 1.
    pub js: f64,
    /// The index above which the axis counts as drifted: the threshold, or more where chance reaches that far.
    pub limit: f64,
}

impl AxisScore {
    /// Whether the axis drifted.
    pub fn drifted(&self) -> bool {
        self.psi > self.limit
    }
}

/// What a window looked like beside the baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct DriftReport {
    /// Number of the window, from 1.
    pub window: u64,
    /// Texts in it.
    pub texts: u64,
    /// The axes that both sides have.
    pub axes: Vec<AxisScore>,
}

impl DriftReport {
    /// The largest index.
    pub fn score(&self) -> f64 {
        self.axes.iter().fold(0.0, |m, a| m.max(a.psi))
    }

    /// Whether any axis drifted.
    pub fn drifted(&self) -> bool {
        self.axes.iter().any(AxisScore::drifted)
    }

    /// Compares two sets of counts; `window` is left 0.
    pub fn compare(baseline: &HeadBaseline, seen: &HeadBaseline, threshold: f64) -> DriftReport {
        let axes = [
            (Axis::TokenLength, &baseline.token_length, &seen.token_length),
            (Axis::UnknownRate, &baseline.unknown_rate, &seen.unknown_rate),
            (Axis::Confidence, &baseline.confidence, &seen.confidence),
            (Axis::LabelMix, &baseline.labels, &seen.labels),
        ];
        let scores = axes.into_iter().filter_map(|(axis, b, s)| score(axis, b, s, threshold));
        DriftReport { window: 0, texts: seen.texts, axes: scores.collect() }
    }
}

impl fmt::Display for DriftReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "window {} of {} texts:", self.window, self.texts)?;
        for a in &self.axes {
            let mark = if a.drifted() { " (drifted)" } else { "" };
            write!(f, " {} {:.3}{mark}", a.axis.name(), a.psi)?;
        }
        Ok(())
    }
}

fn score(axis: Axis, base: &[u64], seen: &[u64], threshold: f64) -> Option<AxisScore> {
    let total = |v: &[u64]| v.iter().fold(0.0, |s, &c| s + c as f64);
    let (m, n) = (total(base), total(seen));
    if base.len() != seen.len() || m == 0.0 || n == 0.0 {
        return None;
    }
    let groups = group(base, seen, n / m);
    let k = groups.len() as f64;
    // Half a text more in every bin keeps the logarithm of an empty one finite; the same share on both sides, so
    // that a bin that is empty on both adds nothing.
    let half = 0.5 / m.min(n);
    let (mut psi, mut js) = (0.0, 0.0);
    for (b, s) in groups {
        let p = (b / m + half) / (1.0 + half * k);
        let q = (s / n + half) / (1.0 + half * k);
        psi += (q - p) * (q / p).ln();
        let mid = (p + q) / 2.0;
        js += (p * (p / mid).log2() + q * (q / mid).log2()) / 2.0;
    }
    let limit = chi_squared(k - 1.0) * (1.0 / n + 1.0 / m);
    Some(AxisScore { axis, psi, js, limit: limit.max(threshold) })
}

/// Joins neighbouring bins that are too rare to be judged alone; a bin that is not stays by itself.
fn group(base: &[u64], seen: &[u64], scale: f64) -> Vec<(f64, f64)> {
    let mut groups = vec![];
    let mut rare: Option<(f64, f64)> = None;
    for (&b, &s) in base.iter().zip(seen) {
        let (b, s) = (b as f64, s as f64);
        if b * scale >= FEWEST {
            groups.extend(rare.take());
            groups.push((b, s));
            continue;
        }
        let (rb, rs) = rare.unwrap_or((0.0, 0.0));
        rare = Some((rb + b, rs + s));
        if (rb + b) * scale >= FEWEST {
            groups.extend(rare.take());
        }
    }
    groups.extend(rare);
    groups
}

/// The 99.9 % quantile of χ² with `k` degrees of freedom (Wilson and Hilferty, 1931).
fn chi_squared(k: f64) -> f64 {
    if k < 1.0 {
        return 0.0;
    }
    let v = 2.0 / (9.0 * k);
    k * (1.0 - v + Z * v.sqrt()).powi(3)
}

/// Counts by bin that threads add to without waiting.
#[derive(Debug)]
pub(super) struct Counts {
    texts: AtomicU64,
    tokens: [AtomicU64; TOKENS.len() + 1],
    unknown: [AtomicU64; UNKNOWN.len()],
    confidence: [AtomicU64; CONFIDENCE.len()],
    labels: Box<[AtomicU64]>,
}

impl Counts {
    pub(super) fn new(labels: usize) -> Counts {
        Counts {
            texts: AtomicU64::new(0),
            tokens: Default::default(),
            unknown: Default::default(),
            confidence: Default::default(),
            labels: (0..label_bins(labels)).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Adds a text; its number, from 1 since the last [`take`](Self::take) or the start.
    pub(super) fn add(&self, seen: &Seen) -> u64 {
        let count = |bins: &[AtomicU64], i: usize| {
            if let Some(b) = bins.get(i) {
                b.fetch_add(1, Relaxed);
            }
        };
        count(&self.tokens, TOKENS.iter().take_while(|&&t| seen.tokens > t).count());
        let share = seen.unknown as f64 / seen.tokens.max(1) as f64;
        count(&self.unknown, UNKNOWN.iter().take_while(|&&u| share > u).count().min(UNKNOWN.len() - 1));
        if let Some(c) = seen.confidence {
            let bin = CONFIDENCE.iter().take_while(|&&b| c > b).count();
            count(&self.confidence, bin.min(CONFIDENCE.len() - 1));
        }
        match seen.labels {
            [] => count(&self.labels, self.labels.len().wrapping_sub(1)),
            some => some.iter().for_each(|&l| count(&self.labels, l)),
        }
        // The bins come before the number: whoever sees the number sees them.
        self.texts.fetch_add(1, AcqRel) + 1
    }

    /// A copy.
    pub(super) fn read(&self) -> HeadBaseline {
        self.each(|a| a.load(Relaxed))
    }

    /// A copy, and everything back to zero. What other threads add meanwhile is in it or in the next one.
    fn take(&self) -> HeadBaseline {
        self.each(|a| a.swap(0, Relaxed))
    }

    fn each(&self, f: impl Fn(&AtomicU64) -> u64) -> HeadBaseline {
        self.texts.load(Acquire);
        let all = |bins: &[AtomicU64]| bins.iter().map(&f).collect::<Vec<_>>();
        let token_length = all(&self.tokens);
        let confidence = all(&self.confidence);
        HeadBaseline {
            texts: token_length.iter().sum(),
            unknown_rate: all(&self.unknown),
            confidence: if confidence.iter().any(|&n| n > 0) { confidence } else { vec![] },
            labels: all(&self.labels),
            token_length,
        }
    }
}

/// Compares windows of texts with a baseline. Lock-free but for the thread that ends a window.
pub struct DriftMonitor {
    baseline: HeadBaseline,
    options: DriftOptions,
    counts: Counts,
    judging: AtomicBool,
    windows: AtomicU64,
    last: Mutex<Option<DriftReport>>,
    on_drift: Box<dyn Fn(&DriftReport) + Send + Sync>,
}

impl fmt::Debug for DriftMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriftMonitor").field("options", &self.options).field("last", &self.last).finish()
    }
}

impl DriftMonitor {
    /// Watches beside `baseline`; `on_drift` as in [`Metrics::watch`](super::Metrics::watch), which feeds a monitor
    /// by itself.
    ///
    /// # Errors
    /// `InvalidArgument` for options out of range or a baseline without texts.
    pub fn new(
        baseline: &HeadBaseline,
        options: &DriftOptions,
        on_drift: impl Fn(&DriftReport) + Send + Sync + 'static,
    ) -> Result<DriftMonitor> {
        if !(50..=1_000_000).contains(&options.window) {
            return Err(Error::invalid("`window` must be from 50 to 1000000 texts"));
        }
        if !(options.threshold.is_finite() && options.threshold > 0.0) {
            return Err(Error::invalid("`threshold` must be a number above 0"));
        }
        baseline.check(baseline.labels.len().saturating_sub(1)).map_err(|e| Error::invalid(e.message()))?;
        Ok(DriftMonitor {
            counts: Counts::new(baseline.labels.len().saturating_sub(1)),
            baseline: baseline.clone(),
            options: options.clone(),
            judging: AtomicBool::new(false),
            windows: AtomicU64::new(0),
            last: Mutex::new(None),
            on_drift: Box::new(on_drift),
        })
    }

    /// Counts a text; `true` if it filled the window, and [`judge`](Self::judge) is due.
    pub fn add(&self, seen: &Seen) -> bool {
        self.counts.add(seen) >= self.options.window
    }

    /// Compares the window that is full with the baseline, begins the next, and tells of drift. The report, unless
    /// the window is not full or another thread is at it.
    pub fn judge(&self) -> Option<DriftReport> {
        if self.counts.texts.load(Acquire) < self.options.window || self.judging.swap(true, AcqRel) {
            return None;
        }
        let mut report = self.window();
        report.window = self.windows.fetch_add(1, Relaxed) + 1;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(report.clone());
        self.judging.store(false, Release);
        if report.drifted() {
            // The app's code: a panic in it is no reason to lose an answer.
            let _ = catch_unwind(AssertUnwindSafe(|| (self.on_drift)(&report)));
        }
        Some(report)
    }

    fn window(&self) -> DriftReport {
        let seen = self.counts.take();
        self.counts.texts.store(0, Release);
        DriftReport::compare(&self.baseline, &seen, self.options.threshold)
    }

    /// The latest window.
    pub fn last(&self) -> Option<DriftReport> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
