//! Linear layers in every form: float, weights with QDQ, dynamic integer, ONNX Runtime's fused ones.

use std::borrow::Cow;

use super::chain::Quant;
use super::{Kind, Low, Lowering, Semantics};
use crate::error::{Error, Result};
use crate::kernels;
use crate::model::graph::{Attr, Node, ValueId};
use crate::model::tensor::{DType, Tensor};

/// A constant weight matrix, `[k][n]` row-major.
pub(super) struct Weight {
    pub k: usize,
    pub n: usize,
    pub data: WeightData,
}

pub(super) enum WeightData {
    Float(Vec<f32>),
    /// `(q - zero[n]) * scale[n]`; `scale` and `zero` have one entry or `n`.
    Int8 {
        q: Vec<i8>,
        scale: Vec<f32>,
        zero: Vec<i32>,
    },
}

/// How a linear layer's input is quantized.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// Not at all.
    Float,
    /// At run time.
    Dynamic,
    /// By constants.
    Static(Quant),
}

impl Weight {
    /// The weights as floats.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.data {
            WeightData::Float(f) => f.clone(),
            WeightData::Int8 { q, scale, zero } => q
                .iter()
                .enumerate()
                .map(|(i, &w)| {
                    let c = i % self.n.max(1);
                    let at = |len: usize| if len == 1 { 0 } else { c };
                    (i32::from(w) - zero[at(zero.len())]) as f32 * scale[at(scale.len())]
                })
                .collect(),
        }
    }
}

