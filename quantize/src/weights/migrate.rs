//! Scale migration (Xiao et al. 2023, "SmoothQuant"): loud channels of a layer's input are divided by a factor, which
//! goes into the weights behind them.
//!
//! The divisor is folded into what makes the channel, so it costs nothing, and only where that can be done exactly:
//! a layer norm whose rows only linear layers read; a linear layer, ReLU included, before linear layers; the values
//! of attention before its output projection. In a network that norms after the residual (BERT, DistilBERT) the
//! norms inside the stack are read by the residual too, so there the values and the heads remain (and `outliers`). Factors are powers
//! of two: the float model gives the same bits as before.

use std::collections::HashMap;

use pocketbert::model::graph::{Graph, NodeId, ValueId};
use pocketbert::model::tensor::Tensor;
use pocketbert::{Error, Result};

use crate::calibration::{Calibration, Layer};

/// Outputs of a panel of packed weights.
const PANEL: usize = 16;
/// Largest exponent of a factor.
const MOST: f32 = 8.0;

/// What makes the channels of a value.
enum Source {
    /// Scale and shift of a layer norm.
    Norm(NodeId),
    /// Outputs of a linear layer from this one on.
    Linear(NodeId, usize),
}

/// Moves the share `alpha` of the loudness of activations into weights, and `c` with it. Gives how many values it
/// was done for.
pub fn migrate(g: &mut Graph, c: &mut Calibration, alpha: f32) -> Result<usize> {
    g.index()?;
    let mut readers: HashMap<ValueId, Vec<NodeId>> = HashMap::new();
    for (id, n) in g.nodes.iter().enumerate() {
        for v in n.inputs.iter().flatten() {
            let r = readers.entry(*v).or_default();
            if r.last() != Some(&id) {
                r.push(id);
            }
        }
    }
    let float = |g: &Graph, id: NodeId| g.nodes[id].op == "Linear" && g.nodes[id].str("activation").is_none();
    let mut done = 0;
    for id in 0..g.nodes.len() {
        let Some(v) = g.nodes[id].outputs.first().copied().flatten() else { continue };
        let Some(behind) = readers.get(&v).filter(|_| !g.outputs.contains(&v)).cloned() else { continue };
        if !behind.iter().all(|&r| float(g, r) && g.nodes[r].input(0) == Some(v)) {
            continue;
        }
        let relu = |n: NodeId| matches!(g.nodes[n].str("epilogue"), None | Some("relu"));
        let source = match g.nodes[id].op.as_str() {
            "LayerNorm" => Source::Norm(id),
            "Linear" if float(g, id) && relu(id) => Source::Linear(id, 0),
            "Attention" => {
                // The rows that hold the values, read by this attention alone.
                let values = g.nodes[id].input(2);
                let made = values.and_then(|v| g.producer(v));
                let column = g.nodes[id].ints("columns").and_then(|c| usize::try_from(*c.get(2)?).ok());
                match (values, made, column) {
                    (Some(v), Some(p), Some(column))
                        if float(g, p)
                            && g.nodes[p].str("epilogue").is_none()
                            && !g.outputs.contains(&v)
                            && readers.get(&v).is_some_and(|r| *r == [id]) =>
                    {
                        Source::Linear(p, column)
                    }
                    _ => continue,
                }
            }
            _ => continue,
        };
        let Some(factors) = factors(g, c, &behind, alpha)? else { continue };
        let inverse: Vec<f32> = factors.iter().map(|f| 1.0 / f).collect();
        match source {
            Source::Norm(p) => {
                for slot in [1, 2] {
                    scale_vector(g, p, slot, 0, &inverse)?;
                }
            }
            Source::Linear(p, column) => {
                scale_weights(g, p, |_, o| o.checked_sub(column).and_then(|o| inverse.get(o)).copied())?;
                if g.nodes[p].input(5).is_some() {
                    scale_vector(g, p, 5, column, &inverse)?;
                }
            }
        }
        for &b in &behind {
            scale_weights(g, b, |i, _| factors.get(i).copied())?;
            let name = &g.nodes[b].name;
            if let Some(l) = c.layers.iter_mut().find(|l| l.name == *name) {
                l.divide(&factors);
            }
        }
        done += 1;
    }
    Ok(done)
}

