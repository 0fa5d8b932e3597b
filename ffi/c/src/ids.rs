//! Any output of the graph on token ids: the path without text, into the caller's buffer.

use pocketbert::cancel::Stop;
use pocketbert::error::{Error, Result};
use pocketbert::kernels::Isa;
use pocketbert::model::{Batch, Model, RunOptions};
use pocketbert::tasks::CallOptions;

use crate::args::{self, Out};
use crate::boundary::call;
use crate::call::{call_options, pocketbert_call_options};
use crate::model::{of, pocketbert_model};
use crate::status::pocketbert_status;

/// Sequences of token ids. Those of calls that are over wait at the model, so that the next one allocates nothing.
#[derive(Default)]
pub(crate) struct Ids(Batch);

/// What a run shows its values to.
pub(crate) type Read<'a> = &'a mut dyn FnMut(&[f32]) -> Result<()>;

/// More ids are not kept for the next call.
const KEPT_IDS: usize = 16_384;

impl Ids {
    fn fill(&mut self, ids: &[u32], types: Option<&[u32]>, lengths: &[usize]) -> Result<()> {
        self.0.clear();
        let mut from = 0usize;
        for (i, &n) in lengths.iter().enumerate() {
            let to = from.checked_add(n).filter(|&to| to <= ids.len() && n > 0);
            let to = to
                .ok_or_else(|| Error::invalid(format!("sequence {i} of {n} ids is empty or past the end")))?;
            self.0.try_push(&ids[from..to], types.map(|t| &t[from..to]))?;
            from = to;
        }
        match from == ids.len() {
            true => Ok(()),
            false => {
                Err(Error::invalid(format!("the sequences have {from} ids, but {} were given", ids.len())))
            }
        }
    }

    pub(crate) fn kept(&self) -> bool {
        self.0.ids.capacity() <= KEPT_IDS && self.0.offsets.capacity() <= KEPT_IDS
    }

    pub(crate) fn run(&self, model: &Model, output: usize, call: &CallOptions, read: Read) -> Result<()> {
        if call.kernel.is_some_and(|k| !k.is_available()) {
            return Err(Error::new(
                pocketbert::ErrorKind::FailedPrecondition,
                "this CPU cannot run the kernel that was asked for",
            ));
        }
        if output >= model.plan().outputs().len() {
            return Err(Error::new(
                pocketbert::ErrorKind::NotFound,
                format!("the model has no output {output}"),
            ));
        }
        let run = RunOptions {
            isa: call.kernel.unwrap_or_else(Isa::best),
            threads: call.threads,
            stop: Stop { cancel: call.cancel.clone(), deadline: call.deadline },
            stats: None,
        };
        model.plan().run_read(&self.0, &[output], run, |outputs| {
            read(outputs.first().ok_or_else(|| Error::internal("a run without an answer"))?.data)
        })
    }
}

/// Runs output `output` (an index for `pocketbert_model_get_output`) on `sequences` sequences of token ids, one after
/// another in `ids`; sequence `i` has `lengths[i]` of them. `types` has a type id per token, or is NULL for zeros.
/// Writes the output's rows, one per token or one per sequence, to `values`, and how many numbers that are to `*count`.
/// If `capacity` is less, nothing is written and the status is `POCKETBERT_INVALID_ARGUMENT`; the message says what is
/// needed. `call_options` may be NULL.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_run_ids(
    model: *const pocketbert_model,
    ids: *const u32,
    types: *const u32,
    id_count: usize,
    lengths: *const usize,
    sequences: usize,
    output: usize,
    call_options: *const pocketbert_call_options,
    values: *mut f32,
    capacity: usize,
    count: *mut usize,
) -> pocketbert_status {
    call("pocketbert_run_ids", || {
        let m = of(model)?;
        // SAFETY: the caller's promise.
        let (out, call) = unsafe { (Out::new("count", count)?, self::call_options(call_options)?) };
        // SAFETY: the caller's promise.
        let (ids, types, lengths) = unsafe {
            let types = match types.is_null() {
                true => None,
                false => Some(args::array("types", types, id_count)?),
            };
            (args::array("ids", ids, id_count)?, types, args::array("lengths", lengths, sequences)?)
        };
        // SAFETY: the caller's promise.
        let buffer = unsafe { args::buffer("values", values, capacity) }?;
        let mut of_call = m.take_ids();
        of_call.fill(ids, types, lengths)?;
        if sequences == 0 {
            out.set(0);
            return Ok(());
        }
        let mut count = 0;
        m.engine.run(&of_call, output, &call.options, &mut |answer| {
            count = answer.len();
            let into = buffer.get_mut(..count).ok_or_else(|| {
                Error::invalid(format!("`values` has room for {capacity}: {count} are needed"))
            })?;
            into.copy_from_slice(answer);
            Ok(())
        })?;
        out.set(count);
        m.give_ids(of_call);
        Ok::<_, Error>(())
    })
}
