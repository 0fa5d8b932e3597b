//! The C ABI of PocketBERT: `include/pocketbert.h`, whose beginning is the guide to it.
//!
//! - `boundary`: how every call comes in and goes back: panics, float mode, errors.
//! - `handle`: what C holds instead of pointers.
//! - `args`: texts, arrays, outputs and options from C, checked.
//! - `engine`: a model with its tasks, behind a trait so that the rest is tested without one.
//! - One file per C type or task: its options, functions and accessors.
//!
//! The header is made from these files by cbindgen; `tests/header.rs` fails if the committed one is another.

#![warn(missing_docs)]

mod analyze;
mod answer;
mod args;
mod boundary;
mod call;
mod cancel;
mod classify;
mod diagnostics;
mod engine;
mod error;
mod fill_mask;
mod handle;
#[cfg(any(test, feature = "dangerous-test-hooks"))]
mod hooks;
mod ids;
mod log;
mod metrics;
mod model;
mod rerank;
mod self_test;
mod spans;
mod status;
mod string;
mod summary;
mod tag;
#[cfg(test)]
mod tests;
mod tokens;
mod vectors;
mod version;
mod zero_shot;

pub use analyze::*;
pub use answer::*;
pub use args::{POCKETBERT_NUL_TERMINATED, pocketbert_text};
pub use call::*;
pub use cancel::*;
pub use classify::*;
pub use diagnostics::*;
pub use error::*;
pub use fill_mask::*;
#[cfg(any(test, feature = "dangerous-test-hooks"))]
pub use hooks::*;
pub use ids::*;
pub use log::*;
pub use metrics::*;
pub use model::*;
pub use rerank::*;
pub use spans::*;
pub use status::*;
pub use string::*;
pub use summary::*;
pub use tag::*;
pub use tokens::*;
pub use vectors::*;
pub use version::*;
pub use zero_shot::*;
