//! Matrix products in `f32`. Every output is one sum over K from the first to the last, a multiplication
//! and an addition at a time, so the bits do not depend on vector width, tile or thread.

use super::counts::{Kernel, count};
use super::isa::{Isa, multiversion};
use super::linear::load;
use super::math::{Activation, activate16};
use super::pack::{PANEL, PackedF32};
use crate::error::{Error, Result};

/// `out[m][n] = activation(x[m][k] * w + bias)`.
pub fn gemm_f32(
    isa: Isa,
    x: &[f32],
    m: usize,
    w: &PackedF32,
    bias: Option<&[f32]>,
    activation: Activation,
    out: &mut [f32],
) -> Result<()> {
    if m.checked_mul(w.k()) != Some(x.len()) || m.checked_mul(w.n()) != Some(out.len()) {
        return Err(Error::invalid(format!(
            "{m} rows times a weight of {}x{} do not fit {} inputs and {} outputs",
            w.n(),
            w.k(),
            x.len(),
            out.len()
        )));
    }
    if bias.is_some_and(|b| b.len() != w.n()) {
        return Err(Error::invalid(format!("`bias` of a matrix product does not fit its {} columns", w.n())));
    }
    product(isa, x, m, w, bias, activation, out);
    count(Kernel::GemmF32, isa);
    Ok(())
}

multiversion! {
    fn product(
        x: &[f32],
        m: usize,
        w: &PackedF32,
        bias: Option<&[f32]>,
        activation: Activation,
        out: &mut [f32],
    ) = product_body::<4, 1>, wide product_body::<6, 2>
}

/// Rows that share a pass over the weights.
const BLOCK: usize = 96;

#[inline(always)]
fn product_body<const R: usize, const P: usize>(
    x: &[f32],
    m: usize,
    w: &PackedF32,
    bias: Option<&[f32]>,
    activation: Activation,
    out: &mut [f32],
) {
    let (n, k) = (w.n(), w.k());
    if n == 0 {
        return;
    }
    for (block, out) in out.chunks_mut(BLOCK * n).enumerate() {
        let rows = out.len() / n;
        let x = &x[block * BLOCK * k..][..rows * k];
        gemm_block::<R, P>(Matrix { data: x, stride: k }, rows, k, w.data(), n, out, n);
        if bias.is_some() || activation != Activation::None {
            for row in out.chunks_exact_mut(n) {
                let mut n0 = 0;
                while n0 < n {
                    let lanes = PANEL.min(n - n0);
                    let mut y: [f32; PANEL] = load(&row[n0..], 0, lanes);
                    if let Some(bias) = bias {
                        let b: [f32; PANEL] = load(&bias[n0..], 0, lanes);
                        for l in 0..PANEL {
                            y[l] += b[l];
                        }
                    }
                    activate16(&mut y, activation);
                    row[n0..n0 + lanes].copy_from_slice(&y[..lanes]);
                    n0 += lanes;
                }
            }
        }
    }
    let _ = m;
}

/// Rows of floats, `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub data: &'a [f32],
    pub stride: usize,
}

/// `out = a * w` for `m` rows of `k`, `w` packed as `[n/16][k][16]`, rows of `out` being `ldo` apart.
#[inline(always)]
pub(super) fn gemm_block<const R: usize, const P: usize>(
    a: Matrix,
    m: usize,
    k: usize,
    w: &[f32],
    n: usize,
    out: &mut [f32],
    ldo: usize,
) {
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        for row in 0..m {
            out[row * ldo..][..n].fill(0.0);
        }
        return;
    }
    let mut n0 = 0;
    while n0 < n {
        let columns = (P * PANEL).min(n - n0);
        let w = &w[n0 * k..];
        if columns > (P - 1) * PANEL {
            rows_of::<R, P>(a, m, k, w, n0, columns, out, ldo);
            n0 += columns;
        } else {
            let columns = columns.min(PANEL);
            rows_of::<R, 1>(a, m, k, w, n0, columns, out, ldo);
            n0 += columns;
        }
    }
}

#[allow(clippy::too_many_arguments)]
#[inline(always)]
fn rows_of<const R: usize, const P: usize>(
    a: Matrix,
    m: usize,
    k: usize,
    w: &[f32],
    n0: usize,
    columns: usize,
    out: &mut [f32],
    ldo: usize,
) {
    let mut row = 0;
    while row + R <= m {
        tile::<R, P>(a, row, k, w, n0, columns, out, ldo);
        row += R;
    }
    if row + 2 <= m && R > 2 {
        while row + 2 <= m {
            tile::<2, P>(a, row, k, w, n0, columns, out, ldo);
            row += 2;
        }
    }
    while row < m {
        tile::<1, P>(a, row, k, w, n0, columns, out, ldo);
        row += 1;
    }
}

#[allow(clippy::too_many_arguments, clippy::needless_range_loop)]
#[inline(always)]
fn tile<const R: usize, const P: usize>(
    a: Matrix,
    row: usize,
    k: usize,
    w: &[f32],
    n0: usize,
    columns: usize,
    out: &mut [f32],
    ldo: usize,
) {
    let first = row * a.stride;
    assert!(first + (R - 1) * a.stride + k <= a.data.len());
    assert!(P * k * PANEL <= w.len());
    let mut acc = [[[0.0f32; PANEL]; P]; R];
    for i in 0..k {
        for r in 0..R {
            // SAFETY: first + r * stride + i is below the length asserted above.
            let v = unsafe { *a.data.get_unchecked(first + r * a.stride + i) };
            for p in 0..P {
                for l in 0..PANEL {
                    // SAFETY: (p * k + i) * 16 + l is below P * k * 16, which is asserted to lie inside.
                    acc[r][p][l] += v * unsafe { *w.get_unchecked((p * k + i) * PANEL + l) };
                }
            }
        }
    }
    for r in 0..R {
        let out = &mut out[(row + r) * ldo + n0..][..columns];
        for (p, part) in out.chunks_mut(PANEL).enumerate().take(P) {
            match part.first_chunk_mut::<PANEL>() {
                Some(whole) => *whole = acc[r][p],
                None => part.copy_from_slice(&acc[r][p][..part.len()]),
            }
        }
    }
}
