//! What Kotlin and Swift call: [`pocketbert`] through uniffi, and on the JVM also JNI.
//!
//! **Internal.** The hand-written facades in `bindings-android` and `bindings-ios` are the API; this surface is shaped
//! for them and may change with every version. Its rules:
//!
//! * Every exported function returns a `Result`, constructors too: only so can a caller's language catch a panic.
//! * Every call runs inside [`error::guard`], so a panic becomes an error, and its message, which may quote a text,
//!   goes nowhere.
//! * Objects are `Arc`s. The bindings keep one alive for as long as a call on it runs, so dropping it meanwhile is
//!   defined: the call ends normally, memory is freed after it.
//! * Records are small and immutable. Numbers by the hundred (logits, vectors) travel as little-endian bytes, which is
//!   one copy in every language.
//! * Spans are in UTF-16 code units as well as in bytes.
//! * Nothing here is `async`: facades run calls on threads of their own choice, and stop them with a [`CancelToken`].
//!
//! The generated sources are made by `uniffi-bindgen` (feature `bindgen`), which reads the built library:
//! `ffi/mobile/generate.sh kotlin|swift OUT`.

// uniffi's macros write items, and unsafe code of their own, that the workspace's lints would judge.
#![allow(missing_docs, clippy::undocumented_unsafe_blocks)]

pub mod analyze;
pub mod answer;
pub mod call;
pub mod classify;
pub mod embed;
pub mod error;
pub mod fill_mask;
#[cfg(not(target_vendor = "apple"))]
mod java;
pub mod lazy;
pub mod library;
pub mod log_sink;
pub mod metrics;
pub mod model;
pub mod progress;
pub mod rerank;
pub mod self_test;
pub mod span;
pub mod summarize;
pub mod tag;
pub mod tokenize;
pub mod vector;
pub mod zero_shot;

pub use call::{CallOptions, CancelToken, TextPair, TooLong};
pub use error::{MobileError, Result};
pub use model::Model;

uniffi::setup_scaffolding!();
