//! [`TextClassifier`]: one text in, labels with probabilities out.

use std::path::Path;
use std::sync::Arc;

pub(super) mod long;

pub use long::WindowLabel;

use super::head::ClassifierHead;
use super::input::TextInput;
use super::load::LoadState;
use super::observe::TaskHead;
use super::score::probabilities;
use super::session::{CallOptions, Session, run_each};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Metrics, Seen};
use crate::model::{Model, OpenOptions};
use crate::text::{EncodeOptions, Encoding, Truncation};

/// How to classify. `ClassifyOptions::default()` asks for every label, as the bundle says, on one thread.
#[derive(Clone, Debug)]
pub struct ClassifyOptions {
    /// Keep at most this many labels, the most probable ones. `None`: all. Zero is an error.
    pub top_k: Option<usize>,
    /// Leave out labels that are less probable than this (0 to 1; any number for a regression head). `None`: the
    /// bundle's threshold of each label, where it has one; 0 asks for all.
    pub threshold: Option<f32>,
    /// Only these labels. Probabilities stay those over all labels. Not together with `deny`.
    pub allow: Vec<String>,
    /// All labels but these. Not together with `allow`.
    pub deny: Vec<String>,
    /// Judge every label by itself (logistic function) instead of all against each other (softmax).
    /// `None`: as the bundle says.
    pub multi_label: Option<bool>,
    /// What to keep of a text that is too long.
    pub truncation: Truncation,
    /// Most tokens of a text, special tokens included; never more than the model takes. `None`: the model's.
    pub max_length: Option<usize>,
    /// Threads, kernels, cancellation, deadline.
    pub call: CallOptions,
}

impl Default for ClassifyOptions {
    fn default() -> Self {
        ClassifyOptions {
            top_k: None,
            threshold: None,
            allow: vec![],
            deny: vec![],
            multi_label: None,
            truncation: Truncation::Head,
            max_length: None,
            call: CallOptions::default(),
        }
    }
}

/// A label and how probable it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The label.
    pub label: String,
    /// Its number in the head.
    pub index: usize,
    /// 0 to 1, calibrated if the bundle has a temperature. For a regression head the value itself, without bounds.
    pub probability: f32,
    /// What the model gave, before temperature and softmax.
    pub logit: f32,
}

/// The answer for one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    /// Labels that passed the options, the most probable first; of equals the one with the smaller index.
    pub labels: Vec<Scored>,
    /// The logits of all labels by index.
    pub logits: Vec<f32>,
    /// Tokens that the model saw, special tokens included.
    pub token_count: usize,
    /// The text was cut to fit.
    pub truncated: bool,
    /// The model's version; empty where it has none.
    pub model_version: String,
}

impl Classification {
    /// The most probable label, if the options left any.
    pub fn top(&self) -> Option<&Scored> {
        self.labels.first()
    }
}

/// Classifies texts with one head of a model.
///
/// `Send + Sync`: share it by reference or `Arc`; calls run side by side, each with scratch memory of its
/// own. Answers are the same bits on every CPU, kernel, number of threads and batch.
///
/// ```
/// use pocketbert::TextClassifier;
/// # fn main() -> pocketbert::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
/// let classifier = TextClassifier::open(path)?;
/// let answer = classifier.classify("what a lovely film")?;
/// for l in &answer.labels {
///     println!("{} {:.3}", l.label, l.probability);
/// }
/// assert!(answer.top().is_some());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct TextClassifier {
    session: Session<ClassifierHead>,
}

impl TextClassifier {
    /// Opens the model at `path` (a bundle, an `.onnx` file or a hub-style folder), and takes its default
    /// classification head.
    ///
    /// # Errors
    /// Those of [`Model::open`], and those of [`ClassifierHead::find`].
    pub fn open(path: impl AsRef<Path>) -> Result<TextClassifier> {
        let c = TextClassifier::deferred(path, &OpenOptions::default(), None);
        c.load()?;
        Ok(c)
    }

