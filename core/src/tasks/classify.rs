//! [`TextClassifier`]: one text in, labels with probabilities out.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::head::ClassifierHead;
use super::load::{LoadState, Metrics};
use super::score::probabilities;
use super::session::{CallOptions, Session, run_each};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Model, OpenOptions};
use crate::text::{EncodeOptions, Truncation};

/// How to classify. `ClassifyOptions::default()` asks for every label, as the bundle says, on one thread.
#[derive(Clone, Debug)]
pub struct ClassifyOptions {
    /// Keep at most this many labels, the most probable ones. `None`: all. Zero is an error.
    pub top_k: Option<usize>,
    /// Leave out labels that are less probable than this (0 to 1). `None`: for a multi-label head the
    /// bundle's thresholds, else nothing is left out.
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
    /// 0 to 1. For a regression head the value itself, without bounds.
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

    /// Times so far, the cold first call apart from the warm ones.
    pub fn metrics(&self) -> Metrics {
        self.session.metrics()
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
        self.classify_batch_with(&[text], options)?
            .pop()
            .ok_or_else(|| Error::internal("a run without an answer"))
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
        let (model, head) = self.session.ready()?;
        let start = Instant::now();
        let keep = Keep::new(head, options)?;
        let stop = options.call.stop();
        let limits = [options.max_length, head.max_length];
        let length = limits.into_iter().flatten().fold(model.info().max_length, usize::min);
        let encode =
            EncodeOptions { max_length: length, truncation: options.truncation, ..EncodeOptions::default() };
        let tokenizer = model.tokenizer()?;
        let mut encodings = Vec::with_capacity(texts.len());
        for text in texts {
            stop.check()?;
            encodings.push(tokenizer.encode(text, None, &encode)?);
        }
        let mut answers = Vec::with_capacity(texts.len());
        run_each(model, &[head.index], &encodings, &options.call, |i, rows| {
            let logits = rows.first().copied().unwrap_or_default();
            answers.push(Classification {
                labels: keep.labels(head, logits)?,
                logits: logits.to_vec(),
                token_count: encodings[i].len(),
                truncated: encodings[i].truncated.is_some(),
                model_version: model.info().version.clone(),
            });
            Ok(())
        })?;
        self.session.called(start, texts.len(), encodings.iter());
        Ok(answers)
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
        if let Some(t) = o.threshold
            && !(0.0..=1.0).contains(&t)
            && !head.regression
        {
            return Err(Error::invalid("`threshold` is a probability: give a number from 0 to 1"));
        }
        let multi_label = o.multi_label.unwrap_or(head.multi_label);
        let least = head.labels.iter().enumerate().map(|(i, l)| {
            let wanted = if o.allow.is_empty() { !o.deny.contains(l) } else { o.allow.contains(l) };
            let tuned = head.thresholds.get(i).copied().filter(|_| multi_label);
            wanted.then(|| o.threshold.or(tuned).unwrap_or(f32::NEG_INFINITY))
        });
        Ok(Keep {
            least: least.collect(),
            top_k: o.top_k.unwrap_or(usize::MAX),
            multi_label,
            // Whoever asks for one kind of probability gets it from a plain ONNX model with one output, too.
            regression: head.regression && o.multi_label.is_none(),
        })
    }

    fn labels(&self, head: &ClassifierHead, logits: &[f32]) -> Result<Vec<Scored>> {
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
        let p = match self.regression {
            true => logits.to_vec(),
            false => probabilities(logits, head.temperature, self.multi_label),
        };
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
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::TOKENS_PER_RUN;
    use super::*;
    use crate::cancel::CancelToken;

    fn head() -> ClassifierHead {
        ClassifierHead {
            name: "h".into(),
            output: "h".into(),
            index: 0,
            labels: ["a", "b", "c", "d"].map(String::from).to_vec(),
            multi_label: false,
            regression: false,
            thresholds: vec![],
            temperature: 1.0,
            max_length: None,
        }
    }

    fn labels(head: &ClassifierHead, o: &ClassifyOptions, logits: &[f32]) -> Result<Vec<String>> {
        Ok(Keep::new(head, o)?.labels(head, logits)?.into_iter().map(|s| s.label).collect())
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| n.to_string()).collect()
    }

    #[test]
    fn labels_come_by_probability_then_index_and_options_thin_them() {
        let logits = [1.0, 3.0, 1.0, -2.0];
        let ask = |o: ClassifyOptions| labels(&head(), &o, &logits).unwrap();
        let default = ClassifyOptions::default;
        assert_eq!(ask(default()), ["b", "a", "c", "d"]);
        assert_eq!(ask(ClassifyOptions { top_k: Some(2), ..default() }), ["b", "a"]);
        assert_eq!(ask(ClassifyOptions { allow: list(&["d", "c"]), ..default() }), ["c", "d"]);
        assert_eq!(ask(ClassifyOptions { deny: list(&["b"]), top_k: Some(1), ..default() }), ["a"]);
        // Softmax gives a 0.106; the logistic function 0.731.
        let half = ClassifyOptions { threshold: Some(0.5), ..default() };
        assert_eq!(ask(half.clone()), ["b"]);
        assert_eq!(ask(ClassifyOptions { multi_label: Some(true), ..half }), ["b", "a", "c"]);
    }

