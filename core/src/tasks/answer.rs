//! [`QuestionAnswerer`]: which stretch of a text answers a question.

mod decode;

use std::borrow::Borrow;
use std::path::Path;
use std::sync::Arc;

use self::decode::Found;
use super::load::LoadState;
use super::observe::TaskHead;
use super::session::{CallOptions, Session, run_stream};
use super::window::{Long, LongOptions, TOKENS_PER_LONG_RUN};
use crate::bundle::manifest::Task;
use crate::error::{Error, Result};
use crate::metrics::{Metrics, Seen};
use crate::model::{Model, OpenOptions};
use crate::text::{Encoding, Span, SpanMapper, Window};

/// The most answers to one question.
const MAX_ANSWERS: usize = 100;

/// How to answer.
#[derive(Clone, Debug)]
pub struct AnswerOptions {
    /// At most this many answers, none overlapping another: 1 to 100.
    pub top_k: usize,
    /// The longest answer, in tokens (before it is widened to whole words).
    pub max_tokens: usize,
    /// Widen answers to whole words. Turn it off for languages without spaces.
    pub whole_words: bool,
    /// There is no answer if the null answer's score is above the best answer's by more than this (both as sums of
    /// two logits, as in SQuAD 2). `None`: as the bundle says; without that, there always is an answer.
    pub no_answer: Option<f32>,
    /// How contexts are read that do not fit beside the question.
    pub long: LongOptions,
    /// Threads, kernels, cancellation, deadline.
    pub call: CallOptions,
}

impl Default for AnswerOptions {
    /// One answer of at most 30 tokens, in whole words.
    fn default() -> Self {
        AnswerOptions {
            top_k: 1,
            max_tokens: 30,
            whole_words: true,
            no_answer: None,
            long: LongOptions::default(),
            call: CallOptions::default(),
        }
    }
}

/// A stretch of the context that may answer the question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Probability of its start times that of its end, among the tokens of the window it was found in (and the
    /// null answer): the score of Hugging Face's pipeline. 0 to 1.
    pub score: f32,
    /// The logits of start and end, added. Answers are ranked by it, since it compares across windows.
    pub logit: f32,
    /// Where it is in the context, in bytes.
    pub bytes: Span,
    /// The same in characters (code points).
    pub chars: Span,
    /// The same in UTF-16 code units.
    pub utf16: Span,
}

impl Answer {
    /// The slice of `context`.
    pub fn of<'t>(&self, context: &'t str) -> &'t str {
        self.bytes.of(context).unwrap_or("")
    }
}

/// What was found for one question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// The best first; none overlaps another. They are here also where `no_answer` says not to trust them.
    pub answers: Vec<Answer>,
    /// The context does not answer the question, by the threshold of the options or the bundle.
    pub no_answer: bool,
    /// The null answer's logits less the best answer's: what the threshold is compared with. Means something only
    /// for a model that learned from questions without an answer.
    pub null_margin: f32,
    /// The null answer's score, as [`Answer::score`], the least over all windows.
    pub null_score: f32,
    /// Windows in which the context was read.
    pub windows: usize,
    /// The model's version; empty where it has none.
    pub model_version: String,
}

impl Answers {
    /// The best answer, if there is one to trust.
    pub fn best(&self) -> Option<&Answer> {
        self.answers.first().filter(|_| !self.no_answer)
    }
}

/// A question answering head: start and end scores per token.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerHead {
    /// The head's name; for a plain ONNX model the name of its (first) output.
    pub name: String,
    /// Indices in [`Plan::outputs`](crate::model::Plan::outputs): one output with two values per token, or two with
    /// one each.
    pub outputs: Vec<usize>,
    /// Most tokens of question and context, where it is less than the model's.
    pub max_length: Option<usize>,
    /// See [`AnswerOptions::no_answer`].
    pub no_answer: Option<f32>,
}

impl TaskHead for AnswerHead {
    const TASK: &'static str = "question-answering";

    fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> usize {
        0
    }
}