    /// A classifier that opens `path` at its first call, or at [`load`](Self::load) or
    /// [`prewarm`](Self::prewarm) on a thread of your choice.
    ///
    /// ```
    /// use pocketbert::model::OpenOptions;
    /// use pocketbert::{LoadState, TextClassifier};
    /// # fn main() -> pocketbert::Result<()> {
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
    /// let classifier = TextClassifier::deferred(path, &OpenOptions::default(), None);
    /// assert_eq!(classifier.state(), LoadState::Unloaded);
    /// classifier.prewarm()?;
    /// assert_eq!(classifier.state(), LoadState::Prewarmed);
    /// # Ok(()) }
    /// ```
    pub fn deferred(path: impl AsRef<Path>, options: &OpenOptions, head: Option<&str>) -> TextClassifier {
        TextClassifier { session: Session::deferred(path.as_ref(), options, head, ClassifierHead::find) }
    }

    /// A classifier on a model that is open already; `head` as in [`ClassifierHead::find`].
    pub fn from_model(model: Arc<Model>, head: Option<&str>) -> Result<TextClassifier> {
        Ok(TextClassifier { session: Session::from_model(model, head, ClassifierHead::find)? })
    }

    /// A classifier with a head of your own making, such as labels for a plain ONNX model that names none.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use pocketbert::model::Model;
    /// use pocketbert::tasks::ClassifierHead;
    /// # fn main() -> pocketbert::Result<()> {
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
    /// let model = Arc::new(Model::open(path, &Default::default())?);
    /// let mut head = ClassifierHead::find(&model, Some("spam"))?;
    /// head.labels = vec!["wanted".into(), "unwanted".into()];
    /// let classifier = pocketbert::TextClassifier::with_head(model, head)?;
    /// assert_eq!(classifier.classify("see you at eight")?.labels[0].label, "wanted");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for a head that does not fit the model ([`ClassifierHead::check`]).
    pub fn with_head(model: Arc<Model>, head: ClassifierHead) -> Result<TextClassifier> {
        head.check(&model)?;
        Ok(TextClassifier { session: Session::with_head(model, head)? })
    }

    /// Opens the model if it is not open yet. Threads that call it together wait for the one that opens.
    pub fn load(&self) -> Result<()> {
        self.session.ready().map(|_| ())
    }

    /// Opens the model if need be and answers a short text, so that the next call is a warm one. Does nothing
    /// if the classifier has answered already.
    pub fn prewarm(&self) -> Result<()> {
        if self.state() == LoadState::Prewarmed {
            return self.load();
        }
        self.classify("warm").map(|_| ())
    }

    /// How far the classifier is from answering at full speed.
    pub fn state(&self) -> LoadState {
        self.session.state()
    }

    /// The numbers of this object: times by stage, the cold first call apart, sizes, errors, drift.
    pub fn metrics(&self) -> Metrics {
        self.session.metrics().clone()
    }

    /// The model, opened now if it was not yet.
    pub fn model(&self) -> Result<&Arc<Model>> {
        self.session.model()
    }

    /// The head, with its labels.
    pub fn head(&self) -> Result<&ClassifierHead> {
        self.session.ready().map(|(_, h)| h)
    }

    /// Classifies `text` with the default options. Empty text has an answer like any other.
    pub fn classify(&self, text: &str) -> Result<Classification> {
        self.classify_with(text, &ClassifyOptions::default())
    }

    /// Classifies `text`.
    ///
    /// # Errors
    /// `InvalidArgument` for options that contradict each other or name an unknown label; `Cancelled` and
    /// `DeadlineExceeded` as the options ask; those of [`Tokenizer::encode`](crate::text::Tokenizer::encode).
    pub fn classify_with(&self, text: &str, options: &ClassifyOptions) -> Result<Classification> {
        self.one(text.into(), options)
    }

    /// Classifies a pair of texts, for a head that was trained on pairs: a question and an answer, a premise and a
    /// claim. The model reads both at once.
    ///
    /// # Errors
    /// As [`classify_with`](Self::classify_with); `Unimplemented` if the tokenizer has no form for pairs.
    pub fn classify_pair(&self, text: &str, pair: &str, options: &ClassifyOptions) -> Result<Classification> {
        self.one((text, pair).into(), options)
    }

