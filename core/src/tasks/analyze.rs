//! [`Analyzer`]: several heads of one model, one run of its encoder per text.

mod long;
mod readers;

use std::path::Path;
use std::sync::Arc;

use self::readers::{Heads, Part, Reader};
use super::answer::Answers;
use super::classify::Classification;
use super::load::LoadState;
use super::session::{CallOptions, Session, run_each};
use super::token_classify::Tagged;
use super::vector::Embedding;
use crate::bundle::manifest::Task;
use crate::error::{Error, Result};
use crate::metrics::{Metrics, Seen, Snapshot};
use crate::model::{Model, OpenOptions};
use crate::text::{EncodeOptions, Encoding, Truncation};

/// How to analyze. The default asks every head, as the bundle says, on one thread.
#[derive(Clone, Debug, Default)]
pub struct AnalyzeOptions {
    /// Ask these heads only, by name. Empty: all that can answer.
    pub heads: Vec<String>,
    /// Keep at most this many labels of a classification. `None`: all. Zero is an error.
    pub top_k: Option<usize>,
    /// Ask this of the texts, too, with the heads that answer questions. The question is read with each text, so
    /// these heads have runs of their own.
    pub question: Option<String>,
    /// What to keep of a text that is too long; answers to a question are looked for in all of it.
    pub truncation: Truncation,
    /// Most tokens of a text, special tokens included; never more than a head takes. `None`: the model's.
    pub max_length: Option<usize>,
    /// Threads, kernels, cancellation, deadline.
    pub call: CallOptions,
}

/// What one head says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum HeadAnswer {
    /// Of a head that classifies texts: what [`TextClassifier`](super::TextClassifier) answers.
    Labels(Classification),
    /// Of a head that labels tokens: what [`TokenClassifier`](super::TokenClassifier) answers.
    Tags(Tagged),
    /// Of a head that makes vectors: what [`TextEmbedder`](super::TextEmbedder) answers.
    Vector(Embedding),
    /// Of a head that answers questions: what [`QuestionAnswerer`](super::QuestionAnswerer) answers.
    Answers(Answers),
}

/// One head's part of an analysis.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadAnalysis {
    /// The head's name.
    pub head: String,
    /// What it does.
    pub task: Task,
    /// Its answer, bit for bit the one that its own task gives.
    pub answer: HeadAnswer,
}

/// What the heads say of one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// By head, in the bundle's order.
    pub heads: Vec<HeadAnalysis>,
    /// Tokens that the model saw, special tokens included.
    pub token_count: usize,
    /// The text was cut to fit.
    pub truncated: bool,
    /// The model's version; empty where it has none.
    pub model_version: String,
}

impl Analysis {
    /// The answer of the head `name`.
    pub fn head(&self, name: &str) -> Option<&HeadAnswer> {
        self.heads.iter().find(|h| h.head == name).map(|h| &h.answer)
    }
}

/// Asks several heads of a model at once: the encoder, which is nearly all of the work, runs once per text.
///
/// `Send + Sync`, like every task object. Heads that are used with texts of different lengths at most (their
/// `max_length` in the bundle) need a run for each length.
///
/// ```
/// use pocketbert::tasks::{Analyzer, HeadAnswer};
/// # fn main() -> pocketbert::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
/// let analyzer = Analyzer::open(path)?;
/// let analysis = analyzer.analyze("book a table for two in Paris")?;
/// for h in &analysis.heads {
///     if let HeadAnswer::Labels(c) = &h.answer {
///         println!("{}: {}", h.head, c.labels[0].label);
///     }
/// }
/// assert!(analysis.head("spam").is_some());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Analyzer {
    session: Session<Heads>,
}

impl Analyzer {
    /// Opens the model at `path` (a bundle, an `.onnx` file or a hub-style folder).
    ///
    /// # Errors
    /// Those of [`Model::open`]; `FailedPrecondition` if it has no head that can be asked.
    pub fn open(path: impl AsRef<Path>) -> Result<Analyzer> {
        let a = Analyzer::deferred(path, &OpenOptions::default());
        a.load()?;
        Ok(a)
    }

