//! Self-attention of one sequence in `f32`: scores, softmax and the weighted sum, head by head.
//!
//! Masked keys are left out when keys and values are packed, so a masked sequence gives the same bits as
//! the shorter sequence without those keys.

use super::attention_i8::AttentionI8Scratch;
use super::counts::{Kernel, count};
use super::gemm::{Matrix, gemm_block};
use super::isa::{Isa, multiversion};
use super::math::exp;
use super::pack::PANEL;
use super::quant::FakeQuant;
use crate::error::{Error, Result};
use crate::memory;

/// Rows of a larger matrix: element (`i`, `c`) is `data[i * stride + offset + c]`.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The matrix.
    pub data: &'a [f32],
    /// Floats from one row to the next.
    pub stride: usize,
    /// The column where head 0 starts; heads follow one another.
    pub offset: usize,
}

/// Shape and options of [`attention_f32`].
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Query rows. A thread may take a part of the rows; each row's bits are the same.
    pub queries: usize,
    /// Key and value rows: the length of the sequence.
    pub keys: usize,
    /// Heads.
    pub heads: usize,
    /// Channels per head of queries and keys.
    pub head_dim: usize,
    /// Channels per head of values and output.
    pub value_dim: usize,
    /// Scores are multiplied by this after the product.
    pub scale: f32,
    /// One byte per key, zero where it is masked and gets no weight at all. If every key is masked, all get
    /// the same weight, as where a mask adds one large negative number.
    pub mask: Option<&'a [u8]>,
    /// Applied to scaled scores.
    pub score_quant: Option<FakeQuant>,
    /// Multiplies quantized scores. Not 1 where `scale` gives whole steps of an integer product.
    pub score_step: f32,
    /// Applied to probabilities, one after the other.
    pub probability_quant: &'a [FakeQuant],
}

/// Working memory of [`attention_f32`] and [`attention_i8`](super::attention_i8()); keep it and use it again.
#[derive(Clone, Debug, Default)]
pub struct AttentionScratch {
    keys: Vec<f32>,
    values: Vec<f32>,
    scores: Vec<f32>,
    pub(super) kept: Vec<u32>,
    pub(super) int8: AttentionI8Scratch,
}

impl AttentionScratch {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves in it what no run may depend on.
    #[cfg(test)]
    pub(super) fn dirty(&mut self) {
        for v in [&mut self.keys, &mut self.values, &mut self.scores] {
            v.resize(100, f32::NAN);
        }
        self.int8.dirty();
    }
}

/// Query rows that share the packed keys in the cache.
const BLOCK: usize = 24;

/// Attention of one sequence: row `i` of `out` (rows `out_stride` apart, starting at 0) gets, for each head,
/// the values weighted by `softmax(scale * q_i . k_j)`.
pub fn attention_f32(
    isa: Isa,
    q: Rows,
    k: Rows,
    v: Rows,
    shape: &Attention,
    scratch: &mut AttentionScratch,
    out: &mut [f32],
    out_stride: usize,
) -> Result<()> {
    let s = shape;
    check(&q, &k, &v, s, out.len(), out_stride)?;
    let too_large = || Error::exhausted("the sequence is too long for attention");
    if s.queries == 0 || s.keys == 0 {
        for i in 0..s.queries {
            out[i * out_stride..][..s.heads * s.value_dim].fill(0.0);
        }
        return Ok(());
    }
    let uniform = keep(s, &mut scratch.kept)?;
    let padded = scratch.kept.len().next_multiple_of(PANEL);
    let values = s.value_dim.next_multiple_of(PANEL).checked_mul(scratch.kept.len()).ok_or_else(too_large)?;
    memory::resize(&mut scratch.keys, padded.checked_mul(s.head_dim).ok_or_else(too_large)?, 0.0)?;
    memory::resize(&mut scratch.values, values, 0.0)?;
    memory::resize(&mut scratch.scores, padded.checked_mul(BLOCK).ok_or_else(too_large)?, 0.0)?;
    heads(isa, q, k, v, s, uniform, scratch, out, out_stride);
    count(Kernel::AttentionF32, isa);
    Ok(())
}

