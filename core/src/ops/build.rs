//! From a node of the domain `ai.pocketbert` and its constants to an [`Operator`].
//!
//! The node may come from an untrusted bundle: every attribute and constant is checked here, once, so
//! that running needs no more checks than shapes.

use std::sync::Arc;

use super::Operator;
use super::attention::Attention;
use super::linear::{Int8, Linear, Weights};
use super::lookup::{By, Lookup};
use super::map::{FakeQuant, Map, Unary};
use super::norm::LayerNorm;
use super::rows::{Add, Channels, Columns, Flatten, Identity, L2Normalize, MeanPool, SelectFirst};
use super::unembed::Unembed;
use crate::error::{Error, Result};
use crate::kernels::{self, ActQuant, Activation};
use crate::memory;
use crate::model::graph::{Attr, Graph, Node};
use crate::model::tensor::{DType, Tensor};

/// Largest number of channels, heads or rows that a node may declare.
const MAX_DIM: i64 = 1 << 24;
/// Largest K: products of u8 and i8 then fit an i32 accumulator.
const MAX_K: usize = 65_536;

/// The operator, and which of the node's inputs are activations (the others are its constants).
pub fn build(g: &Graph, n: &Node) -> Result<(Arc<dyn Operator>, Vec<usize>)> {
    let b = Builder { g, n };
    let unary = |op: Arc<dyn Operator>| Ok((op, vec![0]));
    match n.op.as_str() {
        "Linear" => Ok((Arc::new(b.linear()?), vec![0])),
        "Attention" => Ok((Arc::new(b.attention()?), vec![0, 1, 2, 3, 4])),
        "Lookup" => Ok((Arc::new(b.lookup()?), vec![0, 1])),
        "LayerNorm" => {
            let (gamma, beta) = (b.f32s(1)?, b.f32s(2)?);
            if gamma.len() != beta.len() {
                return b.bad("scale and shift differ in length");
            }
            let epsilon = b.positive("epsilon")?;
            let op = LayerNorm { gamma, beta, epsilon };
            Ok((Arc::new(op), if n.input(3).is_some() { vec![0, 3] } else { vec![0] }))
        }
        "Unary" => unary(Arc::new(Unary { function: b.function("function")? })),
        "FakeQuant" | "Steps" => {
            let (scale, zero, lowest, highest) = b.quant()?;
            let ties = n.int("ties") == Some(1);
            if ties && (lowest < -128 || highest > 255) {
                return b.bad("ties are told apart in 8 bits only");
            }
            let quant = kernels::FakeQuant { scale, zero, lowest, highest };
            unary(Arc::new(FakeQuant { quant, ties, steps: n.op == "Steps" }))
        }
        "Map" => {
            let code = n.ints("code").unwrap_or(&[]);
            let constants = match n.attrs.get("constants") {
                Some(Attr::Floats(f)) => f.clone(),
                _ => vec![],
            };
            let map = Map::new(code, &constants).or_else(|e| b.bad(&e.to_string()))?;
            unary(Arc::new(map))
        }
        "Columns" => {
            let (start, length) = (b.size("start")?, b.size("length")?);
            if length == 0 {
                return b.bad("no columns");
            }
            unary(Arc::new(Columns { start, length }))
        }
        "AddChannels" => unary(Arc::new(Channels { values: b.f32s(1)?, multiply: false })),
        "MulChannels" => unary(Arc::new(Channels { values: b.f32s(1)?, multiply: true })),
        "Add" => Ok((Arc::new(Add), vec![0, 1])),
        "SelectFirst" => Ok((Arc::new(SelectFirst), vec![0, 1])),
        "MeanPool" => {
            let inputs = if n.input(3).is_some() { vec![0, 1, 2, 3] } else { vec![0, 1, 2] };
            Ok((Arc::new(MeanPool), inputs))
        }
        "L2Normalize" => unary(Arc::new(L2Normalize)),
        "Unembed" => Ok((Arc::new(b.unembed()?), vec![0, 1])),
        "Flatten" => unary(Arc::new(Flatten)),
        "Identity" => unary(Arc::new(Identity)),
        _ => Err(Error::unimplemented(format!(
            "{} is not an operator of this version: the bundle needs a newer PocketBERT",
            n.label()
        ))),
    }
}

