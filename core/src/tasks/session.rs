//! What every task does: open a model once, pack texts into runs, hand each text its rows.

use std::borrow::Borrow;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::load::{LoadState, Slot};
use super::observe::{StageClock, TaskHead};
use crate::cancel::{CancelToken, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::Isa;
use crate::metrics::Metrics;
use crate::model::{Batch, Model, OpenOptions, RunOptions};
use crate::text::Encoding;

/// Tokens that are packed into one run at most; more texts take more runs. Bounds memory, changes no answer.
pub(super) const TOKENS_PER_RUN: usize = 4096;

/// How a call of any task runs. None of it changes an answer.
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// Threads for one run, at least 1.
    pub threads: usize,
    /// The kernels to use; `None`: the fastest.
    pub kernel: Option<Isa>,
    /// Stops the call from another thread.
    pub cancel: Option<CancelToken>,
    /// Stops the call when this moment has passed.
    pub deadline: Option<Instant>,
}

impl Default for CallOptions {
    /// One thread, the fastest kernels, never stopped.
    fn default() -> Self {
        CallOptions { threads: 1, kernel: None, cancel: None, deadline: None }
    }
}

impl CallOptions {
    /// # Errors
    /// `FailedPrecondition` for a kernel that this CPU cannot run.
    pub(super) fn check(&self) -> Result<()> {
        if self.kernel.is_some_and(|k| !k.is_available()) {
            return Err(Error::new(
                ErrorKind::FailedPrecondition,
                "this CPU cannot run the kernel that was asked for",
            ));
        }
        Ok(())
    }

    pub(super) fn stop(&self) -> Stop {
        Stop { cancel: self.cancel.clone(), deadline: self.deadline }
    }
}

/// A model, open or still to be opened, and the head that a task reads from it.
#[derive(Debug)]
pub(super) struct Session<H> {
    slot: Slot,
    wanted: Option<String>,
    head: OnceLock<H>,
    find: fn(&Model, Option<&str>) -> Result<H>,
}

impl<H: TaskHead> Session<H> {
    /// `find` chooses the head; it runs once, when the model is open.
    pub(super) fn deferred(
        path: &Path,
        options: &OpenOptions,
        head: Option<&str>,
        find: fn(&Model, Option<&str>) -> Result<H>,
    ) -> Session<H> {
        let slot = Slot::unloaded(path, options, Metrics::new(H::TASK));
        Session { slot, wanted: head.map(str::to_string), head: OnceLock::new(), find }
    }

    /// On a model that is open already.
    pub(super) fn from_model(
        model: Arc<Model>,
        head: Option<&str>,
        find: fn(&Model, Option<&str>) -> Result<H>,
    ) -> Result<Session<H>> {
        let slot = Slot::loaded(model, Metrics::new(H::TASK));
        let s = Session { slot, wanted: head.map(str::to_string), head: OnceLock::new(), find };
        s.ready()?;
        Ok(s)
    }

    /// On a model that is open already, with a head that is known to fit it.
    pub(super) fn with_head(model: Arc<Model>, head: H) -> Result<Session<H>> {
        let slot = Slot::loaded(model, Metrics::new(H::TASK));
        let find = |_: &Model, _: Option<&str>| Err(Error::internal("the head is there already"));
        let s = Session { slot, wanted: None, head: OnceLock::new(), find };
        s.ready_with(|_| Ok(head))?;
        Ok(s)
    }

    /// The model and the head, opened now if need be.
    pub(super) fn ready(&self) -> Result<(&Arc<Model>, &H)> {
        self.ready_with(|model| (self.find)(model, self.wanted.as_deref()))
    }

    fn ready_with(&self, find: impl FnOnce(&Model) -> Result<H>) -> Result<(&Arc<Model>, &H)> {
        let model = self.slot.model()?;
        if let Some(h) = self.head.get() {
            return Ok((model, h));
        }
        let h = find(model)?;
        model.tokenizer()?;
        let info = model.info();
        self.metrics().identify(&info.name, &info.version, h.name(), h.labels());
        Ok((model, self.head.get_or_init(|| h)))
    }

    pub(super) fn model(&self) -> Result<&Arc<Model>> {
        self.slot.model()
    }

    pub(super) fn state(&self) -> LoadState {
        self.slot.state()
    }

    pub(super) fn metrics(&self) -> &Metrics {
        self.slot.metrics()
    }

    pub(super) fn warmed(&self) {
        self.slot.warmed();
    }
}

/// Runs the plan's `outputs` (indices) over `encodings`, several in one run where they are short.
///
/// `sink(i, rows)` gets, in the order of `encodings`, what the outputs gave for encoding `i`: `rows[j]` is
/// `channels` values of output `j`, or `tokens * channels` if it has a row per token.
///
/// # Errors
/// `InvalidArgument` for an encoding without tokens; those of [`Plan::run`](crate::model::Plan::run) and of
/// `sink`.
pub(super) fn run_each(
    model: &Model,
    outputs: &[usize],
    encodings: &[Encoding],
    call: &CallOptions,
    mut sink: impl FnMut(usize, &[&[f32]]) -> Result<()>,
) -> Result<()> {
    let mut i = 0;
    run_stream(model, outputs, encodings.iter().map(Ok), call, TOKENS_PER_RUN, |_, rows| {
        i += 1;
        sink(i - 1, rows)
    })
}

/// [`run_each`] for encodings that are made while it goes: at most those of one run, `tokens` tokens (or one
/// encoding, if that is longer), are held at a time.
///
/// # Errors
/// Those of [`run_each`] and of `encodings`.
pub(super) fn run_stream<E: Borrow<Encoding>>(
    model: &Model,
    outputs: &[usize],
    encodings: impl IntoIterator<Item = Result<E>>,
    call: &CallOptions,
    tokens: usize,
    mut sink: impl FnMut(E, &[&[f32]]) -> Result<()>,
) -> Result<()> {
    call.check()?;
    let stop = call.stop();
    let mut encodings = encodings.into_iter();
    let mut next: Option<E> = None;
    loop {
        stop.check()?;
        let mut batch = Batch::new();
        let mut held: Vec<E> = vec![];
        while let Some(e) = next.take().map(Ok).or_else(|| encodings.next()) {
            let e = e?;
            let one = e.borrow();
            if one.is_empty() {
                return Err(Error::invalid(
                    "the text has no tokens and the tokenizer adds none: give some text, or a tokenizer with a template",
                ));
            }
            if !held.is_empty() && batch.ids.len() + one.len() > tokens {
                next = Some(e);
                break;
            }
            batch.try_push(&one.ids, Some(&one.type_ids))?;
            held.push(e);
        }
        if held.is_empty() {
            return Ok(());
        }
        let run = RunOptions {
            isa: call.kernel.unwrap_or_else(Isa::best),
            threads: call.threads.max(1),
            stop: stop.clone(),
            stats: None,
        };
        let mut clock = StageClock::start();
        let results = model.plan().run(&batch, outputs, run)?;
        clock.ran();
        let mut rows: Vec<&[f32]> = Vec::with_capacity(results.len());
        for (i, e) in held.into_iter().enumerate() {
            rows.clear();
            for o in &results {
                let (from, to) = match o.info.per_token {
                    true => (batch.offsets[i] as usize, batch.offsets[i + 1] as usize),
                    false => (i, i + 1),
                };
                let c = o.info.channels;
                rows.push(o.data.get(from * c..to * c).ok_or_else(|| {
                    Error::internal(format!("output `{}` has fewer rows than the batch", o.info.name))
                })?);
            }
            sink(e, &rows)?;
        }
        clock.decoded();
    }
}
