//! Decoders that are tied to the embedding table.

use pocketbert::kernels::pack::PackedF32;
use pocketbert::model::DOMAIN;
use pocketbert::model::graph::{Dim, Graph, Input, NodeId, ValueId};
use pocketbert::model::normalize::PICKS;
use pocketbert::model::tensor::{DType, Tensor};
use pocketbert::{Error, Result};

/// Slots of an `Unembed`'s table and of its scales.
const TABLE: usize = 2;
const SCALE: usize = 3;

/// Makes every float product with the transposed word embedding table, number by number the same weights, an
/// `Unembed` on the table itself. Gives how many.
///
/// Masked-language heads are made like this. Their weights would be a second copy of the largest constant of
/// the model, and their product runs for the tokens that a call picks instead of for all.
pub fn tie(g: &mut Graph) -> Result<usize> {
    let by_id = g.nodes.iter().find(|n| n.op == "Lookup" && n.str("by") == Some("id"));
    let Some(table) = by_id.and_then(|n| n.input(TABLE)) else { return Ok(0) };
    let Some(t) = g.constant(table).filter(|t| t.dtype == DType::F32).cloned() else { return Ok(0) };
    let [rows, channels] = t.shape[..] else { return Ok(0) };
    let values = t.to_f32();
    let mut tied: Vec<NodeId> = vec![];
    for (id, n) in g.nodes.iter().enumerate() {
        let size = |name: &str| n.int(name).and_then(|i| usize::try_from(i).ok());
        if n.op != "Linear"
            || n.str("activation").is_some()
            || n.str("epilogue").is_some()
            || (size("n"), size("k")) != (Some(rows), Some(channels))
        {
            continue;
        }
        let Some(w) = n.input(1).and_then(|v| g.constant(v)) else { continue };
        let w = w.to_f32();
        let w = PackedF32::new(rows, channels, &w)?;
        // Panels of 16 outputs, as `PackedF32` lays them.
        let at = |k: usize, r: usize| w.data()[(r / 16 * channels + k) * 16 + r % 16];
        if (0..rows).all(|r| (0..channels).all(|k| at(k, r) == values[r * channels + k])) {
            tied.push(id);
        }
    }
    for &id in &tied {
        let picks = match g.inputs.iter().find(|i| g.names[i.value] == PICKS) {
            Some(i) => i.value,
            None => {
                let value = g.add_value(PICKS);
                let dims = vec![Dim::Symbolic(PICKS.into())];
                g.inputs.push(Input { value, elem_type: DType::I64 as i32, dims });
                value
            }
        };
        let name = g.nodes[id].name.clone();
        let bias = match g.nodes[id].input(5) {
            Some(b) => b,
            None => g.add_const(format!("{name}/bias"), Tensor::from_f32(vec![rows], &vec![0.0; rows])?),
        };
        let node = &mut g.nodes[id];
        node.op = "Unembed".into();
        node.domain = DOMAIN.into();
        node.attrs.clear();
        node.inputs = vec![node.inputs[0], Some(picks), Some(table), None, Some(bias)];
    }
    Ok(tied.len())
}

/// Gives the `Unembed`s that read table `old` its quantized form.
pub fn retarget(g: &mut Graph, old: ValueId, table: ValueId, scale: ValueId) -> Result<()> {
    for n in g.nodes.iter_mut().filter(|n| n.op == "Unembed" && n.input(TABLE) == Some(old)) {
        match n.inputs.get_mut(TABLE..=SCALE) {
            Some(slots) => slots.copy_from_slice(&[Some(table), Some(scale)]),
            None => return Err(Error::internal(format!("{} lacks inputs", n.label()))),
        }
    }
    Ok(())
}

/// Leaves out the decoders that [`tie`] found, for a run that looks at layers' inputs alone: their rows become the
/// outputs in place of scores over the vocabulary, and their weights are not needed.
pub fn without_decoders(g: &mut Graph) -> Result<()> {
    for n in g.nodes.iter().filter(|n| n.op == "Unembed") {
        if let (Some(Some(y)), Some(x)) = (n.outputs.first(), n.input(0)) {
            g.outputs.iter_mut().filter(|o| *o == y).for_each(|o| *o = x);
        }
    }
    let mut seen = std::collections::HashSet::new();
    g.outputs.retain(|o| seen.insert(*o));
    g.nodes.retain(|n| n.op != "Unembed");
    g.inputs.retain(|i| g.names[i.value] != PICKS);
    g.prune()?;
    let used: std::collections::HashSet<ValueId> =
        g.nodes.iter().flat_map(|n| n.inputs.iter().flatten().copied()).collect();
    g.consts.retain(|v, _| used.contains(v));
    Ok(())
}
