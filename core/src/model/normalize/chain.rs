//! Chains of reshapes, transposes, slices and fake quantization between two operators.

use super::{Kind, Low, Lowering};
use crate::error::Result;
use crate::model::eval::{Probed, Val, quant_range};
use crate::model::eval_ops;
use crate::model::graph::{Attr, NodeId, ValueId};
use crate::model::tensor::elements;

/// Static quantization of an activation: `clamp(round(x / scale) + zero, low, high)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quant {
    pub scale: f32,
    pub zero: i32,
    pub low: i32,
    pub high: i32,
    /// Made by an integer operator that adds a constant: what is within rounding error of a tie is one.
    pub ties: bool,
}

impl Quant {
    /// Have both the same scale, zero point and range?
    pub fn same_type(self, other: Quant) -> bool {
        self == Quant { ties: self.ties, ..other }
    }

    /// Do both quantize to the same grid, but for rounding of the scale?
    pub fn same_grid(self, other: Quant) -> bool {
        (self.zero, self.low, self.high) == (other.zero, other.low, other.high)
            && (self.scale - other.scale).abs() <= 1e-5 * self.scale
    }

    pub fn attrs(self) -> Vec<(&'static str, Attr)> {
        vec![
            ("scale", Attr::Float(self.scale)),
            ("zero", Attr::Int(self.zero.into())),
            ("low", Attr::Int(self.low.into())),
            ("high", Attr::Int(self.high.into())),
            ("ties", Attr::Int(self.ties.into())),
        ]
    }
}

/// One step of a chain, from its root upwards.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Moves elements: node and which of its outputs the chain leaves by.
    Layout(NodeId, usize),
    /// Multiplies by a constant.
    Scale(f32),
    /// Quantizes and dequantizes.
    Quant(Quant),
}

/// A chain: its root and the steps from there.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub root: ValueId,
    pub steps: Vec<Step>,
}

