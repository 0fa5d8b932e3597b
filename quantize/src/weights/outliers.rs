//! Outlier channels made small where linear layers read them.
//!
//! In encoders of the BERT family two or three channels behind a layer norm are ten times as wide as the rest. Whoever
//! shares a scale with them loses three bits, also the 61 channels that fill their segment. Their norm divides them by
//! a power of two, the weights behind it are multiplied by the same, and all else that reads the norm, the residual
//! first, reads it multiplied back. So the float model keeps its bits, as with scale migration (`migrate`), of which
//! this is the part for networks that norm after the residual.

use pocketbert::Result;
use pocketbert::model::DOMAIN;
use pocketbert::model::graph::{Graph, Node, NodeId, ValueId};
use pocketbert::model::tensor::Tensor;

use super::migrate::{largest_weights, scale_vector, scale_weights};
use crate::calibration::{Calibration, Layer};

/// One channel in so many may be an outlier; the next one says how wide the others are.
const SHARE: usize = 12;

/// The power of two by which each channel becomes smaller. Weights do not grow beyond the largest ones, so that they
/// keep their resolution.
fn factors(layer: &Layer, weights: &[f32]) -> Vec<f32> {
    let mut sorted = layer.loudest.clone();
    sorted.sort_by(f32::total_cmp);
    let edge = sorted.get((layer.k - layer.k / SHARE).saturating_sub(1)).copied().unwrap_or(0.0);
    let most = weights.iter().copied().fold(0.0, f32::max);
    let factor = |(&x, &w): (&f32, &f32)| {
        if x < 2.0 * edge || edge <= 0.0 || w <= 0.0 {
            return 1.0;
        }
        (x / edge).log2().round_ties_even().min((most / w).log2().floor()).max(0.0).exp2()
    };
    layer.loudest.iter().zip(weights).map(factor).collect()
}

/// Makes the outliers behind every layer norm smaller, in `g` and in `c`. Gives for how many norms.
pub(super) fn shrink(g: &mut Graph, c: &mut Calibration) -> Result<usize> {
    g.index()?;
    let mut back: Vec<(NodeId, Node)> = vec![];
    let mut done = 0;
    for id in 0..g.nodes.len() {
        let Some(v) = g.nodes[id].outputs.first().copied().flatten() else { continue };
        if g.nodes[id].op != "LayerNorm" {
            continue;
        }
        let linear = |r: NodeId| {
            let n = &g.nodes[r];
            n.op == "Linear" && n.str("activation").is_none() && n.input(0) == Some(v)
        };
        let (behind, others): (Vec<NodeId>, Vec<NodeId>) =
            g.consumers(v).iter().copied().partition(|&r| linear(r));
        let Some(layer) = behind.first().and_then(|&b| c.layer(&g.nodes[b].name)) else { continue };
        let Some(weights) = largest_weights(g, &behind, layer.k)? else { continue };
        let factors = factors(layer, &weights);
        if factors.iter().all(|f| *f == 1.0) {
            continue;
        }
        let inverse: Vec<f32> = factors.iter().map(|f| 1.0 / f).collect();
        for slot in [1, 2] {
            scale_vector(g, id, slot, 0, &inverse)?;
        }
        for &b in &behind {
            scale_weights(g, b, |i, _| factors.get(i).copied())?;
            let name = &g.nodes[b].name;
            if let Some(l) = c.layers.iter_mut().find(|l| l.name == *name) {
                l.divide(&factors);
            }
        }
        done += 1;
        if others.is_empty() && !g.outputs.contains(&v) {
            continue;
        }
        back.push((id, restored(g, id, v, &factors, &others)?));
    }
    for (id, node) in back.into_iter().rev() {
        g.nodes.insert(id + 1, node);
    }
    g.index()?;
    Ok(done)
}

/// The node that multiplies `v`, which node `id` makes, back for `others`.
fn restored(g: &mut Graph, id: NodeId, v: ValueId, factors: &[f32], others: &[NodeId]) -> Result<Node> {
    let name = format!("{}/back", g.nodes[id].name);
    let by = g.add_const(format!("{name}/factors"), Tensor::from_f32(vec![factors.len()], factors)?);
    let out = g.add_value(name.clone());
    for &o in others {
        g.nodes[o].inputs.iter_mut().filter(|i| **i == Some(v)).for_each(|i| *i = Some(out));
    }
    g.outputs.iter_mut().filter(|o| **o == v).for_each(|o| *o = out);
    Ok(Node {
        op: "MulChannels".into(),
        domain: DOMAIN.into(),
        name,
        inputs: vec![Some(v), Some(by)],
        outputs: vec![Some(out)],
        attrs: Default::default(),
    })
}

#[cfg(test)]
mod tests {
    use pocketbert::kernels::Isa;
    use pocketbert::model::graph::{Attr, Dim, Input};
    use pocketbert::model::{Batch, Plan, RunOptions};

