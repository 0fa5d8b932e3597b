//! Two models on the same sets: how well each answers, and where they differ.

use std::path::PathBuf;

use pocketbert::bundle::Head;
use pocketbert::bundle::manifest::Task;
use pocketbert::text::Encoding;
use pocketbert::{Error, Result};
use serde::Serialize;

use crate::data::{Example, Gold, Role, SetEntry, read_examples};
use crate::eval::{How, Subject, encode, outputs};
use crate::stats::{self, Bin};

/// Flipped texts that a report shows per set.
const SHOWN: usize = 12;
/// Longest answer in tokens.
const LONGEST_ANSWER: usize = 30;

/// A text that the two models answer differently.
#[derive(Clone, Debug, Serialize)]
pub struct Flip {
    /// The text, or the question.
    pub text: String,
    /// What the reference says.
    pub reference: String,
    /// What the model says.
    pub model: String,
    /// What is right, if known.
    pub gold: Option<String>,
    /// How far the reference was from saying something else: probability of its label less the next.
    pub margin: f64,
}

/// A figure of both models, with the 95 % interval of the difference.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Quality {
    /// What is measured.
    pub measure: &'static str,
    /// The reference, in percent (Spearman times 100).
    pub reference: f64,
    /// The model.
    pub model: f64,
    /// `reference - model`: lower and upper bound.
    pub drop_interval: (f64, f64),
    /// The model's own interval.
    pub interval: (f64, f64),
}

/// What was found on one set.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SetResult {
    /// Head.
    pub head: String,
    /// Set.
    pub name: String,
    /// Slice: how the texts were changed; empty for the texts as they are.
    pub slice: String,
    /// SHA-256 of the file that the texts came from.
    pub sha256: String,
    /// What it was for: nothing was chosen by a test set.
    pub role: &'static str,
    /// Texts.
    pub texts: usize,
    /// What can flip: texts, tokens or answers.
    pub units: usize,
    /// How many of them differ.
    pub flips: usize,
    /// Wilson's interval of their share.
    pub flips_interval: (f64, f64),
    /// Quality.
    pub quality: Quality,
    /// F1 over labels, not weighted, of both, where there are labels.
    pub macro_f1: Option<(f64, f64)>,
    /// Mean divergence of the probabilities.
    pub kl_mean: Option<f64>,
    /// Largest.
    pub kl_max: Option<f64>,
    /// Mean absolute difference of the raw outputs.
    pub error_mean: f64,
    /// Largest.
    pub error_max: f64,
    /// Signal to noise of the raw outputs in decibel.
    pub sqnr: f64,
    /// Expected calibration error: reference, model, model at its temperature.
    pub ece: Option<(f64, f64, f64)>,
    /// The interval of the last of them.
    pub ece_interval: Option<(f64, f64)>,
    /// Reliability of the model at its temperature.
    pub reliability: Vec<Bin>,
    /// Exact McNemar test of right and wrong.
    pub mcnemar: Option<f64>,
    /// Rows: right label; columns: the model's.
    pub confusion: Vec<Vec<usize>>,
    /// Labels of the confusion matrix.
    pub labels: Vec<String>,
    /// At the thresholds of the head: label, precision, recall, false positive and negative rate of both, and flips.
    pub operating: Vec<Operating>,
    /// Mean and least cosine between the two models' vectors.
    pub cosine: Option<(f64, f64)>,
    /// Examples of flips, least margin first.
    pub examples: Vec<Flip>,
}

/// Quality at the threshold of a label.
#[derive(Clone, Debug, Serialize)]
pub struct Operating {
    /// Label.
    pub label: String,
    /// Its threshold.
    pub threshold: f64,
    /// Precision, recall, false positive rate, false negative rate of the reference.
    pub reference: [f64; 4],
    /// Of the model.
    pub model: [f64; 4],
    /// Texts that one of them accepts and the other does not.
    pub flips: usize,
}

