//! How a task fares in the field: times, sizes, errors, and whether its texts still look like those that the model
//! was calibrated on. Numbers only, never text.
//!
//! Every task object counts for itself; [`Metrics`] is the handle, [`Snapshot`] a copy of the numbers. Nothing leaves
//! the process by itself: an app asks for a snapshot and sends it where it likes, as JSON
//! ([`to_json`]), for Prometheus ([`to_prometheus`]) or as OpenTelemetry attributes ([`Snapshot::attributes`]).
//!
//! ```
//! use pocketbert::{TextClassifier, metrics};
//! # fn main() -> pocketbert::Result<()> {
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
//! let classifier = TextClassifier::open(path)?;
//! for text in ["play some jazz", "rain in Paris tomorrow", "add this to my list"] {
//!     classifier.classify(text)?;
//! }
//! let s = classifier.metrics().snapshot();
//! assert_eq!((s.calls, s.texts), (3, 3));
//! println!("p95 {:?} ns", s.warm.total.quantile(0.95));
//! println!("{}", metrics::to_prometheus(&[s]));
//! # Ok(()) }
//! ```
//!
//! # Cost
//! Counting is lock-free: some relaxed atomic additions and four readings of the clock per call.
//! [`Metrics::enable`] switches it off.

mod baseline;
mod drift;
mod export;
mod histogram;
mod snapshot;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use histogram::Histogram;

pub use baseline::{Baseline, HeadBaseline};
pub use drift::{Axis, AxisScore, DriftMonitor, DriftOptions, DriftReport};
pub use export::{AttributeValue, to_json, to_prometheus};
pub use histogram::Distribution;
pub use snapshot::{Latency, Snapshot, Stages};

/// Bits of the longest time that is told apart: 2^40 ns are 18 minutes.
const TIME_BITS: u32 = 40;
/// Bits of the most tokens.
const TOKEN_BITS: u32 = 20;
/// More error kinds than there are.
const KINDS: usize = 16;

/// What a call learnt about one text: numbers that say nothing of its content.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen<'a> {
    /// Tokens of the text, special tokens included.
    pub tokens: usize,
    /// How many of them are the unknown token.
    pub unknown: usize,
    /// The text was cut to fit.
    pub truncated: bool,
    /// How sure the answer is, 0 to 1, where the task knows: of a classification the highest probability.
    pub confidence: Option<f32>,
    /// Indices of the labels that were given.
    pub labels: &'a [usize],
}

/// Whose numbers these are.
#[derive(Debug)]
struct Who {
    model: String,
    version: String,
    head: String,
    labels: usize,
}

#[derive(Debug)]
struct Inner {
    task: &'static str,
    who: OnceLock<Who>,
    enabled: AtomicBool,
    /// Bits of an f32.
    low: AtomicU32,
    load: AtomicU64,
    /// Somebody has the cold call.
    cold_taken: AtomicBool,
    cold: [AtomicU64; 4],
    warm: [Histogram; 4],
    calls: AtomicU64,
    texts: AtomicU64,
    tokens: Histogram,
    unknown: AtomicU64,
    truncated: AtomicU64,
    judged: AtomicU64,
    low_confidence: AtomicU64,
    errors: [AtomicU64; KINDS],
    drift: OnceLock<DriftMonitor>,
    collect: OnceLock<drift::Counts>,
}

/// The live numbers of one task object. Clones share them; any thread may use one.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

impl Metrics {
    pub(crate) fn new(task: &'static str) -> Metrics {
        Metrics(Arc::new(Inner {
            task,
            who: OnceLock::new(),
            enabled: AtomicBool::new(true),
            low: AtomicU32::new(0.5f32.to_bits()),
            load: AtomicU64::new(0),
            cold_taken: AtomicBool::new(false),
            cold: Default::default(),
            warm: [(); 4].map(|()| Histogram::new(TIME_BITS)),
            calls: AtomicU64::new(0),
            texts: AtomicU64::new(0),
            tokens: Histogram::new(TOKEN_BITS),
            unknown: AtomicU64::new(0),
            truncated: AtomicU64::new(0),
            judged: AtomicU64::new(0),
            low_confidence: AtomicU64::new(0),
            errors: Default::default(),
            drift: OnceLock::new(),
            collect: OnceLock::new(),
        }))
    }

