use super::*;
use crate::calibration::Layer;
use pocketbert::kernels::pack::PackedF32;
use pocketbert::kernels::pack::pack_f32;
use pocketbert::model::DOMAIN;

fn calibration(k: usize) -> Calibration {
    let mut l = Layer {
        name: "l".into(),
        k,
        rows: 1,
        min: (-1.0, -0.9),
        max: (3.0, 2.5),
        loudest: (0..k).map(|c| if c % 7 == 3 { 50.0 + c as f32 } else { 1.0 }).collect(),
        mean: vec![0.5; k],
        products: vec![0.0; k * (k + 1) / 2],
        ..Layer::default()
    };
    for i in 0..k {
        l.products[i * (i + 1) / 2 + i] = l.loudest[i] * l.loudest[i];
    }
    Calibration { layers: vec![l], ..Calibration::default() }
}

fn graph(k: usize, n: usize) -> (Graph, Vec<f32>) {
    let w: Vec<f32> = (0..k * n).map(|i| ((i * 7919 % 2003) as f32 - 1001.0) / 1001.0).collect();
    let mut packed = vec![0.0; n.next_multiple_of(16) * k];
    pack_f32(|ki, ni| w[ki * n + ni], n, k, &mut packed).unwrap();
    let mut g = Graph::default();
    let x = g.add_value("x");
    g.inputs.push(pocketbert::model::graph::Input { value: x, elem_type: 1, dims: vec![] });
    let c = g.add_const("w", Tensor::from_f32(vec![n.div_ceil(16), k, 16], &packed).unwrap());
    let attrs = vec![("k", Attr::Int(k as i64)), ("n", Attr::Int(n as i64))];
    let y = g.add_node("Linear", DOMAIN, "l", vec![Some(x), Some(c)], attrs);
    g.outputs.push(y);
    (g, w)
}

/// The float weights that a quantized layer stands for, by input channel.
fn weights_of(g: &Graph, k: usize, n: usize) -> Vec<f32> {
    let mut g = g.clone();
    parts::widen(&mut g, 0).unwrap();
    let t = g.constant(g.nodes[0].input(1).unwrap()).unwrap().to_f32();
    let w = PackedF32::new(n, k, &t).unwrap();
    (0..k * n).map(|i| w.data()[(i % n / 16 * k + i / n) * 16 + i % n % 16]).collect()
}

#[test]
fn every_method_keeps_the_weights_near_and_in_place() {
    let (k, n) = (512, 24);
    let c = calibration(k);
    for method in [
        Method::default(),
        Method { loud: 64, ..Method::default() },
        Method { loud: 64, rounding: Rounding::Gptq, act_order: true, clip: true, ..Method::default() },
        Method { activations: Activations::Static, range: Range::MovingAverage, ..Method::default() },
    ] {
        let (mut g, w) = graph(k, n);
        let s = quantize(&mut g, &method, Some(&c), 1).unwrap();
        assert_eq!(s.linears, 1);
        let got = weights_of(&g, k, n);
        let worst = got.iter().zip(&w).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < if method.clip { 0.25 } else { 0.02 }, "{method:?} {worst}");
        let node = &g.nodes[0];
        if method.loud > 0 {
            assert_eq!(node.int("split"), Some(448));
            let order = g.constant(node.input(6).unwrap()).unwrap().to_i64();
            assert!(order[448..].iter().all(|c| c % 7 == 3), "{order:?}");
            let mut all = order.clone();
            all.sort_unstable();
            assert!(all.iter().enumerate().all(|(i, c)| i as i64 == *c));
            assert_eq!(g.constant(node.input(3).unwrap()).unwrap().len(), 2 * n);
        } else {
            assert!(node.input(6).is_none());
        }
    }
}

#[test]
fn what_is_missing_is_said() {
    let (mut g, _) = graph(64, 16);
    let m = Method { rounding: Rounding::Gptq, ..Method::default() };
    assert!(quantize(&mut g, &m, None, 1).unwrap_err().to_string().contains("--calibration"));
    let e = quantize(&mut g, &m, Some(&calibration(32)), 1).unwrap_err().to_string();
    assert!(e.contains("another model"), "{e}");
    quantize(&mut g, &Method::default(), None, 1).unwrap();
    assert!(quantize(&mut g, &Method::default(), None, 1).unwrap_err().to_string().contains("already"));
}

