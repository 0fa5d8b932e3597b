//! Texts to labelled spans.

use pocketbert::tasks::{Aggregation as CoreAggregation, TagScheme as CoreScheme};
use pocketbert::{TagOptions as CoreOptions, TokenClassifier as Core};

use crate::call::{CallOptions, TooLong, Windowing, count, opt_size, strs};
use crate::error::{Result, guard};
use crate::lazy::{Lazy, common_methods, core_task};
use crate::span::TextSpan;

/// How labels of tokens become labels of spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, uniffi::Enum)]
pub enum Aggregation {
    /// Every token by itself.
    EachToken,
    /// Neighbours of one kind joined.
    Simple,
    /// By each word's first token.
    #[default]
    First,
    /// By the mean over each word's tokens.
    Average,
    /// By each word's surest token.
    Max,
}

/// What the first letters of labels mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum TagScheme {
    /// `B-` and `I-`.
    Bio,
    /// The same, strictly.
    BioStrict,
    /// `B-`, `I-`, `L-`, `U-`.
    Bilou,
    /// Nothing.
    Plain,
}

/// How to tag.
#[derive(Clone, Debug, uniffi::Record)]
pub struct TagOptions {
    /// How tokens become spans.
    pub aggregation: Aggregation,
    /// What prefixes mean; absent: as the bundle says.
    pub scheme: Option<TagScheme>,
    /// Labels that make no span; absent: `O`.
    pub ignore: Option<Vec<String>>,
    /// Leave out spans with a smaller score.
    pub threshold: Option<f32>,
    /// What to keep of a long text.
    pub too_long: TooLong,
    /// Most tokens.
    pub max_tokens: Option<i32>,
    /// How the call runs.
    pub call: CallOptions,
}

impl TagOptions {
    fn core(&self) -> pocketbert::Result<CoreOptions> {
        let default = CoreOptions::default();
        Ok(CoreOptions {
            aggregation: match self.aggregation {
                Aggregation::EachToken => CoreAggregation::None,
                Aggregation::Simple => CoreAggregation::Simple,
                Aggregation::First => CoreAggregation::First,
                Aggregation::Average => CoreAggregation::Average,
                Aggregation::Max => CoreAggregation::Max,
            },
            scheme: self.scheme.map(|s| match s {
                TagScheme::Bio => CoreScheme::Bio,
                TagScheme::BioStrict => CoreScheme::Iob2,
                TagScheme::Bilou => CoreScheme::Bilou,
                TagScheme::Plain => CoreScheme::None,
            }),
            ignore: self.ignore.clone().unwrap_or(default.ignore),
            threshold: self.threshold,
            truncation: self.too_long.into(),
            max_length: opt_size("max_tokens", self.max_tokens)?,
            call: self.call.core()?,
        })
    }
}

/// A labelled stretch of the text.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Entity {
    /// The kind.
    pub label: String,
    /// 0 to 1.
    pub score: f32,
    /// Where it is (of words: in the words joined by one space).
    pub span: TextSpan,
    /// Of words: the first.
    pub first_word: Option<i32>,
    /// Of words: the one after the last.
    pub last_word: Option<i32>,
}

/// The answer to one text.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Tagged {
    /// In the order of the text.
    pub entities: Vec<Entity>,
    /// Tokens that the model saw.
    pub token_count: i32,
    /// The text was cut.
    pub truncated: bool,
    /// The model's version.
    pub model_version: String,
}

impl From<pocketbert::Tagged> for Tagged {
    fn from(t: pocketbert::Tagged) -> Self {
        let entities = t.entities.into_iter().map(|e| Entity {
            label: e.label,
            score: e.score,
            span: TextSpan::new(e.bytes, e.utf16),
            first_word: e.words.map(|w| count(w.start)),
            last_word: e.words.map(|w| count(w.end)),
        });
        Tagged {
            entities: entities.collect(),
            token_count: count(t.token_count),
            truncated: t.truncated,
            model_version: t.model_version,
        }
    }
}

core_task!(Core);

/// Finds labelled spans.
#[derive(Debug, uniffi::Object)]
pub struct TokenClassifier(Lazy<Core>);

common_methods!(TokenClassifier);

#[uniffi::export]
impl TokenClassifier {
    /// The head's labels by index, with their prefixes.
    pub fn labels(&self) -> Result<Vec<String>> {
        guard(|| Ok(self.0.get()?.head()?.labels.clone()))
    }

    /// The head's name.
    pub fn head_name(&self) -> Result<String> {
        guard(|| Ok(self.0.get()?.head()?.name.clone()))
    }

    /// One text.
    pub fn tag(&self, text: String, options: TagOptions) -> Result<Tagged> {
        guard(|| Ok(self.0.get()?.tag_with(&text, &options.core()?)?.into()))
    }

    /// Several texts, in their order.
    pub fn tag_batch(&self, texts: Vec<String>, options: TagOptions) -> Result<Vec<Tagged>> {
        guard(|| {
            let answers = self.0.get()?.tag_batch_with(&strs(&texts), &options.core()?)?;
            Ok(answers.into_iter().map(Into::into).collect())
        })
    }

    /// A text that is split into words already.
    pub fn tag_words(&self, words: Vec<String>, options: TagOptions) -> Result<Tagged> {
        guard(|| Ok(self.0.get()?.tag_words(&strs(&words), &options.core()?)?.into()))
    }

    /// A text of any length, read in windows.
    pub fn tag_long(&self, text: String, options: TagOptions, windows: Windowing) -> Result<Tagged> {
        guard(|| Ok(self.0.get()?.tag_long(&text, &options.core()?, &windows.core()?)?.into()))
    }
}
