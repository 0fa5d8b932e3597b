//! [`ZeroShotClassifier`]: labels that the model was never trained on, by entailment.

mod long;

use std::path::Path;
use std::sync::Arc;

use super::load::LoadState;
use super::locate::{self, Located};
use super::observe::TaskHead;
use super::score::probabilities;
use super::session::{CallOptions, Session, run_each};
use crate::bundle::manifest::Task;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Metrics, Seen};
use crate::model::{Model, OpenOptions};
use crate::text::{EncodeOptions, Encoding, Truncation};

/// The template where none is given; `{}` is where the label goes.
pub const TEMPLATE: &str = "This text is about {}.";
/// The most labels of a call.
pub const MAX_LABELS: usize = 10_000;

/// An output with scores for "the first text entails the second" and for its opposite.
#[derive(Clone, Debug, PartialEq)]
pub struct EntailmentHead {
    /// The head's name; the output's where the model is not a bundle.
    pub name: String,
    /// Index of the output in [`Plan::outputs`](crate::model::Plan::outputs).
    pub index: usize,
    /// Channel of entailment.
    pub entailment: usize,
    /// Channel of its opposite; a third label (neutral) plays no part.
    pub contradiction: usize,
    /// Channels.
    pub channels: usize,
    /// What scores are divided by before they become probabilities.
    pub temperature: f32,
    /// Most tokens of a pair, where it is less than the model's.
    pub max_length: Option<usize>,
}

impl TaskHead for EntailmentHead {
    const TASK: &'static str = "zero-shot";

    fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> usize {
        0
    }
}

impl EntailmentHead {
    /// The zero-shot head `name` of a bundle, or its first. Of a plain ONNX model the output `name` or `logits`,
    /// with the labels of `config.json`.
    ///
    /// As in Hugging Face, entailment is the first label that begins with `entail` in any case, and its opposite
    /// is the first of the others.
    ///
    /// # Errors
    /// `NotFound` and `InvalidArgument` for a name that does not fit, `FailedPrecondition` for a model without such
    /// a head or label.
    pub fn find(model: &Model, name: Option<&str>) -> Result<EntailmentHead> {
        let (name, index, output, labels, temperature, max_length) =
            match locate::head(model, name, Task::ZeroShot, "tell entailment")? {
                Some(Located { head: h, index, output }) => {
                    (h.name.as_str(), index, output, h.labels.as_slice(), h.temperature, h.max_length)
                }
                None => {
                    let (index, o) = locate::output(model, name.unwrap_or("logits"))?;
                    (o.name.as_str(), index, o, model.info().labels.as_slice(), 1.0, None)
                }
            };
        let says = |why: String| Err(Error::new(ErrorKind::FailedPrecondition, why));
        if output.per_token || output.flat || output.channels < 2 || labels.len() != output.channels {
            return says(format!(
                "output `{}` has no scores of labelled relations between two texts: zero-shot needs a model trained \
                 for entailment, with its labels in `config.json`",
                output.name
            ));
        }
        let entails = |l: &String| l.get(..6).is_some_and(|p| p.eq_ignore_ascii_case("entail"));
        let Some(entailment) = labels.iter().position(entails) else {
            let names: Vec<_> = labels.iter().take(8).map(|l| format!("`{l}`")).collect();
            return says(format!(
                "head `{name}` has no label that begins with `entail`, but {}",
                names.join(", ")
            ));
        };
        Ok(EntailmentHead {
            name: name.to_string(),
            index,
            entailment,
            contradiction: usize::from(entailment == 0),
            channels: output.channels,
            temperature,
            max_length,
        })
    }

    /// The two scores, contradiction first.
    fn pair(&self, row: &[f32]) -> Result<[f32; 2]> {
        let two =
            [row.get(self.contradiction), row.get(self.entailment)].map(|x| x.copied().unwrap_or(f32::NAN));
        match two.iter().all(|x| x.is_finite()) {
            true => Ok(two),
            false => Err(Error::new(
                ErrorKind::OutOfRange,
                format!("head `{}` gave a score that is not finite: the model's weights overflow", self.name),
            )),
        }
    }

    /// How probable it is that the first text entails the second, against the opposite alone.
    pub(super) fn probability(&self, row: &[f32]) -> Result<f32> {
        let p = probabilities(&self.pair(row)?, self.temperature, false);
        Ok(p.get(1).copied().unwrap_or(f32::NAN))
    }
}

/// How to classify. The default: one label holds, all are listed, one thread.
#[derive(Clone, Debug)]
pub struct ZeroShotOptions {
    /// The sentence about the text that a label makes; `{}`, once, is where the label goes.
    pub template: String,
    /// Judge every label by itself (entailed or not) instead of all against each other.
    pub multi_label: bool,
    /// Keep at most this many labels, the most probable ones. `None`: all. Zero is an error.
    pub top_k: Option<usize>,
    /// Leave out labels that are less probable than this (0 to 1). `None`: nothing is left out.
    pub threshold: Option<f32>,
    /// What to keep of a text that is too long.
    pub truncation: Truncation,
    /// Most tokens of a text with its sentence; never more than the model takes. `None`: the model's.
    pub max_length: Option<usize>,
    /// Threads, kernels, cancellation, deadline.
    pub call: CallOptions,
}

