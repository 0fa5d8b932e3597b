//! Layer norm, element-wise functions, pooling. Sums go over 32 lanes (element `i` to lane `i mod 32`) and
//! then over the lanes in one fixed order, whatever the vector width.

use super::attention::tree;
use super::counts::{Kernel, count};
use super::isa::{Isa, multiversion};
use super::math::{self, Activation};
use super::quant::{FakeQuant, round};
use crate::error::{Error, Result};

/// Lanes of a sum: two AVX-512 registers or eight of NEON, so that additions overlap.
pub(super) const LANES: usize = 32;

/// Layer norm of rows of `h` floats: `out = (y - mean) / sqrt(variance + eps) * gamma + beta`, where `y` is
/// `x` plus, if given, `residual`. Mean and variance are computed in two passes.
pub fn layer_norm(
    isa: Isa,
    x: &[f32],
    residual: Option<&[f32]>,
    h: usize,
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
    out: &mut [f32],
) -> Result<()> {
    check_rows(x.len(), residual, h, gamma, beta)?;
    if out.len() != x.len() {
        return Err(Error::invalid(format!("layer norm of {} values into {}", x.len(), out.len())));
    }
    #[cfg(target_arch = "aarch64")]
    if isa.usable() != Isa::Generic {
        out.copy_from_slice(x);
        return layer_norm_in_place(isa, out, residual, h, gamma, beta, eps);
    }
    normalise_to(isa, x, residual, h, gamma, beta, eps, out);
    count(Kernel::LayerNorm, isa);
    Ok(())
}

/// [`layer_norm`] in place.
pub fn layer_norm_in_place(
    isa: Isa,
    x: &mut [f32],
    residual: Option<&[f32]>,
    h: usize,
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
) -> Result<()> {
    check_rows(x.len(), residual, h, gamma, beta)?;
    #[cfg(target_arch = "aarch64")]
    if isa.usable() != Isa::Generic {
        normalise_neon(x, residual, h, gamma, beta, eps);
        count(Kernel::LayerNorm, isa);
        return Ok(());
    }
    normalise(isa, x, residual, h, gamma, beta, eps);
    count(Kernel::LayerNorm, isa);
    Ok(())
}

fn check_rows(len: usize, residual: Option<&[f32]>, h: usize, gamma: &[f32], beta: &[f32]) -> Result<()> {
    if h == 0 || !len.is_multiple_of(h) || residual.is_some_and(|r| r.len() != len) {
        return Err(Error::invalid(format!("layer norm: {len} values are not rows of {h}")));
    }
    if gamma.len() != h || beta.len() != h {
        return Err(Error::invalid(format!("layer norm: `gamma` and `beta` need {h} values each")));
    }
    Ok(())
}

multiversion! {
    fn normalise_to(
        x: &[f32],
        residual: Option<&[f32]>,
        h: usize,
        gamma: &[f32],
        beta: &[f32],
        eps: f32,
        out: &mut [f32],
    ) = normalise_to_body
}

#[inline(always)]
fn normalise_to_body(
    x: &[f32],
    residual: Option<&[f32]>,
    h: usize,
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
    out: &mut [f32],
) {
    for (i, (out, x)) in out.chunks_exact_mut(h).zip(x.chunks_exact(h)).enumerate() {
        out.copy_from_slice(x);
        normalise_row(out, residual.map(|r| &r[i * h..(i + 1) * h]), gamma, beta, eps);
    }
}

multiversion! {
    fn normalise(
        x: &mut [f32],
        residual: Option<&[f32]>,
        h: usize,
        gamma: &[f32],
        beta: &[f32],
        eps: f32,
    ) = normalise_body
}

#[inline(always)]
fn normalise_body(x: &mut [f32], residual: Option<&[f32]>, h: usize, gamma: &[f32], beta: &[f32], eps: f32) {
    for (i, row) in x.chunks_exact_mut(h).enumerate() {
        normalise_row(row, residual.map(|r| &r[i * h..(i + 1) * h]), gamma, beta, eps);
    }
}