    #[test]
    fn a_tuned_multi_label_head_uses_its_thresholds() {
        let tuned = ClassifierHead {
            multi_label: true,
            thresholds: vec![0.8, 0.9, 0.7, f32::NEG_INFINITY],
            ..head()
        };
        let logits = [1.0, 3.0, 1.0, -2.0];
        assert_eq!(labels(&tuned, &ClassifyOptions::default(), &logits).unwrap(), ["b", "c", "d"]);
        let all = ClassifyOptions { threshold: Some(0.0), ..ClassifyOptions::default() };
        assert_eq!(labels(&tuned, &all, &logits).unwrap().len(), 4);
        let softmax = ClassifyOptions { multi_label: Some(false), ..ClassifyOptions::default() };
        assert_eq!(labels(&tuned, &softmax, &logits).unwrap().len(), 4);
    }

    #[test]
    fn a_regression_head_gives_its_value() {
        let h = ClassifierHead { regression: true, labels: list(&["score"]), temperature: 2.0, ..head() };
        let got = Keep::new(&h, &ClassifyOptions::default()).unwrap().labels(&h, &[-7.5]).unwrap();
        assert_eq!((got[0].probability, got[0].logit), (-7.5, -7.5));
    }

    #[test]
    fn contradictory_options_and_broken_values_are_errors() {
        let kind = |o: ClassifyOptions, l: &[f32]| labels(&head(), &o, l).unwrap_err().kind();
        let fine = [0.0; 4];
        let default = ClassifyOptions::default;
        for o in [
            ClassifyOptions { allow: list(&["a"]), deny: list(&["b"]), ..default() },
            ClassifyOptions { allow: list(&["nope"]), ..default() },
            ClassifyOptions { deny: list(&["nope"]), ..default() },
            ClassifyOptions { top_k: Some(0), ..default() },
            ClassifyOptions { threshold: Some(1.5), ..default() },
            ClassifyOptions { threshold: Some(f32::NAN), ..default() },
        ] {
            assert_eq!(kind(o, &fine), ErrorKind::InvalidArgument);
        }
        assert_eq!(kind(default(), &[0.0, f32::NAN, 0.0, 0.0]), ErrorKind::OutOfRange);
        assert_eq!(kind(default(), &[0.0, f32::INFINITY, 0.0, 0.0]), ErrorKind::OutOfRange);
    }

    #[test]
    fn runs_stop_when_asked_and_batches_equal_single_runs() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
        let c = TextClassifier::open(path).unwrap();
        let cancel = CancelToken::new();
        cancel.cancel();
        let stopped = ClassifyOptions {
            call: CallOptions { cancel: Some(cancel.clone()), ..CallOptions::default() },
            ..ClassifyOptions::default()
        };
        assert_eq!(c.classify_with("x", &stopped).unwrap_err().kind(), ErrorKind::Cancelled);
        cancel.reset();
        assert!(c.classify_with("x", &stopped).is_ok());
        let late = ClassifyOptions {
            call: CallOptions { deadline: Some(Instant::now()), ..CallOptions::default() },
            ..ClassifyOptions::default()
        };
        assert_eq!(c.classify_with("x", &late).unwrap_err().kind(), ErrorKind::DeadlineExceeded);

        // More tokens than one run takes, of all lengths.
        let long = "a word or two ".repeat(200);
        let texts: Vec<&str> = (0..40).map(|i| &long[..i * 70]).collect();
        let all = c.classify_batch(&texts).unwrap();
        assert!(all.iter().map(|a| a.token_count).sum::<usize>() > TOKENS_PER_RUN);
        for (text, a) in texts.iter().zip(&all) {
            assert_eq!(a, &c.classify(text).unwrap());
        }
        assert!(all[39].truncated && all[39].token_count == c.model().unwrap().info().max_length);
        assert!(c.classify_batch(&[]).unwrap().is_empty());
    }

    #[test]
    fn threads_share_one_classifier() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
        let c = TextClassifier::deferred(path, &OpenOptions::default(), None);
        let texts = ["one", "and two", "three more words"];
        let answers: Vec<_> = std::thread::scope(|s| {
            let threads: Vec<_> = (0..3)
                .map(|i| {
                    s.spawn({
                        let c = &c;
                        move || c.classify(texts[i])
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap().unwrap()).collect()
        });
        assert_eq!(answers, c.classify_batch(&texts).unwrap());
    }
}
