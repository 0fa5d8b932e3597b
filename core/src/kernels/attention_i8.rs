//! Self-attention of one sequence with both products in int8.
//!
//! Per head: queries are quantised per token; keys per token, after the mean over the sequence is taken from
//! each of their channels (softmax does not see it: every score of a row moves by the same amount; Zhang et al.
//! 2024, "SageAttention"); numerators `exp(score - maximum)` become `u8` steps of 1/255; values are quantised per
//! channel over their sequence. A row of scores is divided by the sum of its steps, so that the weights add up to
//! one exactly. Nothing depends on other sequences of a batch.
//!
//! Integer sums are exact. Floats, in this order: `score = sum * (query scale * scale) * key scale`,
//! `out = sum * (1 / sum of steps) * value scale`.

use super::attention::{Attention, AttentionScratch, Rows, check, keep};
use super::counts::{Kernel, count};
use super::isa::Isa;
use super::math::{ROUND_MAGIC, ROUND_MAGIC_BITS, exp_below_zero};
use super::pack::{K_ALIGN, PANEL};
use super::quant::usable_scale;
use super::tile::{self, DotTile, Job, Sums, TILE_PANELS, TILE_ROWS, TileInput};
use crate::error::{Error, Result};
use crate::memory;

/// Most kept keys: sums of 255 * 127 then fit an `i32`.
const MAX_KEYS: usize = 65_536;

/// Working memory of [`attention_i8`]; keep it and use it again.
#[derive(Clone, Debug, Default)]
pub struct AttentionI8Scratch {
    /// Rows of the block that is worked on, then their steps.
    queries: Vec<u8>,
    keys: Vec<i8>,
    key_scale: Vec<f32>,
    key_offset: Vec<i32>,
    values: Vec<i8>,
    scores: Vec<f32>,
    steps: Vec<u8>,
    means: Vec<f32>,
    value_scale: Vec<f32>,
    value_offset: Vec<i32>,
}

#[cfg(test)]
impl AttentionI8Scratch {
    /// Leaves in it what no run may depend on.
    pub(super) fn dirty(&mut self) {
        self.queries.resize(1000, 99);
        self.keys.resize(1000, 99);
        self.values.resize(1000, 99);
        self.steps.resize(1000, 99);
        self.key_offset.resize(100, 99);
        self.value_offset.resize(100, 99);
        for v in [&mut self.key_scale, &mut self.scores, &mut self.means, &mut self.value_scale] {
            v.resize(100, f32::NAN);
        }
    }
}

/// [`attention_f32`](super::attention_f32) with products in int8. There must be no `score_quant` and no
/// `probability_quant`.
pub fn attention_i8(
    isa: Isa,
    q: Rows,
    k: Rows,
    v: Rows,
    shape: &Attention,
    scratch: &mut AttentionScratch,
    out: &mut [f32],
    out_stride: usize,
) -> Result<()> {
    check(&q, &k, &v, shape, out.len(), out_stride)?;
    if shape.score_quant.is_some() || !shape.probability_quant.is_empty() {
        return Err(Error::invalid("int8 attention has its own steps: no fake quantisation fits it"));
    }
    if shape.queries == 0 || shape.keys == 0 {
        for i in 0..shape.queries {
            out[i * out_stride..][..shape.heads * shape.value_dim].fill(0.0);
        }
        return Ok(());
    }
    let AttentionScratch { kept, int8: s, .. } = scratch;
    let uniform = keep(shape, kept)?;
    if kept.len() > MAX_KEYS {
        return Err(Error::exhausted(format!(
            "int8 attention takes {MAX_KEYS} tokens of a sequence at most"
        )));
    }
    // Dimensions come from a checked model (heads * dim <= 2^16), lengths from memory that exists.
    let (len, d) = (kept.len().next_multiple_of(K_ALIGN), shape.head_dim.next_multiple_of(K_ALIGN));
    let dv = shape.value_dim.next_multiple_of(PANEL);
    let size = |a: usize, b: usize| {
        a.checked_mul(b).ok_or_else(|| Error::exhausted("the sequence is too long for attention"))
    };
    memory::resize(&mut s.queries, TILE_ROWS * d, 0)?;
    s.keys.clear();
    memory::resize(&mut s.keys, size(len, d)?, 0)?;
    memory::resize(&mut s.key_scale, len, 0.0)?;
    memory::resize(&mut s.key_offset, len, 0)?;
    memory::resize(&mut s.values, size(len, dv)?, 0)?;
    memory::resize(&mut s.scores, TILE_ROWS * len, 0.0)?;
    memory::resize(&mut s.steps, TILE_ROWS * len, 0)?;
    memory::resize(&mut s.means, shape.head_dim.max(shape.value_dim).next_multiple_of(K_ALIGN), 0.0)?;
    memory::resize(&mut s.value_scale, dv, 0.0)?;
    memory::resize(&mut s.value_offset, dv, 0)?;
    tile::run(isa, Heads { q, k, v, shape, uniform, kept, s, out, out_stride });
    count(Kernel::AttentionI8, isa);
    Ok(())
}

