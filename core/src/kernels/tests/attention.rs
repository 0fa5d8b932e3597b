//! Attention, in `f32` and in int8: accuracy, equal bits however it is cut, and the definition of int8.

use super::*;

type Attend =
    fn(Isa, Rows, Rows, Rows, &Attention, &mut AttentionScratch, &mut [f32], usize) -> crate::Result<()>;

/// Both kinds, with the error to expect on values of deviation 1: a step is a 127th of a maximum of about 4.
const BOTH: [(Attend, f64); 2] = [(attention_f32, 1e-5), (attention_i8, 0.06)];

struct Case {
    qkv: Vec<f32>,
    mask: Option<Vec<u8>>,
    s: usize,
    heads: usize,
    d: usize,
    dv: usize,
}

impl Case {
    fn width(&self) -> usize {
        self.heads * (2 * self.d + self.dv)
    }

    fn run(&self, attend: Attend, isa: Isa, rows: std::ops::Range<usize>) -> Vec<f32> {
        let (width, hd) = (self.width(), self.heads * self.d);
        let side = |offset| Rows { data: &self.qkv, stride: width, offset };
        let q = Rows { data: &self.qkv[rows.start * width..], stride: width, offset: 0 };
        let shape = Attention {
            queries: rows.len(),
            keys: self.s,
            heads: self.heads,
            head_dim: self.d,
            value_dim: self.dv,
            scale: 0.3,
            mask: self.mask.as_deref(),
            score_quant: None,
            score_step: 1.0,
            probability_quant: &[],
        };
        let mut out = vec![f32::NAN; rows.len() * self.heads * self.dv];
        let mut scratch = AttentionScratch::new();
        // Used memory, as in a second run.
        scratch.dirty();
        let stride = self.heads * self.dv;
        attend(isa, q, side(hd), side(2 * hd), &shape, &mut scratch, &mut out, stride).unwrap();
        out
    }

    fn reference(&self) -> Vec<f64> {
        let (width, hd) = (self.width(), self.heads * self.d);
        let at = |i: usize, c: usize| f64::from(self.qkv[i * width + c]);
        let mut out = Vec::new();
        let all_masked = self.mask.as_ref().is_some_and(|m| m.iter().all(|v| *v == 0));
        for i in 0..self.s {
            for h in 0..self.heads {
                let weight: Vec<f64> = (0..self.s)
                    .map(|j| {
                        if all_masked {
                            return 1.0;
                        }
                        if self.mask.as_ref().is_some_and(|m| m[j] == 0) {
                            return 0.0;
                        }
                        let dot: f64 =
                            (0..self.d).map(|c| at(i, h * self.d + c) * at(j, hd + h * self.d + c)).sum();
                        (dot * f64::from(0.3f32)).exp()
                    })
                    .collect();
                let total: f64 = weight.iter().sum();
                for c in 0..self.dv {
                    out.push((0..self.s).map(|j| weight[j] / total * at(j, 2 * hd + h * self.dv + c)).sum());
                }
            }
        }
        out
    }
}

#[test]
fn attention_is_accurate_and_the_same_however_it_is_cut() {
    let mut rng = Rng(14);
    for round in 0..rounds(40) {
        let (most, widest) = if cfg!(miri) { (7, 5) } else { (70, 40) };
        let s = 1 + rng.below(most);
        let (heads, d, dv) = (1 + rng.below(3), 1 + rng.below(widest), 1 + rng.below(widest));
        let qkv = rng.floats(s * heads * (2 * d + dv));
        let mask =
            (round % 3 > 0).then(|| (0..s).map(|_| u8::from(round % 7 != 1 && rng.below(3) > 0)).collect());
        let case = Case { qkv, mask, s, heads, d, dv };
        let want = case.reference();
        for (attend, tolerance) in BOTH {
            let first = case.run(attend, Isa::Generic, 0..s);
            for (a, b) in first.iter().zip(&want) {
                assert!((f64::from(*a) - b).abs() < tolerance, "{a} {b} s {s} d {d} dv {dv}");
            }
            for isa in Isa::available() {
                assert_eq!(bits(&case.run(attend, isa, 0..s)), bits(&first), "{isa}");
                let cut = rng.below(s + 1);
                let mut parts = case.run(attend, isa, 0..cut);
                parts.extend(case.run(attend, isa, cut..s));
                assert_eq!(bits(&parts), bits(&first), "{isa} cut {cut}");
            }
        }
    }
}

#[test]
fn masked_keys_are_as_if_absent() {
    let mut rng = Rng(15);
    let (s, extra, heads, d) = (13, 6, 2, 9);
    let short = Case { qkv: rng.floats(s * heads * 27), mask: None, s, heads, d, dv: d };
    let mut qkv = short.qkv.clone();
    qkv.resize((s + extra) * heads * 27, f32::INFINITY);
    let mask = (0..s + extra).map(|j| u8::from(j < s)).collect();
    let long = Case { qkv, mask: Some(mask), s: s + extra, heads, d, dv: d };
    for isa in Isa::available() {
        for (attend, _) in BOTH {
            assert_eq!(bits(&long.run(attend, isa, 0..s)), bits(&short.run(attend, isa, 0..s)));
        }
    }
}

