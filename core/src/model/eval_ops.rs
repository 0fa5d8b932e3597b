//! The operators of the probing evaluator (see [`super::eval`]).

mod moves;

use moves::{concat, gather, gather_elements, gather_indices, gather_nd, reshape, slice, split, transpose};

use super::eval::{Val, broadcast, charge, for_each_index, in_bounds, ints_of, is_int, strides};
use super::graph::{Attr, Node};
use super::proto::MAX_RANK;
use super::tensor::elements;

type Outs = Option<Vec<Option<Val>>>;

/// Most elements that a single operator computes values for.
const MAX_DATA: usize = 1 << 20;

fn one(v: Val) -> Outs {
    Some(vec![Some(v)])
}

/// `axis` counted from the front, where negative ones count from the end of `rank` axes. It may be too large.
fn from_front(axis: i64, rank: usize) -> Option<usize> {
    usize::try_from(if axis < 0 { axis.checked_add(i64::try_from(rank).ok()?)? } else { axis }).ok()
}

/// Evaluates `node`; `None` when the operator is unknown or its inputs make no sense together.
pub fn eval(node: &Node, ins: &[Option<&Val>]) -> Outs {
    let known = ins.iter().flatten().filter_map(|v| v.data.as_ref()).map(|d| d.len());
    if !charge(known.sum::<usize>().saturating_add(64)) {
        return None;
    }
    let mut outs = operator(node, ins)?;
    for o in &mut outs {
        *o = o.take().filter(in_bounds);
    }
    Some(outs)
}

