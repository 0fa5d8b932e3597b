//! Two models on the same sets: how well each answers, and where they differ.

mod answers;
pub mod identity;
pub mod invariance;
mod labels;
pub mod layers;
mod masks;
mod pool;
mod tags;
mod vectors;

use std::path::PathBuf;

use pocketbert::bundle::Head;
use pocketbert::bundle::manifest::Task;
use pocketbert::text::Encoding;
use pocketbert::{Error, Result};
use serde::Serialize;

pub use pool::{Pool, pool};

use crate::data::{Example, Gold, Role, SetEntry, read_examples, sample};
use crate::eval::{How, Subject, encode, outputs};
use crate::stats::{self, Bin, Rate};

/// Flipped texts, and texts nearest the margin, that a report shows per set.
const SHOWN: usize = 12;

/// A text, with what the two models answer.
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
    /// How far the reference was from saying something else: probability of its answer less the next.
    pub margin: f64,
}

/// A figure of both models, in percent (Spearman times 100), with 95 % intervals.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Quality {
    /// What is measured.
    pub measure: &'static str,
    /// The reference.
    pub reference: f64,
    /// Its interval.
    pub reference_interval: (f64, f64),
    /// The model.
    pub model: f64,
    /// The model's interval.
    pub interval: (f64, f64),
    /// The interval of `reference - model`, over the same texts for both.
    pub drop_interval: (f64, f64),
}

/// Expected calibration error with its interval.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Ece {
    /// The error.
    pub value: f64,
    /// 95 %. A perfectly calibrated model shows an error too (0.02 at 872 texts), so its lower end is judged.
    pub interval: (f64, f64),
}

/// What both models do with the texts of one label.
#[derive(Clone, Debug, Serialize)]
pub struct LabelResult {
    /// The label.
    pub label: String,
    /// Share of its texts that the reference finds.
    pub reference: Rate,
    /// That the model finds.
    pub model: Rate,
    /// Share of its texts that the models answer differently.
    pub flips: Rate,
}

/// Quality at the threshold of a label.
#[derive(Clone, Debug, Serialize)]
pub struct Operating {
    /// Label.
    pub label: String,
    /// Its threshold.
    pub threshold: f64,
    /// The reference.
    pub reference: Rates,
    /// The model.
    pub model: Rates,
    /// Texts that one of them accepts and the other does not.
    pub flips: Rate,
}

