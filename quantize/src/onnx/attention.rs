//! What the attention mask is needed for, in standard ONNX: attention and means over tokens.

use pocketbert::model::graph::{Attr, Node, ValueId};
use pocketbert::model::tensor::Tensor;
use pocketbert::{Error, Result};

use super::Writer;

/// Added to the scores of masked keys.
const HIDDEN: f32 = -1e30;

impl Writer<'_> {
    /// The mask as `[batch, sequence, 1]` floats.
    fn mask_column(&mut self) -> Result<ValueId> {
        self.shared("mask_column", |w| {
            let m = w.op("Cast", &[w.mask], vec![("to", Attr::Int(1))]);
            let last = w.ints(&[-1])?;
            Ok(w.op("Unsqueeze", &[m, last], vec![]))
        })
    }

    pub(super) fn mean_pool(&mut self, n: &Node) -> Result<ValueId> {
        let x = self.input(n, 0)?;
        let mut m = self.mask_column()?;
        if n.input(3).is_some() {
            let types = self.types.ok_or_else(|| Error::internal("no token types"))?;
            let second = self.shared("second_segment", |w| {
                let one = w.tensor("one", Tensor::from_i64(vec![], &[1])?);
                let t = w.op("Equal", &[types, one], vec![]);
                let t = w.op("Cast", &[t], vec![("to", Attr::Int(1))]);
                let last = w.ints(&[-1])?;
                Ok(w.op("Unsqueeze", &[t, last], vec![]))
            })?;
            m = self.op("Mul", &[m, second], vec![]);
        }
        let axis = self.ints(&[1])?;
        let counted = self.op("Mul", &[x, m], vec![]);
        let keep = vec![("keepdims", Attr::Int(0))];
        let sum = self.op("ReduceSum", &[counted, axis], keep.clone());
        let count = self.op("ReduceSum", &[m, axis], keep);
        let one = self.number(1.0)?;
        let count = self.op("Max", &[count, one], vec![]);
        Ok(self.op("Div", &[sum, count], vec![]))
    }

    pub(super) fn attention(&mut self, n: &Node) -> Result<ValueId> {
        let size =
            |name: &str| n.int(name).ok_or_else(|| Error::data_loss(format!("{} lacks `{name}`", n.label())));
        let (heads, d, dv) = (size("heads")?, size("head_size")?, size("value_size")?);
        if n.attrs.contains_key("score_quant") || n.attrs.contains_key("prob_quant") {
            return Err(Error::unimplemented(format!(
                "{} is quantized in a way that is not written to standard ONNX: leave out `--onnx`",
                n.label()
            )));
        }
        let Some([q0, k0, v0]) = n.ints("columns") else {
            return Err(Error::data_loss(format!("{} lacks `columns`", n.label())));
        };
        let (q0, k0, v0) = (*q0, *k0, *v0);
        let q = self.heads(n, 0, q0, heads, d, [0, 2, 1, 3])?;
        let k = self.heads(n, 1, k0, heads, d, [0, 2, 3, 1])?;
        let v = self.heads(n, 2, v0, heads, dv, [0, 2, 1, 3])?;
        let scores = self.op("MatMul", &[q, k], vec![]);
        let scale = self.number(n.float("scale").unwrap_or(1.0))?;
        let scores = self.op("Mul", &[scores, scale], vec![]);
        let hide = self.shared("hidden_keys", |w| {
            let axes = w.ints(&[1, 2])?;
            let m = w.op("Unsqueeze", &[w.mask, axes], vec![]);
            let m = w.op("Cast", &[m], vec![("to", Attr::Int(1))]);
            let (one, low) = (w.number(1.0)?, w.number(HIDDEN)?);
            let m = w.op("Sub", &[one, m], vec![]);
            Ok(w.op("Mul", &[m, low], vec![]))
        })?;
        let scores = self.op("Add", &[scores, hide], vec![]);
        let p = self.op("Softmax", &[scores], vec![("axis", Attr::Int(-1))]);
        let y = self.op("MatMul", &[p, v], vec![]);
        let y = self.op("Transpose", &[y], vec![("perm", Attr::Ints(vec![0, 2, 1, 3]))]);
        let shape = self.ints(&[0, 0, heads * dv])?;
        Ok(self.op("Reshape", &[y, shape], vec![]))
    }

    /// Columns of input `i` as heads, in the order `perm` of `[batch, sequence, head, channel]`.
    fn heads(
        &mut self,
        n: &Node,
        i: usize,
        start: i64,
        heads: i64,
        d: i64,
        perm: [i64; 4],
    ) -> Result<ValueId> {
        let x = self.input(n, i)?;
        let x = self.columns(x, start, heads * d)?;
        let shape = self.ints(&[0, 0, heads, d])?;
        let x = self.op("Reshape", &[x, shape], vec![]);
        Ok(self.op("Transpose", &[x], vec![("perm", Attr::Ints(perm.to_vec()))]))
    }
}
