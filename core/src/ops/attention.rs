//! Self-attention on packed rows.

use tract_onnx::tract_hir::internal::*;

use super::rows::rows;
use super::{Operator, RunContext, boundaries, i64s, new_f32};
use crate::kernels::{self, FakeQuant, Rows};

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
    /// Fake quantization of the probabilities.
    pub prob_quant: Option<FakeQuant>,
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

    fn run(&self, ctx: &mut RunContext, inputs: &[&Tensor]) -> TractResult<Tensor> {
        let s = self;
        let (q, qc) = rows(inputs[0])?;
        let (k, kc) = rows(inputs[1])?;
        let (v, vc) = rows(inputs[2])?;
        let n = k.len() / kc;
        let [q0, k0, v0] = self.columns;
        ensure!(v.len() / vc == n, "keys and values differ in rows");
        ensure!(
            q0 + s.heads * s.head_size <= qc
                && k0 + s.heads * s.head_size <= kc
                && v0 + s.heads * s.value_size <= vc,
            "attention reads past the end of its rows"
        );
        let offsets = boundaries(inputs[3], n)?;
        let queries = if s.first_only { offsets.len() - 1 } else { n };
        ensure!(q.len() / qc == queries, "attention has another number of queries than it needs");
        let mask = i64s(inputs[4])?;
        ensure!(mask.len() == n, "the mask has another length than the rows");
        let width = s.heads * s.value_size;
        let attend = if s.int8 { kernels::attention_i8 } else { kernels::attention_f32 };
        let mut shape: TVec<usize> = inputs[0].shape().into();
        if let Some(last) = shape.last_mut() {
            *last = width;
        }
        new_f32(&shape, |out| {
            for (i, w) in offsets.windows(2).enumerate() {
                let (a, b) = (w[0], w[1]);
                // Rows of the queries and of the output.
                let (from, to) = if s.first_only { (i, i + 1) } else { (a, b) };
                let keep: Option<Vec<u8>> = (self.masked && mask[a..b].contains(&0))
                    .then(|| mask[a..b].iter().map(|&m| u8::from(m != 0)).collect());
                let queries = Rows { data: &q[from * qc..to * qc], stride: qc, offset: q0 };
                let keys = Rows { data: &k[a * kc..b * kc], stride: kc, offset: k0 };
                let values = Rows { data: &v[a * vc..b * vc], stride: vc, offset: v0 };
                let out = &mut out[from * width..to * width];
                let shape = |rows: usize| kernels::Attention {
                    queries: rows,
                    keys: b - a,
                    heads: s.heads,
                    head_dim: s.head_size,
                    value_dim: s.value_size,
                    scale: s.scale,
                    mask: keep.as_deref(),
                    score_quant: s.score_quant,
                    probability_quant: s.prob_quant,
                };
                let isa = ctx.isa;
                if ctx.threads <= 1 || to - from < 32 {
                    let scratch = &mut ctx.scratch.attention;
                    attend(isa, queries, keys, values, &shape(to - from), scratch, out, width)?;
                    continue;
                }
                super::over_rows(ctx.threads, 16, out, width, |first, part| {
                    let rows = part.len() / width;
                    let queries =
                        Rows { data: &q[(from + first) * qc..(from + first + rows) * qc], ..queries };
                    // A thread's own scratch: the keys are packed once per thread.
                    let mut scratch = kernels::AttentionScratch::new();
                    attend(isa, queries, keys, values, &shape(rows), &mut scratch, part, width)
                })?;
            }
            Ok(())
        })
    }
}