    /// Counts from now on, or stops counting. On at first.
    pub fn enable(&self, on: bool) {
        self.0.enabled.store(on, Relaxed);
    }

    /// Whether calls are counted.
    pub fn is_enabled(&self) -> bool {
        self.0.enabled.load(Relaxed)
    }

    /// From now on an answer less sure than `confidence` (0 to 1; at first 0.5) counts as one of low confidence.
    ///
    /// # Errors
    /// `InvalidArgument` for another number.
    pub fn set_low_confidence(&self, confidence: f32) -> Result<()> {
        if !(0.0..=1.0).contains(&confidence) {
            return Err(Error::invalid(
                "the limit of low confidence is a probability: give a number from 0 to 1",
            ));
        }
        self.0.low.store(confidence.to_bits(), Relaxed);
        Ok(())
    }

    /// Compares what comes in with `baseline`, window by window, and calls `on_drift` for a window that differs:
    /// on the thread whose text ended the window, after its answer is there, outside of every lock, at most once
    /// per window. A panic in it is caught and lost.
    ///
    /// ```
    /// use pocketbert::metrics::{Baseline, DriftOptions};
    /// # fn main() -> pocketbert::Result<()> {
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
    /// # let classifier = pocketbert::TextClassifier::open(path)?;
    /// match Baseline::of(classifier.model()?)? {
    ///     Some(b) => classifier.metrics().watch(&b, &DriftOptions::default(), |r| eprintln!("drift: {r}"))?,
    ///     None => println!("this bundle has no baseline"),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `FailedPrecondition` if the model is not open yet or is watched already, `NotFound` if the baseline has
    /// nothing for this head, `InvalidArgument` for options out of range.
    pub fn watch(
        &self,
        baseline: &Baseline,
        options: &DriftOptions,
        on_drift: impl Fn(&DriftReport) + Send + Sync + 'static,
    ) -> Result<()> {
        let head = baseline.head(&self.who()?.head)?;
        let monitor = DriftMonitor::new(head, options, on_drift)?;
        self.0.drift.set(monitor).map_err(|_| {
            Error::new(ErrorKind::FailedPrecondition, "this object's texts are watched for drift already")
        })
    }

    /// Begins to collect a baseline from the texts of the calls that follow; [`baseline`](Self::baseline) gives it.
    ///
    /// # Errors
    /// `FailedPrecondition` if the model is not open yet.
    pub fn collect_baseline(&self) -> Result<()> {
        let labels = self.who()?.labels;
        self.0.collect.get_or_init(|| drift::Counts::new(labels));
        Ok(())
    }

    /// The baseline collected so far; `None` without [`collect_baseline`](Self::collect_baseline).
    pub fn baseline(&self) -> Option<HeadBaseline> {
        self.0.collect.get().map(drift::Counts::read)
    }

    /// A copy of the numbers. Calls that are under way are in none of it, or in part of it.
    pub fn snapshot(&self) -> Snapshot {
        let m = &*self.0;
        let ns = |a: &AtomicU64| Some(a.load(Relaxed)).filter(|&n| n > 0).map(Duration::from_nanos);
        let [tokenise, run, decode, total] = &m.cold;
        let cold = ns(total).map(|total| Stages {
            tokenise: ns(tokenise).unwrap_or_default(),
            run: ns(run).unwrap_or_default(),
            decode: ns(decode).unwrap_or_default(),
            total,
        });
        let [tokenise, run, decode, total] = &m.warm;
        let warm = Latency {
            tokenise: tokenise.snapshot(),
            run: run.snapshot(),
            decode: decode.snapshot(),
            total: total.snapshot(),
        };
        let who = m.who.get();
        let name = |f: fn(&Who) -> &String| who.map(f).cloned().unwrap_or_default();
        Snapshot {
            task: m.task.to_string(),
            model: name(|w| &w.model),
            version: name(|w| &w.version),
            head: name(|w| &w.head),
            load: ns(&m.load),
            cold,
            warm,
            calls: m.calls.load(Relaxed),
            texts: m.texts.load(Relaxed),
            tokens: m.tokens.snapshot(),
            unknown_tokens: m.unknown.load(Relaxed),
            truncated: m.truncated.load(Relaxed),
            judged: m.judged.load(Relaxed),
            low_confidence: m.low_confidence.load(Relaxed),
            low_confidence_below: f32::from_bits(m.low.load(Relaxed)),
            errors: (0..KINDS)
                .filter_map(|i| Some((kind_name(i)?, m.errors[i].load(Relaxed))))
                .filter(|e| e.1 > 0)
                .collect(),
            drift: m.drift.get().and_then(DriftMonitor::last),
        }
    }

