//! PocketBERT core (under construction).
pub mod error;
pub use error::{Error, ErrorKind, Result};
