//! What is written opens again as the same model.

use super::*;
use pocketbert::kernels::Isa;
use pocketbert::model::proto::NoExternal;
use pocketbert::model::{Batch, Plan, RunOptions, lower_onnx};

use crate::calibration::{Calibration, Layer};
use crate::weights::{Activations, Method, quantize};

const ROWS: usize = 20;
const K: usize = 256;
const N: usize = 20;

/// Word embeddings and a linear layer, as a float graph.
fn graph() -> Graph {
    let mut g = Graph::default();
    let noise = |n: usize| (0..n).map(|i| ((i * 7919 % 2003) as f32 - 1001.0) / 1001.0).collect::<Vec<_>>();
    let dims = vec![Dim::Symbolic("batch".into()), Dim::Symbolic("sequence".into())];
    let ids = g.add_value("input_ids");
    g.inputs.push(Input { value: ids, elem_type: 7, dims });
    let mut table = noise(ROWS * K);
    table.iter_mut().skip(5).step_by(7).for_each(|x| *x *= 40.0);
    let table = g.add_const("table", Tensor::from_f32(vec![ROWS, K], &table).unwrap());
    let w = g.add_const("w", Tensor::from_f32(vec![K, N], &noise(K * N)).unwrap());
    let x = g.add_node("Gather", "", "words", vec![Some(table), Some(ids)], vec![]);
    let y = g.add_node("MatMul", "", "y", vec![Some(x), Some(w)], vec![]);
    g.outputs.push(y);
    g.opset = 17;
    let bytes = to_model(&g, |_, _| Stored::Inline).encode_to_vec();
    lower_onnx(&bytes, &NoExternal, false).unwrap().graph
}

fn run(g: Graph) -> Vec<f32> {
    let mut batch = Batch::new();
    batch.push([3i64, 7, 0, 19], None, None);
    batch.push([5i64], None, None);
    let run = RunOptions { isa: Isa::Generic, threads: 1, stop: Default::default(), stats: None };
    Plan::new(g).unwrap().run(&batch, &[0], run).unwrap()[0].data.clone()
}

#[test]
fn what_is_written_is_the_same_model_again() {
    let loudest = (0..K).map(|c| if c % 7 == 5 { 40.0 } else { 1.0 }).collect();
    let layer =
        Layer { name: "y".into(), k: K, loudest, min: (-40.0, -40.0), max: (40.0, 40.0), ..Layer::default() };
    let c = Calibration { layers: vec![layer], ..Calibration::default() };
    let float = run(graph());
    for method in [
        Method { loud: 64, ..Method::default() },
        Method::default(),
        Method { activations: Activations::PerTokenSymmetric, ..Method::default() },
        Method { activations: Activations::Static, ..Method::default() },
    ] {
        let mut g = graph();
        quantize(&mut g, &method, Some(&c), 1).unwrap();
        let again = lower_onnx(&write(&g).unwrap(), &NoExternal, false).unwrap().graph;
        let ops = |g: &Graph| g.nodes.iter().map(|n| n.op.clone()).collect::<Vec<_>>();
        assert_eq!(ops(&again), ops(&g), "{method:?}");
        let linear = |g: &Graph| g.nodes.iter().find(|n| n.op == "Linear").cloned().unwrap();
        assert_eq!(linear(&again).str("activation"), linear(&g).str("activation"));
        assert_eq!(linear(&again).int("split"), linear(&g).int("split"));
        let (a, b) = (run(g), run(again));
        assert_eq!(a, b, "{method:?}");
        assert_ne!(a, float, "{method:?}: nothing was quantized");
    }
}

#[test]
fn a_product_with_other_sums_is_not_taken_for_ours() {
    let mut g = graph();
    quantize(&mut g, &Method::default(), None, 1).unwrap();
    let bytes = write(&g).unwrap();
    // The sums of the weights, one of them off by one, anywhere they stand in the file.
    let w = g.nodes.iter().find(|n| n.op == "Linear").unwrap();
    let sums = g.constant(w.input(3).unwrap()).unwrap().bytes().to_vec();
    let at = bytes.windows(sums.len()).position(|b| b == sums).unwrap();
    let mut other = bytes.clone();
    other[at] ^= 1;
    assert!(lower_onnx(&other, &NoExternal, false).is_err());
}