struct Builder<'a> {
    g: &'a Graph,
    n: &'a Node,
}

impl Builder<'_> {
    fn bad<T>(&self, why: &str) -> Result<T> {
        Err(Error::data_loss(format!("{}: {why}", self.n.label())))
    }

    fn constant(&self, slot: usize) -> Result<Option<&Arc<Tensor>>> {
        match self.n.input(slot) {
            None => Ok(None),
            Some(v) => match self.g.constant(v) {
                Some(t) => Ok(Some(t)),
                None => self.bad(&format!("input {slot} must be a constant")),
            },
        }
    }

    fn need(&self, slot: usize, dtype: DType) -> Result<&Arc<Tensor>> {
        match self.constant(slot)? {
            Some(t) if t.dtype == dtype => Ok(t),
            Some(t) => self.bad(&format!("input {slot} is {} instead of {}", t.dtype.name(), dtype.name())),
            None => self.bad(&format!("input {slot} is missing")),
        }
    }

    fn f32s(&self, slot: usize) -> Result<Vec<f32>> {
        let v = self.need(slot, DType::F32)?.try_f32()?;
        if v.iter().any(|x| !x.is_finite()) {
            return self.bad(&format!("input {slot} holds values that are not finite"));
        }
        Ok(v)
    }

    fn i32s(&self, slot: usize) -> Result<Vec<i32>> {
        self.need(slot, DType::I32)?.try_i32()
    }

    fn size(&self, name: &str) -> Result<usize> {
        match self.n.int(name) {
            Some(i) if (0..=MAX_DIM).contains(&i) => Ok(i as usize),
            _ => self.bad(&format!("attribute `{name}` is missing or out of range")),
        }
    }

    fn positive(&self, name: &str) -> Result<f32> {
        match self.n.float(name) {
            Some(f) if f.is_finite() && f >= 0.0 => Ok(f),
            _ => self.bad(&format!("attribute `{name}` is missing or out of range")),
        }
    }

    fn function(&self, name: &str) -> Result<Activation> {
        match self.n.str(name) {
            Some("relu") => Ok(Activation::Relu),
            Some("gelu") => Ok(Activation::GeluErf),
            Some("gelu_tanh") => Ok(Activation::GeluTanh),
            Some("tanh") => Ok(Activation::Tanh),
            Some("sigmoid") => Ok(Activation::Sigmoid),
            None => Ok(Activation::None),
            Some(f) => self.bad(&format!("unknown function `{f}`")),
        }
    }

    fn quant(&self) -> Result<(f32, i32, i32, i32)> {
        let scale = self.positive("scale")?;
        let int = |name: &str| match self.n.int(name) {
            Some(i) if (-65_536..=65_536).contains(&i) => Ok(i as i32),
            _ => self.bad(&format!("attribute `{name}` is missing or out of range")),
        };
        let (zero, low, high) = (int("zero")?, int("low")?, int("high")?);
        if scale == 0.0 || low >= high {
            return self.bad("an impossible quantization");
        }
        Ok((scale, zero, low, high))
    }

    fn linear(&self) -> Result<Linear> {
        let (k, n) = (self.size("k")?, self.size("n")?);
        if k == 0 || n == 0 || k > MAX_K {
            return self.bad(&format!("a product of {k} by {n} is out of range"));
        }
        let bias = match self.constant(5)? {
            Some(_) => Some(self.f32s(5)?),
            None => None,
        };
        if bias.as_ref().is_some_and(|b| b.len() != n) {
            return self.bad("its bias does not fit its outputs");
        }
        let weights = match self.n.str("activation") {
            None => {
                // Half-precision weights are widened once: stored small, computed in f32.
                let w = match self.constant(1)? {
                    Some(t) if t.dtype == DType::F16 => t.to_f32(),
                    _ => self.f32s(1)?,
                };
                if w.iter().any(|x| !x.is_finite()) {
                    return self.bad("its weights hold values that are not finite");
                }
                if kernels::pack::packed_len_f32(n, k) != Some(w.len()) {
                    return self.bad("its weights have another size than its shape says");
                }
                Weights::Float(w)
            }
            Some(mode) => {
                let activation = match mode {
                    "per_token" => ActQuant::PerToken,
                    "per_token_symmetric" => ActQuant::PerTokenSymmetric,
                    "per_tensor" => ActQuant::PerTensor,
                    "static" => {
                        let (scale, zero, low, high) = self.quant()?;
                        let signed = match (low, high) {
                            (0, 255) => false,
                            (-128, 127) => true,
                            _ => return self.bad("its activations are not 8-bit"),
                        };
                        if !(low..=high).contains(&zero) {
                            return self.bad("its zero point is out of range");
                        }
                        ActQuant::Static { scale, zero_point: zero, signed }
                    }
                    other => return self.bad(&format!("unknown activation quantization `{other}`")),
                };
                let packed = (**self.need(1, DType::I8)?).clone();
                if kernels::pack::packed_len(n, k) != Some(packed.len()) {
                    return self.bad("its weights have another size than its shape says");
                }
                let scale = self.f32s(2)?;
                let col_sum = self.i32s(3)?;
                let zero = match self.constant(4)? {
                    Some(_) => Some(self.i32s(4)?),
                    None => None,
                };
                let (split, order) = (self.split(k)?, self.order(k)?);
                let fits = |len: usize| len == 1 || len == n;
                let sums = n * (1 + usize::from(split.is_some()));
                if !fits(scale.len())
                    || zero.as_ref().is_some_and(|z| !fits(z.len()))
                    || col_sum.len() != sums
                {
                    return self.bad("its scales, zero points or column sums do not fit its outputs");
                }
                if zero.iter().flatten().any(|z| !(-256..=256).contains(z)) {
                    return self.bad("a weight's zero point is out of range");
                }
                Weights::Int8(Int8 { packed, scale, zero, col_sum, activation, split, order })
            }
        };
        Ok(Linear { k, n, weights, bias, epilogue: self.function("epilogue")? })
    }

    /// Where the channels with a scale of their own start: whole blocks of K at its end.
    fn split(&self, k: usize) -> Result<Option<usize>> {
        if self.n.int("split").is_none() {
            return Ok(None);
        }
        let split = self.size("split")?;
        if split == 0 || split >= k || !split.is_multiple_of(kernels::pack::K_ALIGN) {
            return self.bad("attribute `split` is not a multiple of 64 inside its inputs");
        }
        Ok(Some(split))
    }

    /// For each place of K the input channel that stands there, each once.
    fn order(&self, k: usize) -> Result<Option<Vec<u16>>> {
        if self.n.input(6).is_none() {
            return Ok(None);
        }
        let order = self.i32s(6)?;
        let mut seen = vec![false; k];
        let place = |i: &i32| {
            usize::try_from(*i).ok().and_then(|i| seen.get_mut(i)).map(|s| std::mem::replace(s, true))
        };
        if order.len() != k || !order.iter().map(place).all(|seen| seen == Some(false)) {
            return self.bad("its order does not name every input channel once");
        }
        // K is at most 65,536, so that every channel is a `u16`.
        Ok(Some(memory::collect(order.iter().map(|&i| i as u16))?))
    }

    fn attention(&self) -> Result<Attention> {
        let (heads, head_size, value_size) =
            (self.size("heads")?, self.size("head_size")?, self.size("value_size")?);
        let scale = match self.n.float("scale") {
            Some(s) if s.is_finite() => s,
            _ => return self.bad("its scale is missing or not finite"),
        };
        let limit = |a: usize, b: usize| a > 0 && b > 0 && a.checked_mul(b).is_some_and(|p| p <= MAX_K);
        if !limit(heads, head_size) || !limit(heads, value_size) {
            return self.bad("its heads are out of range");
        }
        let columns = match self.n.ints("columns") {
            Some([q, k, v]) if [q, k, v].iter().all(|c| (0..=MAX_DIM).contains(*c)) => {
                [*q as usize, *k as usize, *v as usize]
            }
            _ => return self.bad("attribute `columns` is missing or out of range"),
        };
        // Up to `most` quantizations, each as scale, zero point and range.
        let quants = |name: &str, most: usize| match self.n.attrs.get(name) {
            None => Ok(vec![]),
            Some(Attr::Floats(f)) if f.len().is_multiple_of(4) && (1..=most).contains(&(f.len() / 4)) => f
                .as_chunks::<4>()
                .0
                .iter()
                .map(|&[scale, zero, low, high]| match scale > 0.0 && scale.is_finite() && low < high {
                    true => Ok(kernels::FakeQuant {
                        scale,
                        zero: zero as i32,
                        lowest: low as i32,
                        highest: high as i32,
                    }),
                    false => self.bad(&format!("attribute `{name}` is out of range")),
                })
                .collect(),
            Some(_) => self.bad(&format!("attribute `{name}` is no list of quantizations")),
        };
        let int8 = self.n.int("int8") == Some(1);
        let (score_quant, prob_quant) =
            (quants("score_quant", 1)?.first().copied(), quants("prob_quant", 2)?);
        if int8 && (score_quant.is_some() || !prob_quant.is_empty()) {
            return self.bad("int8 attention has no fake quantization");
        }
        Ok(Attention {
            int8,
            heads,
            head_size,
            value_size,
            scale,
            columns,
            masked: self.n.int("masked") == Some(1),
            first_only: false,
            score_quant,
            score_step: self.n.float("score_step").unwrap_or(1.0),
            prob_quant,
        })
    }

    fn lookup(&self) -> Result<Lookup> {
        let offset = match self.n.int("offset") {
            None => 0,
            Some(_) => self.size("offset")?,
        };
        let by = match self.n.str("by") {
            Some("id" | "type") => By::Value,
            Some("position") => By::Position(offset),
            Some("row") => By::Row(offset),
            _ => return self.bad("attribute `by` is missing or unknown"),
        };
        let Some(table) = self.constant(2)? else { return self.bad("its table is missing") };
        let [rows, hidden] = table.shape[..] else { return self.bad("its table is not a matrix") };
        if rows == 0 || hidden == 0 {
            return self.bad("its table is empty");
        }
        let (scale, zero) = match table.dtype {
            DType::F32 => (vec![], vec![]),
            DType::I8 => {
                let scale = self.f32s(3)?;
                let zero = if self.n.input(4).is_some() { self.i32s(4)? } else { vec![] };
                let fits = |len: usize| len == 1 || len == rows;
                if !fits(scale.len()) || !(zero.is_empty() || fits(zero.len())) {
                    return self.bad("its scales or zero points do not fit its rows");
                }
                (scale, zero)
            }
            _ => return self.bad("its table is neither f32 nor i8"),
        };
        Ok(Lookup { by, table: (**table).clone(), scale, zero })
    }

    fn unembed(&self) -> Result<Unembed> {
        let table = self.need(2, DType::I8)?;
        let [rows, hidden] = table.shape[..] else { return self.bad("its table is not a matrix") };
        if rows == 0 || hidden == 0 || hidden > MAX_K {
            return self.bad("its table is out of range");
        }
        let (scale, bias) = (self.f32s(3)?, self.f32s(4)?);
        if !(scale.len() == 1 || scale.len() == rows) || bias.len() != rows {
            return self.bad("its scales or bias do not fit its rows");
        }
        Ok(Unembed { table: (**table).clone(), scale, bias })
    }
}
