//! Linear layers in int8: the driver that every instruction set shares, and the way from sums to floats.
//!
//! An instruction set contributes only its tile (`tile.rs`): exact integer sums of a few rows times a few
//! panels. The loop over tiles, the zero points, scales, bias and activation are this file, compiled once per ISA.

use super::counts::{Kernel, count};
use super::isa::Isa;
use super::math::{Activation, activate16};
use super::pack::{PANEL, PackedI8};
use super::quant::{QuantRows, RowQuant};
use super::tile::{self, DotTile, Job, Pieces, Sums, TileInput, UsualSums};
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
    tile::run(isa, Layer { x: &input, w, out });
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

struct Layer<'a> {
    x: &'a Input<'a>,
    w: &'a LinearI8<'a>,
    out: &'a mut [f32],
}

impl Job for Layer<'_> {
    #[inline(always)]
    fn run<D: DotTile>(self, dot: D) {
        drive(dot, self.x, self.w, self.out);
    }
}

/// The loop over tiles: blocks of rows, in them groups of panels, in them tiles of rows. A tile's sums are finished
/// while the next tile's products run, where the tile can do both.
#[inline(always)]
fn drive<D: DotTile>(dot: D, x: &Input, w: &LinearI8, out: &mut [f32]) {
    let (n, panel_stride) = (w.weights.n(), w.weights.k_padded() * PANEL);
    let block = (BLOCK_BYTES / x.stride).max(D::ROWS).next_multiple_of(D::ROWS);
    let (mut sums, mut before) = (&mut [Sums::ZERO; 2], &mut [Sums::ZERO; 2]);
    let ends = [x.split.unwrap_or(x.stride), x.stride];
    let segments = 1 + usize::from(x.split.is_some());
    let layer = Finish { x, w, bias: D::BIAS };
    let mut tile_before = Place { rows: 0..0, columns: 0..0 };
    let mut start = 0;
    while start < x.rows {
        let end = x.rows.min(start + block);
        let mut n0 = 0;
        while n0 < n {
            let panels = match (n - n0).div_ceil(PANEL).min(D::panels(end - start)) {
                3 => 2,
                panels => panels,
            };
            let columns = (panels * PANEL).min(n - n0);
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
                let mut other = Rest::new(dot, &layer, before, tile_before, &mut *out);
                let mut soon = shares.next().unwrap_or(&[]);
                let mut k0 = 0;
                for s in 0..segments {
                    let tile = TileInput {
                        a: &x.data[m0 * x.stride + k0..],
                        stride: x.stride,
                        rows,
                        w: &weights[k0 * PANEL..],
                        panel_stride,
                        panels,
                        k: ends[s] - k0,
                        soon,
                    };
                    dot.dot_and(&tile, &mut sums[s], &mut other);
                    soon = &[];
                    k0 = ends[s];
                }
                other.finish();
                tile_before = Place { rows: m0..m0 + rows, columns: n0..n0 + columns };
                (sums, before) = (before, sums);
                m0 += rows;
            }
            n0 += columns;
        }
        start = end;
    }
    Rest::new(dot, &layer, before, tile_before, out).finish();
}

/// From integer sums to floats: what is the same for all tiles of a layer.
struct Finish<'a> {
    x: &'a Input<'a>,
    w: &'a LinearI8<'a>,
    bias: i32,
}

impl Finish<'_> {
    /// Whether the layer is of the usual kind, whose sums can be finished among the next tile's products.
    #[inline(always)]
    fn usual(&self) -> bool {
        self.w.zero.is_none() && matches!(self.w.activation, Activation::None | Activation::GeluErf)
    }
}

/// Rows and columns of a tile.
struct Place {
    rows: Range<usize>,
    columns: Range<usize>,
}

/// What is left to do of a tile whose sums are there, a panel of a row at a time.
struct Rest<'a, D: DotTile> {
    dot: D,
    layer: &'a Finish<'a>,
    sums: &'a [Sums; 2],
    at: Place,
    /// Row and panel that are next.
    next: (usize, usize),
    /// Panels that can be done in pieces.
    whole: usize,
    out: &'a mut [f32],
}

impl<'a, D: DotTile> Rest<'a, D> {
    #[inline(always)]
    fn new(dot: D, layer: &'a Finish<'a>, sums: &'a [Sums; 2], at: Place, out: &'a mut [f32]) -> Self {
        let whole = if layer.usual() { at.columns.len() / PANEL } else { 0 };
        Rest { dot, layer, sums, at, next: (0, 0), whole, out }
    }

    /// Does all that is left.
    #[inline(always)]
    fn finish(mut self) {
        while self.left() > 0 {
            self.step();
        }
        let Finish { x, w, bias } = *self.layer;
        let n = w.weights.n();
        let Place { rows, columns } = self.at;
        for (panel, n0) in columns.clone().step_by(PANEL).enumerate().skip(self.whole) {
            let lanes = PANEL.min(columns.end - n0);
            let channels = Channels::new(x, w, n0, lanes);
            for (r, m) in rows.clone().enumerate() {
                let sums = [&self.sums[0].0[r][panel], &self.sums[1].0[r][panel]];
                let mut y = finish16(bias, sums, x, w, m, &channels);
                activate16(&mut y, w.activation);
                let row = &mut self.out[m * n + n0..][..lanes];
                match row.first_chunk_mut() {
                    Some(to) => *to = y,
                    None => row.copy_from_slice(&y[..lanes]),
                }
            }
        }
    }
}

