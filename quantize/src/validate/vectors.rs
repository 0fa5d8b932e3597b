//! Vectors.

use super::{Flip, Plan, SetResult};
use crate::data::{Example, Gold};
use crate::stats;

/// Texts among which the nearest neighbour is sought.
const AMONG: usize = 1000;

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-30)
}

/// Judges the vectors `a` and `b` of the texts `rows`, or of their pairs.
pub fn judge(r: &mut SetResult, p: &Plan, rows: &[Example], a: &[Vec<f32>], b: &[Vec<f32>]) {
    r.quality.measure = "Spearman";
    let cosines: Vec<f64> = a.iter().zip(b).map(|(x, y)| cosine(x, y)).collect();
    let least = cosines.iter().copied().fold(1.0, f64::min);
    r.cosine = Some((cosines.iter().sum::<f64>() / cosines.len().max(1) as f64, least));
    r.cosine_interval = Some(stats::mean_interval(&cosines, p.seed));
    let pairs = a.len() == 2 * rows.len();
    let text = |i: usize| match rows.get(if pairs { i / 2 } else { i }) {
        Some(e) if pairs && i % 2 == 1 => e.pair.clone().unwrap_or_default(),
        Some(e) => e.text.clone(),
        None => String::new(),
    };
    // The nearest neighbour of each text among the first thousand; the same text twice is no neighbour.
    let n = a.len().min(AMONG);
    let nearest = |v: &[Vec<f32>], i: usize| {
        let mut two = [(f64::NEG_INFINITY, None), (f64::NEG_INFINITY, None)];
        for j in (0..n).filter(|&j| j != i && a[j] != a[i]) {
            let d = dot(&v[i], &v[j]);
            if d > two[0].0 {
                two = [(d, Some(j)), two[0]];
            } else if d > two[1].0 {
                two[1] = (d, Some(j));
            }
        }
        (two[0].1, two[0].0 - two[1].0)
    };
    r.units = n;
    for i in 0..n {
        let ((x, margin), (y, _)) = (nearest(a, i), nearest(b, i));
        if x != y {
            let [reference, model] = [x, y].map(|j| j.map_or(String::new(), text));
            r.flips += 1;
            r.examples.push(Flip { text: text(i), reference, model, gold: None, margin });
        }
    }
    if !pairs {
        return;
    }
    let gold: Vec<f64> = rows
        .iter()
        .map_while(|e| match e.gold {
            Gold::Score(s) => Some(f64::from(s)),
            _ => None,
        })
        .collect();
    if gold.len() != rows.len() {
        return;
    }
    let likeness = |v: &[Vec<f32>]| -> Vec<f64> { v.chunks_exact(2).map(|p| cosine(&p[0], &p[1])).collect() };
    let (ca, cb) = (likeness(a), likeness(b));
    let rho = |d: &[usize], c: &[f64]| {
        let pick = |v: &[f64]| -> Vec<f64> { d.iter().map(|&i| v[i]).collect() };
        100.0 * stats::spearman(&pick(c), &pick(&gold))
    };
    let all: Vec<usize> = (0..rows.len()).collect();
    r.quality.reference = rho(&all, &ca);
    r.quality.model = rho(&all, &cb);
    r.quality.reference_interval = stats::bootstrap(rows.len(), p.seed, |d| rho(d, &ca));
    r.quality.interval = stats::bootstrap(rows.len(), p.seed, |d| rho(d, &cb));
    r.quality.drop_interval = stats::bootstrap(rows.len(), p.seed, |d| rho(d, &ca) - rho(d, &cb));
}
