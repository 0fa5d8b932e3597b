//! A quantized graph as standard ONNX (opset 17) that other runtimes run too: `[batch, sequence]` inputs with an
//! attention mask, and ONNX's own operators alone.
//!
//! Weights, embedding tables and the inputs of linear layers are 8-bit as in the bundle. Static layers are written as
//! QDQ. Per-token layers are written out (range, scale, zero point, `MatMulInteger`, a product of the zero point
//! with the weights' sums), since `DynamicQuantizeLinear` knows one range per tensor only; the integers and the
//! order of the float operations are those of the engine. The two products of attention are written in f32: no
//! operator of ONNX holds their integer form.

mod attention;
mod linear;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use pocketbert::model::graph::{Attr, Dim, Graph, Input, Node, ValueId};
use pocketbert::model::proto::{Stored, declare_outputs, to_model};
use pocketbert::model::tensor::{DType, Tensor};
use pocketbert::{Error, Result};
use prost::Message;

/// `LayerNormalization` came with it.
const OPSET: i64 = 17;

/// The bytes of a standard ONNX model that computes what `g`, a lowered graph, does.
///
/// # Errors
/// `Unimplemented` for operators that only models quantized elsewhere have (fake quantization, small programs).
pub fn write(g: &Graph) -> Result<Vec<u8>> {
    let mut out = Graph::default();
    out.opset = OPSET;
    let dims = vec![Dim::Symbolic("batch".into()), Dim::Symbolic("sequence".into())];
    let mut input = |name: &str| {
        let value = out.add_value(name);
        out.inputs.push(Input { value, elem_type: DType::I64 as i32, dims: dims.clone() });
        value
    };
    let ids = input("input_ids");
    let mask = input("attention_mask");
    let types = reads(g, "token_type_ids").then(|| input("token_type_ids"));
    let mut w = Writer {
        from: g,
        out,
        ids,
        mask,
        types,
        at: HashMap::new(),
        shared: HashMap::new(),
        scope: String::new(),
    };
    for n in &g.nodes {
        w.scope = n.name.trim_start_matches('/').to_string();
        let y = w.node(n)?;
        let [Some(o)] = n.outputs[..] else {
            return Err(Error::internal(format!("{} has other outputs than one", n.label())));
        };
        w.at.insert(o, y);
    }
    for &o in &g.outputs {
        let y = w.value(o)?;
        let name = g.names[o].clone();
        // A value of its own, so that the name is free whatever else reads `y`.
        let v = w.out.add_node("Identity", "", &name, vec![Some(y)], vec![]);
        w.out.outputs.push(v);
    }
    w.out.prune()?;
    let mut model = to_model(&w.out, |_, _| Stored::Inline);
    model.opset_import.retain(|o| o.domain.is_empty());
    let shapes = shapes(g);
    let shapes: Vec<Vec<Dim>> = g.outputs.iter().filter_map(|o| shapes.get(o).cloned()).collect();
    declare_outputs(&mut model, &shapes);
    Ok(model.encode_to_vec())
}

/// The shape of every value that a node of `g` makes.
fn shapes(g: &Graph) -> HashMap<ValueId, Vec<Dim>> {
    let mut all: HashMap<ValueId, Vec<Dim>> = HashMap::new();
    let size = |n: &Node, name: &str| usize::try_from(n.int(name).unwrap_or(0)).unwrap_or(0);
    for n in &g.nodes {
        let mut shape = n
            .input(0)
            .and_then(|v| all.get(&v).cloned())
            .unwrap_or_else(|| ["batch", "sequence", ""].map(|d| Dim::Symbolic(d.into())).to_vec());
        if matches!(n.op.as_str(), "SelectFirst" | "MeanPool") && shape.len() == 3 {
            shape.remove(1);
        }
        let channels = match n.op.as_str() {
            "Linear" => Some(size(n, "n")),
            "Columns" => Some(size(n, "length")),
            "Attention" => Some(size(n, "heads") * size(n, "value_size")),
            "Lookup" | "Unembed" => {
                let table = n.input(2).and_then(|v| g.constant(v));
                table.and_then(|t| t.shape.get(usize::from(n.op == "Lookup")).copied())
            }
            _ => None,
        };
        if let (Some(c), Some(last)) = (channels, shape.last_mut()) {
            *last = Dim::Fixed(c);
        }
        if n.op == "Flatten" {
            shape.pop();
        }
        all.extend(n.outputs.iter().flatten().map(|&o| (o, shape.clone())));
    }
    all
}

