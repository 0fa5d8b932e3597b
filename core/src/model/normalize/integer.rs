//! Per-token integer products and tables with a scale per row, as `pocketbert-quantize` writes them in standard
//! ONNX.
//!
//! ONNX has no operator for them, so the writer spells them out: the range of a row, its scale and zero point, the
//! steps, `MatMulInteger`, and the product of the zero point with the sums of the weights. Here that spelling becomes
//! one node again, `PerTokenMatMul`, which the lowering takes for the linear layer that it is.

use super::{Kind, Low, Lowering};
use crate::error::{Error, Result};
use crate::kernels::pack::{K_ALIGN, PackedI8, column_sums, pack_i8, packed_len};
use crate::model::DOMAIN;
use crate::model::graph::{Attr, Graph, Node, ValueId};
use crate::model::tensor::{DType, Tensor};

/// The node that a written-out product becomes. Inputs: rows, int8 weights `[k][n]`, their scales; where some
/// channels have a scale of their own, their weights and their numbers.
pub(super) const PER_TOKEN: &str = "PerTokenMatMul";

/// `g` with written-out integer products as [`PER_TOKEN`] nodes, and tables dequantized before they are read.
pub(super) fn join(mut g: Graph) -> Result<Graph> {
    let integer = |n: &Node| n.op == "MatMulInteger" || n.op == "Gather";
    if !g.nodes.iter().any(integer) {
        return Ok(g);
    }
    let mut changed = false;
    let nodes = std::mem::take(&mut g.nodes);
    let mut out = Vec::with_capacity(nodes.len());
    for n in nodes.iter().cloned() {
        let find = Find { g: &g, nodes: &nodes };
        if n.op == "Mul"
            && let Some(p) = find.product(&n)
        {
            changed = true;
            let mut inputs = vec![Some(p.x), Some(p.weight), Some(p.scale)];
            if let Some((weight, channels)) = p.loud {
                inputs.extend([Some(weight), Some(channels)]);
            }
            let symmetric = Attr::Int(p.symmetric.into());
            out.push(Node {
                op: PER_TOKEN.into(),
                domain: DOMAIN.into(),
                inputs,
                attrs: [("symmetric".to_string(), symmetric)].into(),
                ..n
            });
        } else if n.op == "Mul"
            && let Some((table, scale, index)) = find.table(&n)
        {
            changed = true;
            let table_f32 = g.add_value(format!("{}/table", n.name));
            let scale = g.add_const(format!("{}/table_scale", n.name), scale);
            out.push(Node {
                op: "DequantizeLinear".into(),
                name: format!("{}/table", n.name),
                inputs: vec![Some(table), Some(scale)],
                outputs: vec![Some(table_f32)],
                attrs: [("axis".to_string(), Attr::Int(0))].into(),
                ..Node::default()
            });
            out.push(Node { op: "Gather".into(), inputs: vec![Some(table_f32), Some(index)], ..n });
        } else {
            out.push(n);
        }
    }
    g.nodes = out;
    if changed {
        g.prune()?;
    }
    Ok(g)
}

struct Product {
    x: ValueId,
    weight: ValueId,
    scale: ValueId,
    symmetric: bool,
    loud: Option<(ValueId, ValueId)>,
}

/// One segment: rows quantized by their own range times integer weights.
struct Part {
    x: ValueId,
    weight: ValueId,
    symmetric: bool,
}

struct Find<'a> {
    g: &'a Graph,
    nodes: &'a [Node],
}