struct Heads<'a> {
    q: Rows<'a>,
    k: Rows<'a>,
    v: Rows<'a>,
    shape: &'a Attention<'a>,
    uniform: bool,
    kept: &'a [u32],
    s: &'a mut AttentionI8Scratch,
    out: &'a mut [f32],
    out_stride: usize,
}

impl Job for Heads<'_> {
    #[inline(always)]
    fn run<D: DotTile>(self, dot: D) {
        let Heads { q, k, v, shape, uniform, kept, s, out, out_stride } = self;
        let (d, dv) = (shape.head_dim, shape.value_dim);
        let (len, d_padded) = (kept.len().next_multiple_of(K_ALIGN), d.next_multiple_of(K_ALIGN));
        // Scores go by whole panels, steps, which the second product sums over, by whole blocks of K.
        let wide = kept.len().next_multiple_of(PANEL);
        let mut sums = [Sums::ZERO; 2];
        for head in 0..shape.heads {
            pack_keys(k, head * d, d, kept, 128 - D::BIAS, s);
            pack_values(v, head * dv, dv, kept, -D::BIAS, s);
            let mut row = 0;
            // Tiles of nearly the same height.
            let mut tiles = shape.queries.div_ceil(D::ROWS);
            while row < shape.queries {
                let rows = (shape.queries - row).div_ceil(tiles);
                tiles -= 1;
                let mut scale = [0.0f32; TILE_ROWS];
                for r in 0..rows {
                    let from = (row + r) * q.stride + q.offset + head * d;
                    let to = &mut s.queries[r * d_padded..][..d];
                    scale[r] = quantize_query(&q.data[from..][..d], to) * shape.scale;
                }
                let mut j0 = 0;
                while j0 < wide {
                    let panels = D::panels(rows).min((wide - j0) / PANEL);
                    let tile = TileInput {
                        a: &s.queries,
                        stride: d_padded,
                        rows,
                        w: &s.keys[j0 * d_padded..],
                        panel_stride: PANEL * d_padded,
                        panels,
                        k: d_padded,
                        split: d_padded,
                        soon: &[],
                    };
                    dot.dot_segments(&tile, &mut sums);
                    let width = panels * PANEL;
                    for r in 0..rows {
                        let line = &mut s.scores[r * wide + j0..][..width];
                        let (offset, size) = (&s.key_offset[j0..][..width], &s.key_scale[j0..][..width]);
                        scaled(&sums[0].0[r], offset, scale[r], size, line);
                    }
                    j0 += panels * PANEL;
                }
                let mut inverse = [0.0f32; TILE_ROWS];
                for r in 0..rows {
                    let line = &mut s.scores[r * wide..][..wide];
                    let steps = &mut s.steps[r * len..][..len];
                    inverse[r] = numerators(line, kept.len(), uniform, steps);
                }
                let mut c0 = 0;
                while c0 < dv {
                    let panels = D::panels(rows).min((dv - c0).div_ceil(PANEL));
                    let tile = TileInput {
                        a: &s.steps,
                        stride: len,
                        rows,
                        w: &s.values[c0 * len..],
                        panel_stride: PANEL * len,
                        panels,
                        k: len,
                        split: len,
                        soon: &[],
                    };
                    dot.dot_segments(&tile, &mut sums);
                    let width = (panels * PANEL).min(dv - c0);
                    for r in 0..rows {
                        let line = &mut out[(row + r) * out_stride + head * dv + c0..][..width];
                        let (offset, size) = (&s.value_offset[c0..][..width], &s.value_scale[c0..][..width]);
                        scaled(&sums[0].0[r], offset, inverse[r], size, line);
                    }
                    c0 += panels * PANEL;
                }
                row += rows;
            }
        }
    }
}