/// [`normalise`] with whole groups of 32 by hand: the compiler shuffles the lanes of the second sum.
#[cfg(target_arch = "aarch64")]
fn normalise_neon(x: &mut [f32], residual: Option<&[f32]>, h: usize, gamma: &[f32], beta: &[f32], eps: f32) {
    for (i, row) in x.chunks_exact_mut(h).enumerate() {
        let residual = residual.map(|r| &r[i * h..(i + 1) * h]);
        if h.is_multiple_of(LANES) {
            super::aarch64_float::normalise_row(row, residual, gamma, beta, eps);
        } else {
            normalise_row(row, residual, gamma, beta, eps);
        }
    }
}

#[inline(always)]
fn normalise_row(row: &mut [f32], residual: Option<&[f32]>, gamma: &[f32], beta: &[f32], eps: f32) {
    let count = row.len() as f32;
    if let Some(residual) = residual {
        for (v, r) in row.iter_mut().zip(residual) {
            *v += r;
        }
    }
    let mean = sum_by(row, |v| v) / count;
    let variance = sum_by(row, |v| (v - mean) * (v - mean)) / count;
    let scale = 1.0 / (variance + eps).sqrt();
    for ((v, g), b) in row.iter_mut().zip(gamma).zip(beta) {
        *v = ((*v - mean) * scale) * g + b;
    }
}

/// The sum of `f` over `x` in the fixed order.
#[inline(always)]
fn sum_by(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for c in chunks {
        for l in 0..LANES {
            sums[l] += f(c[l]);
        }
    }
    for (sum, &v) in sums.iter_mut().zip(tail) {
        *sum += f(v);
    }
    sum_lanes(&sums)
}

#[inline(always)]
fn sum_lanes(sums: &[f32; LANES]) -> f32 {
    let mut half = [0.0f32; LANES / 2];
    for l in 0..LANES / 2 {
        half[l] = sums[l] + sums[l + LANES / 2];
    }
    tree(half)
}

/// Applies `activation` to every value in place.
pub fn activate(isa: Isa, x: &mut [f32], activation: Activation) {
    match activation {
        Activation::None => return,
        Activation::Relu => relu(isa, x),
        Activation::GeluErf => gelu_erf(isa, x),
        Activation::GeluTanh => gelu_tanh(isa, x),
        Activation::Tanh => tanh(isa, x),
        Activation::Sigmoid => sigmoid(isa, x),
    }
    count(Kernel::Elementwise, isa);
}

macro_rules! elementwise {
    ($($name:ident $body:ident $(: $public:ident)?),* $(,)?) => { $(
        multiversion! {
            fn $name(x: &mut [f32]) = $body
        }

        #[inline(always)]
        fn $body(x: &mut [f32]) {
            for v in x {
                *v = math::$name(*v);
            }
        }

        $(
            #[doc = concat!("[`", stringify!($name), "`](super::math::", stringify!($name), ") of every value, in place.")]
            pub fn $public(isa: Isa, x: &mut [f32]) {
                $name(isa, x);
                count(Kernel::Elementwise, isa);
            }
        )?
    )* };
}

elementwise! {
    relu relu_body,
    gelu_erf gelu_erf_body,
    gelu_tanh gelu_tanh_body,
    tanh tanh_body,
    sigmoid sigmoid_body,
    exp exp_body: exp_slice,
    erf erf_body: erf_slice,
}

/// Quantises every value of `x` in place to whole steps from the zero point, `round(x / scale)` within the
/// type's range, as floats. Products of steps below 2^24 add up exactly in `f32`, whatever the order.
///
/// With `ties`, what [`fake_quant_ties`](super::fake_quant_ties) takes for a tie is one; for types of 8 bits.
pub fn quant_steps(isa: Isa, x: &mut [f32], quant: FakeQuant, ties: bool) {
    steps(isa, x, quant, ties);
    count(Kernel::Elementwise, isa);
}

multiversion! {
    fn steps(x: &mut [f32], quant: FakeQuant, ties: bool) = steps_body
}

#[inline(always)]
fn steps_body(x: &mut [f32], quant: FakeQuant, ties: bool) {
    let FakeQuant { scale, zero, lowest, highest } = quant;
    let (lowest, highest) = (lowest.wrapping_sub(zero) as f32, highest.wrapping_sub(zero) as f32);
    for v in x {
        let t = *v / scale;
        let t = if t > lowest { t } else { lowest };
        let t = if t < highest { t } else { highest };
        let t = if ties { round(t * 4096.0) / 4096.0 } else { t };
        *v = round(t);
    }
}