/// What to validate.
pub struct Plan<'a> {
    /// FP32.
    pub reference: &'a Subject,
    /// What is judged.
    pub model: &'a Subject,
    /// Heads; thresholds and temperatures are theirs.
    pub heads: &'a [Head],
    /// Sets.
    pub sets: Vec<SetEntry>,
    /// At most so many texts per set.
    pub limit: Option<usize>,
    /// Device-like slices beside the texts as they are.
    pub slices: Vec<crate::slices::Slice>,
    /// Seed of slices and resampling.
    pub seed: u64,
    /// How to run.
    pub how: How,
}

/// Runs both models over all sets.
pub fn validate(p: &Plan) -> Result<Vec<SetResult>> {
    // Files first: an unknown label is found before the long work.
    let mut loaded = vec![];
    for s in &p.sets {
        let head = p.heads.iter().find(|h| h.name == s.head).ok_or_else(|| {
            let known: Vec<&str> = p.heads.iter().map(|h| h.name.as_str()).collect();
            Error::invalid(format!("set `{}`: no head `{}`; there are {}", s.name, s.head, known.join(", ")))
        })?;
        let mut rows = read_examples(&s.file, Some(head))?;
        rows.truncate(p.limit.unwrap_or(usize::MAX));
        loaded.push((s, head, rows, crate::files::sha256(&s.file)?));
    }
    let mut out = vec![];
    for (s, head, rows, sha256) in &loaded {
        for slice in std::iter::once(None).chain(p.slices.iter().map(Some)) {
            let rows: Vec<Example> = match slice {
                None => rows.clone(),
                // What tags and answers refer to does not survive a change of the text.
                Some(_) if head.task != Task::TextClassification => continue,
                Some(slice) => slice.apply(rows, p.seed),
            };
            let mut r = one(p, s, head, &rows)?;
            r.slice = slice.map_or(String::new(), |s| s.name().to_string());
            r.sha256 = sha256.clone();
            eprintln!("{}", line(&r));
            out.push(r);
        }
    }
    Ok(out)
}

/// A result in one line.
pub fn line(r: &SetResult) -> String {
    let slice = if r.slice.is_empty() { String::new() } else { format!(" ({})", r.slice) };
    format!(
        "{:<12}{:<28}{:>6}  {} {:.2} -> {:.2}  flips {}/{} ({:.2} %){}",
        r.head,
        format!("{}{slice}", r.name),
        r.texts,
        r.quality.measure,
        r.quality.reference,
        r.quality.model,
        r.flips,
        r.units,
        100.0 * r.flips as f64 / r.units.max(1) as f64,
        r.kl_mean.map_or(String::new(), |k| format!("  KL {k:.2e}"))
    )
}

fn one(p: &Plan, s: &SetEntry, head: &Head, rows: &[Example]) -> Result<SetResult> {
    let apart = head.task == Task::Embedding;
    let t = p.model.model.tokenizer()?;
    let max = s.max_length.min(p.model.model.info().max_length).min(p.reference.model.info().max_length);
    let per_row: Vec<Vec<Encoding>> = rows.iter().map(|e| encode(t, e, apart, max)).collect::<Result<_>>()?;
    let flat: Vec<Encoding> = per_row.iter().flatten().cloned().collect();
    let a = outputs(p.reference, &head.output, &flat, &p.how, &format!("{}: reference", s.name))?;
    let b = outputs(p.model, &head.output, &flat, &p.how, &s.name)?;
    if a.iter().zip(&b).any(|(a, b)| a.len() != b.len()) {
        return Err(Error::invalid(format!("head `{}` of the two models has other shapes", head.name)));
    }
    let mut r = SetResult {
        head: head.name.clone(),
        name: s.name.clone(),
        role: match s.role {
            Role::Calibrate => "calibrate",
            Role::Dev => "dev",
            Role::Test => "test",
        },
        texts: rows.len(),
        ..SetResult::default()
    };
    noise(&mut r, &a, &b);
    match head.task {
        Task::TextClassification | Task::ZeroShot => texts(&mut r, p, head, rows, &a, &b),
        Task::TokenClassification => tokens(&mut r, p, head, rows, &flat, &a, &b),
        Task::QuestionAnswering => answers(&mut r, p, rows, &flat, &a, &b),
        Task::Embedding => vectors(&mut r, p, rows, &a, &b),
        other => return Err(Error::unimplemented(format!("validation of {other:?} heads"))),
    }
    r.flips_interval = stats::wilson(r.flips, r.units);
    r.examples.sort_by(|x, y| x.margin.total_cmp(&y.margin));
    r.examples.truncate(SHOWN);
    Ok(r)
}