    fn who(&self) -> Result<&Who> {
        self.0.who.get().ok_or_else(|| {
            Error::new(ErrorKind::FailedPrecondition, "the model is not open yet: call `load` first")
        })
    }

    /// Says whose numbers these are; the first time counts.
    pub(crate) fn identify(&self, model: &str, version: &str, head: &str, labels: usize) {
        self.0.who.get_or_init(|| Who {
            model: model.into(),
            version: version.into(),
            head: head.into(),
            labels,
        });
    }

    /// Books how long opening took.
    pub(crate) fn loaded(&self, time: Duration) {
        self.0.load.store(nanos(time), Relaxed);
    }

    /// Books a call that answered.
    pub(crate) fn call(&self, texts: usize, s: &Stages) {
        let m = &*self.0;
        let times = [s.tokenise, s.run, s.decode, s.total].map(nanos);
        m.calls.fetch_add(1, Relaxed);
        m.texts.fetch_add(texts as u64, Relaxed);
        // The first call pays for what comes in lazily, so it is never mixed with the others.
        if m.cold_taken.swap(true, Relaxed) {
            m.warm.iter().zip(times).for_each(|(h, t)| h.record(t));
        } else {
            m.cold.iter().zip(times).for_each(|(c, t)| c.store(t, Relaxed));
        }
    }

    /// Books one text; `true` if a window for drift is full, so that [`settle`](Self::settle) is due.
    pub(crate) fn text(&self, seen: &Seen) -> bool {
        let m = &*self.0;
        m.tokens.record(seen.tokens as u64);
        // Most texts have none of these: no need to touch memory that threads share.
        if seen.unknown > 0 {
            m.unknown.fetch_add(seen.unknown as u64, Relaxed);
        }
        if seen.truncated {
            m.truncated.fetch_add(1, Relaxed);
        }
        if let Some(c) = seen.confidence {
            m.judged.fetch_add(1, Relaxed);
            if c < f32::from_bits(m.low.load(Relaxed)) {
                m.low_confidence.fetch_add(1, Relaxed);
            }
        }
        if let Some(c) = m.collect.get() {
            c.add(seen);
        }
        m.drift.get().is_some_and(|d| d.add(seen))
    }

    /// Judges the window for drift that [`text`](Self::text) filled, and tells the app.
    pub(crate) fn settle(&self) {
        if let Some(d) = self.0.drift.get() {
            d.judge();
        }
    }

    /// Books an error.
    pub(crate) fn failed(&self, kind: ErrorKind) {
        if let Some(n) = self.0.errors.get(kind as i32 as usize) {
            n.fetch_add(1, Relaxed);
        }
    }
}

/// At least 1, so that 0 can mean "not there".
fn nanos(t: Duration) -> u64 {
    u64::try_from(t.as_nanos()).unwrap_or(u64::MAX >> 1).max(1)
}

fn kind_name(number: usize) -> Option<&'static str> {
    use ErrorKind::*;
    let all = [
        Cancelled,
        InvalidArgument,
        DeadlineExceeded,
        NotFound,
        PermissionDenied,
        ResourceExhausted,
        FailedPrecondition,
        OutOfRange,
        Unimplemented,
        Internal,
        DataLoss,
    ];
    all.into_iter().find(|k| *k as i32 as usize == number).map(ErrorKind::name)
}

#[cfg(test)]
mod tests;
