//! Linear layers in standard ONNX.

use pocketbert::kernels::pack::{PackedF32, PackedI8, as_i8};
use pocketbert::model::graph::{Attr, Node, ValueId};
use pocketbert::model::tensor::{Bytes, DType, Tensor};
use pocketbert::{Error, Result};

use super::{Writer, reduced};

/// ONNX's numbers of element types.
const F32: i64 = 1;
const U8: i64 = 2;
const I32: i64 = 6;

/// A segment of a row under one scale: which channels, `None` for all.
struct Segment {
    channels: Option<Vec<usize>>,
    /// The places of its channels in K.
    places: Vec<usize>,
}

impl Writer<'_> {
    pub(super) fn linear(&mut self, n: &Node) -> Result<ValueId> {
        let size = |name: &str| n.int(name).and_then(|i| usize::try_from(i).ok()).unwrap_or(0);
        let (k, outputs) = (size("k"), size("n"));
        let x = self.input(n, 0)?;
        let mut y = match n.str("activation") {
            None => {
                let packed = self.constant(n, 1)?.to_f32();
                let p = PackedF32::new(outputs, k, &packed)?;
                let w: Vec<f32> = (0..k * outputs)
                    .map(|i| p.data()[(i % outputs / 16 * k + i / outputs) * 16 + i % outputs % 16])
                    .collect();
                // Half-precision weights are widened; what they hold is exact in f32.
                let w = self.floats("weight", vec![k, outputs], &w)?;
                self.op("MatMul", &[x, w], vec![])
            }
            Some("static") => self.static_product(n, x, k, outputs)?,
            Some(mode @ ("per_token" | "per_token_symmetric")) => {
                self.per_token_product(n, x, k, outputs, mode == "per_token_symmetric")?
            }
            Some(other) => {
                return Err(Error::unimplemented(format!(
                    "{}: activations `{other}` are not written to standard ONNX: leave out `--onnx`",
                    n.label()
                )));
            }
        };
        if n.input(5).is_some() {
            let b = self.constant(n, 5)?.clone();
            let b = self.tensor("bias", b);
            y = self.op("Add", &[y, b], vec![]);
        }
        self.function(y, n.str("epilogue"))
    }

    /// The int8 weights, `[places of K][outputs]`, and their scales, one per output.
    fn weights(&self, n: &Node, k: usize, outputs: usize) -> Result<(Vec<i8>, Vec<f32>)> {
        if n.input(4).is_some() {
            return Err(Error::unimplemented(format!(
                "{} has zero points of weights, which are not written to standard ONNX: leave out `--onnx`",
                n.label()
            )));
        }
        let t = self.constant(n, 1)?;
        let p = PackedI8::from_bytes(outputs, k, t.bytes())?;
        let q =
            (0..k).flat_map(|ki| (0..outputs).map(move |c| (ki, c))).map(|(ki, c)| p.get(ki, c)).collect();
        let scale = self.constant(n, 2)?.to_f32();
        let scale = if scale.len() == 1 { vec![scale[0]; outputs] } else { scale };
        Ok((q, scale))
    }

    /// QuantizeLinear and DequantizeLinear of the input, DequantizeLinear of the weights, MatMul.
    fn static_product(&mut self, n: &Node, x: ValueId, k: usize, outputs: usize) -> Result<ValueId> {
        let (q, scale) = self.weights(n, k, outputs)?;
        let q = self.in_order(n, &q, k, outputs)?;
        let step = self.number(n.float("scale").unwrap_or(1.0))?;
        let zero = n.int("zero").unwrap_or(0);
        let signed = n.int("low") == Some(-128);
        let zero = Tensor::new(
            if signed { DType::I8 } else { DType::U8 },
            vec![],
            Bytes::from_vec(vec![if signed { zero as i8 as u8 } else { zero as u8 }]),
        )?;
        let zero = self.tensor("zero", zero);
        let xq = self.op("QuantizeLinear", &[x, step, zero], vec![]);
        let xd = self.op("DequantizeLinear", &[xq, step, zero], vec![]);
        let w = self.tensor("weight_i8", Tensor::from_i8(vec![k, outputs], &q)?);
        let s = self.floats("weight_scale", vec![outputs], &scale)?;
        let z = self.tensor("weight_zero", Tensor::from_i8(vec![outputs], &vec![0; outputs])?);
        let wd = self.op("DequantizeLinear", &[w, s, z], vec![("axis", Attr::Int(1))]);
        Ok(self.op("MatMul", &[xd, wd], vec![]))
    }

    /// `[places][outputs]` as `[channels][outputs]`.
    fn in_order(&self, n: &Node, q: &[i8], k: usize, outputs: usize) -> Result<Vec<i8>> {
        let order = self.order(n, k)?;
        let mut out = vec![0i8; q.len()];
        for (row, &channel) in q.chunks_exact(outputs.max(1)).zip(&order) {
            out[channel * outputs..(channel + 1) * outputs].copy_from_slice(row);
        }
        Ok(out)
    }

    /// The channel at each place of K.
    fn order(&self, n: &Node, k: usize) -> Result<Vec<usize>> {
        match n.input(6) {
            None => Ok((0..k).collect()),
            Some(_) => {
                let o = self.constant(n, 6)?.to_i64();
                let o: Vec<usize> =
                    o.into_iter().filter_map(|c| usize::try_from(c).ok()).filter(|&c| c < k).collect();
                if o.len() == k {
                    Ok(o)
                } else {
                    Err(Error::data_loss(format!("{} has an impossible order", n.label())))
                }
            }
        }
    }

    /// Sum over the segments of `(integer product - zero point * sums of weights) * row's scale`, times the
    /// channel's scale.
    fn per_token_product(
        &mut self,
        n: &Node,
        x: ValueId,
        k: usize,
        outputs: usize,
        symmetric: bool,
    ) -> Result<ValueId> {
        let (q, scale) = self.weights(n, k, outputs)?;
        let order = self.order(n, k)?;
        let split = n.int("split").and_then(|s| usize::try_from(s).ok());
        let segments = match split {
            None => vec![Segment { channels: None, places: (0..k).collect() }],
            Some(s) => vec![
                Segment { channels: None, places: (0..s).collect() },
                Segment { channels: Some(order[s..].to_vec()), places: (s..k).collect() },
            ],
        };
        let mut sum = None;
        for s in segments {
            let (part, rows) = match &s.channels {
                // The quiet channels: the loud ones are zeros, both in the row and in the weights, so that
                // nothing is moved.
                None => {
                    let mut rows = vec![0i8; k * outputs];
                    let mut quiet = vec![0f32; k];
                    for &p in &s.places {
                        let c = order[p];
                        quiet[c] = 1.0;
                        rows[c * outputs..(c + 1) * outputs]
                            .copy_from_slice(&q[p * outputs..(p + 1) * outputs]);
                    }
                    let part = if s.places.len() < k {
                        let quiet = self.floats("quiet", vec![k], &quiet)?;
                        self.op("Mul", &[x, quiet], vec![])
                    } else {
                        x
                    };
                    (part, rows)
                }
                Some(channels) => {
                    let index: Vec<i64> = channels.iter().map(|&c| c as i64).collect();
                    let index = self.tensor("loud", Tensor::from_i64(vec![index.len()], &index)?);
                    let part = self.op("Gather", &[x, index], vec![("axis", Attr::Int(-1))]);
                    (
                        part,
                        s.places.iter().flat_map(|&p| &q[p * outputs..(p + 1) * outputs]).copied().collect(),
                    )
                }
            };
            let depth = rows.len() / outputs.max(1);
            let sums: Vec<i32> = (0..outputs)
                .map(|c| rows.iter().skip(c).step_by(outputs).map(|&w| i32::from(w)).sum())
                .collect();
            let w = self.tensor("weight_i8", Tensor::from_i8(vec![depth, outputs], &rows)?);
            let sums = self.tensor("weight_sums", Tensor::from_i32(vec![outputs], &sums)?);
            let y = self.integer_product(part, w, sums, symmetric)?;
            sum = Some(match sum {
                None => y,
                Some(before) => self.op("Add", &[before, y], vec![]),
            });
        }
        let y = sum.ok_or_else(|| Error::internal("a layer without segments"))?;
        let scale = self.floats("weight_scale", vec![outputs], &scale)?;
        Ok(self.op("Mul", &[y, scale], vec![]))
    }

    /// `x` quantized by the range of each row, times int8 weights, in whole steps times the row's scale.
    fn integer_product(&mut self, x: ValueId, w: ValueId, sums: ValueId, symmetric: bool) -> Result<ValueId> {
        // A row of zeros gets the smallest scale instead of none.
        let least = self.number(f32::MIN_POSITIVE)?;
        let (scale, zero) = if symmetric {
            let size = self.op("Abs", &[x], vec![]);
            let high = self.op("ReduceMax", &[size], reduced(-1));
            let steps = self.number(127.0)?;
            let scale = self.op("Div", &[high, steps], vec![]);
            (self.op("Max", &[scale, least], vec![]), self.number(128.0)?)
        } else {
            let (none, steps) = (self.number(0.0)?, self.number(255.0)?);
            let low = self.op("ReduceMin", &[x], reduced(-1));
            let low = self.op("Min", &[low, none], vec![]);
            let high = self.op("ReduceMax", &[x], reduced(-1));
            let high = self.op("Max", &[high, none], vec![]);
            let range = self.op("Sub", &[high, low], vec![]);
            let scale = self.op("Div", &[range, steps], vec![]);
            let scale = self.op("Max", &[scale, least], vec![]);
            let below = self.op("Sub", &[none, low], vec![]);
            let zero = self.op("Div", &[below, scale], vec![]);
            let zero = self.op("Min", &[zero, steps], vec![]);
            (scale, self.op("Round", &[zero], vec![]))
        };
        let inverse = self.op("Reciprocal", &[scale], vec![]);
        let t = self.op("Mul", &[x, inverse], vec![]);
        let t = self.op("Round", &[t], vec![]);
        let t = self.op("Add", &[t, zero], vec![]);
        let (low, high) = (self.number(if symmetric { 1.0 } else { 0.0 })?, self.number(255.0)?);
        let t = self.op("Clip", &[t, low, high], vec![]);
        let steps = self.op("Cast", &[t], vec![("to", Attr::Int(U8))]);
        let product = self.op("MatMulInteger", &[steps, w], vec![]);
        let zero = self.op("Cast", &[zero], vec![("to", Attr::Int(I32))]);
        let shift = self.op("Mul", &[zero, sums], vec![]);
        let product = self.op("Sub", &[product, shift], vec![]);
        let product = self.op("Cast", &[product], vec![("to", Attr::Int(F32))]);
        Ok(self.op("Mul", &[product, scale], vec![]))
    }

    /// Scores of the whole vocabulary for every token: the table that lookups read, turned.
    pub(super) fn unembed(&mut self, n: &Node) -> Result<ValueId> {
        let x = self.input(n, 0)?;
        let t = self.constant(n, 2)?;
        let [rows, channels] = t.shape[..] else {
            return Err(Error::data_loss(format!("{} has no table", n.label())));
        };
        let sums: Vec<i32> = as_i8(t.bytes())
            .chunks_exact(channels.max(1))
            .map(|r| r.iter().map(|&w| i32::from(w)).sum())
            .collect();
        let scale = self.constant(n, 3)?.to_f32();
        let bias = self.constant(n, 4)?.clone();
        let table = self.table(n, 2)?;
        let turned = self.op("Transpose", &[table], vec![("perm", Attr::Ints(vec![1, 0]))]);
        let sums = self.tensor("weight_sums", Tensor::from_i32(vec![rows], &sums)?);
        let y = self.integer_product(x, turned, sums, false)?;
        let scale = self.floats("weight_scale", vec![scale.len()], &scale)?;
        let y = self.op("Mul", &[y, scale], vec![]);
        let bias = self.tensor("bias", bias);
        Ok(self.op("Add", &[y, bias], vec![]))
    }
}
