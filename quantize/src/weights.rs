//! Float weights and tables of a lowered graph to int8.

use std::collections::HashMap;

use pocketbert::kernels::pack::{K_ALIGN, PackedF32, PackedI8, column_sums, pack_i8, packed_len};
use pocketbert::model::graph::{Attr, Graph, ValueId};
use pocketbert::model::tensor::{DType, Tensor};
use pocketbert::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::calibration::{Calibration, Layer};
use crate::gptq;
use crate::tie::{retarget, tie};

/// How activations become integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Activations {
    /// Each token by its own range.
    #[default]
    PerToken,
    /// Each token by its largest magnitude.
    PerTokenSymmetric,
    /// One range per layer, chosen by calibration.
    Static,
}

/// How a static range is chosen from the calibration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Range {
    /// All values seen.
    #[default]
    MinMax,
    /// The mean over runs of each run's range.
    MovingAverage,
    /// 99.99 % of the values.
    Percentile,
    /// Least mean square error.
    Mse,
    /// Least loss of entropy.
    Entropy,
}

/// How weights become integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Rounding {
    /// To nearest, ties to even.
    #[default]
    Nearest,
    /// Later weights make up for the errors of earlier ones (GPTQ).
    Gptq,
}

/// How linear layers are quantized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Method {
    /// Activations.
    pub activations: Activations,
    /// Range of static activations.
    pub range: Range,
    /// Channels of a layer's input with the largest magnitudes, under a scale of their own: a multiple of 64.
    pub loud: usize,
    /// Weights.
    pub rounding: Rounding,
    /// Added to the diagonal of `X^T X` for GPTQ, as a share of its mean.
    pub damping: f64,
    /// GPTQ rounds the channels with the largest products first.
    pub act_order: bool,
    /// Searches a smaller scale per output channel that errs less.
    pub clip: bool,
    /// Moves the mean error of each output into its bias.
    pub bias_correction: bool,
    /// Both products of attention in int8.
    pub attention: bool,
    /// Layers that stay in f32, by name.
    pub keep: Vec<String>,
}

impl Default for Method {
    fn default() -> Self {
        Method {
            activations: Activations::PerToken,
            range: Range::MinMax,
            loud: 0,
            rounding: Rounding::Nearest,
            damping: 0.01,
            act_order: false,
            clip: false,
            bias_correction: false,
            attention: true,
            keep: vec![],
        }
    }
}

impl Method {
    /// Whether it needs a calibration.
    pub fn calibrated(&self) -> bool {
        self.activations == Activations::Static
            || self.loud > 0
            || self.rounding == Rounding::Gptq
            || self.bias_correction
    }
}

/// What was quantized.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Linear layers.
    pub linears: usize,
    /// Embedding tables.
    pub tables: usize,
    /// Products that read a table instead of weights of their own.
    pub tied: usize,
    /// Layers that stay in f32.
    pub kept: usize,
}

/// Names and input channels of the float linear layers of `g`.
pub fn layers(g: &Graph) -> HashMap<String, usize> {
    let float = |n: &&pocketbert::model::graph::Node| n.op == "Linear" && n.str("activation").is_none();
    g.nodes
        .iter()
        .filter(float)
        .filter_map(|n| Some((n.name.clone(), usize::try_from(n.int("k")?).ok()?)))
        .collect()
}