impl Default for ZeroShotOptions {
    fn default() -> Self {
        ZeroShotOptions {
            template: TEMPLATE.into(),
            multi_label: false,
            top_k: None,
            threshold: None,
            truncation: Truncation::Head,
            max_length: None,
            call: CallOptions::default(),
        }
    }
}

/// A label and how probable it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ZeroShotLabel {
    /// The label, as it was given.
    pub label: String,
    /// Its index among the labels that were given.
    pub index: usize,
    /// 0 to 1. Over all labels the probabilities sum to 1, unless every label was judged by itself.
    pub probability: f32,
    /// The score of entailment, before temperature and softmax.
    pub entailment: f32,
    /// The score of the opposite.
    pub contradiction: f32,
}

/// The answer for one text.
#[derive(Clone, Debug, PartialEq)]
pub struct ZeroShot {
    /// Labels that passed the options, the most probable first; of equals the one that was given first.
    pub labels: Vec<ZeroShotLabel>,
    /// The text was cut to fit, for at least one label.
    pub truncated: bool,
    /// The model's version; empty where it has none.
    pub model_version: String,
}

impl ZeroShot {
    /// The most probable label, if the options left any.
    pub fn top(&self) -> Option<&ZeroShotLabel> {
        self.labels.first()
    }
}

/// Classifies texts by labels that are given with the call: each label makes a sentence about the text, and the
/// model says whether the text entails it. One run per text and label, packed together.
///
/// `Send + Sync`. Answers are the same bits on every CPU, kernel, number of threads and batch.
///
/// ```
/// use pocketbert::ZeroShotClassifier;
/// # fn main() -> pocketbert::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
/// let classifier = ZeroShotClassifier::open(path)?;
/// let answer = classifier.classify("will it rain tomorrow", &["get weather", "play music"])?;
/// assert_eq!(answer.top().unwrap().label, "get weather");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ZeroShotClassifier {
    session: Session<EntailmentHead>,
}

impl ZeroShotClassifier {
    /// Opens the model at `path`; the head as in [`EntailmentHead::find`].
    pub fn open(path: impl AsRef<Path>) -> Result<ZeroShotClassifier> {
        let c = ZeroShotClassifier::deferred(path, &OpenOptions::default(), None);
        c.load()?;
        Ok(c)
    }

    /// A classifier that opens `path` at its first call, or at [`load`](Self::load) or
    /// [`prewarm`](Self::prewarm).
    pub fn deferred(path: impl AsRef<Path>, options: &OpenOptions, head: Option<&str>) -> ZeroShotClassifier {
        ZeroShotClassifier { session: Session::deferred(path.as_ref(), options, head, EntailmentHead::find) }
    }

    /// A classifier on a model that is open already.
    pub fn from_model(model: Arc<Model>, head: Option<&str>) -> Result<ZeroShotClassifier> {
        Ok(ZeroShotClassifier { session: Session::from_model(model, head, EntailmentHead::find)? })
    }

    /// Opens the model if it is not open yet.
    pub fn load(&self) -> Result<()> {
        self.session.ready().map(|_| ())
    }

    /// Opens the model if need be and answers a short text, so that the next call is a warm one.
    pub fn prewarm(&self) -> Result<()> {
        if self.state() == LoadState::Prewarmed {
            return self.load();
        }
        self.classify("warm", &["warm"]).map(|_| ())
    }

    /// How far the classifier is from answering at full speed.
    pub fn state(&self) -> LoadState {
        self.session.state()
    }

    /// The numbers of this object.
    pub fn metrics(&self) -> Metrics {
        self.session.metrics().clone()
    }

    /// The model, opened now if it was not yet.
    pub fn model(&self) -> Result<&Arc<Model>> {
        self.session.model()
    }

    /// The head.
    pub fn head(&self) -> Result<&EntailmentHead> {
        self.session.ready().map(|(_, h)| h)
    }

    /// Which of `labels` fits `text`, with the default options.
    pub fn classify(&self, text: &str, labels: &[&str]) -> Result<ZeroShot> {
        self.classify_with(text, labels, &ZeroShotOptions::default())
    }

    /// Which of `labels` fit `text`.
    ///
    /// # Errors
    /// `InvalidArgument` without labels, for an empty label or one that comes twice, and for options that cannot
    /// be followed; `Cancelled` and `DeadlineExceeded` as the options ask; those of
    /// [`Tokenizer::encode`](crate::text::Tokenizer::encode).
    pub fn classify_with(&self, text: &str, labels: &[&str], options: &ZeroShotOptions) -> Result<ZeroShot> {
        self.classify_batch_with(&[text], labels, options)?
            .pop()
            .ok_or_else(|| Error::internal("a run without an answer"))
    }

