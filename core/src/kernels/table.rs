//! Quantised rows times the rows of an int8 embedding table: what turns a token's vector into a score per entry
//! of the vocabulary, on the table that the model looks tokens up in anyway.
//!
//! The table stays row-major, as lookups want it, so there is no second, packed copy of it.

use super::counts::{Kernel, count};
use super::isa::{Isa, multiversion};
use super::quant::QuantRows;
use crate::error::{Error, Result};

/// `out[i] = x[row] * table[i] + bias[i]` for consecutive rows `i` of an int8 table.
///
/// `x[row]` is a row of one segment; `table` holds `out.len()` rows of as many channels as `x` has; `scale` is
/// the size of a step per row of the table, or one for all. The sums are exact in `i32`; then, in `f32`, in
/// this order, as in [`linear_i8`](super::linear_i8): times the row's scale, times the table's scale, plus the
/// bias.
///
/// # Errors
/// If the slices do not fit each other.
pub fn table_products(
    isa: Isa,
    x: &QuantRows,
    row: usize,
    table: &[i8],
    scale: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
) -> Result<()> {
    let n = out.len();
    if row >= x.rows() || x.segments() != 1 || n.checked_mul(x.k()) != Some(table.len()) {
        return Err(Error::invalid("the rows of a table do not fit the activations"));
    }
    if !(scale.len() == 1 || scale.len() == n) || bias.is_some_and(|b| b.len() != n) {
        return Err(Error::invalid("the scales or the bias of a table do not fit its rows"));
    }
    let quant = x.quant(row, 0);
    // With the zero point taken off, a step is -255..=255: pairs of products of 16-bit numbers are what every
    // instruction set has an instruction for.
    let steps: Vec<i16> = x.row(row).iter().map(|&q| (i32::from(q) - quant.zero) as i16).collect();
    products(isa, &steps, quant.scale, table, scale, bias, out);
    count(Kernel::LinearI8, isa);
    Ok(())
}

multiversion! {
    fn products(
        x: &[i16],
        x_scale: f32,
        table: &[i8],
        scale: &[f32],
        bias: Option<&[f32]>,
        out: &mut [f32],
    ) = products_body
}

#[inline(always)]
fn products_body(
    x: &[i16],
    x_scale: f32,
    table: &[i8],
    scale: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    for (i, (y, row)) in out.iter_mut().zip(table.chunks_exact(x.len().max(1))).enumerate() {
        let mut sum = 0i32;
        for (a, b) in x.iter().zip(row) {
            sum += i32::from(*a) * i32::from(*b);
        }
        let s = if scale.len() == 1 { scale[0] } else { scale[i] };
        *y = sum as f32 * x_scale * s;
        if let Some(b) = bias {
            *y += b[i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{ActQuant, quantize_rows};

    #[test]
    fn every_kernel_gives_the_exact_products_of_the_quantised_row() {
        // 100 channels: no multiple of any vector; the largest steps in the first row of the table.
        let (n, k) = (37, 100);
        let x: Vec<f32> = (0..2 * k).map(|i| ((i * 37 % 101) as f32 - 50.0) / 9.0).collect();
        let table: Vec<i8> = (0..n * k).map(|i| if i < k { -128 } else { (i * 31 % 255) as i8 }).collect();
        let scale: Vec<f32> = (0..n).map(|i| 0.01 + i as f32 * 1e-3).collect();
        let bias: Vec<f32> = (0..n).map(|i| i as f32 - 18.0).collect();
        let mut q = QuantRows::new();
        for isa in Isa::available() {
            quantize_rows(isa, &x, 2, k, None, None, &ActQuant::PerToken, &mut q).unwrap();
            for row in 0..2 {
                let r = q.quant(row, 0);
                let mut got = vec![0.0; n];
                table_products(isa, &q, row, &table, &scale, Some(&bias), &mut got).unwrap();
                let mut plain = vec![0.0; n];
                table_products(isa, &q, row, &table, &[0.5], None, &mut plain).unwrap();
                for i in 0..n {
                    let w = &table[i * k..(i + 1) * k];
                    let sum: i64 = q
                        .row(row)
                        .iter()
                        .zip(w)
                        .map(|(a, b)| (i64::from(*a) - i64::from(r.zero)) * i64::from(*b))
                        .sum();
                    assert_eq!(got[i].to_bits(), (sum as f32 * r.scale * scale[i] + bias[i]).to_bits());
                    assert_eq!(plain[i].to_bits(), (sum as f32 * r.scale * 0.5).to_bits());
                }
            }
            let wrong = |t: &[i8], s: &[f32], row: usize| {
                table_products(isa, &q, row, t, s, None, &mut vec![0.0; n]).is_err()
            };
            assert!(
                wrong(&table[1..], &scale, 0) && wrong(&table, &scale[1..], 0) && wrong(&table, &scale, 2)
            );
        }
    }
}
