//! A fixed workload whose bits are pinned: the same constant must come out on every CPU.

use super::*;

/// FNV-1a over the bits (NaN as one value).
fn hash(mut h: u64, x: &[f32]) -> u64 {
    for b in bits(x) {
        for byte in b.to_le_bytes() {
            h = (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
    h
}

/// A small encoder layer with every kind of kernel in it.
fn workload(isa: Isa) -> u64 {
    let mut rng = Rng(20_26);
    let mut h = 0xCBF2_9CE4_8422_2325;
    let (s, hidden, heads, inner) = (19, 144, 3, 208);
    let mut x = rng.floats(s * hidden);
    let modes = [
        ActQuant::PerToken,
        ActQuant::PerTokenSymmetric,
        ActQuant::PerTensor,
        ActQuant::Static { scale: 0.025, zero_point: 120, signed: false },
    ];
    let mut q = QuantRows::new();
    let mut linear = |x: &[f32], n: usize, k: usize, split: Option<usize>, i: usize, act| -> Vec<f32> {
        let mut packed = vec![0; packed_len(n, k).unwrap()];
        let values: Vec<i8> = (0..n * k).map(|_| rng.i8()).collect();
        pack_i8(|r, c| values[c * k + r], n, k, &mut packed).unwrap();
        let weights = PackedI8::new(n, k, &packed).unwrap();
        let mut col_sum = column_sums(&weights, 0..split.unwrap_or(k));
        col_sum.extend(split.map(|at| column_sums(&weights, at..k)).unwrap_or_default());
        let (scale, bias) = ((0..n).map(|_| rng.unit() * 1e-3).collect::<Vec<_>>(), rng.floats(n));
        let zero: Vec<i32> = (0..n).map(|_| i32::from(rng.i8()) / 8).collect();
        let w = LinearI8 {
            weights,
            scale: &scale,
            zero: (i == 2).then_some(&zero[..]),
            col_sum: &col_sum,
            bias: Some(&bias),
            activation: act,
        };
        let m = x.len() / k;
        quantize_rows(isa, x, m, k, split, None, &modes[i], &mut q).unwrap();
        let mut out = vec![0.0; m * n];
        linear_i8(isa, &q, &w, &mut out).unwrap();
        out
    };
    let qkv = linear(&x, 3 * hidden, hidden, Some(128), 0, Activation::None);
    h = hash(h, &qkv);
    let side = |offset| Rows { data: &qkv, stride: 3 * hidden, offset };
    let mask: Vec<u8> = (0..s).map(|j| u8::from(j % 5 != 4)).collect();
    let shape = Attention {
        queries: s,
        keys: s,
        heads,
        head_dim: hidden / heads,
        value_dim: hidden / heads,
        scale: 1.0 / (hidden as f32 / heads as f32).sqrt(),
        mask: Some(&mask),
        score_quant: None,
        score_step: 1.0,
        probability_quant: &[],
    };
    let mut context = vec![0.0; s * hidden];
    let mut scratch = AttentionScratch::new();
    attention_f32(isa, side(0), side(hidden), side(2 * hidden), &shape, &mut scratch, &mut context, hidden)
        .unwrap();
    h = hash(h, &context);
    let y = linear(&context, hidden, hidden, None, 1, Activation::None);
    let (gamma, beta) = (vec![0.9; hidden], vec![0.01; hidden]);
    layer_norm_in_place(isa, &mut x, Some(&y), hidden, &gamma, &beta, 1e-12).unwrap();
    h = hash(h, &x);
    let up = linear(&x, inner, hidden, None, 2, Activation::GeluErf);
    let down = linear(&up, hidden, inner, None, 3, Activation::GeluTanh);
    h = hash(hash(h, &up), &down);
    layer_norm_in_place(isa, &mut x, Some(&down), hidden, &gamma, &beta, 1e-5).unwrap();
    fake_quant(isa, &mut x, FakeQuant::u8(0.03, 131));
    let mut packed = vec![0.0; packed_len_f32(5, hidden).unwrap()];
    pack_f32(|k, n| (k as f32 - 70.0) * 0.01 + n as f32 * 0.1, 5, hidden, &mut packed).unwrap();
    let head = PackedF32::new(5, hidden, &packed).unwrap();
    let mut logits = vec![0.0; s * 5];
    gemm_f32(isa, &x, s, &head, Some(&[0.1, 0.2, 0.3, 0.4, 0.5]), Activation::Tanh, &mut logits).unwrap();
    softmax_rows(isa, &mut logits, 5).unwrap();
    let mut pooled = vec![0.0; hidden];
    mean_pool(isa, &x, hidden, Some(&mask), &mut pooled).unwrap();
    l2_normalize(isa, &mut pooled, hidden).unwrap();
    hash(hash(hash(h, &x), &logits), &pooled)
}

/// Changes only when the definition of a kernel changes, and then on every CPU at once.
const PINNED: u64 = 0xB955_B986_C77A_A7CA;

#[test]
#[cfg_attr(miri, ignore = "slow there, and Miri has the generic kernels alone")]
fn the_bits_are_the_pinned_ones_on_every_isa() {
    for isa in Isa::available() {
        assert_eq!(workload(isa), PINNED, "{isa}: {:#018X}", workload(isa));
    }
}
