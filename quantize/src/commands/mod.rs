//! What the user calls.

pub mod auto;
pub mod bundle;
pub mod calibrate;
pub mod fit;
pub mod inspect;
pub mod quantize;
pub mod sensitivity;
pub mod validate;

use std::path::Path;

use pocketbert::bundle::Head;
use pocketbert::{Error, Result};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(untagged)]
enum Heads {
    List(Vec<Head>),
    Object { heads: Vec<Head> },
}

/// The heads in a JSON list, or in an object's `heads`.
pub fn read_heads(path: &Path) -> Result<Vec<Head>> {
    match serde_json::from_slice(&crate::read(path)?)
        .map_err(|e| Error::invalid(format!("`{}`: {e}", path.display())))?
    {
        Heads::List(heads) | Heads::Object { heads } => Ok(heads),
    }
}