/// Rates of one label at its threshold.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rates {
    /// Accepted texts that are right.
    pub precision: Rate,
    /// Texts of the label that are accepted.
    pub recall: Rate,
    /// Other texts that are accepted.
    pub fpr: Rate,
    /// Texts of the label that are not.
    pub fnr: Rate,
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
    /// What can flip: texts, tokens, answers or neighbours.
    pub units: usize,
    /// How many of them differ.
    pub flips: usize,
    /// Wilson's interval of their share.
    pub flips_interval: (f64, f64),
    /// Quality.
    pub quality: Quality,
    /// F1 over labels, not weighted, of both, and the interval of the difference.
    pub macro_f1: Option<(f64, f64)>,
    /// The interval of the fall of macro F1.
    pub macro_f1_drop_interval: Option<(f64, f64)>,
    /// Mean divergence of the probabilities, in nats.
    pub kl_mean: Option<f64>,
    /// Its interval, over texts.
    pub kl_interval: Option<(f64, f64)>,
    /// Largest.
    pub kl_max: Option<f64>,
    /// Mean absolute difference of the raw outputs.
    pub error_mean: f64,
    /// Its interval, over texts.
    pub error_interval: (f64, f64),
    /// Largest.
    pub error_max: f64,
    /// Signal to noise of the raw outputs in decibel.
    pub sqnr: f64,
    /// Its interval, over texts.
    pub sqnr_interval: (f64, f64),
    /// Expected calibration error: reference, model, model at its temperature.
    pub ece: Option<[Ece; 3]>,
    /// Reliability of the model at its temperature.
    pub reliability: Vec<Bin>,
    /// Exact McNemar test of right and wrong.
    pub mcnemar: Option<f64>,
    /// Rows: right label; columns: the model's.
    pub confusion: Vec<Vec<usize>>,
    /// Labels of the confusion matrix.
    pub labels: Vec<String>,
    /// Each label by itself.
    pub by_label: Vec<LabelResult>,
    /// At the thresholds of the head.
    pub operating: Vec<Operating>,
    /// Mean and least cosine between the two models' vectors.
    pub cosine: Option<(f64, f64)>,
    /// The interval of the mean cosine.
    pub cosine_interval: Option<(f64, f64)>,
    /// Examples of flips, least margin first.
    pub examples: Vec<Flip>,
    /// The texts that the reference was least sure of, flipped or not.
    pub nearest: Vec<Flip>,
    /// Divergence of each text; empty where there are no scores of texts.
    #[serde(skip)]
    pub kls: Vec<f64>,
    /// Whether reference and model are right, text by text; empty where labels of texts are not known.
    #[serde(skip)]
    pub right: Vec<(bool, bool)>,
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
    /// At most so many texts of a set in each slice, drawn by the seed.
    pub slice_limit: Option<usize>,
    /// Heads, each with the label that is right for harmless texts.
    pub identity: Vec<(String, String)>,
    /// Texts on which layers are compared; 0 for none.
    pub layers: usize,
    /// Seed of slices and resampling.
    pub seed: u64,
    /// How to run.
    pub how: How,
}

/// All that a validation found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Validation {
    /// Texts as they are, with labels, together.
    pub pooled: Pool,
    /// Each slice over all sets that have it.
    pub slices: Vec<(String, Pool)>,
    /// Each set, each slice of it.
    pub sets: Vec<SetResult>,
    /// The same harmless texts about other people.
    pub identity: Vec<identity::Identity>,
    /// How noise grows through the layers.
    pub layers: Vec<layers::LayerNoise>,
    /// Runs that must give the same bits.
    pub invariance: Option<invariance::Invariance>,
}

/// A set with its rows.
struct Loaded<'a> {
    entry: &'a SetEntry,
    head: &'a Head,
    rows: Vec<Example>,
    sha256: String,
}

/// Runs both models over all sets.
pub fn validate(p: &Plan) -> Result<Validation> {
    // Files first: an unknown label is found before the long work.
    let mut loaded = vec![];
    for s in &p.sets {
        let head = p.heads.iter().find(|h| h.name == s.head).ok_or_else(|| {
            let known: Vec<&str> = p.heads.iter().map(|h| h.name.as_str()).collect();
            Error::invalid(format!("set `{}`: no head `{}`; there are {}", s.name, s.head, known.join(", ")))
        })?;
        for (what, subject) in [("reference", p.reference), ("model", p.model)] {
            if !subject.model.plan().outputs().iter().any(|o| o.name == head.output) {
                let known: Vec<&str> =
                    subject.model.plan().outputs().iter().map(|o| o.name.as_str()).collect();
                return Err(Error::invalid(format!(
                    "head `{}` reads output `{}`, which the {what} does not have; it has {}",
                    head.name,
                    head.output,
                    known.join(", ")
                )));
            }
        }
        let mut rows = read_examples(&s.file, Some(head))?;
        rows.truncate(p.limit.unwrap_or(usize::MAX));
        loaded.push(Loaded { entry: s, head, rows, sha256: crate::files::sha256(&s.file)? });
    }
    let identity = p.identity.iter().map(|(h, l)| identity::find(p, h, l)).collect::<Result<Vec<_>>>()?;
    let mut v = Validation::default();
    let encoded = loaded
        .iter()
        .map(|l| encodings(p, l.entry, l.head, &l.rows[..l.rows.len().min(8)]).map(|e| (l.head, e)))
        .collect::<Result<Vec<_>>>()?;
    v.invariance = Some(invariance::check(p, &encoded)?);
    if p.layers > 0 {
        v.layers = layers::compare(p, &encoded)?;
    }
    for l in &loaded {
        for slice in std::iter::once(None).chain(p.slices.iter().map(Some)) {
            let rows: Vec<Example> = match slice {
                None => l.rows.clone(),
                // What tags and answers refer to does not survive a change of the text.
                Some(_) if l.head.task != Task::TextClassification => continue,
                Some(slice) => {
                    let some = sample(&l.rows, p.slice_limit.unwrap_or(usize::MAX), p.seed);
                    slice.apply(&some, p.seed)
                }
            };
            let mut r = one(p, l.entry, l.head, &rows)?;
            r.slice = slice.map_or(String::new(), |s| s.name().to_string());
            r.sha256 = l.sha256.clone();
            eprintln!("{}", line(&r));
            v.sets.push(r);
        }
    }
    for (head, label) in identity {
        let set = loaded.iter().find(|l| l.head.name == head.name);
        v.identity.push(identity::compare(p, head, label, set.map_or(&[], |l| &l.rows))?);
    }
    let labelled = |slice: &str| -> Vec<&SetResult> {
        v.sets.iter().filter(|r| r.slice == slice && r.mcnemar.is_some()).collect()
    };
    v.pooled = pool(labelled("").into_iter(), p.seed);
    v.slices = p
        .slices
        .iter()
        .map(|s| (s.name().to_string(), pool(labelled(s.name()).into_iter(), p.seed)))
        .filter(|(_, p)| p.texts > 0)
        .collect();
    Ok(v)
}