#[inline(always)]
fn chunk<T>(v: &[T], at: usize) -> &[T; PANEL] {
    // Every vector of the scratch memory is a multiple of 16 long, and so is `at`.
    v[at..].first_chunk().expect("whole panels")
}

/// `(sum - offset) * of_row * of_column`.
#[inline(always)]
fn scaled(
    sums: &[[i32; PANEL]; TILE_PANELS],
    offset: &[i32],
    of_row: f32,
    of_column: &[f32],
    out: &mut [f32],
) {
    for (((y, sum), offset), of_column) in out.iter_mut().zip(sums.as_flattened()).zip(offset).zip(of_column)
    {
        *y = (sum.wrapping_sub(*offset) as f32 * of_row) * of_column;
    }
}

/// The largest magnitude, NaN left out.
#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    // On the bits, since the compiler vectorises integer maxima only.
    let mut high = 0u32;
    for v in x {
        let bits = v.to_bits() & 0x7FFF_FFFF;
        high = high.max(if v.is_nan() { 0 } else { bits });
    }
    f32::from_bits(high)
}

/// The nearest integer to `x * inverse`, from -127 to 127; NaN becomes -127.
#[inline(always)]
fn signed_step(x: f32, inverse: f32) -> i32 {
    let t = x * inverse;
    let t = if t > -127.0 { t } else { -127.0 };
    let t = if t < 127.0 { t } else { 127.0 };
    ((t + ROUND_MAGIC).to_bits() as i32).wrapping_sub(ROUND_MAGIC_BITS)
}

/// Writes steps around 128 and gives their size.
#[inline(always)]
fn quantize_query(x: &[f32], steps: &mut [u8]) -> f32 {
    let scale = usable_scale(largest(x) / 127.0);
    let inverse = 1.0 / scale;
    for (s, v) in steps.iter_mut().zip(x) {
        *s = signed_step(*v, inverse).wrapping_add(128) as u8;
    }
    scale
}

/// Keys of one head without their mean, as `[len/16][d/4][16][4]`, and `zero` times the sum of each.
#[inline(always)]
fn pack_keys(k: Rows, column: usize, d: usize, kept: &[u32], zero: i32, s: &mut AttentionI8Scratch) {
    let d_padded = d.next_multiple_of(K_ALIGN);
    let key = |j: u32| &k.data[j as usize * k.stride + k.offset + column..][..d];
    let means = &mut s.means[..d];
    means.fill(0.0);
    for &j in kept {
        for (m, x) in means.iter_mut().zip(key(j)) {
            *m += x;
        }
    }
    let count = kept.len() as f32;
    for m in means.iter_mut() {
        *m /= count;
    }
    let mut centred = [0.0f32; 64];
    let panels = s.keys.chunks_exact_mut(PANEL * d_padded);
    for ((panel, rows), p) in panels.zip(kept.chunks(PANEL)).zip(0..) {
        for (lane, &j) in rows.iter().enumerate() {
            let key = key(j);
            let mut high = 0.0f32;
            for (x, m) in key.chunks(64).zip(means.chunks(64)) {
                for ((c, x), m) in centred.iter_mut().zip(x).zip(m) {
                    *c = x - m;
                }
                let part = largest(&centred[..x.len()]);
                high = if part > high { part } else { high };
            }
            let scale = usable_scale(high / 127.0);
            let inverse = 1.0 / scale;
            let mut sum = 0i32;
            for ((x, m), block) in
                key.chunks(64).zip(means.chunks(64)).zip(panel.chunks_exact_mut(64 * PANEL))
            {
                let mut steps = [0i8; 64];
                for ((q, x), m) in steps.iter_mut().zip(x).zip(m) {
                    let step = signed_step(x - m, inverse);
                    sum = sum.wrapping_add(step);
                    *q = step as i8;
                }
                for (line, quad) in block.chunks_exact_mut(4 * PANEL).zip(steps.as_chunks::<4>().0) {
                    line[lane * 4..lane * 4 + 4].copy_from_slice(quad);
                }
            }
            s.key_scale[p * PANEL + lane] = scale;
            s.key_offset[p * PANEL + lane] = sum.wrapping_mul(zero);
        }
    }
}