/// Quantizes the float linear layers and float tables (symmetric per row) of `g`. Weights are symmetric per
/// output channel; a channel of zeros gets scale 1. Layers that are int8 already stay as they are.
pub fn quantize(
    g: &mut Graph,
    method: &Method,
    calibration: Option<&Calibration>,
    threads: usize,
) -> Result<Summary> {
    let tied = tie(g)?;
    let known = layers(g);
    if let Some(k) = method.keep.iter().find(|k| !known.contains_key(*k)) {
        return Err(Error::invalid(format!("there is no float linear layer `{k}` to keep")));
    }
    let float: Vec<usize> = (0..g.nodes.len())
        .filter(|&i| {
            let n = &g.nodes[i];
            n.op == "Linear" && n.str("activation").is_none() && !method.keep.contains(&n.name)
        })
        .collect();
    if float.is_empty() && method.keep.is_empty() {
        return Err(Error::invalid("the model has no float linear layer: it is quantized already"));
    }
    // Largest first, so that threads end together.
    let mut work: Vec<usize> = float.clone();
    work.sort_by_key(|&i| std::cmp::Reverse(g.nodes[i].int("k").unwrap_or(0)));
    let next = std::sync::atomic::AtomicUsize::new(0);
    let done = std::sync::Mutex::new(HashMap::new());
    let bar = crate::progress::bar("quantizing", work.len());
    let graph = &*g;
    crate::threads::each(threads, || {
        while let Some(&id) = work.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            crate::check_stop()?;
            let layer = linear(graph, id, method, calibration)?;
            done.lock().unwrap_or_else(|e| e.into_inner()).insert(id, layer);
            bar.add(1);
        }
        Ok(())
    })?;
    let mut done = done.into_inner().unwrap_or_else(|e| e.into_inner());
    let mut summary = Summary { tied, kept: method.keep.len(), ..Summary::default() };
    for id in 0..g.nodes.len() {
        if let Some(layer) = done.remove(&id) {
            layer.place(g, id)?;
            summary.linears += 1;
        } else if g.nodes[id].op == "Lookup" {
            summary.tables += usize::from(table(g, id)?);
        } else if g.nodes[id].op == "Attention" && method.attention {
            attention(g, id);
        }
    }
    g.prune()?;
    g.consts = {
        let used: std::collections::HashSet<ValueId> =
            g.nodes.iter().flat_map(|n| n.inputs.iter().flatten().copied()).collect();
        std::mem::take(&mut g.consts).into_iter().filter(|(v, _)| used.contains(v)).collect()
    };
    Ok(summary)
}

/// Turns layers that [`quantize`] made back into float ones with the same weights: weights-only quantization.
pub fn to_float(g: &mut Graph) -> Result<()> {
    use pocketbert::kernels::pack::{pack_f32, packed_len_f32};
    for id in 0..g.nodes.len() {
        let node = &g.nodes[id];
        if node.op != "Linear" || node.str("activation").is_none() || node.input(4).is_some() {
            continue;
        }
        let size = |name: &str| node.int(name).and_then(|i| usize::try_from(i).ok()).unwrap_or(0);
        let (k, n, name) = (size("k"), size("n"), node.name.clone());
        let (Some(q), Some(s)) =
            (node.input(1).and_then(|v| g.constant(v)), node.input(2).and_then(|v| g.constant(v)))
        else {
            continue;
        };
        let (q, s) = (PackedI8::from_bytes(n, k, q.bytes())?, s.to_f32());
        let mut place: Vec<usize> = (0..k).collect();
        if let Some(o) = node.input(6).and_then(|v| g.constant(v)) {
            o.to_i64().iter().enumerate().for_each(|(i, &c)| place[c as usize] = i);
        }
        let len =
            packed_len_f32(n, k).ok_or_else(|| Error::exhausted(format!("layer `{name}` is too large")))?;
        let mut packed = vec![0.0; len];
        pack_f32(|ki, ni| f32::from(q.get(place[ki], ni)) * s[ni], n, k, &mut packed)?;
        let w = g
            .add_const(format!("{name}/weight_f32"), Tensor::from_f32(vec![n.div_ceil(16), k, 16], &packed)?);
        let node = &mut g.nodes[id];
        let bias = node.input(5);
        node.inputs.truncate(1);
        node.inputs.extend([Some(w), None, None, None, bias]);
        for a in ["activation", "split", "scale", "zero", "low", "high"] {
            node.attrs.remove(a);
        }
    }
    g.prune()
}

