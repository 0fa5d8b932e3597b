//! A copy of the numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Distribution, DriftReport};

/// Times of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// Texts to token ids, and what else comes before and between the runs.
    pub tokenise: Duration,
    /// The encoder and its heads.
    pub run: Duration,
    /// Values to answers.
    pub decode: Duration,
    /// All of it.
    pub total: Duration,
}

/// Times of many calls by stage, in nanoseconds per call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// As [`Stages::tokenise`].
    pub tokenise: Distribution,
    /// As [`Stages::run`].
    pub run: Distribution,
    /// As [`Stages::decode`].
    pub decode: Distribution,
    /// As [`Stages::total`].
    pub total: Distribution,
}

impl Latency {
    /// The stages with their names.
    pub fn stages(&self) -> [(&'static str, &Distribution); 4] {
        [("tokenise", &self.tokenise), ("run", &self.run), ("decode", &self.decode), ("total", &self.total)]
    }
}

/// The numbers of one task on one version of a model.
///
/// Names of models, heads and tasks are the only words in it: they come from the bundle, not from texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The task, such as `text-classification`.
    pub task: String,
    /// The model's name; empty while it is not open.
    pub model: String,
    /// The model's version; empty where it has none.
    pub version: String,
    /// The head that answers.
    pub head: String,
    /// How long opening took; `None` if somebody else opened the model.
    pub load: Option<Duration>,
    /// The first call, which pays for what comes in lazily (pages of the weights, scratch memory).
    pub cold: Option<Stages>,
    /// The calls after it.
    pub warm: Latency,
    /// Calls that answered, the cold one too.
    pub calls: u64,
    /// Texts that these calls answered.
    pub texts: u64,
    /// Tokens per text, special tokens included.
    pub tokens: Distribution,
    /// Tokens that the vocabulary lacks.
    pub unknown_tokens: u64,
    /// Texts that were cut to fit.
    pub truncated: u64,
    /// Texts whose answer has a confidence.
    pub judged: u64,
    /// Those of them that were less sure than [`low_confidence_below`](Self::low_confidence_below).
    pub low_confidence: u64,
    /// The limit.
    pub low_confidence_below: f32,
    /// Calls that failed, by the name of the error's kind.
    pub errors: BTreeMap<&'static str, u64>,
    /// The latest window that was compared with the baseline.
    pub drift: Option<DriftReport>,
}

impl Snapshot {
    /// Share of texts that were cut, 0 to 1; `None` without texts.
    pub fn truncation_rate(&self) -> Option<f64> {
        share(self.truncated, self.tokens.count())
    }

    /// Share of answers of low confidence, 0 to 1; `None` if none had one.
    pub fn low_confidence_rate(&self) -> Option<f64> {
        share(self.low_confidence, self.judged)
    }

    /// Share of tokens that the vocabulary lacks, 0 to 1; `None` without tokens.
    pub fn unknown_rate(&self) -> Option<f64> {
        share(self.unknown_tokens, self.tokens.sum())
    }
}

fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}
