//! From a token's vector to a score per entry of the vocabulary.

use tract_onnx::tract_hir::internal::*;

use super::rows::rows;
use super::{Buffer, Operator, RunContext, Value, i64s, over_rows};
use crate::kernels::{self, ActQuant};
use crate::memory;
use crate::model::tensor::Tensor as Constant;

/// Scores of the vocabulary for the tokens that the run picks: their rows, quantized per token, times the rows
/// of the int8 table that the model looks its tokens up in, plus a bias per row. One output row per pick.
///
/// A vocabulary is 40 times as wide as the rows, and an answer wants the scores of a few tokens, so the picks
/// are an input of the graph.
#[derive(Debug)]
pub struct Unembed {
    /// `[vocabulary, channels]`, int8, symmetric. It stays where it lies; lookups read the same bytes.
    pub table: Constant,
    /// Scale of the table's rows: one, or one per row.
    pub scale: Vec<f32>,
    /// Added per row of the table.
    pub bias: Vec<f32>,
}

impl Operator for Unembed {
    fn kind(&self) -> &'static str {
        "Unembed"
    }

    fn dtype(&self) -> &'static str {
        "i8"
    }

    fn shape(&self, inputs: &[&[TDim]]) -> TractResult<TVec<TDim>> {
        let picks = inputs.get(1).and_then(|s| s.first()).context("picks must be a vector")?;
        Ok(tvec!(picks.clone(), self.table.shape[0].to_dim()))
    }

    fn run(&self, ctx: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()> {
        let (x, k) = rows(inputs[0])?;
        let (n, c) = (self.table.shape[0], self.table.shape[1]);
        ensure!(k == c, "the table has another number of channels than the rows");
        let picks = i64s(inputs[1])?;
        let picked = &mut ctx.scratch.picked;
        picked.clear();
        memory::reserve(picked, picks.len().checked_mul(k).context("too many picks")?)?;
        for &p in picks {
            let row = usize::try_from(p).ok().and_then(|p| x.chunks_exact(k).nth(p));
            picked.extend_from_slice(row.context("a pick is outside the rows")?);
        }
        let table = kernels::pack::as_i8(self.table.bytes());
        let quantized = &mut ctx.scratch.rows;
        kernels::quantize_rows(ctx.isa, picked, picks.len(), k, None, None, &ActQuant::PerToken, quantized)?;
        let (isa, quantized) = (ctx.isa, &*quantized);
        out.fill(&[picks.len(), n], |out| {
            for (row, out) in out.chunks_exact_mut(n).enumerate() {
                over_rows(ctx.team, 2048, out, 1, |first, part| {
                    let last = first + part.len();
                    let scale = if self.scale.len() == 1 { &self.scale } else { &self.scale[first..last] };
                    let table = &table[first * k..last * k];
                    kernels::table_products(
                        isa,
                        quantized,
                        row,
                        table,
                        scale,
                        Some(&self.bias[first..last]),
                        part,
                    )
                })?;
            }
            Ok(())
        })
    }
}