    /// Which of `labels` fit each of `texts`, in their order; each answer is, bit for bit, the one that the text
    /// gets alone.
    ///
    /// # Errors
    /// As [`classify_with`](Self::classify_with); there are no partial results.
    pub fn classify_batch_with(
        &self,
        texts: &[&str],
        labels: &[&str],
        options: &ZeroShotOptions,
    ) -> Result<Vec<ZeroShot>> {
        self.session.observe(texts.len(), |model, head| {
            let sentences = sentences(labels, options)?;
            let length = [options.max_length, head.max_length].into_iter().flatten();
            let encode = EncodeOptions {
                max_length: length.fold(model.info().max_length, usize::min),
                truncation: options.truncation,
                ..EncodeOptions::default()
            };
            let (stop, tokenizer) = (options.call.stop(), model.tokenizer()?);
            let mut answers = Vec::with_capacity(texts.len());
            for text in texts {
                let mut encodings: Vec<Encoding> = Vec::with_capacity(labels.len());
                for s in &sentences {
                    stop.check()?;
                    encodings.push(tokenizer.encode(text, Some(s), &encode)?);
                }
                let mut scores = Vec::with_capacity(labels.len());
                run_each(model, &[head.index], &encodings, &options.call, |_, rows| {
                    scores.push(head.pair(rows.first().copied().unwrap_or_default())?);
                    Ok(())
                })?;
                let p = judged(&scores, head.temperature, options);
                let labels = chosen(labels, &scores, &p, options);
                // A text counts once, with its longest pair.
                if let Some(longest) = encodings.iter().max_by_key(|e| e.len()) {
                    self.session.saw(&Seen::of(longest, labels.first().map(|l| l.probability), &[]));
                }
                answers.push(ZeroShot {
                    labels,
                    truncated: encodings.iter().any(|e| e.truncated.is_some()),
                    model_version: model.info().version.clone(),
                });
            }
            Ok(answers)
        })
    }
}

/// The sentence of each label.
fn sentences(labels: &[&str], o: &ZeroShotOptions) -> Result<Vec<String>> {
    if labels.is_empty() {
        return Err(Error::invalid("no labels were given: name at least one"));
    }
    if labels.len() > MAX_LABELS {
        return Err(Error::exhausted(format!("{} labels; at most {MAX_LABELS} are allowed", labels.len())));
    }
    if labels.iter().any(|l| l.trim().is_empty()) {
        return Err(Error::invalid("a label is empty"));
    }
    let mut seen = std::collections::HashSet::new();
    if let Some(l) = labels.iter().find(|l| !seen.insert(**l)) {
        return Err(Error::invalid(format!("label `{l}` is there twice")));
    }
    let Some((before, after)) = o.template.split_once("{}").filter(|(_, after)| !after.contains("{}")) else {
        return Err(Error::invalid(format!(
            "`template` is `{}`; it needs `{{}}` once, where the label goes",
            o.template
        )));
    };
    if o.top_k == Some(0) {
        return Err(Error::invalid("`top_k` is 0: ask for at least one label"));
    }
    if o.threshold.is_some_and(|t| !(0.0..=1.0).contains(&t)) {
        return Err(Error::invalid("`threshold` is a probability: give a number from 0 to 1"));
    }
    Ok(labels.iter().map(|l| format!("{before}{l}{after}")).collect())
}

/// Hugging Face's two formulas: a softmax over the labels' entailment scores, or for each label by itself over
/// contradiction and entailment. A single label has nothing to be compared with, so it is judged by itself.
fn judged(scores: &[[f32; 2]], temperature: f32, o: &ZeroShotOptions) -> Vec<f32> {
    match o.multi_label || scores.len() == 1 {
        true => scores.iter().filter_map(|s| probabilities(s, temperature, false).pop()).collect(),
        false => probabilities(&scores.iter().map(|s| s[1]).collect::<Vec<_>>(), temperature, false),
    }
}

/// The labels that pass, the best first.
fn chosen(labels: &[&str], scores: &[[f32; 2]], p: &[f32], o: &ZeroShotOptions) -> Vec<ZeroShotLabel> {
    let all = labels.iter().zip(scores).zip(p).enumerate();
    let mut kept: Vec<ZeroShotLabel> = all
        .filter(|(_, (_, p))| o.threshold.is_none_or(|t| **p >= t))
        .map(|(index, ((label, s), p))| ZeroShotLabel {
            label: label.to_string(),
            index,
            probability: *p,
            entailment: s[1],
            contradiction: s[0],
        })
        .collect();
    kept.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(a.index.cmp(&b.index)));
    kept.truncate(o.top_k.unwrap_or(usize::MAX));
    kept
}

#[cfg(test)]
mod tests;
