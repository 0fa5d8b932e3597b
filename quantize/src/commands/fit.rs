//! `fit`: temperatures and thresholds from held-out texts, kept in the bundle.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use pocketbert::bundle::manifest::{ProblemType, Task};
use pocketbert::bundle::{Head, JsonText};
use pocketbert::kernels::Isa;
use pocketbert::metrics::Baseline;
use pocketbert::model::Model;
use pocketbert::text::Encoding;
use pocketbert::{Error, Result, TextClassifier};

use super::bundle::rewrite;
use crate::data::{Gold, Role, SetEntry, read_examples, read_sets};
use crate::eval::{How, Subject, encode, outputs};
use crate::stats;

/// Arguments of `fit`.
#[derive(Args)]
pub struct FitArgs {
    /// The bundle.
    bundle: PathBuf,
    /// The list of sets; those of role `dev` are used, never test sets.
    #[arg(long)]
    sets: PathBuf,
    /// HEAD:LABEL whose threshold is chosen, the one of the highest F1; may be repeated.
    #[arg(long)]
    threshold: Vec<String>,
    /// Keep, beside temperatures, what dev texts and their answers look like: drift in the field is seen beside it.
    #[arg(long)]
    baseline: bool,
    /// Folder where raw outputs are kept by hash.
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Runs at a time.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// The bundle to write; may be the same file.
    #[arg(long)]
    out: PathBuf,
}

/// Runs it.
pub fn run(a: &FitArgs) -> Result<()> {
    let subject = Subject::open(&a.bundle)?;
    let Some(bundle) = subject.model.bundle() else {
        return Err(Error::invalid(format!("`{}` is no bundle", a.bundle.display())));
    };
    let mut heads = bundle.manifest().heads.clone();
    let wanted: Vec<(String, String)> = a
        .threshold
        .iter()
        .map(|t| match t.split_once(':') {
            Some((h, l)) if heads.iter().any(|x| x.name == h && x.labels.iter().any(|y| y == l)) => {
                Ok((h.to_string(), l.to_string()))
            }
            _ => Err(Error::invalid(format!("`--threshold {t}`: give HEAD:LABEL of the bundle"))),
        })
        .collect::<Result<_>>()?;
    let sets = read_sets(&a.sets)?;
    let how = How { isa: Isa::best(), threads: a.threads, cache: a.cache.clone() };
    let fits = |h: &Head| h.task == Task::TextClassification && h.problem_type == ProblemType::SingleLabel;
    for head in heads.iter_mut().filter(|h| fits(h)) {
        let mut rows: Vec<(Vec<f32>, usize)> = vec![];
        for s in sets.iter().filter(|s| s.role == Role::Dev && s.head == head.name) {
            let examples = read_examples(&s.file, Some(head))?;
            let mut encodings: Vec<Encoding> = vec![];
            for e in &examples {
                encodings.extend(encode(subject.model.tokenizer()?, e, false, s.max_length)?);
            }
            let out = outputs(&subject, &head.output, &encodings, &how, &s.name)?;
            rows.extend(out.into_iter().zip(&examples).filter_map(|(x, e)| match e.gold {
                Gold::Label(y) => Some((x, y)),
                _ => None,
            }));
        }
        if rows.is_empty() {
            continue;
        }
        let pairs: Vec<(&[f32], usize)> = rows.iter().map(|(x, y)| (x.as_slice(), *y)).collect();
        // Two digits: more is not known from a few hundred texts.
        head.temperature = ((stats::temperature(&pairs) * 100.0).round() / 100.0) as f32;
        eprintln!("{}: temperature {} from {} texts", head.name, head.temperature, rows.len());
        for (_, label) in wanted.iter().filter(|(h, _)| *h == head.name) {
            let Some(l) = head.labels.iter().position(|x| x == label) else { continue };
            let scored: Vec<(f64, bool)> = pairs
                .iter()
                .map(|(x, y)| (stats::softmax(x, f64::from(head.temperature))[l], *y == l))
                .collect();
            let t = best_threshold(scored);
            eprintln!("{}: threshold of `{label}` {t:.3}", head.name);
            head.thresholds.insert(label.clone(), t as f32);
        }
    }
    rewrite(bundle, &a.out, |m| m.heads = heads.clone())?;
    if a.baseline {
        let model = Arc::new(Model::open(&a.out, &Default::default())?);
        let baseline = baseline(&model, &heads, &sets)?;
        let Some(bundle) = model.bundle() else { return Err(Error::internal("a bundle that is none")) };
        rewrite(bundle, &a.out, |m| m.drift_baseline = Some(baseline))?;
    }
    eprintln!("wrote {}", a.out.display());
    Ok(())
}

/// What the dev texts of every classification head look like to the bundle.
fn baseline(model: &Arc<Model>, heads: &[Head], sets: &[SetEntry]) -> Result<JsonText> {
    let mut all = Baseline::default();
    for head in heads.iter().filter(|h| h.task == Task::TextClassification) {
        let classifier = TextClassifier::from_model(model.clone(), Some(&head.name))?;
        classifier.metrics().collect_baseline()?;
        for s in sets.iter().filter(|s| s.role == Role::Dev && s.head == head.name) {
            let rows = read_examples(&s.file, Some(head))?;
            let bar = crate::progress::bar(&format!("{}: baseline", s.name), rows.len());
            for part in rows.chunks(64) {
                crate::check_stop()?;
                classifier.classify_batch(&part.iter().map(|e| e.text.as_str()).collect::<Vec<_>>())?;
                bar.add(part.len());
            }
        }
        if let Some(counts) = classifier.metrics().baseline().filter(|b| b.texts > 0) {
            all.insert(head.name.clone(), counts);
        }
    }
    all.to_json()
}

/// The probability, half-way between two that were seen, from which saying yes gives the highest F1.
fn best_threshold(mut scored: Vec<(f64, bool)>) -> f64 {
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let positives = scored.iter().filter(|s| s.1).count() as f64;
    let (mut hits, mut best, mut at) = (0.0, -1.0, 0.5);
    for (i, s) in scored.iter().enumerate() {
        hits += f64::from(u8::from(s.1));
        let f1 = 2.0 * hits / (positives + (i + 1) as f64);
        let next = scored.get(i + 1).map_or(0.0, |n| n.0);
        if f1 > best && next < s.0 {
            (best, at) = (f1, (s.0 + next) / 2.0);
        }
    }
    (at * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_parts_what_can_be_parted() {
        let scored = vec![(0.9, true), (0.8, true), (0.7, true), (0.3, false), (0.2, false)];
        assert!((best_threshold(scored) - 0.5).abs() < 1e-9);
        // A positive far down is not worth the false ones above it.
        let mut scored = vec![(0.9, true); 9];
        scored.extend([(0.5, false); 30]);
        scored.push((0.1, true));
        assert!((best_threshold(scored) - 0.7).abs() < 1e-9);
    }
}
