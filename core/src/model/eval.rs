//! A small evaluator over ONNX nodes, for probing a graph.
//!
//! It computes every tensor's shape for a concrete batch and length, and the values of the small ones
//! (masks, positions, index arithmetic). The normaliser asks it what a subgraph *does* (which keys a mask
//! hides, where a chain of reshapes and transposes puts each element) and so need not know the many ways
//! in which exporters spell it. Values are f64: exact for every integer that occurs in such graphs.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::graph::{Attr, Dim, Graph, Node, ValueId};
use super::tensor::{DType, elements};

/// Most elements whose values are tracked; larger tensors keep their shape alone.
const MAX_DATA: usize = 1 << 20;
/// Most elements of any tensor at a probe, empty dimensions counted as one.
const MAX_ELEMENTS: usize = 1 << 31;
/// Most tokens of a probe: what fixed axes may ask for.
pub const MAX_TOKENS: usize = 1 << 16;
/// Most elements that may be computed while one graph is recognised: about a minute. Graphs of the family
/// need a thousandth of it unless their axes are fixed.
const MAX_WORK: u64 = 1 << 32;
/// Most elements that the values of one probe may hold together (512 MiB).
const MAX_HELD: usize = 1 << 26;

thread_local! {
    static WORK: Cell<u64> = const { Cell::new(0) };
}

/// Begins to count the work of one graph.
pub fn reset_work() {
    WORK.set(0);
}

/// Counts `n` elements; false when the graph has cost too much. What then comes out of an evaluation means
/// nothing, so whoever asked for it looks at [`exhausted`] last.
pub fn charge(n: usize) -> bool {
    WORK.set(WORK.get().saturating_add(n as u64));
    !exhausted()
}

/// Has the graph cost too much?
pub fn exhausted() -> bool {
    WORK.get() > MAX_WORK
}

/// `v`, unless no tensor may have its shape.
pub(super) fn in_bounds(v: &Val) -> bool {
    let spread = v.shape.iter().try_fold(1usize, |a, &d| a.checked_mul(d.max(1)));
    v.shape.len() <= super::proto::MAX_RANK && spread.is_some_and(|n| n <= MAX_ELEMENTS)
}

/// What is known of a value at a probe.
#[derive(Clone, Debug)]
pub struct Val {
    /// Shape at this probe.
    pub shape: Vec<usize>,
    /// Elements, if known.
    pub data: Option<Rc<Vec<f64>>>,
    /// True for integer and boolean types.
    pub int: bool,
    /// Lowest and highest value of an 8- or 16-bit constant's type: what a zero point says of the
    /// quantized type.
    pub range: Option<(i32, i32)>,
}

impl Val {
    /// A value whose elements are known.
    pub fn known(shape: Vec<usize>, data: Vec<f64>, int: bool) -> Val {
        debug_assert_eq!(elements(&shape), Some(data.len()));
        Val { shape, data: Some(Rc::new(data)), int, range: None }
    }

    /// A value of which the shape alone is known.
    pub fn opaque(shape: Vec<usize>, int: bool) -> Val {
        Val { shape, data: None, int, range: None }
    }

    fn ints(&self) -> Option<Vec<i64>> {
        Some(self.data.as_ref()?.iter().map(|&x| x as i64).collect())
    }

    /// The only element.
    pub fn scalar(&self) -> Option<f64> {
        let d = self.data.as_ref()?;
        if d.len() == 1 { d.first().copied() } else { None }
    }

    /// The element at `ix` after broadcasting to a shape of at least this rank.
    pub fn broadcast_at(&self, ix: &[usize]) -> Option<f64> {
        let skip = ix.len().checked_sub(self.shape.len())?;
        let mut off = 0;
        for (&d, &i) in self.shape.iter().zip(&ix[skip..]) {
            off = off * d + if d == 1 { 0 } else { i };
        }
        self.data.as_ref()?.get(off).copied()
    }
}

/// The sizes at which a graph is probed.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Sequences.
    pub batch: usize,
    /// Tokens per sequence.
    pub seq: usize,
    /// `[batch][seq]`, 1 where a token counts.
    pub mask: Vec<u8>,
}

impl Probe {
    /// A probe of `batch` x `seq` whose mask hides some tokens (never a whole row, never the first).
    pub fn new(batch: usize, seq: usize) -> Probe {
        let mask = (0..batch * seq).map(|i| u8::from(i % seq == 0 || (i * 7 + i / seq) % 3 != 1)).collect();
        Probe { batch, seq, mask }
    }

