//! Linear layers in int8: the driver that every instruction set shares, and the way from sums to floats.
//!
//! An instruction set contributes only its tile (`tile.rs`): exact integer sums of a few rows times a few
//! panels. The loop over tiles, the zero points, scales, bias and activation are this file, compiled once per ISA.

use super::counts::{Kernel, count};
use super::isa::Isa;
use super::math::{Activation, activate16};
use super::pack::{PANEL, PackedI8};
use super::quant::{QuantRows, RowQuant};
use super::tile::{self, Channels, DotTile, Job, Sums, TILE_PANELS, TileInput};
use crate::error::{Error, Result};
use std::ops::Range;

/// A linear layer over int8 weights.
#[derive(Clone, Copy, Debug)]
pub struct LinearI8<'a> {
    /// The weights.
    pub weights: PackedI8<'a>,
    /// Size of a weight's step per output channel, or one for all.
    pub scale: &'a [f32],
    /// Zero points of the weights per output channel (or one for all), -128 to 127; `None` is zero.
    pub zero: Option<&'a [i32]>,
    /// [`column_sums`](super::column_sums) of each segment of the input, one segment after the other.
    pub col_sum: &'a [i32],
    /// Added per output channel.
    pub bias: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}

/// K may not exceed this if the weights have zero points: 32,768 products of 255 and 255 fit an `i32`.
const MAX_K_WITH_ZERO: usize = 32_768;

impl LinearI8<'_> {
    /// Whether the slices fit the weights and rows of `segments` segments.
    pub fn check(&self, segments: usize) -> Result<()> {
        let n = self.weights.n();
        let per_channel = |len: usize| len == n || len == 1;
        let wrong = if !per_channel(self.scale.len()) {
            "scale"
        } else if self.zero.is_some_and(|z| !per_channel(z.len())) {
            "zero"
        } else if self.col_sum.len() != n * segments {
            "col_sum"
        } else if self.bias.is_some_and(|b| b.len() != n) {
            "bias"
        } else if self.zero.is_some() && self.weights.k() > MAX_K_WITH_ZERO {
            return Err(Error::unimplemented(format!(
                "weights with zero points and {} input channels: at most {MAX_K_WITH_ZERO} are exact",
                self.weights.k()
            )));
        } else {
            return Ok(());
        };
        Err(Error::invalid(format!("`{wrong}` of a linear layer does not fit its {n} output channels")))
    }
}

/// `out[m][n] = activation(x * w + bias)` for all rows of `x`.
///
/// The sums are exact in `i32`; then, in `f32`, in this order: times the row's scale, (plus the second
/// segment's product), times the channel's scale, plus the bias, activation.
pub fn linear_i8(isa: Isa, x: &QuantRows, w: &LinearI8, out: &mut [f32]) -> Result<()> {
    linear_i8_rows(isa, x, 0..x.rows(), w, out)
}

/// [`linear_i8`] for some of the rows: what a thread does of a whole. `out` has only those rows.
pub fn linear_i8_rows(
    isa: Isa,
    x: &QuantRows,
    rows: Range<usize>,
    w: &LinearI8,
    out: &mut [f32],
) -> Result<()> {
    w.check(x.segments())?;
    if x.k() != w.weights.k() {
        return Err(Error::invalid(format!(
            "activations have {} channels, the weights {}",
            x.k(),
            w.weights.k()
        )));
    }
    if rows.start > rows.end || rows.end > x.rows() {
        return Err(Error::invalid(format!("rows {rows:?} are not among {}", x.rows())));
    }
    if rows.len().checked_mul(w.weights.n()) != Some(out.len()) {
        return Err(Error::invalid(format!(
            "the output of {} rows of {} has {} elements",
            rows.len(),
            w.weights.n(),
            out.len()
        )));
    }
    let input = Input {
        data: &x.data()[rows.start * x.stride()..rows.end * x.stride()],
        meta: &x.meta()[rows.start * x.segments()..rows.end * x.segments()],
        rows: rows.len(),
        stride: x.stride(),
        split: x.split(),
        k: x.k(),
    };
    tile::run(isa, Whole { x: &input, w, out });
    count(Kernel::LinearI8, isa);
    Ok(())
}

/// A run of quantised rows.
struct Input<'a> {
    data: &'a [u8],
    meta: &'a [RowQuant],
    rows: usize,
    stride: usize,
    split: Option<usize>,
    k: usize,
}

/// Bytes of activations that are kept in the cache while all weights pass by.
const BLOCK_BYTES: usize = 512 * 1024;

