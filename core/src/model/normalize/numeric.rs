//! Functions recognised by what they compute: activation functions, layer norm, pooling.
//!
//! For a value that no structural rule explains, every nearby activation `x` above it is tried: `x` is
//! replaced by test data, the subgraph evaluated in f64 and compared with the functions known here. What
//! is element-wise but none of them (fake quantization inside a GELU, say) becomes a small program.

use std::collections::HashMap;

use super::{Kind, Low, Lowering};
use crate::error::Result;
use crate::model::eval::{Probed, Role, Val, charge, eval_with};
use crate::model::eval_ops::{erf, gelu_tanh};
use crate::model::graph::{Attr, ValueId};
use crate::model::tensor::elements;
use crate::ops::map::Opcode;

/// Most elements of the test data.
const MAX_TEST: usize = 1 << 22;
/// Most candidates tried for one value.
const MAX_CANDIDATES: usize = 48;

/// Operators through which a function's input is looked for.
const THROUGH: &[&str] = &[
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "Sqrt",
    "Erf",
    "Tanh",
    "Exp",
    "Sigmoid",
    "Relu",
    "Clip",
    "Max",
    "Min",
    "Neg",
    "Abs",
    "Reciprocal",
    "ReduceMean",
    "ReduceSum",
    "ReduceL2",
    "Expand",
    "Cast",
    "Gelu",
    "Identity",
    "Unsqueeze",
    "Squeeze",
    "Where",
    "LpNormalization",
];

enum Found {
    Unary(&'static str),
    LayerNorm(f32),
    MeanPool,
    /// Of the tokens of the second segment alone.
    MeanPoolSecond,
    L2,
}

impl Lowering<'_> {
    /// [`Lowering::known_function`], or else an element-wise program.
    pub(super) fn numeric(&mut self, v: ValueId) -> Result<Option<Low>> {
        if let Some(low) = self.known_function(v)? {
            return Ok(Some(low));
        }
        let Some(kind) = self.kind_of(v) else { return Ok(None) };
        for x in self.candidates(v) {
            if self.kind_of(x) == Some(kind)
                && let Some((code, consts)) = self.program(v, x)
            {
                let low = self.lower(x)?;
                let name = self.g.names[v].clone();
                let attrs = vec![("code", Attr::Ints(code)), ("constants", Attr::Floats(consts))];
                return Ok(Some(Low { v: self.emit("Map", &name, vec![low.v], attrs), kind }));
            }
        }
        Ok(None)
    }

    /// Is there an error function or the like a few element-wise operators above `v`? Then `v` may be the
    /// end of a GELU, whose last steps must not be taken for a scale or a residual.
    pub(super) fn ends_activation(&self, v: ValueId) -> bool {
        let mut at = vec![(v, 0)];
        for _ in 0..4096 {
            let Some((v, depth)) = at.pop() else { break };
            let Some(n) = self.g.producer_node(v) else { continue };
            match n.op.as_str() {
                "Erf" | "Tanh" | "Sigmoid" | "Gelu" => return true,
                "Add" | "Mul" | "Div" | "QuantizeLinear" | "DequantizeLinear" | "Cast" if depth < 8 => {
                    at.extend(n.inputs.iter().flatten().take(8).map(|&i| (i, depth + 1)));
                }
                _ => {}
            }
        }
        false
    }

    /// Lowers `v` as a function known here of an activation above it.
    pub(super) fn known_function(&mut self, v: ValueId) -> Result<Option<Low>> {
        let Some(kind) = self.kind_of(v) else { return Ok(None) };
        for x in self.candidates(v) {
            let Some(xk) = self.kind_of(x) else { continue };
            if let Some(found) = self.compare(v, kind, x, xk) {
                let low = self.lower(x)?;
                let name = self.g.names[v].clone();
                return Ok(Some(match found {
                    Found::Unary(f) => self.emit_unary(&name, low, f),
                    Found::LayerNorm(eps) => {
                        let c = kind.channels();
                        self.emit_layer_norm(&name, low, &vec![1.0; c], &vec![0.0; c], eps)?
                    }
                    Found::MeanPool => {
                        let (offsets, mask) = (self.offsets, self.mask);
                        Low { v: self.emit("MeanPool", &name, vec![low.v, offsets, mask], vec![]), kind }
                    }
                    Found::MeanPoolSecond => {
                        let inputs = vec![low.v, self.offsets, self.mask, self.types];
                        Low { v: self.emit("MeanPool", &name, inputs, vec![]), kind }
                    }
                    Found::L2 => Low { v: self.emit("L2Normalize", &name, vec![low.v], vec![]), kind },
                }));
            }
        }
        Ok(None)
    }

