//! Operators that put elements elsewhere and compute nothing: reshapes, transposes, slices, gathers.

use super::{MAX_DATA, Outs, from_front, one};
use crate::model::eval::{Val, charge, for_each_index, ints_of, strides};
use crate::model::graph::Node;
use crate::model::tensor::elements;

pub(super) fn reshape(node: &Node, v: &Val, shape: &Val) -> Outs {
    let want = shape.data.as_ref()?;
    let zero_keeps = node.int("allowzero") != Some(1);
    let total = elements(&v.shape)?;
    let mut out = vec![];
    let mut infer = None;
    for (i, &d) in want.iter().enumerate() {
        out.push(if d == -1.0 {
            if infer.replace(i).is_some() {
                return None;
            }
            1
        } else if d == 0.0 && zero_keeps {
            *v.shape.get(i)?
        } else if (0.0..2e9).contains(&d) {
            d as usize
        } else {
            return None;
        });
    }
    let n = elements(&out)?;
    if let Some(i) = infer {
        out[i] = total.checked_div(n)?;
    }
    if elements(&out)? != total {
        return None;
    }
    one(Val { shape: out, ..v.clone() })
}

/// A tensor of `shape` whose element at an index is `v`'s at `f(index)` (broadcast).
pub(super) fn gather_indices(v: &Val, shape: Vec<usize>, f: impl Fn(&[usize]) -> Option<Vec<usize>>) -> Outs {
    if v.data.is_none() || elements(&shape)? > MAX_DATA {
        return one(Val::opaque(shape, v.int));
    }
    let mut out = Vec::with_capacity(elements(&shape)?);
    let mut ok = true;
    for_each_index(&shape, |ix| match f(ix).and_then(|ix| v.broadcast_at(&ix)) {
        Some(x) => out.push(x),
        None => ok = false,
    });
    if !ok {
        return None;
    }
    one(Val::known(shape, out, v.int))
}

pub(super) fn transpose(node: &Node, v: &Val) -> Outs {
    let r = v.shape.len();
    let perm: Vec<usize> = match node.ints("perm") {
        Some(p) => p.iter().map(|&i| usize::try_from(i).ok().filter(|&i| i < r)).collect::<Option<_>>()?,
        None => (0..r).rev().collect(),
    };
    // Repeated axes would make a tensor larger than `v`.
    if perm.len() != r || (0..r).any(|d| !perm.contains(&d)) {
        return None;
    }
    let shape: Vec<usize> = perm.iter().map(|&p| v.shape[p]).collect();
    let Some(data) = &v.data else { return one(Val::opaque(shape, v.int)) };
    let st = strides(&v.shape);
    let mut out = Vec::with_capacity(data.len());
    for_each_index(&shape, |ix| {
        let off: usize = ix.iter().zip(&perm).map(|(i, &p)| i * st[p]).sum();
        out.push(data.get(off).copied().unwrap_or(f64::NAN));
    });
    one(Val::known(shape, out, v.int))
}

pub(super) fn concat(node: &Node, ins: &[Option<&Val>]) -> Outs {
    let vs: Vec<&Val> = ins.iter().copied().collect::<Option<_>>()?;
    let first = vs.first()?;
    let axis = from_front(node.int("axis")?, first.shape.len())?;
    let mut shape = first.shape.clone();
    *shape.get_mut(axis)? = 0;
    for v in &vs {
        if v.shape.len() != shape.len() {
            return None;
        }
        shape[axis] = shape[axis].checked_add(v.shape[axis])?;
    }
    if vs.iter().any(|v| v.data.is_none()) || elements(&shape)? > MAX_DATA {
        return one(Val::opaque(shape, first.int));
    }
    let outer = if elements(&shape)? == 0 { 0 } else { elements(&shape[..axis])? };
    if !charge(outer.saturating_mul(vs.len())) {
        return None;
    }
    let mut out = Vec::with_capacity(elements(&shape)?);
    for o in 0..outer {
        for v in &vs {
            let chunk = elements(&v.shape[axis..])?;
            out.extend_from_slice(v.data.as_ref()?.get(o * chunk..(o + 1) * chunk)?);
        }
    }
    if Some(out.len()) != elements(&shape) {
        return None;
    }
    one(Val::known(shape, out, first.int))
}

