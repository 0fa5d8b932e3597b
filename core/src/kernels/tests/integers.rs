//! Packing, quantisation and the int8 linear layer.

use super::*;

/// A layer of random or extreme content that owns its slices.
struct Layer {
    packed: Vec<i8>,
    n: usize,
    k: usize,
    scale: Vec<f32>,
    zero: Option<Vec<i32>>,
    col_sum: Vec<i32>,
    bias: Option<Vec<f32>>,
    activation: Activation,
}

impl Layer {
    fn new(rng: &mut Rng, n: usize, k: usize, split: Option<usize>, extreme: bool) -> Layer {
        let mut packed = vec![0; packed_len(n, k).unwrap()];
        let values: Vec<i8> =
            (0..n * k).map(|_| if extreme { [-128, -127, 127, 0][rng.below(4)] } else { rng.i8() }).collect();
        pack_i8(|r, c| values[c * k + r], n, k, &mut packed).unwrap();
        let w = PackedI8::new(n, k, &packed).unwrap();
        let at = split.unwrap_or(k);
        let mut col_sum = column_sums(&w, 0..at);
        if split.is_some() {
            col_sum.extend(column_sums(&w, at..k));
        }
        let scales = if rng.below(3) == 0 { 1 } else { n };
        let zeros = if rng.below(3) == 0 { 1 } else { n };
        use Activation::*;
        Layer {
            n,
            k,
            scale: (0..scales).map(|_| rng.unit().abs() * 0.01 + 1e-4).collect(),
            zero: (rng.below(2) == 0).then(|| (0..zeros).map(|_| i32::from(rng.i8())).collect()),
            col_sum,
            bias: (rng.below(3) > 0).then(|| rng.floats(n)),
            activation: [None, Relu, GeluErf, GeluTanh, Tanh, Sigmoid][rng.below(6)],
            packed,
        }
    }

    fn view(&self) -> LinearI8<'_> {
        LinearI8 {
            weights: PackedI8::new(self.n, self.k, &self.packed).unwrap(),
            scale: &self.scale,
            zero: self.zero.as_deref(),
            col_sum: &self.col_sum,
            bias: self.bias.as_deref(),
            activation: self.activation,
        }
    }

    /// The definition, from 64-bit sums.
    fn reference(&self, x: &QuantRows, m: usize) -> Vec<f32> {
        let w = self.view();
        let split = x.split().unwrap_or(self.k);
        let per = |v: &[f32], c: usize| if v.len() == 1 { v[0] } else { v[c] };
        (0..self.n)
            .map(|c| {
                let zero = self.zero.as_ref().map_or(0, |z| if z.len() == 1 { z[0] } else { z[c] });
                let sum = |s: usize, range: std::ops::Range<usize>| -> f32 {
                    let q = x.quant(m, s);
                    let sum: i64 = range
                        .map(|r| {
                            i64::from(i32::from(x.row(m)[r]) - q.zero)
                                * i64::from(i32::from(w.weights.get(r, c)) - zero)
                        })
                        .sum();
                    i32::try_from(sum).unwrap() as f32 * q.scale
                };
                let mut y = sum(0, 0..split);
                if x.split().is_some() {
                    y += sum(1, split..self.k);
                }
                y *= per(&self.scale, c);
                if let Some(b) = &self.bias {
                    y += b[c];
                }
                match self.activation {
                    Activation::None => y,
                    Activation::Relu => math::relu(y),
                    Activation::GeluErf => math::gelu_erf(y),
                    Activation::GeluTanh => math::gelu_tanh(y),
                    Activation::Tanh => math::tanh(y),
                    Activation::Sigmoid => math::sigmoid(y),
                }
            })
            .collect()
    }
}

const MODES: [ActQuant; 5] = [
    ActQuant::PerToken,
    ActQuant::PerTokenSymmetric,
    ActQuant::PerTensor,
    ActQuant::Static { scale: 0.02, zero_point: 117, signed: false },
    ActQuant::Static { scale: 0.03, zero_point: -5, signed: true },
];