fn noise(r: &mut SetResult, a: &[Vec<f32>], b: &[Vec<f32>]) {
    let (mut sum, mut max, mut n, mut signal, mut error) = (0.0, 0.0f64, 0usize, 0.0, 0.0);
    for (x, y) in a.iter().flatten().zip(b.iter().flatten()) {
        let d = (f64::from(*x) - f64::from(*y)).abs();
        (sum, max, n) = (sum + d, max.max(d), n + 1);
        (signal, error) = (signal + f64::from(*x).powi(2), error + d * d);
    }
    r.error_mean = sum / n.max(1) as f64;
    r.error_max = max;
    r.sqnr = 10.0 * (signal / error.max(1e-30)).log10();
}

fn divergence(r: &mut SetResult, all: &[f64]) {
    r.kl_mean = Some(all.iter().sum::<f64>() / all.len().max(1) as f64);
    r.kl_max = Some(all.iter().copied().fold(0.0, f64::max));
}

fn margin(x: &[f32]) -> f64 {
    let mut p = stats::softmax(x, 1.0);
    p.sort_by(|a, b| b.total_cmp(a));
    p.first().unwrap_or(&0.0) - p.get(1).unwrap_or(&0.0)
}

fn name(head: &Head, i: usize) -> String {
    head.labels.get(i).cloned().unwrap_or_else(|| i.to_string())
}

