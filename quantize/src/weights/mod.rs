//! Float weights and tables of a lowered graph to int8.

mod linear;
mod method;
mod migrate;
mod outliers;
mod parts;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;

use half::f16;
use pocketbert::model::graph::{Attr, Graph, ValueId};
use pocketbert::model::tensor::{Bytes, DType, Tensor};
use pocketbert::{Error, Result};

pub use self::method::{Activations, Method, Range, Rounding};
pub use self::parts::{Part, take};
use crate::calibration::Calibration;
use crate::tie::{retarget, tie};
use linear::linear;

/// What was quantized.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Linear layers.
    pub linears: usize,
    /// Embedding tables.
    pub tables: usize,
    /// Products that read a table instead of weights of their own.
    pub tied: usize,
    /// Layers that stay in f32, and those in f16.
    pub kept: usize,
    /// Values whose scales moved into the weights behind them.
    pub migrated: usize,
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
    method.check()?;
    let tied = tie(g)?;
    let known = layers(g);
    if let Some(k) = method.keep.iter().chain(&method.half).find(|k| !known.contains_key(*k)) {
        return Err(Error::invalid(format!("there is no float linear layer `{k}` to keep")));
    }
    let mut calibration = calibration.map(Cow::Borrowed);
    let mut migrated = 0;
    if method.migrate > 0.0 {
        let seen = calibration.as_mut().ok_or_else(needs_calibration)?;
        migrated = migrate::migrate(g, seen.to_mut(), method.migrate as f32)?;
    }
    if method.outliers {
        let seen = calibration.as_mut().ok_or_else(needs_calibration)?;
        migrated += outliers::shrink(g, seen.to_mut())?;
    }
    let calibration = calibration.as_deref();
    let float: Vec<usize> = (0..g.nodes.len())
        .filter(|&i| {
            let n = &g.nodes[i];
            n.op == "Linear"
                && n.str("activation").is_none()
                && !method.keep.contains(&n.name)
                && !method.half.contains(&n.name)
        })
        .collect();
    if known.is_empty() {
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
    let mut summary =
        Summary { tied, kept: method.keep.len() + method.half.len(), migrated, ..Summary::default() };
    for id in 0..g.nodes.len() {
        if let Some(layer) = done.remove(&id) {
            layer.place(g, id)?;
            summary.linears += 1;
        } else if method.half.contains(&g.nodes[id].name) {
            halve(g, id)?;
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

/// What is said when a method needs one.
fn needs_calibration() -> Error {
    Error::invalid("this method needs a calibration: give `--calibration`")
}

/// The weights of a float layer in half precision.
fn halve(g: &mut Graph, id: usize) -> Result<()> {
    let name = g.nodes[id].name.clone();
    let Some(t) = g.nodes[id].input(1).and_then(|v| g.constant(v)).cloned() else {
        return Err(Error::data_loss(format!("layer `{name}` has no weights")));
    };
    let halves: Vec<f16> = t.to_f32().into_iter().map(f16::from_f32).collect();
    if halves.iter().any(|h| !h.is_finite()) {
        return Err(Error::invalid(format!("layer `{name}` has weights beyond f16's range: keep it in f32")));
    }
    let bytes = halves.iter().flat_map(|h| h.to_le_bytes()).collect();
    let t = Tensor::new(DType::F16, t.shape.clone(), Bytes::from_vec(bytes))?;
    let v = g.add_const(format!("{name}/weight_f16"), t);
    g.nodes[id].inputs[1] = Some(v);
    Ok(())
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
