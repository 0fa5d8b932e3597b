//! PocketBERT runs int8-quantized DistilBERT, and its kin of the BERT family, on a device: text in, labels
//! out, offline, with the same bits on every CPU.
//!
//! # Three lines to a first answer
//! ```
//! # fn main() -> pocketbert::Result<()> {
//! # let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
//! let classifier = pocketbert::TextClassifier::open(bundle)?;
//! let answer = classifier.classify("book a table for two in Paris")?;
//! assert_eq!(answer.labels[0].label, "BookRestaurant");
//! # Ok(())
//! # }
//! ```
//!
//! # Should I be using this crate?
//! If you have an encoder (classification, tagging, span answers, vectors) and want it small, exact and offline: yes.
//! For text generation, training or GPUs: no.
//!
//! # What is where
//! * [`TextClassifier`]: text to labels, with options, batches, cancellation and a deadline.
//! * [`TextEmbedder`], [`Reranker`]: vectors, and documents by a query.
//! * [`MaskFiller`], [`ZeroShotClassifier`]: gaps, and labels that are given with the call.
//! * [`TokenClassifier`]: text to labelled spans. [`QuestionAnswerer`]: question and context to answers. Long
//!   texts, in every task: [`tasks::LongOptions`].
//! * [`model::Model`]: any model and any of its outputs, on token ids: a bundle, an ONNX file or a hub-style folder.
//! * [`text::Tokenizer`]: `tokenizer.json` to ids and spans, on untrusted input.
//! * [`bundle::Bundle`]: the one-file format, mapped and verified.
//! * [`kernels`]: the numbers; [`kernels::Isa`] forces an instruction set.
//!
//! # Threads, memory, panics
//! Models and classifiers are `Send + Sync`; threads share one. Weights of a bundle stay in the mapped file, scratch
//! memory is reused from run to run. No thread outlives a call. Every failure is an [`Error`] with a kind and a
//! message; panics of libraries below are caught.
//!
//! # Features
//! `cli` (default): the `pocketbert` command. Applications leave it out: `default-features = false`.

pub mod bundle;
pub mod cancel;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod error;
pub mod kernels;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod ops;
pub mod tasks;
pub mod text;

pub use cancel::CancelToken;
pub use error::{Error, ErrorKind, Result};
pub use tasks::{
    AnswerOptions, Answers, CallOptions, Classification, ClassifyOptions, LoadState, QuestionAnswerer,
    Scored, TagOptions, Tagged, TextClassifier, TokenClassifier,
};
pub use tasks::{EmbedOptions, Embedding, Ranked, RerankOptions, Reranker, Role, TextEmbedder, VectorFormat};
pub use tasks::{FillMaskOptions, MaskFill, MaskFiller, ZeroShot, ZeroShotClassifier, ZeroShotOptions};