    fn one(&self, input: TextInput, options: &ClassifyOptions) -> Result<Classification> {
        let answer = self.classify_inputs(&[input], options)?.pop();
        answer.ok_or_else(|| Error::internal("a run without an answer"))
    }

    /// Classifies all of `texts` with the default options; answers come in their order.
    ///
    /// ```
    /// # use pocketbert::TextClassifier;
    /// # fn main() -> pocketbert::Result<()> {
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
    /// let classifier = TextClassifier::open(path)?;
    /// let both = classifier.classify_batch(&["good", "a much longer text about something bad"])?;
    /// assert_eq!(both[0], classifier.classify("good")?); // bit for bit
    /// # Ok(()) }
    /// ```
    pub fn classify_batch(&self, texts: &[&str]) -> Result<Vec<Classification>> {
        self.classify_batch_with(texts, &ClassifyOptions::default())
    }

    /// Classifies all of `texts`; each answer is, bit for bit, the one that the text gets alone.
    ///
    /// # Errors
    /// As [`classify_with`](Self::classify_with); there are no partial results.
    pub fn classify_batch_with(
        &self,
        texts: &[&str],
        options: &ClassifyOptions,
    ) -> Result<Vec<Classification>> {
        let inputs: Vec<TextInput> = texts.iter().map(|t| (*t).into()).collect();
        self.classify_inputs(&inputs, options)
    }

    /// Classifies single texts, or pairs; answers come in their order. No input: no answer.
    ///
    /// # Errors
    /// As [`classify_pair`](Self::classify_pair); `InvalidArgument` for pairs and single texts in one call.
    pub fn classify_inputs(
        &self,
        inputs: &[TextInput],
        options: &ClassifyOptions,
    ) -> Result<Vec<Classification>> {
        self.session.observe(inputs.len(), |model, head| {
            let decoder = Decoder::new(model, head, options)?;
            TextInput::check_alike(inputs)?;
            let encode = encode_options(model, head, options);
            let stop = options.call.stop();
            let tokenizer = model.tokenizer()?;
            let mut encodings = Vec::with_capacity(inputs.len());
            for i in inputs {
                stop.check()?;
                encodings.push(tokenizer.encode(i.text, i.pair, &encode)?);
            }
            let mut answers = Vec::with_capacity(inputs.len());
            run_each(model, &[head.index], &encodings, &options.call, |i, rows| {
                let logits = rows.first().copied().unwrap_or_default();
                answers.push(decoder.answer(logits, &encodings[i], |seen| self.session.saw(seen))?);
                Ok(())
            })?;
            Ok(answers)
        })
    }
}

/// How texts for `head` are encoded.
pub(super) fn encode_options(model: &Model, head: &ClassifierHead, o: &ClassifyOptions) -> EncodeOptions {
    let limits = [o.max_length, head.max_length];
    let max_length = limits.into_iter().flatten().fold(model.info().max_length, usize::min);
    EncodeOptions { max_length, truncation: o.truncation, ..EncodeOptions::default() }
}

/// Turns logits into answers: the options, checked against the head.
pub(super) struct Decoder<'a> {
    head: &'a ClassifierHead,
    version: &'a str,
    keep: Keep,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(
        model: &'a Model,
        head: &'a ClassifierHead,
        o: &ClassifyOptions,
    ) -> Result<Decoder<'a>> {
        Ok(Decoder { head, version: &model.info().version, keep: Keep::new(head, o)? })
    }

    /// The answer to the text of encoding `e`; `saw` gets what metrics may know of it.
    pub(super) fn answer(
        &self,
        logits: &[f32],
        e: &Encoding,
        saw: impl FnOnce(&Seen),
    ) -> Result<Classification> {
        let p = self.keep.probabilities(self.head, logits)?;
        let answer = Classification {
            labels: self.keep.pick(self.head, &p, logits),
            logits: logits.to_vec(),
            token_count: e.len(),
            truncated: e.truncated.is_some(),
            model_version: self.version.to_string(),
        };
        let (confidence, given) = self.keep.judge(self.head, &p);
        saw(&Seen::of(e, confidence, &given));
        Ok(answer)
    }
}

impl TaskHead for ClassifierHead {
    const TASK: &'static str = "text-classification";

    fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> usize {
        self.labels.len()
    }
}

/// The options, checked against the head.
struct Keep {
    /// Smallest probability per label; `None`: the label is not wanted.
    least: Vec<Option<f32>>,
    top_k: usize,
    multi_label: bool,
    regression: bool,
}

impl Keep {
    fn new(head: &ClassifierHead, o: &ClassifyOptions) -> Result<Keep> {
        if !o.allow.is_empty() && !o.deny.is_empty() {
            return Err(Error::invalid("`allow` and `deny` exclude each other: give one of them"));
        }
        if let Some(l) = o.allow.iter().chain(&o.deny).find(|l| !head.labels.contains(l)) {
            let some: Vec<_> = head.labels.iter().take(8).map(|l| format!("`{l}`")).collect();
            let more = if head.labels.len() > 8 { ", …" } else { "" };
            return Err(Error::invalid(format!(
                "head `{}` has no label `{l}`; it has {}{more}",
                head.name,
                some.join(", ")
            )));
        }
        if o.top_k == Some(0) {
            return Err(Error::invalid("`top_k` is 0: ask for at least one label"));
        }
        // Whoever asks for one kind of probability gets it from a plain ONNX model with one output, too.
        let regression = head.regression && o.multi_label.is_none();
        if let Some(t) = o.threshold
            && (t.is_nan() || !(regression || (0.0..=1.0).contains(&t)))
        {
            return Err(Error::invalid("`threshold` is a probability: give a number from 0 to 1"));
        }
        let multi_label = o.multi_label.unwrap_or(head.multi_label);
        let least = head.labels.iter().enumerate().map(|(i, l)| {
            let wanted = if o.allow.is_empty() { !o.deny.contains(l) } else { o.allow.contains(l) };
            // Thresholds were tuned on the head's own kind of probability and say nothing of another.
            let tuned = head.thresholds.get(i).copied().filter(|_| multi_label == head.multi_label);
            wanted.then(|| o.threshold.or(tuned).unwrap_or(f32::NEG_INFINITY))
        });
        Ok(Keep { least: least.collect(), top_k: o.top_k.unwrap_or(usize::MAX), multi_label, regression })
    }

    /// Of every label its probability, or its value.
    fn probabilities(&self, head: &ClassifierHead, logits: &[f32]) -> Result<Vec<f32>> {
        if logits.iter().any(|x| !x.is_finite()) {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("head `{}` gave a logit that is not finite: the model's weights overflow", head.name),
            ));
        }
        if logits.len() != head.labels.len() {
            return Err(Error::internal(format!(
                "head `{}` gave another number of values than labels",
                head.name
            )));
        }
        Ok(match self.regression {
            true => logits.to_vec(),
            false => probabilities(logits, head.temperature, self.multi_label),
        })
    }

    /// For metrics: how sure the answer is, and the labels that hold, whatever the options leave out.
    fn judge(&self, head: &ClassifierHead, p: &[f32]) -> (Option<f32>, Vec<usize>) {
        if self.regression {
            return (None, vec![]);
        }
        let mut best = 0;
        for (i, x) in p.iter().enumerate() {
            if *x > p[best] {
                best = i;
            }
        }
        if !self.multi_label {
            return (p.get(best).copied(), if p.is_empty() { vec![] } else { vec![best] });
        }
        let yes = |i: usize| head.thresholds.get(i).copied().filter(|t| t.is_finite()).unwrap_or(0.5);
        (p.get(best).copied(), (0..p.len()).filter(|&i| p[i] >= yes(i)).collect())
    }

    /// The labels that pass.
    fn pick(&self, head: &ClassifierHead, p: &[f32], logits: &[f32]) -> Vec<Scored> {
        let mut kept: Vec<Scored> = vec![];
        for (index, (label, least)) in head.labels.iter().zip(&self.least).enumerate() {
            if least.is_some_and(|t| p[index] >= t) {
                kept.push(Scored {
                    label: label.clone(),
                    index,
                    probability: p[index],
                    logit: logits[index],
                });
            }
        }
        kept.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(a.index.cmp(&b.index)));
        kept.truncate(self.top_k);
        kept
    }
}

#[cfg(test)]
mod tests;
