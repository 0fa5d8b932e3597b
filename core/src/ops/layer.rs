//! The two halves of an encoder layer, each as one operator on blocks of rows.
//!
//! They are put together from the small operators when a plan is made and compute the same bits. What they save
//! is memory: queries, keys, values and the feed-forward's wide rows live in scratch memory for a block of rows at
//! a time, small enough for the cache, and are never tensors of a graph.

use std::sync::Arc;

use tract_onnx::tract_hir::internal::*;

use super::attention::Attention;
use super::linear::Linear;
use super::norm::LayerNorm;
use super::rows::rows;
use super::{Buffer, Operator, RunContext, Value, boundaries, i64s};
use crate::memory;

/// Rows of a block. Weights are read from the outer cache once a block; its widest rows (3,072 floats in
/// DistilBERT) take 1.5 MB. Measured on Zen 5 (1 MB of L2) from 64 to 512.
const BLOCK: usize = 128;

/// `n` rows in blocks of nearly the same size, at most 1.5 times [`BLOCK`].
fn blocks(n: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let count = ((n + BLOCK / 2) / BLOCK).max(1);
    (0..count).map(move |i| n * i / count..n * (i + 1) / count)
}

/// `norm(x + output(attention(qkv(x))))`. Inputs: rows, sequence offsets, mask.
#[derive(Debug)]
pub struct SelfAttention {
    /// Queries, keys and values at once.
    pub qkv: Arc<Linear>,
    /// Over its columns.
    pub attention: Attention,
    /// The output projection.
    pub output: Arc<Linear>,
    /// After the residual.
    pub norm: Arc<LayerNorm>,
}

impl Operator for SelfAttention {
    fn kind(&self) -> &'static str {
        "SelfAttention"
    }

    fn dtype(&self) -> &'static str {
        self.qkv.dtype()
    }

    fn run(&self, ctx: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()> {
        let (x, c) = rows(inputs[0])?;
        let offsets = boundaries(inputs[1], x.len() / c)?;
        let mask = i64s(inputs[2])?;
        ensure!(mask.len() == x.len() / c, "the mask has another length than the rows");
        ensure!(self.output.n == c, "a residual does not fit its layer");
        let (wide, width) = (self.qkv.n, self.output.k);
        out.fill(inputs[0].shape(), |out| {
            // Whole sequences, together about a block.
            let mut first = 0;
            while first + 1 < offsets.len() {
                let start = offsets[first];
                let mut last = first + 1;
                while last + 1 < offsets.len() && offsets[last + 1] - start <= BLOCK {
                    last += 1;
                }
                let end = offsets[last];
                let n = end - start;
                let x = &x[start * c..end * c];
                let [mut qkv, mut context] = ctx.scratch.take([n * wide, n * width])?;
                let (all, context_rows) = (&mut qkv[..n * wide], &mut context[..n * width]);
                self.qkv.apply(ctx, x, all)?;
                let mut here = std::mem::take(&mut ctx.scratch.boundaries);
                memory::refill(&mut here, offsets[first..=last].iter().map(|o| o - start))?;
                let side = (&*all, wide);
                self.attention.apply(ctx, [side; 3], &here, &mask[start..end], context_rows)?;
                // Nobody reads the queries any more.
                let projected = &mut all[..n * c];
                self.output.apply(ctx, context_rows, projected)?;
                self.norm.apply(ctx, projected, Some(x), &mut out[start * c..end * c])?;
                ctx.scratch.give([qkv, context]);
                ctx.scratch.boundaries = here;
                first = last;
            }
            Ok(())
        })
    }
}

/// `norm(x + down(up(x)))`; the activation function is part of `up`.
#[derive(Debug)]
pub struct FeedForward {
    /// To the wide rows.
    pub up: Arc<Linear>,
    /// And back.
    pub down: Arc<Linear>,
    /// After the residual.
    pub norm: Arc<LayerNorm>,
}

impl Operator for FeedForward {
    fn kind(&self) -> &'static str {
        "FeedForward"
    }

    fn dtype(&self) -> &'static str {
        self.up.dtype()
    }

    fn row_wise(&self) -> bool {
        true
    }

    fn run(&self, ctx: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()> {
        let (x, c) = rows(inputs[0])?;
        ensure!(self.down.n == c, "a residual does not fit its layer");
        out.fill(inputs[0].shape(), |out| {
            for block in blocks(x.len() / c) {
                let x = &x[block.start * c..block.end * c];
                let sizes = [block.len() * self.up.n, block.len() * self.down.n];
                let mut buffers = ctx.scratch.take(sizes)?;
                let [wide, narrow] = &mut buffers;
                let (wide, narrow) = (&mut wide[..sizes[0]], &mut narrow[..sizes[1]]);
                self.up.apply(ctx, x, wide)?;
                self.down.apply(ctx, wide, narrow)?;
                self.norm.apply(ctx, narrow, Some(x), &mut out[block.start * c..block.end * c])?;
                ctx.scratch.give(buffers);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_all_rows_and_are_of_nearly_the_same_size() {
        for n in 1..1000 {
            let all: Vec<_> = blocks(n).collect();
            assert!(all[0].start == 0 && all[all.len() - 1].end == n);
            assert!(all.windows(2).all(|w| w[0].end == w[1].start));
            let sizes = || all.iter().map(|b| b.len());
            assert!(
                sizes().max() <= Some(BLOCK * 3 / 2) && sizes().max().unwrap() - sizes().min().unwrap() < 2
            );
        }
    }
}
