//! Single nodes of a quantized graph in a float one, whole or by halves: what weights cost and what activations cost.

use pocketbert::kernels::pack::{PackedI8, column_sums, pack_f32, pack_i8, packed_len, packed_len_f32};
use pocketbert::model::DOMAIN;
use pocketbert::model::graph::{Attr, Graph, Node};
use pocketbert::model::tensor::Tensor;
use pocketbert::{Error, Result};

use super::layout;

/// Which half of a layer's rounding is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Both.
    Whole,
    /// Rounded weights, inputs as they are.
    Weights,
    /// Rounded inputs, weights as they were.
    Activations,
}

/// Puts node `name` of `from` in the place of the node of that name in `to`: the same graph, but for what was
/// quantized. Each reads what it read; constants come along. False if either graph lacks the node.
pub fn take(to: &mut Graph, from: &Graph, name: &str, part: Part) -> Result<bool> {
    let find = |g: &Graph| g.nodes.iter().position(|n| n.name == name);
    let (Some(at), Some(theirs)) = (find(to), find(from)) else { return Ok(false) };
    let theirs = &from.nodes[theirs];
    if part == Part::Activations {
        return rows(to, at, from, theirs);
    }
    let own = to.nodes[at].clone();
    let mut node = Node { outputs: own.outputs.clone(), ..theirs.clone() };
    for (slot, v) in node.inputs.iter_mut().enumerate() {
        *v = match v.and_then(|v| from.constant(v).cloned()) {
            Some(t) => {
                let id = to.add_value(format!("{name}/taken{slot}"));
                to.consts.insert(id, t);
                Some(id)
            }
            None => own.input(slot),
        };
    }
    to.nodes[at] = node;
    if part == Part::Weights {
        widen(to, at)?;
    }
    Ok(true)
}

fn size(n: &Node, name: &str) -> usize {
    n.int(name).and_then(|i| usize::try_from(i).ok()).unwrap_or(0)
}

/// The int8 layer `id` as a float one with the same weights.
pub(super) fn widen(g: &mut Graph, id: usize) -> Result<()> {
    let node = &g.nodes[id];
    if node.op != "Linear" || node.str("activation").is_none() || node.input(4).is_some() {
        return Ok(());
    }
    let (k, n, name) = (size(node, "k"), size(node, "n"), node.name.clone());
    let constant = |slot: usize| node.input(slot).and_then(|v| g.constant(v));
    let (Some(q), Some(s)) = (constant(1), constant(2)) else { return Ok(()) };
    let (q, s) = (PackedI8::from_bytes(n, k, q.bytes())?, s.to_f32());
    let mut place: Vec<usize> = (0..k).collect();
    if let Some(o) = constant(6) {
        o.to_i64().iter().enumerate().for_each(|(i, &c)| place[c as usize] = i);
    }
    let len = packed_len_f32(n, k).ok_or_else(|| too_large(&name))?;
    let mut packed = vec![0.0; len];
    pack_f32(|ki, ni| f32::from(q.get(place[ki], ni)) * s[ni], n, k, &mut packed)?;
    let w =
        g.add_const(format!("{name}/weight_f32"), Tensor::from_f32(vec![n.div_ceil(16), k, 16], &packed)?);
    let node = &mut g.nodes[id];
    let bias = node.input(5);
    node.inputs.truncate(1);
    node.inputs.extend([Some(w), None, None, None, bias]);
    for a in ["activation", "split", "scale", "zero", "low", "high"] {
        node.attrs.remove(a);
    }
    Ok(())
}

/// Rounds what the float layer `at` of `g` reads as `theirs` does. A layer whose weights are the unit matrix does it:
/// its outputs are the rounded inputs, by the kernels that ship.
fn rows(g: &mut Graph, at: usize, from: &Graph, theirs: &Node) -> Result<bool> {
    if theirs.op != "Linear" || theirs.str("activation").is_none() {
        return Ok(false);
    }
    let (k, name) = (size(theirs, "k"), format!("{}/rows", theirs.name));
    let order = theirs.input(6).and_then(|v| from.constant(v)).cloned();
    let channels: Vec<usize> = match &order {
        Some(o) => o.to_i64().into_iter().map(|c| c as usize).collect(),
        None => (0..k).collect(),
    };
    if channels.len() != k {
        return Err(Error::data_loss(format!("layer `{}` has an order of another length", theirs.name)));
    }
    let mut packed = vec![0i8; packed_len(k, k).ok_or_else(|| too_large(&name))?];
    pack_i8(|ki, ni| i8::from(channels[ki] == ni), k, k, &mut packed)?;
    let view = PackedI8::new(k, k, &packed)?;
    let split = theirs.int("split").and_then(|s| usize::try_from(s).ok());
    let mut sums = column_sums(&view, 0..split.unwrap_or(k));
    if let Some(s) = split {
        sums.extend(column_sums(&view, s..k));
    }
    let weight = g.add_const(format!("{name}/weight"), Tensor::from_i8(layout(k, k), &packed)?);
    let scale = g.add_const(format!("{name}/scale"), Tensor::from_f32(vec![1], &[1.0])?);
    let sums = g.add_const(format!("{name}/sums"), Tensor::from_i32(vec![sums.len()], &sums)?);
    let order = order.map(|o| {
        let v = g.add_value(format!("{name}/order"));
        g.consts.insert(v, o);
        v
    });
    let out = g.add_value(name.clone());
    let mut attrs = theirs.attrs.clone();
    attrs.remove("epilogue");
    attrs.insert("n".into(), Attr::Int(k as i64));
    let inputs = vec![g.nodes[at].input(0), Some(weight), Some(scale), Some(sums), None, None, order];
    let node =
        Node { op: "Linear".into(), domain: DOMAIN.into(), name, inputs, outputs: vec![Some(out)], attrs };
    g.nodes.insert(at, node);
    g.nodes[at + 1].inputs[0] = Some(out);
    Ok(true)
}

