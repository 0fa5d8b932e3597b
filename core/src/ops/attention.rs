//! Self-attention on packed rows.

use std::ops::Range;

use tract_onnx::tract_hir::internal::*;

use super::rows::rows;
use super::{Buffer, Operator, RunContext, Value, boundaries, i64s};
use crate::kernels::{self, FakeQuant, Rows};
use crate::memory;

/// Multi-head attention of each sequence over itself. Inputs: rows that hold the queries, the keys and the
/// values (often one tensor), sequence offsets, mask.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Heads.
    pub heads: usize,
    /// Channels per head of queries and keys.
    pub head_size: usize,
    /// Channels per head of values and of the output.
    pub value_size: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// Where queries, keys and values start in their rows.
    pub columns: [usize; 3],
    /// Masked keys are ignored.
    pub masked: bool,
    /// The queries are one row per sequence.
    pub first_only: bool,
    /// Both products in int8.
    pub int8: bool,
    /// Fake quantization of the scaled scores.
    pub score_quant: Option<FakeQuant>,
    /// Multiplies quantized scores.
    pub score_step: f32,
    /// Fake quantizations of the probabilities, one after the other.
    pub prob_quant: Vec<FakeQuant>,
}

impl Operator for Attention {
    fn kind(&self) -> &'static str {
        "Attention"
    }

    fn dtype(&self) -> &'static str {
        if self.int8 { "i8" } else { "f32" }
    }

    fn shape(&self, inputs: &[&[TDim]]) -> TractResult<TVec<TDim>> {
        super::with_channels(inputs, self.heads * self.value_size)
    }

    fn run(&self, ctx: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()> {
        let sides = [rows(inputs[0])?, rows(inputs[1])?, rows(inputs[2])?];
        let offsets = boundaries(inputs[3], sides[1].0.len() / sides[1].1)?;
        let mut shape: TVec<usize> = inputs[0].shape().into();
        if let Some(last) = shape.last_mut() {
            *last = self.heads * self.value_size;
        }
        let mask = i64s(inputs[4])?;
        out.fill(&shape, |out| self.apply(ctx, sides, offsets, mask, out))
    }
}

impl Attention {
    /// `sides`: the rows that hold queries, keys and values, with their width. `offsets` rise from 0 to the
    /// number of rows.
    pub(super) fn apply(
        &self,
        ctx: &mut RunContext,
        sides: [(&[f32], usize); 3],
        offsets: &[usize],
        mask: &[i64],
        out: &mut [f32],
    ) -> TractResult<()> {
        let s = self;
        let [(q, qc), (k, kc), (v, vc)] = sides;
        let n = k.len() / kc;
        let [q0, k0, v0] = s.columns;
        ensure!(v.len() / vc == n, "keys and values differ in rows");
        ensure!(
            q0 + s.heads * s.head_size <= qc
                && k0 + s.heads * s.head_size <= kc
                && v0 + s.heads * s.value_size <= vc,
            "attention reads past the end of its rows"
        );
        let queries = if s.first_only { offsets.len() - 1 } else { n };
        ensure!(q.len() / qc == queries, "attention has another number of queries than it needs");
        ensure!(mask.len() == n, "the mask has another length than the rows");
        let width = s.heads * s.value_size;
        ensure!(out.len() == queries * width, "attention's output has another size");
        let attend = if s.int8 { kernels::attention_i8 } else { kernels::attention_f32 };
        let isa = ctx.isa;
        let one = |i: usize,
                   rows: Range<usize>,
                   heads: &Range<usize>,
                   scratch: &mut kernels::AttentionScratch,
                   out: &mut [f32]| {
            let (a, b) = (offsets[i], offsets[i + 1]);
            let (at, value_at) = (heads.start * s.head_size, heads.start * s.value_size);
            let keep = (s.masked && mask[a..b].contains(&0))
                .then(|| memory::collect(mask[a..b].iter().map(|&m| u8::from(m != 0))))
                .transpose()?;
            let queries = Rows { data: &q[rows.start * qc..rows.end * qc], stride: qc, offset: q0 + at };
            let keys = Rows { data: &k[a * kc..b * kc], stride: kc, offset: k0 + at };
            let values = Rows { data: &v[a * vc..b * vc], stride: vc, offset: v0 + value_at };
            let shape = kernels::Attention {
                queries: rows.len(),
                keys: b - a,
                heads: heads.len(),
                head_dim: s.head_size,
                value_dim: s.value_size,
                scale: s.scale,
                mask: keep.as_deref(),
                score_quant: s.score_quant,
                score_step: s.score_step,
                probability_quant: &s.prob_quant,
            };
            attend(isa, queries, keys, values, &shape, scratch, out, heads.len() * s.value_size)
        };
        // Which sequence a row of the output belongs to.
        let start = |i: usize| if s.first_only { i } else { offsets[i] };
        let (threads, sequences) = (ctx.team.threads(), offsets.len() - 1);
        if threads == 1 || queries < 32 {
            for i in 0..sequences {
                let rows = start(i)..start(i + 1);
                let out = &mut out[rows.start * width..rows.end * width];
                one(i, rows, &(0..s.heads), &mut ctx.scratch.attention, out)?;
            }
            return Ok(());
        }
        if sequences < 2 * threads && s.heads >= threads {
            // Few sequences: each thread takes some heads, so that no keys and values are packed twice.
            let per = s.heads.div_ceil(threads);
            let helpers = &mut ctx.scratch.helpers;
            helpers.resize_with(s.heads.div_ceil(per), Default::default);
            let items: Vec<_> = helpers.iter_mut().enumerate().collect();
            let heads = |i: usize| i * per..((i + 1) * per).min(s.heads);
            ctx.team.each(items, |(i, helper)| {
                let heads = heads(i);
                let width = heads.len() * s.value_size;
                if helper.out.len() < queries * width {
                    memory::resize(&mut helper.out, queries * width, 0.0)?;
                }
                for i in 0..sequences {
                    let rows = start(i)..start(i + 1);
                    let out = &mut helper.out[rows.start * width..rows.end * width];
                    one(i, rows, &heads, &mut helper.attention, out)?;
                }
                Ok(())
            })?;
            let helpers = &*helpers;
            return super::over_rows(ctx.team, 16, out, width, |first, part| {
                for (row, out) in part.chunks_exact_mut(width).enumerate() {
                    for (i, helper) in helpers.iter().enumerate() {
                        let (at, n) = (heads(i).start * s.value_size, heads(i).len() * s.value_size);
                        out[at..at + n].copy_from_slice(&helper.out[(first + row) * n..][..n]);
                    }
                }
                Ok(())
            });
        }
        super::over_rows(ctx.team, 16, out, width, |first, part| {
            // A thread's own scratch; keys of a sequence that two threads share are packed by both.
            let mut scratch = kernels::AttentionScratch::new();
            let end = first + part.len() / width;
            for i in 0..offsets.len() - 1 {
                let rows = start(i).max(first)..start(i + 1).min(end);
                if rows.start < rows.end {
                    let out = &mut part[(rows.start - first) * width..(rows.end - first) * width];
                    one(i, rows, &(0..s.heads), &mut scratch, out)?;
                }
            }
            Ok(())
        })
    }
}