impl Lowering<'_> {
    /// The constant matrix behind `v`; `transposed` when the graph reads it as `[n][k]`.
    pub(super) fn weight(&self, v: ValueId, transposed: bool) -> Result<Option<Weight>> {
        if let Some(t) = self.g.constant(v) {
            let [a, b] = t.shape[..] else { return Ok(None) };
            if !t.dtype.is_float() {
                return Ok(None);
            }
            let data = reorder(t.to_f32(), a, b, transposed);
            if data.iter().any(|x| !x.is_finite()) {
                return Err(Error::data_loss(format!(
                    "weight `{}` holds values that are not finite",
                    self.g.names[v]
                )));
            }
            let (k, n) = if transposed { (b, a) } else { (a, b) };
            return Ok(Some(Weight { k, n, data: WeightData::Float(data) }));
        }
        let Some(node) = self.g.producer_node(v) else { return Ok(None) };
        match node.op.as_str() {
            "Identity" | "Cast" => match node.input(0) {
                Some(x) => self.weight(x, transposed),
                None => Ok(None),
            },
            "Transpose" if node.ints("perm").is_none_or(|p| p == [1, 0]) => match node.input(0) {
                Some(x) => self.weight(x, !transposed),
                None => Ok(None),
            },
            "DequantizeLinear" => {
                let (Some(q), Some(s)) = (node.input(0), node.input(1)) else { return Ok(None) };
                self.int8_weight(q, s, node.input(2), transposed)
            }
            _ => Ok(None),
        }
    }

    /// An integer weight with its scale and zero point values.
    pub(super) fn int8_weight(
        &self,
        q: ValueId,
        scale: ValueId,
        zero: Option<ValueId>,
        mut transposed: bool,
    ) -> Result<Option<Weight>> {
        let mut q = q;
        while let Some(n) = self.g.producer_node(q) {
            match (n.op.as_str(), n.input(0)) {
                ("Transpose", Some(x)) if n.ints("perm").is_none_or(|p| p == [1, 0]) => {
                    transposed = !transposed;
                    q = x;
                }
                ("Identity", Some(x)) => q = x,
                _ => return Ok(None),
            }
        }
        let (Some(t), Some(s)) = (self.g.constant(q), self.g.constant(scale)) else { return Ok(None) };
        let [a, b] = t.shape[..] else { return Ok(None) };
        let offset = match t.dtype {
            DType::I8 => 0,
            DType::U8 => 128,
            _ => return Ok(None),
        };
        let data: Vec<i8> =
            t.bytes().iter().map(|&x| if offset == 0 { x as i8 } else { (x ^ 0x80) as i8 }).collect();
        let (k, n) = if transposed { (b, a) } else { (a, b) };
        let data = reorder(data, a, b, transposed);
        let scale = s.to_f32();
        let zero: Vec<i32> = match zero.and_then(|z| self.g.constant(z)) {
            Some(z) => z.to_f64().iter().map(|&z| z as i32 - offset).collect(),
            None => vec![-offset],
        };
        for len in [scale.len(), zero.len()] {
            if len != 1 && len != n {
                return Err(Error::unimplemented(format!(
                    "weight `{}` has {len} scales or zero points for {n} output channels: only per-tensor and \
                     per-output-channel quantization is supported",
                    self.g.names[q]
                )));
            }
        }
        if scale.iter().any(|s| !s.is_finite()) {
            return Err(Error::data_loss(format!("the scale of weight `{}` is not finite", self.g.names[q])));
        }
        Ok(Some(Weight { k, n, data: WeightData::Int8 { q: data, scale, zero } }))
    }

    /// Lowers `v` if `node`, which makes it, is a product with a constant matrix.
    pub(super) fn linear(&mut self, v: ValueId, node: &Node) -> Result<Option<Low>> {
        let opt = |i: usize| node.input(i);
        match node.op.as_str() {
            "MatMul" | "FusedMatMul" => {
                if node.int("transA") == Some(1) || node.float("alpha").is_some_and(|a| a != 1.0) {
                    return Ok(None);
                }
                let (x, w) = (self.need(node, 0)?, self.need(node, 1)?);
                match self.weight(w, node.int("transB") == Some(1))? {
                    Some(w) => self.emit_linear(v, x, w, Act::Float, None).map(Some),
                    None => Ok(None),
                }
            }
            "Gemm" => {
                let (x, w) = (self.need(node, 0)?, self.need(node, 1)?);
                let Some(w) = self.weight(w, node.int("transB") == Some(1))? else { return Ok(None) };
                let one = |a: &str| node.float(a).is_none_or(|f| f == 1.0);
                if node.int("transA") == Some(1) || !one("alpha") || !one("beta") {
                    return self.fail(v, "Gemm with transA, alpha or beta is not supported here");
                }
                let bias = match opt(2) {
                    Some(b) => Some(self.bias(v, b, w.n)?),
                    None => None,
                };
                self.emit_linear(v, x, w, Act::Float, bias).map(Some)
            }
            // Cast(MatMulInteger(xq, w)) * (x scale * w scale)
            "Mul" => {
                for (a, b) in [(0, 1), (1, 0)] {
                    let (Some(acc), Some(scale)) = (opt(a), opt(b)) else { return Ok(None) };
                    let Some(cast) = self.g.producer_node(acc).filter(|n| n.op == "Cast") else { continue };
                    let Some(mm) = cast
                        .input(0)
                        .and_then(|v| self.g.producer_node(v))
                        .filter(|n| n.op == "MatMulInteger")
                    else {
                        continue;
                    };
                    return self.matmul_integer(v, &mm.clone(), scale).map(Some);
                }
                Ok(None)
            }
            super::integer::PER_TOKEN => self.per_token(v, node).map(Some),
            "MatMulIntegerToFloat" => {
                let (xq, w) = (self.need(node, 0)?, self.need(node, 1)?);
                let ws = self.need(node, 3)?;
                let Some(w) = self.int8_weight(w, ws, opt(5), false)? else { return Ok(None) };
                let bias = opt(6).map(|b| self.bias(v, b, w.n)).transpose()?;
                let x = self.dynamic_source(v, xq)?;
                self.emit_linear(v, x, w, Act::Dynamic, bias).map(Some)
            }
            "DynamicQuantizeMatMul" => {
                let (x, w, ws) = (self.need(node, 0)?, self.need(node, 1)?, self.need(node, 2)?);
                let Some(w) = self.int8_weight(w, ws, opt(3), false)? else { return Ok(None) };
                let bias = opt(4).map(|b| self.bias(v, b, w.n)).transpose()?;
                self.emit_linear(v, x, w, Act::Dynamic, bias).map(Some)
            }
            _ => Ok(None),
        }
    }

    pub(super) fn bias(&self, v: ValueId, b: ValueId, n: usize) -> Result<Vec<f32>> {
        match self.float_const(b) {
            Some((t, _)) if t.len() == n => Ok(t),
            Some((t, _)) if t.len() == 1 => Ok(vec![t[0]; n]),
            _ => self.fail(v, "its bias is not a constant per output channel"),
        }
    }

    fn matmul_integer(&mut self, v: ValueId, mm: &Node, scale: ValueId) -> Result<Low> {
        let (xq, wq) = (self.need(mm, 0)?, self.need(mm, 1)?);
        let x = self.dynamic_source(v, xq)?;
        // The scale is x's scale times the weight's, which is the constant factor.
        let node = self.g.producer_node(scale).filter(|n| n.op == "Mul");
        let ws = node.and_then(|n| {
            n.inputs
                .iter()
                .flatten()
                .copied()
                .find(|&i| self.g.constant(i).is_some_and(|t| t.dtype.is_float()))
        });
        let Some(ws) = ws else {
            return self
                .fail(v, "the scale of this integer product is not the activation's times a constant");
        };
        match self.int8_weight(wq, ws, mm.input(3), false)? {
            Some(w) => self.emit_linear(v, x, w, Act::Dynamic, None),
            None => self.fail(v, "the integer product's second operand is no constant 8-bit matrix"),
        }
    }

    /// The float tensor behind a DynamicQuantizeLinear output.
    pub(super) fn dynamic_source(&self, v: ValueId, xq: ValueId) -> Result<ValueId> {
        let chain = self.walk_up(xq, false);
        match self.g.producer_node(chain.root) {
            Some(n) if n.op == "DynamicQuantizeLinear" && n.outputs.first() == Some(&Some(chain.root)) => {
                // Reshapes between the two must leave rows as they are; they do for every known exporter,
                // and a wrong shape is caught by the channel check below.
                self.need(n, 0)
            }
            _ => self.fail(v, "its first operand does not come from DynamicQuantizeLinear"),
        }
    }

    pub(super) fn emit_linear(
        &mut self,
        v: ValueId,
        x: ValueId,
        w: Weight,
        act: Act,
        bias: Option<Vec<f32>>,
    ) -> Result<Low> {
        let mut low = self.lower(x)?;
        if low.kind.channels() != w.k {
            return self.fail(v, "its weight does not fit its input");
        }
        let mut act = act;
        if let Act::Float = act
            && matches!(w.data, WeightData::Int8 { .. })
            && let Some((q, before)) = self.quantized_by(low.v)
        {
            act = Act::Static(q);
            low.v = before.unwrap_or(low.v);
        }
        let name = self.g.names[v].clone();
        let kind = match low.kind {
            Kind::Rows(_) => Kind::Rows(w.n),
            Kind::Pooled(_) => Kind::Pooled(w.n),
        };
        let dynamic = match self.semantics {
            Semantics::PerToken => "per_token",
            Semantics::Reference => "per_tensor",
        };
        let v = wire_linear(&mut self.out, &name, low.v, &w, act, dynamic, bias.as_deref())?;
        Ok(Low { v, kind })
    }
}

