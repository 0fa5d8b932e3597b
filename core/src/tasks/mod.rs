//! From text to typed answers.
//!
//! - [`TextClassifier`]: labels with probabilities.
//! - [`TextEmbedder`]: vectors to compare; [`Reranker`]: documents by a query.
//! - [`MaskFiller`]: tokens for the gaps of a text.
//! - [`ZeroShotClassifier`]: labels that are given with the call.
//!
//! A task object is a thin layer over an [`Arc<Model>`](crate::model::Model): several tasks, and all threads,
//! share one model and its weights.

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
pub mod vector;
pub mod zero_shot;

pub use classify::{Classification, ClassifyOptions, Scored, TextClassifier};
pub use embed::{EmbedHead, EmbedOptions, Role, TextEmbedder};
pub use fill_mask::{Candidate, FillMaskHead, FillMaskOptions, FilledMask, MaskFill, MaskFiller};
pub use head::ClassifierHead;
pub use input::TextInput;
pub use load::LoadState;
pub use rerank::{Ranked, RerankHead, RerankOptions, Reranker};
pub use session::CallOptions;
pub use vector::{Embedding, Origin, VectorFormat, nearest};
pub use zero_shot::{EntailmentHead, ZeroShot, ZeroShotClassifier, ZeroShotLabel, ZeroShotOptions};