#[test]
fn packing_goes_there_and_back() {
    let mut rng = Rng(1);
    for _ in 0..rounds(40) {
        let most = if cfg!(miri) { 20 } else { 150 };
        let (n, k) = (1 + rng.below(most / 2), 1 + rng.below(most));
        let values: Vec<i8> = (0..n * k).map(|_| rng.i8()).collect();
        let mut packed = vec![99; packed_len(n, k).unwrap()];
        pack_i8(|r, c| values[c * k + r], n, k, &mut packed).unwrap();
        let w = PackedI8::new(n, k, &packed).unwrap();
        let mut back = vec![0; n * k];
        unpack_i8(&w, |r, c, v| back[c * k + r] = v);
        assert_eq!(back, values);
        assert!((0..n).all(|c| (0..k).all(|r| w.get(r, c) == values[c * k + r])));
        // Padding is zero, so the whole sums to what the values sum to.
        let sum = |v: &[i8]| v.iter().map(|v| i64::from(*v)).sum::<i64>();
        assert_eq!(sum(&packed), sum(&values));
        let from = rng.below(k);
        let sums = column_sums(&w, from..k);
        for c in 0..n {
            assert_eq!(sums[c], values[c * k + from..(c + 1) * k].iter().map(|v| i32::from(*v)).sum::<i32>());
        }
    }
}

#[test]
fn the_layout_is_the_documented_one() {
    let mut packed = vec![0; packed_len(17, 65).unwrap()];
    assert_eq!(packed.len(), 32 * 128);
    pack_i8(
        |k, n| {
            if (k, n) == (6, 3) {
                1
            } else if (k, n) == (64, 16) {
                2
            } else {
                0
            }
        },
        17,
        65,
        &mut packed,
    )
    .unwrap();
    // [N/16][K/4][16][4]: panel 0, quad 1, column 3, byte 2; panel 1, quad 16, column 0, byte 0.
    assert_eq!(packed[64 + 3 * 4 + 2], 1);
    assert_eq!(packed[128 * 16 + 16 * 64], 2);
}

#[test]
fn wrong_sizes_are_errors() {
    assert_eq!(packed_len(16, MAX_K_TOO_LARGE), None);
    assert_eq!(packed_len(usize::MAX - 3, 64), None);
    assert!(PackedI8::new(16, 64, &[0; 1023]).is_err());
    assert!(PackedI8::from_bytes(16, 64, &[0; 1024]).is_ok());
    let mut q = QuantRows::new();
    let x = [0.0; 128];
    let quantize = |m, k, split, order: Option<&[u16]>, q: &mut QuantRows| {
        quantize_rows(Isa::Generic, &x, m, k, split, order, &ActQuant::PerToken, q)
    };
    assert!(quantize(2, 65, None, None, &mut q).is_err());
    assert!(quantize(1, 128, Some(63), None, &mut q).is_err());
    assert!(quantize(1, 128, Some(128), None, &mut q).is_err());
    assert!(quantize(2, 64, None, Some(&[64; 64]), &mut q).is_err());
    assert!(quantize(2, 64, None, Some(&[0; 63]), &mut q).is_err());
    quantize(2, 64, None, None, &mut q).unwrap();
    let mut rng = Rng(4);
    let layer = Layer::new(&mut rng, 16, 64, None, false);
    assert!(linear_i8(Isa::Generic, &q, &layer.view(), &mut [0.0; 31]).is_err());
    assert!(linear_i8_rows(Isa::Generic, &q, 1..3, &layer.view(), &mut [0.0; 32]).is_err());
    linear_i8_rows(Isa::Generic, &q, 1..2, &layer.view(), &mut [0.0; 16]).unwrap();
    quantize(1, 128, Some(64), None, &mut q).unwrap();
    assert!(linear_i8(Isa::Generic, &q, &layer.view(), &mut [0.0; 16]).is_err());
    let short = LinearI8 { bias: Some(&[0.0; 15]), ..layer.view() };
    assert!(short.check(1).is_err());
}

const MAX_K_TOO_LARGE: usize = pack::MAX_K + 1;

