//! Float code of 64-bit ARM by hand, where the compiler's takes more instructions: sums to floats, GELU, steps of
//! activations, layer norm. Same bits as the plain code beside which each stands: the same operations in the same
//! order, none fused.

use super::float::LANES;
use super::math::{ERF_LIMIT, ERF_P, ERF_Q, ROUND_MAGIC};
use super::pack::PANEL;
use super::quant::RowQuant;
use super::tile::{Channels, Sums, TILE_PANELS};
use std::arch::aarch64::{
    float32x4_t, int32x4_t, vaddlvq_u16, vaddq_f32, vaddq_u8, vandq_u32, vbicq_u32, vceqq_f32, vcltq_f32,
    vcvtq_f32_s32, vdivq_f32, vdupq_n_f32, vdupq_n_s32, vdupq_n_u8, vdupq_n_u16, vdupq_n_u32, vld1q_f32,
    vld1q_s32, vmaxnmq_f32, vmaxq_f32, vmaxq_s32, vmaxq_u32, vmaxvq_s32, vmaxvq_u32, vminnmq_f32, vminq_f32,
    vmlsq_s32, vmulq_f32, vmulq_n_f32, vnegq_f32, vpadalq_u8, vreinterpretq_f32_u32, vreinterpretq_s32_u32,
    vreinterpretq_u8_u16, vreinterpretq_u16_f32, vreinterpretq_u32_f32, vst1q_f32, vst1q_u8, vsubq_f32,
    vuzp1q_u8, vuzp1q_u16,
};

/// [`DotTile::floats`](super::tile::DotTile::floats).
#[inline(always)]
pub(super) fn floats<const TWO: bool>(
    first: &[i32; PANEL],
    second: &[i32; PANEL],
    row: &[RowQuant],
    channels: &Channels,
    bias: i32,
) -> [f32; PANEL] {
    let mut out = [0.0; PANEL];
    // SAFETY: every 64-bit ARM has NEON; reads and writes four numbers at 4 c of arrays of 16.
    unsafe {
        let zero = [0, 1].map(|s| vdupq_n_s32(row[if TWO { s } else { 0 }].zero.wrapping_sub(bias)));
        for c in 0..4 {
            let part = |s: usize, sums: &[i32; PANEL]| {
                let col_sum = vld1q_s32(channels.col_sum[s].as_ptr().add(4 * c));
                let exact = vmlsq_s32(vld1q_s32(sums.as_ptr().add(4 * c)), zero[s], col_sum);
                vmulq_n_f32(vcvtq_f32_s32(exact), row[s].scale)
            };
            let mut y = part(0, first);
            if TWO {
                y = vaddq_f32(y, part(1, second));
            }
            let (scale, bias) =
                (vld1q_f32(channels.scale.as_ptr().add(4 * c)), vld1q_f32(channels.bias.as_ptr().add(4 * c)));
            vst1q_f32(out.as_mut_ptr().add(4 * c), vaddq_f32(vmulq_f32(y, scale), bias));
        }
    }
    out
}

/// [`DotTile::finish`](super::tile::DotTile::finish).
#[inline(always)]
pub(super) fn finish<const TWO: bool>(
    sums: &[Sums; 2],
    panel: usize,
    rows: &[RowQuant],
    channels: &Channels,
    bias: i32,
    gelu: bool,
    out: &mut [f32],
    stride: usize,
) {
    if gelu {
        // Half a panel at a time: that many vectors fit the registers beside the constants.
        finish_columns::<2, TWO, true>(sums, panel, rows, channels, 0, bias, out, stride);
        finish_columns::<2, TWO, true>(sums, panel, rows, channels, 8, bias, out, stride);
    } else {
        finish_columns::<4, TWO, false>(sums, panel, rows, channels, 0, bias, out, stride);
    }
}