pub(super) fn split(node: &Node, v: &Val, sizes: Option<&Val>) -> Outs {
    let axis = from_front(node.int("axis").unwrap_or(0), v.shape.len())?;
    let total = *v.shape.get(axis)?;
    let n = node.outputs.len().max(1);
    let sizes: Vec<usize> = match ints_of(node, "split", sizes) {
        Some(s) => s.iter().map(|&x| usize::try_from(x).ok()).collect::<Option<_>>()?,
        None => {
            let each = total.div_ceil(n);
            (0..n).map(|i| each.min(total.saturating_sub(i.saturating_mul(each)))).collect()
        }
    };
    let mut at = 0usize;
    let mut outs = vec![];
    for s in sizes {
        if at.checked_add(s).is_none_or(|end| end > total) || outs.len() >= n {
            return None;
        }
        outs.push(cut(v, axis, at, 1, s)?);
        at += s;
    }
    Some(outs.into_iter().map(Some).collect())
}

/// `n` entries of `axis` from `start` in steps of `step`.
fn cut(v: &Val, axis: usize, start: usize, step: i64, n: usize) -> Option<Val> {
    let mut shape = v.shape.clone();
    *shape.get_mut(axis)? = n;
    gather_indices(v, shape, |ix| {
        let mut ix = ix.to_vec();
        let at = (ix[axis] as i64).checked_mul(step)?.checked_add(i64::try_from(start).ok()?)?;
        ix[axis] = usize::try_from(at).ok().filter(|&i| i < v.shape[axis])?;
        Some(ix)
    })?
    .into_iter()
    .next()?
}

pub(super) fn slice(node: &Node, ins: &[Option<&Val>]) -> Outs {
    let x = |i: usize| ins.get(i).copied().flatten();
    let v = x(0)?;
    let starts = ints_of(node, "starts", x(1))?;
    let ends = ints_of(node, "ends", x(2))?;
    let axes = ints_of(node, "axes", x(3)).unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = x(4).and_then(|s| s.data.clone()).map(|d| d.iter().map(|&s| s as i64).collect::<Vec<_>>());
    let mut out = v.clone();
    for (k, &axis) in axes.iter().enumerate() {
        let axis = from_front(axis, v.shape.len())?;
        let d = *v.shape.get(axis)? as i64;
        let step = steps.as_ref().map_or(Some(1), |s| s.get(k).copied())?;
        let norm = |i: i64| if i < 0 { i.saturating_add(d) } else { i };
        let (a, b) = (norm(*starts.get(k)?), norm(*ends.get(k)?));
        let (a, n) = if step > 0 {
            let (a, b) = (a.clamp(0, d), b.clamp(0, d));
            (a, (b - a).max(0).div_euclid(step) + i64::from((b - a).max(0).rem_euclid(step) != 0))
        } else if step < 0 {
            let (a, b) = (a.clamp(-1, d - 1), b.clamp(-1, d - 1));
            let m = (a - b).max(0);
            let step = step.checked_neg()?;
            (a, m.div_euclid(step) + i64::from(m.rem_euclid(step) != 0))
        } else {
            return None;
        };
        out = cut(&out, axis, usize::try_from(a.max(0)).ok()?, step, usize::try_from(n).ok()?)?;
    }
    one(out)
}

