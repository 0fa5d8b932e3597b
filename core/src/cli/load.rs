//! Opening a model the way the command line says.

use std::path::{Path, PathBuf};

use super::args::Open;
use super::progress::Progress;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Model, OpenOptions};

/// The default model, relative to a checkout.
const DEFAULT: &str = "models/everyday.pbert";
/// Names another default.
const VARIABLE: &str = "POCKETBERT_MODEL";

/// Opens `path`, with a sign of life if it takes long.
pub fn open(path: &Path, open: &Open, reference_semantics: bool) -> Result<Model> {
    let _progress = Progress::new(format!("opening {}", path.display()), 0);
    let options = OpenOptions {
        copy_into_memory: open.copy,
        defer_weights_hash: open.defer_hash,
        reference_semantics,
        memory_limit: None,
    };
    Model::open(path, &options)
}

/// The model to use where the command line names none: the environment's, that of the current directory,
/// that of the checkout this was built from.
pub fn default_model() -> Result<PathBuf> {
    if let Some(p) = std::env::var_os(VARIABLE).filter(|p| !p.is_empty()) {
        return Ok(p.into());
    }
    let built = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/everyday.pbert"));
    [Path::new(DEFAULT), built].into_iter().find(|p| p.exists()).map(Path::to_path_buf).ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("there is no default model `{DEFAULT}` here: name one with `--model` or in `{VARIABLE}`"),
        )
    })
}