/// [`finish`] of `4 V` columns from `c`.
fn finish_columns<const V: usize, const TWO: bool, const GELU: bool>(
    sums: &[Sums; 2],
    panel: usize,
    rows: &[RowQuant],
    channels: &Channels,
    c: usize,
    bias: i32,
    out: &mut [f32],
    stride: usize,
) {
    let segments = if TWO { 2 } else { 1 };
    let count = rows.len() / segments;
    assert!(count >= 1 && panel < TILE_PANELS && c + 4 * V <= PANEL);
    assert!((count - 1) * stride + c + 4 * V <= out.len());
    let mut to = out.as_mut_ptr().wrapping_add(c);
    let [first, second] = sums;
    // SAFETY: every 64-bit ARM has NEON; of arrays of 16 those from c to c + 4 V are read, and written of a row of
    // `out`, which has that many from each of `count` multiples of `stride` on.
    unsafe {
        let ints = |from: &[i32; PANEL], v: usize| vld1q_s32(from.as_ptr().add(c + 4 * v));
        let floats = |from: &[f32; PANEL], v: usize| vld1q_f32(from.as_ptr().add(c + 4 * v));
        let col_sum: [[int32x4_t; V]; 2] =
            std::array::from_fn(|s| std::array::from_fn(|v| ints(&channels.col_sum[s], v)));
        let scale: [float32x4_t; V] = std::array::from_fn(|v| floats(&channels.scale, v));
        let add: [float32x4_t; V] = std::array::from_fn(|v| floats(&channels.bias, v));
        for ((row, first), second) in rows.chunks_exact(segments).zip(&first.0).zip(&second.0) {
            let zero = [0, segments - 1].map(|s| vdupq_n_s32(row[s].zero.wrapping_sub(bias)));
            let y: [float32x4_t; V] = std::array::from_fn(|v| {
                let part = |s: usize, sums: &[[i32; PANEL]; TILE_PANELS]| {
                    let exact = vmlsq_s32(ints(&sums[panel], v), zero[s], col_sum[s][v]);
                    vmulq_n_f32(vcvtq_f32_s32(exact), row[s].scale)
                };
                let mut y = part(0, first);
                if TWO {
                    y = vaddq_f32(y, part(1, second));
                }
                let y = vaddq_f32(vmulq_f32(y, scale[v]), add[v]);
                if GELU { gelu4(y) } else { y }
            });
            for (v, y) in y.into_iter().enumerate() {
                vst1q_f32(to.add(4 * v), y);
            }
            to = to.wrapping_add(stride);
        }
    }
}

/// [`gelu_erf`](super::math::gelu_erf): the same operations in the same order. The instructions for minima and maxima
/// give NaN for NaN, as the comparisons there do.
#[target_feature(enable = "neon")]
#[inline]
fn gelu4(x: float32x4_t) -> float32x4_t {
    let of = |coefficients: &[f32; 6], z: float32x4_t| {
        let mut y = vdupq_n_f32(coefficients[5]);
        for c in coefficients[..5].iter().rev() {
            y = vaddq_f32(vdupq_n_f32(*c), vmulq_f32(z, y));
        }
        y
    };
    let (one, limit) = (vdupq_n_f32(1.0), vdupq_n_f32(ERF_LIMIT));
    let t = vminq_f32(vmulq_n_f32(x, std::f32::consts::FRAC_1_SQRT_2), limit);
    let t = vmaxq_f32(t, vnegq_f32(limit));
    let z = vmulq_f32(t, t);
    let erf = vdivq_f32(vmulq_f32(t, of(&ERF_P, z)), of(&ERF_Q, z));
    let erf = vmaxq_f32(vminq_f32(erf, one), vnegq_f32(one));
    let y = vmulq_f32(vmulq_n_f32(x, 0.5), vaddq_f32(one, erf));
    let low = vcltq_f32(x, vdupq_n_f32(-14.0));
    vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(y), low))
}

/// Steps of 16 floats at a time, as [`quantize_rows`](super::quantize_rows) makes them, and their sum: `x` times `by`
/// between `lowest` and `highest`, rounded, plus `zero`. All steps fit `u8`.
#[inline(always)]
pub(super) fn fill_steps(
    x: &[[f32; 16]],
    by: f32,
    zero: u8,
    lowest: f32,
    highest: f32,
    steps: &mut [[u8; 16]],
) -> i32 {
    let mut sum = 0i32;
    // Pairs of steps are summed in 16 bits: 128 of at most 510 fit.
    for (x, steps) in x.chunks(128).zip(steps.chunks_mut(128)) {
        // SAFETY: every 64-bit ARM has NEON; reads and writes arrays of 16.
        unsafe {
            let mut pairs = vdupq_n_u16(0);
            for (x, steps) in x.iter().zip(steps) {
                let bits = |c: usize| {
                    let t = vmulq_n_f32(vld1q_f32(x.as_ptr().add(4 * c)), by);
                    // A product that is NaN is a quiet one, for which these give the other operand.
                    let t = vminnmq_f32(vmaxnmq_f32(t, vdupq_n_f32(lowest)), vdupq_n_f32(highest));
                    // The lowest byte of the sum is that of the integer.
                    vreinterpretq_u16_f32(vaddq_f32(t, vdupq_n_f32(ROUND_MAGIC)))
                };
                let low = vreinterpretq_u8_u16(vuzp1q_u16(bits(0), bits(1)));
                let high = vreinterpretq_u8_u16(vuzp1q_u16(bits(2), bits(3)));
                let bytes = vaddq_u8(vuzp1q_u8(low, high), vdupq_n_u8(zero));
                pairs = vpadalq_u8(pairs, bytes);
                vst1q_u8(steps.as_mut_ptr(), bytes);
            }
            sum = sum.wrapping_add(vaddlvq_u16(pairs) as i32);
        }
    }
    sum
}