pub(super) fn gather(node: &Node, v: &Val, ix: &Val) -> Outs {
    let axis = from_front(node.int("axis").unwrap_or(0), v.shape.len())?;
    let d = *v.shape.get(axis)?;
    let mut shape = v.shape[..axis].to_vec();
    shape.extend(&ix.shape);
    shape.extend(&v.shape[axis + 1..]);
    if v.data.is_none() || ix.data.is_none() {
        return one(Val::opaque(shape, v.int));
    }
    let k = ix.shape.len();
    gather_indices(v, shape, |at| {
        let i = ix.broadcast_at(&at[axis..axis + k])?;
        let i =
            usize::try_from(if i < 0.0 { i as i64 + d as i64 } else { i as i64 }).ok().filter(|&i| i < d)?;
        let mut src = at[..axis].to_vec();
        src.push(i);
        src.extend(&at[axis + k..]);
        Some(src)
    })
}

pub(super) fn gather_elements(node: &Node, v: &Val, ix: &Val) -> Outs {
    let axis = from_front(node.int("axis").unwrap_or(0), v.shape.len())?;
    let d = *v.shape.get(axis)?;
    if ix.shape.len() != v.shape.len() {
        return None;
    }
    if v.data.is_none() || ix.data.is_none() {
        return one(Val::opaque(ix.shape.clone(), v.int));
    }
    gather_indices(v, ix.shape.clone(), |at| {
        let i = ix.broadcast_at(at)? as i64;
        let i = usize::try_from(if i < 0 { i + d as i64 } else { i }).ok().filter(|&i| i < d)?;
        let mut src = at.to_vec();
        src[axis] = i;
        src.iter().zip(&v.shape).all(|(i, d)| i < d).then_some(src)
    })
}

pub(super) fn gather_nd(node: &Node, v: &Val, ix: &Val) -> Outs {
    let depth = *ix.shape.last()?;
    if node.int("batch_dims").unwrap_or(0) != 0 || depth > v.shape.len() {
        return None;
    }
    let lead = ix.shape.len() - 1;
    let mut shape = ix.shape[..lead].to_vec();
    shape.extend(&v.shape[depth..]);
    if v.data.is_none() || ix.data.is_none() {
        return one(Val::opaque(shape, v.int));
    }
    gather_indices(v, shape, |at| {
        let mut src = vec![];
        for d in 0..depth {
            let mut k = at[..lead].to_vec();
            k.push(d);
            let i = ix.broadcast_at(&k)? as i64;
            let i = if i < 0 { i + v.shape[d] as i64 } else { i };
            src.push(usize::try_from(i).ok().filter(|&i| i < v.shape[d])?);
        }
        src.extend(&at[lead..]);
        Some(src)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::eval_ops::eval;
    use crate::model::graph::Attr;

    fn node(op: &str, attr: &str, values: Vec<i64>) -> Node {
        Node { op: op.into(), attrs: [(attr.to_string(), Attr::Ints(values))].into(), ..Node::default() }
    }

    #[test]
    fn transposing_needs_each_axis_once() {
        let x = Val::known(vec![2, 3], (0..6).map(f64::from).collect(), true);
        let y = eval(&node("Transpose", "perm", vec![1, 0]), &[Some(&x)]).unwrap().remove(0).unwrap();
        assert_eq!((y.shape, y.data.unwrap().to_vec()), (vec![3, 2], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
        // Taken at its word, this makes 40,000 x 40,000 values out of 40,000.
        let x = Val::known(vec![40_000, 1], vec![0.0; 40_000], true);
        assert!(eval(&node("Transpose", "perm", vec![0, 0]), &[Some(&x)]).is_none());
    }

    #[test]
    fn more_axes_than_a_tensor_may_have_are_refused() {
        let x = Val::known(vec![2], vec![1.0, 2.0], true);
        let y = eval(&node("Unsqueeze", "axes", vec![0, -1]), &[Some(&x)]).unwrap().remove(0).unwrap();
        assert_eq!(y.shape, [1, 2, 1]);
        // The time for these would grow with their square.
        let many = (0..1 << 16).collect();
        assert!(eval(&node("Unsqueeze", "axes", many), &[Some(&x)]).is_none());
    }
}