/// A quantized layer.
struct Quantized {
    k: usize,
    n: usize,
    /// `[n/16][k/4][16][4]`.
    packed: Vec<i8>,
    scale: Vec<f32>,
    sums: Vec<i32>,
    order: Option<Vec<i32>>,
    split: Option<usize>,
    bias: Option<Vec<f32>>,
    attrs: Vec<(&'static str, Attr)>,
}

/// Places of K: the `loud` channels with the largest magnitudes last, the others where they were, but for those
/// that make room.
fn loud_last(layer: &Layer, loud: usize) -> Vec<usize> {
    let k = layer.k;
    let mut by_size: Vec<usize> = (0..k).collect();
    by_size.sort_by(|&a, &b| layer.loudest[b].total_cmp(&layer.loudest[a]).then(a.cmp(&b)));
    let is_loud: Vec<bool> = {
        let mut v = vec![false; k];
        by_size[..loud].iter().for_each(|&c| v[c] = true);
        v
    };
    let mut order: Vec<usize> = (0..k).collect();
    let quiet_at_end = (k - loud..k).filter(|&c| !is_loud[c]);
    let loud_before = (0..k - loud).filter(|&c| is_loud[c]);
    for (a, b) in loud_before.zip(quiet_at_end) {
        order.swap(a, b);
    }
    order
}

fn linear(g: &Graph, id: usize, method: &Method, calibration: Option<&Calibration>) -> Result<Quantized> {
    let node = &g.nodes[id];
    let size = |name: &str| node.int(name).and_then(|i| usize::try_from(i).ok()).unwrap_or(0);
    let (k, n, name) = (size("k"), size("n"), node.name.clone());
    let packed = node
        .input(1)
        .and_then(|v| g.constant(v))
        .ok_or_else(|| Error::data_loss(format!("layer `{name}` has no weights")))?
        .to_f32();
    if packed.iter().any(|x| !x.is_finite()) {
        return Err(Error::data_loss(format!(
            "the weights of layer `{name}` hold values that are not finite"
        )));
    }
    let seen = if method.calibrated() {
        let c = calibration
            .ok_or_else(|| Error::invalid("this method needs a calibration: give `--calibration`"))?;
        let l = c.layer(&name).filter(|l| l.k == k).ok_or_else(|| {
            Error::invalid(format!(
                "the calibration does not know layer `{name}`: it was made from another model"
            ))
        })?;
        Some(l)
    } else {
        None
    };
    let w = PackedF32::new(n, k, &packed)?;
    // A second segment pays where it is small beside the first.
    let loud = if k >= 4 * method.loud && k.is_multiple_of(K_ALIGN) { method.loud } else { 0 };
    let order: Vec<usize> = match seen {
        Some(l) if loud > 0 => loud_last(l, loud),
        _ => (0..k).collect(),
    };
    let split = (loud > 0).then_some(k - loud);
    // Row-major [k][n] again, in the order of the places.
    let original: Vec<f32> = order
        .iter()
        .flat_map(|&ki| (0..n).map(move |ni| (ki, ni)))
        .map(|(ki, ni)| w.data()[(ni / 16 * k + ki) * 16 + ni % 16])
        .collect();
    let mut scale = vec![0.0f32; n];
    for row in original.chunks_exact(n) {
        scale.iter_mut().zip(row).for_each(|(s, x)| *s = s.max(x.abs()));
    }
    scale.iter_mut().for_each(|s| *s = if *s > 0.0 { *s / 127.0 } else { 1.0 });
    if method.clip {
        clip(&original, n, &mut scale, |i| seen.map_or(1.0, |l| l.product(order[i], order[i])));
    }
    let q = match (method.rounding, seen) {
        (Rounding::Gptq, Some(l)) => {
            let mean: f64 = (0..k).map(|i| f64::from(l.product(i, i))).sum::<f64>() / k as f64;
            let damping = (method.damping * mean).max(1e-12);
            let mut turn: Vec<usize> = (0..k).collect();
            if method.act_order {
                turn.sort_by(|&a, &b| {
                    l.product(order[b], order[b]).total_cmp(&l.product(order[a], order[a])).then(a.cmp(&b))
                });
            }
            let u = gptq::inverse_factor(k, |i, j| {
                f64::from(l.product(order[turn[i]], order[turn[j]])) + if i == j { damping } else { 0.0 }
            })
            .map_err(|e| e.context(format!("layer `{name}`")))?;
            let mut work: Vec<f32> =
                turn.iter().flat_map(|&i| &original[i * n..(i + 1) * n]).copied().collect();
            let rounded = gptq::round(&mut work, n, &scale, &u);
            let mut q = vec![0i8; k * n];
            for (row, &i) in rounded.chunks_exact(n).zip(&turn) {
                q[i * n..(i + 1) * n].copy_from_slice(row);
            }
            q
        }
        _ => original
            .chunks_exact(n)
            .flat_map(|row| row.iter().zip(&scale).map(|(x, s)| round(x / s)))
            .collect(),
    };
    let mut bias = None;
    if method.bias_correction
        && let Some(l) = seen
    {
        let mut b = match node.input(5).and_then(|v| g.constant(v)) {
            Some(t) => t.to_f32(),
            None => vec![0.0; n],
        };
        for (i, (row, q)) in original.chunks_exact(n).zip(q.chunks_exact(n)).enumerate() {
            let mean = l.mean[order[i]];
            for c in 0..n {
                b[c] += mean * (row[c] - f32::from(q[c]) * scale[c]);
            }
        }
        bias = Some(b);
    }
    let len = packed_len(n, k).ok_or_else(|| Error::exhausted(format!("layer `{name}` is too large")))?;
    let mut packed = vec![0i8; len];
    pack_i8(|ki, ni| q[ki * n + ni], n, k, &mut packed)?;
    let view = PackedI8::new(n, k, &packed)?;
    let mut sums = column_sums(&view, 0..split.unwrap_or(k));
    if let Some(s) = split {
        sums.extend(column_sums(&view, s..k));
    }
    let mut attrs = vec![];
    match method.activations {
        Activations::PerToken => attrs.push(("activation", Attr::Str("per_token".into()))),
        Activations::PerTokenSymmetric => attrs.push(("activation", Attr::Str("per_token_symmetric".into()))),
        Activations::Static => {
            let l = seen.ok_or_else(|| Error::internal("static activations without a calibration"))?;
            let (low, high) = match method.range {
                Range::MinMax => (l.min.0, l.max.0),
                Range::MovingAverage => (l.min.1, l.max.1),
                Range::Percentile => l.percentile(0.9999),
                Range::Mse => l.least_error(),
                Range::Entropy => l.entropy(),
            };
            let step = ((high - low) / 255.0).max(f32::MIN_POSITIVE);
            attrs.push(("activation", Attr::Str("static".into())));
            attrs.push(("scale", Attr::Float(step)));
            attrs.push(("zero", Attr::Int((-low / step).round_ties_even().clamp(0.0, 255.0) as i64)));
            attrs.push(("low", Attr::Int(0)));
            attrs.push(("high", Attr::Int(255)));
        }
    }
    let moved = order.iter().enumerate().any(|(i, &c)| i != c);
    let order = moved.then(|| order.iter().map(|&i| i as i32).collect());
    Ok(Quantized { k, n, packed, scale, sums, order, split, bias, attrs })
}

/// Shrinks each output's scale to the share, 1 down to 0.8, whose rounding errs least; input channel `i` counts
/// `weight(i)`.
fn clip(w: &[f32], n: usize, scale: &mut [f32], weight: impl Fn(usize) -> f32) {
    let mut best = vec![f64::INFINITY; n];
    let whole = scale.to_vec();
    for percent in (80..=100).rev().step_by(2) {
        let f = percent as f32 / 100.0;
        let mut error = vec![0f64; n];
        for (i, row) in w.chunks_exact(n).enumerate() {
            let weight = f64::from(weight(i));
            for c in 0..n {
                let s = whole[c] * f;
                let d = row[c] - f32::from(round(row[c] / s)) * s;
                error[c] += weight * f64::from(d) * f64::from(d);
            }
        }
        for c in 0..n {
            if error[c] < best[c] {
                (best[c], scale[c]) = (error[c], whole[c] * f);
            }
        }
    }
}

impl Quantized {
    /// Puts the layer in place of the float one.
    fn place(self, g: &mut Graph, id: usize) -> Result<()> {
        let (k, n, name) = (self.k, self.n, g.nodes[id].name.clone());
        let weight = g.add_const(format!("{name}/weight_i8"), Tensor::from_i8(layout(n, k), &self.packed)?);
        let scale = g.add_const(format!("{name}/scale"), Tensor::from_f32(vec![n], &self.scale)?);
        let sums =
            g.add_const(format!("{name}/col_sum"), Tensor::from_i32(vec![self.sums.len()], &self.sums)?);
        let bias = match self.bias {
            Some(b) => Some(g.add_const(format!("{name}/bias_corrected"), Tensor::from_f32(vec![n], &b)?)),
            None => g.nodes[id].input(5),
        };
        let order = match self.order {
            Some(o) => Some(g.add_const(format!("{name}/order"), Tensor::from_i32(vec![k], &o)?)),
            None => None,
        };
        let node = &mut g.nodes[id];
        node.inputs.truncate(1);
        node.inputs.extend([Some(weight), Some(scale), Some(sums), None, bias]);
        if order.is_some() {
            node.inputs.push(order);
        }
        if let Some(s) = self.split {
            node.attrs.insert("split".into(), Attr::Int(s as i64));
        }
        node.attrs.extend(self.attrs.into_iter().map(|(k, v)| (k.to_string(), v)));
        Ok(())
    }
}

/// Both products of attention in int8, where the graph does not ask for other steps.
fn attention(g: &mut Graph, id: usize) {
    let attrs = &mut g.nodes[id].attrs;
    if !attrs.contains_key("score_quant") && !attrs.contains_key("prob_quant") {
        attrs.insert("int8".into(), Attr::Int(1));
    }
}

/// `[n/16][k/4][16][4]`, k padded to 64.
fn layout(n: usize, k: usize) -> Vec<usize> {
    vec![n.div_ceil(16), k.next_multiple_of(64) / 4, 16, 4]
}

fn table(g: &mut Graph, id: usize) -> Result<bool> {
    let node = &g.nodes[id];
    let name = node.name.clone();
    let Some(t) = node.input(2).and_then(|v| g.constant(v)).cloned() else {
        return Err(Error::data_loss(format!("lookup `{name}` has no table")));
    };
    if t.dtype != DType::F32 {
        return Ok(false);
    }
    let c = t.shape.last().copied().unwrap_or(1).max(1);
    let f = t.to_f32();
    let (mut q, mut scale) = (Vec::with_capacity(f.len()), vec![]);
    for row in f.chunks_exact(c) {
        let max = row.iter().map(|x| x.abs()).fold(0.0f32, f32::max);
        let s = if max > 0.0 { max / 127.0 } else { 1.0 };
        scale.push(s);
        q.extend(row.iter().map(|x| round(x / s)));
    }
    let table = g.add_const(format!("{name}/table_i8"), Tensor::from_i8(t.shape.clone(), &q)?);
    let scale = g.add_const(format!("{name}/scale"), Tensor::from_f32(vec![scale.len()], &scale)?);
    let node = &mut g.nodes[id];
    let old = node.input(2);
    node.inputs.truncate(2);
    node.inputs.extend([Some(table), Some(scale)]);
    if let Some(old) = old {
        retarget(g, old, table, scale)?;
    }
    Ok(true)
}

fn round(x: f32) -> i8 {
    x.round_ties_even().clamp(-127.0, 127.0) as i8
}

#[cfg(test)]
mod tests {
    use super::*;
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
}
