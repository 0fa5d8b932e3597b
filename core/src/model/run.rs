//! Running a planned graph: operators one after another, in buffers that are kept from run to run.

use std::sync::Arc;
use std::time::Instant;

use tract_onnx::tract_hir::internal::*;

use super::normalize::PICKS;
use super::plan::{Batch, NodeStats, RunOptions, Tap};
use crate::error::Error;
use crate::kernels::{KernelCounts, Team, kernel_counts};
use crate::memory;
use crate::ops::{Buffer, Operator, PocketOp, RunContext, Scratch, Value};

/// A run of fewer tokens stays on one thread.
const FEWEST_TOKENS_PER_TEAM: usize = 32;

/// Inputs of an operator.
const MOST_INPUTS: usize = 8;

/// A larger value is given back when the run is over: kept are those of 680 tokens at 768 channels.
const KEPT_BYTES: usize = 2 << 20;

/// A graph whose nodes stand in the order in which tract would run them, and in which of the buffers each leaves its
/// value. Buffers whose values nobody reads any more are used again.
#[derive(Debug)]
pub(super) struct Program {
    steps: Vec<Step>,
    outputs: Vec<usize>,
    buffers: usize,
    picks: bool,
}

#[derive(Debug)]
struct Step {
    name: String,
    op: Arc<dyn Operator>,
    inputs: TVec<Origin>,
    buffer: usize,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Ids,
    Types,
    Mask,
    Offsets,
    Picks,
    Buffer(usize),
}

/// What a run works in. Its memory is used again by the next run.
#[derive(Debug, Default)]
pub(super) struct State {
    values: Vec<Buffer>,
    scratch: Scratch,
    boundaries: Vec<usize>,
    picks: Vec<i64>,
}

impl Program {
    /// Has tract order `model`.
    pub(super) fn new(model: TypedModel) -> TractResult<Program> {
        let plan = TypedSimplePlan::new(model)?;
        let (model, order) = (plan.model(), plan.order_without_consts());
        let mut from: Vec<Option<Origin>> = vec![None; model.nodes.len()];
        for input in model.input_outlets()? {
            from[input.node] = Some(match model.node(input.node).name.as_str() {
                "input_ids" => Origin::Ids,
                "token_type_ids" => Origin::Types,
                "mask" => Origin::Mask,
                "offsets" => Origin::Offsets,
                PICKS => Origin::Picks,
                other => Err(Error::data_loss(format!("the graph has an unknown input `{other}`")))?,
            });
        }
        // The step that reads a value last; that of an output is read after all of them.
        let mut last: Vec<Option<usize>> = vec![None; model.nodes.len()];
        for (at, &id) in order.iter().enumerate() {
            model.node(id).inputs.iter().for_each(|i| last[i.node] = Some(at));
        }
        model.output_outlets()?.iter().for_each(|o| last[o.node] = Some(usize::MAX));
        let (mut steps, mut free, mut buffers) = (vec![], vec![], 0);
        for (at, &id) in order.iter().enumerate() {
            // An input.
            if from[id].is_some() {
                continue;
            }
            let node = model.node(id);
            let op =
                node.op.downcast_ref::<PocketOp>().context("a node is not an operator of ours")?.0.clone();
            let inputs = node.inputs.iter().map(|i| from[i.node].context("a node before its input"));
            let inputs = inputs.collect::<TractResult<TVec<Origin>>>()?;
            ensure!(inputs.len() <= MOST_INPUTS, "an operator has too many inputs");
            let buffer = free.pop().unwrap_or_else(|| {
                buffers += 1;
                buffers - 1
            });
            from[id] = Some(Origin::Buffer(buffer));
            steps.push(Step { name: node.name.clone(), op, inputs, buffer });
            for done in node.inputs.iter().map(|i| i.node).chain([id]) {
                if let Some(Origin::Buffer(b)) = from[done].filter(|_| last[done].is_none_or(|l| l == at)) {
                    free.push(b);
                    // It may be an input twice.
                    last[done] = Some(usize::MAX);
                }
            }
        }
        let outputs = model.output_outlets()?.iter().map(|o| match from[o.node] {
            Some(Origin::Buffer(b)) => Ok(b),
            _ => Err(Error::data_loss("an output of the graph is one of its inputs").into()),
        });
        let outputs = outputs.collect::<TractResult<_>>()?;
        let picks = steps.iter().any(|s| s.inputs.iter().any(|i| matches!(i, Origin::Picks)));
        Ok(Program { steps, outputs, buffers, picks })
    }

