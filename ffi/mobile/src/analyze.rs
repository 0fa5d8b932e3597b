//! Several heads at once.

use std::sync::Arc;

use pocketbert::bundle::manifest::Task;
use pocketbert::metrics::{Metrics, Snapshot};
use pocketbert::tasks::{AnalyzeOptions as CoreOptions, Analyzer as Core, HeadAnswer as CoreAnswer};
use pocketbert::{Error, LoadState};

use crate::answer::Answers;
use crate::call::{CallOptions, TooLong, Windowing, count, opt_size, strs};
use crate::classify::Classification;
use crate::error::{Result, guard, invalid};
use crate::lazy::{CoreTask, Lazy, common_methods};
use crate::tag::Tagged;
use crate::vector::Vector;

/// How to analyze.
#[derive(Clone, Debug, uniffi::Record)]
pub struct AnalyzeOptions {
    /// These heads; empty: all.
    pub heads: Vec<String>,
    /// Labels of a classification to keep; absent: all.
    pub top_k: Option<i32>,
    /// Ask this, too.
    pub question: Option<String>,
    /// What to keep of a long text.
    pub too_long: TooLong,
    /// Most tokens.
    pub max_tokens: Option<i32>,
    /// How the call runs.
    pub call: CallOptions,
}

/// What one head says.
#[derive(Clone, Debug, PartialEq, uniffi::Enum)]
pub enum HeadAnswer {
    /// Of one that classifies.
    Labels {
        /// Its answer.
        classification: Classification,
    },
    /// Of one that tags.
    Tags {
        /// Its answer.
        tagged: Tagged,
    },
    /// Of one that makes vectors.
    Embedding {
        /// Its answer.
        vector: Vector,
    },
    /// Of one that answers questions.
    Found {
        /// Its answer.
        answers: Answers,
    },
}

/// One head's part.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct HeadAnalysis {
    /// The head's name.
    pub head: String,
    /// What it does.
    pub task: String,
    /// What it says.
    pub answer: HeadAnswer,
}

/// What the heads say of one text.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Analysis {
    /// In the bundle's order.
    pub heads: Vec<HeadAnalysis>,
    /// Tokens that the model saw.
    pub token_count: i32,
    /// The text was cut.
    pub truncated: bool,
    /// The model's version.
    pub model_version: String,
}

/// A task's name in manifests.
pub(crate) fn task_name(t: Task) -> String {
    match t {
        Task::TextClassification => "text-classification",
        Task::TokenClassification => "token-classification",
        Task::QuestionAnswering => "question-answering",
        Task::Embedding => "embedding",
        Task::FillMask => "fill-mask",
        Task::ZeroShot => "zero-shot",
    }
    .to_string()
}

fn analysis(a: pocketbert::tasks::Analysis) -> pocketbert::Result<Analysis> {
    let mut heads = Vec::with_capacity(a.heads.len());
    for h in a.heads {
        let answer = match h.answer {
            CoreAnswer::Labels(c) => HeadAnswer::Labels { classification: c.into() },
            CoreAnswer::Tags(t) => HeadAnswer::Tags { tagged: t.into() },
            CoreAnswer::Vector(v) => HeadAnswer::Embedding { vector: Vector::of(&v) },
            CoreAnswer::Answers(a) => HeadAnswer::Found { answers: a.into() },
            _ => return Err(Error::unimplemented(format!("head `{}` has an answer of a new kind", h.head))),
        };
        heads.push(HeadAnalysis { task: task_name(h.task), head: h.head, answer });
    }
    Ok(Analysis {
        heads,
        token_count: count(a.token_count),
        truncated: a.truncated,
        model_version: a.model_version,
    })
}

impl AnalyzeOptions {
    fn core(&self) -> pocketbert::Result<CoreOptions> {
        Ok(CoreOptions {
            heads: self.heads.clone(),
            top_k: opt_size("top_k", self.top_k)?,
            question: self.question.clone(),
            truncation: self.too_long.into(),
            max_length: opt_size("max_tokens", self.max_tokens)?,
            call: self.call.core()?,
        })
    }
}

impl CoreTask for Core {
    fn make(model: Arc<pocketbert::model::Model>, head: Option<&str>) -> pocketbert::Result<Self> {
        match head {
            Some(_) => Err(invalid("an analyzer asks several heads: name them in the call")),
            None => Core::from_model(model),
        }
    }
    fn state(&self) -> LoadState {
        Core::state(self)
    }
    fn prewarm(&self) -> pocketbert::Result<()> {
        Core::prewarm(self)
    }
    fn metrics(&self) -> Metrics {
        Core::metrics(self)
    }
    fn snapshots(&self) -> Vec<Snapshot> {
        Core::snapshots(self)
    }
}

/// Asks several heads at once.
#[derive(Debug, uniffi::Object)]
pub struct Analyzer(Lazy<Core>);

common_methods!(Analyzer);

#[uniffi::export]
impl Analyzer {
    /// Names of the heads that can be asked.
    pub fn heads(&self) -> Result<Vec<String>> {
        guard(|| Ok(self.0.get()?.heads()?.into_iter().map(str::to_string).collect()))
    }

    /// One text.
    pub fn analyze(&self, text: String, options: AnalyzeOptions) -> Result<Analysis> {
        guard(|| analysis(self.0.get()?.analyze_with(&text, &options.core()?)?))
    }

    /// Several texts, in their order.
    pub fn analyze_batch(&self, texts: Vec<String>, options: AnalyzeOptions) -> Result<Vec<Analysis>> {
        guard(|| {
            let all = self.0.get()?.analyze_batch_with(&strs(&texts), &options.core()?)?;
            all.into_iter().map(analysis).collect()
        })
    }
    /// A text of any length, read in windows.
    pub fn analyze_long(
        &self,
        text: String,
        options: AnalyzeOptions,
        windows: Windowing,
    ) -> Result<Analysis> {
        guard(|| analysis(self.0.get()?.analyze_long(&text, &options.core()?, &windows.core()?)?))
    }
}
