//! Embedding tables: lookups by token id, token type and position, float or 8-bit.

use super::{Kind, Low, Lowering};
use crate::error::{Error, Result};
use crate::model::eval::Role;
use crate::model::graph::{Attr, ValueId};
use crate::model::tensor::{DType, Tensor};

/// What selects the rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Index {
    Ids,
    Types,
    /// The position plus this offset (2 in RoBERTa).
    Position(usize),
    /// Always this row.
    Row(usize),
}

impl Lowering<'_> {
    /// Lowers a table lookup: `Gather(table, ids)`, the table or the result perhaps dequantized.
    pub(super) fn lookup(&mut self, v: ValueId) -> Result<Option<Low>> {
        let Some(node) = self.g.producer_node(v).cloned() else { return Ok(None) };
        let (gather, dequant) = match node.op.as_str() {
            "Gather" => (node, None),
            "DequantizeLinear" => {
                let Some(n) =
                    node.input(0).and_then(|x| self.g.producer_node(x)).filter(|n| n.op == "Gather")
                else {
                    return Ok(None);
                };
                (n.clone(), Some(node))
            }
            _ => return Ok(None),
        };
        if gather.int("axis").unwrap_or(0) != 0 {
            return Ok(None);
        }
        let (Some(table), Some(ix)) = (gather.input(0), gather.input(1)) else { return Ok(None) };
        // Dequantized before or after the lookup: the same values.
        let (table, params) = match (self.g.constant(table), dequant) {
            (Some(t), None) => (t.clone(), None),
            (Some(t), Some(d)) => (t.clone(), Some(d)),
            (None, None) => match self.g.producer_node(table) {
                Some(d) if d.op == "DequantizeLinear" => {
                    let Some(t) = d.input(0).and_then(|t| self.g.constant(t)) else { return Ok(None) };
                    (t.clone(), Some(d.clone()))
                }
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let [rows, hidden] = table.shape[..] else { return Ok(None) };
        let Some(index) = self.index_of(ix) else {
            return self.fail(v, "a table is read at indices that are neither ids, types nor positions");
        };
        let name = gather.name.clone();
        let mut inputs = vec![];
        let mut attrs = vec![("hidden", Attr::Int(hidden as i64)), ("rows", Attr::Int(rows as i64))];
        match index {
            Index::Ids => {
                self.vocab = self.vocab.max(rows);
                inputs.push(Some(self.ids));
                attrs.push(("by", Attr::Str("id".into())));
            }
            Index::Types => {
                inputs.push(Some(self.types));
                attrs.push(("by", Attr::Str("type".into())));
            }
            Index::Position(offset) => {
                self.max_length = self.max_length.min(rows.saturating_sub(offset));
                inputs.push(Some(self.ids));
                attrs.push(("by", Attr::Str("position".into())));
                attrs.push(("offset", Attr::Int(offset as i64)));
            }
            Index::Row(r) => {
                inputs.push(Some(self.ids));
                attrs.push(("by", Attr::Str("row".into())));
                attrs.push(("offset", Attr::Int(r as i64)));
            }
        }
        inputs.push(Some(self.offsets));
        match params {
            None => {
                let f = table.to_f32();
                if f.iter().any(|x| !x.is_finite()) {
                    return Err(Error::data_loss(format!(
                        "table of `{name}` holds values that are not finite"
                    )));
                }
                inputs.push(Some(
                    self.out.add_const(format!("{name}/table"), Tensor::from_f32(vec![rows, hidden], &f)?),
                ));
            }
            Some(d) => {
                let scale = d.input(1).and_then(|s| self.g.constant(s)).map(|s| s.to_f32());
                let zero = d.input(2).and_then(|s| self.g.constant(s)).map(|s| s.to_f64());
                let Some(scale) = scale.filter(|s| s.len() == 1 || s.len() == rows) else {
                    return self.fail(v, "a quantized table has other scales than one or one per row");
                };
                let offset = match table.dtype {
                    DType::I8 => 0,
                    DType::U8 => 128,
                    _ => return self.fail(v, "a quantized table is not 8-bit"),
                };
                let q: Vec<i8> = table
                    .bytes()
                    .iter()
                    .map(|&x| if offset == 0 { x as i8 } else { (x ^ 0x80) as i8 })
                    .collect();
                let zero: Vec<i32> = match zero {
                    Some(z) => z.iter().map(|&z| z as i32 - offset).collect(),
                    None => vec![-offset],
                };
                inputs.push(Some(
                    self.out.add_const(format!("{name}/table"), Tensor::from_i8(vec![rows, hidden], &q)?),
                ));
                inputs.push(Some(
                    self.out.add_const(format!("{name}/scale"), Tensor::from_f32(vec![scale.len()], &scale)?),
                ));
                if zero.iter().any(|&z| z != 0) {
                    let t = Tensor::from_i32(vec![zero.len()], &zero)?;
                    inputs.push(Some(self.out.add_const(format!("{name}/zero"), t)));
                }
            }
        }
        let v = self.out.add_node("Lookup", crate::model::DOMAIN, &name, inputs, attrs);
        Ok(Some(Low { v, kind: Kind::Rows(hidden) }))
    }

    /// What the index tensor `ix` is, by its values at the unmasked probes.
    fn index_of(&self, ix: ValueId) -> Option<Index> {
        let mut found: Option<Index> = None;
        for p in &self.plain {
            let (b, s) = (p.probe.batch, p.probe.seq);
            let val = p.vals[ix].as_ref()?;
            let full = |bi: usize, si: usize| match val.shape.len() {
                2 => val.broadcast_at(&[bi, si]),
                1 => val.broadcast_at(&[si]),
                0 => val.scalar(),
                _ => None,
            };
            let all = |f: &dyn Fn(usize, usize) -> Option<f64>| {
                (0..b).all(|bi| (0..s).all(|si| full(bi, si).is_some() && full(bi, si) == f(bi, si)))
            };
            let input = |r: Role| self.input_data(p, r);
            let first = full(0, 0).filter(|&f| f >= 0.0)?;
            let same = |r: Role| input(r).is_some_and(|i| all(&|bi, si| i.broadcast_at(&[bi, si])));
            let this = if same(Role::Ids) {
                Index::Ids
            } else if same(Role::Types) {
                Index::Types
            } else if all(&|_, si| Some(first + si as f64)) && s > 1 {
                Index::Position(first as usize)
            } else if all(&|_, _| Some(first)) {
                Index::Row(first as usize)
            } else {
                return None;
            };
            if found.is_some_and(|f| f != this) {
                return None;
            }
            found = Some(this);
        }
        found
    }
}