/// The mean over rows of `h` floats whose `mask` byte is not zero (all rows without a mask), each channel
/// summed from the first row to the last. No row at all gives zeros.
pub fn mean_pool(isa: Isa, x: &[f32], h: usize, mask: Option<&[u8]>, out: &mut [f32]) -> Result<()> {
    if h == 0 || !x.len().is_multiple_of(h) || out.len() != h {
        return Err(Error::invalid(format!("mean pool: {} values are not rows of {h}", x.len())));
    }
    if mask.is_some_and(|m| m.len() != x.len() / h) {
        return Err(Error::invalid("mean pool: `mask` needs one byte per row"));
    }
    mean(isa, x, h, mask, out);
    count(Kernel::Elementwise, isa);
    Ok(())
}

multiversion! {
    fn mean(x: &[f32], h: usize, mask: Option<&[u8]>, out: &mut [f32]) = mean_body
}

#[inline(always)]
fn mean_body(x: &[f32], h: usize, mask: Option<&[u8]>, out: &mut [f32]) {
    out.fill(0.0);
    let mut rows = 0u32;
    for (i, row) in x.chunks_exact(h).enumerate() {
        if mask.is_some_and(|m| m[i] == 0) {
            continue;
        }
        rows += 1;
        for (sum, v) in out.iter_mut().zip(row) {
            *sum += v;
        }
    }
    let count = rows.max(1) as f32;
    for v in out {
        *v /= count;
    }
}

/// Divides every row of `h` floats by its Euclidean length, in place. A length under 1e-12 counts as 1e-12.
pub fn l2_normalize(isa: Isa, x: &mut [f32], h: usize) -> Result<()> {
    if h == 0 || !x.len().is_multiple_of(h) {
        return Err(Error::invalid(format!("normalise: {} values are not rows of {h}", x.len())));
    }
    unit_length(isa, x, h);
    count(Kernel::Elementwise, isa);
    Ok(())
}

multiversion! {
    fn unit_length(x: &mut [f32], h: usize) = unit_length_body
}

#[inline(always)]
fn unit_length_body(x: &mut [f32], h: usize) {
    for row in x.chunks_exact_mut(h) {
        let length = sum_by(row, |v| v * v).sqrt();
        let length = if length < 1e-12 { 1e-12 } else { length };
        for v in row {
            *v /= length;
        }
    }
}

/// The sum of the products of `a` and `b`, over 32 lanes as every sum here.
///
/// # Panics
/// If the lengths differ.
pub fn dot(isa: Isa, a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "lengths of a product's operands");
    let mut sum = 0.0;
    dot_into(isa, a, b, &mut sum);
    count(Kernel::Elementwise, isa);
    sum
}

multiversion! {
    fn dot_into(a: &[f32], b: &[f32], out: &mut f32) = dot_body
}

#[inline(always)]
fn dot_body(a: &[f32], b: &[f32], out: &mut f32) {
    let mut sums = [0.0f32; LANES];
    let (x, x_tail) = a.as_chunks::<LANES>();
    let (y, y_tail) = b.as_chunks::<LANES>();
    for (x, y) in x.iter().zip(y) {
        for l in 0..LANES {
            sums[l] += x[l] * y[l];
        }
    }
    for ((sum, x), y) in sums.iter_mut().zip(x_tail).zip(y_tail) {
        *sum += x * y;
    }
    *out = sum_lanes(&sums);
}

/// Adds `b` to `a`, element by element.
///
/// # Panics
/// If the lengths differ.
pub fn add_in_place(isa: Isa, a: &mut [f32], b: &[f32]) {
    assert_eq!(a.len(), b.len(), "lengths of the addends");
    add(isa, a, b);
    count(Kernel::Elementwise, isa);
}

multiversion! {
    fn add(a: &mut [f32], b: &[f32]) = add_body
}

#[inline(always)]
fn add_body(a: &mut [f32], b: &[f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
}