fn operator(node: &Node, ins: &[Option<&Val>]) -> Outs {
    let x = |i: usize| ins.get(i).copied().flatten();
    match node.op.as_str() {
        "Constant" => constant(node),
        "Identity" | "Dropout" | "Softmax" | "LogSoftmax" => {
            let v = x(0)?;
            let keep = matches!(node.op.as_str(), "Identity" | "Dropout");
            one(if keep { v.clone() } else { Val::opaque(v.shape.clone(), false) })
        }
        "LayerNormalization" | "SimplifiedLayerNormalization" => one(Val::opaque(x(0)?.shape.clone(), false)),
        "Neg" | "Abs" | "Sqrt" | "Exp" | "Log" | "Tanh" | "Erf" | "Relu" | "Sigmoid" | "Floor" | "Ceil"
        | "Round" | "Reciprocal" | "Sign" | "Not" | "IsNaN" | "IsInf" | "Cast" | "CastLike" | "Gelu"
        | "FastGelu" | "Clip" => unary(node, ins),
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Min" | "Max" | "Mod" | "Equal" | "Less" | "LessOrEqual"
        | "Greater" | "GreaterOrEqual" | "And" | "Or" | "Xor" => binary(node, ins),
        "BiasGelu" => one(Val::opaque(x(0)?.shape.clone(), false)),
        "Where" => select(x(0)?, x(1)?, x(2)?),
        "Shape" => {
            let s = &x(0)?.shape;
            let r = s.len() as i64;
            let clamp = |i: i64| (if i < 0 { i + r } else { i }).clamp(0, r) as usize;
            let (a, b) = (clamp(node.int("start").unwrap_or(0)), clamp(node.int("end").unwrap_or(r)));
            let part = s.get(a..b.max(a))?;
            one(Val::known(vec![part.len()], part.iter().map(|&d| d as f64).collect(), true))
        }
        "Size" => one(Val::known(vec![], vec![elements(&x(0)?.shape)? as f64], true)),
        "Reshape" => reshape(node, x(0)?, x(1)?),
        "Flatten" => {
            let v = x(0)?;
            let axis = from_front(node.int("axis").unwrap_or(1), v.shape.len())?;
            let (a, b) = (v.shape.get(..axis)?, v.shape.get(axis..)?);
            one(Val { shape: vec![elements(a)?, elements(b)?], ..v.clone() })
        }
        "Squeeze" => {
            let v = x(0)?;
            let r = v.shape.len() as i64;
            let shape = match ints_of(node, "axes", x(1)) {
                Some(axes) => {
                    let axes: Vec<i64> = axes.iter().map(|&a| if a < 0 { a + r } else { a }).collect();
                    if axes.iter().any(|&a| a < 0 || a >= r || v.shape[a as usize] != 1) {
                        return None;
                    }
                    (0..r).filter(|d| !axes.contains(d)).map(|d| v.shape[d as usize]).collect()
                }
                None => v.shape.iter().copied().filter(|&d| d != 1).collect(),
            };
            one(Val { shape, ..v.clone() })
        }
        "Unsqueeze" => {
            let v = x(0)?;
            let axes = ints_of(node, "axes", x(1))?;
            let r = (v.shape.len() + axes.len()) as i64;
            if r > MAX_RANK as i64 {
                return None;
            }
            let axes: Vec<i64> = axes.iter().map(|&a| if a < 0 { a + r } else { a }).collect();
            if axes.iter().any(|&a| a < 0 || a >= r) {
                return None;
            }
            let mut it = v.shape.iter();
            let shape = (0..r)
                .map(|d| if axes.contains(&d) { Some(1) } else { it.next().copied() })
                .collect::<Option<_>>()?;
            one(Val { shape, ..v.clone() })
        }
        "Transpose" => transpose(node, x(0)?),
        "Expand" => {
            let v = x(0)?;
            let to: Vec<usize> = dims(x(1)?)?;
            let shape = broadcast(&v.shape, &to)?;
            gather_indices(v, shape, |ix| Some(ix.to_vec()))
        }
        "Tile" => {
            let v = x(0)?;
            let reps = dims(x(1)?)?;
            let shape =
                v.shape.iter().zip(&reps).map(|(a, b)| a.checked_mul(*b)).collect::<Option<Vec<_>>>()?;
            let inner = v.shape.clone();
            gather_indices(v, shape, |ix| Some(ix.iter().zip(&inner).map(|(i, d)| i % d.max(&1)).collect()))
        }
        "ConstantOfShape" => {
            let shape = dims(x(0)?)?;
            let (value, int) = match node.attrs.get("value") {
                Some(Attr::Tensor(t)) => (t.scalar()?, !t.dtype.is_float()),
                _ => (0.0, false),
            };
            let n = elements(&shape)?;
            one(if n <= MAX_DATA { Val::known(shape, vec![value; n], int) } else { Val::opaque(shape, int) })
        }
        "Range" => {
            let (a, b, d) = (x(0)?.scalar()?, x(1)?.scalar()?, x(2)?.scalar()?);
            let n = ((b - a) / d).ceil().max(0.0);
            if d == 0.0 || n.is_nan() || n > MAX_DATA as f64 {
                return None;
            }
            one(Val::known(vec![n as usize], (0..n as usize).map(|i| a + d * i as f64).collect(), x(0)?.int))
        }
        "Concat" => concat(node, ins),
        "Split" => split(node, x(0)?, x(1)),
        "Slice" => slice(node, ins),
        "Gather" => gather(node, x(0)?, x(1)?),
        "GatherElements" => gather_elements(node, x(0)?, x(1)?),
        "GatherND" => gather_nd(node, x(0)?, x(1)?),
        "CumSum" => cumsum(node, x(0)?, x(1)?),
        "Trilu" => one(Val::opaque(x(0)?.shape.clone(), x(0)?.int)),
        "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL2" => {
            reduce(node, x(0)?, x(1))
        }
        "MatMul"
        | "MatMulInteger"
        | "FusedMatMul"
        | "MatMulIntegerToFloat"
        | "DynamicQuantizeMatMul"
        | "PerTokenMatMul" => {
            one(Val::opaque(matmul_shape(&x(0)?.shape, &x(1)?.shape)?, node.op == "MatMulInteger"))
        }
        "QLinearMatMul" => one(Val::opaque(matmul_shape(&x(0)?.shape, &x(3)?.shape)?, true)),
        "Gemm" | "QGemm" => {
            let (a, b) = (&x(0)?.shape, &x(if node.op == "QGemm" { 3 } else { 1 })?.shape);
            let m = a.get(usize::from(node.int("transA") == Some(1)))?;
            let n = b.get(usize::from(node.int("transB") != Some(1)))?;
            one(Val::opaque(vec![*m, *n], false))
        }
        "QuantizeLinear" | "DequantizeLinear" => {
            let quantize = node.op == "QuantizeLinear";
            let v = x(0)?;
            let zero = match x(2) {
                Some(z) => z.scalar().map(|zero| (zero, z.range)),
                None => Some((0.0, Some((0, 255)))),
            };
            let (Some(s), Some((z, range))) = (x(1)?.scalar(), zero) else {
                return one(Val::opaque(v.shape.clone(), quantize));
            };
            // Only quantizing needs to know the type's range.
            let Some((low, high)) = range.or(if quantize { None } else { Some((0, 0)) }) else {
                return one(Val::opaque(v.shape.clone(), quantize));
            };
            one(map(v, quantize, |x| {
                if quantize {
                    ((x / s).round_ties_even() + z).clamp(low.into(), high.into())
                } else {
                    (x - z) * s
                }
            }))
        }
        "DynamicQuantizeLinear" => Some(vec![
            Some(Val::opaque(x(0)?.shape.clone(), true)),
            Some(Val::opaque(vec![], false)),
            Some(Val::opaque(vec![], true)),
        ]),
        "QLinearAdd" | "QLinearMul" => one(Val::opaque(broadcast(&x(0)?.shape, &x(3)?.shape)?, true)),
        "QLinearSoftmax" | "QLinearSigmoid" | "QLinearLeakyRelu" => {
            one(Val::opaque(x(0)?.shape.clone(), true))
        }
        "QLinearConcat" => None,
        "Attention" | "QAttention" => {
            let (v, w) = (x(0)?, x(1)?);
            let hidden = w.shape.get(1)? / 3;
            one(Val::opaque(vec![*v.shape.first()?, *v.shape.get(1)?, hidden], false))
        }
        "EmbedLayerNormalization" | "QEmbedLayerNormalization" => {
            let (ids, table) = (x(0)?, x(2)?);
            let shape = vec![*ids.shape.first()?, *ids.shape.get(1)?, *table.shape.get(1)?];
            Some(vec![
                Some(Val::opaque(shape.clone(), false)),
                Some(Val::opaque(vec![ids.shape[0]], true)),
                Some(Val::opaque(shape, false)),
            ])
        }
        "SkipLayerNormalization" => {
            let v = Val::opaque(x(0)?.shape.clone(), false);
            Some(vec![Some(v.clone()), None, None, Some(v)])
        }
        _ => None,
    }
}

