//! Merges small operators of the lowered graph: bias and activation into the product, the residual into
//! layer norm, query, key and value into one product.

use std::collections::HashMap;

use crate::error::Result;
use crate::model::graph::{Attr, Graph, Node, NodeId, ValueId};
use crate::model::tensor::{DType, Tensor};

/// Input slots of `Linear`: x, weight, scale, column sums, weight zero points, bias.
const LINEAR_BIAS: usize = 5;

/// Applies every rule until none does anything. A pass over the nodes takes time linear in their number.
pub(super) fn fuse(g: &mut Graph) -> Result<()> {
    g.prune()?;
    let mut links = Links::new(g);
    let mut changed = true;
    while std::mem::take(&mut changed) {
        for rule in [affine, activation, residual, identity] {
            for id in 0..g.nodes.len() {
                changed |= rule(g, &mut links, id)?;
            }
        }
    }
    g.prune()?;
    merge_linears(g)?;
    g.prune()
}

/// Who makes each value and how often it is read, kept true by the rules: indexing the graph again after every
/// change would take time quadratic in its nodes.
struct Links {
    producer: Vec<Option<NodeId>>,
    /// Nodes that read a value, and one for each graph output that it is.
    readers: Vec<usize>,
}

impl Links {
    fn new(g: &Graph) -> Self {
        let values = 0..g.names.len();
        let mut readers: Vec<usize> = values.clone().map(|v| g.consumers(v).len()).collect();
        for &v in &g.outputs {
            readers[v] += 1;
        }
        Links { producer: values.map(|v| g.producer(v)).collect(), readers }
    }

    /// The node making input `slot` of `id`, if nobody else reads it.
    fn sole_source(&self, g: &Graph, id: NodeId, slot: usize) -> Option<NodeId> {
        // Constants that a rule added are none of the values known here, and have no source.
        let v = g.nodes[id].input(slot).filter(|&v| self.readers.get(v) == Some(&1))?;
        self.producer[v]
    }

    /// Lets node `keep` make what node `drop`, its only reader, made.
    fn take_output(&mut self, g: &mut Graph, keep: NodeId, drop: NodeId) {
        let out = g.nodes[drop].outputs.first().copied().flatten();
        let mut inputs = std::mem::take(&mut g.nodes[drop].inputs);
        inputs.sort_unstable();
        inputs.dedup();
        for v in inputs.into_iter().flatten() {
            if let Some(n) = self.readers.get_mut(v) {
                *n -= 1;
            }
        }
        g.nodes[keep].outputs[0] = out;
        g.nodes[drop] = Node { op: "Nothing".into(), ..Node::default() };
        if let Some(v) = out {
            self.producer[v] = Some(keep);
        }
    }
}

/// A constant per channel after a product is its bias; after a bare layer norm, its scale or shift.
fn affine(g: &mut Graph, links: &mut Links, id: NodeId) -> Result<bool> {
    let op = g.nodes[id].op.clone();
    if op != "AddChannels" && op != "MulChannels" {
        return Ok(false);
    }
    let (Some(src), Some(c)) = (links.sole_source(g, id, 0), g.nodes[id].input(1)) else { return Ok(false) };
    let source = &g.nodes[src];
    let value = g.consts.get(&c).map(|t| t.to_f32()).unwrap_or_default();
    match (source.op.as_str(), op.as_str()) {
        ("Linear", "AddChannels") if source.str("epilogue").is_none() => {
            let bias: Vec<f32> = match source.input(LINEAR_BIAS).and_then(|b| g.consts.get(&b)) {
                Some(old) => old.to_f32().iter().zip(&value).map(|(a, b)| a + b).collect(),
                None => value,
            };
            let t = Tensor::from_f32(vec![bias.len()], &bias)?;
            let name = format!("{}/bias", g.nodes[src].name);
            let b = g.add_const(name, t);
            let inputs = &mut g.nodes[src].inputs;
            inputs.resize(inputs.len().max(LINEAR_BIAS + 1), None);
            inputs[LINEAR_BIAS] = Some(b);
        }
        ("LayerNorm", _) => {
            let get = |s: usize| source.input(s).and_then(|v| g.consts.get(&v)).map(|t| t.to_f32());
            let (Some(mut gamma), Some(mut beta)) = (get(1), get(2)) else { return Ok(false) };
            for (i, v) in value.iter().enumerate() {
                if op == "MulChannels" {
                    gamma[i] *= v;
                    beta[i] *= v;
                } else {
                    beta[i] += v;
                }
            }
            let name = g.nodes[src].name.clone();
            let c = gamma.len();
            let (a, b) = (Tensor::from_f32(vec![c], &gamma)?, Tensor::from_f32(vec![c], &beta)?);
            let (a, b) = (g.add_const(format!("{name}/gamma"), a), g.add_const(format!("{name}/beta"), b));
            g.nodes[src].inputs[1] = Some(a);
            g.nodes[src].inputs[2] = Some(b);
        }
        _ => return Ok(false),
    }
    links.take_output(g, src, id);
    Ok(true)
}