/// A result in one line.
pub fn line(r: &SetResult) -> String {
    let slice = if r.slice.is_empty() { String::new() } else { format!(" ({})", r.slice) };
    let quality = match r.quality.reference_interval == r.quality.interval && r.quality.interval == (0.0, 0.0)
    {
        true => String::new(),
        false => format!("{} {:.2} -> {:.2}  ", r.quality.measure, r.quality.reference, r.quality.model),
    };
    format!(
        "{:<12}{:<28}{:>6}  {quality}flips {}/{} ({:.2} %){}",
        r.head,
        format!("{}{slice}", r.name),
        r.texts,
        r.flips,
        r.units,
        100.0 * r.flips as f64 / r.units.max(1) as f64,
        r.kl_mean.map_or(String::new(), |k| format!("  KL {k:.2e}"))
    )
}

/// The encodings of `rows`, example by example.
fn per_row(p: &Plan, max_length: usize, head: &Head, rows: &[Example]) -> Result<Vec<Vec<Encoding>>> {
    let t = p.model.model.tokenizer()?;
    let max = max_length.min(p.model.model.info().max_length).min(p.reference.model.info().max_length);
    rows.iter().map(|e| encode(t, e, head.task == Task::Embedding, max)).collect()
}

fn encodings(p: &Plan, s: &SetEntry, head: &Head, rows: &[Example]) -> Result<Vec<Encoding>> {
    Ok(per_row(p, s.max_length, head, rows)?.into_iter().flatten().collect())
}

fn one(p: &Plan, s: &SetEntry, head: &Head, rows: &[Example]) -> Result<SetResult> {
    let flat = encodings(p, s, head, rows)?;
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
    noise(&mut r, p.seed, &a, &b);
    match head.task {
        Task::TextClassification | Task::ZeroShot => labels::judge(&mut r, p, head, rows, &a, &b),
        Task::TokenClassification => tags::judge(&mut r, p, head, rows, &flat, &a, &b),
        Task::QuestionAnswering => answers::judge(&mut r, p, rows, &flat, &a, &b),
        Task::Embedding => vectors::judge(&mut r, p, rows, &a, &b),
        Task::FillMask => masks::judge(&mut r, p, head, rows, &a, &b)?,
    }
    r.flips_interval = stats::wilson(r.flips, r.units);
    for list in [&mut r.examples, &mut r.nearest] {
        list.sort_by(|x, y| x.margin.total_cmp(&y.margin));
        list.truncate(SHOWN);
    }
    Ok(r)
}

