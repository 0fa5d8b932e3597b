//! The layouts of weights in memory: int8 as `[N/16][K/4][16][4]`, floats as `[N/16][K][16]`.
//!
//! One 64-byte line of the int8 layout holds four consecutive K of 16 output channels: what `VPDPBUSD` and
//! `SDOT` multiply in one step, and what AMX reads as tile rows.

use crate::error::{Error, Result};
use std::ops::Range;

/// Output channels per panel.
pub const PANEL: usize = 16;
/// K is padded to a multiple of this with zeros (int8 only).
pub const K_ALIGN: usize = 64;
/// The largest K: 65,536 products of 255 and 128 still fit an `i32`.
pub const MAX_K: usize = 65_536;

/// Bytes of an int8 weight of `n` output and `k` input channels, or `None` if that overflows or `k` is over
/// [`MAX_K`].
pub fn packed_len(n: usize, k: usize) -> Option<usize> {
    if k > MAX_K {
        return None;
    }
    let len = n.checked_next_multiple_of(PANEL)?.checked_mul(k.checked_next_multiple_of(K_ALIGN)?)?;
    (len <= isize::MAX as usize).then_some(len)
}

/// Packed int8 weights, borrowed as they lie in a bundle; any alignment will do.
#[derive(Clone, Copy, Debug)]
pub struct PackedI8<'a> {
    n: usize,
    k: usize,
    data: &'a [i8],
}

impl<'a> PackedI8<'a> {
    /// Weights of `n` output and `k` input channels over `data`, whose length must be
    /// [`packed_len`]`(n, k)`.
    pub fn new(n: usize, k: usize, data: &'a [i8]) -> Result<Self> {
        let want = packed_len(n, k).ok_or_else(|| {
            Error::invalid(format!("a weight of {n}x{k} is too large: K may be at most {MAX_K}"))
        })?;
        if data.len() != want {
            return Err(Error::invalid(format!(
                "a packed weight of {n}x{k} takes {want} bytes, not {}: pack it again",
                data.len()
            )));
        }
        Ok(PackedI8 { n, k, data })
    }

    /// The same over plain bytes, as a mapped file gives them.
    pub fn from_bytes(n: usize, k: usize, bytes: &'a [u8]) -> Result<Self> {
        Self::new(n, k, as_i8(bytes))
    }

    /// Output channels, without padding.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Input channels, without padding.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Input channels with padding.
    pub fn k_padded(&self) -> usize {
        self.k.next_multiple_of(K_ALIGN)
    }

    /// The packed weights.
    pub fn data(&self) -> &'a [i8] {
        self.data
    }

    /// The weight of output channel `n` and input channel `k`.
    ///
    /// # Panics
    /// If either is out of range.
    pub fn get(&self, k: usize, n: usize) -> i8 {
        assert!(k < self.k && n < self.n, "weight index out of range");
        self.data[index_i8(self.k_padded(), k, n)]
    }
}

/// Where the weight of (`k`, `n`) lies.
fn index_i8(k_padded: usize, k: usize, n: usize) -> usize {
    n / PANEL * PANEL * k_padded + k / 4 * (PANEL * 4) + n % PANEL * 4 + k % 4
}

/// Packs the weights `w(k, n)` into `out`, whose length must be [`packed_len`]`(n, k)`.
pub fn pack_i8(w: impl Fn(usize, usize) -> i8, n: usize, k: usize, out: &mut [i8]) -> Result<()> {
    if packed_len(n, k) != Some(out.len()) {
        return Err(Error::invalid(format!(
            "the buffer for a packed weight of {n}x{k} has {} bytes",
            out.len()
        )));
    }
    let k_padded = k.next_multiple_of(K_ALIGN);
    out.fill(0);
    for c in 0..n {
        for r in 0..k {
            out[index_i8(k_padded, r, c)] = w(r, c);
        }
    }
    Ok(())
}

/// Calls `put(k, n, weight)` for every weight, by output channel: the inverse of [`pack_i8`].
pub fn unpack_i8(w: &PackedI8, mut put: impl FnMut(usize, usize, i8)) {
    let k_padded = w.k_padded();
    for c in 0..w.n {
        for r in 0..w.k {
            put(r, c, w.data[index_i8(k_padded, r, c)]);
        }
    }
}

/// For every output channel the sum of its weights over the input channels `k_range`, cut at K.
///
/// A linear layer takes these per segment of its input, one segment after the other.
pub fn column_sums(w: &PackedI8, k_range: Range<usize>) -> Vec<i32> {
    let k_padded = w.k_padded();
    let range = k_range.start.min(w.k)..k_range.end.min(w.k);
    (0..w.n).map(|c| range.clone().map(|r| i32::from(w.data[index_i8(k_padded, r, c)])).sum()).collect()
}

/// Floats of an `f32` weight of `n` output and `k` input channels, or `None` if that overflows.
pub fn packed_len_f32(n: usize, k: usize) -> Option<usize> {
    let len = n.checked_next_multiple_of(PANEL)?.checked_mul(k)?;
    (len <= isize::MAX as usize / 4).then_some(len)
}

/// Packed `f32` weights.
#[derive(Clone, Copy, Debug)]
pub struct PackedF32<'a> {
    n: usize,
    k: usize,
    data: &'a [f32],
}

impl<'a> PackedF32<'a> {
    /// Weights of `n` output and `k` input channels over `data`, whose length must be
    /// [`packed_len_f32`]`(n, k)`.
    pub fn new(n: usize, k: usize, data: &'a [f32]) -> Result<Self> {
        if packed_len_f32(n, k) != Some(data.len()) {
            return Err(Error::invalid(format!(
                "a packed weight of {n}x{k} does not take {} floats",
                data.len()
            )));
        }
        Ok(PackedF32 { n, k, data })
    }

    /// Output channels, without padding.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Input channels.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The packed weights.
    pub fn data(&self) -> &'a [f32] {
        self.data
    }
}

/// Packs the weights `w(k, n)` into `out`, whose length must be [`packed_len_f32`]`(n, k)`.
pub fn pack_f32(w: impl Fn(usize, usize) -> f32, n: usize, k: usize, out: &mut [f32]) -> Result<()> {
    if packed_len_f32(n, k) != Some(out.len()) {
        return Err(Error::invalid(format!(
            "the buffer for a packed weight of {n}x{k} has {} floats",
            out.len()
        )));
    }
    if k == 0 {
        return Ok(());
    }
    for (panel, block) in out.chunks_exact_mut(k * PANEL).enumerate() {
        for (r, line) in block.chunks_exact_mut(PANEL).enumerate() {
            for (lane, v) in line.iter_mut().enumerate() {
                let c = panel * PANEL + lane;
                *v = if c < n { w(r, c) } else { 0.0 };
            }
        }
    }
    Ok(())
}

/// The same bytes as signed numbers.
pub fn as_i8(bytes: &[u8]) -> &[i8] {
    // SAFETY: u8 and i8 have the same size, alignment and no invalid values; the lifetime is kept.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<i8>(), bytes.len()) }
}