    /// Activations above `v`, nearest first.
    fn candidates(&self, v: ValueId) -> Vec<ValueId> {
        let mut out: Vec<ValueId> = vec![];
        let mut frontier = vec![v];
        while let Some(at) = (!frontier.is_empty()).then(|| frontier.remove(0)) {
            let Some(n) = self.g.producer_node(at) else { continue };
            let quant = matches!(n.op.as_str(), "QuantizeLinear" | "DequantizeLinear");
            if !quant && !THROUGH.contains(&n.op.as_str()) {
                continue;
            }
            for i in n.inputs.iter().flatten().copied() {
                if self.dynamic(i) && !out.contains(&i) && i != v && out.len() < MAX_CANDIDATES {
                    out.push(i);
                    frontier.push(i);
                }
            }
        }
        out.retain(|&x| self.is_float_at_probe(x));
        out
    }

    fn compare(&self, v: ValueId, kind: Kind, x: ValueId, xk: Kind) -> Option<Found> {
        let first = self.compare_at(&self.probes[0], v, kind, x, xk)?;
        let second = self.compare_at(&self.probes[1], v, kind, x, xk)?;
        match (&first, &second) {
            (Found::Unary(a), Found::Unary(b)) if a == b => Some(first),
            (Found::LayerNorm(a), Found::LayerNorm(b)) if (a - b).abs() <= 1e-3 * a.abs() => Some(first),
            (Found::MeanPool, Found::MeanPool)
            | (Found::MeanPoolSecond, Found::MeanPoolSecond)
            | (Found::L2, Found::L2) => Some(first),
            _ => None,
        }
    }

    fn compare_at(&self, p: &Probed, v: ValueId, kind: Kind, x: ValueId, xk: Kind) -> Option<Found> {
        let shape = p.vals[x].as_ref()?.shape.clone();
        let n = elements(&shape)?;
        if n > MAX_TEST || !charge(n) {
            return None;
        }
        let c = xk.channels();
        // Rows of different scale: the first so small that layer norm's epsilon shows.
        let data: Vec<f64> = (0..n)
            .map(|i| {
                let r = ((i * 2_654_435_761) % 100_003) as f64 / 100_003.0;
                (r - 0.45) * if i < c { 2e-3 } else { 12.0 }
            })
            .collect();
        let replace = HashMap::from([(x, Val::known(shape, data.clone(), false))]);
        let y = eval_with(self.g, p, &replace, v)?;
        let y = y.data?;
        // Constants of a half-precision model, like the root of two, are right to three digits.
        let tolerance = if self.half { 2e-3 } else { 1e-6 };
        let near = |a: f64, b: f64| (a - b).abs() <= tolerance * (1.0 + b.abs());
        let rows = n / c.max(1);
        if kind == xk && y.len() == n {
            type Function = fn(f64) -> f64;
            let unary: [(&str, Function); 5] = [
                ("relu", |x| x.max(0.0)),
                ("gelu", |x| 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))),
                ("gelu_tanh", gelu_tanh),
                ("tanh", f64::tanh),
                ("sigmoid", |x| 1.0 / (1.0 + (-x).exp())),
            ];
            for (name, f) in unary {
                let step = (n / 4096).max(1);
                if (0..n).step_by(step).all(|i| near(y[i], f(data[i]))) {
                    return Some(Found::Unary(name));
                }
            }
            if let Some(eps) = layer_norm_epsilon(&data, &y, c) {
                return Some(Found::LayerNorm(eps));
            }
            let l2 = (0..rows).all(|r| {
                let row = &data[r * c..(r + 1) * c];
                let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                (0..c).all(|k| near(y[r * c + k], row[k] / norm))
            });
            if l2 && c > 1 {
                return Some(Found::L2);
            }
        }
        if let (Kind::Rows(c), Kind::Pooled(c2)) = (xk, kind)
            && c == c2
            && y.len() == p.probe.batch * c
        {
            let s = p.probe.seq;
            let mean_of = |counts: &dyn Fn(usize, usize) -> bool| {
                (0..p.probe.batch).all(|b| {
                    let used: Vec<usize> =
                        (0..s).filter(|&i| p.probe.mask[b * s + i] == 1 && counts(b, i)).collect();
                    (0..c).all(|k| {
                        let sum: f64 = used.iter().map(|i| data[(b * s + i) * c + k]).sum();
                        near(y[b * c + k], sum / used.len().max(1) as f64)
                    })
                })
            };
            if mean_of(&|_, _| true) {
                return Some(Found::MeanPool);
            }
            let types = self.input_data(p, Role::Types);
            if types.is_some_and(|t| mean_of(&|b, i| t.broadcast_at(&[b, i]) == Some(1.0))) {
                return Some(Found::MeanPoolSecond);
            }
        }
        None
    }

    /// The element-wise program that computes `v` from `x` and constants, if it is one.
    fn program(&self, v: ValueId, x: ValueId) -> Option<(Vec<i64>, Vec<f32>)> {
        let mut b = Builder { regs: HashMap::from([(x, 0)]), code: vec![], consts: vec![], next: 1 };
        self.compile(v, &mut b, 0)?;
        Some((b.code, b.consts))
    }

    fn compile(&self, v: ValueId, b: &mut Builder, depth: usize) -> Option<i64> {
        if let Some(&r) = b.regs.get(&v) {
            return Some(r);
        }
        if depth > 64 || b.next > 64 {
            return None;
        }
        if let Some(c) = self.g.scalar(v).or_else(|| self.probes[0].vals[v].as_ref().and_then(Val::scalar)) {
            b.consts.push(c as f32);
            return Some(-(b.consts.len() as i64));
        }
        let id = self.g.producer(v)?;
        let n = &self.g.nodes[id];
        let (opcode, args) = match n.op.as_str() {
            "Identity" | "Cast" | "Dropout" => return self.compile(n.input(0)?, b, depth + 1),
            "DequantizeLinear" => {
                let q = self.quant_params(id)?;
                let up = self.g.producer(n.input(0)?)?;
                let qn = &self.g.nodes[up];
                if qn.op != "QuantizeLinear" || !self.quant_params(up).is_some_and(|p| p.same_type(q)) {
                    return None;
                }
                let a = self.compile(qn.input(0)?, b, depth + 1)?;
                b.consts.extend([q.scale, q.zero as f32, q.low as f32, q.high as f32]);
                let at = -(b.consts.len() as i64 - 3);
                let ties = self.quant_params(up).is_some_and(|p| p.ties);
                (if ties { Opcode::FakeQuantTies } else { Opcode::FakeQuant }, [a, at])
            }
            "Pow" => {
                let e = self.g.scalar(n.input(1)?)?;
                let a = self.compile(n.input(0)?, b, depth + 1)?;
                match e {
                    2.0 => (Opcode::Mul, [a, a]),
                    3.0 => {
                        let sq = b.push(Opcode::Mul, [a, a]);
                        (Opcode::Mul, [sq, a])
                    }
                    0.5 => (Opcode::Sqrt, [a, a]),
                    _ => return None,
                }
            }
            "ReduceMean" => {
                let axes = crate::model::eval::ints_of(
                    n,
                    "axes",
                    n.input(1).and_then(|a| self.probes[0].vals[a].as_ref()),
                )?;
                let rank = self.probes[0].vals[n.input(0)?].as_ref()?.shape.len() as i64;
                if (axes != [-1] && axes != [rank - 1]) || n.int("keepdims") == Some(0) {
                    return None;
                }
                let a = self.compile(n.input(0)?, b, depth + 1)?;
                (Opcode::Mean, [a, a])
            }
            op => {
                let opcode = match op {
                    "Add" => Opcode::Add,
                    "Sub" => Opcode::Sub,
                    "Mul" => Opcode::Mul,
                    "Div" => Opcode::Div,
                    "Max" => Opcode::Max,
                    "Min" => Opcode::Min,
                    "Erf" => Opcode::Erf,
                    "Tanh" => Opcode::Tanh,
                    "Sqrt" => Opcode::Sqrt,
                    "Relu" => Opcode::Relu,
                    "Sigmoid" => Opcode::Sigmoid,
                    "Exp" => Opcode::Exp,
                    "Neg" => Opcode::Neg,
                    "Abs" => Opcode::Abs,
                    _ => return None,
                };
                let a = self.compile(n.input(0)?, b, depth + 1)?;
                let c = match n.input(1) {
                    Some(y) if n.inputs.len() == 2 => self.compile(y, b, depth + 1)?,
                    None if n.inputs.len() == 1 => a,
                    _ => return None,
                };
                (opcode, [a, c])
            }
        };
        let r = b.push(opcode, args);
        b.regs.insert(v, r);
        Some(r)
    }
}

