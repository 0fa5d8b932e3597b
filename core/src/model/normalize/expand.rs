//! Fused and integer operators as the standard ones that they stand for.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::graph::{Attr, Graph, Node, ValueId};
use crate::model::tensor::{Bytes, DType, Tensor};

/// `g` with ONNX Runtime's fused operators and the `QLinear…` family written out.
pub(super) fn expand(g: &Graph) -> Result<Graph> {
    let mut out = g.clone();
    let nodes = std::mem::take(&mut out.nodes);
    for n in nodes {
        Expander { from: g, g: &mut out, n: &n }.node()?;
    }
    // Constants that a Constant node makes are constants.
    let mut nodes = std::mem::take(&mut out.nodes);
    nodes.retain(|n| {
        let (Some(Some(o)), true) = (n.outputs.first(), n.op == "Constant") else { return true };
        match constant(n) {
            Some(t) => {
                out.consts.insert(*o, t);
                false
            }
            None => true,
        }
    });
    out.nodes = nodes;
    requantize(&mut out);
    out.prune()?;
    Ok(out)
}

/// Makes constants of integers that a graph quantizes from other constant integers: weights that two layers share
/// and a tool quantized for each of them.
fn requantize(g: &mut Graph) {
    let producer: HashMap<ValueId, usize> = g
        .nodes
        .iter()
        .enumerate()
        .flat_map(|(i, n)| n.outputs.iter().flatten().map(move |o| (*o, i)))
        .collect();
    // A few bytes of a file may ask for many copies of a large constant; honest files make few.
    let mut budget: usize = g.consts.values().map(|t| t.bytes().len()).sum();
    let mut made = HashMap::new();
    for n in g.nodes.iter().filter(|n| n.op == "QuantizeLinear") {
        let mut from = n.input(0);
        // A chain has at most as many links as there are nodes; real ones have one or two.
        let dequantize = (0..8).find_map(|_| {
            let p = &g.nodes[*producer.get(&from?)?];
            match p.op.as_str() {
                "DequantizeLinear" => Some(Some(p)),
                "Identity" => {
                    from = p.input(0);
                    None
                }
                _ => Some(None),
            }
        });
        if let (Some(Some(d)), Some(Some(o))) = (dequantize, n.outputs.first())
            && let Some(size) = d.input(0).and_then(|c| g.constant(c)).map(|t| t.len())
            && size <= budget
            && let Some(t) = requantized(g, d, n)
        {
            budget -= size;
            made.insert(*o, Arc::new(t));
        }
    }
    g.nodes.retain(|n| !n.outputs.first().copied().flatten().is_some_and(|o| made.contains_key(&o)));
    g.consts.extend(made);
}

/// `q(d(constant))` as a constant, where both have one scale for all.
fn requantized(g: &Graph, d: &Node, q: &Node) -> Option<Tensor> {
    let scale = |n: &Node| g.constant(n.input(1)?).and_then(|t| t.scalar()).map(|s| s as f32);
    let zero = |n: &Node| match n.input(2) {
        Some(z) => g.constant(z).and_then(|t| Some((t.scalar()?, t.dtype))),
        None => Some((0.0, DType::U8)),
    };
    let ints = g.constant(d.input(0)?)?;
    let (from, (zero_from, _)) = (scale(d)?, zero(d)?);
    let (to, (zero_to, dtype)) = (scale(q)?, zero(q)?);
    let (low, high) = match dtype {
        DType::I8 => (-128.0, 127.0),
        DType::U8 => (0.0, 255.0),
        _ => return None,
    };
    let step = |x: i64| {
        let x = (x as f32 - zero_from as f32) * from;
        ((x / to).round_ties_even() + zero_to as f32).clamp(low, high)
    };
    // Through i16, since a byte of either type is its low half.
    let bytes = ints.to_i64().into_iter().map(|x| step(x) as i16 as u8).collect();
    Tensor::new(dtype, ints.shape.clone(), Bytes::from_vec(bytes)).ok()
}

fn constant(n: &Node) -> Option<std::sync::Arc<Tensor>> {
    let t = match n.constant_value()? {
        Attr::Tensor(t) => return Some(t.clone()),
        Attr::Int(i) => Tensor::from_i64(vec![], &[*i]),
        Attr::Float(f) => Tensor::from_f32(vec![], &[*f]),
        Attr::Ints(v) => Tensor::from_i64(vec![v.len()], v),
        Attr::Floats(v) => Tensor::from_f32(vec![v.len()], v),
        _ => return None,
    };
    t.ok().map(std::sync::Arc::new)
}

struct Expander<'a> {
    from: &'a Graph,
    g: &'a mut Graph,
    n: &'a Node,
}

