//! Rewrites of the typed graph that change its cost and no bit of its answers.
//!
//! - [`first_rows`]: of the last layer only the rows that a head reads.
//! - [`layers`]: the small operators of a layer as two large ones.

mod first_rows;
mod layers;

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use tract_onnx::tract_hir::internal::*;

use crate::ops::{Operator, PocketOp};

/// A value of a [`Flow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Value {
    /// A graph input.
    Source(usize),
    /// The output of a step.
    Step(usize),
}

/// One operator and what it reads.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub name: String,
    pub op: Arc<dyn Operator>,
    pub inputs: Vec<Value>,
}

impl Step {
    /// The operator, if it is a `T`.
    fn as_op<T: Operator>(&self) -> Option<&T> {
        (&*self.op as &dyn Any).downcast_ref()
    }
}

/// A graph of our operators alone, each with one output. Steps stand after what they read.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    sources: Vec<(String, TypedFact)>,
    steps: Vec<Step>,
    outputs: Vec<Value>,
}

impl Flow {
    /// What leads to the outputs of `model`; `None` if an operator is not ours.
    fn read(model: &TypedModel) -> TractResult<Option<Flow>> {
        let mut flow = Flow { sources: vec![], steps: vec![], outputs: vec![] };
        let mut values: HashMap<usize, Value> = HashMap::new();
        for outlet in model.input_outlets()? {
            values.insert(outlet.node, Value::Source(flow.sources.len()));
            flow.sources.push((model.node(outlet.node).name.clone(), model.outlet_fact(*outlet)?.clone()));
        }
        for id in model.eval_order()? {
            if values.contains_key(&id) {
                continue;
            }
            let node = model.node(id);
            let Some(PocketOp(op)) = node.op.downcast_ref::<PocketOp>() else { return Ok(None) };
            let inputs: Option<Vec<Value>> =
                node.inputs.iter().map(|i| values.get(&i.node).copied()).collect();
            let Some(inputs) = inputs else { return Ok(None) };
            values.insert(id, Value::Step(flow.steps.len()));
            flow.steps.push(Step { name: node.name.clone(), op: op.clone(), inputs });
        }
        for outlet in model.output_outlets()? {
            let Some(v) = values.get(&outlet.node) else { return Ok(None) };
            flow.outputs.push(*v);
        }
        Ok(Some(flow))
    }

    /// The typed model of what leads to the outputs. All sources are kept, so the inputs stay the same.
    fn write(&self, symbols: &SymbolScope) -> TractResult<TypedModel> {
        let mut model = TypedModel { symbols: symbols.clone(), ..TypedModel::default() };
        let mut sources = vec![];
        for (name, fact) in &self.sources {
            sources.push(model.add_source(name.clone(), fact.clone())?);
        }
        let mut live = vec![false; self.steps.len()];
        let mut pending: Vec<Value> = self.outputs.clone();
        while let Some(v) = pending.pop() {
            if let Value::Step(i) = v
                && !std::mem::replace(&mut live[i], true)
            {
                pending.extend(&self.steps[i].inputs);
            }
        }
        let mut wired: Vec<Option<OutletId>> = vec![None; self.steps.len()];
        let at = |v: Value, wired: &[Option<OutletId>]| match v {
            Value::Source(i) => Ok(sources[i]),
            Value::Step(i) => wired[i].context("a step that reads a later one"),
        };
        for (i, step) in self.steps.iter().enumerate().filter(|(i, _)| live[*i]) {
            let inputs: TVec<OutletId> =
                step.inputs.iter().map(|v| at(*v, &wired)).collect::<TractResult<_>>()?;
            let out = model.wire_node(step.name.clone(), PocketOp(step.op.clone()), &inputs)?;
            wired[i] = out.first().copied();
        }
        let outputs: Vec<OutletId> =
            self.outputs.iter().map(|v| at(*v, &wired)).collect::<TractResult<_>>()?;
        model.select_output_outlets(&outputs)?;
        Ok(model)
    }
}

/// What to rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Passes {
    /// Leave out rows of the last layer that no head reads.
    pub first_rows: bool,
    /// Put layers together.
    pub layers: bool,
}

impl Passes {
    /// Everything.
    pub const ALL: Passes = Passes { first_rows: true, layers: true };
    /// Nothing: the operators of the dialect as they are.
    pub const NONE: Passes = Passes { first_rows: false, layers: false };
}

/// Rewrites `model`.
pub(super) fn apply(model: TypedModel, passes: Passes) -> TractResult<TypedModel> {
    let Some(mut flow) = Flow::read(&model)? else { return Ok(model) };
    if passes.first_rows {
        flow = first_rows::narrow(&flow)?;
    }
    if passes.layers {
        layers::merge(&mut flow)?;
    }
    flow.write(&model.symbols)
}