    /// An analyzer that opens `path` at its first call, or at [`load`](Self::load) on a thread of your choice.
    pub fn deferred(path: impl AsRef<Path>, options: &OpenOptions) -> Analyzer {
        Analyzer { session: Session::deferred(path.as_ref(), options, None, Heads::find) }
    }

    /// An analyzer on a model that is open already.
    pub fn from_model(model: Arc<Model>) -> Result<Analyzer> {
        Ok(Analyzer { session: Session::from_model(model, None, Heads::find)? })
    }

    /// Opens the model if it is not open yet. Threads that call it together wait for the one that opens.
    pub fn load(&self) -> Result<()> {
        self.session.ready().map(|_| ())
    }

    /// Opens the model if need be and answers a short text, so that the next call is a warm one.
    pub fn prewarm(&self) -> Result<()> {
        if self.state() == LoadState::Prewarmed {
            return self.load();
        }
        self.analyze("warm").map(|_| ())
    }

    /// How far the analyzer is from answering at full speed.
    pub fn state(&self) -> LoadState {
        self.session.state()
    }

    /// The model, opened now if it was not yet.
    pub fn model(&self) -> Result<&Arc<Model>> {
        self.session.model()
    }

    /// Names of the heads that can be asked, in the bundle's order.
    pub fn heads(&self) -> Result<Vec<&str>> {
        let (_, heads) = self.session.ready()?;
        Ok(heads.readers.iter().map(|r| r.name.as_str()).collect())
    }

    /// Heads that cannot be asked this way, each with what keeps it from answering.
    pub fn other_heads(&self) -> Result<Vec<(&str, &'static str)>> {
        let (_, heads) = self.session.ready()?;
        Ok(heads.others.iter().map(|o| (o.0.as_str(), o.1)).collect())
    }

    /// Times, sizes and errors of the calls.
    pub fn metrics(&self) -> Metrics {
        self.session.metrics().clone()
    }

    /// The numbers of one head: confidence, low confidence, drift. Its snapshot has no times, since the run is
    /// shared.
    ///
    /// # Errors
    /// `NotFound` for a head that cannot be asked; those of opening the model.
    pub fn head_metrics(&self, head: &str) -> Result<Metrics> {
        let (_, heads) = self.session.ready()?;
        let i = heads.chosen(&[head.to_string()])?;
        let found = i.first().and_then(|&i| heads.readers.get(i));
        found.map(Reader::metrics).ok_or_else(|| Error::internal("a head without numbers"))
    }

