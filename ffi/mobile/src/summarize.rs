//! A text's main sentences.

use std::sync::Arc;

use pocketbert::LoadState;
use pocketbert::metrics::Metrics;
use pocketbert::tasks::{Centrality as CoreCentrality, Summarizer as Core, SummaryOptions as CoreOptions};

use crate::call::{CallOptions, count, size};
use crate::error::{Result, guard};
use crate::lazy::{CoreTask, Lazy, common_methods};
use crate::span::TextSpan;

/// How sentences are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Centrality {
    /// Nearest to the mean.
    Centroid,
    /// Visited most by a random walk.
    LexRank,
    /// The first ones.
    Lead,
}

/// How to summarize.
#[derive(Clone, Debug, uniffi::Record)]
pub struct SummaryOptions {
    /// Sentences to keep.
    pub sentences: i32,
    /// How they are chosen.
    pub centrality: Centrality,
    /// How the call runs.
    pub call: CallOptions,
}

/// A sentence.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct SummarySentence {
    /// Its number in the text.
    pub index: i32,
    /// How central it is.
    pub score: f32,
    /// Where it is.
    pub span: TextSpan,
}

/// The chosen sentences, in the order of the text.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Summary {
    /// The sentences.
    pub sentences: Vec<SummarySentence>,
    /// How many the text has.
    pub of: i32,
}

impl CoreTask for Core {
    fn make(model: Arc<pocketbert::model::Model>, head: Option<&str>) -> pocketbert::Result<Self> {
        Core::from_model(model, head)
    }
    fn state(&self) -> LoadState {
        self.embedder().state()
    }
    fn prewarm(&self) -> pocketbert::Result<()> {
        self.embedder().prewarm()
    }
    fn metrics(&self) -> Metrics {
        self.embedder().metrics()
    }
}

/// Summarizes by choosing sentences.
#[derive(Debug, uniffi::Object)]
pub struct Summarizer(Lazy<Core>);

common_methods!(Summarizer);

#[uniffi::export]
impl Summarizer {
    /// One text.
    pub fn summarize(&self, text: String, options: SummaryOptions) -> Result<Summary> {
        guard(|| {
            let o = CoreOptions {
                sentences: size("sentences", options.sentences)?,
                centrality: match options.centrality {
                    Centrality::Centroid => CoreCentrality::Centroid,
                    Centrality::LexRank => CoreCentrality::LexRank,
                    Centrality::Lead => CoreCentrality::Lead,
                },
                call: options.call.core()?,
            };
            let s = self.0.get()?.summarize(&text, &o)?;
            let sentences = s.sentences.iter().map(|s| SummarySentence {
                index: count(s.index),
                score: s.score,
                span: TextSpan::new(s.bytes, s.utf16),
            });
            Ok(Summary { sentences: sentences.collect(), of: count(s.of) })
        })
    }
}
