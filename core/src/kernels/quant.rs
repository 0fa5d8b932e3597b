//! Activations to `u8` and back.
//!
//! A row of K floats becomes bytes with a scale and a zero point: `value = (q - zero) * scale`. A row may
//! have two segments, each under a scale of its own: the few channels with large values come last, so that
//! they do not cost the others their resolution.
//!
//! Rounding is to nearest, ties to even, after clamping. NaN counts as absent in the range of a row and
//! becomes the lowest step. A range below the smallest normal number counts as zero: the row becomes exact
//! zeros (on CPUs that flush denormal numbers it could be nothing else).

use super::counts::{Kernel, count};
use super::isa::{Isa, multiversion};
use super::math::{ROUND_MAGIC, ROUND_MAGIC_BITS};
use super::pack::{K_ALIGN, MAX_K};
use super::team::Team;
use crate::error::{Error, Result};
use crate::memory;

/// How activations become integers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ActQuant {
    /// Each row by its own range, which always holds zero: ONNX `DynamicQuantizeLinear` on a single row,
    /// but for multiplying by the inverse of the scale.
    PerToken,
    /// Each row by its largest magnitude, `scale = max / 127`, zero point 128.
    PerTokenSymmetric,
    /// All rows by their common range, exactly ONNX `DynamicQuantizeLinear`. The result then depends on
    /// what else is in the batch: only for comparison with engines that do so.
    PerTensor,
    /// A fixed scale and zero point, exactly ONNX `QuantizeLinear`.
    Static {
        /// Size of a step; positive.
        scale: f32,
        /// The integer of the value zero, in the range of the type.
        zero_point: i32,
        /// `i8` instead of `u8`. Kept as `u8` by adding 128.
        signed: bool,
    },
}

/// Rows of quantised activations: what [`quantize_rows`] fills and [`linear_i8`](super::linear_i8) reads.
/// Keep it and use it again: it allocates only when it grows.
#[derive(Clone, Debug, Default)]
pub struct QuantRows {
    m: usize,
    k: usize,
    k_padded: usize,
    split: Option<usize>,
    data: Vec<u8>,
    meta: Vec<RowQuant>,
    ordered: Vec<f32>,
    moved: Vec<(u16, u16)>,
}

/// Scale, zero point and sum of one segment of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowQuant {
    /// Size of a step.
    pub scale: f32,
    /// The step that means zero, 0 to 255.
    pub zero: i32,
    /// The sum of the segment's steps, without padding.
    pub sum: i32,
}

impl QuantRows {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.m
    }

    /// Channels, without padding.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Bytes from one row to the next.
    pub fn stride(&self) -> usize {
        self.k_padded
    }

    /// Where the second segment starts.
    pub fn split(&self) -> Option<usize> {
        self.split
    }

    /// 1 or 2.
    pub fn segments(&self) -> usize {
        1 + usize::from(self.split.is_some())
    }

    /// The steps of all rows, each padded to [`stride`](Self::stride).
    pub fn data(&self) -> &[u8] {
        &self.data[..self.m * self.k_padded]
    }

    /// The steps of row `m`, without padding.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, m: usize) -> &[u8] {
        &self.data[m * self.k_padded..][..self.k]
    }

    /// Scale, zero point and sum of a segment of row `m`.
    ///
    /// # Panics
    /// If there is no such row or segment.
    pub fn quant(&self, m: usize, segment: usize) -> RowQuant {
        assert!(segment < self.segments(), "segment out of range");
        self.meta[m * self.segments() + segment]
    }

    /// All scales, zero points and sums: row by row, segment by segment.
    pub(super) fn meta(&self) -> &[RowQuant] {
        &self.meta
    }

    /// The floats that row `m` stands for.
    ///
    /// # Panics
    /// If there is no such row, or `out` does not have K elements.
    pub fn dequantize_row(&self, m: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.k, "length of the output row");
        let split = self.split.unwrap_or(self.k);
        for (i, (y, q)) in out.iter_mut().zip(self.row(m)).enumerate() {
            let quant = self.quant(m, usize::from(i >= split));
            *y = (i32::from(*q) - quant.zero) as f32 * quant.scale;
        }
    }
}