fn texts(r: &mut SetResult, p: &Plan, head: &Head, rows: &[Example], a: &[Vec<f32>], b: &[Vec<f32>]) {
    let (pa, pb): (Vec<usize>, Vec<usize>) =
        a.iter().zip(b).map(|(x, y)| (stats::argmax(x), stats::argmax(y))).unzip();
    r.units = rows.len();
    let kls: Vec<f64> = a.iter().zip(b).map(|(x, y)| stats::kl(x, y)).collect();
    divergence(r, &kls);
    for i in (0..rows.len()).filter(|&i| pa[i] != pb[i]) {
        r.flips += 1;
        let gold = match rows[i].gold {
            Gold::Label(y) => Some(name(head, y)),
            _ => None,
        };
        r.examples.push(Flip {
            text: rows[i].text.clone(),
            reference: name(head, pa[i]),
            model: name(head, pb[i]),
            gold,
            margin: margin(&a[i]),
        });
    }
    let gold: Vec<usize> = rows
        .iter()
        .map_while(|e| match e.gold {
            Gold::Label(y) => Some(y),
            _ => None,
        })
        .collect();
    r.quality.measure = "accuracy";
    if gold.len() != rows.len() {
        return;
    }
    let n = rows.len() as f64;
    let right: Vec<(bool, bool)> = (0..rows.len()).map(|i| (pa[i] == gold[i], pb[i] == gold[i])).collect();
    let count = |f: fn(&(bool, bool)) -> bool| right.iter().filter(|x| f(x)).count();
    let hits = (count(|x| x.0), count(|x| x.1));
    r.quality.reference = 100.0 * hits.0 as f64 / n;
    r.quality.model = 100.0 * hits.1 as f64 / n;
    let (lo, hi) = stats::wilson(hits.1, rows.len());
    r.quality.interval = (100.0 * lo, 100.0 * hi);
    r.quality.drop_interval = stats::bootstrap(rows.len(), p.seed, |d| {
        100.0 * d.iter().map(|&i| f64::from(right[i].0) - f64::from(right[i].1)).sum::<f64>() / n
    });
    r.mcnemar = Some(stats::mcnemar(count(|x| x.0 && !x.1), count(|x| !x.0 && x.1)));
    r.macro_f1 = Some((macro_f1(&gold, &pa), macro_f1(&gold, &pb)));
    let t = f64::from(head.temperature);
    let sure = |x: &[Vec<f32>], pred: &[usize], t: f64| -> Vec<(f64, bool)> {
        x.iter().zip(pred).zip(&gold).map(|((x, &p), &y)| (stats::softmax(x, t)[p], p == y)).collect()
    };
    let at_t = sure(b, &pb, t);
    let (after, bins) = stats::ece(&at_t);
    r.ece = Some((stats::ece(&sure(a, &pa, 1.0)).0, stats::ece(&sure(b, &pb, 1.0)).0, after));
    r.ece_interval = Some(stats::bootstrap(at_t.len(), p.seed, |d| {
        let drawn: Vec<(f64, bool)> = d.iter().map(|&i| at_t[i]).collect();
        stats::ece(&drawn).0
    }));
    r.reliability = bins;
    if head.labels.len() <= 12 {
        let k = head.labels.len();
        r.confusion = vec![vec![0; k]; k];
        gold.iter().zip(&pb).for_each(|(&g, &m)| r.confusion[g][m] += 1);
        r.labels = head.labels.clone();
    }
    for (label, &threshold) in &head.thresholds {
        let Some(l) = head.labels.iter().position(|x| x == label) else { continue };
        let threshold = f64::from(threshold);
        let yes = |x: &[Vec<f32>]| -> Vec<bool> {
            x.iter().map(|x| stats::softmax(x, t)[l] >= threshold).collect()
        };
        let (ya, yb) = (yes(a), yes(b));
        r.operating.push(Operating {
            label: label.clone(),
            threshold,
            reference: rates(&gold, &ya, l),
            model: rates(&gold, &yb, l),
            flips: ya.iter().zip(&yb).filter(|(x, y)| x != y).count(),
        });
    }
}

/// Precision, recall, false positive and false negative rate.
fn rates(gold: &[usize], yes: &[bool], label: usize) -> [f64; 4] {
    let count = |g: bool, y: bool| {
        gold.iter().zip(yes).filter(|(x, v)| ((**x == label) == g) && **v == y).count() as f64
    };
    let (tp, fp, fnn, tn) = (count(true, true), count(false, true), count(true, false), count(false, false));
    let share = |a: f64, b: f64| if a + b > 0.0 { a / (a + b) } else { 0.0 };
    [share(tp, fp), share(tp, fnn), share(fp, tn), share(fnn, tp)]
}

fn macro_f1(gold: &[usize], pred: &[usize]) -> f64 {
    let k = gold.iter().chain(pred).max().map_or(0, |m| m + 1);
    let (mut hit, mut had, mut said) = (vec![0f64; k], vec![0f64; k], vec![0f64; k]);
    for (&g, &p) in gold.iter().zip(pred) {
        had[g] += 1.0;
        said[p] += 1.0;
        hit[g] += f64::from(u8::from(g == p));
    }
    let used: Vec<f64> =
        (0..k).filter(|&i| had[i] > 0.0).map(|i| 2.0 * hit[i] / (had[i] + said[i])).collect();
    100.0 * used.iter().sum::<f64>() / used.len().max(1) as f64
}

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

