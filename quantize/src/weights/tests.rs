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
    to_float(&mut g).unwrap();
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