    use super::*;
    use crate::weights::{Method, quantize};

    const K: usize = 256;

    fn noise(n: usize, size: f32) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 % 2003) as f32 - 1001.0) / 1001.0 * size).collect()
    }

    /// A table, a norm with two outliers, a layer, and their sum.
    fn graph() -> Graph {
        let mut g = Graph::default();
        g.opset = 17;
        let inputs = ["input_ids", "token_type_ids", "mask", "offsets"].map(|name| {
            let value = g.add_value(name);
            g.inputs.push(Input { value, elem_type: 7, dims: vec![Dim::Symbolic(name.into())] });
            value
        });
        let constant = |g: &mut Graph, name: &str, shape: Vec<usize>, v: &[f32]| {
            Some(g.add_const(name, Tensor::from_f32(shape, v).unwrap()))
        };
        let table = constant(&mut g, "t", vec![9, K], &noise(9 * K, 1.0));
        let by = vec![("by", Attr::Str("id".into()))];
        let x = g.add_node("Lookup", DOMAIN, "words", vec![Some(inputs[0]), Some(inputs[3]), table], by);
        let mut gamma = vec![1.0f32; K];
        (gamma[3], gamma[40]) = (30.0, 9.0);
        let gamma = constant(&mut g, "g", vec![K], &gamma);
        let beta = constant(&mut g, "b", vec![K], &noise(K, 0.1));
        let eps = vec![("epsilon", Attr::Float(1e-5))];
        let x = g.add_node("LayerNorm", DOMAIN, "norm", vec![Some(x), gamma, beta], eps);
        let mut w = noise(K * K, 0.3);
        // Panels of 16 outputs, channels of the input in rows: the outliers' weights are small.
        for (i, panel) in w.chunks_exact_mut(16).enumerate() {
            if [3, 40].contains(&(i % K)) {
                panel.iter_mut().for_each(|x| *x *= 0.05);
            }
        }
        let w = constant(&mut g, "w", vec![K / 16, K, 16], &w);
        let attrs = vec![("k", Attr::Int(K as i64)), ("n", Attr::Int(K as i64))];
        let y = g.add_node("Linear", DOMAIN, "l", vec![Some(x), w], attrs);
        let y = g.add_node("Add", DOMAIN, "sum", vec![Some(y), Some(x)], vec![]);
        g.outputs.push(y);
        g
    }

    fn run(g: &Graph, read: &mut Vec<f32>) -> Vec<f32> {
        let mut batch = Batch::new();
        batch.push([3i64, 7, 0, 8], None, None);
        let run = RunOptions { isa: Isa::Generic, threads: 1, stop: Default::default(), stats: None };
        let mut tap = |_: &str, op: &str, x: &[f32]| {
            if op == "Linear" {
                *read = x.to_vec();
            }
        };
        Plan::new(g.clone()).unwrap().run_tapped(&batch, &[0], run, Some(&mut tap)).unwrap()[0].data.clone()
    }

    fn calibrated(read: &[f32]) -> Calibration {
        let loudest: Vec<f32> =
            (0..K).map(|c| read.iter().skip(c).step_by(K).fold(0.0f32, |m, v| m.max(v.abs()))).collect();
        let layer = Layer {
            name: "l".into(),
            k: K,
            low: loudest.iter().map(|x| -x).collect(),
            high: loudest.clone(),
            loudest,
            mean: vec![0.0; K],
            products: vec![1.0; K * (K + 1) / 2],
            ..Layer::default()
        };
        Calibration { layers: vec![layer], ..Calibration::default() }
    }

    #[test]
    fn what_others_read_keeps_its_bits() {
        let (mut g, mut wide, mut small) = (graph(), vec![], vec![]);
        let before = run(&g, &mut wide);
        let mut c = calibrated(&wide);
        assert_eq!(shrink(&mut g, &mut c).unwrap(), 1);
        assert_eq!(run(&g, &mut small), before);
        let most = |x: &[f32]| x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(most(&small) < 0.2 * most(&wide), "{} {}", most(&small), most(&wide));
        assert_eq!(c.layers[0].loudest, calibrated(&small).layers[0].loudest, "the calibration moved too");
        // Once is enough.
        assert_eq!(shrink(&mut g, &mut c).unwrap(), 0);
    }

    #[test]
    fn int8_errs_less() {
        let (float, mut read) = (graph(), vec![]);
        let exact = run(&float, &mut read);
        let c = calibrated(&read);
        let error = |outliers: bool| -> f64 {
            let mut g = float.clone();
            quantize(&mut g, &Method { outliers, ..Method::default() }, Some(&c), 1).unwrap();
            run(&g, &mut vec![]).iter().zip(&exact).map(|(a, b)| f64::from(a - b).powi(2)).sum()
        };
        assert!(error(true) < 0.5 * error(false), "{} {}", error(true), error(false));
    }
}