impl Expander<'_> {
    fn node(&mut self) -> Result<()> {
        let n = self.n;
        match n.op.as_str() {
            "QLinearMatMul" => {
                let (a, b) = (self.dequant(0)?, self.dequant(3)?);
                // Sums of integers are exact: attention keeps its operands in whole steps.
                let y = self.add("MatMul", "product", vec![a, b], vec![("integer", Attr::Int(1))]);
                self.quantize_out(y, 6)
            }
            "QLinearAdd" | "QLinearMul" => {
                let (a, b) = (self.dequant(0)?, self.dequant(3)?);
                let y = self.add(&n.op["QLinear".len()..], "float", vec![a, b], vec![]);
                self.quantize_out(y, 6)
            }
            "QLinearSoftmax" | "QLinearSigmoid" => {
                let x = self.dequant(0)?;
                let attrs = n.int("axis").map(|a| ("axis", Attr::Int(a))).into_iter().collect();
                let y = self.add(&n.op["QLinear".len()..], "float", vec![x], attrs);
                self.quantize_out(y, 3)
            }
            "QGemm" => self.qgemm(),
            "FusedGemm" => {
                let function = n.str("activation").unwrap_or("");
                if !matches!(function, "Relu" | "Tanh" | "Sigmoid") {
                    return Err(Error::unimplemented(format!(
                        "{}: its activation `{function}` is not supported; save the model without graph \
                         optimisations",
                        n.label()
                    )));
                }
                let inputs = n.inputs.iter().flatten().copied().collect();
                let attrs = n.attrs.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
                let y = self.add("Gemm", "product", inputs, attrs);
                self.finish(function, vec![y], vec![])
            }
            "BiasGelu" => {
                let (x, b) = (self.need(0)?, self.need(1)?);
                let y = self.add("Add", "biased", vec![x, b], vec![]);
                self.finish("Gelu", vec![y], vec![])
            }
            "FastGelu" => {
                let mut x = self.need(0)?;
                if let Some(b) = n.input(1) {
                    x = self.add("Add", "biased", vec![x, b], vec![]);
                }
                self.finish("Gelu", vec![x], vec![("approximate", Attr::Str("tanh".into()))])
            }
            "SkipLayerNormalization" => {
                let (x, skip, gamma) = (self.need(0)?, self.need(1)?, self.need(2)?);
                let mut sum = self.add("Add", "residual", vec![x, skip], vec![]);
                if let Some(b) = n.input(4) {
                    sum = self.add("Add", "biased", vec![sum, b], vec![]);
                }
                if let Some(Some(o)) = n.outputs.get(3) {
                    self.g.nodes.push(Node {
                        op: "Identity".into(),
                        name: format!("{}/sum", n.name),
                        inputs: vec![Some(sum)],
                        outputs: vec![Some(*o)],
                        ..Node::default()
                    });
                }
                self.layer_norm(sum, Some(gamma), n.input(3))
            }
            "EmbedLayerNormalization" => {
                let ids = self.need(0)?;
                let tables = [(self.need(2)?, Some(ids)), (self.need(3)?, None)];
                let mut sum = self.embed_sum(&tables)?;
                if let (Some(seg), Some(table)) = (n.input(1), n.input(4)) {
                    let e = self.add("Gather", "types", vec![table, seg], vec![]);
                    sum = self.add("Add", "sum", vec![sum, e], vec![]);
                }
                self.mask_lengths(n.input(7));
                self.layer_norm(sum, n.input(5), n.input(6))
            }
            "QEmbedLayerNormalization" => {
                let ids = self.need(0)?;
                let word = self.dequant_with(2, 8, 13)?;
                let pos = self.dequant_with(3, 9, 14)?;
                let mut sum = self.embed_sum(&[(word, Some(ids)), (pos, None)])?;
                if let (Some(seg), Some(_)) = (n.input(1), n.input(4)) {
                    let table = self.dequant_with(4, 10, 15)?;
                    let e = self.add("Gather", "types", vec![table, seg], vec![]);
                    sum = self.add("Add", "sum", vec![sum, e], vec![]);
                }
                let (gamma, beta) = (self.dequant_with(5, 11, 16)?, self.dequant_with(6, 12, 17)?);
                self.mask_lengths(n.input(7));
                self.layer_norm(sum, Some(gamma), Some(beta))
            }
            _ => {
                self.g.nodes.push(n.clone());
                Ok(())
            }
        }
    }

    fn need(&self, i: usize) -> Result<ValueId> {
        self.n.input(i).ok_or_else(|| Error::data_loss(format!("{} lacks its input {i}", self.n.label())))
    }

    fn add(&mut self, op: &str, part: &str, inputs: Vec<ValueId>, attrs: Vec<(&str, Attr)>) -> ValueId {
        let name = format!("{}/{part}", self.n.name);
        self.g.add_node(op, "", &name, inputs.into_iter().map(Some).collect(), attrs)
    }

    /// The node that makes this node's first output.
    fn finish(&mut self, op: &str, inputs: Vec<ValueId>, attrs: Vec<(&str, Attr)>) -> Result<()> {
        self.g.nodes.push(Node {
            op: op.into(),
            domain: String::new(),
            name: self.n.name.clone(),
            inputs: inputs.into_iter().map(Some).collect(),
            outputs: vec![self.n.outputs.first().copied().flatten()],
            attrs: attrs.into_iter().map(|(k, v)| (k.to_string(), v)).collect(),
        });
        Ok(())
    }

    fn dequant(&mut self, at: usize) -> Result<ValueId> {
        self.dequant_with(at, at + 1, at + 2)
    }

    fn dequant_with(&mut self, x: usize, scale: usize, zero: usize) -> Result<ValueId> {
        let mut inputs = vec![self.need(x)?, self.need(scale)?];
        inputs.extend(self.n.input(zero));
        Ok(self.add("DequantizeLinear", &format!("float{x}"), inputs, vec![]))
    }

    /// Is `v` one constant number, perhaps quantized in the graph?
    fn is_scalar_constant(&self, v: ValueId, depth: usize) -> bool {
        if let Some(t) = self.g.constant(v) {
            return t.len() == 1;
        }
        let Some(n) = self.from.producer_node(v) else { return false };
        match (n.op.as_str(), n.input(0)) {
            ("Constant", _) => constant(n).is_some_and(|t| t.len() == 1),
            ("QuantizeLinear" | "Identity", Some(x)) if depth > 0 => self.is_scalar_constant(x, depth - 1),
            _ => false,
        }
    }

    fn quantize_out(&mut self, y: ValueId, scale: usize) -> Result<()> {
        let mut inputs = vec![y, self.need(scale)?];
        inputs.extend(self.n.input(scale + 1));
        // A sum with a constant lies on a grid shifted against the output's, by half a step where the steps are
        // equal: then every value is a tie, which the integer operator sees exactly.
        let constant = |slot: usize| self.n.input(slot).is_some_and(|v| self.is_scalar_constant(v, 4));
        let ties = self.n.op == "QLinearAdd" && (constant(0) || constant(3));
        self.finish("QuantizeLinear", inputs, vec![("ties", Attr::Int(ties.into()))])
    }

    fn layer_norm(&mut self, x: ValueId, gamma: Option<ValueId>, beta: Option<ValueId>) -> Result<()> {
        let gamma = gamma.ok_or_else(|| Error::data_loss(format!("{} has no scale", self.n.label())))?;
        let eps = self.n.float("epsilon").unwrap_or(1e-12);
        let inputs = [x, gamma].into_iter().chain(beta).collect();
        self.finish(
            "LayerNormalization",
            inputs,
            vec![("epsilon", Attr::Float(eps)), ("axis", Attr::Int(-1))],
        )
    }

    /// The sum of lookups; a table without indices is read by position.
    fn embed_sum(&mut self, tables: &[(ValueId, Option<ValueId>)]) -> Result<ValueId> {
        let ids = self.need(0)?;
        let mut sum = None;
        for &(table, ix) in tables {
            let ix = match ix {
                Some(ix) => ix,
                None => {
                    let len = self.add(
                        "Shape",
                        "length",
                        vec![ids],
                        vec![("start", Attr::Int(1)), ("end", Attr::Int(2))],
                    );
                    let scalar = self.add("Squeeze", "scalar", vec![len], vec![]);
                    let zero =
                        self.g.add_const(format!("{}/zero", self.n.name), Tensor::from_i64(vec![], &[0])?);
                    let one =
                        self.g.add_const(format!("{}/one", self.n.name), Tensor::from_i64(vec![], &[1])?);
                    self.add("Range", "positions", vec![zero, scalar, one], vec![])
                }
            };
            let e = self.add("Gather", "rows", vec![table, ix], vec![]);
            sum = Some(match sum {
                None => e,
                Some(s) => self.add("Add", "sum", vec![s, e], vec![]),
            });
        }
        sum.ok_or_else(|| Error::internal("an embedding without tables"))
    }

    /// The second output of EmbedLayerNormalization: the number of unmasked tokens of each sequence.
    fn mask_lengths(&mut self, mask: Option<ValueId>) {
        if let (Some(m), Some(Some(o))) = (mask, self.n.outputs.get(1)) {
            self.g.nodes.push(Node {
                op: "ReduceSum".into(),
                name: format!("{}/lengths", self.n.name),
                inputs: vec![Some(m)],
                outputs: vec![Some(*o)],
                attrs: [("axes".to_string(), Attr::Ints(vec![1])), ("keepdims".to_string(), Attr::Int(0))]
                    .into(),
                ..Node::default()
            });
        }
    }

    fn qgemm(&mut self) -> Result<()> {
        let n = self.n;
        if n.int("transA") == Some(1) || n.float("alpha").is_some_and(|a| a != 1.0) {
            return Err(Error::unimplemented(format!("{}: transA or alpha is not supported", n.label())));
        }
        let (a, b) = (self.dequant(0)?, self.dequant(3)?);
        let mut inputs = vec![a, b];
        if let Some(c) = n.input(6) {
            // The bias is int32 in steps of the product of both scales.
            let (sa, sb) = (self.need(1)?, self.need(4)?);
            let get = |v: ValueId| self.g.constant(v).map(|t| t.to_f32());
            let (Some(sa), Some(sb), Some(c)) = (get(sa), get(sb), self.g.constant(c).cloned()) else {
                return Err(Error::unimplemented(format!(
                    "{}: scales and bias must be constants",
                    n.label()
                )));
            };
            if c.dtype != DType::I32 || sa.len() != 1 || sb.is_empty() {
                return Err(Error::unimplemented(format!("{}: its bias is not int32", n.label())));
            }
            let bias: Vec<f32> = c
                .to_f64()
                .iter()
                .enumerate()
                .map(|(i, &x)| (x * f64::from(sa[0]) * f64::from(sb[i % sb.len()])) as f32)
                .collect();
            inputs.push(
                self.g.add_const(format!("{}/bias", n.name), Tensor::from_f32(vec![bias.len()], &bias)?),
            );
        }
        let attrs = vec![("transB", Attr::Int(n.int("transB").unwrap_or(0)))];
        if n.input(7).is_none() {
            return self.finish("Gemm", inputs, attrs);
        }
        let y = self.add("Gemm", "product", inputs, attrs);
        self.quantize_out(y, 7)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_quantized_again_are_constants_and_stay_within_a_budget() {
        let graph = |copies: usize| {
            let mut g = Graph::default();
            let table = g.add_const("table", Tensor::from_i8(vec![2, 2], &[-128, -3, 5, 127]).unwrap());
            let scales = [0.5, 0.3].map(|s| Tensor::from_f32(vec![], &[s]).unwrap());
            let [from, to] = scales.map(|t| g.add_const("scale", t));
            let zero = g.add_const("zero", Tensor::from_i8(vec![], &[1]).unwrap());
            let d = g.add_node("DequantizeLinear", "", "d", vec![Some(table), Some(from)], vec![]);
            let i = g.add_node("Identity", "", "i", vec![Some(d)], vec![]);
            for c in 0..copies {
                let inputs = vec![Some(i), Some(to), Some(zero)];
                let q = g.add_node("QuantizeLinear", "", &format!("q{c}"), inputs, vec![]);
                g.outputs.push(q);
            }
            requantize(&mut g);
            g
        };
        let one = graph(1);
        let q = one.constant(one.outputs[0]).unwrap();
        // -64, -1.5, 2.5 and 63.5 in steps of 0.3 around 1, kept between -128 and 127.
        assert_eq!((q.dtype, q.to_i64()), (DType::I8, vec![-128, -4, 9, 127]));
        assert!(one.nodes.iter().all(|n| n.op != "QuantizeLinear"));
        // Thirteen bytes of constants allow three copies of four.
        let many = graph(100);
        assert_eq!(many.outputs.iter().filter(|o| many.constant(**o).is_some()).count(), 3);
    }

    /// ONNX allows a `Constant` one attribute. One more, of any name, must not take its place: not even sometimes.
    #[test]
    fn a_constant_is_what_its_value_says() {
        for other in ["activation", "zero", "sparse_value"] {
            let value =
                ("value", Attr::Tensor(Tensor::from_i8(vec![2], &[1, 0]).map(std::sync::Arc::new).unwrap()));
            let attrs = vec![(other, Attr::Int(7)), value];
            let mut g = Graph::default();
            let made = g.add_node("Constant", "", "c", vec![], attrs);
            let alone = g.add_node("Constant", "", "d", vec![], vec![(other, Attr::Int(7))]);
            g.outputs = vec![made, alone];
            let g = expand(&g).unwrap();
            assert_eq!(g.constant(made).map(|t| t.to_i64()), Some(vec![1, 0]), "beside `{other}`");
            assert!(g.constant(alone).is_none(), "`{other}` alone");
        }
    }
}
