//! Float functions against references in `f64` and across instruction sets.

use super::*;

/// The error function: Taylor series near zero, continued fraction of erfc (Abramowitz and Stegun 7.1.14)
/// beyond.
fn erf64(x: f64) -> f64 {
    let a = x.abs();
    let y = if a < 2.5 {
        let (mut term, mut sum) = (a, a);
        for n in 1..80 {
            term *= -a * a / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    } else {
        let mut f = a;
        for n in (1..60).rev() {
            f = a + f64::from(n) / 2.0 / f;
        }
        1.0 - (-a * a).exp() / f / std::f64::consts::PI.sqrt()
    };
    y.copysign(x)
}

fn sweep(from: f32, to: f32) -> impl Iterator<Item = f32> {
    let n = if cfg!(miri) { 40 } else { 400_000 };
    (0..=n).map(move |i| from + (to - from) * (i as f32 / n as f32))
}

#[test]
fn the_reference_is_right() {
    for (x, y) in
        [(0.5, 0.520_499_877_813_046_5), (1.0, 0.842_700_792_949_714_9), (3.0, 0.999_977_909_503_001_4)]
    {
        assert!((erf64(x) - y).abs() < 1e-14, "{x}: {}", erf64(x));
    }
}

#[test]
fn exp_is_accurate() {
    for x in sweep(-86.8, 88.7).chain(sweep(-1.0, 1.0)) {
        let want = f64::from(x).exp();
        assert!((f64::from(math::exp(x)) / want - 1.0).abs() < 1.5e-7, "{x}");
    }
    // What is at most zero has a way of its own: every minus zero, negative number, minus infinity and NaN in steps.
    for bits in
        (0x8000_0000u32..=0xFFFF_FFFF).step_by(if cfg!(miri) { 1 << 22 } else { 997 }).chain([0, 0xFF80_0000])
    {
        let x = f32::from_bits(bits);
        let (a, b) = (math::exp(x), math::exp_below_zero(x));
        assert!(a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(), "{x}");
        assert!(b <= 1.0 || b.is_nan(), "{x}");
    }
    assert_eq!(math::exp(0.0), 1.0);
    assert_eq!(math::exp(f32::NEG_INFINITY), 0.0);
    assert_eq!(math::exp(-87.0), 0.0);
    assert_eq!(math::exp(f32::INFINITY), f32::INFINITY);
    assert_eq!(math::exp(88.73), f32::INFINITY);
    assert!(math::exp(f32::NAN).is_nan());
}

#[test]
fn erf_and_gelu_are_accurate() {
    let mut worst = [0.0f64; 3];
    for x in sweep(-10.0, 10.0).chain(sweep(-0.01, 0.01)) {
        let d = f64::from(x);
        worst[0] = worst[0].max((f64::from(math::erf(x)) - erf64(d)).abs());
        let gelu = 0.5 * d * (1.0 + erf64(d * std::f64::consts::FRAC_1_SQRT_2));
        worst[1] = worst[1].max((f64::from(math::gelu_erf(x)) - gelu).abs());
        let u = (2.0 / std::f64::consts::PI).sqrt() * (d + 0.044715 * d * d * d);
        worst[2] = worst[2].max((f64::from(math::gelu_tanh(x)) - 0.5 * d * (1.0 + u.tanh())).abs());
        assert_eq!(math::erf(-x), -math::erf(x));
    }
    assert!(worst[0] < 3.5e-7 && worst[1] < 1e-6 && worst[2] < 1e-6, "{worst:?}");
    for f in [math::gelu_erf, math::gelu_tanh] {
        assert_eq!(f(f32::NEG_INFINITY), 0.0);
        assert_eq!(f(f32::INFINITY), f32::INFINITY);
        assert_eq!((f(-1e30), f(1e10), f(0.0)), (0.0, 1e10, 0.0));
        assert!(f(f32::NAN).is_nan());
    }
    assert_eq!((math::erf(f32::INFINITY), math::erf(f32::NEG_INFINITY)), (1.0, -1.0));
    assert!(math::erf(f32::NAN).is_nan());
}

#[test]
fn tanh_and_sigmoid_are_accurate() {
    for x in sweep(-12.0, 12.0).chain(sweep(-0.7, 0.7)) {
        let want = f64::from(x).tanh();
        let error = (f64::from(math::tanh(x)) - want).abs();
        assert!(error <= 2e-7 * want.abs(), "{x} {error}");
        assert_eq!(math::tanh(-x), -math::tanh(x));
        let want = 1.0 / (1.0 + (-f64::from(x)).exp());
        assert!((f64::from(math::sigmoid(x)) / want - 1.0).abs() < 3e-7, "{x}");
    }
    assert_eq!((math::tanh(f32::INFINITY), math::tanh(f32::NEG_INFINITY)), (1.0, -1.0));
    assert_eq!((math::sigmoid(f32::INFINITY), math::sigmoid(f32::NEG_INFINITY)), (1.0, 0.0));
    assert_eq!(math::tanh(1e-20), 1e-20);
    assert!(math::tanh(f32::NAN).is_nan() && math::sigmoid(f32::NAN).is_nan());
}

#[test]
fn element_wise_is_the_same_on_every_isa() {
    let mut rng = Rng(11);
    let mut x: Vec<f32> = (0..rounds(3000)).map(|_| f32::from_bits(rng.next() as u32)).collect();
    x.extend(rng.floats(77).iter().map(|v| v * 5.0));
    use Activation::*;
    for isa in others() {
        for activation in [None, Relu, GeluErf, GeluTanh, Tanh, Sigmoid] {
            let (mut a, mut b) = (x.clone(), x.clone());
            activate(Isa::Generic, &mut a, activation);
            activate(isa, &mut b, activation);
            assert_eq!(bits(&a), bits(&b), "{isa} {activation:?}");
        }
        for f in [exp_slice, erf_slice] {
            let (mut a, mut b) = (x.clone(), x.clone());
            f(Isa::Generic, &mut a);
            f(isa, &mut b);
            assert_eq!(bits(&a), bits(&b), "{isa}");
        }
    }
}

#[test]
fn gemm_equals_a_plain_loop() {
    let mut rng = Rng(12);
    for _ in 0..rounds(60) {
        let most = if cfg!(miri) { 9 } else { 70 };
        let (m, n, k) = (1 + rng.below(9 + most / 3), 1 + rng.below(most), rng.below(most));
        let (x, w, b) = (rng.floats(m * k), rng.floats(n * k), rng.floats(n));
        let mut packed = vec![0.0; packed_len_f32(n, k).unwrap()];
        pack_f32(|r, c| w[c * k + r], n, k, &mut packed).unwrap();
        let packed = PackedF32::new(n, k, &packed).unwrap();
        let bias = (rng.below(2) == 0).then_some(&b[..]);
        let mut want = vec![0.0; m * n];
        for i in 0..m {
            for c in 0..n {
                let mut sum = 0.0;
                for r in 0..k {
                    sum += x[i * k + r] * w[c * k + r];
                }
                want[i * n + c] = math::gelu_erf(bias.map_or(sum, |b| sum + b[c]));
            }
        }
        for isa in Isa::available() {
            let mut out = vec![f32::NAN; m * n];
            gemm_f32(isa, &x, m, &packed, bias, Activation::GeluErf, &mut out).unwrap();
            assert_eq!(bits(&out), bits(&want), "{isa} {m} {n} {k}");
        }
    }
}

#[test]
fn layer_norm_is_accurate_and_the_same() {
    let mut rng = Rng(13);
    for round in 0..rounds(40) {
        let (m, h) =
            (1 + rng.below(4), if round % 2 == 0 { 1 + rng.below(200) } else { 32 * (1 + rng.below(6)) });
        let (x, r, g, b) = (rng.floats(m * h), rng.floats(m * h), rng.floats(h), rng.floats(h));
        let mut first = Vec::new();
        for isa in Isa::available() {
            let mut out = vec![0.0; m * h];
            layer_norm(isa, &x, Some(&r), h, &g, &b, 1e-12, &mut out).unwrap();
            let mut same = x.clone();
            layer_norm_in_place(isa, &mut same, Some(&r), h, &g, &b, 1e-12).unwrap();
            assert_eq!(bits(&out), bits(&same));
            for i in 0..m {
                let y: Vec<f64> = (i * h..(i + 1) * h).map(|j| f64::from(x[j] + r[j])).collect();
                let mean = y.iter().sum::<f64>() / h as f64;
                let var = y.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / h as f64;
                for c in 0..h {
                    let want = (y[c] - mean) / (var + 1e-12).sqrt() * f64::from(g[c]) + f64::from(b[c]);
                    assert!(h < 3 || (f64::from(out[i * h + c]) - want).abs() < 1e-4, "{want}");
                }
            }
            if first.is_empty() {
                first = bits(&out);
            }
            assert_eq!(bits(&out), first, "{isa}");
        }
    }
}

#[test]
fn softmax_rows_sums_to_one_and_is_attentions_order() {
    let mut rng = Rng(16);
    for k in 1..rounds(50) {
        let x = rng.floats(3 * k);
        let mut first = x.clone();
        softmax_rows(Isa::Generic, &mut first, k).unwrap();
        for isa in others() {
            let mut y = x.clone();
            softmax_rows(isa, &mut y, k).unwrap();
            assert_eq!(bits(&y), bits(&first));
        }
        for row in first.chunks(k) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }
}

#[test]
fn steps_are_those_of_fake_quant() {
    // With a power of two as scale fake quantization loses nothing, so both can be compared.
    let x: Vec<f32> = sweep(-40.0, 40.0).step_by(7).chain([f32::NAN, 0.125, 0.375, 0.374_999_97]).collect();
    for isa in Isa::available() {
        for quant in [FakeQuant::u8(0.25, 131), FakeQuant::i8(0.125, -7)] {
            for ties in [false, true] {
                let (mut steps, mut same) = (x.clone(), x.clone());
                quant_steps(isa, &mut steps, quant, ties);
                (if ties { fake_quant_ties } else { fake_quant })(isa, &mut same, quant);
                assert!(steps.iter().zip(&same).all(|(s, y)| s * quant.scale == *y), "{isa}");
                assert!(steps.iter().all(|s| s.fract() == 0.0 && s.abs() <= 255.0), "{isa}");
            }
        }
    }
}

#[test]
fn pooling() {
    for isa in Isa::available() {
        let x = [1.0, 2.0, 3.0, 4.0, 100.0, 100.0];
        let mut out = [0.0; 2];
        mean_pool(isa, &x, 2, Some(&[1, 1, 0]), &mut out).unwrap();
        assert_eq!(out, [2.0, 3.0]);
        mean_pool(isa, &x, 2, Some(&[0, 0, 0]), &mut out).unwrap();
        assert_eq!(out, [0.0, 0.0]);
        let mut x = [3.0, 4.0, 0.0, 0.0];
        l2_normalize(isa, &mut x, 2).unwrap();
        assert_eq!(x, [0.6, 0.8, 0.0, 0.0]);
        let mut a = [1.0, 2.0];
        add_in_place(isa, &mut a, &[0.5, 0.25]);
        assert_eq!(a, [1.5, 2.25]);
    }
}
