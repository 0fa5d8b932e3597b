//! From text to typed answers.
//!
//! - [`TextClassifier`]: labels with probabilities.
//! - [`Analyzer`]: several heads at once, for one run of the encoder.
//! - [`TextEmbedder`]: vectors to compare; [`Reranker`]: documents by a query.
//! - [`MaskFiller`]: tokens for the gaps of a text.
//! - [`ZeroShotClassifier`]: labels that are given with the call.
//! - [`TokenClassifier`]: labelled spans.
//! - [`QuestionAnswerer`]: answers to a question from a context. [`Summarizer`]: a text's main sentences.
//! - [`Stream`]: answers to texts as they come; [`LongOptions`]: texts of any length, in every task.
//!
//! A task object is a thin layer over an [`Arc<Model>`](crate::model::Model): several tasks, and all threads,
//! share one model and its weights.

pub mod analyze;
pub mod answer;
pub mod classify;
pub mod embed;
pub mod fill_mask;
mod head;
mod input;
mod load;
mod locate;
mod observe;
pub mod rerank;
mod score;
mod session;
pub mod stream;
pub mod summary;
pub mod token_classify;
pub mod vector;
mod window;
pub mod zero_shot;

pub use analyze::{Analysis, AnalyzeOptions, Analyzer, HeadAnalysis, HeadAnswer};
pub use answer::{Answer, AnswerHead, AnswerOptions, Answers, QuestionAnswerer};
pub use classify::{Classification, ClassifyOptions, Scored, TextClassifier, WindowLabel};
pub use embed::{EmbedHead, EmbedOptions, Role, TextEmbedder};
pub use fill_mask::{Candidate, FillMaskHead, FillMaskOptions, FilledMask, MaskFill, MaskFiller};
pub use head::ClassifierHead;
pub use input::TextInput;
pub use load::LoadState;
pub use rerank::{Ranked, RerankHead, RerankOptions, Reranker};
pub use session::CallOptions;
pub use stream::Stream;
pub use summary::{Centrality, Summarizer, Summary, SummaryOptions, SummarySentence};
pub use token_classify::{Aggregation, Entity, TagHead, TagOptions, TagScheme, Tagged, TokenClassifier};
pub use vector::{Embedding, Origin, VectorFormat, nearest};
pub use window::{LongOptions, LongProgress, Progress, WindowMerge};
pub use zero_shot::{EntailmentHead, ZeroShot, ZeroShotClassifier, ZeroShotLabel, ZeroShotOptions};