/// The factor of each channel, by what the calibration saw of it and the weights behind it; `None` if the channels
/// were not seen or do not differ.
fn factors(g: &Graph, c: &Calibration, behind: &[NodeId], alpha: f32) -> Result<Option<Vec<f32>>> {
    let Some(layer) = behind.first().and_then(|&b| c.layer(&g.nodes[b].name)) else { return Ok(None) };
    let Some(largest) = largest_weights(g, behind, layer.k)? else { return Ok(None) };
    let factors: Vec<f32> = layer
        .loudest
        .iter()
        .zip(&largest)
        .map(|(&x, &w)| {
            if x <= 0.0 || w <= 0.0 {
                return 1.0;
            }
            let exponent = (alpha * x.log2() - (1.0 - alpha) * w.log2()).round_ties_even();
            exponent.clamp(-MOST, MOST).exp2()
        })
        .collect();
    Ok(factors.iter().any(|f| *f != factors[0]).then_some(factors))
}

/// Each input channel's largest weight in the layers `behind`; `None` if one reads other channels.
pub(super) fn largest_weights(g: &Graph, behind: &[NodeId], k: usize) -> Result<Option<Vec<f32>>> {
    let mut largest = vec![0f32; k];
    for &b in behind {
        if g.nodes[b].int("k") != Some(k as i64) {
            return Ok(None);
        }
        for (i, panel) in weights(g, b)?.chunks_exact(PANEL).enumerate() {
            let row = &mut largest[i % k];
            *row = panel.iter().fold(*row, |m, x| m.max(x.abs()));
        }
    }
    Ok(Some(largest))
}

fn weights(g: &Graph, id: NodeId) -> Result<Vec<f32>> {
    let w = g.nodes[id].input(1).and_then(|v| g.constant(v));
    Ok(w.ok_or_else(|| Error::data_loss(format!("{} has no weights", g.nodes[id].label())))?.to_f32())
}

/// Multiplies each weight by `factor(input, output)`, where there is one.
pub(super) fn scale_weights(
    g: &mut Graph,
    id: NodeId,
    factor: impl Fn(usize, usize) -> Option<f32>,
) -> Result<()> {
    let mut w = weights(g, id)?;
    let k = g.nodes[id].int("k").and_then(|k| usize::try_from(k).ok()).unwrap_or(1).max(1);
    for (i, w) in w.iter_mut().enumerate() {
        let (panel, row, lane) = (i / (PANEL * k), i / PANEL % k, i % PANEL);
        if let Some(f) = factor(row, panel * PANEL + lane) {
            *w *= f;
        }
    }
    let shape = g.nodes[id].input(1).and_then(|v| g.constant(v)).map(|t| t.shape.clone()).unwrap_or_default();
    let name = format!("{}/migrated", g.nodes[id].name);
    let v = g.add_const(name, Tensor::from_f32(shape, &w)?);
    g.nodes[id].inputs[1] = Some(v);
    Ok(())
}

/// Multiplies the constant vector in `slot`, from element `start` on.
pub(super) fn scale_vector(
    g: &mut Graph,
    id: NodeId,
    slot: usize,
    start: usize,
    factors: &[f32],
) -> Result<()> {
    let Some(t) = g.nodes[id].input(slot).and_then(|v| g.constant(v)) else {
        return Err(Error::data_loss(format!("{} lacks its constant {slot}", g.nodes[id].label())));
    };
    let mut v = t.to_f32();
    v.iter_mut().skip(start).zip(factors).for_each(|(v, f)| *v *= f);
    let t = Tensor::from_f32(vec![v.len()], &v)?;
    let name = format!("{}/migrated{slot}", g.nodes[id].name);
    g.nodes[id].inputs[slot] = Some(g.add_const(name, t));
    Ok(())
}

impl Layer {
    /// As if every channel had been divided by its factor.
    pub(super) fn divide(&mut self, factors: &[f32]) {
        for channels in [&mut self.low, &mut self.high, &mut self.loudest, &mut self.mean] {
            channels.iter_mut().zip(factors).for_each(|(x, f)| *x /= f);
        }
        for i in 0..self.k {
            let row = &mut self.products[i * (i + 1) / 2..][..=i];
            row.iter_mut().zip(factors).for_each(|(p, f)| *p /= f * factors[i]);
        }
        let least = |x: &[f32]| x.iter().copied().fold(0.0, f32::min);
        let most = |x: &[f32]| x.iter().copied().fold(0.0, f32::max);
        // Of single values only the ends are known now.
        (self.min, self.max) = ((least(&self.low), least(&self.low)), (most(&self.high), most(&self.high)));
        self.histogram.fill(0);
    }
}