impl AnswerHead {
    /// The head `name` of `model`; without a name the first that answers questions. Of a plain ONNX model: the
    /// outputs `start_logits` and `end_logits`, or the one with two values per token.
    ///
    /// # Errors
    /// `NotFound` for a name that the model lacks, `InvalidArgument` for a head of another task,
    /// `FailedPrecondition` for a model that answers no questions, `DataLoss` for a bundle that contradicts its
    /// graph.
    pub fn find(model: &Model, name: Option<&str>) -> Result<AnswerHead> {
        let outputs = model.plan().outputs();
        let Some(bundle) = model.bundle() else {
            let flat = |n: &str| outputs.iter().position(|o| o.name == n && o.per_token && o.channels == 1);
            let both = flat("start_logits").zip(flat("end_logits")).map(|(s, e)| vec![s, e]);
            let two =
                || outputs.iter().position(|o| o.per_token && !o.flat && o.channels == 2).map(|i| vec![i]);
            let head = both.or_else(two).and_then(|outputs_| {
                let name = outputs.get(*outputs_.first()?)?.name.clone();
                Some(AnswerHead { name, outputs: outputs_, max_length: None, no_answer: None })
            });
            return match head {
                Some(h) if name.is_none_or(|n| n == h.name) => Ok(h),
                h => Err(missing(name, h.iter().map(|h| h.name.as_str()), &[])),
            };
        };
        let heads = &bundle.manifest().heads;
        let answering = || heads.iter().filter(|h| h.task == Task::QuestionAnswering);
        let default = bundle.manifest().default_head.as_deref();
        let wanted = name.or_else(|| default.filter(|d| answering().any(|h| h.name == *d)));
        let Some(h) = answering().find(|h| wanted.is_none_or(|w| w == h.name)) else {
            return Err(missing(name, answering().map(|h| h.name.as_str()), heads));
        };
        let index = outputs.iter().position(|o| o.name == h.output && o.per_token && o.channels == 2);
        let index = index.ok_or_else(|| {
            Error::data_loss(format!(
                "head `{}` answers questions, but output `{}` has no start and end score per token",
                h.name, h.output
            ))
        })?;
        Ok(AnswerHead {
            name: h.name.clone(),
            outputs: vec![index],
            max_length: h.max_length,
            no_answer: h.no_answer,
        })
    }
}

fn missing<'a>(
    name: Option<&str>,
    names: impl Iterator<Item = &'a str>,
    others: &[crate::bundle::Head],
) -> Error {
    super::head::missing("answer questions", name, names, others)
}

/// Answers questions with stretches of a context.
///
/// `Send + Sync`: share it by reference or `Arc`. Answers are the same bits on every CPU, kernel, number of threads
/// and batch.
///
/// ```no_run
/// use pocketbert::QuestionAnswerer;
/// # fn main() -> pocketbert::Result<()> {
/// let qa = QuestionAnswerer::open("everyday.pbert")?;
/// let context = "The Eiffel Tower was built in 1889 by the company of Gustave Eiffel.";
/// let found = qa.answer("When was the Eiffel Tower built?", context)?;
/// println!("{:?}", found.best().map(|a| a.of(context)));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct QuestionAnswerer {
    session: Session<AnswerHead>,
}

/// A window of one of the contexts of a call.
struct Asked {
    pair: usize,
    window: Window,
}

impl Borrow<Encoding> for Asked {
    fn borrow(&self) -> &Encoding {
        &self.window.encoding
    }
}

impl QuestionAnswerer {
    /// Opens the model at `path` and takes its question answering head.
    ///
    /// # Errors
    /// Those of [`Model::open`] and [`AnswerHead::find`].
    pub fn open(path: impl AsRef<Path>) -> Result<QuestionAnswerer> {
        let q = QuestionAnswerer::deferred(path, &OpenOptions::default(), None);
        q.load()?;
        Ok(q)
    }

    /// One that opens `path` at its first call, or at [`load`](Self::load) or [`prewarm`](Self::prewarm).
    pub fn deferred(path: impl AsRef<Path>, options: &OpenOptions, head: Option<&str>) -> QuestionAnswerer {
        QuestionAnswerer { session: Session::deferred(path.as_ref(), options, head, AnswerHead::find) }
    }

    /// One on a model that is open already; `head` as in [`AnswerHead::find`].
    pub fn from_model(model: Arc<Model>, head: Option<&str>) -> Result<QuestionAnswerer> {
        Ok(QuestionAnswerer { session: Session::from_model(model, head, AnswerHead::find)? })
    }

    /// Opens the model if it is not open yet.
    pub fn load(&self) -> Result<()> {
        self.session.ready().map(|_| ())
    }

    /// Opens the model if need be and answers a short question, so that the next call is a warm one.
    pub fn prewarm(&self) -> Result<()> {
        match self.state() {
            LoadState::Prewarmed => self.load(),
            _ => self.answer("warm", "warm").map(|_| ()),
        }
    }

    /// How far it is from answering at full speed.
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
    pub fn head(&self) -> Result<&AnswerHead> {
        self.session.ready().map(|(_, h)| h)
    }

    /// The best answer to `question` in `context`, with the default options.
    pub fn answer(&self, question: &str, context: &str) -> Result<Answers> {
        self.answer_with(question, context, &AnswerOptions::default())
    }

    /// Answers `question` from `context`, which may have any length: it is read in windows where it has to be.
    ///
    /// # Errors
    /// `InvalidArgument` for a question or context without any token, a question that leaves no room for the
    /// context, options out of range, and windows that cannot be; `Cancelled` and `DeadlineExceeded` as the options
    /// ask; those of [`Tokenizer::encode`](crate::text::Tokenizer::encode).
    pub fn answer_with(&self, question: &str, context: &str, options: &AnswerOptions) -> Result<Answers> {
        let found = self.answer_batch_with(&[(question, context)], options)?.pop();
        found.ok_or_else(|| Error::internal("a run without an answer"))
    }