fn tokens(
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
    let mut kls = vec![];
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
        for &(w, i) in &first {
            let (x, y) = (&x[i * c..(i + 1) * c], &y[i * c..(i + 1) * c]);
            kls.push(stats::kl(x, y));
            let (m, n) = (stats::argmax(x), stats::argmax(y));
            r.units += 1;
            if m != n {
                r.flips += 1;
                let word = row.words.as_ref().and_then(|ws| ws.get(w as usize)).cloned().unwrap_or_default();
                r.examples.push(Flip {
                    text: format!("{word} — {}", row.text),
                    reference: name(head, m),
                    model: name(head, n),
                    gold: match &row.gold {
                        Gold::Tags(t) => t.get(w as usize).map(|&t| name(head, t)),
                        _ => None,
                    },
                    margin: margin(x),
                });
            }
            said[0].push(m);
            said[1].push(n);
        }
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
    divergence(r, &kls);
    let f1 = |d: &[usize], m: usize| {
        let sum = d.iter().fold([0.0; 3], |s, &i| std::array::from_fn(|k| s[k] + counts[i][m][k]));
        200.0 * sum[0] / (sum[1] + sum[2]).max(1.0)
    };
    let all: Vec<usize> = (0..counts.len()).collect();
    r.quality.reference = f1(&all, 0);
    r.quality.model = f1(&all, 1);
    r.quality.interval = stats::bootstrap(counts.len(), p.seed, |d| f1(d, 1));
    r.quality.drop_interval = stats::bootstrap(counts.len(), p.seed, |d| f1(d, 0) - f1(d, 1));
}

/// The best answer inside the second text: first and last token.
fn best_span(logits: &[f32], e: &Encoding) -> (usize, usize) {
    let inside: Vec<usize> = (0..e.ids.len()).filter(|&i| e.sequence_ids[i] == Some(1)).collect();
    let (mut best, mut at) = (f32::NEG_INFINITY, (0, 0));
    let Some((&lo, &hi)) = inside.first().zip(inside.last()) else { return at };
    for i in lo..=hi {
        for j in i..=hi.min(i + LONGEST_ANSWER - 1) {
            let s = logits[2 * i] + logits[2 * j + 1];
            if s > best {
                (best, at) = (s, (i, j));
            }
        }
    }
    at
}

/// As SQuAD's own script compares: lower case, no punctuation, no articles, single spaces.
fn plain(text: &str) -> String {
    let text: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let words: Vec<&str> = text.split_whitespace().filter(|w| !["a", "an", "the"].contains(w)).collect();
    words.join(" ")
}

fn answers(
    r: &mut SetResult,
    p: &Plan,
    rows: &[Example],
    encodings: &[Encoding],
    a: &[Vec<f32>],
    b: &[Vec<f32>],
) {
    r.quality.measure = "exact match";
    r.units = rows.len();
    let mut right: Vec<(f64, f64)> = vec![];
    for ((row, e), (x, y)) in rows.iter().zip(encodings).zip(a.iter().zip(b)) {
        let context = row.pair.as_deref().unwrap_or("");
        let text = |logits: &[f32]| -> String {
            let (i, j) = best_span(logits, e);
            let (from, to) = (e.offsets[i].start, e.offsets[j].end);
            context.get(from..to).unwrap_or("").to_string()
        };
        let (s, t) = (text(x), text(y));
        let gold = match &row.gold {
            Gold::Answers(g) => g.clone(),
            _ => vec![],
        };
        let hit = |s: &str| f64::from(u8::from(gold.iter().any(|g| plain(g) == plain(s))));
        right.push((hit(&s), hit(&t)));
        if s != t {
            r.flips += 1;
            r.examples.push(Flip {
                text: row.text.clone(),
                reference: s,
                model: t,
                gold: gold.first().cloned(),
                margin: 0.0,
            });
        }
    }
    let n = rows.len() as f64;
    r.quality.reference = 100.0 * right.iter().map(|x| x.0).sum::<f64>() / n;
    r.quality.model = 100.0 * right.iter().map(|x| x.1).sum::<f64>() / n;
    let (lo, hi) = stats::wilson(right.iter().filter(|x| x.1 > 0.0).count(), rows.len());
    r.quality.interval = (100.0 * lo, 100.0 * hi);
    r.quality.drop_interval = stats::bootstrap(rows.len(), p.seed, |d| {
        100.0 * d.iter().map(|&i| right[i].0 - right[i].1).sum::<f64>() / n
    });
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-30)
}

