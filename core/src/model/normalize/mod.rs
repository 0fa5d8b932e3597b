//! Any encoder of the BERT family, however exported or quantized, to one small dialect.
//!
//! Starting at the outputs, the lowering asks of each value what computes it and emits operators
//! of the domain `ai.pocketbert` over *packed rows*: the tokens of all sequences one after another,
//! `[tokens, channels]`, with the sequences' offsets beside them, so that a batch of mixed lengths has no
//! padding. Where exporters differ in spelling (masks, GELU, layer norm, reshapes) the graph is not
//! matched node by node but *probed*: evaluated on small inputs ([`super::eval`]) and compared with what
//! the operator should do.

mod attention;
mod chain;
mod embed;
mod expand;
mod fuse;
mod integer;
mod linear;
mod numeric;

use std::collections::HashMap;

use super::DOMAIN;
use super::eval::{
    MAX_TOKENS, Probe, Probed, Role, Val, exhausted, probe, probe_sizes, reset_work, role, tables,
};
use super::graph::{Attr, Dim, Graph, Input, Node, NodeId, ValueId};
use super::tensor::{DType, Tensor};
use crate::error::{Error, Result};

/// What a lowered value holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One row of this many channels per token.
    Rows(usize),
    /// One row of this many channels per sequence.
    Pooled(usize),
}

impl Kind {
    /// Channels per row.
    pub fn channels(self) -> usize {
        match self {
            Kind::Rows(c) | Kind::Pooled(c) => c,
        }
    }
}

/// A value of the lowered graph.
#[derive(Clone, Copy, Debug)]
pub struct Low {
    /// Its id in the lowered graph.
    pub v: ValueId,
    /// What it holds.
    pub kind: Kind,
}

/// How dynamically quantized models choose their activation scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Semantics {
    /// One scale per token: nearer to FP32 and independent of the batch.
    #[default]
    PerToken,
    /// One scale per tensor, as ONNX's `DynamicQuantizeLinear` defines it.
    Reference,
}

/// The lowered graph and what a caller must know to feed and read it.
#[derive(Debug)]
pub struct Lowered {
    /// Operators of the domain `ai.pocketbert` alone.
    pub graph: Graph,
    /// The longest sequence that the position table or fixed axes allow.
    pub max_length: usize,
    /// Rows of the word embedding table.
    pub vocab: usize,
}

/// Names of the lowered graph's inputs.
pub const INPUTS: [&str; 4] = ["input_ids", "token_type_ids", "mask", "offsets"];
/// The input that a graph with an `Unembed` has besides them: the tokens whose scores are wanted.
pub const PICKS: &str = "picks";

pub(super) struct Lowering<'g> {
    g: &'g Graph,
    probes: Vec<Probed>,
    plain: Vec<Probed>,
    depends: Vec<bool>,
    /// The model keeps its constants in half precision.
    half: bool,
    out: Graph,
    /// The node of `out` that makes a value.
    made: HashMap<ValueId, NodeId>,
    memo: HashMap<ValueId, Low>,
    depth: usize,
    semantics: Semantics,
    ids: ValueId,
    types: ValueId,
    mask: ValueId,
    offsets: ValueId,
    max_length: usize,
    vocab: usize,
}

/// Deepest recursion; a layer takes about 30.
const MAX_DEPTH: usize = 6000;

