//! Operators that move or combine whole rows.

use tract_onnx::tract_hir::internal::*;

use super::{Buffer, Operator, RunContext, Value, boundaries, f32s, i64s, with_channels};
use crate::kernels;
use crate::memory;

/// The first token's row of each sequence.
#[derive(Debug)]
pub struct SelectFirst;

impl Operator for SelectFirst {
    fn kind(&self) -> &'static str {
        "SelectFirst"
    }

    fn shape(&self, inputs: &[&[TDim]]) -> TractResult<TVec<TDim>> {
        pooled_shape(inputs)
    }

    fn run(&self, _: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()> {
        let (x, c) = rows(inputs[0])?;
        let o = boundaries(inputs[1], x.len() / c)?;
        out.fill(&[o.len() - 1, c], |out| {
            for (out, w) in out.chunks_exact_mut(c).zip(o.windows(2)) {
                ensure!(w[0] < w[1], "an empty sequence has no first token");
                out.copy_from_slice(&x[w[0] * c..(w[0] + 1) * c]);
            }
            Ok(())
        })
    }
}

/// The mean of each sequence's unmasked rows; with token types as fourth input, of those of the second segment
/// (zeros where there is none).
#[derive(Debug)]
pub struct MeanPool;

impl Operator for MeanPool {
    fn kind(&self) -> &'static str {
        "MeanPool"
    }

    fn shape(&self, inputs: &[&[TDim]]) -> TractResult<TVec<TDim>> {
        pooled_shape(inputs)
    }

    fn run(&self, ctx: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()> {
        let (x, c) = rows(inputs[0])?;
        let o = boundaries(inputs[1], x.len() / c)?;
        let mask = i64s(inputs[2])?;
        ensure!(mask.len() == x.len() / c, "the mask has another length than the rows");
        let types = inputs.get(3).map(|t| i64s(*t)).transpose()?;
        ensure!(types.is_none_or(|t| t.len() == mask.len()), "the types have another length than the rows");
        let keep = &mut ctx.scratch.keep;
        let counts = |t: usize| mask[t] != 0 && types.is_none_or(|ty| ty[t] == 1);
        out.fill(&[o.len() - 1, c], |out| {
            for (out, w) in out.chunks_exact_mut(c).zip(o.windows(2)) {
                memory::refill(keep, (w[0]..w[1]).map(|t| u8::from(counts(t))))?;
                kernels::mean_pool(ctx.isa, &x[w[0] * c..w[1] * c], c, Some(keep), out)?;
            }
            Ok(())
        })
    }
}

/// Each row divided by its Euclidean norm.
#[derive(Debug)]
pub struct L2Normalize;

impl Operator for L2Normalize {
    fn kind(&self) -> &'static str {
        "L2Normalize"
    }

    fn row_wise(&self) -> bool {
        true
    }

    fn run(&self, ctx: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()> {
        let (x, c) = rows(inputs[0])?;
        out.fill(inputs[0].shape(), |out| {
            out.copy_from_slice(x);
            Ok(kernels::l2_normalize(ctx.isa, out, c)?)
        })
    }
}

/// Some columns of each row.
#[derive(Debug)]
pub struct Columns {
    /// First column.
    pub start: usize,
    /// Number of columns.
    pub length: usize,
}

impl Operator for Columns {
    fn kind(&self) -> &'static str {
        "Columns"
    }

    fn row_wise(&self) -> bool {
        true
    }

    fn shape(&self, inputs: &[&[TDim]]) -> TractResult<TVec<TDim>> {
        with_channels(inputs, self.length)
    }

    fn run(&self, _: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()> {
        let (x, c) = rows(inputs[0])?;
        ensure!(self.start + self.length <= c, "columns past the end of the rows");
        let mut shape: TVec<usize> = inputs[0].shape().into();
        if let Some(last) = shape.last_mut() {
            *last = self.length;
        }
        out.fill(&shape, |out| {
            for (o, x) in out.chunks_exact_mut(self.length).zip(x.chunks_exact(c)) {
                o.copy_from_slice(&x[self.start..self.start + self.length]);
            }
            Ok(())
        })
    }
}

/// Rows of one channel as a vector.
#[derive(Debug)]
pub struct Flatten;

impl Operator for Flatten {
    fn kind(&self) -> &'static str {
        "Flatten"
    }

    fn shape(&self, inputs: &[&[TDim]]) -> TractResult<TVec<TDim>> {
        let s = inputs[0];
        Ok(s[..s.len().saturating_sub(1)].iter().cloned().collect())
    }

    fn run(&self, _: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()> {
        let x = f32s(inputs[0])?;
        let s = inputs[0].shape();
        ensure!(s.last() == Some(&1), "only rows of one channel are flattened");
        out.fill(&s[..s.len() - 1], |out| {
            out.copy_from_slice(x);
            Ok(())
        })
    }
}

/// A copy under another name.
#[derive(Debug)]
pub struct Identity;

impl Operator for Identity {
    fn kind(&self) -> &'static str {
        "Identity"
    }

    fn row_wise(&self) -> bool {
        true
    }

    fn run(&self, _: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()> {
        let x = f32s(inputs[0])?;
        out.fill(inputs[0].shape(), |out| {
            out.copy_from_slice(x);
            Ok(())
        })
    }
}

/// The sum of two tensors of the same shape.
#[derive(Debug)]
pub struct Add;

impl Operator for Add {
    fn kind(&self) -> &'static str {
        "Add"
    }

    fn row_wise(&self) -> bool {
        true
    }

    fn run(&self, _: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()> {
        let (a, b) = (f32s(inputs[0])?, f32s(inputs[1])?);
        ensure!(a.len() == b.len(), "added tensors differ in size");
        out.fill(inputs[0].shape(), |out| {
            for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
                *o = a + b;
            }
            Ok(())
        })
    }
}

/// Adds or multiplies a constant per channel.
#[derive(Debug)]
pub struct Channels {
    /// One value per channel.
    pub values: Vec<f32>,
    /// Multiply instead of add.
    pub multiply: bool,
}

impl Operator for Channels {
    fn kind(&self) -> &'static str {
        if self.multiply { "MulChannels" } else { "AddChannels" }
    }

    fn row_wise(&self) -> bool {
        true
    }

    fn run(&self, _: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()> {
        let (x, c) = rows(inputs[0])?;
        ensure!(c == self.values.len(), "a constant per channel does not fit the rows");
        out.fill(inputs[0].shape(), |out| {
            for (o, x) in out.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                for ((o, x), v) in o.iter_mut().zip(x).zip(&self.values) {
                    *o = if self.multiply { x * v } else { x + v };
                }
            }
            Ok(())
        })
    }
}

/// The elements and the row width of a tensor of rows.
pub(super) fn rows(t: Value<'_>) -> TractResult<(&[f32], usize)> {
    let c = *t.shape().last().context("a scalar where rows are expected")?;
    ensure!(c > 0, "rows without channels");
    Ok((f32s(t)?, c))
}

fn pooled_shape(inputs: &[&[TDim]]) -> TractResult<TVec<TDim>> {
    let c = inputs[0].last().context("a scalar where rows are expected")?.clone();
    let n = inputs[1].first().context("offsets must be a vector")?.clone() - 1;
    Ok(tvec!(n, c))
}
