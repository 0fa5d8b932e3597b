//! `core/src/kernels` with its unit tests and nothing else: what `cargo miri test` runs.
#![allow(dead_code, unused_imports, missing_docs)]

#[path = "../../../core/src/error.rs"]
pub mod error;
#[path = "../../../core/src/kernels/mod.rs"]
pub mod kernels;
#[path = "../../../core/src/memory.rs"]
#[allow(dead_code)]
pub mod memory;

pub use error::{Error, ErrorKind, Result};
