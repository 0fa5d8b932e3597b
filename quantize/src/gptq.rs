//! Rounding that lets later weights make up for the error of earlier ones (Frantar et al. 2023, "GPTQ").
//!
//! With `H = X^T X` of the layer's inputs, the weights of one input channel after the other are rounded; what that
//! adds to the output is taken back by the channels that are still free, along the rows of the upper Cholesky factor
//! of the inverse of `H`. All sums have one fixed order, so the same input gives the same bytes on every machine.

use pocketbert::{Error, Result};

/// Rows that share a pass over the matrix.
const BLOCK: usize = 8;

/// The upper triangular `U` with `U^T U = H^-1`, row-major, for a symmetric positive definite `h(i, j)` of size `n`.
pub fn inverse_factor(n: usize, h: impl Fn(usize, usize) -> f64) -> Result<Vec<f64>> {
    // With all indices reversed: h = l l^T, and U is l^-1 reversed.
    let mut l = vec![0.0; n * n];
    for i0 in (0..n).step_by(BLOCK) {
        let i1 = (i0 + BLOCK).min(n);
        let (done, block) = l.split_at_mut(i0 * n);
        for j in 0..i1 {
            let from = j.max(i0);
            for i in from..i1 {
                let (earlier, rest) = block.split_at_mut((i - i0) * n);
                let row = &mut rest[..n];
                let other: &[f64] = if j < i0 {
                    &done[j * n..][..=j]
                } else if j < i {
                    &earlier[(j - i0) * n..][..=j]
                } else {
                    &[]
                };
                let a = h(n - 1 - i, n - 1 - j);
                if j == i {
                    let d = a - dot(&row[..j], &row[..j]);
                    if d.is_nan() || d <= 0.0 {
                        return Err(Error::invalid(
                            "the products of a layer's inputs are not positive definite: calibrate on more texts, or raise the damping",
                        ));
                    }
                    row[j] = d.sqrt();
                } else {
                    row[j] = (a - dot(&row[..j], &other[..j])) / other[j];
                }
            }
        }
    }
    // In place of a second matrix: row i of the inverse needs row i of l and earlier rows of the inverse.
    for i0 in (0..n).step_by(BLOCK) {
        let i1 = (i0 + BLOCK).min(n);
        let (done, block) = l.split_at_mut(i0 * n);
        let mut sums = vec![0.0; (i1 - i0) * n];
        for k in 0..i0 {
            let other = &done[k * n..][..=k];
            for i in i0..i1 {
                let f = block[(i - i0) * n + k];
                sums[(i - i0) * n..][..=k].iter_mut().zip(other).for_each(|(s, o)| *s += f * o);
            }
        }
        for i in i0..i1 {
            let (earlier, rest) = block.split_at_mut((i - i0) * n);
            let row = &mut rest[..n];
            let sum = &mut sums[(i - i0) * n..][..n];
            for k in i0..i {
                let f = row[k];
                sum[..=k].iter_mut().zip(&earlier[(k - i0) * n..][..=k]).for_each(|(s, o)| *s += f * o);
            }
            let d = 1.0 / row[i];
            row[..i].iter_mut().zip(&*sum).for_each(|(r, s)| *r = -s * d);
            row[i] = d;
        }
    }
    let mut u = vec![0.0; n * n];
    for i in 0..n {
        for j in i..n {
            u[i * n + j] = l[(n - 1 - i) * n + (n - 1 - j)];
        }
    }
    Ok(u)
}

/// A dot product by eight partial sums.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut s = [0.0; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a8.zip(b8) {
        for l in 0..8 {
            s[l] += x[l] * y[l];
        }
    }
    ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])) + rest
}

