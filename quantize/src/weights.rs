//! Float weights and tables of a lowered graph to int8.

use pocketbert::kernels::pack::{PackedF32, PackedI8, column_sums, pack_i8, packed_len};
use pocketbert::model::graph::{Attr, Graph, ValueId};
use pocketbert::model::tensor::{DType, Tensor};
use pocketbert::{Error, Result};

use crate::tie::{retarget, tie};

/// What was quantized.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Linear layers.
    pub linears: usize,
    /// Embedding tables.
    pub tables: usize,
    /// Products that read a table instead of weights of their own.
    pub tied: usize,
}

/// Quantizes every float linear layer (symmetric per output channel, rows quantized per token) and every
/// float table (symmetric per row) of `g`.
///
/// Rounding is to nearest, ties to even; a channel of zeros gets scale 1. Layers that are int8 already stay
/// as they are.
pub fn quantize(g: &mut Graph) -> Result<Summary> {
    let mut summary = Summary { tied: tie(g)?, ..Summary::default() };
    for id in 0..g.nodes.len() {
        match g.nodes[id].op.clone().as_str() {
            "Linear" if g.nodes[id].str("activation").is_none() => {
                linear(g, id)?;
                summary.linears += 1;
            }
            "Attention" => attention(g, id),
            "Lookup" => summary.tables += usize::from(table(g, id)?),
            _ => {}
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

fn linear(g: &mut Graph, id: usize) -> Result<()> {
    let node = &g.nodes[id];
    let size = |name: &str| node.int(name).and_then(|i| usize::try_from(i).ok()).unwrap_or(0);
    let (k, n, name) = (size("k"), size("n"), node.name.clone());
    let packed = node
        .input(1)
        .and_then(|v| g.constant(v))
        .ok_or_else(|| Error::data_loss(format!("layer `{name}` has no weights")))?
        .to_f32();
    let w = PackedF32::new(n, k, &packed)?;
    // Row-major [k][n] again.
    let at = |ki: usize, ni: usize| w.data()[(ni / 16 * k + ki) * 16 + ni % 16];
    let mut scale = vec![1.0f32; n];
    for (ni, s) in scale.iter_mut().enumerate() {
        let max = (0..k).map(|ki| at(ki, ni).abs()).fold(0.0f32, f32::max);
        if max > 0.0 {
            *s = max / 127.0;
        }
    }
    let len = packed_len(n, k).ok_or_else(|| Error::exhausted(format!("layer `{name}` is too large")))?;
    let mut q = vec![0i8; len];
    pack_i8(|ki, ni| round(at(ki, ni) / scale[ni]), n, k, &mut q)?;
    let sums = column_sums(&PackedI8::new(n, k, &q)?, 0..k);
    let weight = g.add_const(format!("{name}/weight_i8"), Tensor::from_i8(layout(n, k), &q)?);
    let scale = g.add_const(format!("{name}/scale"), Tensor::from_f32(vec![n], &scale)?);
    let sums = g.add_const(format!("{name}/col_sum"), Tensor::from_i32(vec![n], &sums)?);
    let node = &mut g.nodes[id];
    node.inputs.resize(6, None);
    node.inputs[1] = Some(weight);
    node.inputs[2] = Some(scale);
    node.inputs[3] = Some(sums);
    node.inputs[4] = None;
    node.attrs.insert("activation".into(), Attr::Str("per_token".into()));
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