    /// All snapshots, ready for [`metrics::to_prometheus`](crate::metrics::to_prometheus): the calls', then each
    /// head's.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let mut all = vec![self.session.metrics().snapshot()];
        if let Ok((_, heads)) = self.session.ready() {
            all.extend(heads.readers.iter().map(|r| r.metrics().snapshot()));
        }
        all
    }

    /// Asks every head about `text`.
    pub fn analyze(&self, text: &str) -> Result<Analysis> {
        self.analyze_with(text, &AnalyzeOptions::default())
    }

    /// Asks heads about `text`.
    ///
    /// # Errors
    /// `NotFound` for a head that the model lacks, `InvalidArgument` for one that cannot be asked this way or for
    /// options out of range; `Cancelled` and `DeadlineExceeded` as the options ask; those of
    /// [`Tokenizer::encode`](crate::text::Tokenizer::encode).
    pub fn analyze_with(&self, text: &str, options: &AnalyzeOptions) -> Result<Analysis> {
        let answer = self.analyze_batch_with(&[text], options)?.pop();
        answer.ok_or_else(|| Error::internal("a run without an answer"))
    }

    /// Asks heads about each of `texts`; answers come in their order, each bit for bit the one that the text gets
    /// alone. No text: no answer.
    ///
    /// # Errors
    /// As [`analyze_with`](Self::analyze_with); there are no partial results.
    pub fn analyze_batch_with(&self, texts: &[&str], options: &AnalyzeOptions) -> Result<Vec<Analysis>> {
        let answers = self.run(texts, options)?;
        if let Ok((_, heads)) = self.session.ready() {
            heads.readers.iter().for_each(|r| r.metrics.settle());
        }
        Ok(answers)
    }

    fn run(&self, texts: &[&str], options: &AnalyzeOptions) -> Result<Vec<Analysis>> {
        self.session.observe(texts.len(), |model, heads| {
            let own = options.own();
            let mut parts = heads.asked(model, options, &own)?;
            let version = &model.info().version;
            let empty = || Analysis {
                heads: vec![],
                token_count: 0,
                truncated: false,
                model_version: version.clone(),
            };
            let mut slots: Vec<Vec<Option<HeadAnswer>>> =
                texts.iter().map(|_| parts.iter().map(|_| None).collect()).collect();
            let mut answers: Vec<Analysis> = texts.iter().map(|_| empty()).collect();
            // Heads that read the same tokens share a run; nearly always that is all of them.
            let waiting = |(_, part): &(&Reader, Option<Part>)| part.as_ref().is_some_and(|p| !p.done);
            while let Some(first) = parts.iter().position(waiting) {
                let Some(encode) = parts[first].1.as_ref().map(|p| p.encode.clone()) else { break };
                let mut group = vec![];
                for (i, (reader, part)) in parts.iter_mut().enumerate() {
                    if let Some(p) = part.as_mut().filter(|p| !p.done && p.encode == encode) {
                        p.done = true;
                        group.push((i, *reader, &*p));
                    }
                }
                let encodings = encodings(model, texts, &encode, &options.call)?;
                // Two heads may read one output: each output is computed once.
                let mut outputs: Vec<usize> = group.iter().map(|(_, _, p)| p.output).collect();
                outputs.sort_unstable();
                outputs.dedup();
                run_each(model, &outputs, &encodings, &options.call, |i, rows| {
                    let e = &encodings[i];
                    for (slot, reader, part) in &group {
                        let at = outputs.iter().position(|o| *o == part.output);
                        let rows = at.and_then(|a| rows.get(a).copied()).unwrap_or_default();
                        let answer = part.decode.answer(rows, texts[i], e, version, &reader.metrics)?;
                        slots[i][*slot] = Some(answer);
                    }
                    answers[i].token_count = answers[i].token_count.max(e.len());
                    answers[i].truncated |= e.truncated.is_some();
                    Ok(())
                })?;
            }
            for (slot, (reader, _)) in parts.iter().enumerate() {
                let (Some(task), Some(question)) = (reader.answerer(model)?, &options.question) else {
                    continue;
                };
                let pairs: Vec<(&str, &str)> = texts.iter().map(|t| (question.as_str(), *t)).collect();
                for (slots, found) in slots.iter_mut().zip(task.answer_batch_with(&pairs, &own.answer)?) {
                    slots[slot] = Some(HeadAnswer::Answers(found));
                }
            }
            for (slots, answer) in slots.into_iter().zip(&mut answers) {
                let named = slots.into_iter().zip(&parts).filter_map(|(s, p)| Some((s?, p.0)));
                answer.heads = named
                    .map(|(answer, r)| HeadAnalysis { head: r.name.clone(), task: r.task, answer })
                    .collect();
                let seen =
                    Seen { tokens: answer.token_count, truncated: answer.truncated, ..Default::default() };
                self.session.saw(&seen);
            }
            Ok(answers)
        })
    }
}

fn encodings(
    model: &Model,
    texts: &[&str],
    encode: &EncodeOptions,
    call: &CallOptions,
) -> Result<Vec<Encoding>> {
    let (tokenizer, stop) = (model.tokenizer()?, call.stop());
    let mut all = Vec::with_capacity(texts.len());
    for text in texts {
        stop.check()?;
        all.push(tokenizer.encode(text, None, encode)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