struct Whole<'a> {
    x: &'a Input<'a>,
    w: &'a LinearI8<'a>,
    out: &'a mut [f32],
}

impl Job for Whole<'_> {
    #[inline(always)]
    fn run<D: DotTile>(self, dot: D) {
        drive(dot, self.x, self.w, self.out);
    }
}

/// The loop over tiles: blocks of rows, in them groups of panels, in them tiles of rows.
#[inline(always)]
fn drive<D: DotTile>(dot: D, x: &Input, w: &LinearI8, out: &mut [f32]) {
    let (n, k) = (w.weights.n(), w.weights.k_padded());
    let panel_stride = k * PANEL;
    let block = (BLOCK_BYTES / x.stride).max(D::ROWS).next_multiple_of(D::ROWS);
    let mut sums = [Sums::ZERO; 2];
    let mut channels = [Channels::NONE; TILE_PANELS];
    let mut start = 0;
    while start < x.rows {
        let end = x.rows.min(start + block);
        let mut n0 = 0;
        while n0 < n {
            let panels = match (n - n0).div_ceil(PANEL).min(D::panels(end - start)) {
                3 => 2,
                panels => panels,
            };
            let columns = n0..(n0 + panels * PANEL).min(n);
            for (to, n0) in channels.iter_mut().zip(columns.clone().step_by(PANEL)) {
                *to = channels_of(w, n0, PANEL.min(n - n0));
            }
            let weights = &w.weights.data()[n0 / PANEL * panel_stride..][..panels * panel_stride];
            // Tiles of nearly the same height: 16 rows as 6, 5, 5 and not 6, 6, 4.
            let mut m0 = start;
            let mut tiles = (end - start).div_ceil(D::ROWS);
            // Each tile fetches its share of the next group, so that the first tile there need not wait. One or
            // two rows only stream, which the hardware foresees by itself (measured on Zen 5: 47 against 30
            // GMAC/s at one row of 3,072).
            let next = w.weights.data().get((n0 / PANEL + panels) * panel_stride..).unwrap_or(&[]);
            let next = &next[..if end - start > 2 { next.len().min(weights.len()) } else { 0 }];
            let mut shares = next.chunks(weights.len().div_ceil(tiles.max(1)).next_multiple_of(64));
            while m0 < end {
                let rows = (end - m0).div_ceil(tiles);
                tiles -= 1;
                let input = TileInput {
                    a: &x.data[m0 * x.stride..],
                    stride: x.stride,
                    rows,
                    w: weights,
                    panel_stride,
                    panels,
                    k,
                    split: x.split.unwrap_or(k),
                    soon: shares.next().unwrap_or(&[]),
                };
                dot.dot_segments(&input, &mut sums);
                for (panel, n0) in columns.clone().step_by(PANEL).enumerate() {
                    let channels = &channels[panel];
                    let done = PanelSums { x, w, rows: m0..m0 + rows, sums: &sums, panel, channels };
                    done.finish(dot, &mut out[m0 * n + n0..], PANEL.min(n - n0));
                }
                m0 += rows;
            }
            n0 = columns.end;
        }
        start = end;
    }
}

/// What `lanes` output channels from `n0` bring to their sums.
#[inline(always)]
fn channels_of(w: &LinearI8, n0: usize, lanes: usize) -> Channels {
    let n = w.weights.n();
    let mut channels = Channels::NONE;
    for (to, from) in channels.col_sum.iter_mut().zip(w.col_sum.chunks_exact(n)) {
        *to = load(from, n0, lanes);
    }
    channels.scale = load(w.scale, n0, lanes);
    // Adding -0 changes nothing, not even the sign of a zero.
    channels.bias = w.bias.map_or([-0.0; PANEL], |bias| load(bias, n0, lanes));
    channels.zero = w.zero.map_or([0; PANEL], |zero| load(zero, n0, lanes));
    channels
}

/// The sums of a tile's panel, and what makes them floats.
struct PanelSums<'a> {
    x: &'a Input<'a>,
    w: &'a LinearI8<'a>,
    rows: Range<usize>,
    sums: &'a [Sums; 2],
    panel: usize,
    channels: &'a Channels,
}

