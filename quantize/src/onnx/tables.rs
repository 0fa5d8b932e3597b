//! Embedding tables in standard ONNX.

use pocketbert::model::graph::{Node, ValueId};
use pocketbert::model::tensor::{DType, Tensor};
use pocketbert::{Error, Result};

use super::Writer;

impl Writer<'_> {
    /// A table's rows: gathered as integers, and only then floats.
    pub(super) fn lookup(&mut self, n: &Node) -> Result<ValueId> {
        let offset = n.int("offset").unwrap_or(0);
        let index = match n.str("by") {
            Some("id") => self.ids,
            Some("type") => self.types.ok_or_else(|| Error::internal("no token types"))?,
            Some("position") => self.positions(offset)?,
            _ => self.shared(&format!("row{offset}"), |w| {
                Ok(w.tensor("index", Tensor::from_i64(vec![1, 1], &[offset])?))
            })?,
        };
        let table = self.table(n, 2)?;
        let rows = self.op("Gather", &[table, index], vec![]);
        if self.constant(n, 2)?.dtype == DType::F32 {
            return Ok(rows);
        }
        if n.input(4).is_some() {
            return Err(Error::unimplemented(format!(
                "{} has zero points, which are not written to standard ONNX: leave out `--onnx`",
                n.label()
            )));
        }
        let scale = self.constant(n, 3)?.to_f32();
        if scale.len() == 1 {
            let s = self.number(scale[0])?;
            return Ok(self.op("DequantizeLinear", &[rows, s], vec![]));
        }
        // One scale per row of the table, and rows come in any order: whole steps times the gathered scale.
        let one = self.number(1.0)?;
        let steps = self.op("DequantizeLinear", &[rows, one], vec![]);
        let scales = self.floats("scale", vec![scale.len(), 1], &scale)?;
        let scales = self.op("Gather", &[scales, index], vec![]);
        Ok(self.op("Mul", &[steps, scales], vec![]))
    }

    /// The constant table in slot `i`, once for all that read it.
    pub(super) fn table(&mut self, n: &Node, i: usize) -> Result<ValueId> {
        let t = self.constant(n, i)?.clone();
        let key = format!("table_{:?}", n.input(i));
        self.shared(&key, |w| Ok(w.tensor("rows", t)))
    }

    /// `[1, sequence]`: positions plus `offset`.
    fn positions(&mut self, offset: i64) -> Result<ValueId> {
        self.shared(&format!("positions{offset}"), |w| {
            let shape = w.op("Shape", &[w.ids], vec![]);
            let scalar = |w: &mut Self, x: i64| -> Result<ValueId> {
                Ok(w.tensor("scalar", Tensor::from_i64(vec![], &[x])?))
            };
            let (axis, start, step) = (scalar(w, 1)?, scalar(w, offset)?, scalar(w, 1)?);
            let length = w.op("Gather", &[shape, axis], vec![]);
            let end = w.op("Add", &[length, start], vec![]);
            let range = w.op("Range", &[start, end, step], vec![]);
            let zero = w.ints(&[0])?;
            Ok(w.op("Unsqueeze", &[range, zero], vec![]))
        })
    }
}
