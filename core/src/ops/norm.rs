//! Layer norm over the last axis, with the residual added first.

use tract_onnx::tract_hir::internal::*;

use super::rows::rows;
use super::{Buffer, Operator, RunContext, Value, f32s, over_rows};
use crate::kernels;

/// `(x + residual - mean) / sqrt(variance + epsilon) * gamma + beta`.
#[derive(Debug)]
pub struct LayerNorm {
    /// Scale per channel.
    pub gamma: Vec<f32>,
    /// Shift per channel.
    pub beta: Vec<f32>,
    /// Added to the variance.
    pub epsilon: f32,
}

impl Operator for LayerNorm {
    fn kind(&self) -> &'static str {
        "LayerNorm"
    }

    fn row_wise(&self) -> bool {
        true
    }

    fn run(&self, ctx: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()> {
        let (x, c) = rows(inputs[0])?;
        ensure!(c == self.gamma.len(), "layer norm does not fit its input");
        let residual = inputs.get(1).map(|t| f32s(*t)).transpose()?;
        out.fill(inputs[0].shape(), |out| self.apply(ctx, x, residual, out))
    }
}

impl LayerNorm {
    /// On rows as long as `gamma`.
    pub(super) fn apply(
        &self,
        ctx: &mut RunContext,
        x: &[f32],
        residual: Option<&[f32]>,
        out: &mut [f32],
    ) -> TractResult<()> {
        ensure!(residual.is_none_or(|r| r.len() == x.len()), "layer norm's residual has another size");
        ensure!(out.len() == x.len(), "layer norm's output has another size");
        let (isa, c) = (ctx.isa, self.gamma.len());
        over_rows(ctx.team, 64, out, c, |first, part| {
            let range = first * c..first * c + part.len();
            let residual = residual.map(|r| &r[range.clone()]);
            kernels::layer_norm(isa, &x[range], residual, c, &self.gamma, &self.beta, self.epsilon, part)
        })
    }
}