/// Whether a node reads the input `name`.
fn reads(g: &Graph, name: &str) -> bool {
    g.nodes.iter().flat_map(|n| n.inputs.iter().flatten()).any(|&v| g.names[v] == name)
}

struct Writer<'a> {
    from: &'a Graph,
    out: Graph,
    ids: ValueId,
    mask: ValueId,
    types: Option<ValueId>,
    /// Values of `from` in `out`.
    at: HashMap<ValueId, ValueId>,
    /// Values that many nodes read, by what they are.
    shared: HashMap<String, ValueId>,
    /// The node that is being written.
    scope: String,
}

impl Writer<'_> {
    /// Appends a node called after the scope.
    fn op(&mut self, op: &str, inputs: &[ValueId], attrs: Vec<(&str, Attr)>) -> ValueId {
        let name = format!("{}/{op}_{}", self.scope, self.out.names.len());
        self.out.add_node(op, "", &name, inputs.iter().map(|&v| Some(v)).collect(), attrs)
    }

    fn tensor(&mut self, what: &str, t: Tensor) -> ValueId {
        let name = format!("{}/{what}_{}", self.scope, self.out.names.len());
        self.out.add_const(name, t)
    }

    fn floats(&mut self, what: &str, shape: Vec<usize>, data: &[f32]) -> Result<ValueId> {
        Ok(self.tensor(what, Tensor::from_f32(shape, data)?))
    }

    /// A shared scalar.
    fn number(&mut self, x: f32) -> Result<ValueId> {
        let key = format!("f32_{:08x}", x.to_bits());
        if let Some(&v) = self.shared.get(&key) {
            return Ok(v);
        }
        let v = self.out.add_const(&key, Tensor::from_f32(vec![], &[x])?);
        self.shared.insert(key, v);
        Ok(v)
    }

    /// A shared vector of i64.
    fn ints(&mut self, x: &[i64]) -> Result<ValueId> {
        let key = format!("i64_{x:?}");
        if let Some(&v) = self.shared.get(&key) {
            return Ok(v);
        }
        let v = self.out.add_const(&key, Tensor::from_i64(vec![x.len()], x)?);
        self.shared.insert(key, v);
        Ok(v)
    }

    fn shared(&mut self, key: &str, make: impl FnOnce(&mut Self) -> Result<ValueId>) -> Result<ValueId> {
        if let Some(&v) = self.shared.get(key) {
            return Ok(v);
        }
        let scope = std::mem::replace(&mut self.scope, key.to_string());
        let v = make(self)?;
        self.scope = scope;
        self.shared.insert(key.to_string(), v);
        Ok(v)
    }

    fn value(&self, v: ValueId) -> Result<ValueId> {
        self.at
            .get(&v)
            .copied()
            .ok_or_else(|| Error::internal(format!("`{}` is read before it is made", self.from.names[v])))
    }

    /// Activation input `i` of `n`.
    fn input(&self, n: &Node, i: usize) -> Result<ValueId> {
        let v = n.input(i).ok_or_else(|| Error::data_loss(format!("{} lacks input {i}", n.label())))?;
        self.value(v)
    }

    /// Constant input `i` of `n`.
    fn constant(&self, n: &Node, i: usize) -> Result<&Tensor> {
        n.input(i)
            .and_then(|v| self.from.constant(v))
            .map(|t| &**t)
            .ok_or_else(|| Error::data_loss(format!("{} lacks its constant {i}", n.label())))
    }

    fn node(&mut self, n: &Node) -> Result<ValueId> {
        match n.op.as_str() {
            "Lookup" => self.lookup(n),
            "Linear" => self.linear(n),
            "Unembed" => self.unembed(n),
            "Attention" => self.attention(n),
            "LayerNorm" => self.layer_norm(n),
            "Unary" => {
                let x = self.input(n, 0)?;
                self.function(x, n.str("function"))
            }
            "Add" => {
                let (a, b) = (self.input(n, 0)?, self.input(n, 1)?);
                Ok(self.op("Add", &[a, b], vec![]))
            }
            "AddChannels" | "MulChannels" => {
                let (x, c) = (self.input(n, 0)?, self.constant(n, 1)?.clone());
                let c = self.tensor("values", c);
                Ok(self.op(if n.op == "AddChannels" { "Add" } else { "Mul" }, &[x, c], vec![]))
            }
            "SelectFirst" => {
                let x = self.input(n, 0)?;
                let first = self.shared("first", |w| {
                    let t = Tensor::from_i64(vec![], &[0])?;
                    Ok(w.tensor("index", t))
                })?;
                Ok(self.op("Gather", &[x, first], vec![("axis", Attr::Int(1))]))
            }
            "Columns" => {
                let x = self.input(n, 0)?;
                let (start, length) = (n.int("start").unwrap_or(0), n.int("length").unwrap_or(0));
                self.columns(x, start, length)
            }
            "MeanPool" => self.mean_pool(n),
            "L2Normalize" => {
                let x = self.input(n, 0)?;
                let norm = self.op("ReduceL2", &[x], reduced(-1));
                let least = self.number(1e-12)?;
                let norm = self.op("Max", &[norm, least], vec![]);
                Ok(self.op("Div", &[x, norm], vec![]))
            }
            "Flatten" => {
                let (x, axis) = (self.input(n, 0)?, self.ints(&[-1])?);
                Ok(self.op("Squeeze", &[x, axis], vec![]))
            }
            "Identity" => self.input(n, 0),
            _ => Err(Error::unimplemented(format!(
                "{} has no form in standard ONNX here: leave out `--onnx`",
                n.label()
            ))),
        }
    }

    fn columns(&mut self, x: ValueId, start: i64, length: i64) -> Result<ValueId> {
        let (from, to, axis) = (self.ints(&[start])?, self.ints(&[start + length])?, self.ints(&[-1])?);
        Ok(self.op("Slice", &[x, from, to, axis], vec![]))
    }

    fn layer_norm(&mut self, n: &Node) -> Result<ValueId> {
        let mut x = self.input(n, 0)?;
        if n.input(3).is_some() {
            let residual = self.input(n, 3)?;
            x = self.op("Add", &[x, residual], vec![]);
        }
        let (gamma, beta) = (self.constant(n, 1)?.clone(), self.constant(n, 2)?.clone());
        let (gamma, beta) = (self.tensor("gamma", gamma), self.tensor("beta", beta));
        let epsilon = n.float("epsilon").unwrap_or(1e-12);
        let attrs = vec![("axis", Attr::Int(-1)), ("epsilon", Attr::Float(epsilon))];
        Ok(self.op("LayerNormalization", &[x, gamma, beta], attrs))
    }

    /// A known function of each element; none: as it is.
    fn function(&mut self, x: ValueId, name: Option<&str>) -> Result<ValueId> {
        Ok(match name {
            None => x,
            Some("relu") => self.op("Relu", &[x], vec![]),
            Some("tanh") => self.op("Tanh", &[x], vec![]),
            Some("sigmoid") => self.op("Sigmoid", &[x], vec![]),
            Some(f @ ("gelu" | "gelu_tanh")) => {
                let (half, one) = (self.number(0.5)?, self.number(1.0)?);
                let inner = if f == "gelu" {
                    let root = self.number(std::f32::consts::SQRT_2)?;
                    let t = self.op("Div", &[x, root], vec![]);
                    self.op("Erf", &[t], vec![])
                } else {
                    // Hendrycks and Gimpel 2016: tanh(sqrt(2 / pi) (x + 0.044715 x^3)).
                    let (c, root) = (self.number(0.044_715)?, self.number(0.797_884_6)?);
                    let square = self.op("Mul", &[x, x], vec![]);
                    let cube = self.op("Mul", &[square, x], vec![]);
                    let t = self.op("Mul", &[cube, c], vec![]);
                    let t = self.op("Add", &[x, t], vec![]);
                    let t = self.op("Mul", &[t, root], vec![]);
                    self.op("Tanh", &[t], vec![])
                };
                let t = self.op("Add", &[inner, one], vec![]);
                let t = self.op("Mul", &[x, t], vec![]);
                self.op("Mul", &[t, half], vec![])
            }
            Some(f) => return Err(Error::data_loss(format!("unknown function `{f}`"))),
        })
    }
}

/// Attributes of a reduction over `axis` that keeps it. Opset 17 takes the axes of all but sums as attributes.
fn reduced(axis: i64) -> Vec<(&'static str, Attr)> {
    vec![("axes", Attr::Ints(vec![axis])), ("keepdims", Attr::Int(1))]
}
