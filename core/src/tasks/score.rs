//! Logits to probabilities, with the same bits everywhere: our own exponential and one order of summing.

use crate::kernels::{math, with_default_float_env};

/// Softmax of `logits / temperature`, or the logistic function of each if `multi_label`.
///
/// The maximum is found and the exponentials are summed from the first to the last.
pub(super) fn probabilities(logits: &[f32], temperature: f32, multi_label: bool) -> Vec<f32> {
    with_default_float_env(|| {
        let scaled = logits.iter().map(|x| x / temperature);
        if multi_label {
            return scaled.map(math::sigmoid).collect();
        }
        let mut p: Vec<f32> = scaled.collect();
        let max = p.iter().fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m });
        let mut sum = 0.0f32;
        for x in &mut p {
            *x = math::exp(*x - max);
            sum += *x;
        }
        for x in &mut p {
            *x /= sum;
        }
        p
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_is_near_the_exact_one_and_survives_large_logits() {
        for logits in [vec![0.3f32, -1.5, 2.25, 0.0], vec![1e4, 1e4 - 1.0], vec![-3e38, 3e38]] {
            let exact: Vec<f64> = {
                let max = logits.iter().fold(f64::MIN, |m, &x| m.max(f64::from(x)));
                let e: Vec<f64> = logits.iter().map(|&x| (f64::from(x) - max).exp()).collect();
                let sum: f64 = e.iter().sum();
                e.iter().map(|x| x / sum).collect()
            };
            for (p, e) in probabilities(&logits, 1.0, false).iter().zip(exact) {
                assert!((f64::from(*p) - e).abs() < 1e-6, "{logits:?}: {p} {e}");
            }
        }
    }

    #[test]
    fn temperature_divides_before_both_functions() {
        assert_eq!(probabilities(&[2.0, -4.0], 2.0, false), probabilities(&[1.0, -2.0], 1.0, false));
        assert_eq!(probabilities(&[2.0, -4.0], 2.0, true), probabilities(&[1.0, -2.0], 1.0, true));
        assert_ne!(probabilities(&[2.0, -4.0], 2.0, true), probabilities(&[2.0, -4.0], 1.0, true));
    }

    #[test]
    fn the_bits_are_these() {
        // Fixed once on x86-64; every other CPU has to give them too.
        let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let logits = [1.25, -0.5, 3.0, 0.125];
        assert_eq!(bits(probabilities(&logits, 1.0, false)), BITS_SOFTMAX);
        assert_eq!(bits(probabilities(&logits, 1.0, true)), BITS_SIGMOID);
    }

    const BITS_SOFTMAX: [u32; 4] = [1041051313, 1019495747, 1061887157, 1027036993];
    const BITS_SIGMOID: [u32; 4] = [1061616928, 1052855555, 1064557542, 1057488215];
}
