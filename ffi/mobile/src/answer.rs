//! Questions to stretches of a context.

use pocketbert::{AnswerOptions as CoreOptions, QuestionAnswerer as Core};

use crate::call::{CallOptions, TextPair, Windowing, count, size};
use crate::error::{Result, guard};
use crate::lazy::{Lazy, common_methods, core_task};
use crate::span::TextSpan;

/// How to answer.
#[derive(Clone, Debug, uniffi::Record)]
pub struct AnswerOptions {
    /// At most this many answers.
    pub top_k: i32,
    /// The longest answer in tokens.
    pub max_tokens: i32,
    /// Widen answers to whole words.
    pub whole_words: bool,
    /// Margin of the null answer; absent: as the bundle says.
    pub no_answer: Option<f32>,
    /// How long contexts are read.
    pub windows: Windowing,
    /// How the call runs.
    pub call: CallOptions,
}

impl AnswerOptions {
    fn core(&self) -> pocketbert::Result<CoreOptions> {
        Ok(CoreOptions {
            top_k: size("top_k", self.top_k)?,
            max_tokens: size("max_tokens", self.max_tokens)?,
            whole_words: self.whole_words,
            no_answer: self.no_answer,
            long: self.windows.core()?,
            call: self.call.core()?,
        })
    }
}

/// A stretch of the context.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Answer {
    /// 0 to 1.
    pub score: f32,
    /// What answers are ranked by.
    pub logit: f32,
    /// Where it is in the context.
    pub span: TextSpan,
}

/// What was found for one question.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Answers {
    /// The best first.
    pub answers: Vec<Answer>,
    /// The context does not answer the question.
    pub no_answer: bool,
    /// The null answer's logits less the best answer's.
    pub null_margin: f32,
    /// The null answer's score.
    pub null_score: f32,
    /// Windows in which the context was read.
    pub windows: i32,
    /// The model's version.
    pub model_version: String,
}

impl From<pocketbert::Answers> for Answers {
    fn from(a: pocketbert::Answers) -> Self {
        let answers = a.answers.iter().map(|a| Answer {
            score: a.score,
            logit: a.logit,
            span: TextSpan::new(a.bytes, a.utf16),
        });
        Answers {
            answers: answers.collect(),
            no_answer: a.no_answer,
            null_margin: a.null_margin,
            null_score: a.null_score,
            windows: count(a.windows),
            model_version: a.model_version,
        }
    }
}

core_task!(Core);

/// Answers questions.
#[derive(Debug, uniffi::Object)]
pub struct QuestionAnswerer(Lazy<Core>);

common_methods!(QuestionAnswerer);

#[uniffi::export]
impl QuestionAnswerer {
    /// The head's name.
    pub fn head_name(&self) -> Result<String> {
        guard(|| Ok(self.0.get()?.head()?.name.clone()))
    }

    /// One question; the context may have any length.
    pub fn answer(&self, question: String, context: String, options: AnswerOptions) -> Result<Answers> {
        guard(|| Ok(self.0.get()?.answer_with(&question, &context, &options.core()?)?.into()))
    }

    /// Several pairs of question (`text`) and context (`pair`), in their order.
    pub fn answer_batch(&self, pairs: Vec<TextPair>, options: AnswerOptions) -> Result<Vec<Answers>> {
        guard(|| {
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|p| (p.text.as_str(), p.pair.as_str())).collect();
            let answers = self.0.get()?.answer_batch_with(&pairs, &options.core()?)?;
            Ok(answers.into_iter().map(Into::into).collect())
        })
    }
}