    /// Runs `batch`, whose vectors fit each other. `given` tells how the file calls a node.
    pub(super) fn run(
        &self,
        state: &mut State,
        batch: &Batch,
        mut options: RunOptions,
        mut tap: Option<Tap<'_>>,
        given: impl Fn(&str) -> String,
    ) -> TractResult<()> {
        let State { values, scratch, boundaries, picks } = state;
        values.resize_with(self.buffers, Buffer::default);
        memory::refill(boundaries, batch.offsets.iter().map(|&o| o as usize))?;
        let picks = match &batch.picks {
            Some(p) => p,
            None => {
                let all = if self.picks { batch.ids.len() } else { 0 };
                memory::refill(picks, (0..all).map(|i| i as i64))?;
                &*picks
            }
        };
        let (tokens, ends, picked) = ([batch.ids.len()], [boundaries.len()], [picks.len()]);
        // Starting a thread costs more than a few tokens do.
        let threads = if batch.ids.len() < FEWEST_TOKENS_PER_TEAM { 1 } else { options.threads.max(1) };
        let mut team = Team::new(threads);
        for step in &self.steps {
            options.stop.check()?;
            let mut out = std::mem::take(&mut values[step.buffer]);
            let mut inputs = [Value::integers(&[0], &[]); MOST_INPUTS];
            for (input, from) in inputs.iter_mut().zip(&step.inputs) {
                *input = match *from {
                    Origin::Ids => Value::integers(&tokens, &batch.ids),
                    Origin::Types => Value::integers(&tokens, &batch.types),
                    Origin::Mask => Value::integers(&tokens, &batch.mask),
                    Origin::Offsets => Value::boundaries(&ends, boundaries),
                    Origin::Picks => Value::integers(&picked, picks),
                    Origin::Buffer(b) => values[b].value(),
                };
            }
            let inputs = &inputs[..step.inputs.len()];
            if let Some(tap) = &mut tap
                && let Some(Ok(x)) = inputs.first().map(|x| crate::ops::f32s(*x))
            {
                tap(&given(&step.name), step.op.kind(), x);
            }
            let before = options.stats.is_some().then(|| (kernel_counts(), Instant::now()));
            let mut context = RunContext { isa: options.isa, team: &mut team, scratch: &mut *scratch };
            let result = step.op.run(&mut context, inputs, &mut out);
            values[step.buffer] = out;
            result?;
            if let (Some(stats), Some((before, start))) = (options.stats.as_deref_mut(), before) {
                stats.push(step.stats(&before, start, &given));
            }
        }
        Ok(())
    }

    /// The values of the graph's output `i`, after a run.
    pub(super) fn output<'a>(&self, state: &'a State, i: usize) -> &'a [f32] {
        let buffer = self.outputs.get(i).and_then(|&b| state.values.get(b));
        buffer.and_then(|b| crate::ops::f32s(b.value()).ok()).unwrap_or_default()
    }
}

impl Step {
    fn stats(&self, before: &KernelCounts, start: Instant, given: impl Fn(&str) -> String) -> NodeStats {
        let time = start.elapsed();
        let kernels = kernel_counts()
            .since(before)
            .iter()
            .map(|(k, isa, n)| (format!("{}/{}", k.name(), isa.name()), n))
            .collect();
        let op = self.op.kind().to_string();
        NodeStats { name: given(&self.name), op, dtype: self.op.dtype(), ours: true, kernels, time }
    }
}

impl State {
    /// Gives back what only large runs need.
    pub(super) fn trim(&mut self) {
        self.values.iter_mut().for_each(|v| v.trim(KEPT_BYTES));
    }
}