/// Quantises the `m` rows of `k` floats in `x` into `out`.
///
/// `split` is where the second segment starts, a multiple of 64 between 0 and `k`. `order` names for each
/// place in a row the channel that goes there (K indices, any order), before the row is split.
pub fn quantize_rows(
    isa: Isa,
    x: &[f32],
    m: usize,
    k: usize,
    split: Option<usize>,
    order: Option<&[u16]>,
    mode: &ActQuant,
    out: &mut QuantRows,
) -> Result<()> {
    quantize_rows_with(isa, &mut Team::new(1), x, m, k, split, order, mode, out)
}

/// Fewest rows that are worth a thread.
const ROWS_PER_THREAD: usize = 16;

/// [`quantize_rows`] by all threads of `team`.
pub fn quantize_rows_with(
    isa: Isa,
    team: &mut Team,
    x: &[f32],
    m: usize,
    k: usize,
    split: Option<usize>,
    order: Option<&[u16]>,
    mode: &ActQuant,
    out: &mut QuantRows,
) -> Result<()> {
    let k_padded = k.next_multiple_of(K_ALIGN);
    if k == 0 || k > MAX_K || m.checked_mul(k) != Some(x.len()) {
        return Err(Error::invalid(format!(
            "{} activations are not {m} rows of {k} (at most {MAX_K})",
            x.len()
        )));
    }
    if split.is_some_and(|s| s == 0 || s >= k || s % K_ALIGN != 0) {
        return Err(Error::invalid(format!(
            "`split` {split:?} is not a multiple of {K_ALIGN} inside {k} channels"
        )));
    }
    if order.is_some_and(|o| o.len() != k || o.iter().any(|&i| usize::from(i) >= k)) {
        return Err(Error::invalid(format!("the channel order does not name {k} channels below {k}")));
    }
    let segments = 1 + usize::from(split.is_some());
    (out.m, out.k, out.k_padded, out.split) = (m, k, k_padded, split);
    let bytes = m.checked_mul(k_padded).ok_or_else(|| Error::exhausted("too many activations"))?;
    // Padding bytes meet weights of zero, so what is left in them from an earlier use does no harm.
    // The buffer grows only: zeroing what it grows by costs.
    if out.data.len() < bytes {
        memory::resize(&mut out.data, bytes, 0)?;
    }
    memory::resize(&mut out.meta, m * segments, RowQuant::default())?;
    // A few loud channels change places with quiet ones, the others stay: only the moves are done one by one.
    out.moved.clear();
    memory::reserve(&mut out.moved, order.map_or(0, <[u16]>::len))?;
    out.moved.extend(
        order.unwrap_or(&[]).iter().enumerate().filter_map(|(place, &channel)| {
            (usize::from(channel) != place).then_some((place as u16, channel))
        }),
    );
    // A range that all rows share is found by one thread.
    let most = if *mode == ActQuant::PerTensor { 1 } else { team.threads() };
    let parts = most.min(m / ROWS_PER_THREAD).max(1);
    let rows = m.div_ceil(parts).max(1);
    let ordered = if out.moved.is_empty() { 0 } else { k };
    memory::resize(&mut out.ordered, ordered * parts, 0.0)?;
    let shape = Shape { k, k_padded, split };
    if parts == 1 && m > 0 {
        quantize_part(
            isa,
            x,
            shape,
            &out.moved,
            mode,
            &mut out.data[..bytes],
            &mut out.meta,
            &mut out.ordered,
        );
        count(Kernel::QuantizeRows, isa);
        return Ok(());
    }
    let mut rest = &mut out.ordered[..];
    let mut items = Vec::with_capacity(parts);
    let data = out.data[..bytes].chunks_mut(rows * k_padded);
    for ((x, data), meta) in x.chunks(rows * k).zip(data).zip(out.meta.chunks_mut(rows * segments)) {
        let (one, others) = rest.split_at_mut(ordered);
        rest = others;
        items.push((x, data, meta, one));
    }
    let moved = &out.moved;
    team.each(items, |(x, data, meta, ordered)| {
        quantize_part(isa, x, shape, moved, mode, data, meta, ordered);
        Ok(())
    })?;
    count(Kernel::QuantizeRows, isa);
    Ok(())
}