#[test]
fn adaround_leaves_less_error_than_gptq_and_gptq_less_than_nearest() {
    let (k, n) = (128, 24);
    // Inputs that depend on each other: otherwise nearest is best.
    let mut c = calibration(k);
    for i in 0..k {
        for j in 0..=i {
            c.layers[0].products[i * (i + 1) / 2 + j] = 0.9f32.powi((i - j) as i32) * 100.0;
        }
    }
    let error = |rounding| {
        let (mut g, w) = graph(k, n);
        let m = Method { rounding, ..Method::default() };
        quantize(&mut g, &m, Some(&c), 1).unwrap();
        let got = weights_of(&g, k, n);
        let mut sum = 0.0f64;
        for o in 0..n {
            for i in 0..k {
                for j in 0..k {
                    let d = |x: usize| f64::from(got[x * n + o] - w[x * n + o]);
                    sum += d(i) * d(j) * f64::from(c.layers[0].product(i, j));
                }
            }
        }
        sum
    };
    let [nearest, gptq, adaround] = [Rounding::Nearest, Rounding::Gptq, Rounding::Adaround].map(error);
    assert!(gptq < 0.5 * nearest && adaround < gptq, "{nearest} {gptq} {adaround}");
}

#[test]
fn bias_correction_takes_the_mean_error_away() {
    let (k, n) = (64, 16);
    let c = calibration(k);
    let (mut g, w) = graph(k, n);
    quantize(&mut g, &Method { bias_correction: true, ..Method::default() }, Some(&c), 1).unwrap();
    let bias = g.constant(g.nodes[0].input(5).unwrap()).unwrap().to_f32();
    let got = weights_of(&g, k, n);
    for o in 0..n {
        let mean: f32 = (0..k).map(|i| 0.5 * (w[i * n + o] - got[i * n + o])).sum();
        assert!((bias[o] - mean).abs() < 1e-5 && bias[o] != 0.0, "{} {mean}", bias[o]);
    }
}

#[test]
fn smaller_scales_are_taken_where_they_err_less() {
    // One weight alone is large and its input silent: clipping it costs nothing and helps all others.
    let (k, n) = (64, 16);
    let mut c = calibration(k);
    c.layers[0].products[0] = 0.0;
    let run = |clip| {
        let (mut g, w) = graph(k, n);
        let at = g.nodes[0].input(1).unwrap();
        let mut big = g.constant(at).unwrap().to_f32();
        big[..16].fill(1.2);
        let t = Tensor::from_f32(vec![1, k, 16], &big).unwrap();
        g.consts.insert(at, std::sync::Arc::new(t));
        quantize(&mut g, &Method { clip, bias_correction: true, ..Method::default() }, Some(&c), 1).unwrap();
        let got = weights_of(&g, k, n);
        (n..k * n)
            .map(|i| f64::from(c.layers[0].product(i / n, i / n)) * f64::from(got[i] - w[i]).powi(2))
            .sum::<f64>()
    };
    assert!(run(true) < 0.9 * run(false), "{} {}", run(true), run(false));
}

#[test]
fn symmetric_ranges_have_zero_in_their_middle() {
    let c = calibration(64);
    let attrs = |activations| {
        let (mut g, _) = graph(64, 16);
        quantize(&mut g, &Method { activations, ..Method::default() }, Some(&c), 1).unwrap();
        (g.nodes[0].int("zero").unwrap(), g.nodes[0].float("scale").unwrap())
    };
    assert_eq!(attrs(Activations::StaticSymmetric), (128, 3.0 / 127.0));
    assert_eq!(attrs(Activations::Static), (64, 4.0 / 255.0));
}

#[test]
fn half_precision_layers_keep_eleven_bits() {
    let (k, n) = (64, 16);
    let (mut g, w) = graph(k, n);
    let m = Method { half: vec!["l".into()], ..Method::default() };
    assert_eq!(quantize(&mut g, &m, None, 1).unwrap().kept, 1);
    let t = g.constant(g.nodes[0].input(1).unwrap()).unwrap();
    assert_eq!((t.dtype, t.bytes().len()), (DType::F16, 2 * k * n));
    let got = t.to_f32();
    assert!((0..k * n).all(|i| (got[i / n * 16 + i % n] - w[i]).abs() <= w[i].abs() / 2048.0));
    assert!(g.nodes[0].str("activation").is_none());
}

#[test]
fn what_cannot_be_is_refused() {
    let (mut g, _) = graph(64, 16);
    let refused = |g: &mut Graph, m: Method, says: &str| {
        let e = quantize(g, &m, Some(&calibration(64)), 1).unwrap_err().to_string();
        assert!(e.contains(says), "{e}");
    };
    refused(&mut g, Method { migrate: 1.5, ..Method::default() }, "from 0 to 1");
    refused(&mut g, Method { damping: 0.0, ..Method::default() }, "above 0");
    let fixed = Method { activations: Activations::Static, ..Method::default() };
    refused(&mut g, Method { loud: 64, ..fixed.clone() }, "leave out `loud`");
    refused(&mut g, Method { migrate: 0.5, range: Range::Mse, ..fixed }, "min-max");
    let both = Method { keep: vec!["l".into()], half: vec!["l".into()], ..Method::default() };
    refused(&mut g, both, "both");
    refused(&mut g, Method { half: vec!["m".into()], ..Method::default() }, "no float linear layer `m`");
}

