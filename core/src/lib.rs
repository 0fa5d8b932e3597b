//! PocketBERT core (under construction).
pub mod cancel;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod error;
pub mod kernels;
pub mod model;
pub mod ops;
pub mod tasks;
pub mod text;

pub mod bundle;
pub use cancel::CancelToken;
pub use error::{Error, ErrorKind, Result};
pub use tasks::{Classification, ClassifyOptions, LoadState, Scored, TextClassifier};
