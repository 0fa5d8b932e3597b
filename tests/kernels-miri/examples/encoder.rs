//! DistilBERT's layers on random weights by the kernels alone, to count instructions: `encoder KERNEL TOKENS RUNS`.
//! Two layers of 768 channels, 12 heads and 3,072 inner channels; every row of every layer is computed.

use pocketbert_kernels_miri::kernels::*;

const H: usize = 768;
const INNER: usize = 3072;
const LAYERS: usize = 2;

struct Weights {
    n: usize,
    k: usize,
    packed: Vec<i8>,
    scale: Vec<f32>,
    bias: Vec<f32>,
    col_sum: Vec<i32>,
}

impl Weights {
    fn new(n: usize, k: usize) -> Self {
        let mut state = 1u32;
        let packed: Vec<i8> = (0..packed_len(n, k).unwrap())
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((state >> 24) as i8).max(-127)
            })
            .collect();
        let col_sum = column_sums(&PackedI8::new(n, k, &packed).unwrap(), 0..k);
        Weights { n, k, packed, scale: vec![4e-4; n], bias: vec![0.01; n], col_sum }
    }

    fn apply(&self, isa: Isa, x: &[f32], m: usize, activation: Activation, q: &mut QuantRows, out: &mut [f32]) {
        quantize_rows(isa, x, m, self.k, None, None, &ActQuant::PerToken, q).unwrap();
        let w = LinearI8 {
            weights: PackedI8::new(self.n, self.k, &self.packed).unwrap(),
            scale: &self.scale,
            zero: None,
            col_sum: &self.col_sum,
            bias: Some(&self.bias),
            activation,
        };
        linear_i8(isa, q, &w, out).unwrap();
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let isa = Isa::parse(&args[1]).unwrap();
    assert!(isa.is_available(), "this CPU lacks {isa}");
    let (m, runs): (usize, usize) = (args[2].parse().unwrap(), args[3].parse().unwrap());
    let [qkv, o, up, down] = [(3 * H, H), (H, H), (INNER, H), (H, INNER)].map(|(n, k)| Weights::new(n, k));
    let (gamma, beta) = (vec![1.0; H], vec![0.0; H]);
    let mut q = QuantRows::new();
    let mut scratch = AttentionScratch::new();
    let (mut h3, mut context, mut y, mut inner) =
        (vec![0.0; m * 3 * H], vec![0.0; m * H], vec![0.0; m * H], vec![0.0; m * INNER]);
    let mut x: Vec<f32> = (0..m * H).map(|i| ((i * 7919) % 1001) as f32 / 500.0 - 1.0).collect();
    let shape = Attention {
        queries: m,
        keys: m,
        heads: 12,
        head_dim: 64,
        value_dim: 64,
        scale: 0.125,
        mask: None,
        score_quant: None,
        score_step: 1.0,
        probability_quant: &[],
    };
    for _ in 0..runs * LAYERS {
        qkv.apply(isa, &x, m, Activation::None, &mut q, &mut h3);
        let rows = |offset| Rows { data: &h3, stride: 3 * H, offset };
        attention_i8(isa, rows(0), rows(H), rows(2 * H), &shape, &mut scratch, &mut context, H).unwrap();
        o.apply(isa, &context, m, Activation::None, &mut q, &mut y);
        layer_norm_in_place(isa, &mut x, Some(&y), H, &gamma, &beta, 1e-12).unwrap();
        up.apply(isa, &x, m, Activation::GeluErf, &mut q, &mut inner);
        down.apply(isa, &inner, m, Activation::None, &mut q, &mut y);
        layer_norm_in_place(isa, &mut x, Some(&y), H, &gamma, &beta, 1e-12).unwrap();
    }
    // The same on every kernel and CPU.
    println!("{:#018x}", x.iter().fold(0u64, |h, v| (h ^ u64::from(v.to_bits())).wrapping_mul(0x100_0000_01b3)));
}