/// Lowers the whole graph, or says which node it does not recognise.
pub fn lower(g: &Graph, semantics: Semantics) -> Result<Lowered> {
    let g = &integer::join(expand::expand(g)?)?;
    for i in &g.inputs {
        if role(&g.names[i.value]).is_none() || !(i.dims.len() == 2 || i.dims.is_empty()) {
            return Err(Error::unimplemented(format!(
                "graph input `{}` is none of token ids, attention mask, token types or positions of shape \
                 [batch, sequence]",
                g.names[i.value]
            )));
        }
    }
    let sizes = [probe_sizes(g, (2, 5)), probe_sizes(g, (3, 7))];
    if sizes.iter().any(|&(b, s)| b.checked_mul(s).is_none_or(|n| n > MAX_TOKENS)) {
        return Err(Error::exhausted(format!(
            "the graph's fixed axes are larger than {MAX_TOKENS} tokens: export it with dynamic axes"
        )));
    }
    reset_work();
    let mut out = Graph::default();
    out.opset = g.opset.max(17);
    let mut input = |name: &str, elem: DType, dim: &str| {
        let value = out.add_value(name);
        out.inputs.push(Input { value, elem_type: elem as i32, dims: vec![Dim::Symbolic(dim.into())] });
        value
    };
    let ids = input(INPUTS[0], DType::I64, "tokens");
    let types = input(INPUTS[1], DType::I64, "tokens");
    let mask = input(INPUTS[2], DType::I64, "tokens");
    let offsets = input(INPUTS[3], DType::I64, "offsets");
    let fixed = match g.inputs.first().and_then(|i| i.dims.get(1)) {
        Some(Dim::Fixed(n)) => *n,
        _ => usize::MAX,
    };
    let mut l = Lowering {
        g,
        probes: sizes.iter().map(|&(b, s)| probe(g, Probe::new(b, s))).collect(),
        plain: sizes.iter().map(|&(b, s)| probe(g, Probe::unmasked(b, s))).collect(),
        depends: depends_on_inputs(g),
        half: g.consts.values().any(|t| t.dtype == DType::F16),
        out,
        made: HashMap::new(),
        memo: HashMap::new(),
        depth: 0,
        semantics,
        ids,
        types,
        mask,
        offsets,
        max_length: fixed,
        vocab: 0,
    };
    for &o in &g.outputs {
        let low = l.output(o).map_err(|e| if exhausted() { too_much_work() } else { e })?;
        // An output keeps its own name, also where two outputs are the same value.
        let name = g.names[o].clone();
        let v = l.emit("Identity", &name, vec![low.v], vec![]);
        l.out.outputs.push(v);
    }
    let (max_length, vocab) = (l.max_length, l.vocab);
    if exhausted() {
        return Err(too_much_work());
    }
    if vocab == 0 {
        return Err(Error::unimplemented(
            "no word embedding was found: is this an encoder of the BERT family?",
        ));
    }
    let mut graph = l.out;
    fuse::fuse(&mut graph)?;
    Ok(Lowered { graph, max_length, vocab })
}

fn too_much_work() -> Error {
    Error::exhausted(
        "the graph takes too much work to recognise: export it with dynamic axes, or with shorter fixed ones",
    )
}

/// For each value: does it depend on any input?
fn depends_on_inputs(g: &Graph) -> Vec<bool> {
    let mut depends = vec![false; g.names.len()];
    for i in &g.inputs {
        depends[i.value] = true;
    }
    // What is looked up in a table is an activation, also where the positions are constants (fixed axes).
    let tables = tables(g);
    for n in &g.nodes {
        let lookup = n.op == "Gather"
            && n.input(0).is_some_and(|t| {
                let dequantized = g.producer_node(t).filter(|d| d.op == "DequantizeLinear");
                tables.contains(&t)
                    || dequantized.and_then(|d| d.input(0)).is_some_and(|t| tables.contains(&t))
            });
        if lookup || n.inputs.iter().flatten().any(|&i| depends[i]) {
            for o in n.outputs.iter().flatten() {
                depends[*o] = true;
            }
        }
    }
    depends
}

impl<'g> Lowering<'g> {
    fn emit(&mut self, op: &str, name: &str, inputs: Vec<ValueId>, attrs: Vec<(&str, Attr)>) -> ValueId {
        let v = self.out.add_node(op, DOMAIN, name, inputs.into_iter().map(Some).collect(), attrs);
        self.made.insert(v, self.out.nodes.len() - 1);
        v
    }

    /// The emitted node that makes `v`, a product aside.
    fn maker(&self, v: ValueId) -> Option<&Node> {
        self.made.get(&v).map(|&n| &self.out.nodes[n])
    }

    fn fail<T>(&self, v: ValueId, why: &str) -> Result<T> {
        // Where even the shape of `v` is unknown, the cause lies above: the first operator that the
        // evaluator does not know.
        if self.probes[0].vals[v].is_none()
            && let Some(n) = self.unknown_above(v)
        {
            return Err(Error::unimplemented(format!(
                "{}: this operator, or this use of it, is not supported; export the model again without it, \
                 or report it",
                n.label()
            )));
        }
        let what = match self.g.producer_node(v) {
            Some(n) => n.label(),
            None => format!("value `{}`", self.g.names[v]),
        };
        Err(Error::unimplemented(format!("{what}: {why}")))
    }

    /// The first node above `v` whose inputs' shapes are known and whose output's is not.
    fn unknown_above(&self, mut v: ValueId) -> Option<&Node> {
        for _ in 0..self.g.nodes.len() {
            let n = self.g.producer_node(v)?;
            match n.inputs.iter().flatten().find(|&&i| self.probes[0].vals[i].is_none()) {
                Some(&i) => v = i,
                None => return Some(n),
            }
        }
        None
    }