fn constant(node: &Node) -> Outs {
    one(match node.constant_value()? {
        Attr::Tensor(t) if t.len() <= 1 << 16 => Val::known(t.shape.clone(), t.to_f64(), !t.dtype.is_float()),
        Attr::Tensor(t) => Val::opaque(t.shape.clone(), !t.dtype.is_float()),
        Attr::Int(i) => Val::known(vec![], vec![*i as f64], true),
        Attr::Float(f) => Val::known(vec![], vec![f64::from(*f)], false),
        Attr::Ints(v) => Val::known(vec![v.len()], v.iter().map(|&i| i as f64).collect(), true),
        Attr::Floats(v) => Val::known(vec![v.len()], v.iter().map(|&i| f64::from(i)).collect(), false),
        _ => return None,
    })
}

fn dims(v: &Val) -> Option<Vec<usize>> {
    v.data.as_ref()?.iter().map(|&d| if (0.0..2e9).contains(&d) { Some(d as usize) } else { None }).collect()
}

fn map(v: &Val, int: bool, f: impl Fn(f64) -> f64) -> Val {
    match &v.data {
        Some(d) => Val::known(v.shape.clone(), d.iter().map(|&x| f(x)).collect(), int),
        None => Val::opaque(v.shape.clone(), int),
    }
}