    /// Answers all pairs of question and context; each as it would be alone, bit for bit, in their order.
    ///
    /// # Errors
    /// As [`answer_with`](Self::answer_with), saying which pair; there are no partial results.
    pub fn answer_batch_with(&self, pairs: &[(&str, &str)], options: &AnswerOptions) -> Result<Vec<Answers>> {
        self.session.observe(pairs.len(), |model, head| {
            if !(1..=MAX_ANSWERS).contains(&options.top_k) {
                return Err(Error::invalid(format!(
                    "`top_k` is {}: ask for 1 to {MAX_ANSWERS} answers",
                    options.top_k
                )));
            }
            if options.max_tokens == 0 {
                return Err(Error::invalid("`max_tokens` is 0: allow an answer at least one token"));
            }
            if options.no_answer.is_some_and(f32::is_nan) {
                return Err(Error::invalid("`no_answer` is not a number: give the threshold, or none"));
            }
            let most = head.max_length.unwrap_or(usize::MAX).min(model.info().max_length);
            let which = |i: usize, e: Error| if pairs.len() > 1 { e.context(format!("pair {i}")) } else { e };
            let stop = options.call.stop();
            let tokenizer = model.tokenizer()?;
            let windows = pairs.iter().enumerate().flat_map(|(pair, &(question, context))| {
                let open = || {
                    let plain = crate::text::EncodeOptions {
                        max_length: 1,
                        add_special_tokens: false,
                        ..Default::default()
                    };
                    if tokenizer.encode(question, None, &plain)?.is_empty() {
                        return Err(Error::invalid("the question is empty: ask something"));
                    }
                    options.long.windows(model, &head.name, most, &Long::Pair(question, context))
                };
                let (windows, error) = match open() {
                    Ok(w) => (Some(w), None),
                    Err(e) => (None, Some(Err(which(pair, e)))),
                };
                let windows = windows.into_iter().flatten().map(move |w| {
                    let window = w.map_err(|e| which(pair, e))?;
                    if window.tokens.is_empty() {
                        return Err(which(
                            pair,
                            Error::invalid("the context is empty: give a text that may hold the answer"),
                        ));
                    }
                    Ok(Asked { pair, window })
                });
                error.into_iter().chain(windows)
            });
            let windows = windows.map(|w| {
                stop.check()?;
                w
            });
            let mut all: Vec<Raw> = pairs.iter().map(|_| Raw::default()).collect();
            run_stream(
                model,
                &head.outputs,
                windows,
                &options.call,
                TOKENS_PER_LONG_RUN,
                |asked: Asked, rows| {
                    let (w, context) = (&asked.window, pairs.get(asked.pair).map_or("", |p| p.1));
                    let scores = decode::Scores::new(&head.name, rows, w)?;
                    let Some(raw) = all.get_mut(asked.pair) else { return Ok(()) };
                    raw.found.extend(scores.best(w, options));
                    raw.null_logit = raw.null_logit.min(scores.null_logit);
                    raw.null_score = raw.null_score.min(scores.null_score);
                    raw.windows += 1;
                    raw.tokens += w.encoding.len();
                    options.long.report(raw.windows, w, &Long::Pair("", context))?;
                    stop.check()
                },
            )?;
            let limit = options.no_answer.or(head.no_answer);
            let finish = |(raw, &(_, context)): (Raw, &(&str, &str))| {
                let answers = raw.answers(context, options.top_k);
                let null_margin = raw.null_logit - answers.first().map_or(f32::NEG_INFINITY, |a| a.logit);
                let confidence = answers.first().map(|a| a.score);
                self.session.saw(&Seen {
                    tokens: raw.tokens,
                    unknown: 0,
                    truncated: false,
                    confidence,
                    labels: &[],
                });
                Answers {
                    answers,
                    no_answer: limit.is_some_and(|t| null_margin > t),
                    null_margin,
                    null_score: raw.null_score,
                    windows: raw.windows,
                    model_version: model.info().version.clone(),
                }
            };
            Ok(all.into_iter().zip(pairs).map(finish).collect())
        })
    }
}

/// What the windows of one context gave.
struct Raw {
    found: Vec<Found>,
    null_logit: f32,
    null_score: f32,
    windows: usize,
    tokens: usize,
}

impl Default for Raw {
    fn default() -> Self {
        Raw { found: vec![], null_logit: f32::INFINITY, null_score: 1.0, windows: 0, tokens: 0 }
    }
}

impl Raw {
    /// The best that do not overlap.
    fn answers(&self, context: &str, top_k: usize) -> Vec<Answer> {
        let mut order: Vec<&Found> = self.found.iter().collect();
        order.sort_by(|a, b| {
            let place = |f: &Found| (f.bytes.start, f.bytes.end);
            b.logit.total_cmp(&a.logit).then(place(a).cmp(&place(b)))
        });
        let map = SpanMapper::new(context);
        let mut kept: Vec<Answer> = vec![];
        for f in order {
            let bytes = f.bytes.with_marks(context, context.len());
            if kept.len() < top_k
                && kept.iter().all(|k| bytes.end <= k.bytes.start || k.bytes.end <= bytes.start)
            {
                let (chars, utf16) = (map.chars(bytes), map.utf16(bytes));
                kept.push(Answer { score: f.score, logit: f.logit, bytes, chars, utf16 });
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests;
