//! Puts the small operators of an encoder layer together: [`SelfAttention`] and [`FeedForward`].

use std::any::Any;
use std::sync::Arc;

use tract_onnx::tract_hir::internal::*;

use super::{Flow, Value};
use crate::ops::Operator;
use crate::ops::attention::Attention;
use crate::ops::layer::{FeedForward, SelfAttention};
use crate::ops::linear::Linear;
use crate::ops::norm::LayerNorm;

/// `flow` with its layers put together. What is fused stays behind without readers.
pub(super) fn merge(flow: &mut Flow) -> TractResult<()> {
    let mut readers = vec![0usize; flow.steps.len()];
    for v in flow.steps.iter().flat_map(|s| &s.inputs).chain(&flow.outputs) {
        if let Value::Step(i) = v {
            readers[*i] += 1;
        }
    }
    for i in 0..flow.steps.len() {
        let Some((op, inputs, part)) = layer(flow, &readers, i) else { continue };
        let step = &mut flow.steps[i];
        (step.op, step.inputs) = (op, inputs);
        step.name = format!("{}.{part}", step.name);
    }
    Ok(())
}

/// The fused operator whose layer norm is step `i`.
fn layer(flow: &Flow, readers: &[usize], i: usize) -> Option<(Arc<dyn Operator>, Vec<Value>, &'static str)> {
    let norm = op::<LayerNorm>(flow, i)?;
    let [a, b] = flow.steps[i].inputs[..] else { return None };
    // `v` as a linear layer that nobody else reads.
    let linear = |v: Value, times: usize| match v {
        Value::Step(j) if readers[j] == times => Some((op::<Linear>(flow, j)?, flow.steps[j].inputs[0])),
        _ => None,
    };
    // Sums of two floats do not depend on their order.
    for (sum, residual) in [(a, b), (b, a)] {
        let Some((last, inner)) = linear(sum, 1) else { continue };
        if let Some((up, x)) = linear(inner, 1)
            && x == residual
            && up.row_wise()
            && last.row_wise()
        {
            return Some((Arc::new(FeedForward { up, down: last, norm }), vec![x], "feed-forward"));
        }
        let Value::Step(j) = inner else { continue };
        if readers[j] != 1 || !last.row_wise() {
            continue;
        }
        let Some(attention) = op::<Attention>(flow, j) else { continue };
        let [q, k, v, offsets, mask] = flow.steps[j].inputs[..] else { continue };
        if q == k
            && q == v
            && !attention.first_only
            && let Some((qkv, x)) = linear(q, 3)
            && x == residual
            && qkv.row_wise()
        {
            let attention = (*attention).clone();
            let op = SelfAttention { qkv, attention, output: last, norm };
            return Some((Arc::new(op), vec![x, offsets, mask], "attention"));
        }
    }
    None
}

fn op<T: Operator>(flow: &Flow, i: usize) -> Option<Arc<T>> {
    let any: Arc<dyn Any + Send + Sync> = flow.steps[i].op.clone();
    any.downcast().ok()
}