fn unary(node: &Node, ins: &[Option<&Val>]) -> Outs {
    let v = ins.first().copied().flatten()?;
    let flag = |b: bool| f64::from(u8::from(b));
    one(match node.op.as_str() {
        "Neg" => map(v, v.int, |x| -x),
        "Abs" => map(v, v.int, f64::abs),
        "Sqrt" => map(v, false, f64::sqrt),
        "Exp" => map(v, false, f64::exp),
        "Log" => map(v, false, f64::ln),
        "Tanh" => map(v, false, f64::tanh),
        "Erf" => map(v, false, erf),
        "Relu" => map(v, v.int, |x| x.max(0.0)),
        "Sigmoid" => map(v, false, |x| 1.0 / (1.0 + (-x).exp())),
        "Floor" => map(v, false, f64::floor),
        "Ceil" => map(v, false, f64::ceil),
        "Round" => map(v, false, f64::round_ties_even),
        "Reciprocal" => map(v, false, |x| 1.0 / x),
        "Sign" => map(v, v.int, |x| if x == 0.0 { 0.0 } else { x.signum() }),
        "Not" => map(v, true, |x| flag(x == 0.0)),
        "IsNaN" => map(v, true, |x| flag(x.is_nan())),
        "IsInf" => map(v, true, |x| flag(x.is_infinite())),
        "Gelu" if node.str("approximate") != Some("tanh") => {
            map(v, false, |x| 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)))
        }
        "Gelu" => map(v, false, gelu_tanh),
        "FastGelu" => return one(Val::opaque(v.shape.clone(), false)),
        "Clip" => {
            let bound = |i: usize, a: &str| {
                node.float(a).map(f64::from).or_else(|| ins.get(i).copied().flatten().and_then(Val::scalar))
            };
            let (lo, hi) = (bound(1, "min").unwrap_or(f64::MIN), bound(2, "max").unwrap_or(f64::MAX));
            map(v, v.int, |x| x.max(lo).min(hi))
        }
        "CastLike" => {
            let int = ins.get(1).copied().flatten()?.int;
            map(v, int, |x| if int { x.trunc() } else { x })
        }
        "Cast" => {
            let to = node.int("to")?;
            let int = is_int(to);
            map(v, int, |x| {
                if to == 9 {
                    flag(x != 0.0)
                } else if int {
                    x.trunc()
                } else {
                    x
                }
            })
        }
        _ => return None,
    })
}

/// GELU's tanh form.
pub fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
}

/// The error function in f64 by its Taylor series (|x| < 3) and its continued fraction.
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a > 6.0 {
        return x.signum();
    }
    let r = if a < 3.0 {
        let (mut term, mut sum) = (a, a);
        for n in 1..80 {
            term *= -a * a / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let mut f = 0.0;
        for n in (1..60).rev() {
            f = n as f64 / 2.0 / (a + f);
        }
        1.0 - (-a * a).exp() / std::f64::consts::PI.sqrt() / (a + f)
    };
    if x < 0.0 { -r } else { r }
}

fn binary(node: &Node, ins: &[Option<&Val>]) -> Outs {
    let mut acc = ins.first().copied().flatten()?.clone();
    for b in ins.iter().skip(1) {
        acc = binary2(node, &acc, b.as_ref().copied()?)?;
    }
    one(acc)
}

fn binary2(node: &Node, a: &Val, b: &Val) -> Option<Val> {
    let shape = broadcast(&a.shape, &b.shape)?;
    let op = node.op.as_str();
    let compare = matches!(op, "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual");
    let int = compare || (a.int && b.int);
    let (Some(_), Some(_)) = (&a.data, &b.data) else { return Some(Val::opaque(shape, int)) };
    if elements(&shape)? > MAX_DATA {
        return Some(Val::opaque(shape, int));
    }
    let flag = |b: bool| f64::from(u8::from(b));
    let mut out = Vec::with_capacity(elements(&shape)?);
    let mut ok = true;
    for_each_index(&shape, |ix| {
        let (Some(x), Some(y)) = (a.broadcast_at(ix), b.broadcast_at(ix)) else {
            ok = false;
            return;
        };
        out.push(match op {
            "Add" => x + y,
            "Sub" => x - y,
            "Mul" => x * y,
            "Div" if int => {
                if y == 0.0 {
                    0.0
                } else {
                    (x / y).trunc()
                }
            }
            "Div" => x / y,
            "Pow" => x.powf(y),
            "Min" => x.min(y),
            "Max" => x.max(y),
            "Mod" => {
                if y == 0.0 {
                    0.0
                } else {
                    x - y * (x / y).floor()
                }
            }
            "Equal" => flag(x == y),
            "Less" => flag(x < y),
            "LessOrEqual" => flag(x <= y),
            "Greater" => flag(x > y),
            "GreaterOrEqual" => flag(x >= y),
            "And" => flag(x != 0.0 && y != 0.0),
            "Or" => flag(x != 0.0 || y != 0.0),
            _ => flag((x != 0.0) != (y != 0.0)),
        });
    });
    ok.then(|| Val::known(shape, out, int))
}