/// A program under construction: `[opcode, a, b]` triples; register 0 is the input, operand `-i` is
/// constant `i - 1`.
struct Builder {
    regs: HashMap<ValueId, i64>,
    code: Vec<i64>,
    consts: Vec<f32>,
    next: i64,
}

impl Builder {
    fn push(&mut self, op: Opcode, args: [i64; 2]) -> i64 {
        self.code.extend([op as i64, args[0], args[1]]);
        self.next += 1;
        self.next - 1
    }
}

/// The epsilon with which `y` is the layer norm of `x` (rows of `c`), if it is.
fn layer_norm_epsilon(x: &[f64], y: &[f64], c: usize) -> Option<f32> {
    if c < 2 {
        return None;
    }
    let stats = |row: &[f64]| {
        let mean = row.iter().sum::<f64>() / c as f64;
        (mean, row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / c as f64)
    };
    let (mean, var) = stats(&x[..c]);
    let far = (0..c).max_by(|&a, &b| (x[a] - mean).abs().total_cmp(&(x[b] - mean).abs()))?;
    let eps = ((x[far] - mean) / y[far]).powi(2) - var;
    if !eps.is_finite() || !(-1e-12..=1e-2).contains(&eps) {
        return None;
    }
    let ok = x.chunks_exact(c).zip(y.chunks_exact(c)).all(|(x, y)| {
        let (mean, var) = stats(x);
        let inv = 1.0 / (var + eps.max(0.0)).sqrt();
        x.iter().zip(y).all(|(x, y)| ((x - mean) * inv - y).abs() <= 1e-5)
    });
    ok.then_some(eps.max(0.0) as f32)
}