#[test]
fn scales_move_without_a_trace_in_floats() {
    use pocketbert::kernels::Isa;
    use pocketbert::model::{Batch, Plan, RunOptions};
    // Ids, a table, a layer norm, two layers with a ReLU between them, as `lower` gives them.
    let (k, n) = (32, 16);
    let mut g = Graph::default();
    g.opset = 17;
    let input = |g: &mut Graph, name: &str| {
        let value = g.add_value(name);
        let dims = vec![pocketbert::model::graph::Dim::Symbolic(name.into())];
        g.inputs.push(pocketbert::model::graph::Input { value, elem_type: 7, dims });
        value
    };
    let ids = input(&mut g, "input_ids");
    input(&mut g, "token_type_ids");
    input(&mut g, "mask");
    let offsets = input(&mut g, "offsets");
    let noise = |n: usize, m: f32| -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 % 2003) as f32 - 1001.0) / 1001.0 * m).collect()
    };
    let constant = |g: &mut Graph, name: &str, shape: Vec<usize>, v: &[f32]| {
        Some(g.add_const(name, Tensor::from_f32(shape, v).unwrap()))
    };
    let table = constant(&mut g, "t", vec![9, k], &noise(9 * k, 1.0));
    let by = vec![("by", Attr::Str("id".into()))];
    let x = g.add_node("Lookup", DOMAIN, "words", vec![Some(ids), Some(offsets), table], by);
    let mut gamma = noise(k, 1.0);
    gamma[3] = 60.0;
    let (gamma, beta) =
        (constant(&mut g, "g", vec![k], &gamma), constant(&mut g, "b", vec![k], &noise(k, 0.1)));
    let eps = vec![("epsilon", Attr::Float(1e-5))];
    let x = g.add_node("LayerNorm", DOMAIN, "norm", vec![Some(x), gamma, beta], eps);
    let linear = |g: &mut Graph, x, name: &str, k: usize, n: usize, relu: bool| {
        let w = constant(g, &format!("{name}w"), vec![n / 16, k, 16], &noise(k * n, 0.3));
        let b = constant(g, &format!("{name}b"), vec![n], &noise(n, 0.2));
        let mut attrs = vec![("k", Attr::Int(k as i64)), ("n", Attr::Int(n as i64))];
        if relu {
            attrs.push(("epilogue", Attr::Str("relu".into())));
        }
        g.add_node("Linear", DOMAIN, name, vec![Some(x), w, None, None, None, b], attrs)
    };
    let h = linear(&mut g, x, "first", k, n, true);
    let y = linear(&mut g, h, "second", n, n, false);
    g.outputs.push(y);
    let run = |g: &Graph, see: &mut dyn FnMut(&str, &str, &[f32])| {
        let mut batch = Batch::new();
        batch.push([3i64, 7, 0, 8], None, None);
        let run = RunOptions { isa: Isa::Generic, threads: 1, stop: Default::default(), stats: None };
        let mut tap = |name: &str, op: &str, x: &[f32]| see(name, op, x);
        Plan::new(g.clone()).unwrap().run_tapped(&batch, &[0], run, Some(&mut tap)).unwrap()[0].data.clone()
    };
    let loudest = |g: &Graph| {
        let mut seen = HashMap::new();
        let y = run(g, &mut |name, op, x| {
            if op == "Linear" {
                let k = if name == "first" { k } else { n };
                let top: Vec<f32> =
                    (0..k).map(|c| x.iter().skip(c).step_by(k).fold(0.0f32, |m, v| m.max(v.abs()))).collect();
                seen.insert(name.to_string(), top);
            }
        });
        (y, seen)
    };
    let (before, seen) = loudest(&g);
    let layers = [("first", k), ("second", n)]
        .map(|(name, k)| Layer {
            name: name.into(),
            k,
            low: seen[name].iter().map(|x| -x).collect(),
            high: seen[name].clone(),
            loudest: seen[name].clone(),
            mean: vec![0.0; k],
            products: vec![1.0; k * (k + 1) / 2],
            ..Layer::default()
        })
        .to_vec();
    let mut c = Calibration { layers, ..Calibration::default() };
    assert_eq!(migrate::migrate(&mut g, &mut c, 0.5).unwrap(), 2);
    let (after, now) = loudest(&g);
    // Factors are powers of two.
    assert_eq!(before, after);
    let spread = |l: &[f32]| l.iter().fold(0.0f32, |m, x| m.max(*x)) / l.iter().sum::<f32>();
    assert!(spread(&now["first"]) < 0.5 * spread(&seen["first"]));
    for (l, name) in c.layers.iter().zip(["first", "second"]) {
        assert_eq!(l.loudest, now[name], "the calibration moved too");
        assert_eq!(l.max.0, now[name].iter().fold(0.0f32, |m, x| m.max(*x)));
    }
}