#[derive(Clone, Copy)]
struct Shape {
    k: usize,
    k_padded: usize,
    split: Option<usize>,
}

/// What one thread does of [`quantize_rows_with`].
fn quantize_part(
    isa: Isa,
    x: &[f32],
    shape: Shape,
    moved: &[(u16, u16)],
    mode: &ActQuant,
    data: &mut [u8],
    meta: &mut [RowQuant],
    ordered: &mut [f32],
) {
    #[cfg(target_arch = "aarch64")]
    if isa.usable() != Isa::Generic {
        return quantize_body::<true>(x, shape, moved, mode, data, meta, ordered);
    }
    quantize(isa, x, shape, moved, mode, data, meta, ordered)
}

multiversion! {
    fn quantize(
        x: &[f32],
        shape: Shape,
        moved: &[(u16, u16)],
        mode: &ActQuant,
        data: &mut [u8],
        meta: &mut [RowQuant],
        ordered: &mut [f32],
    ) = quantize_body::<false>
}

/// How a segment is quantised, whatever it was derived from.
#[derive(Clone, Copy)]
struct Steps {
    scale: f32,
    zero: i32,
    lowest: f32,
    highest: f32,
}

/// `NEON`: with what is written by hand for 64-bit ARM.
#[inline(always)]
fn quantize_body<const NEON: bool>(
    x: &[f32],
    shape: Shape,
    moved: &[(u16, u16)],
    mode: &ActQuant,
    data: &mut [u8],
    meta: &mut [RowQuant],
    ordered: &mut [f32],
) {
    let Shape { k, k_padded, split } = shape;
    let split = split.unwrap_or(k);
    let segments = 1 + usize::from(split < k);
    let mut common = [Steps { scale: 1.0, zero: 0, lowest: 0.0, highest: 0.0 }; 2];
    if let ActQuant::PerTensor = mode {
        let mut range = [(0.0f32, 0.0f32); 2];
        for row in x.chunks_exact(k) {
            let row = in_order(row, moved, ordered);
            for (r, part) in range.iter_mut().zip([&row[..split], &row[split..]]) {
                let (min, max) = min_max::<NEON>(part);
                *r = (if min < r.0 { min } else { r.0 }, if max > r.1 { max } else { r.1 });
            }
        }
        common = [asymmetric(range[0].0, range[0].1), asymmetric(range[1].0, range[1].1)];
    } else if let ActQuant::Static { scale, zero_point, signed } = *mode {
        let zero = zero_point.wrapping_add(if signed { 128 } else { 0 }).clamp(0, 255);
        common = [Steps { scale, zero, lowest: -(zero as f32), highest: (255 - zero) as f32 }; 2];
    }
    for ((row, q), info) in
        x.chunks_exact(k).zip(data.chunks_exact_mut(k_padded)).zip(meta.chunks_exact_mut(segments))
    {
        let row = in_order(row, moved, ordered);
        for (s, info) in info.iter_mut().enumerate() {
            let range = if s == 0 { 0..split } else { split..k };
            let (part, q) = (&row[range.clone()], &mut q[range]);
            let (steps, sum) = match mode {
                ActQuant::PerToken => {
                    let (min, max) = min_max::<NEON>(part);
                    let steps = asymmetric(min, max);
                    (steps, fill::<false, NEON>(part, 1.0 / steps.scale, steps, q))
                }
                ActQuant::PerTokenSymmetric => {
                    let (min, max) = min_max::<NEON>(part);
                    let largest = if -min > max { -min } else { max };
                    let scale = usable_scale(largest / 127.0);
                    let steps = Steps { scale, zero: 128, lowest: -127.0, highest: 127.0 };
                    (steps, fill::<false, NEON>(part, 1.0 / scale, steps, q))
                }
                ActQuant::PerTensor | ActQuant::Static { .. } => {
                    (common[s], fill::<true, NEON>(part, common[s].scale, common[s], q))
                }
            };
            *info = RowQuant { scale: steps.scale, zero: steps.zero, sum };
        }
    }
}

