//! From text to typed answers.
//!
//! - [`TextClassifier`]: labels with probabilities.
//! - [`TokenClassifier`]: labelled spans.
//!
//! A task object is a thin layer over an [`Arc<Model>`](crate::model::Model): several tasks, and all threads,
//! share one model and its weights.

pub mod classify;
mod head;
mod input;
mod load;
mod observe;
mod score;
mod session;
pub mod token_classify;
mod window;

pub use classify::{Classification, ClassifyOptions, Scored, TextClassifier, WindowLabel};
pub use head::ClassifierHead;
pub use input::TextInput;
pub use load::LoadState;
pub use session::CallOptions;
pub use token_classify::{Aggregation, Entity, TagHead, TagOptions, TagScheme, Tagged, TokenClassifier};
pub use window::{LongOptions, LongProgress, Progress, WindowMerge};