/// An activation function right after a product is its epilogue.
fn activation(g: &mut Graph, links: &mut Links, id: NodeId) -> Result<bool> {
    if g.nodes[id].op != "Unary" {
        return Ok(false);
    }
    let f = g.nodes[id].str("function").unwrap_or("").to_string();
    let Some(src) = links.sole_source(g, id, 0) else { return Ok(false) };
    if g.nodes[src].op != "Linear"
        || g.nodes[src].attrs.contains_key("epilogue")
        || !matches!(f.as_str(), "relu" | "gelu" | "gelu_tanh" | "tanh")
    {
        return Ok(false);
    }
    g.nodes[src].attrs.insert("epilogue".into(), Attr::Str(f));
    links.take_output(g, src, id);
    Ok(true)
}

/// LayerNorm(a + b) reads both itself.
fn residual(g: &mut Graph, links: &mut Links, id: NodeId) -> Result<bool> {
    if g.nodes[id].op != "LayerNorm" || g.nodes[id].inputs.len() > 3 {
        return Ok(false);
    }
    let Some(src) = links.sole_source(g, id, 0) else { return Ok(false) };
    if g.nodes[src].op != "Add" {
        return Ok(false);
    }
    // Both are read by the layer norm instead of the sum, which is left without readers.
    let (a, b) = (g.nodes[src].input(0), g.nodes[src].input(1));
    g.nodes[src] = Node { op: "Nothing".into(), ..Node::default() };
    g.nodes[id].inputs[0] = a;
    g.nodes[id].inputs.push(b);
    Ok(true)
}

/// An Identity that no output needs.
fn identity(g: &mut Graph, links: &mut Links, id: NodeId) -> Result<bool> {
    if g.nodes[id].op != "Identity" {
        return Ok(false);
    }
    // The output's name moves to the node that makes the value, if it makes it for this output alone.
    match links.sole_source(g, id, 0) {
        Some(src) => {
            links.take_output(g, src, id);
            Ok(true)
        }
        None => Ok(false),
    }
}

/// Products of the same rows with the same quantization become one, wider product.
fn merge_linears(g: &mut Graph) -> Result<()> {
    let mut groups: HashMap<ValueId, Vec<NodeId>> = HashMap::new();
    for (id, n) in g.nodes.iter().enumerate() {
        let all_attention = n.outputs.first().copied().flatten().is_some_and(|o| {
            let users = g.consumers(o);
            !users.is_empty() && users.iter().all(|&u| g.nodes[u].op == "Attention")
        });
        if n.op == "Linear" && all_attention && n.str("epilogue").is_none() {
            groups.entry(n.input(0).unwrap_or(usize::MAX)).or_default().push(id);
        }
    }
    let mut groups: Vec<Vec<NodeId>> = groups.into_values().filter(|v| v.len() > 1).collect();
    groups.sort();
    for group in groups {
        merge(g, &group)?;
    }
    Ok(())
}