impl Lowering<'_> {
    /// The 8-bit fake quantization that lowered value `v` went through last, and what went into it if it
    /// comes right before `v`. Values on its grid quantize to the same integers again, so selecting rows
    /// in between does no harm.
    fn quantized_by(&self, mut v: ValueId) -> Option<(Quant, Option<ValueId>)> {
        let mut direct = true;
        loop {
            let n = self.maker(v)?;
            match n.op.as_str() {
                "FakeQuant" => {
                    let get = |a: &str| n.int(a).and_then(|i| i32::try_from(i).ok());
                    let q = Quant {
                        scale: n.float("scale")?,
                        zero: get("zero")?,
                        low: get("low")?,
                        high: get("high")?,
                        ties: false,
                    };
                    let bits8 = matches!((q.low, q.high), (0, 255) | (-128, 127));
                    return bits8.then(|| (q, if direct { n.input(0) } else { None }));
                }
                "SelectFirst" | "Columns" => {
                    direct = false;
                    v = n.input(0)?;
                }
                _ => return None,
            }
        }
    }
}

/// Adds a `Linear` node and its packed weights to `out`.
fn wire_linear(
    out: &mut crate::model::graph::Graph,
    name: &str,
    x: ValueId,
    w: &Weight,
    act: Act,
    dynamic: &str,
    bias: Option<&[f32]>,
) -> Result<ValueId> {
    let mut attrs = vec![("k", Attr::Int(w.k as i64)), ("n", Attr::Int(w.n as i64))];
    let mut inputs = vec![Some(x)];
    let int8 = match act {
        Act::Float => None,
        Act::Dynamic => {
            attrs.push(("activation", Attr::Str(dynamic.into())));
            Some(())
        }
        Act::Static(q) => {
            attrs.push(("activation", Attr::Str("static".into())));
            attrs.extend(q.attrs());
            Some(())
        }
    };
    match (&w.data, int8) {
        (WeightData::Int8 { q, scale, zero }, Some(())) => {
            let len = kernels::pack::packed_len(w.n, w.k)
                .ok_or_else(|| Error::exhausted(format!("layer `{name}` is too large")))?;
            let mut packed = vec![0i8; len];
            kernels::pack::pack_i8(|k, n| q[k * w.n + n], w.n, w.k, &mut packed)?;
            let sums = kernels::pack::column_sums(&kernels::pack::PackedI8::new(w.n, w.k, &packed)?, 0..w.k);
            let layout = vec![w.n.div_ceil(16), w.k.next_multiple_of(64) / 4, 16, 4];
            inputs.push(Some(out.add_const(format!("{name}/weight"), Tensor::from_i8(layout, &packed)?)));
            inputs.push(Some(
                out.add_const(format!("{name}/scale"), Tensor::from_f32(vec![scale.len()], scale)?),
            ));
            inputs.push(Some(out.add_const(format!("{name}/col_sum"), Tensor::from_i32(vec![w.n], &sums)?)));
            inputs.push(
                zero.iter()
                    .any(|&z| z != 0)
                    .then(|| {
                        Tensor::from_i32(vec![zero.len()], zero)
                            .map(|t| out.add_const(format!("{name}/zero"), t))
                    })
                    .transpose()?,
            );
        }
        _ => {
            let f = match &w.data {
                WeightData::Float(f) => Cow::Borrowed(f),
                WeightData::Int8 { .. } => Cow::Owned(w.to_f32()),
            };
            let len = kernels::pack::packed_len_f32(w.n, w.k)
                .ok_or_else(|| Error::exhausted(format!("layer `{name}` is too large")))?;
            let mut packed = vec![0f32; len];
            kernels::pack::pack_f32(|k, n| f[k * w.n + n], w.n, w.k, &mut packed)?;
            let layout = vec![w.n.div_ceil(16), w.k, 16];
            inputs.push(Some(out.add_const(format!("{name}/weight"), Tensor::from_f32(layout, &packed)?)));
            inputs.extend([None, None, None]);
        }
    }
    inputs.push(match bias {
        Some(b) => Some(out.add_const(format!("{name}/bias"), Tensor::from_f32(vec![w.n], b)?)),
        None => None,
    });
    Ok(out.add_node("Linear", crate::model::DOMAIN, name, inputs, attrs))
}

/// `[a][b]` data as `[k][n]`.
fn reorder<T: Copy>(data: Vec<T>, a: usize, b: usize, transposed: bool) -> Vec<T> {
    if !transposed {
        return data;
    }
    let mut out = Vec::with_capacity(data.len());
    for j in 0..b {
        for i in 0..a {
            out.push(data[i * b + j]);
        }
    }
    out
}