impl Find<'_> {
    /// The node of operator `op` that makes `v`.
    fn made(&self, v: ValueId, op: &str) -> Option<&Node> {
        self.g.producer(v).and_then(|id| self.nodes.get(id)).filter(|n| n.op == op)
    }

    /// Both inputs of the node of operator `op` that makes `v`.
    fn pair(&self, v: ValueId, op: &str) -> Option<(ValueId, ValueId)> {
        let n = self.made(v, op)?;
        Some((n.input(0)?, n.input(1)?))
    }

    fn cast(&self, v: ValueId, to: DType) -> Option<ValueId> {
        self.made(v, "Cast").filter(|n| n.int("to") == Some(to as i64))?.input(0)
    }

    fn is(&self, v: ValueId, x: f64) -> bool {
        self.g.scalar(v) == Some(x)
    }

    /// The reduction `op` of each row, and what is reduced.
    fn of_row(&self, v: ValueId, op: &str) -> Option<ValueId> {
        let n = self.made(v, op)?;
        let last = n.ints("axes").is_some_and(|a| a == [-1]);
        (last && n.int("keepdims") != Some(0) && n.inputs.len() == 1).then(|| n.input(0))?
    }

    /// A scale that is not zero: the larger of `v` and a tiny constant.
    fn at_least(&self, v: ValueId) -> Option<ValueId> {
        let (x, least) = self.pair(v, "Max")?;
        self.g.scalar(least).is_some_and(|l| l > 0.0 && l <= f64::from(f32::MIN_POSITIVE)).then_some(x)
    }

    /// `n` as a whole product: its parts times one scale per output.
    fn product(&self, n: &Node) -> Option<Product> {
        let (sum, scale) = (n.input(0)?, n.input(1)?);
        self.g.constant(scale).filter(|t| t.dtype == DType::F32 && t.shape.len() <= 1)?;
        if let Some(Part { x, weight, symmetric }) = self.part(sum) {
            return Some(Product { x, weight, scale, symmetric, loud: None });
        }
        let (a, b) = self.pair(sum, "Add")?;
        let (quiet, loud) = (self.part(a)?, self.part(b)?);
        let (x, keep) = self.pair(quiet.x, "Mul")?;
        let gather = self.made(loud.x, "Gather").filter(|n| n.int("axis") == Some(-1))?;
        let channels = gather.input(1)?;
        if gather.input(0) != Some(x) || quiet.symmetric != loud.symmetric {
            return None;
        }
        // Each channel is in exactly one of the two.
        let keep = self.g.constant(keep)?.to_f32();
        let mut left = keep.clone();
        for c in self.g.constant(channels)?.to_i64() {
            let place = left.get_mut(usize::try_from(c).ok()?)?;
            (*place == 0.0).then(|| *place = 1.0)?;
        }
        if left.iter().any(|&k| k != 1.0) || self.g.constant(quiet.weight)?.shape.first() != Some(&keep.len())
        {
            return None;
        }
        let loud = Some((loud.weight, channels));
        Some(Product { x, weight: quiet.weight, scale, symmetric: quiet.symmetric, loud })
    }

    fn part(&self, v: ValueId) -> Option<Part> {
        let (product, scale) = self.pair(v, "Mul")?;
        let (product, shift) = self.pair(self.cast(product, DType::F32)?, "Sub")?;
        let (steps, weight) = self
            .made(product, "MatMulInteger")
            .filter(|n| n.inputs.len() == 2)
            .and_then(|n| Some((n.input(0)?, n.input(1)?)))?;
        let (zero, sums) = self.pair(shift, "Mul")?;
        let zero = self.cast(zero, DType::I32)?;
        let clip = self.made(self.cast(steps, DType::U8)?, "Clip")?;
        let (rounded, zero_again) = self.pair(clip.input(0)?, "Add")?;
        let (x, inverse) = self.pair(self.made(rounded, "Round")?.input(0)?, "Mul")?;
        let same_scale = self.made(inverse, "Reciprocal")?.input(0) == Some(scale);
        if !same_scale || zero_again != zero || !self.is(clip.input(2)?, 255.0) {
            return None;
        }
        let divided = self.at_least(scale)?;
        let symmetric = self.is(zero, 128.0);
        let range = self.pair(divided, "Div")?;
        let fits = if symmetric {
            let size = self.made(self.of_row(range.0, "ReduceMax")?, "Abs")?;
            self.is(range.1, 127.0) && size.input(0) == Some(x) && self.is(clip.input(1)?, 1.0)
        } else {
            let (high, low) = self.pair(range.0, "Sub")?;
            let (high, none) = self.pair(high, "Max")?;
            let (lowest, none_too) = self.pair(low, "Min")?;
            let (zero_of, most) = self.pair(self.made(zero, "Round")?.input(0)?, "Min")?;
            let (below, by) = self.pair(zero_of, "Div")?;
            let (nothing, low_again) = self.pair(below, "Sub")?;
            self.is(range.1, 255.0)
                && self.of_row(high, "ReduceMax")? == x
                && self.of_row(lowest, "ReduceMin")? == x
                && [none, none_too, nothing, clip.input(1)?].iter().all(|&v| self.is(v, 0.0))
                && self.is(most, 255.0)
                && by == scale
                && low_again == low
        };
        (fits && self.sums_fit(weight, sums)?).then_some(Part { x, weight, symmetric })
    }

    /// Whether `sums` are those of the weights' columns.
    fn sums_fit(&self, weight: ValueId, sums: ValueId) -> Option<bool> {
        let (t, turned) = match self.made(weight, "Transpose") {
            Some(n) => (self.g.constant(n.input(0)?)?, true),
            None => (self.g.constant(weight)?, false),
        };
        let [a, b] = t.shape[..] else { return None };
        if t.dtype != DType::I8 || a == 0 || b == 0 {
            return None;
        }
        let mut want = vec![0i64; if turned { a } else { b }];
        for (i, &w) in t.bytes().iter().enumerate() {
            want[if turned { i / b } else { i % b }] += i64::from(w as i8);
        }
        Some(self.g.constant(sums)?.to_i64() == want)
    }

    /// Rows of an int8 table in whole steps times their gathered scales: table, scales, index.
    fn table(&self, n: &Node) -> Option<(ValueId, Tensor, ValueId)> {
        let (steps, scale) = (n.input(0)?, n.input(1)?);
        let (rows, one) = self.pair(steps, "DequantizeLinear")?;
        let ((table, index), (scales, same)) = (self.pair(rows, "Gather")?, self.pair(scale, "Gather")?);
        let (t, s) = (self.g.constant(table)?, self.g.constant(scales)?);
        let fits = self.is(one, 1.0)
            && index == same
            && t.dtype == DType::I8
            && s.shape == [*t.shape.first()?, 1]
            && [rows, scale]
                .iter()
                .all(|&g| self.made(g, "Gather").is_some_and(|n| n.int("axis").unwrap_or(0) == 0));
        fits.then(|| s.part(0..s.len()).map(|s| (table, s, index)))?
    }
}

