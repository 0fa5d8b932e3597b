//! Rounding chosen by what it does to the layer's output, one weight after the other.
//!
//! The objective is AdaRound's (Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization"):
//! the squared error of the layer's output over the calibration, `(w - q s)^T H (w - q s)` with `H = X^T X`. AdaRound
//! descends on a relaxation; here each weight in turn moves to the step that is best while all others stay (Behdin et
//! al. 2023, "QuantEase"). The error never rises, and the order of all sums is fixed.

/// Rows that move before the others hear of it.
const BLOCK: usize = 64;
/// Passes over all weights; the later ones hardly move any.
const SWEEPS: usize = 3;

/// Moves the steps `q` (`[k][n]`, of size `scale` per output) of the weights `w` towards less error. `h(i, j)` are the
/// inputs' products. Gives how many moves were made.
pub fn improve(w: &[f32], q: &mut [i8], n: usize, scale: &[f32], h: impl Fn(usize, usize) -> f32) -> usize {
    let k = w.len() / n.max(1);
    // The gradient, H times the error, by rows of inputs.
    let mut gradient = vec![0f32; k * n];
    let error: Vec<f32> =
        w.iter().zip(q.iter()).enumerate().map(|(i, (w, q))| w - f32::from(*q) * scale[i % n]).collect();
    for (i, g) in gradient.chunks_exact_mut(n).enumerate() {
        for (j, e) in error.chunks_exact(n).enumerate() {
            let f = h(i, j);
            g.iter_mut().zip(e).for_each(|(g, e)| *g += f * e);
        }
    }
    drop(error);
    let mut moved = 0;
    let mut steps = vec![0f32; BLOCK * n];
    for _ in 0..SWEEPS {
        let before = moved;
        for b in (0..k).step_by(BLOCK) {
            let e = (b + BLOCK).min(k);
            let mut any = [false; BLOCK];
            for i in b..e {
                let own = h(i, i);
                let step = &mut steps[(i - b) * n..][..n];
                step.fill(0.0);
                if own <= 0.0 {
                    continue;
                }
                let g = &gradient[i * n..][..n];
                for c in 0..n {
                    let best = (g[c] / (scale[c] * own)).round_ties_even();
                    let to = (f32::from(q[i * n + c]) + best).clamp(-127.0, 127.0);
                    let by = to - f32::from(q[i * n + c]);
                    if by != 0.0 {
                        q[i * n + c] = to as i8;
                        step[c] = by * scale[c];
                        moved += 1;
                        any[i - b] = true;
                    }
                }
                if any[i - b] {
                    for j in b..e {
                        let f = h(j, i);
                        let g = &mut gradient[j * n..][..n];
                        g.iter_mut().zip(&*step).for_each(|(g, s)| *g -= f * s);
                    }
                }
            }
            for j in (0..b).chain(e..k) {
                let g = &mut gradient[j * n..][..n];
                for i in (b..e).filter(|i| any[i - b]) {
                    let f = h(j, i);
                    g.iter_mut().zip(&steps[(i - b) * n..][..n]).for_each(|(g, s)| *g -= f * s);
                }
            }
        }
        if moved == before {
            break;
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Rng;

    #[test]
    fn no_single_move_is_left_that_helps() {
        let (k, n, m) = (70, 5, 200);
        let mut rng = Rng::new(3);
        let mut noise =
            |n: usize| -> Vec<f32> { (0..n).map(|_| (rng.below(2001) as f32 - 1000.0) / 1000.0).collect() };
        let mut x = noise(k * m);
        for r in x.chunks_mut(k) {
            for i in 1..k {
                r[i] = 0.7 * r[i - 1] + 0.5 * r[i];
            }
        }
        let w = noise(k * n);
        let scale = vec![0.25f32; n];
        let h: Vec<f32> = (0..k * k).map(|i| x.chunks(k).map(|r| r[i / k] * r[i % k]).sum()).collect();
        let error = |q: &[i8]| -> f64 {
            x.chunks(k)
                .flat_map(|r| {
                    (0..n)
                        .map(|c| {
                            let d: f64 = (0..k)
                                .map(|i| {
                                    f64::from(r[i]) * f64::from(w[i * n + c] - f32::from(q[i * n + c]) * 0.25)
                                })
                                .sum();
                            d * d
                        })
                        .collect::<Vec<_>>()
                })
                .sum()
        };
        let nearest: Vec<i8> = w.iter().map(|x| (x / 0.25).round_ties_even() as i8).collect();
        let mut q = nearest.clone();
        assert!(improve(&w, &mut q, n, &scale, |i, j| h[i * k + j]) > 10);
        let (before, after) = (error(&nearest), error(&q));
        assert!(after < 0.6 * before, "{after} {before}");
        let mut helped = 0;
        for i in 0..k * n {
            for by in [-1, 1] {
                let mut other = q.clone();
                other[i] += by;
                helped += usize::from(error(&other) < 0.999 * after);
            }
        }
        // Three sweeps leave next to nothing.
        assert!(helped <= 3, "{helped}");
    }
}