/// Difference of the raw outputs; of what tokens of a text share, the text is resampled as a whole.
fn noise(r: &mut SetResult, seed: u64, a: &[Vec<f32>], b: &[Vec<f32>]) {
    // By text: sum of differences, values, signal, error.
    let mut texts: Vec<[f64; 4]> = vec![];
    for (x, y) in a.iter().zip(b) {
        let mut t = [0.0; 4];
        for (x, y) in x.iter().zip(y) {
            let (x, d) = (f64::from(*x), (f64::from(*x) - f64::from(*y)).abs());
            r.error_max = r.error_max.max(d);
            t = [t[0] + d, t[1] + 1.0, t[2] + x * x, t[3] + d * d];
        }
        texts.push(t);
    }
    let pairs = |i: usize, j: usize| texts.iter().map(|t| (t[i], t[j])).collect::<Vec<_>>();
    let ratio = |x: &[(f64, f64)]| {
        let (a, b) = x.iter().fold((0.0, 0.0), |s, p| (s.0 + p.0, s.1 + p.1));
        if b > 0.0 { a / b } else { 0.0 }
    };
    let (mean, share) = (pairs(0, 1), pairs(3, 2));
    r.error_mean = ratio(&mean);
    r.error_interval = stats::ratio_interval(&mean, seed);
    let (low, high) = stats::ratio_interval(&share, seed);
    r.sqnr = decibel(ratio(&share));
    r.sqnr_interval = (decibel(high), decibel(low));
}

/// A share of noise in signal, in decibel; at most 300.
fn decibel(noise: f64) -> f64 {
    -10.0 * noise.max(1e-30).log10()
}

/// Mean, interval and largest of the divergences of one value a text.
fn divergence(r: &mut SetResult, seed: u64, all: Vec<f64>) {
    r.kl_mean = Some(all.iter().sum::<f64>() / all.len().max(1) as f64);
    r.kl_interval = Some(stats::mean_interval(&all, seed));
    r.kl_max = Some(all.iter().copied().fold(0.0, f64::max));
    r.kls = all;
}

fn margin(x: &[f32]) -> f64 {
    let (mut first, mut second) = (0.0, 0.0);
    for p in stats::softmax(x, 1.0) {
        if p > first {
            (first, second) = (p, first);
        } else if p > second {
            second = p;
        }
    }
    first - second
}

fn name(head: &Head, i: usize) -> String {
    head.labels.get(i).cloned().unwrap_or_else(|| i.to_string())
}

fn gold_name(head: &Head, e: &Example) -> Option<String> {
    match e.gold {
        Gold::Label(y) => Some(name(head, y)),
        _ => None,
    }
}

/// Both models' accuracy with all intervals, from whether each answer is right.
fn judge_hits(q: &mut Quality, measure: &'static str, right: &[(bool, bool)], seed: u64) {
    q.measure = measure;
    let rate = |hits: usize| {
        let r = Rate::new(hits, right.len());
        (100.0 * r.value, (100.0 * r.interval.0, 100.0 * r.interval.1))
    };
    (q.reference, q.reference_interval) = rate(right.iter().filter(|x| x.0).count());
    (q.model, q.interval) = rate(right.iter().filter(|x| x.1).count());
    let drop: Vec<f64> = right.iter().map(|x| 100.0 * (f64::from(x.0) - f64::from(x.1))).collect();
    q.drop_interval = stats::mean_interval(&drop, seed);
}

/// Paths of a validation's sources, kept with its result.
#[derive(Clone, Debug, Serialize)]
pub struct Sources {
    /// The reference's file and SHA-256.
    pub reference: (PathBuf, String),
    /// The model's.
    pub model: (PathBuf, String),
}
