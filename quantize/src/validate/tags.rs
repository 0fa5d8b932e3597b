//! Tags of words, and the spans that they form.

use pocketbert::bundle::Head;
use pocketbert::text::Encoding;

use super::{Flip, Plan, SHOWN, SetResult, margin, name};
use crate::data::{Example, Gold};
use crate::stats;

/// Stretches of equal entity kind as (first, end, kind), by BIO.
fn spans(head: &Head, tags: &[usize]) -> Vec<(usize, usize, String)> {
    let mut out = vec![];
    let mut open: Option<(usize, String)> = None;
    for i in 0..=tags.len() {
        let tag = tags.get(i).map_or("O".to_string(), |&t| name(head, t));
        let (mark, kind) = tag.split_at_checked(2).unwrap_or(("", ""));
        if let Some((start, was)) = &open
            && (tag == "O" || mark == "B-" || kind != was)
        {
            out.push((*start, i, was.clone()));
            open = None;
        }
        if tag != "O" && open.is_none() {
            open = Some((i, kind.to_string()));
        }
    }
    out
}

/// Judges the tags that the raw outputs `a` and `b` give to the first sub-token of every word of `rows`.
pub fn judge(
    r: &mut SetResult,
    p: &Plan,
    head: &Head,
    rows: &[Example],
    encodings: &[Encoding],
    a: &[Vec<f32>],
    b: &[Vec<f32>],
) {
    r.quality.measure = "span F1";
    let c = head.labels.len().max(1);
    // Sum of divergences and words, by text; the largest.
    let (mut kls, mut most) = (vec![], 0.0f64);
    // Hits, found by reference and model, and wanted, by text.
    let mut counts: Vec<[[f64; 3]; 2]> = vec![];
    for ((row, e), (x, y)) in rows.iter().zip(encodings).zip(a.iter().zip(b)) {
        let mut first: Vec<(u32, usize)> = vec![];
        for (i, w) in e.word_ids.iter().enumerate() {
            if let Some(w) = w
                && first.last().is_none_or(|(l, _)| l != w)
            {
                first.push((*w, i));
            }
        }
        let mut said = [vec![], vec![]];
        let mut own = (0.0, 0.0);
        for &(w, i) in &first {
            let (x, y) = (&x[i * c..(i + 1) * c], &y[i * c..(i + 1) * c]);
            let kl = stats::kl(x, y);
            (own, most) = ((own.0 + kl, own.1 + 1.0), most.max(kl));
            let (m, n) = (stats::argmax(x), stats::argmax(y));
            r.units += 1;
            let margin = margin(x);
            let near = r.nearest.len() < 4 * SHOWN || r.nearest.iter().any(|f| f.margin > margin);
            if m != n || near {
                let word = row.words.as_ref().and_then(|ws| ws.get(w as usize)).cloned().unwrap_or_default();
                let flip = Flip {
                    text: format!("{word} — {}", row.text),
                    reference: name(head, m),
                    model: name(head, n),
                    gold: match &row.gold {
                        Gold::Tags(t) => t.get(w as usize).map(|&t| name(head, t)),
                        _ => None,
                    },
                    margin,
                };
                if m != n {
                    r.flips += 1;
                    r.examples.push(flip.clone());
                }
                r.nearest.push(flip);
                if r.nearest.len() > 8 * SHOWN {
                    r.nearest.sort_by(|x, y| x.margin.total_cmp(&y.margin));
                    r.nearest.truncate(4 * SHOWN);
                }
            }
            said[0].push(m);
            said[1].push(n);
        }
        kls.push(own);
        if let Gold::Tags(tags) = &row.gold {
            let gold: Vec<usize> = first.iter().filter_map(|(w, _)| tags.get(*w as usize).copied()).collect();
            let want = spans(head, &gold);
            counts.push(said.map(|s| {
                let got = spans(head, &s);
                let hit = got.iter().filter(|g| want.contains(g)).count();
                [hit as f64, got.len() as f64, want.len() as f64]
            }));
        }
    }
    let (sum, words) = kls.iter().fold((0.0, 0.0), |s, k| (s.0 + k.0, s.1 + k.1));
    r.kl_mean = Some(if words > 0.0 { sum / words } else { 0.0 });
    r.kl_interval = Some(stats::ratio_interval(&kls, p.seed));
    r.kl_max = Some(most);
    let f1 = |d: &[usize], m: usize| {
        let sum = d.iter().fold([0.0; 3], |s, &i| std::array::from_fn(|k| s[k] + counts[i][m][k]));
        200.0 * sum[0] / (sum[1] + sum[2]).max(1.0)
    };
    let all: Vec<usize> = (0..counts.len()).collect();
    r.quality.reference = f1(&all, 0);
    r.quality.model = f1(&all, 1);
    r.quality.reference_interval = stats::bootstrap(counts.len(), p.seed, |d| f1(d, 0));
    r.quality.interval = stats::bootstrap(counts.len(), p.seed, |d| f1(d, 1));
    r.quality.drop_interval = stats::bootstrap(counts.len(), p.seed, |d| f1(d, 0) - f1(d, 1));
}

#[cfg(test)]
mod tests {
    use super::*;
    use pocketbert::bundle::manifest::Task;

    #[test]
    fn spans_by_bio() {
        let labels = ["O", "B-x", "I-x", "B-y", "I-y"].map(String::from).to_vec();
        let head = Head::new("h", Task::TokenClassification, "h", labels);
        let found = spans(&head, &[1, 2, 1, 0, 4, 4, 2]);
        let want = [(0, 2, "x"), (2, 3, "x"), (4, 6, "y"), (6, 7, "x")];
        assert_eq!(found, want.map(|(a, b, k)| (a, b, k.to_string())));
    }
}