/// Steps of ONNX `DynamicQuantizeLinear` for the range `min <= 0 <= max`.
#[inline(always)]
fn asymmetric(min: f32, max: f32) -> Steps {
    let range = (max - min) / 255.0;
    let scale = usable_scale(range);
    let zero = if scale == range { -min / scale } else { 0.0 };
    let zero = if zero > 0.0 { zero } else { 0.0 };
    let zero = round(if zero < 255.0 { zero } else { 255.0 });
    Steps { scale, zero: zero as i32, lowest: -zero, highest: 255.0 - zero }
}

/// `scale`, or 1 if it is zero, denormal or NaN: every value of such a row is then step zero.
#[inline(always)]
pub(super) fn usable_scale(scale: f32) -> f32 {
    if scale >= f32::MIN_POSITIVE { scale } else { 1.0 }
}

/// `row`, or a copy in which each place of `moved` holds the channel beside it.
#[inline(always)]
fn in_order<'a>(row: &'a [f32], moved: &[(u16, u16)], ordered: &'a mut [f32]) -> &'a [f32] {
    if moved.is_empty() {
        return row;
    }
    ordered.copy_from_slice(row);
    for &(place, channel) in moved {
        ordered[usize::from(place)] = row[usize::from(channel)];
    }
    ordered
}

/// The nearest integer, ties to even, for magnitudes up to 2^22.
#[inline(always)]
pub(super) fn round(x: f32) -> f32 {
    (x + ROUND_MAGIC) - ROUND_MAGIC
}

/// The least and the largest value, zero included, NaN left out.
///
/// Works on the bits, since the compiler vectorises integer maxima only: as signed integers positive floats
/// are in order and above all negative ones, as unsigned ones the negative are above and in reverse order.
#[inline(always)]
fn min_max<const NEON: bool>(x: &[f32]) -> (f32, f32) {
    const MINUS_ZERO: u32 = 0x8000_0000;
    let (mut low, mut high) = (MINUS_ZERO, 0i32);
    #[cfg(target_arch = "aarch64")]
    let x = if NEON {
        let (whole, tail) = x.as_chunks();
        (low, high) = super::aarch64_float::min_max(whole);
        tail
    } else {
        x
    };
    for v in x {
        let bits = if v.is_nan() { 0 } else { v.to_bits() };
        low = low.max(bits);
        high = high.max(bits as i32);
    }
    (f32::from_bits(low), f32::from_bits(high as u32))
}

/// Writes the steps of `x` and returns their sum. `by` is the scale if `DIVIDE`, else its inverse.
#[inline(always)]
fn fill<const DIVIDE: bool, const NEON: bool>(x: &[f32], by: f32, steps: Steps, q: &mut [u8]) -> i32 {
    #[cfg(target_arch = "aarch64")]
    if NEON && !DIVIDE {
        let Steps { zero, lowest, highest, .. } = steps;
        let ((x, x_tail), whole) = (x.as_chunks(), x.len() / 16 * 16);
        let (q, q_tail) = q.split_at_mut(whole);
        let sum = super::aarch64_float::fill_steps(x, by, zero as u8, lowest, highest, q.as_chunks_mut().0);
        return sum.wrapping_add(fill::<false, false>(x_tail, by, steps, q_tail));
    }
    let offset = steps.zero.wrapping_sub(ROUND_MAGIC_BITS);
    let mut sum = 0i32;
    for (&v, b) in x.iter().zip(q) {
        let step = step::<DIVIDE>(v, by, steps, offset);
        sum = sum.wrapping_add(step);
        *b = step as u8;
    }
    sum
}

#[inline(always)]
fn step<const DIVIDE: bool>(x: f32, by: f32, steps: Steps, offset: i32) -> i32 {
    let t = if DIVIDE { x / by } else { x * by };
    let t = if t > steps.lowest { t } else { steps.lowest }; // also takes NaN
    let t = if t < steps.highest { t } else { steps.highest };
    ((t + ROUND_MAGIC).to_bits() as i32).wrapping_add(offset)
}