fn merge(g: &mut Graph, group: &[NodeId]) -> Result<()> {
    let same = |a: NodeId, b: NodeId| {
        let (a, b) = (&g.nodes[a], &g.nodes[b]);
        let list = ["scale", "zero", "low", "high", "k"];
        a.str("activation") == b.str("activation")
            && list.iter().all(|k| a.int(k) == b.int(k) && a.float(k) == b.float(k))
            && a.input(4).is_some() == b.input(4).is_some()
            // Channels apart lie elsewhere in each product.
            && [a, b].iter().all(|n| n.int("split").is_none())
    };
    let widths: HashMap<NodeId, usize> =
        group.iter().map(|&n| (n, g.nodes[n].int("n").unwrap_or(0) as usize)).collect();
    let width = |n: NodeId| widths.get(&n).copied().unwrap_or(0);
    if group.iter().any(|&n| !same(group[0], n) || !width(n).is_multiple_of(16) || width(n) == 0) {
        return Ok(());
    }
    let total: usize = group.iter().map(|&n| width(n)).sum();
    let first = group[0];
    let name = format!("{}+{}", g.nodes[first].name, group.len() - 1);
    // Panels of 16 outputs lie one after another, so concatenating the packed bytes concatenates outputs.
    let mut inputs = vec![g.nodes[first].input(0)];
    for slot in 1..=LINEAR_BIAS {
        let parts: Vec<_> =
            group.iter().map(|&n| g.nodes[n].input(slot).and_then(|v| g.consts.get(&v).cloned())).collect();
        if parts.iter().all(|p| p.is_none()) {
            inputs.push(None);
            continue;
        }
        let t = match slot {
            1 => {
                let parts: Vec<_> = parts.into_iter().flatten().collect();
                let bytes: Vec<u8> = parts.iter().flat_map(|t| t.bytes()).copied().collect();
                let mut shape = parts[0].shape.clone();
                shape[0] = parts.iter().map(|t| t.shape[0]).sum();
                Tensor::new(parts[0].dtype, shape, crate::model::tensor::Bytes::from_vec(bytes))?
            }
            _ => {
                let dtype = parts.iter().flatten().next().map_or(DType::F32, |t| t.dtype);
                let mut all = Vec::with_capacity(total);
                for (p, &n) in parts.iter().zip(group) {
                    let v = p.as_ref().map(|t| t.to_f64()).unwrap_or_else(|| vec![0.0]);
                    all.extend((0..width(n)).map(|i| v[if v.len() == 1 { 0 } else { i }]));
                }
                if dtype == DType::I32 {
                    Tensor::from_i32(vec![total], &all.iter().map(|&x| x as i32).collect::<Vec<_>>())?
                } else {
                    Tensor::from_f32(vec![total], &all.iter().map(|&x| x as f32).collect::<Vec<_>>())?
                }
            }
        };
        let part = ["x", "weight", "scale", "col_sum", "zero", "bias"][slot];
        inputs.push(Some(g.add_const(format!("{name}/{part}"), t)));
    }
    let mut node = g.nodes[first].clone();
    node.name = name.clone();
    node.inputs = inputs;
    node.attrs.insert("n".into(), Attr::Int(total as i64));
    let out = g.add_value(name);
    node.outputs = vec![Some(out)];
    // Readers shift their columns by where their part now starts.
    let mut at = 0i64;
    let starts: HashMap<ValueId, i64> = group
        .iter()
        .filter_map(|&n| {
            let start = at;
            at += width(n) as i64;
            g.nodes[n].outputs.first().copied().flatten().map(|o| (o, start))
        })
        .collect();
    let readers: Vec<NodeId> = starts.keys().flat_map(|&v| g.consumers(v)).copied().collect();
    for id in readers {
        let n = &mut g.nodes[id];
        let mut columns = n.ints("columns").unwrap_or(&[0, 0, 0]).to_vec();
        for (slot, column) in columns.iter_mut().enumerate().take(3) {
            if let Some(start) = n.input(slot).and_then(|v| starts.get(&v)) {
                *column += start;
                n.inputs[slot] = Some(out);
            }
        }
        n.attrs.insert("columns".into(), Attr::Ints(columns));
    }
    for &n in group {
        g.nodes[n] = Node { op: "Nothing".into(), ..Node::default() };
    }
    g.nodes[first] = node;
    Ok(())
}