/// The definition of int8 attention of a sequence without a mask, with sums of 64 bits.
fn definition(case: &Case, scale: f32) -> Vec<f32> {
    let (width, hd, n) = (case.width(), case.heads * case.d, case.s);
    let at = |i: usize, c: usize| case.qkv[i * width + c];
    let step = |x: f32, size: f32| (x * (1.0 / size)).clamp(-127.0, 127.0).round_ties_even() as i64;
    let size = |x: &mut dyn Iterator<Item = f32>| {
        let size = x.fold(0.0f32, |m, v| m.max(v.abs())) / 127.0;
        if size >= f32::MIN_POSITIVE { size } else { 1.0 }
    };
    let mut out = vec![0.0; n * case.heads * case.dv];
    for h in 0..case.heads {
        let (q0, k0, v0) = (h * case.d, hd + h * case.d, 2 * hd + h * case.dv);
        let mean: Vec<f32> =
            (0..case.d).map(|c| (0..n).fold(0.0f32, |s, j| s + at(j, k0 + c)) / n as f32).collect();
        let key = |j: usize, c: usize| at(j, k0 + c) - mean[c];
        let key_size: Vec<f32> = (0..n).map(|j| size(&mut (0..case.d).map(|c| key(j, c)))).collect();
        let value_size: Vec<f32> = (0..case.dv).map(|c| size(&mut (0..n).map(|j| at(j, v0 + c)))).collect();
        for i in 0..n {
            let query_size = size(&mut (0..case.d).map(|c| at(i, q0 + c)));
            let scores: Vec<f32> = (0..n)
                .map(|j| {
                    let sum: i64 = (0..case.d)
                        .map(|c| step(at(i, q0 + c), query_size) * step(key(j, c), key_size[j]))
                        .sum();
                    (sum as f32 * (query_size * scale)) * key_size[j]
                })
                .collect();
            let max = scores.iter().fold(f32::MIN, |m, v| m.max(*v));
            let steps: Vec<i64> =
                scores.iter().map(|s| (math::exp(s - max) * 255.0).round_ties_even() as i64).collect();
            let inverse = 1.0 / steps.iter().sum::<i64>() as f32;
            for c in 0..case.dv {
                let sum: i64 = (0..n).map(|j| steps[j] * step(at(j, v0 + c), value_size[c])).sum();
                out[(i * case.heads + h) * case.dv + c] = (sum as f32 * inverse) * value_size[c];
            }
        }
    }
    out
}

#[test]
fn int8_attention_is_its_definition_on_ordinary_and_adversarial_values() {
    let mut rng = Rng(17);
    for round in 0..rounds(60) {
        let (most, widest) = if cfg!(miri) { (5, 5) } else { (150, 80) };
        let (s, heads) = (1 + rng.below(most), 1 + rng.below(2));
        let (d, dv) = (1 + rng.below(widest), 1 + rng.below(widest));
        let mut qkv = rng.floats(s * heads * (2 * d + dv));
        for x in &mut qkv {
            match round % 6 {
                1 => *x = [0.0, -0.0, 1e-42, -1e-39][rng.below(4)],
                2 => *x *= 1e18,
                3 => *x = [-3.0, 3.0][rng.below(2)],
                4 if rng.below(50) == 0 => *x *= 1e4,
                _ => {}
            }
        }
        let case = Case { qkv, mask: None, s, heads, d, dv };
        let want = bits(&definition(&case, 0.3));
        for isa in Isa::available() {
            assert_eq!(
                bits(&case.run(attention_i8, isa, 0..s)),
                want,
                "{isa}, round {round}, {s} x {d}, {dv}"
            );
        }
    }
}

#[test]
fn int8_attention_survives_what_is_not_finite_and_refuses_other_steps() {
    let mut rng = Rng(18);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        let (s, d) = (9, 7);
        let mut qkv = rng.floats(s * 3 * d);
        for x in qkv.iter_mut().step_by(5) {
            *x = bad;
        }
        let case = Case { qkv, mask: None, s, heads: 1, d, dv: d };
        let first = bits(&case.run(attention_i8, Isa::Generic, 0..s));
        for isa in others() {
            assert_eq!(bits(&case.run(attention_i8, isa, 0..s)), first, "{isa}, {bad}");
        }
    }
    let rows = Rows { data: &[0.5; 12], stride: 12, offset: 0 };
    let shape = Attention {
        queries: 1,
        keys: 1,
        heads: 1,
        head_dim: 4,
        value_dim: 4,
        scale: 1.0,
        mask: None,
        score_quant: Some(FakeQuant::u8(0.1, 3)),
        score_step: 1.0,
        probability_quant: &[],
    };
    let mut scratch = AttentionScratch::new();
    assert!(attention_i8(Isa::Generic, rows, rows, rows, &shape, &mut scratch, &mut [0.0; 4], 4).is_err());
}

#[test]
fn scores_of_integers_are_rounded_in_whole_steps() {
    // 5 * 0.5 is a tie, which goes to 2; -3 * 0.5 to -2; 100 * 0.5 is more than a byte above 230 holds.
    let keys = Rows { data: &[5.0, -3.0, 100.0], stride: 1, offset: 0 };
    let shape = Attention {
        queries: 1,
        keys: 3,
        heads: 1,
        head_dim: 1,
        value_dim: 1,
        scale: 0.5,
        mask: None,
        score_quant: Some(FakeQuant::u8(1.0, 230)),
        score_step: 0.125,
        probability_quant: &[],
    };
    let want = [2.0f64, -2.0, 25.0].map(|steps| (steps * 0.125).exp());
    for value in 0..3 {
        let mut values = [0.0; 3];
        values[value] = 1.0;
        let values = Rows { data: &values, stride: 1, offset: 0 };
        let one = Rows { data: &[1.0], stride: 1, offset: 0 };
        for isa in Isa::available() {
            let (mut scratch, mut out) = (AttentionScratch::new(), [0.0]);
            attention_f32(isa, one, keys, values, &shape, &mut scratch, &mut out, 1).unwrap();
            let want = want[value] / want.iter().sum::<f64>();
            assert!((f64::from(out[0]) - want).abs() < 1e-6, "{isa}: {} instead of {want}", out[0]);
        }
    }
}