fn too_large(name: &str) -> Error {
    Error::exhausted(format!("layer `{name}` is too large"))
}

#[cfg(test)]
mod tests {
    use pocketbert::kernels::Isa;
    use pocketbert::model::graph::{Dim, Input};
    use pocketbert::model::proto::{NoExternal, Stored, to_model};
    use pocketbert::model::{Batch, Plan, RunOptions, lower_onnx};
    use prost::Message;

    use super::*;
    use crate::calibration::{Calibration, Layer};
    use crate::weights::{Method, quantize};

    const ROWS: usize = 12;
    const K: usize = 256;
    const N: usize = 20;

    /// Rows of a table through one layer, and the same in int8, the table too.
    fn both(weight: impl Fn(usize) -> f32) -> (Graph, Graph) {
        let mut g = Graph::default();
        let ids = g.add_value("input_ids");
        let dims = ["batch", "sequence"].map(|d| Dim::Symbolic(d.into())).to_vec();
        g.inputs.push(Input { value: ids, elem_type: 7, dims });
        let table: Vec<f32> = (0..ROWS * K)
            .map(|i| ((i * 7919 % 2003) as f32 - 1001.0) / if i % 7 == 5 { 30.0 } else { 1001.0 })
            .collect();
        let w: Vec<f32> = (0..K * N).map(weight).collect();
        let table = g.add_const("table", Tensor::from_f32(vec![ROWS, K], &table).unwrap());
        let w = g.add_const("w", Tensor::from_f32(vec![K, N], &w).unwrap());
        let x = g.add_node("Gather", "", "words", vec![Some(table), Some(ids)], vec![]);
        let y = g.add_node("MatMul", "", "y", vec![Some(x), Some(w)], vec![]);
        g.outputs.push(y);
        g.opset = 17;
        let bytes = to_model(&g, |_, _| Stored::Inline).encode_to_vec();
        let float = lower_onnx(&bytes, &NoExternal, false).unwrap().graph;
        let loudest = (0..K).map(|c| if c % 7 == 5 { 30.0 } else { 1.0 }).collect();
        let layer = Layer { name: "y".into(), k: K, loudest, ..Layer::default() };
        let seen = Calibration { layers: vec![layer], ..Calibration::default() };
        let mut int8 = float.clone();
        quantize(&mut int8, &Method { loud: 64, ..Method::default() }, Some(&seen), 1).unwrap();
        (float, int8)
    }

    fn run(g: &Graph) -> Vec<f32> {
        let mut batch = Batch::new();
        batch.push([3i64, 7, 0, 11], None, None);
        let run = RunOptions { isa: Isa::Generic, threads: 1, stop: Default::default(), stats: None };
        Plan::new(g.clone()).unwrap().run(&batch, &[0], run).unwrap()[0].data.clone()
    }

    fn part((float, int8): &(Graph, Graph), part: Part) -> Vec<f32> {
        let mut g = float.clone();
        assert!(take(&mut g, int8, "y", part).unwrap());
        run(&g)
    }

    fn error(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
    }

    #[test]
    fn weights_that_are_whole_steps_leave_only_the_activations() {
        // Whole steps of 1/128, 127 of them in every output.
        let g = both(|i| if i < N { 127.0 } else { (i * 31 % 255) as f32 - 127.0 } / 128.0);
        let float = run(&g.0);
        assert_eq!(part(&g, Part::Weights), float);
        let (whole, rows) = (part(&g, Part::Whole), part(&g, Part::Activations));
        assert!(error(&whole, &float) > 1e-4);
        assert!(error(&whole, &rows) < 1e-4 * error(&whole, &float), "{whole:?} {rows:?}");
    }

    #[test]
    fn the_halves_add_up() {
        let g = both(|i| ((i * 7919 % 2003) as f32 - 1001.0) / 1001.0);
        let float = run(&g.0);
        let [whole, weights, rows] =
            [Part::Whole, Part::Weights, Part::Activations].map(|p| error(&part(&g, p), &float));
        assert!(weights > 0.0 && rows > 0.0);
        let sum = weights + rows;
        assert!(whole > 0.5 * sum && whole < 2.0 * sum, "{whole} {weights} {rows}");
    }

    #[test]
    fn floats_come_back() {
        let (float, int8) = both(|i| ((i * 7919 % 2003) as f32 - 1001.0) / 1001.0);
        let mut g = int8.clone();
        assert!(
            take(&mut g, &float, "y", Part::Whole).unwrap()
                && take(&mut g, &float, "words", Part::Whole).unwrap()
        );
        assert_eq!(run(&g), run(&float));
        assert_ne!(run(&int8), run(&float));
        assert!(!take(&mut g, &float, "z", Part::Whole).unwrap());
    }
}