/// The largest bits as unsigned and as signed numbers, at least those of -0 and 0, NaN left out: the least and the
/// largest float.
#[inline(always)]
pub(super) fn min_max(x: &[[f32; 16]]) -> (u32, i32) {
    // SAFETY: every 64-bit ARM has NEON; reads arrays of 16.
    unsafe {
        let mut low = [vdupq_n_u32(0x8000_0000); 2];
        let mut high = [vdupq_n_s32(0); 2];
        for x in x {
            for c in 0..4 {
                let v = vld1q_f32(x.as_ptr().add(4 * c));
                let bits = vandq_u32(vreinterpretq_u32_f32(v), vceqq_f32(v, v));
                low[c % 2] = vmaxq_u32(low[c % 2], bits);
                high[c % 2] = vmaxq_s32(high[c % 2], vreinterpretq_s32_u32(bits));
            }
        }
        (vmaxvq_u32(vmaxq_u32(low[0], low[1])), vmaxvq_s32(vmaxq_s32(high[0], high[1])))
    }
}

/// Layer norm of a row of whole groups of [`LANES`], as [`layer_norm`](super::layer_norm) does it.
pub(super) fn normalise_row(
    row: &mut [f32],
    residual: Option<&[f32]>,
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
) {
    let count = row.len() as f32;
    let groups = row.as_chunks_mut::<LANES>().0;
    // SAFETY: every 64-bit ARM has NEON; reads and writes four floats at 4 j of groups of 32.
    unsafe {
        let mut sums = [vdupq_n_f32(0.0); LANES / 4];
        if let Some(residual) = residual {
            for (row, residual) in groups.iter_mut().zip(residual.as_chunks::<LANES>().0) {
                for (j, sum) in sums.iter_mut().enumerate() {
                    let at = row.as_mut_ptr().add(4 * j);
                    let v = vaddq_f32(vld1q_f32(at), vld1q_f32(residual.as_ptr().add(4 * j)));
                    vst1q_f32(at, v);
                    *sum = vaddq_f32(*sum, v);
                }
            }
        } else {
            for row in groups.iter() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = vaddq_f32(*sum, vld1q_f32(row.as_ptr().add(4 * j)));
                }
            }
        }
        let mean = vdupq_n_f32(sum_lanes(sums) / count);
        let mut sums = [vdupq_n_f32(0.0); LANES / 4];
        for row in groups.iter() {
            for (j, sum) in sums.iter_mut().enumerate() {
                let d = vsubq_f32(vld1q_f32(row.as_ptr().add(4 * j)), mean);
                *sum = vaddq_f32(*sum, vmulq_f32(d, d));
            }
        }
        let scale = 1.0 / (sum_lanes(sums) / count + eps).sqrt();
        let parameters = gamma.as_chunks::<LANES>().0.iter().zip(beta.as_chunks::<LANES>().0);
        for (row, (gamma, beta)) in groups.iter_mut().zip(parameters) {
            for j in 0..LANES / 4 {
                let at = row.as_mut_ptr().add(4 * j);
                let v = vmulq_n_f32(vsubq_f32(vld1q_f32(at), mean), scale);
                let v = vmulq_f32(v, vld1q_f32(gamma.as_ptr().add(4 * j)));
                vst1q_f32(at, vaddq_f32(v, vld1q_f32(beta.as_ptr().add(4 * j))));
            }
        }
    }
}

/// The sum of 32 lanes, halves onto each other.
#[inline(always)]
fn sum_lanes(v: [float32x4_t; LANES / 4]) -> f32 {
    let mut four = [0.0f32; 4];
    // SAFETY: every 64-bit ARM has NEON; room for four floats.
    unsafe {
        let half: [float32x4_t; 4] = std::array::from_fn(|j| vaddq_f32(v[j], v[j + 4]));
        let sum = vaddq_f32(vaddq_f32(half[0], half[2]), vaddq_f32(half[1], half[3]));
        vst1q_f32(four.as_mut_ptr(), sum);
    }
    (four[0] + four[2]) + (four[1] + four[3])
}

/// The part of a `DotTile` that makes floats of sums by [`floats`] and [`finish`].
macro_rules! finished_by_hand {
    () => {
        const FINISHES: bool = true;

        #[inline(always)]
        fn floats<const TWO: bool>(
            self,
            first: &[i32; PANEL],
            second: &[i32; PANEL],
            row: &[RowQuant],
            channels: &Channels,
        ) -> [f32; PANEL] {
            super::aarch64_float::floats::<TWO>(first, second, row, channels, Self::BIAS)
        }

        #[inline(always)]
        fn finish<const TWO: bool>(
            self,
            sums: &[Sums; 2],
            panel: usize,
            rows: &[RowQuant],
            channels: &Channels,
            gelu: bool,
            out: &mut [f32],
            stride: usize,
        ) {
            super::aarch64_float::finish::<TWO>(sums, panel, rows, channels, Self::BIAS, gelu, out, stride);
        }
    };
}
pub(super) use finished_by_hand;