impl PanelSums<'_> {
    /// Writes the panel's `lanes` values of each row; `out` starts at the first.
    #[inline(always)]
    fn finish<D: DotTile>(self, dot: D, out: &mut [f32], lanes: usize) {
        let gelu = self.w.activation == Activation::GeluErf;
        let plain = (gelu || self.w.activation == Activation::None) && self.w.zero.is_none();
        if D::FINISHES && plain && lanes == PANEL {
            let (start, end, n) = (self.rows.start, self.rows.end, self.w.weights.n());
            let PanelSums { x, sums, panel, channels, .. } = self;
            if x.split.is_some() {
                dot.finish::<true>(sums, panel, &x.meta[2 * start..2 * end], channels, gelu, out, n);
            } else {
                dot.finish::<false>(sums, panel, &x.meta[start..end], channels, gelu, out, n);
            }
            return;
        }
        match self.w.activation {
            Activation::None => self.apply(dot, out, lanes, |_| ()),
            Activation::GeluErf => self.apply(dot, out, lanes, |y| activate16(y, Activation::GeluErf)),
            other => self.apply(dot, out, lanes, |y| activate16(y, other)),
        }
    }

    #[inline(always)]
    fn apply<D: DotTile>(
        self,
        dot: D,
        out: &mut [f32],
        lanes: usize,
        activation: impl Fn(&mut [f32; PANEL]),
    ) {
        match (self.x.split.is_some(), self.w.zero.is_some()) {
            (false, false) => self.rows::<D, false, false>(dot, out, lanes, activation),
            (true, false) => self.rows::<D, true, false>(dot, out, lanes, activation),
            (false, true) => self.rows::<D, false, true>(dot, out, lanes, activation),
            (true, true) => self.rows::<D, true, true>(dot, out, lanes, activation),
        }
    }

    /// With one or two segments, with or without zero points of the weights.
    #[inline(always)]
    fn rows<D: DotTile, const TWO: bool, const ZERO: bool>(
        self,
        dot: D,
        out: &mut [f32],
        lanes: usize,
        activation: impl Fn(&mut [f32; PANEL]),
    ) {
        let (x, panel) = (self.x, self.panel);
        // A copy stays in registers while `out` is written.
        let channels = *self.channels;
        let segments = if TWO { 2 } else { 1 };
        let meta = x.meta[self.rows.start * segments..self.rows.end * segments].chunks_exact(segments);
        let [first, second] = self.sums;
        for (((row, first), second), out) in
            meta.zip(&first.0).zip(&second.0).zip(out.chunks_mut(self.w.weights.n()))
        {
            let mut y = if ZERO {
                let split = x.split.unwrap_or(x.k);
                let sums = [&first[panel], &second[panel]];
                with_zero_points::<TWO>(sums, row, &channels, [split, x.k - split], D::BIAS)
            } else {
                dot.floats::<TWO>(&first[panel], &second[panel], row, &channels)
            };
            activation(&mut y);
            match out.first_chunk_mut() {
                Some(to) if lanes == PANEL => *to = y,
                _ => out[..lanes].copy_from_slice(&y[..lanes]),
            }
        }
    }
}

/// [`DotTile::floats`] where the weights have zero points; `k` is the length of each segment.
#[inline(always)]
fn with_zero_points<const TWO: bool>(
    sums: [&[i32; PANEL]; 2],
    row: &[RowQuant],
    channels: &Channels,
    k: [usize; 2],
    bias: i32,
) -> [f32; PANEL] {
    let mut y = [0.0; PANEL];
    for (s, row) in row.iter().enumerate().take(if TWO { 2 } else { 1 }) {
        let a_zero = row.zero.wrapping_sub(bias);
        // sum of (a - za)(w - zw) = sum of (a - za) w - zw (sum of a - K za)
        let centred = row.sum.wrapping_sub(row.zero.wrapping_mul(k[s] as i32));
        for l in 0..PANEL {
            let v = sums[s][l].wrapping_sub(a_zero.wrapping_mul(channels.col_sum[s][l]));
            let part = v.wrapping_sub(channels.zero[l].wrapping_mul(centred)) as f32 * row.scale;
            y[l] = if s == 0 { part } else { y[l] + part };
        }
    }
    for l in 0..PANEL {
        y[l] = y[l] * channels.scale[l] + channels.bias[l];
    }
    y
}

/// 16 values from `at`, of which `lanes` exist; a single value is for all.
#[inline(always)]
pub(super) fn load<T: Copy + Default>(src: &[T], at: usize, lanes: usize) -> [T; PANEL] {
    if let [one] = src {
        return [*one; PANEL];
    }
    let src = &src[at..];
    match src.first_chunk::<PANEL>() {
        Some(whole) => *whole,
        None => {
            let mut v = [T::default(); PANEL];
            v[..lanes].copy_from_slice(&src[..lanes]);
            v
        }
    }
}