/// Whether queries, keys, values, output and mask fit `shape`.
pub(super) fn check(
    q: &Rows,
    k: &Rows,
    v: &Rows,
    shape: &Attention,
    out_len: usize,
    out_stride: usize,
) -> Result<()> {
    let s = shape;
    let fits = |rows: usize, stride: usize, offset: usize, dim: usize, len: usize| -> bool {
        let Some(width) = s.heads.checked_mul(dim).and_then(|w| w.checked_add(offset)) else { return false };
        if rows == 0 {
            return true;
        }
        width <= stride
            && (rows - 1).checked_mul(stride).and_then(|l| l.checked_add(width)).is_some_and(|l| l <= len)
    };
    let wrong = if !fits(s.queries, q.stride, q.offset, s.head_dim, q.data.len()) {
        "queries"
    } else if !fits(s.keys, k.stride, k.offset, s.head_dim, k.data.len()) {
        "keys"
    } else if !fits(s.keys, v.stride, v.offset, s.value_dim, v.data.len()) {
        "values"
    } else if !fits(s.queries, out_stride, 0, s.value_dim, out_len) {
        "output"
    } else if s.mask.is_some_and(|m| m.len() != s.keys) || u32::try_from(s.keys).is_err() {
        "mask"
    } else {
        ""
    };
    if !wrong.is_empty() {
        return Err(Error::invalid(format!(
            "`{wrong}` of attention does not fit {} queries, {} keys and {} heads",
            s.queries, s.keys, s.heads
        )));
    }
    Ok(())
}

/// Fills `kept` with the keys that are not masked. If all are, all are kept and the result is true: each gets the
/// same weight.
pub(super) fn keep(shape: &Attention, kept: &mut Vec<u32>) -> Result<bool> {
    kept.clear();
    memory::reserve(kept, shape.keys)?;
    if let Some(mask) = shape.mask {
        kept.extend((0u32..).zip(mask).filter(|(_, m)| **m != 0).map(|(j, _)| j));
    }
    let uniform = shape.mask.is_some() && kept.is_empty();
    if kept.is_empty() {
        kept.extend(0..shape.keys as u32);
    }
    Ok(uniform)
}

multiversion! {
    fn heads(
        q: Rows,
        k: Rows,
        v: Rows,
        shape: &Attention,
        uniform: bool,
        scratch: &mut AttentionScratch,
        out: &mut [f32],
        out_stride: usize,
    ) = heads_body::<4, 1>, wide heads_body::<6, 2>
}

#[allow(clippy::too_many_arguments)]
#[inline(always)]
fn heads_body<const R: usize, const P: usize>(
    q: Rows,
    k: Rows,
    v: Rows,
    shape: &Attention,
    uniform: bool,
    scratch: &mut AttentionScratch,
    out: &mut [f32],
    out_stride: usize,
) {
    let s = shape;
    let (d, dv) = (s.head_dim, s.value_dim);
    let AttentionScratch { keys, values, scores, kept, .. } = scratch;
    let (len, padded) = (kept.len(), kept.len().next_multiple_of(PANEL));
    for head in 0..s.heads {
        pack_keys(k, head * d, d, kept, keys);
        pack_values(v, head * dv, dv, kept, values);
        let mut row = 0;
        while row < s.queries {
            let rows = BLOCK.min(s.queries - row);
            let from = row * q.stride + q.offset + head * d;
            let block = Matrix { data: &q.data[from..], stride: q.stride };
            gemm_block::<R, P>(block, rows, d, keys, padded, scores, padded);
            for line in scores.chunks_exact_mut(padded).take(rows) {
                softmax_row(line, len, uniform, s);
            }
            let weights = Matrix { data: scores, stride: padded };
            let out = &mut out[row * out_stride + head * dv..];
            gemm_block::<R, P>(weights, rows, len, values, dv, out, out_stride);
            row += rows;
        }
    }
}

/// Keys of one head as `[len/16][d][16]`, the last panel filled up with zeros.
#[inline(always)]
fn pack_keys(k: Rows, column: usize, d: usize, kept: &[u32], out: &mut [f32]) {
    if d == 0 {
        return;
    }
    for (panel, rows) in out.chunks_exact_mut(d * PANEL).zip(kept.chunks(PANEL)) {
        if rows.len() < PANEL {
            panel.fill(0.0);
        }
        for (lane, &j) in rows.iter().enumerate() {
            let key = &k.data[j as usize * k.stride + k.offset + column..][..d];
            for (line, &x) in panel.as_chunks_mut::<PANEL>().0.iter_mut().zip(key) {
                line[lane] = x;
            }
        }
    }
}