/// Values of one head as `[dv/16][len/4][16][4]`, what is past the last key zero, and `zero` times their sums.
#[inline(always)]
fn pack_values(v: Rows, column: usize, dv: usize, kept: &[u32], zero: i32, s: &mut AttentionI8Scratch) {
    let len = kept.len().next_multiple_of(K_ALIGN);
    let value = |j: u32| &v.data[j as usize * v.stride + v.offset + column..][..dv];
    let high = &mut s.means[..dv];
    high.fill(0.0);
    for &j in kept {
        for (h, x) in high.iter_mut().zip(value(j)) {
            let bits = x.to_bits() & 0x7FFF_FFFF;
            *h = f32::from_bits(h.to_bits().max(if x.is_nan() { 0 } else { bits }));
        }
    }
    for (c, scale) in s.value_scale.iter_mut().enumerate() {
        *scale = usable_scale(s.means.get(c).filter(|_| c < dv).map_or(0.0, |h| h / 127.0));
    }
    for (p, panel) in s.values.chunks_exact_mut(PANEL * len).enumerate() {
        let c = p * PANEL;
        let lanes = PANEL.min(dv - c);
        let scale = chunk(&s.value_scale, c);
        let mut inverse = [0.0f32; PANEL];
        for l in 0..PANEL {
            inverse[l] = 1.0 / scale[l];
        }
        let mut sums = [0i32; PANEL];
        let lines = panel.as_chunks_mut::<{ 4 * PANEL }>().0;
        for (line, four) in lines.iter_mut().zip(kept.chunks(4).chain(std::iter::repeat(&[][..]))) {
            let mut words = [0i32; PANEL];
            for (b, &j) in four.iter().enumerate() {
                let row = &value(j)[c..c + lanes];
                let x = match row.first_chunk::<PANEL>() {
                    Some(whole) => *whole,
                    None => {
                        let mut x = [0.0; PANEL];
                        x[..lanes].copy_from_slice(row);
                        x
                    }
                };
                for l in 0..PANEL {
                    let step = signed_step(x[l], inverse[l]);
                    sums[l] = sums[l].wrapping_add(step);
                    words[l] |= (step & 255) << (8 * b);
                }
            }
            for (bytes, w) in line.as_chunks_mut::<4>().0.iter_mut().zip(words) {
                *bytes = w.to_le_bytes().map(|b| b as i8);
            }
        }
        for (offset, sum) in s.value_offset[c..].iter_mut().zip(sums) {
            *offset = sum.wrapping_mul(zero);
        }
    }
}

/// Steps of `exp(score - maximum)` in 255ths, zero past `len`, and one over their sum.
#[inline(always)]
fn numerators(scores: &mut [f32], len: usize, uniform: bool, steps: &mut [u8]) -> f32 {
    if uniform {
        scores[..len].fill(0.0);
    }
    scores[len..].fill(f32::NEG_INFINITY);
    let scores_len = scores.len();
    let chunks = scores.as_chunks::<PANEL>().0;
    let mut high = [f32::MIN; PANEL];
    for c in chunks {
        for l in 0..PANEL {
            high[l] = if c[l] > high[l] { c[l] } else { high[l] };
        }
    }
    let mut max = f32::MIN;
    for h in high {
        max = if h > max { h } else { max };
    }
    for (c, to) in chunks.iter().zip(steps.as_chunks_mut::<PANEL>().0) {
        let mut t = *c;
        for l in 0..PANEL {
            t[l] = exp_below_zero(t[l] - max) * 255.0;
        }
        // NaN (an overflow upstream) becomes zero. Nothing is above 255.
        for l in 0..PANEL {
            t[l] = if t[l] > 0.0 { t[l] } else { 0.0 };
        }
        *to = t.map(|t| (t + ROUND_MAGIC).to_bits() as u8);
    }
    steps[scores_len..].fill(0);
    let mut sum = 0u32;
    for s in steps.iter() {
        sum = sum.wrapping_add(u32::from(*s));
    }
    1.0 / (if sum > 0 { sum } else { 1 }) as f32
}