fn select(c: &Val, a: &Val, b: &Val) -> Outs {
    let shape = broadcast(&broadcast(&c.shape, &a.shape)?, &b.shape)?;
    let int = a.int && b.int;
    if c.data.is_none() || a.data.is_none() || b.data.is_none() || elements(&shape)? > MAX_DATA {
        return one(Val::opaque(shape, int));
    }
    let mut out = Vec::with_capacity(elements(&shape)?);
    for_each_index(&shape, |ix| {
        let pick = if c.broadcast_at(ix) != Some(0.0) { a } else { b };
        out.push(pick.broadcast_at(ix).unwrap_or(f64::NAN));
    });
    one(Val::known(shape, out, int))
}

fn cumsum(node: &Node, v: &Val, axis: &Val) -> Outs {
    let axis = from_front(axis.scalar()? as i64, v.shape.len())?;
    if axis >= v.shape.len() || node.int("exclusive") == Some(1) || node.int("reverse") == Some(1) {
        return None;
    }
    let Some(data) = &v.data else { return one(v.clone()) };
    let mut out = data.as_ref().clone();
    let st = strides(&v.shape)[axis];
    for i in 0..out.len() {
        if !(i / st).is_multiple_of(v.shape[axis]) {
            out[i] += out[i - st];
        }
    }
    one(Val::known(v.shape.clone(), out, v.int))
}

fn reduce(node: &Node, v: &Val, axes: Option<&Val>) -> Outs {
    let r = v.shape.len() as i64;
    let axes = match ints_of(node, "axes", axes) {
        Some(a) if !a.is_empty() => a.iter().map(|&a| if a < 0 { a + r } else { a }).collect(),
        _ if node.int("noop_with_empty_axes") == Some(1) => return one(v.clone()),
        _ => (0..r).collect::<Vec<_>>(),
    };
    let keep = node.int("keepdims").unwrap_or(1) == 1;
    let mut shape = vec![];
    for (d, &n) in v.shape.iter().enumerate() {
        if !axes.contains(&(d as i64)) {
            shape.push(n);
        } else if keep {
            shape.push(1);
        }
    }
    let Some(data) = v.data.as_ref().filter(|d| !d.is_empty()) else { return one(Val::opaque(shape, v.int)) };
    let full: Vec<usize> =
        v.shape.iter().enumerate().map(|(d, &n)| if axes.contains(&(d as i64)) { 1 } else { n }).collect();
    let st = strides(&full);
    let mut groups: Vec<Vec<f64>> = vec![vec![]; elements(&full)?];
    let mut at = 0;
    for_each_index(&v.shape, |ix| {
        let g: usize = ix.iter().enumerate().map(|(d, &i)| if full[d] == 1 { 0 } else { i * st[d] }).sum();
        if let (Some(group), Some(&x)) = (groups.get_mut(g), data.get(at)) {
            group.push(x);
        }
        at += 1;
    });
    let f = |g: &Vec<f64>| match node.op.as_str() {
        "ReduceSum" => g.iter().sum(),
        "ReduceMean" => g.iter().sum::<f64>() / g.len().max(1) as f64,
        "ReduceMax" => g.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        "ReduceMin" => g.iter().copied().fold(f64::INFINITY, f64::min),
        "ReduceL2" => g.iter().map(|x| x * x).sum::<f64>().sqrt(),
        _ => g.iter().product(),
    };
    one(Val::known(shape, groups.iter().map(f).collect(), v.int))
}

fn matmul_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    if a.is_empty() || b.len() < 2 {
        return None;
    }
    let (k, n) = (b[b.len() - 2], b[b.len() - 1]);
    if a[a.len() - 1] != k {
        return None;
    }
    if a.len() == 1 {
        return Some(vec![n]);
    }
    let mut out = broadcast(&a[..a.len() - 2], &b[..b.len() - 2])?;
    out.push(a[a.len() - 2]);
    out.push(n);
    Some(out)
}
