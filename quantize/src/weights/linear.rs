//! One linear layer to int8.

use pocketbert::kernels::pack::{K_ALIGN, PackedF32, PackedI8, column_sums, pack_i8, packed_len};
use pocketbert::model::graph::{Attr, Graph};
use pocketbert::model::tensor::Tensor;
use pocketbert::{Error, Result};

use super::{Activations, Method, Range, Rounding, layout, round};
use crate::calibration::{Calibration, Layer};
use crate::{adaround, gptq};

/// A quantized layer.
pub(super) struct Quantized {
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

pub(super) fn linear(
    g: &Graph,
    id: usize,
    method: &Method,
    calibration: Option<&Calibration>,
) -> Result<Quantized> {
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
        let c = calibration.ok_or_else(super::needs_calibration)?;
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
        (Rounding::Gptq | Rounding::Adaround, Some(l)) => {
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
            drop(u);
            if method.rounding == Rounding::Adaround {
                let h = |i: usize, j: usize| {
                    l.product(order[i], order[j]) + if i == j { damping as f32 } else { 0.0 }
                };
                adaround::improve(&original, &mut q, n, &scale, h);
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
        Activations::Static | Activations::StaticSymmetric => {
            let l = seen.ok_or_else(|| Error::internal("static activations without a calibration"))?;
            let (mut low, mut high) = match method.range {
                Range::MinMax => (l.min.0, l.max.0),
                Range::MovingAverage => (l.min.1, l.max.1),
                Range::Percentile => l.percentile(0.9999),
                Range::Mse => l.least_error(),
                Range::Entropy => l.entropy(),
            };
            let symmetric = method.activations == Activations::StaticSymmetric;
            if symmetric {
                high = high.max(-low);
                low = -high;
            }
            let step = ((high - low) / if symmetric { 254.0 } else { 255.0 }).max(f32::MIN_POSITIVE);
            let zero = if symmetric { 128.0 } else { (-low / step).round_ties_even().clamp(0.0, 255.0) };
            attrs.push(("activation", Attr::Str("static".into())));
            attrs.push(("scale", Attr::Float(step)));
            attrs.push(("zero", Attr::Int(zero as i64)));
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
    pub(super) fn place(self, g: &mut Graph, id: usize) -> Result<()> {
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
