//! Labels of texts.

use pocketbert::bundle::Head;

use super::{
    Ece, Flip, LabelResult, Operating, Plan, Rates, SetResult, divergence, gold_name, judge_hits, margin,
    name,
};
use crate::data::{Example, Gold};
use crate::stats::{self, Rate};

/// Matrices of more labels are not shown.
const CONFUSION: usize = 12;

/// Judges the labels that the raw outputs `a` and `b` give to `rows`.
pub fn judge(r: &mut SetResult, p: &Plan, head: &Head, rows: &[Example], a: &[Vec<f32>], b: &[Vec<f32>]) {
    let (pa, pb): (Vec<usize>, Vec<usize>) =
        a.iter().zip(b).map(|(x, y)| (stats::argmax(x), stats::argmax(y))).unzip();
    r.units = rows.len();
    divergence(r, p.seed, a.iter().zip(b).map(|(x, y)| stats::kl(x, y)).collect());
    for (i, e) in rows.iter().enumerate() {
        let flip = Flip {
            text: e.text.clone(),
            reference: name(head, pa[i]),
            model: name(head, pb[i]),
            gold: gold_name(head, e),
            margin: margin(&a[i]),
        };
        if pa[i] != pb[i] {
            r.flips += 1;
            r.examples.push(flip.clone());
        }
        r.nearest.push(flip);
    }
    let gold: Vec<usize> = rows
        .iter()
        .map_while(|e| match e.gold {
            Gold::Label(y) => Some(y),
            _ => None,
        })
        .collect();
    if gold.len() != rows.len() {
        return;
    }
    let right: Vec<(bool, bool)> = (0..rows.len()).map(|i| (pa[i] == gold[i], pb[i] == gold[i])).collect();
    judge_hits(&mut r.quality, "accuracy", &right, p.seed);
    let count = |f: fn(&(bool, bool)) -> bool| right.iter().filter(|x| f(x)).count();
    r.mcnemar = Some(stats::mcnemar(count(|x| x.0 && !x.1), count(|x| !x.0 && x.1)));
    r.right = right;
    let k = head.labels.len();
    let f1 = |d: &[usize], pred: &[usize]| macro_f1(k, d.iter().map(|&i| (gold[i], pred[i])));
    let all: Vec<usize> = (0..gold.len()).collect();
    r.macro_f1 = Some((f1(&all, &pa), f1(&all, &pb)));
    r.macro_f1_drop_interval = Some(stats::bootstrap(gold.len(), p.seed, |d| f1(d, &pa) - f1(d, &pb)));
    calibration(r, p, head, &gold, (&pa, &pb), (a, b));
    if k <= CONFUSION {
        r.confusion = vec![vec![0; k]; k];
        gold.iter().zip(&pb).for_each(|(&g, &m)| r.confusion[g][m] += 1);
        r.labels = head.labels.clone();
    }
    for (l, label) in head.labels.iter().enumerate() {
        let of: Vec<usize> = all.iter().copied().filter(|&i| gold[i] == l).collect();
        let rate = |f: &dyn Fn(usize) -> bool| Rate::new(of.iter().filter(|&&i| f(i)).count(), of.len());
        if !of.is_empty() {
            r.by_label.push(LabelResult {
                label: label.clone(),
                reference: rate(&|i| pa[i] == l),
                model: rate(&|i| pb[i] == l),
                flips: rate(&|i| pa[i] != pb[i]),
            });
        }
    }
    for (label, &threshold) in &head.thresholds {
        let Some(l) = head.labels.iter().position(|x| x == label) else { continue };
        let (threshold, t) = (f64::from(threshold), f64::from(head.temperature));
        let yes = |x: &[Vec<f32>]| -> Vec<bool> {
            x.iter().map(|x| stats::softmax(x, t)[l] >= threshold).collect()
        };
        let (ya, yb) = (yes(a), yes(b));
        r.operating.push(Operating {
            label: label.clone(),
            threshold,
            reference: rates(&gold, &ya, l),
            model: rates(&gold, &yb, l),
            flips: Rate::new(ya.iter().zip(&yb).filter(|(x, y)| x != y).count(), ya.len()),
        });
    }
}

/// Calibration of the reference, the model, and the model at its temperature.
fn calibration(
    r: &mut SetResult,
    p: &Plan,
    head: &Head,
    gold: &[usize],
    (pa, pb): (&[usize], &[usize]),
    (a, b): (&[Vec<f32>], &[Vec<f32>]),
) {
    let sure = |x: &[Vec<f32>], pred: &[usize], t: f64| -> Vec<(f64, bool)> {
        x.iter().zip(pred).zip(gold).map(|((x, &p), &y)| (stats::softmax(x, t)[p], p == y)).collect()
    };
    let all = [sure(a, pa, 1.0), sure(b, pb, 1.0), sure(b, pb, f64::from(head.temperature))].map(|answers| {
        let (value, bins) = stats::ece(&answers);
        let interval = stats::bootstrap(answers.len(), p.seed, |d| {
            stats::ece(&d.iter().map(|&i| answers[i]).collect::<Vec<_>>()).0
        });
        r.reliability = bins;
        Ece { value, interval }
    });
    r.ece = Some(all);
}

/// Precision, recall, false positive and false negative rate.
fn rates(gold: &[usize], yes: &[bool], label: usize) -> Rates {
    let count =
        |g: bool, y: bool| gold.iter().zip(yes).filter(|(x, v)| ((**x == label) == g) && **v == y).count();
    let (tp, fp, fnn, tn) = (count(true, true), count(false, true), count(true, false), count(false, false));
    Rates {
        precision: Rate::new(tp, tp + fp),
        recall: Rate::new(tp, tp + fnn),
        fpr: Rate::new(fp, fp + tn),
        fnr: Rate::new(fnn, fnn + tp),
    }
}

/// Mean F1 in percent over the labels that occur, of pairs of right label and answer below `k`.
fn macro_f1(k: usize, pairs: impl Iterator<Item = (usize, usize)>) -> f64 {
    let (mut hit, mut had, mut said) = (vec![0f64; k], vec![0f64; k], vec![0f64; k]);
    for (g, p) in pairs {
        had[g] += 1.0;
        said[p] += 1.0;
        hit[g] += f64::from(u8::from(g == p));
    }
    let used: Vec<f64> =
        (0..k).filter(|&i| had[i] > 0.0).map(|i| 2.0 * hit[i] / (had[i] + said[i])).collect();
    100.0 * used.iter().sum::<f64>() / used.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_by_hand() {
        // Right: 3 yes, 5 no. Accepted: two of the yes, one of the no.
        let gold = [1, 1, 1, 0, 0, 0, 0, 0];
        let yes = [true, true, false, true, false, false, false, false];
        let r = rates(&gold, &yes, 1);
        assert_eq!((r.precision.hits, r.precision.of), (2, 3));
        assert_eq!((r.recall.hits, r.recall.of), (2, 3));
        assert_eq!((r.fpr.hits, r.fpr.of), (1, 5));
        assert_eq!((r.fnr.hits, r.fnr.of), (1, 3));
        assert!(r.fpr.interval.0 < 0.2 && r.fpr.interval.1 > 0.2);
    }

    #[test]
    fn macro_f1_by_hand() {
        // Label 0: F1 = 2*2/(2+3); label 1: 2*1/(2+1); label 2 never occurs.
        let f = macro_f1(3, [(0, 0), (0, 0), (1, 0), (1, 1)].into_iter());
        assert!((f - 100.0 * (0.8 + 2.0 / 3.0) / 2.0).abs() < 1e-9, "{f}");
    }
}
