//! Every call of a task is counted the same way: [`Session::observe`] around it, [`Session::saw`] per text.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::session::Session;
use crate::error::Result;
use crate::metrics::{Seen, Stages};
use crate::model::Model;
use crate::text::Encoding;

/// What metrics must know of the head that a task reads.
pub(super) trait TaskHead {
    /// The task's name in metrics.
    const TASK: &'static str;
    /// The head's name.
    fn name(&self) -> &str;
    /// How many labels it can give; 0 if it gives none.
    fn labels(&self) -> usize;
}

/// Where the time of the call went that this thread is in.
#[derive(Clone, Copy, Default)]
struct Spent {
    run: Duration,
    decode: Duration,
    /// A window for drift was filled.
    due: bool,
}

thread_local! {
    /// `None` outside of calls, and in calls that nobody counts. A call stays on one thread; so tasks need not hand
    /// a clock through to the runs.
    static SPENT: Cell<Option<Spent>> = const { Cell::new(None) };
}

/// Splits the time of a loop of runs between its stages. Reads no clock in calls that nobody counts.
pub(super) struct StageClock(Option<Instant>);

impl StageClock {
    pub(super) fn start() -> StageClock {
        StageClock(SPENT.get().map(|_| Instant::now()))
    }

    /// What went by since the start, or the last of these two, was a run.
    pub(super) fn ran(&mut self) {
        self.lap(|s, t| s.run += t);
    }

    /// What went by was turning values into answers.
    pub(super) fn decoded(&mut self) {
        self.lap(|s, t| s.decode += t);
    }

    fn lap(&mut self, add: impl FnOnce(&mut Spent, Duration)) {
        if let (Some(last), Some(mut spent)) = (&mut self.0, SPENT.get()) {
            let now = Instant::now();
            add(&mut spent, now.saturating_duration_since(*last));
            SPENT.set(Some(spent));
            *last = now;
        }
    }
}

/// Puts the outer call's account back, also when a panic passes.
struct Restore(Option<Spent>);

impl Drop for Restore {
    fn drop(&mut self) {
        SPENT.set(self.0);
    }
}

impl<H: TaskHead> Session<H> {
    /// Opens what has to be opened, does `call` and books it: times by stage if it answers, its kind if it fails.
    /// `texts`: how many texts it answers; a call for none is not booked.
    pub(super) fn observe<T>(
        &self,
        texts: usize,
        call: impl FnOnce(&Arc<Model>, &H) -> Result<T>,
    ) -> Result<T> {
        let metrics = self.metrics();
        let result = if metrics.is_enabled() {
            // Opening is booked by itself.
            let ready = self.ready();
            let outer = Restore(SPENT.replace(Some(Spent::default())));
            let start = Instant::now();
            let result = ready.and_then(|(model, head)| call(model, head));
            let total = start.elapsed();
            let spent = SPENT.get().unwrap_or_default();
            drop(outer);
            // A task that asks another spends what that spends.
            if let Some(o) = SPENT.get() {
                SPENT.set(Some(Spent { run: o.run + spent.run, decode: o.decode + spent.decode, ..o }));
            }
            match &result {
                Ok(_) if texts > 0 => {
                    let tokenise = total.saturating_sub(spent.run + spent.decode);
                    metrics.call(texts, &Stages { tokenise, run: spent.run, decode: spent.decode, total });
                }
                Ok(_) => {}
                Err(e) => metrics.failed(e.kind()),
            }
            if spent.due {
                metrics.settle();
            }
            result
        } else {
            let outer = Restore(SPENT.replace(None));
            let result = self.ready().and_then(|(model, head)| call(model, head));
            drop(outer);
            result
        };
        if result.is_ok() && texts > 0 {
            self.warmed();
        }
        result
    }

    /// Books a text of the call that [`observe`](Self::observe) surrounds.
    pub(super) fn saw(&self, seen: &Seen) {
        saw(self.metrics(), seen);
    }
}

/// [`Session::saw`] for metrics that belong to no session.
pub(super) fn saw(metrics: &crate::metrics::Metrics, seen: &Seen) {
    if let Some(spent) = SPENT.get()
        && metrics.text(seen)
    {
        SPENT.set(Some(Spent { due: true, ..spent }));
    }
}

impl<'a> Seen<'a> {
    /// Of a text that is one encoding.
    pub(super) fn of(e: &Encoding, confidence: Option<f32>, labels: &'a [usize]) -> Seen<'a> {
        Seen { tokens: e.len(), unknown: e.unknown, truncated: e.truncated.is_some(), confidence, labels }
    }
}