impl<D: DotTile> Pieces for Rest<'_, D> {
    #[inline(always)]
    fn left(&self) -> usize {
        let rows = self.at.rows.len();
        (self.whole * rows).saturating_sub(self.next.1 * rows + self.next.0)
    }

    #[inline(always)]
    fn step(&mut self) {
        let (r, panel) = self.next;
        if panel >= self.whole {
            return;
        }
        self.next = if r + 1 < self.at.rows.len() { (r + 1, panel) } else { (0, panel + 1) };
        let Finish { x, w, bias } = *self.layer;
        let n = w.weights.n();
        let (m, n0) = (self.at.rows.start + r, self.at.columns.start + panel * PANEL);
        let two = x.split.is_some();
        let row = |s: usize| x.meta[if two { 2 * m + s } else { m }];
        let segment = |s: usize, row: RowQuant| {
            let at = if two { s * n } else { 0 };
            (&self.sums[s].0[r][panel], row.zero.wrapping_sub(bias), row.scale, sixteen(w.col_sum, at + n0))
        };
        let sums = UsualSums {
            segments: [segment(0, row(0)), segment(1, row(1))],
            two,
            scale: match w.scale {
                [one] => Err(*one),
                scale => Ok(sixteen(scale, n0)),
            },
            bias: w.bias.map(|b| sixteen(b, n0)),
        };
        let mut y = self.dot.finish(&sums);
        if w.activation == Activation::GeluErf {
            activate16(&mut y, Activation::GeluErf);
        }
        if let Some(to) = self.out[m * n + n0..].first_chunk_mut() {
            *to = y;
        }
    }
}

/// 16 values from `at`, all of which exist.
#[inline(always)]
fn sixteen<T>(v: &[T], at: usize) -> &[T; PANEL] {
    v[at..].first_chunk().expect("a whole panel")
}

/// What 16 output channels bring to the sums.
struct Channels {
    scale: [f32; PANEL],
    col_sum: [[i32; PANEL]; 2],
    zero: [i32; PANEL],
    bias: [f32; PANEL],
}

impl Channels {
    #[inline(always)]
    fn new(x: &Input, w: &LinearI8, n0: usize, lanes: usize) -> Self {
        let n = w.weights.n();
        Channels {
            scale: load(w.scale, n0, lanes),
            col_sum: [
                load(&w.col_sum[..n], n0, lanes),
                if x.split.is_some() { load(&w.col_sum[n..], n0, lanes) } else { [0; PANEL] },
            ],
            zero: match w.zero {
                Some(zero) => load(zero, n0, lanes),
                None => [0; PANEL],
            },
            bias: match w.bias {
                Some(bias) => load(bias, n0, lanes),
                None => [0.0; PANEL],
            },
        }
    }
}

/// One row of one panel.
#[inline(always)]
fn finish16(
    bias: i32,
    sums: [&[i32; PANEL]; 2],
    x: &Input,
    w: &LinearI8,
    m: usize,
    channels: &Channels,
) -> [f32; PANEL] {
    let two = x.split.is_some();
    let k_first = x.split.unwrap_or(x.k);
    let has_zero = w.zero.is_some();
    let first = x.meta[m * (1 + usize::from(two))];
    let mut y = to_f32(sums[0], &channels.col_sum[0], &channels.zero, bias, has_zero, first, k_first);
    if two {
        let second = x.meta[m * 2 + 1];
        let part =
            to_f32(sums[1], &channels.col_sum[1], &channels.zero, bias, has_zero, second, x.k - k_first);
        for l in 0..PANEL {
            y[l] += part[l];
        }
    }
    for l in 0..PANEL {
        y[l] *= channels.scale[l];
    }
    if w.bias.is_some() {
        for l in 0..PANEL {
            y[l] += channels.bias[l];
        }
    }
    y
}

/// One segment's sums without zero points, as floats times the row's scale.
#[inline(always)]
fn to_f32(
    acc: &[i32; PANEL],
    col_sum: &[i32; PANEL],
    zero: &[i32; PANEL],
    bias: i32,
    has_zero: bool,
    row: RowQuant,
    k: usize,
) -> [f32; PANEL] {
    let mut v = *acc;
    let a_zero = row.zero - bias;
    for l in 0..PANEL {
        v[l] = v[l].wrapping_sub(a_zero.wrapping_mul(col_sum[l]));
    }
    if has_zero {
        // sum of (a - za)(w - zw) = sum of (a - za) w - zw (sum of a - K za)
        let centred = row.sum.wrapping_sub(row.zero.wrapping_mul(k as i32));
        for l in 0..PANEL {
            v[l] = v[l].wrapping_sub(zero[l].wrapping_mul(centred));
        }
    }
    let mut y = [0.0; PANEL];
    for l in 0..PANEL {
        y[l] = v[l] as f32 * row.scale;
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
