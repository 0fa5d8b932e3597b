//! From text to typed answers.
//!
//! - [`TextClassifier`]: labels with probabilities.
//! - [`Analyzer`]: several heads at once, for one run of the encoder.
//!
//! A task object is a thin layer over an [`Arc<Model>`](crate::model::Model): several tasks, and all threads,
//! share one model and its weights.

pub mod analyze;
pub mod classify;
mod head;
mod input;
mod load;
mod observe;
mod score;
mod session;
mod window;

pub use analyze::{Analysis, AnalyzeOptions, Analyzer, HeadAnalysis, HeadAnswer};
pub use classify::{Classification, ClassifyOptions, Scored, TextClassifier, WindowLabel};
pub use head::ClassifierHead;
pub use input::TextInput;
pub use load::LoadState;
pub use session::CallOptions;
pub use window::{LongOptions, LongProgress, Progress, WindowMerge};