    /// The kind of `v` by its shape at every probe.
    fn kind_of(&self, v: ValueId) -> Option<Kind> {
        let mut kind = None;
        for p in &self.probes {
            let (b, s) = (p.probe.batch, p.probe.seq);
            let val = p.vals[v].as_ref()?;
            let this = match val.shape[..] {
                [x, y, c] if x == b && y == s => Kind::Rows(c),
                [t, c] if t == b * s && (b > 1 || s > 1) => Kind::Rows(c),
                [x, c] if x == b => Kind::Pooled(c),
                _ => return None,
            };
            if kind.is_some_and(|k| k != this) {
                return None;
            }
            kind = Some(this);
        }
        kind
    }

    /// True if `v` is `[batch, sequence]`: rows of one channel without the channel axis.
    fn is_flat_tokens(&self, v: ValueId) -> bool {
        self.probes.iter().all(|p| {
            p.vals[v].as_ref().is_some_and(|val| val.shape == [p.probe.batch, p.probe.seq] && !val.int)
        })
    }

    fn output(&mut self, o: ValueId) -> Result<Low> {
        let mut low = self.lower(o)?;
        if self.is_flat_tokens(o) && low.kind == Kind::Rows(1) {
            let name = format!("{}/flat", self.g.names[o]);
            low.v = self.emit("Flatten", &name, vec![low.v], vec![]);
        }
        Ok(low)
    }