    /// The same sizes with nothing hidden.
    pub fn unmasked(batch: usize, seq: usize) -> Probe {
        Probe { batch, seq, mask: vec![1; batch * seq] }
    }
}

/// All values of a graph at one probe.
pub struct Probed {
    /// The sizes.
    pub probe: Probe,
    /// By value id; `None` where even the shape is unknown.
    pub vals: Vec<Option<Val>>,
}

/// What a graph input means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Token ids.
    Ids,
    /// 1 for real tokens.
    Mask,
    /// Segment ids.
    Types,
    /// Positions.
    Positions,
}

/// The role of the input called `name`, by the names that exporters use.
pub fn role(name: &str) -> Option<Role> {
    let n = name.to_ascii_lowercase();
    if n.contains("type") || n.contains("segment") {
        Some(Role::Types)
    } else if n.contains("mask") {
        Some(Role::Mask)
    } else if n.contains("position") {
        Some(Role::Positions)
    } else if n.contains("id") || n.contains("token") {
        Some(Role::Ids)
    } else {
        None
    }
}

/// Probes the whole graph.
pub fn probe(g: &Graph, probe: Probe) -> Probed {
    let mut vals: Vec<Option<Val>> = vec![None; g.names.len()];
    let tables = tables(g);
    for (&v, t) in &g.consts {
        let int = !t.dtype.is_float();
        vals[v] = Some(if t.len() <= 1 << 16 && !tables.contains(&v) {
            Val::known(t.shape.clone(), t.to_f64(), int)
        } else {
            Val::opaque(t.shape.clone(), int)
        });
        if let Some(val) = &mut vals[v] {
            val.range = quant_range(t.dtype);
        }
    }
    let (b, s) = (probe.batch, probe.seq);
    for i in &g.inputs {
        let n = b * s;
        // Ids differ from each other and from every small padding id.
        let data: Vec<f64> = match role(&g.names[i.value]) {
            Some(Role::Mask) => probe.mask.iter().map(|&m| f64::from(m)).collect(),
            Some(Role::Types) => (0..n).map(|k| ((k / 2) % 2) as f64).collect(),
            Some(Role::Positions) => (0..n).map(|k| (k % s) as f64).collect(),
            _ => (0..n).map(|k| (k + 5) as f64).collect(),
        };
        vals[i.value] = Some(Val::known(vec![b, s], data, true));
    }
    let mut held = 0usize;
    for node in &g.nodes {
        let outs = step(node, &vals);
        for (o, mut v) in node.outputs.iter().zip(outs) {
            if let Some(v) = &mut v {
                held = held.saturating_add(v.data.as_ref().map_or(0, |d| d.len()));
                if held > MAX_HELD {
                    v.data = None;
                }
            }
            if let Some(o) = o {
                vals[*o] = v;
            }
        }
    }
    Probed { probe, vals }
}

/// Embedding tables: matrices that a Gather reads, perhaps dequantized first. What is looked up in them is
/// an activation, however small the table.
pub fn tables(g: &Graph) -> HashSet<ValueId> {
    let mut found = HashSet::new();
    for n in g.nodes.iter().filter(|n| n.op == "Gather" && n.int("axis").unwrap_or(0) == 0) {
        let mut at = n.input(0);
        if let Some(d) = at.and_then(|v| g.producer_node(v)).filter(|d| d.op == "DequantizeLinear") {
            at = d.input(0);
        }
        if let Some(v) = at
            && let Some(t) = g.constant(v)
            && t.shape.len() == 2
            && (t.dtype.is_float() || t.dtype.size() == 1)
        {
            found.insert(v);
        }
    }
    found
}

/// The batch and length that the declared inputs allow: fixed dimensions keep their size.
pub fn probe_sizes(g: &Graph, want: (usize, usize)) -> (usize, usize) {
    let fixed = |k: usize, want: usize| match g.inputs.first().and_then(|i| i.dims.get(k)) {
        Some(Dim::Fixed(n)) => *n,
        _ => want,
    };
    (fixed(0, want.0), fixed(1, want.1))
}