/// Rounds `w` (`[k][n]`, changed on the way) to whole steps of `scale` (one per output), -127 to 127.
pub fn round(w: &mut [f32], n: usize, scale: &[f32], u: &[f64]) -> Vec<i8> {
    const COLUMNS: usize = 64;
    let k = w.len() / n.max(1);
    let mut q = vec![0i8; w.len()];
    let mut errors = vec![0f32; COLUMNS * n];
    for b in (0..k).step_by(COLUMNS) {
        let e = (b + COLUMNS).min(k);
        for i in b..e {
            let d = u[i * k + i] as f32;
            let error = &mut errors[(i - b) * n..][..n];
            for c in 0..n {
                let x = w[i * n + c];
                let r = (x / scale[c]).round_ties_even().clamp(-127.0, 127.0);
                q[i * n + c] = r as i8;
                error[c] = (x - r * scale[c]) / d;
            }
            for j in i + 1..e {
                let f = u[i * k + j] as f32;
                w[j * n..][..n].iter_mut().zip(&*error).for_each(|(x, e)| *x -= f * e);
            }
        }
        for j in e..k {
            let row = &mut w[j * n..][..n];
            for i in b..e {
                let f = u[i * k + j] as f32;
                row.iter_mut().zip(&errors[(i - b) * n..][..n]).for_each(|(x, e)| *x -= f * e);
            }
        }
    }
    q
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Rng;

    fn rows(n: usize, m: usize) -> Vec<f64> {
        // Channels that depend on each other, as a model's do.
        let mut rng = Rng::new(5);
        let mut x: Vec<f64> = (0..n * m).map(|_| (rng.below(2001) as f64 - 1000.0) / 1000.0).collect();
        for r in x.chunks_mut(n) {
            for i in 1..n {
                r[i] = 0.7 * r[i - 1] + 0.5 * r[i];
            }
        }
        x
    }

    fn products(x: &[f64], n: usize) -> Vec<f64> {
        let mut h = vec![0.0; n * n];
        for r in x.chunks(n) {
            for i in 0..n {
                for j in 0..n {
                    h[i * n + j] += r[i] * r[j];
                }
            }
        }
        h
    }

    #[test]
    fn the_factor_inverts() {
        for n in [1, 7, 8, 9, 37] {
            let h = products(&rows(n, 4 * n), n);
            let u = inverse_factor(n, |i, j| h[i * n + j]).unwrap();
            for i in 0..n {
                for j in 0..n {
                    // (U^T U H)_ij
                    let mut s = 0.0;
                    for k in 0..n {
                        let inv: f64 = (0..=i.min(k)).map(|t| u[t * n + i] * u[t * n + k]).sum();
                        s += inv * h[k * n + j];
                    }
                    assert!((s - f64::from(u8::from(i == j))).abs() < 1e-6, "{n} {i} {j} {s}");
                }
            }
        }
        assert!(inverse_factor(2, |_, _| 1.0).is_err());
    }

    #[test]
    fn errors_are_made_up_for() {
        let (k, n, m) = (96, 8, 400);
        let x = rows(k, m);
        let h = products(&x, k);
        let mut rng = Rng::new(9);
        let w: Vec<f32> = (0..k * n).map(|_| (rng.below(2001) as f32 - 1000.0) / 1000.0).collect();
        // Few steps, so that rounding matters.
        let scale = vec![0.25f32; n];
        let u = inverse_factor(k, |i, j| h[i * k + j] + if i == j { 0.01 } else { 0.0 }).unwrap();
        let got = round(&mut w.clone(), n, &scale, &u);
        let nearest: Vec<i8> = w.iter().map(|x| (x / 0.25).round_ties_even() as i8).collect();
        let error = |q: &[i8]| -> f64 {
            x.chunks(k)
                .map(|r| {
                    (0..n)
                        .map(|c| {
                            let d: f64 = (0..k)
                                .map(|i| r[i] * (f64::from(w[i * n + c]) - f64::from(q[i * n + c]) * 0.25))
                                .sum();
                            d * d
                        })
                        .sum::<f64>()
                })
                .sum()
        };
        assert!(error(&got) < 0.5 * error(&nearest), "{} {}", error(&got), error(&nearest));
    }
}
