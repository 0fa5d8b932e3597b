//! Self-attention, found from where its heads are merged back into rows.

use super::chain::{Chain, Quant, Step};
use super::linear::Act;
use super::{Kind, Low, Lowering};
use crate::error::Result;
use crate::model::eval::for_each_index;
use crate::model::graph::{Attr, Node, ValueId};
use crate::model::tensor::elements;

/// A projection as attention reads it: rows, and the first of its columns.
struct Projected {
    rows: Low,
    column: usize,
    scale: f32,
}

/// What lies between the two products.
struct Scores {
    matmul: Node,
    scale: f32,
    masked: bool,
    quant: Option<Quant>,
}

impl Lowering<'_> {
    /// Lowers `v`, reached by `out` from a batched product of probabilities and values.
    pub(super) fn attention(&mut self, v: ValueId, out: &Chain) -> Result<Option<Low>> {
        let Some(pv) = self.g.producer_node(out.root).cloned() else { return Ok(None) };
        if !matches!(pv.op.as_str(), "MatMul" | "FusedMatMul") {
            return Ok(None);
        }
        let (p, val) = (self.need(&pv, 0)?, self.need(&pv, 1)?);
        if !self.dynamic(p) || !self.dynamic(val) {
            return Ok(None);
        }
        let Some((softmax, probs_quants)) = self.find_softmax(p)? else { return Ok(None) };
        let scores_in = self.need(&softmax, 0)?;
        let Some(scores) = self.scores(scores_in)? else { return Ok(None) };
        let (q, k) = (self.need(&scores.matmul, 0)?, self.need(&scores.matmul, 1)?);

        // Heads and their size, by the shapes at the probes.
        let mut dims = None;
        for p in &self.probes {
            let (b, s) = (p.probe.batch, p.probe.seq);
            let count = |v: ValueId| p.vals[v].as_ref().and_then(|v| elements(&v.shape));
            let (Some(ns), Some(nq), Some(nv)) = (count(scores_in), count(q), count(val)) else {
                return Ok(None);
            };
            let heads = ns / (b * s * s);
            if heads == 0 {
                return Ok(None);
            }
            let this = (heads, nq / (b * s * heads), nv / (b * s * heads));
            if dims.is_some_and(|d| d != this) || heads * b * s * s != ns {
                return Ok(None);
            }
            dims = Some(this);
        }
        let Some((heads, d, dv)) = dims else { return Ok(None) };
        let k_transposed = scores.matmul.int("transB") != Some(1);
        let integer = scores.matmul.int("integer") == Some(1);
        let q = self.projected(q, heads, d, false, integer)?;
        let k = self.projected(k, heads, d, k_transposed, integer)?;
        let values = self.projected(val, heads, dv, false, false)?;
        let (Some(q), Some(k), Some(values)) = (q, k, values) else { return Ok(None) };

        // The merged heads must come out as rows.
        for p in &self.probes {
            let (b, s) = (p.probe.batch, p.probe.seq);
            let Some(ix) = self.indices(p, out) else { return Ok(None) };
            let Some(data) = ix.data else { return Ok(None) };
            let c = heads * dv;
            let ok = data.len() == b * s * c
                && data.iter().enumerate().all(|(o, &x)| {
                    let (row, col) = (o / c, o % c);
                    let (bi, i, h, e) = (row / s, row % s, col / dv, col % dv);
                    x as usize == ((bi * heads + h) * s + i) * dv + e
                });
            if !ok {
                return Ok(None);
            }
        }
        let name = pv.name.clone();
        let mut scale = q.scale * k.scale * scores.scale;
        let mut score_quant = scores.quant;
        let mut score_step = None;
        if let Some(quant) = score_quant.as_mut().filter(|_| integer) {
            // An integer product goes to its steps by one factor: in two roundings ties would fall to the other side.
            scale = q.scale * k.scale / (quant.scale / scores.scale);
            score_step = Some(std::mem::replace(&mut quant.scale, 1.0));
        }
        let mut attrs = vec![
            ("heads", Attr::Int(heads as i64)),
            ("head_size", Attr::Int(d as i64)),
            ("value_size", Attr::Int(dv as i64)),
            ("columns", Attr::Ints([q.column, k.column, values.column].map(|c| c as i64).to_vec())),
            ("scale", Attr::Float(scale)),
            ("masked", Attr::Int(scores.masked.into())),
        ];
        let quant = |q: Quant| [q.scale, q.zero as f32, q.low as f32, q.high as f32];
        if let Some(q) = score_quant {
            attrs.push(("score_quant", Attr::Floats(quant(q).to_vec())));
        }
        if let Some(step) = score_step {
            attrs.push(("score_step", Attr::Float(step)));
        }
        if !probs_quants.is_empty() {
            let all = probs_quants.into_iter().flat_map(quant).collect();
            attrs.push(("prob_quant", Attr::Floats(all)));
        }
        let (offsets, mask) = (self.offsets, self.mask);
        let inputs = vec![q.rows.v, k.rows.v, values.rows.v, offsets, mask];
        let mut low = Low { v: self.emit("Attention", &name, inputs, attrs), kind: Kind::Rows(heads * dv) };
        if values.scale != 1.0 {
            return self.fail(v, "attention values are scaled");
        }
        for s in &out.steps {
            if let Step::Quant(q) = s {
                low = self.emit_fake_quant(&name, low, *q);
            }
        }
        Ok(Some(low))
    }

    /// ONNX Runtime's Attention and QAttention: one product for queries, keys and values, then attention.
    pub(super) fn fused_attention(&mut self, v: ValueId, node: &Node) -> Result<Low> {
        let quantized = node.op == "QAttention";
        let mask_slot = if quantized { 5 } else { 3 };
        let later = if quantized { 8..node.inputs.len() } else { 4..node.inputs.len() };
        if node.int("unidirectional") == Some(1)
            || node.ints("qkv_hidden_sizes").is_some()
            || later.into_iter().any(|i| node.input(i).is_some())
        {
            return self.fail(v, "causal attention, past states and attention biases are not supported");
        }
        let heads = node.int("num_heads").and_then(|h| usize::try_from(h).ok()).filter(|&h| h > 0);
        let Some(heads) = heads else { return self.fail(v, "it has no number of heads") };
        let (x, w) = (self.need(node, 0)?, self.need(node, 1)?);
        let (x, weight, act) = if quantized {
            let scale = self.need(node, 4)?;
            let weight = self.int8_weight(w, scale, node.input(7), false)?;
            match self.g.producer(x).map(|p| (p, self.g.nodes[p].op.as_str())) {
                // Quantized with constants.
                Some((p, "QuantizeLinear")) => match self.quant_params(p) {
                    Some(q) => (self.need(&self.g.nodes[p], 0)?, weight, Act::Static(q)),
                    None => return self.fail(v, "its input is quantized per channel"),
                },
                _ => (self.dynamic_source(v, x)?, weight, Act::Dynamic),
            }
        } else {
            (x, self.weight(w, false)?, Act::Float)
        };
        let Some(weight) = weight else { return self.fail(v, "its weights are not a constant matrix") };
        let hidden = weight.n / 3;
        if !weight.n.is_multiple_of(3) || !hidden.is_multiple_of(heads) {
            return self.fail(v, "its heads do not divide its hidden size");
        }
        let bias = match node.input(2) {
            Some(b) => Some(self.bias(v, b, weight.n)?),
            None => None,
        };
        let masked = match node.input(mask_slot) {
            None => false,
            Some(m) if self.is_mask(m) => true,
            Some(_) => return self.fail(v, "its mask is not made from the attention mask alone"),
        };
        let qkv = self.emit_linear(v, x, weight, act, bias)?;
        let d = hidden / heads;
        let scale = node.float("scale").filter(|&s| s != 0.0).unwrap_or(1.0 / (d as f32).sqrt());
        let attrs = vec![
            ("heads", Attr::Int(heads as i64)),
            ("head_size", Attr::Int(d as i64)),
            ("value_size", Attr::Int(d as i64)),
            ("columns", Attr::Ints([0, hidden, 2 * hidden].map(|c| c as i64).to_vec())),
            ("scale", Attr::Float(scale)),
            ("masked", Attr::Int(masked.into())),
        ];
        let (offsets, mask) = (self.offsets, self.mask);
        let name = format!("{}/attention", node.name);
        let v = self.emit("Attention", &name, vec![qkv.v, qkv.v, qkv.v, offsets, mask], attrs);
        Ok(Low { v, kind: Kind::Rows(hidden) })
    }

    /// Is `m` the attention mask, or the number of unmasked tokens per sequence?
    fn is_mask(&self, m: ValueId) -> bool {
        self.probes.iter().all(|p| {
            let (b, s) = (p.probe.batch, p.probe.seq);
            let Some(val) = &p.vals[m] else { return false };
            let row = |bi: usize| p.probe.mask[bi * s..(bi + 1) * s].iter();
            match val.shape[..] {
                [x, y] if x == b && y == s => (0..b).all(|bi| {
                    row(bi).enumerate().all(|(j, &k)| val.broadcast_at(&[bi, j]) == Some(f64::from(k)))
                }),
                [x] if x == b => {
                    (0..b).all(|bi| val.broadcast_at(&[bi]) == Some(row(bi).map(|&k| f64::from(k)).sum()))
                }
                _ => false,
            }
        })
    }

    /// From the probabilities up to their softmax.
    fn find_softmax(&self, mut v: ValueId) -> Result<Option<(Node, Vec<Quant>)>> {
        // In the order in which they are applied; some tools quantize twice, to different grids.
        let mut quants: Vec<Quant> = vec![];
        for _ in 0..32 {
            let chain = self.walk_up(v, false);
            let here = chain.steps.iter().filter_map(|s| match s {
                Step::Quant(q) => Some(*q),
                _ => None,
            });
            quants.splice(0..0, here);
            quants.dedup_by(|b, a| a.same_grid(*b));
            let Some(n) = self.g.producer_node(chain.root) else { return Ok(None) };
            match n.op.as_str() {
                "Softmax" if quants.len() > 2 => {
                    return self.fail(v, "probabilities are quantized to more than two grids");
                }
                "Softmax" => {
                    let rank = self.probes[0].vals[chain.root].as_ref().map_or(0, |v| v.shape.len() as i64);
                    let axis = n.int("axis").unwrap_or(if self.g.opset < 13 { 1 } else { -1 });
                    return Ok((axis == -1 || axis == rank - 1).then(|| (n.clone(), quants)));
                }
                // Where(IsNaN(p), 0, p): what exporters add for fully masked rows, which cannot occur here.
                "Where" => {
                    let guard =
                        n.input(0).and_then(|c| self.g.producer_node(c)).is_some_and(|c| c.op == "IsNaN");
                    match n.input(2) {
                        Some(p) if guard => v = p,
                        _ => return Ok(None),
                    }
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// From the softmax's input up to the product of queries and keys.
    fn scores(&self, v: ValueId) -> Result<Option<Scores>> {
        let mut at = v;
        let (mut scale, mut masked, mut quant) = (1.0f32, false, None::<Quant>);
        for _ in 0..32 {
            let chain = self.walk_up(at, true);
            // Steps nearest the softmax come last: read them backwards.
            for s in chain.steps.iter().rev() {
                match s {
                    Step::Scale(c) => scale *= c,
                    Step::Quant(q) => {
                        // Quantizing before a scale is quantizing after it with a scaled step.
                        let q = Quant { scale: q.scale * scale, ..*q };
                        match quant {
                            None => quant = Some(q),
                            Some(old) if old.same_grid(q) => {}
                            Some(_) => {
                                return self.fail(v, "scores are quantized to several different grids");
                            }
                        }
                    }
                    Step::Layout(..) => {}
                }
            }
            let Some(n) = self.g.producer_node(chain.root) else { return Ok(None) };
            match (n.op.as_str(), n.inputs.len()) {
                ("MatMul" | "FusedMatMul", _) => {
                    let dynamic = n.inputs.iter().flatten().all(|&i| self.dynamic(i));
                    let alpha = n.float("alpha").unwrap_or(1.0);
                    return Ok(dynamic.then(|| Scores {
                        matmul: n.clone(),
                        scale: scale * alpha,
                        masked,
                        quant,
                    }));
                }
                ("Add", 2) => {
                    let (Some(a), Some(b)) = (n.input(0), n.input(1)) else { return Ok(None) };
                    let (x, bias) = if self.dynamic(a) { (a, b) } else { (b, a) };
                    if self.dynamic(bias) {
                        return Ok(None);
                    }
                    match self.key_mask(chain.root, bias, |m| if m { 0.0 } else { f64::NEG_INFINITY })? {
                        Some(m) => masked |= m,
                        None => return Ok(None),
                    }
                    at = x;
                }
                ("Where", 3) => {
                    let (Some(c), Some(a), Some(b)) = (n.input(0), n.input(1), n.input(2)) else {
                        return Ok(None);
                    };
                    let (x, fill, keep_when) = if self.dynamic(b) { (b, a, 0.0) } else { (a, b, 1.0) };
                    let low = self.probes[0].vals[fill]
                        .as_ref()
                        .and_then(|v| v.data.as_ref())
                        .is_some_and(|d| d.iter().all(|&x| x <= -1000.0));
                    if !low || !self.dynamic(x) {
                        return Ok(None);
                    }
                    let keep = move |m: bool| if m { keep_when } else { 1.0 - keep_when };
                    match self.key_mask(chain.root, c, keep)? {
                        Some(m) => masked |= m,
                        None => return Ok(None),
                    }
                    at = x;
                }
                // A floor under masked scores, as older exporters write.
                ("Max", 2) => {
                    let (Some(a), Some(b)) = (n.input(0), n.input(1)) else { return Ok(None) };
                    let floor = |v: ValueId| {
                        self.probes[0].vals[v].as_ref().and_then(|v| v.scalar()).is_some_and(|x| x <= -1e30)
                    };
                    at = if floor(b) {
                        a
                    } else if floor(a) {
                        b
                    } else {
                        return Ok(None);
                    };
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Does `m`, broadcast over the scores, depend on the key's mask alone? `Some(true)`: it hides masked
    /// keys; `Some(false)`: it hides nothing at all; `None`: it is something else.
    fn key_mask(&self, scores: ValueId, m: ValueId, want: impl Fn(bool) -> f64) -> Result<Option<bool>> {
        let mut hides = None;
        for p in &self.probes {
            let (b, s) = (p.probe.batch, p.probe.seq);
            let (Some(sv), Some(mv)) = (&p.vals[scores], &p.vals[m]) else { return Ok(None) };
            if mv.data.is_none() || sv.shape.last() != Some(&s) {
                return Ok(None);
            }
            // A mask that went through 8-bit quantization saturates: what it means is clear all the same.
            let fits = |got: f64, want: f64| {
                if want == f64::NEG_INFINITY { got < 0.0 } else { got == want }
            };
            let (mut by_mask, mut by_none) = (true, true);
            for_each_index(&sv.shape, |ix| {
                // [batch, head, query, key] or [batch * head, query, key].
                let bi = match ix.len() {
                    4 => ix[0],
                    3 => ix[0] / (sv.shape[0] / b).max(1),
                    _ => 0,
                };
                let keep = p.probe.mask.get(bi * s + ix[ix.len() - 1]) == Some(&1);
                let got = mv.broadcast_at(ix).unwrap_or(f64::NAN);
                by_mask &= fits(got, want(keep));
                by_none &= fits(got, want(true));
            });
            let this = match (by_mask, by_none) {
                (true, _) => true,
                (false, true) => false,
                _ => return Ok(None),
            };
            if hides.is_some_and(|h| h != this) {
                return Ok(None);
            }
            hides = Some(this);
        }
        Ok(hides)
    }

    /// Rows and first column of a projection that is read as `[batch, head, token, size]`, or with
    /// `transposed` as `[batch, head, size, token]`. With `steps`, quantized rows are whole steps.
    fn projected(
        &mut self,
        v: ValueId,
        heads: usize,
        d: usize,
        transposed: bool,
        steps: bool,
    ) -> Result<Option<Projected>> {
        let chain = self.walk_up(v, true);
        let Some(Kind::Rows(c)) = self.kind_of(chain.root) else { return Ok(None) };
        let mut column = None;
        for p in &self.probes {
            let (b, s) = (p.probe.batch, p.probe.seq);
            let Some(ix) = self.indices(p, &chain) else { return Ok(None) };
            let Some(data) = ix.data else { return Ok(None) };
            if data.len() != b * heads * s * d {
                return Ok(None);
            }
            let Some(&first) = data.first() else { return Ok(None) };
            let first = first as usize;
            if column.is_some_and(|c| c != first) || first + heads * d > c {
                return Ok(None);
            }
            column = Some(first);
            let ok = data.iter().enumerate().all(|(o, &x)| {
                let (bh, rest) = (o / (s * d), o % (s * d));
                let (bi, h) = (bh / heads, bh % heads);
                let (i, e) = if transposed { (rest % s, rest / s) } else { (rest / d, rest % d) };
                x as usize == (bi * s + i) * c + first + h * d + e
            });
            if !ok {
                return Ok(None);
            }
        }
        let Some(column) = column else { return Ok(None) };
        let mut rows = self.lower(chain.root)?;
        let name = self.g.names[v].clone();
        // With fake quantization the order of steps matters, so they are emitted; a bare scale is folded.
        let quantized = chain.steps.iter().any(|s| matches!(s, Step::Quant(_)));
        let mut scale = 1.0;
        let last = chain.steps.iter().rposition(|s| matches!(s, Step::Quant(_)));
        for (i, s) in chain.steps.iter().enumerate() {
            match s {
                // What is quantized last stays in whole steps, so that the products add up exactly, and the size of
                // a step joins the factors of the scores.
                Step::Quant(q) if steps && Some(i) == last => {
                    let name = format!("{name}/steps");
                    rows.v = self.emit("Steps", &name, vec![rows.v], q.attrs());
                    scale *= q.scale;
                }
                Step::Scale(c) if quantized && (!steps || Some(i) < last) => {
                    let n = rows.kind.channels();
                    let t = crate::model::tensor::Tensor::from_f32(vec![n], &vec![*c; n])?;
                    let t = self.out.add_const(format!("{name}/scale"), t);
                    rows.v = self.emit("MulChannels", &format!("{name}/scaled"), vec![rows.v, t], vec![]);
                }
                Step::Scale(c) => scale *= c,
                Step::Quant(q) => rows = self.emit_fake_quant(&name, rows, *q),
                Step::Layout(..) => {}
            }
        }
        Ok(Some(Projected { rows, column, scale }))
    }
}