/// Evaluates `target` again with some values replaced, reusing `base` for all that does not depend on them.
pub fn eval_with(g: &Graph, base: &Probed, replace: &HashMap<ValueId, Val>, target: ValueId) -> Option<Val> {
    // Which nodes lie between a replaced value and the target?
    let mut order = vec![];
    let mut state: HashMap<ValueId, bool> = HashMap::new();
    fn visit(
        g: &Graph,
        v: ValueId,
        replace: &HashMap<ValueId, Val>,
        state: &mut HashMap<ValueId, bool>,
        order: &mut Vec<usize>,
        depth: usize,
    ) -> Option<bool> {
        if replace.contains_key(&v) {
            return Some(true);
        }
        if let Some(&s) = state.get(&v) {
            return Some(s);
        }
        if depth > 400 {
            return None;
        }
        let mut dep = false;
        if let Some(n) = g.producer(v) {
            for i in g.nodes[n].inputs.iter().flatten() {
                dep |= visit(g, *i, replace, state, order, depth + 1)?;
            }
            if dep && !order.contains(&n) {
                order.push(n);
            }
        }
        state.insert(v, dep);
        Some(dep)
    }
    if !visit(g, target, replace, &mut state, &mut order, 0)? {
        return base.vals[target].clone();
    }
    let mut vals: HashMap<ValueId, Val> = replace.clone();
    for n in order {
        let node = &g.nodes[n];
        let ins: Vec<Option<&Val>> = node
            .inputs
            .iter()
            .map(|i| i.and_then(|i| vals.get(&i).or_else(|| base.vals[i].as_ref())))
            .collect();
        let outs = super::eval_ops::eval(node, &ins)?;
        let outs: Vec<(ValueId, Option<Val>)> =
            node.outputs.iter().zip(outs).filter_map(|(o, v)| o.map(|o| (o, v))).collect();
        for (o, v) in outs {
            if let Some(v) = v
                && !replace.contains_key(&o)
            {
                vals.insert(o, v);
            }
        }
    }
    vals.remove(&target)
}

fn step(node: &Node, vals: &[Option<Val>]) -> Vec<Option<Val>> {
    let ins: Vec<Option<&Val>> = node.inputs.iter().map(|i| i.and_then(|i| vals[i].as_ref())).collect();
    let mut outs = super::eval_ops::eval(node, &ins).unwrap_or_default();
    outs.resize(node.outputs.len(), None);
    for o in outs.iter_mut() {
        if let Some(v) = o
            && v.data.as_ref().is_some_and(|d| d.len() > MAX_DATA)
        {
            v.data = None;
        }
    }
    outs
}

/// Row-major strides of `shape`.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut s = vec![1usize; shape.len()];
    for i in (0..shape.len().saturating_sub(1)).rev() {
        // Wraps only where the tensor is empty.
        s[i] = s[i + 1].wrapping_mul(shape[i + 1]);
    }
    s
}

/// Calls `f` with every index of `shape`, in row-major order.
pub fn for_each_index(shape: &[usize], mut f: impl FnMut(&[usize])) {
    let n = elements(shape).unwrap_or(0);
    if !charge(n) {
        return;
    }
    let mut ix = vec![0; shape.len()];
    for _ in 0..n {
        f(&ix);
        for d in (0..shape.len()).rev() {
            ix[d] += 1;
            if ix[d] < shape[d] {
                break;
            }
            ix[d] = 0;
        }
    }
}

/// The shape that `a` and `b` broadcast to.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let n = a.len().max(b.len());
    let at = |s: &[usize], i: usize| if i + s.len() >= n { s[i + s.len() - n] } else { 1 };
    (0..n)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// Values of attribute-or-input integer lists (`axes`, `perm`), whichever the opset uses.
pub fn ints_of(node: &Node, attr: &str, input: Option<&Val>) -> Option<Vec<i64>> {
    match node.attrs.get(attr) {
        Some(Attr::Ints(v)) => Some(v.clone()),
        Some(Attr::Int(i)) => Some(vec![*i]),
        _ => input.and_then(Val::ints),
    }
}

/// Lowest and highest value of a quantized type.
pub fn quant_range(d: DType) -> Option<(i32, i32)> {
    match d {
        DType::U8 => Some((0, 255)),
        DType::I8 => Some((-128, 127)),
        DType::U16 => Some((0, 65535)),
        DType::I16 => Some((-32768, 32767)),
        _ => None,
    }
}

/// True for integer and boolean ONNX element types.
pub fn is_int(elem: i64) -> bool {
    i32::try_from(elem).ok().and_then(|e| DType::from_onnx(e).ok()).is_none_or(|d| !d.is_float())
}