    /// The lowered form of `v`.
    fn lower(&mut self, v: ValueId) -> Result<Low> {
        if let Some(&l) = self.memo.get(&v) {
            return Ok(l);
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::exhausted("the graph is too deep"));
        }
        let low = self.lower_new(v)?;
        self.depth -= 1;
        self.memo.insert(v, low);
        Ok(low)
    }

    fn lower_new(&mut self, v: ValueId) -> Result<Low> {
        let Some(node) = self.g.producer_node(v) else {
            return self.fail(v, "an input or constant stands where activations are expected");
        };
        let node = node.clone();
        if let Some(low) = self.linear(v, &node)? {
            return Ok(low);
        }
        match node.op.as_str() {
            "Identity" | "Dropout" => return self.lower(self.need(&node, 0)?),
            "Cast" if node.int("to").is_some_and(|t| !super::eval::is_int(t)) => {
                let x = self.need(&node, 0)?;
                if self.probes[0].vals[x].as_ref().is_some_and(|v| !v.int) {
                    return self.lower(x);
                }
            }
            "LayerNormalization" => return self.layer_norm(v, &node),
            "Attention" | "QAttention" => return self.fused_attention(v, &node),
            "Gather" | "DequantizeLinear" => {
                if let Some(low) = self.lookup(v)? {
                    return Ok(low);
                }
            }
            _ => {}
        }
        if let Some(low) = self.through_chain(v)? {
            return Ok(low);
        }
        if matches!(node.op.as_str(), "Add" | "Mul") && node.inputs.len() == 2 {
            if self.ends_activation(v)
                && let Some(low) = self.numeric(v)?
            {
                return Ok(low);
            }
            for (a, b) in [(0, 1), (1, 0)] {
                let (x, c) = (self.need(&node, a)?, self.need(&node, b)?);
                if let Some(vec) = self.channel_vector(c, x) {
                    return self.affine(v, x, &node.op, vec);
                }
            }
            if node.op == "Add" {
                let (x, y) = (self.need(&node, 0)?, self.need(&node, 1)?);
                if self.dynamic(x) && self.dynamic(y) {
                    let (a, b) = (self.lower(x)?, self.lower(y)?);
                    if a.kind != b.kind {
                        return self.fail(v, "its two inputs have different shapes");
                    }
                    let name = node.name.clone();
                    return Ok(Low { v: self.emit("Add", &name, vec![a.v, b.v], vec![]), kind: a.kind });
                }
            }
        }
        if let Some(low) = self.numeric(v)? {
            return Ok(low);
        }
        self.fail(v, "not recognised as part of an encoder of the BERT family")
    }

    /// Does `v` depend on the model's inputs through activations (not only masks and shapes)?
    fn dynamic(&self, v: ValueId) -> bool {
        self.depends[v] && self.probes[0].vals[v].as_ref().is_none_or(|val| val.data.is_none())
    }

    fn need(&self, node: &Node, i: usize) -> Result<ValueId> {
        node.input(i).ok_or_else(|| Error::data_loss(format!("{} lacks its input {i}", node.label())))
    }

    /// `c` as one constant per channel of `x` (or a scalar repeated), if it is that.
    fn channel_vector(&self, c: ValueId, x: ValueId) -> Option<Vec<f32>> {
        let t = self.float_const(c)?;
        let channels = self.kind_of(x)?.channels();
        let lead_ones = t.1.iter().rev().skip(1).all(|&d| d == 1);
        match t.0.len() {
            1 => Some(vec![t.0[0]; channels]),
            n if n == channels && lead_ones => Some(t.0),
            _ => None,
        }
    }

    /// The values of a float constant, looking through DequantizeLinear, Cast and Identity, or else what the
    /// evaluator makes of constants alone (a constant that is quantized and dequantized in the graph).
    fn float_const(&self, v: ValueId) -> Option<(Vec<f32>, Vec<usize>)> {
        self.stored_const(v).or_else(|| {
            let val = self.probes[0].vals[v].as_ref().filter(|val| !self.depends[v] && !val.int)?;
            Some((val.data.as_ref()?.iter().map(|&x| x as f32).collect(), val.shape.clone()))
        })
    }

    fn stored_const(&self, v: ValueId) -> Option<(Vec<f32>, Vec<usize>)> {
        if let Some(t) = self.g.constant(v) {
            return t.dtype.is_float().then(|| (t.to_f32(), t.shape.clone()));
        }
        let n = self.g.producer_node(v)?;
        match n.op.as_str() {
            "Identity" | "Cast" => self.stored_const(n.input(0)?),
            "DequantizeLinear" => {
                let q = self.g.constant(n.input(0)?)?;
                let s = self.g.constant(n.input(1)?)?.to_f32();
                let z = n.input(2).and_then(|z| self.g.constant(z)).map(|z| z.to_f32());
                if s.len() != 1 && q.shape.len() != 1
                    || s.is_empty()
                    || z.as_ref().is_some_and(|z| z.is_empty())
                {
                    return None;
                }
                let data = q
                    .to_f64()
                    .iter()
                    .enumerate()
                    .map(|(i, &x)| {
                        let zero = z.as_ref().map_or(0.0, |z| z[i % z.len().max(1)]);
                        (x as f32 - zero) * s[i % s.len().max(1)]
                    })
                    .collect();
                Some((data, q.shape.clone()))
            }
            _ => None,
        }
    }

    /// Adds or multiplies a constant per channel, folded into what comes before where that is possible.
    fn affine(&mut self, v: ValueId, x: ValueId, op: &str, vec: Vec<f32>) -> Result<Low> {
        let low = self.lower(x)?;
        let shape = vec![vec.len()];
        let t = self.out.add_const(format!("{}/const", self.g.names[v]), Tensor::from_f32(shape, &vec)?);
        let name = self.g.names[v].clone();
        let op = if op == "Add" { "AddChannels" } else { "MulChannels" };
        Ok(Low { v: self.emit(op, &name, vec![low.v, t], vec![]), kind: low.kind })
    }

    fn layer_norm(&mut self, v: ValueId, node: &Node) -> Result<Low> {
        let x = self.need(node, 0)?;
        let axis = node.int("axis").unwrap_or(-1);
        let rank = self.probes[0].vals[x].as_ref().map_or(0, |v| v.shape.len() as i64);
        if axis != -1 && axis != rank - 1 {
            return self.fail(v, "layer norm over other axes than the last is not supported");
        }
        let low = self.lower(x)?;
        let c = low.kind.channels();
        let vec = |l: &Self, i: usize, fill: f32| -> Result<Vec<f32>> {
            match node.input(i) {
                None => Ok(vec![fill; c]),
                Some(k) => match l.float_const(k) {
                    Some((t, _)) if t.len() == c => Ok(t),
                    _ => l.fail(v, "its scale or bias is not a constant per channel"),
                },
            }
        };
        let (gamma, beta) = (vec(self, 1, 1.0)?, vec(self, 2, 0.0)?);
        let eps = node.float("epsilon").unwrap_or(1e-5);
        self.emit_layer_norm(&node.name, low, &gamma, &beta, eps)
    }

    fn emit_layer_norm(&mut self, name: &str, x: Low, gamma: &[f32], beta: &[f32], eps: f32) -> Result<Low> {
        let c = x.kind.channels();
        let g = self.out.add_const(format!("{name}/gamma"), Tensor::from_f32(vec![c], gamma)?);
        let b = self.out.add_const(format!("{name}/beta"), Tensor::from_f32(vec![c], beta)?);
        let v = self.emit("LayerNorm", name, vec![x.v, g, b], vec![("epsilon", Attr::Float(eps))]);
        Ok(Low { v, kind: x.kind })
    }

    fn emit_unary(&mut self, name: &str, x: Low, f: &str) -> Low {
        Low { v: self.emit("Unary", name, vec![x.v], vec![("function", Attr::Str(f.into()))]), kind: x.kind }
    }

    /// The value of input `r` at a probe.
    fn input_data(&self, p: &Probed, r: Role) -> Option<Val> {
        let i = self.g.inputs.iter().find(|i| role(&self.g.names[i.value]) == Some(r))?;
        p.vals[i.value].clone()
    }
}