/// Values of one head as `[dv/16][len][16]`, the last panel filled up with zeros.
#[inline(always)]
fn pack_values(v: Rows, column: usize, dv: usize, kept: &[u32], out: &mut [f32]) {
    for (p, panel) in out.chunks_exact_mut(kept.len() * PANEL).enumerate() {
        let c = p * PANEL;
        let lanes = PANEL.min(dv - c);
        for (line, &j) in panel.as_chunks_mut::<PANEL>().0.iter_mut().zip(kept) {
            let from = &v.data[j as usize * v.stride + v.offset + column + c..];
            match from[..lanes].first_chunk::<PANEL>() {
                Some(whole) => *line = *whole,
                None => {
                    *line = [0.0; PANEL];
                    line[..lanes].copy_from_slice(&from[..lanes]);
                }
            }
        }
    }
}

/// Scales the first `len` scores and makes them probabilities; the rest become zero.
#[inline(always)]
fn softmax_row(line: &mut [f32], len: usize, uniform: bool, shape: &Attention) {
    if uniform {
        line[..len].fill(0.0);
    } else {
        for v in line[..len].iter_mut() {
            *v *= shape.scale;
        }
        if let Some(quant) = shape.score_quant {
            for v in line[..len].iter_mut() {
                *v = quant.apply(*v) * shape.score_step;
            }
        }
    }
    line[len..].fill(f32::NEG_INFINITY);
    softmax_lanes(line);
    for quant in shape.probability_quant {
        for v in line[..len].iter_mut() {
            *v = quant.apply(*v);
        }
    }
}

/// Softmax of a row whose length is a multiple of 16: lane `i mod 16` sums its own, then
/// [`tree`] adds the lanes.
#[inline(always)]
fn softmax_lanes(line: &mut [f32]) {
    let chunks = line.as_chunks_mut::<PANEL>().0;
    let mut high = [f32::MIN; PANEL];
    for c in chunks.iter() {
        for l in 0..PANEL {
            high[l] = if c[l] > high[l] { c[l] } else { high[l] };
        }
    }
    let mut max = f32::MIN;
    for h in high {
        max = if h > max { h } else { max };
    }
    let mut sums = [0.0f32; PANEL];
    for c in chunks.iter_mut() {
        for l in 0..PANEL {
            c[l] = exp(c[l] - max);
        }
        for l in 0..PANEL {
            sums[l] += c[l];
        }
    }
    let inverse = 1.0 / tree(sums);
    for c in chunks {
        for v in c {
            *v *= inverse;
        }
    }
}

/// The sum of 16 lanes in one fixed order: halves onto each other.
#[inline(always)]
pub(super) fn tree(mut v: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for l in 0..half {
            v[l] += v[l + half];
        }
    }
    v[0]
}

/// Softmax of every row of `k` floats in `x`, in place, as attention does it.
pub fn softmax_rows(isa: Isa, x: &mut [f32], k: usize) -> Result<()> {
    if k == 0 || !x.len().is_multiple_of(k) {
        return Err(Error::invalid(format!("{} values are not rows of {k}", x.len())));
    }
    softmax_all(isa, x, k);
    count(Kernel::Elementwise, isa);
    Ok(())
}

multiversion! {
    fn softmax_all(x: &mut [f32], k: usize) = softmax_all_body
}

#[inline(always)]
fn softmax_all_body(x: &mut [f32], k: usize) {
    for row in x.chunks_exact_mut(k) {
        let mut max = f32::MIN;
        for &v in row.iter() {
            max = if v > max { v } else { max };
        }
        let mut sums = [0.0f32; PANEL];
        for c in row.chunks_mut(PANEL) {
            for (v, sum) in c.iter_mut().zip(&mut sums) {
                *v = exp(*v - max);
                *sum += *v;
            }
        }
        let inverse = 1.0 / tree(sums);
        for v in row {
            *v *= inverse;
        }
    }
}