impl Lowering<'_> {
    /// Lowers a [`PER_TOKEN`] node.
    pub(super) fn per_token(&mut self, v: ValueId, node: &Node) -> Result<Low> {
        let (x, w, s) = (self.need(node, 0)?, self.need(node, 1)?, self.need(node, 2)?);
        let Some(weight) = self.int8_weight(w, s, None, false)? else {
            return self.fail(v, "its weights are no constant 8-bit matrix");
        };
        let super::linear::WeightData::Int8 { mut q, scale, .. } = weight.data else {
            return self.fail(v, "its weights are not 8-bit");
        };
        let (k, n) = (weight.k, weight.n);
        let low = self.lower(x)?;
        if low.kind.channels() != k {
            return self.fail(v, "its weight does not fit its input");
        }
        let mut split = None;
        let mut order: Vec<usize> = (0..k).collect();
        if let (Some(lw), Some(channels)) = (node.input(3), node.input(4)) {
            let (Some(lw), Some(channels)) = (self.g.constant(lw), self.g.constant(channels)) else {
                return self.fail(v, "its loud channels are no constants");
            };
            let channels: Vec<usize> =
                channels.to_i64().iter().filter_map(|&c| usize::try_from(c).ok()).collect();
            let loud = channels.len();
            if loud == 0
                || loud >= k
                || !(k - loud).is_multiple_of(K_ALIGN)
                || lw.dtype != DType::I8
                || lw.shape != [loud, n]
                || channels.iter().any(|&c| c >= k)
            {
                return self.fail(v, "its loud channels are not in blocks of 64");
            }
            for (row, &c) in lw.bytes().chunks_exact(n).zip(&channels) {
                q[c * n..(c + 1) * n].iter_mut().zip(row).for_each(|(q, w)| *q = *w as i8);
            }
            let mut is_loud = vec![false; k];
            channels.iter().for_each(|&c| is_loud[c] = true);
            order = (0..k).filter(|&c| !is_loud[c]).chain(channels).collect();
            if order.len() != k {
                return self.fail(v, "a loud channel is named twice");
            }
            split = Some(k - loud);
        }
        let name = self.g.names[v].clone();
        let len = packed_len(n, k).ok_or_else(|| Error::exhausted(format!("layer `{name}` is too large")))?;
        let mut packed = vec![0i8; len];
        pack_i8(|ki, ni| q[order[ki] * n + ni], n, k, &mut packed)?;
        let view = PackedI8::new(n, k, &packed)?;
        let mut sums = column_sums(&view, 0..split.unwrap_or(k));
        if let Some(s) = split {
            sums.extend(column_sums(&view, s..k));
        }
        let mode = if node.int("symmetric") == Some(1) { "per_token_symmetric" } else { "per_token" };
        let mut attrs = vec![
            ("k", Attr::Int(k as i64)),
            ("n", Attr::Int(n as i64)),
            ("activation", Attr::Str(mode.into())),
        ];
        let layout = vec![n.div_ceil(16), k.next_multiple_of(64) / 4, 16, 4];
        let g = &mut self.out;
        let weight = g.add_const(format!("{name}/weight"), Tensor::from_i8(layout, &packed)?);
        let scale = g.add_const(format!("{name}/scale"), Tensor::from_f32(vec![scale.len()], &scale)?);
        let sums = g.add_const(format!("{name}/col_sum"), Tensor::from_i32(vec![sums.len()], &sums)?);
        let mut inputs = vec![low.v, weight, scale, sums].into_iter().map(Some).collect::<Vec<_>>();
        inputs.extend([None, None]);
        if let Some(s) = split {
            attrs.push(("split", Attr::Int(s as i64)));
            let order: Vec<i32> = order.iter().map(|&c| c as i32).collect();
            inputs.push(Some(g.add_const(format!("{name}/order"), Tensor::from_i32(vec![k], &order)?)));
        }
        let kind = match low.kind {
            Kind::Rows(_) => Kind::Rows(n),
            Kind::Pooled(_) => Kind::Pooled(n),
        };
        let y = g.add_node("Linear", DOMAIN, &name, inputs, attrs);
        Ok(Low { v: y, kind })
    }
}