fn vectors(r: &mut SetResult, p: &Plan, rows: &[Example], a: &[Vec<f32>], b: &[Vec<f32>]) {
    r.quality.measure = "Spearman";
    let cosines: Vec<f64> = a.iter().zip(b).map(|(x, y)| cosine(x, y)).collect();
    let least = cosines.iter().copied().fold(1.0, f64::min);
    r.cosine = Some((cosines.iter().sum::<f64>() / cosines.len().max(1) as f64, least));
    // The nearest neighbour of each text among the first thousand.
    let n = a.len().min(1000);
    let nearest = |v: &[Vec<f32>], i: usize| {
        (0..n)
            .filter(|&j| j != i && a[j] != a[i])
            .max_by(|&x, &y| dot(&v[i], &v[x]).total_cmp(&dot(&v[i], &v[y])))
    };
    r.units = n;
    r.flips = (0..n).filter(|&i| nearest(a, i) != nearest(b, i)).count();
    if a.len() != 2 * rows.len() {
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
    let pairs = |v: &[Vec<f32>]| -> Vec<f64> { v.chunks_exact(2).map(|p| cosine(&p[0], &p[1])).collect() };
    let (ca, cb) = (pairs(a), pairs(b));
    let rho = |d: &[usize], c: &[f64]| {
        let pick = |v: &[f64]| -> Vec<f64> { d.iter().map(|&i| v[i]).collect() };
        100.0 * stats::spearman(&pick(c), &pick(&gold))
    };
    let all: Vec<usize> = (0..rows.len()).collect();
    r.quality.reference = rho(&all, &ca);
    r.quality.model = rho(&all, &cb);
    r.quality.interval = stats::bootstrap(rows.len(), p.seed, |d| rho(d, &cb));
    r.quality.drop_interval = stats::bootstrap(rows.len(), p.seed, |d| rho(d, &ca) - rho(d, &cb));
}

/// Several sets as one: how a gate sees them.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Pool {
    /// Texts.
    pub texts: usize,
    /// What can flip.
    pub units: usize,
    /// Flips.
    pub flips: usize,
    /// Wilson's interval of their share.
    pub flips_interval: (f64, f64),
    /// Mean divergence, each text or token once.
    pub kl: f64,
    /// Mean quality of both over texts.
    pub quality: (f64, f64),
}

/// Pools `sets`; the quality is weighted by texts.
pub fn pool<'a>(sets: impl Iterator<Item = &'a SetResult>) -> Pool {
    let (mut p, mut kl) = (Pool::default(), 0usize);
    for r in sets {
        p.texts += r.texts;
        p.units += r.units;
        p.flips += r.flips;
        if let Some(k) = r.kl_mean {
            p.kl += k * r.units as f64;
            kl += r.units;
        }
        p.quality.0 += r.quality.reference * r.texts as f64;
        p.quality.1 += r.quality.model * r.texts as f64;
    }
    p.kl /= kl.max(1) as f64;
    let n = p.texts.max(1) as f64;
    p.quality = (p.quality.0 / n, p.quality.1 / n);
    p.flips_interval = stats::wilson(p.flips, p.units);
    p
}

/// Paths of a validation's sources, kept with its result.
#[derive(Clone, Debug, Serialize)]
pub struct Sources {
    /// The reference's file and SHA-256.
    pub reference: (PathBuf, String),
    /// The model's.
    pub model: (PathBuf, String),
}