/// A fixed quantisation that is applied and undone at once: what a QuantizeLinear and DequantizeLinear pair
/// does to floats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FakeQuant {
    /// Size of a step.
    pub scale: f32,
    /// The step that means zero.
    pub zero: i32,
    /// The least step of the type: 0 or -128.
    pub lowest: i32,
    /// The largest step of the type: 255 or 127.
    pub highest: i32,
}

impl FakeQuant {
    /// Of an unsigned byte.
    pub fn u8(scale: f32, zero: u8) -> Self {
        FakeQuant { scale, zero: zero.into(), lowest: 0, highest: 255 }
    }

    /// Of a signed byte.
    pub fn i8(scale: f32, zero: i8) -> Self {
        FakeQuant { scale, zero: zero.into(), lowest: -128, highest: 127 }
    }

    #[inline(always)]
    pub(super) fn apply(&self, x: f32) -> f32 {
        let (lowest, highest) =
            (self.lowest.wrapping_sub(self.zero) as f32, self.highest.wrapping_sub(self.zero) as f32);
        let t = x / self.scale;
        let t = if t > lowest { t } else { lowest };
        let t = if t < highest { t } else { highest };
        round(t) * self.scale
    }
}

/// Quantises and dequantises every value of `x` in place, exactly as ONNX `QuantizeLinear` and
/// `DequantizeLinear` would.
pub fn fake_quant(isa: Isa, x: &mut [f32], quant: FakeQuant) {
    fake_quant_all(isa, x, quant);
    count(Kernel::Elementwise, isa);
}

/// [`fake_quant`] that takes what is within 1/8192 of a step of a tie for a tie, and so rounds it to even.
///
/// An integer operator that adds a constant, like ONNX Runtime's `QLinearAdd`, lands on ties exactly where
/// the same sum in floats misses them by a rounding error; this gives its answer. For types of 8 bits.
pub fn fake_quant_ties(isa: Isa, x: &mut [f32], quant: FakeQuant) {
    fake_quant_ties_all(isa, x, quant);
    count(Kernel::Elementwise, isa);
}

multiversion! {
    fn fake_quant_ties_all(x: &mut [f32], quant: FakeQuant) = fake_quant_ties_body
}

#[inline(always)]
fn fake_quant_ties_body(x: &mut [f32], quant: FakeQuant) {
    let (lowest, highest) =
        (quant.lowest.wrapping_sub(quant.zero) as f32, quant.highest.wrapping_sub(quant.zero) as f32);
    for v in x {
        let t = *v / quant.scale;
        let t = if t > lowest { t } else { lowest };
        let t = if t < highest { t } else { highest };
        // At most 255 * 4096 < 2^22: exact.
        *v = round(round(t * 4096.0) / 4096.0) * quant.scale;
    }
}

multiversion! {
    fn fake_quant_all(x: &mut [f32], quant: FakeQuant) = fake_quant_body
}

#[inline(always)]
fn fake_quant_body(x: &mut [f32], quant: FakeQuant) {
    for v in x {
        *v = quant.apply(*v);
    }
}

/// The floats `(row - zero) * scale` of a row of an int8 embedding table.
///
/// # Panics
/// If the lengths differ.
pub fn dequantize_embedding(isa: Isa, row: &[i8], scale: f32, zero: i32, out: &mut [f32]) {
    assert_eq!(row.len(), out.len(), "lengths of the embedding row and its output");
    dequantize_all(isa, row, scale, zero, out);
    count(Kernel::Elementwise, isa);
}

multiversion! {
    fn dequantize_all(row: &[i8], scale: f32, zero: i32, out: &mut [f32]) = dequantize_body
}

#[inline(always)]
fn dequantize_body(row: &[i8], scale: f32, zero: i32, out: &mut [f32]) {
    for (y, q) in out.iter_mut().zip(row) {
        *y = i32::from(*q).wrapping_sub(zero) as f32 * scale;
    }
}