impl Lowering<'_> {
    /// The static quantization that `node` (QuantizeLinear or DequantizeLinear) applies, if per tensor.
    pub(super) fn quant_params(&self, node: NodeId) -> Option<Quant> {
        let n = &self.g.nodes[node];
        let scale = self.g.scalar(n.input(1)?)? as f32;
        let (zero, (low, high)) = match n.input(2) {
            Some(z) => {
                let t = self.g.constant(z)?;
                (t.scalar()? as i32, quant_range(t.dtype)?)
            }
            None => (0, (0, 255)),
        };
        let ties = n.int("ties") == Some(1);
        (scale.is_finite() && scale > 0.0).then_some(Quant { scale, zero, low, high, ties })
    }

    /// Walks up from `v` through layout operators and fake quantization; with `scales`, through
    /// multiplications by a constant too.
    pub(super) fn walk_up(&self, v: ValueId, scales: bool) -> Chain {
        let mut steps = vec![];
        let mut at = v;
        let mut dequant: Option<Quant> = None;
        while let Some(id) = self.g.producer(at) {
            let n = &self.g.nodes[id];
            let Some(x) = n.input(0) else { break };
            let slot = n.outputs.iter().position(|o| *o == Some(at)).unwrap_or(0);
            match n.op.as_str() {
                "Identity" | "Dropout" => {}
                "Cast" if self.is_float_at_probe(x) && self.is_float_at_probe(at) => {}
                "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze" | "Flatten" | "Slice" | "Split" => {
                    if !self.dynamic(x) {
                        break;
                    }
                    steps.push(Step::Layout(id, slot));
                }
                "Gather" => {
                    let indices_known = n.input(1).is_some_and(|i| {
                        self.probes.iter().all(|p| p.vals[i].as_ref().is_some_and(|v| v.data.is_some()))
                    });
                    if !self.dynamic(x) || !indices_known {
                        break;
                    }
                    steps.push(Step::Layout(id, slot));
                }
                "DequantizeLinear" => {
                    let Some(q) = self.quant_params(id) else { break };
                    if dequant.is_some() || !self.leads_to_quantize(x, q) {
                        break;
                    }
                    dequant = Some(q);
                }
                "QuantizeLinear" => {
                    let Some(q) = self.quant_params(id) else { break };
                    if !dequant.take().is_some_and(|d| d.same_type(q)) {
                        break;
                    }
                    steps.push(Step::Quant(q));
                }
                "Mul" | "Div" if scales => {
                    let other = n.input(1);
                    let (x2, c) = match (self.g.scalar(x), other.and_then(|o| self.g.scalar(o))) {
                        (None, Some(c)) => (x, c),
                        (Some(c), None) if n.op == "Mul" => match other {
                            Some(o) => (o, c),
                            None => break,
                        },
                        // A scale computed from shapes, like 1 / sqrt(head size).
                        (None, None) => {
                            let known = |v: ValueId| self.probes[0].vals[v].as_ref().and_then(|v| v.scalar());
                            match (known(x), other.and_then(known)) {
                                (None, Some(c)) => (x, c),
                                (Some(c), None) if n.op == "Mul" => match other {
                                    Some(o) => (o, c),
                                    None => break,
                                },
                                _ => break,
                            }
                        }
                        _ => break,
                    };
                    steps.push(Step::Scale(if n.op == "Div" { 1.0 / c } else { c } as f32));
                    at = x2;
                    continue;
                }
                _ => break,
            }
            at = x;
        }
        steps.reverse();
        Chain { root: at, steps }
    }

    /// Is there, above the quantized value `v`, a QuantizeLinear with the same parameters?
    fn leads_to_quantize(&self, mut v: ValueId, q: Quant) -> bool {
        for _ in 0..64 {
            let Some(id) = self.g.producer(v) else { return false };
            let n = &self.g.nodes[id];
            match n.op.as_str() {
                "QuantizeLinear" => {
                    return self.quant_params(id).is_some_and(|p| p.same_type(q))
                        && n.input(0).is_some_and(|x| self.dynamic(x));
                }
                "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze" | "Flatten" | "Slice" | "Split"
                | "Identity" | "Gather" => match n.input(0) {
                    Some(x) => v = x,
                    None => return false,
                },
                _ => return false,
            }
        }
        false
    }

    pub(super) fn is_float_at_probe(&self, v: ValueId) -> bool {
        self.probes[0].vals[v].as_ref().is_some_and(|v| !v.int)
    }

    /// Where the chain's layout steps put each element of the root: the root's own index at every place.
    pub(super) fn indices(&self, p: &Probed, chain: &Chain) -> Option<Val> {
        let shape = p.vals[chain.root].as_ref()?.shape.clone();
        let n = elements(&shape)?;
        if n > 1 << 20 {
            return None;
        }
        let mut val = Val::known(shape, (0..n).map(|i| i as f64).collect(), false);
        for s in &chain.steps {
            if let Step::Layout(id, slot) = s {
                let node = &self.g.nodes[*id];
                let mut ins: Vec<Option<&Val>> =
                    node.inputs.iter().map(|i| i.and_then(|i| p.vals[i].as_ref())).collect();
                *ins.first_mut()? = Some(&val);
                let outs = eval_ops::eval(node, &ins)?;
                val = outs.into_iter().nth(*slot)??;
            }
        }
        Some(val)
    }

    /// Lowers `v` when it is reached from another value by layout steps and fake quantization alone.
    pub(super) fn through_chain(&mut self, v: ValueId) -> Result<Option<Low>> {
        let chain = self.walk_up(v, false);
        if chain.root == v {
            return Ok(None);
        }
        if let Some(low) = self.attention(v, &chain)? {
            return Ok(Some(low));
        }
        if chain.steps.is_empty() {
            return self.lower(chain.root).map(Some);
        }
        let moves = chain.steps.iter().any(|s| matches!(s, Step::Layout(..)));
        let kind = match self.kind_of(chain.root) {
            Some(k) => k,
            // A table read by position may lack the batch axis.
            None if !moves && self.g.producer_node(chain.root).is_some_and(|n| n.op == "Gather") => {
                self.lower(chain.root)?.kind
            }
            None => return Ok(None),
        };
        let mut low = self.lower(chain.root)?;
        for s in &chain.steps {
            if let Step::Quant(q) = s {
                low = self.emit_fake_quant(&self.g.names[v].clone(), low, *q);
            }
        }
        if !moves {
            return Ok(Some(low));
        }
        let name = self.g.names[v].clone();
        match (kind, self.moved(&chain, kind)) {
            (_, Some(Moved::Nothing)) => Ok(Some(low)),
            (Kind::Rows(c), Some(Moved::FirstToken)) => {
                let offsets = self.offsets;
                let v = self.emit("SelectFirst", &name, vec![low.v, offsets], vec![]);
                Ok(Some(Low { v, kind: Kind::Pooled(c) }))
            }
            (k, Some(Moved::Columns(start, len))) => {
                let attrs = vec![("start", Attr::Int(start as i64)), ("length", Attr::Int(len as i64))];
                let v = self.emit("Columns", &name, vec![low.v], attrs);
                let kind = if matches!(k, Kind::Rows(_)) { Kind::Rows(len) } else { Kind::Pooled(len) };
                Ok(Some(Low { v, kind }))
            }
            _ => self.fail(v, "this chain of reshapes and slices is not one that encoders use"),
        }
    }

    pub(super) fn emit_fake_quant(&mut self, name: &str, x: Low, q: Quant) -> Low {
        // Quantizing twice the same way changes nothing.
        if let Some(n) = self.maker(x.v)
            && n.op == "FakeQuant"
            && n.float("scale") == Some(q.scale)
            && n.int("zero") == Some(q.zero.into())
            && n.int("low") == Some(q.low.into())
        {
            return x;
        }
        Low { v: self.emit("FakeQuant", &format!("{name}/quant"), vec![x.v], q.attrs()), kind: x.kind }
    }

    fn moved(&self, chain: &Chain, kind: Kind) -> Option<Moved> {
        let mut found = None;
        for p in &self.probes {
            let val = self.indices(p, chain)?;
            let data = val.data.as_ref()?;
            let (b, s, c) = (p.probe.batch, p.probe.seq, kind.channels());
            let rows = if matches!(kind, Kind::Rows(_)) { b * s } else { b };
            let at = |i: usize| data.get(i).map(|&x| x as usize);
            let n = data.len();
            let this = if n == rows * c && (0..n).all(|i| at(i) == Some(i)) {
                Moved::Nothing
            } else if matches!(kind, Kind::Rows(_))
                && n == b * c
                && (0..n).all(|i| at(i) == Some((i / c) * s * c + i % c))
            {
                Moved::FirstToken
            } else if n % rows == 0 && n / rows < c {
                let len = n / rows;
                let start = at(0)?;
                if start + len > c || !(0..n).all(|i| at(i) == Some((i / len) * c + start + i % len)) {
                    return None;
                }
                Moved::Columns(start, len)
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

/// What a chain of layout steps does to rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moved {
    Nothing,
    FirstToken,
    Columns(usize, usize),
}