#[test]
fn the_linear_layer_equals_its_definition_on_every_isa() {
    let mut rng = Rng(2);
    for round in 0..rounds(150) {
        let (m, n) = (
            1 + rng.below(if cfg!(miri) { 3 } else { 20 }),
            1 + rng.below(if cfg!(miri) { 20 } else { 150 }),
        );
        let k = 1 + rng.below(if cfg!(miri) { 70 } else { 300 });
        let split = (k > 64 && rng.below(2) == 0).then(|| 64 * (1 + rng.below((k - 1) / 64)));
        let x = match round % 4 {
            0 => (0..m * k)
                .map(|_| [f32::MAX, f32::MIN, 0.0, 1.0, -3e-39, f32::MIN_POSITIVE][rng.below(6)])
                .collect(),
            1 => (0..m * k).map(|_| if rng.below(2) == 0 { 9.0 } else { -0.01 }).collect(),
            _ => rng.floats(m * k),
        };
        let layer = Layer::new(&mut rng, n, k, split, round % 3 == 0);
        let mode = MODES[rng.below(MODES.len())];
        let mut q = QuantRows::new();
        quantize_rows(Isa::Generic, &x, m, k, split, None, &mode, &mut q).unwrap();
        let mut want = Vec::new();
        for row in 0..m {
            want.extend(layer.reference(&q, row));
        }
        for isa in Isa::available() {
            let mut same = QuantRows::new();
            quantize_rows(isa, &x, m, k, split, None, &mode, &mut same).unwrap();
            assert!((0..m).all(|r| same.row(r) == q.row(r)), "{isa} {mode:?}");
            assert!((0..m * q.segments()).all(|i| {
                let (a, b) = (
                    same.quant(i / q.segments(), i % q.segments()),
                    q.quant(i / q.segments(), i % q.segments()),
                );
                (a.zero, a.sum, a.scale.to_bits()) == (b.zero, b.sum, b.scale.to_bits())
            }));
            let mut out = vec![f32::NAN; m * n];
            linear_i8(isa, &same, &layer.view(), &mut out).unwrap();
            assert_eq!(bits(&out), bits(&want), "{isa} m {m} n {n} k {k} split {split:?} {mode:?}");
            // Any split of the rows gives the same.
            let cut = rng.below(m + 1);
            let (head, tail) = out.split_at_mut(cut * n);
            linear_i8_rows(isa, &same, 0..cut, &layer.view(), head).unwrap();
            linear_i8_rows(isa, &same, cut..m, &layer.view(), tail).unwrap();
            assert_eq!(bits(&out), bits(&want), "{isa} cut at {cut}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "large")]
fn sums_are_exact_at_the_limit() {
    let k = pack::MAX_K;
    let mut packed = vec![0; packed_len(2, k).unwrap()];
    pack_i8(|_, n| if n == 0 { -128 } else { 127 }, 2, k, &mut packed).unwrap();
    let weights = PackedI8::new(2, k, &packed).unwrap();
    let col_sum = column_sums(&weights, 0..k);
    let w = LinearI8 {
        weights,
        scale: &[1.0],
        zero: None,
        col_sum: &col_sum,
        bias: None,
        activation: Activation::None,
    };
    for (zero_point, value, step) in [(0, 1e9, 255), (255, -1e9, -255)] {
        let mode = ActQuant::Static { scale: 1.0, zero_point, signed: false };
        for isa in Isa::available() {
            let mut q = QuantRows::new();
            quantize_rows(isa, &vec![value; k], 1, k, None, None, &mode, &mut q).unwrap();
            let mut out = [0.0; 2];
            linear_i8(isa, &q, &w, &mut out).unwrap();
            let k = k as i32;
            assert_eq!(out, [(step * -128 * k) as f32, (step * 127 * k) as f32], "{isa}");
        }
    }
}

#[test]
fn weights_at_any_alignment() {
    let mut rng = Rng(3);
    let layer = Layer::new(&mut rng, 33, 70, None, false);
    let x = rng.floats(3 * 70);
    let mut q = QuantRows::new();
    quantize_rows(Isa::Generic, &x, 3, 70, None, None, &ActQuant::PerToken, &mut q).unwrap();
    let mut want = vec![0.0; 99];
    linear_i8(Isa::Generic, &q, &layer.view(), &mut want).unwrap();
    for isa in Isa::available() {
        for shift in 0..rounds(8) {
            let mut moved = vec![0; shift];
            moved.extend_from_slice(&layer.packed);
            let w = LinearI8 { weights: PackedI8::new(33, 70, &moved[shift..]).unwrap(), ..layer.view() };
            let mut out = vec![0.0; 99];
            linear_i8(isa, &q, &w, &mut out).unwrap();
            assert_eq!(bits(&out), bits(&want), "{isa} shift {shift}");
        }
    }
}

#[test]
fn quantisation_is_onnx_on_known_values() {
    for isa in Isa::available() {
        let mut q = QuantRows::new();
        // The example of the ONNX operator DynamicQuantizeLinear.
        let x = [0.0, 2.0, -3.0, -2.5, 1.34, 0.5];
        // Per token, -2.5 is a tie and multiplying by the inverse takes its other side.
        for (mode, fourth) in [(ActQuant::PerToken, 25), (ActQuant::PerTensor, 26)] {
            quantize_rows(isa, &x, 1, 6, None, None, &mode, &mut q).unwrap();
            assert_eq!(q.row(0), [153, 255, 0, fourth, 221, 179]);
            let sum = 808 + i32::from(fourth);
            assert_eq!(q.quant(0, 0), RowQuant { scale: 5.0 / 255.0, zero: 153, sum });
        }
        // The example of QuantizeLinear, and ties: 1.5 and 2.5 both go to 2.
        let x = [0.0, 2.0, 3.0, 1000.0, -254.0, -1000.0, 5.0, 3.0, f32::NAN, f32::INFINITY];
        let mode = ActQuant::Static { scale: 2.0, zero_point: 128, signed: false };
        quantize_rows(isa, &x, 1, 10, None, None, &mode, &mut q).unwrap();
        assert_eq!(q.row(0), [128, 129, 130, 255, 1, 0, 130, 130, 0, 255]);
        let mode = ActQuant::Static { scale: 2.0, zero_point: 0, signed: true };
        quantize_rows(isa, &x, 1, 10, None, None, &mode, &mut q).unwrap();
        assert_eq!(q.row(0), [128, 129, 130, 255, 1, 0, 130, 130, 0, 255]);
        quantize_rows(isa, &[1.0, -127.0, 63.5, 0.5], 1, 4, None, None, &ActQuant::PerTokenSymmetric, &mut q)
            .unwrap();
        assert_eq!(q.row(0), [129, 1, 192, 128]);
        // A row of zeros, denormal numbers or NaN is exact zeros.
        for x in [[0.0; 4], [-0.0; 4], [1e-40; 4], [-1e-39; 4], [f32::NAN; 4]] {
            for mode in [ActQuant::PerToken, ActQuant::PerTokenSymmetric, ActQuant::PerTensor] {
                quantize_rows(isa, &x, 1, 4, None, None, &mode, &mut q).unwrap();
                let mut y = [9.0; 4];
                q.dequantize_row(0, &mut y);
                if !x[0].is_nan() {
                    assert_eq!(y, [0.0; 4], "{isa} {x:?} {mode:?}");
                } else {
                    assert!(y.iter().all(|v| v.is_finite()));
                }
            }
        }
        quantize_rows(
            isa,
            &[f32::INFINITY, 1.0, f32::NEG_INFINITY],
            1,
            3,
            None,
            None,
            &ActQuant::PerToken,
            &mut q,
        )
        .unwrap();
    }
}

#[test]
fn quantisation_is_close_and_segments_are_their_own() {
    let mut rng = Rng(5);
    for round in 0..rounds(60) {
        let (m, k) = (1 + rng.below(5), 65 + rng.below(if cfg!(miri) { 10 } else { 200 }));
        let split = 64 * (1 + rng.below((k - 1) / 64));
        let mut x = rng.floats(m * k);
        for row in x.chunks_exact_mut(k) {
            row[split..].iter_mut().for_each(|v| *v *= 100.0);
        }
        let mut order: Vec<u16> = (0..k as u16).collect();
        for i in (1..k).rev() {
            order.swap(i, rng.below(i + 1));
        }
        let mut shuffled = vec![0.0; m * k];
        for (to, from) in shuffled.chunks_exact_mut(k).zip(x.chunks_exact(k)) {
            for (i, &o) in order.iter().enumerate() {
                to[usize::from(o)] = from[i];
            }
        }
        let mode = MODES[round % 3];
        for isa in Isa::available() {
            let (mut plain, mut ordered) = (QuantRows::new(), QuantRows::new());
            quantize_rows(isa, &x, m, k, Some(split), None, &mode, &mut plain).unwrap();
            quantize_rows(isa, &shuffled, m, k, Some(split), Some(&order), &mode, &mut ordered).unwrap();
            let mut y = vec![0.0; k];
            for row in 0..m {
                assert_eq!(plain.row(row), ordered.row(row));
                assert_eq!(plain.quant(row, 1), ordered.quant(row, 1));
                for s in 0..2 {
                    let range = if s == 0 { 0..split } else { split..k };
                    let sum: i32 = plain.row(row)[range].iter().map(|q| i32::from(*q)).sum();
                    assert_eq!(plain.quant(row, s).sum, sum);
                }
                plain.dequantize_row(row, &mut y);
                for (i, (a, b)) in y.iter().zip(&x[row * k..]).enumerate() {
                    let step = plain.quant(row, usize::from(i >= split)).scale;
                    assert!((a - b).abs() <= step * 0.5001 + 1e-6, "{a} {b} {step}");
                }
            }
        }
    }
}

#[test]
fn fake_quant_and_embedding_rows() {
    let mut rng = Rng(6);
    let x: Vec<f32> = (0..500).map(|_| rng.normal() * 3.0).collect();
    for isa in Isa::available() {
        let mut y = x.clone();
        fake_quant(isa, &mut y, FakeQuant::i8(0.02, -7));
        for (y, x) in y.iter().zip(&x) {
            let q = ((x / 0.02).round_ties_even() as i32 - 7).clamp(-128, 127);
            assert_eq!(*y, (q + 7) as f32 * 0.02);
        }
        let row: Vec<i8> = (0..77).map(|_| rng.i8()).collect();
        let mut y = vec![0.0; 77];
        dequantize_embedding(isa, &row, 0.03, -4, &mut y);
        assert!(y.iter().zip(&row).all(|(y, q)| *y == (i32::from(*q) + 4) as f32 * 0.03));
    }
}

#[test]
fn near_ties_are_ties() {
    // Half-integer steps, missed by a rounding error, go to the even neighbour; others as always.
    let quant = FakeQuant::u8(0.1, 0);
    for isa in Isa::available() {
        let mut y: Vec<f32> =
            vec![0.25, 0.250_000_1, 0.249_999_9, 0.35, 0.350_000_1, 0.26, -5.0, 99.0, f32::NAN];
        fake_quant_ties(isa, &mut y, quant);
        let steps: Vec<f32> = y.iter().map(|y| (y / 0.1).round()).collect();
        assert_eq!(steps, [2.0, 2.0, 2.0, 4.0, 4.0, 3.0, 0.0, 255.0, 0.0], "{isa}");
    }
}

/// Long rows, so that a kernel that works K off in pieces meets its seams, and more rows than any tile has.
#[test]
#[cfg_attr(miri, ignore = "large")]
fn tall_and_long_layers_equal_the_generic_kernel() {
    let mut rng = Rng(21);
    for (m, n, k, split) in [
        (1, 70, 3072, Some(3008)),
        (2, 33, 1088, None),
        (3, 16, 2050, Some(1024)),
        (25, 48, 1025, None),
        (31, 17, 520, Some(64)),
        (50, 80, 577, Some(512)),
        (65, 65, 64, None),
        (64, 16, 832, None),
        (127, 32, 1216, Some(1152)),
    ] {
        for extreme in [false, true] {
            let layer = Layer::new(&mut rng, n, k, split, extreme);
            let x: Vec<f32> = if extreme {
                // Steps of 0 and 255 alone.
                (0..m * k).map(|_| if rng.below(8) == 0 { 1.0 } else { -1.0 }).collect()
            } else {
                rng.floats(m * k)
            };
            let mut q = QuantRows::new();
            quantize_rows(Isa::Generic, &x, m, k, split, None, &ActQuant::PerToken, &mut q).unwrap();
            let mut want = vec![0.0; m * n];
            linear_i8(Isa::Generic, &q, &layer.view(), &mut want).unwrap();
            for isa in others() {
                let mut out = vec![f32::NAN; m * n];
                linear_i8(isa, &q, &layer.view(), &mut out).unwrap();
                assert_eq!(bits(&out), bits(&want), "{isa} m {m} n {n} k {k} extreme {extreme}");
            }
        }
    }
}

/// What is special about floats reaches GELU from the bias: what writes it by hand must not differ there either.
#[test]
fn finished_sums_are_the_generic_ones_for_every_float() {
    let mut rng = Rng(22);
    let special =
        [0.0, -0.0, 1e-40, 5.6, -5.6, -13.9, -14.1, 1e9, -1e9, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    for (m, split) in [(1, None), (2, None), (5, Some(64)), (9, None), (9, Some(64))] {
        for activation in [Activation::None, Activation::GeluErf] {
            let (n, k) = (40, 128);
            let mut layer = Layer::new(&mut rng, n, k, split, false);
            let mut bias = rng.floats(n);
            bias[3..3 + special.len()].copy_from_slice(&special);
            bias[20..20 + special.len()].copy_from_slice(&special);
            (layer.zero, layer.bias, layer.activation) = (None, Some(bias), activation);
            let mut q = QuantRows::new();
            let x = rng.floats(m * k);
            quantize_rows(Isa::Generic, &x, m, k, split, None, &ActQuant::PerToken, &mut q).unwrap();
            let want: Vec<f32> = (0..m).flat_map(|row| layer.reference(&q, row)).collect();
            for isa in Isa::available() {
                let mut out = vec![0.0; m * n];
                linear_i8(isa, &q, &layer.view(), &mut out).unwrap();
                assert_eq!(bits(&out), bits(&want), "{isa} m {m} split {split:?} {activation:?}");
            }
        }
    }
}

/// NaN of either kind, infinities and zeros of both signs anywhere in rows of whole vectors and a tail.
#[test]
fn odd_floats_become_the_same_steps_on_every_isa() {
    let mut rng = Rng(23);
    let odd = [
        f32::NAN,
        f32::from_bits(0x7F80_0001),
        f32::from_bits(0xFFC0_0001),
        f32::INFINITY,
        f32::NEG_INFINITY,
        -0.0,
        0.0,
        1e-40,
        f32::MAX,
    ];
    for round in 0..rounds(60) {
        let k = 1 + rng.below(if cfg!(miri) { 40 } else { 4500 });
        let mut x = rng.floats(k);
        for _ in 0..round % 5 {
            x[rng.below(k)] = odd[rng.below(odd.len())];
        }
        for mode in MODES {
            let mut want = QuantRows::new();
            quantize_rows(Isa::Generic, &x, 1, k, None, None, &mode, &mut want).unwrap();
            for isa in Isa::available() {
                let mut q = QuantRows::new();
                quantize_rows(isa, &x, 1, k, None, None, &mode, &mut q).unwrap();
                let (a, b) = (q.quant(0, 0), want.quant(0, 0));
                assert_eq!(q.row(0), want.row(0), "{isa} {mode:?} k {k}");
                assert_eq!(
                    (a.zero, a.sum, a.scale.to_bits()),
                    (b.zero, b.sum, b.scale.to_bits()),
                    "{isa} {mode:?}"
                );
            }
        }
    }
}
