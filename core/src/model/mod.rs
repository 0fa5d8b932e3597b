//! From a model file to something that runs: parse, check, lower, plan.

pub mod eval;
mod eval_ops;
pub mod graph;
pub mod normalize;
mod open;
mod passes;
pub mod plan;
pub mod proto;
pub mod record;
mod run;
pub mod tensor;
mod wire;

use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::text::Tokenizer;

pub use open::{OpenOptions, bundle_graph, constants_sha256, lower_onnx, lower_onnx_file};
pub use passes::Passes;
pub use plan::{Batch, NodeStats, Output, OutputInfo, OutputRef, Plan, RunOptions, Tap};

/// Domain of our own operators in ONNX graphs.
pub const DOMAIN: &str = "ai.pocketbert";

/// Facts of an open model.
#[derive(Clone, Debug, Default)]
pub struct ModelInfo {
    /// Its name; a file's stem where the file carries none.
    pub name: String,
    /// Its version; empty where the file carries none.
    pub version: String,
    /// Most tokens of one sequence.
    pub max_length: usize,
    /// Rows of the word embedding table.
    pub vocab: usize,
    /// Labels from a hub folder's `config.json`; a bundle's are in its heads.
    pub labels: Vec<String>,
}

/// An open model: graph, weights and tokenizer. `Send + Sync`; threads share one, each run has its own
/// scratch memory.
#[derive(Debug)]
pub struct Model {
    pub(crate) plan: Plan,
    pub(crate) info: ModelInfo,
    pub(crate) tokenizer: Option<Tokenizer>,
    pub(crate) bundle: Option<Bundle>,
    pub(crate) fingerprint: String,
}

impl Model {
    fn new(plan: Plan, info: ModelInfo) -> Model {
        Model { plan, info, tokenizer: None, bundle: None, fingerprint: String::new() }
    }

    /// Facts.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The runnable graph.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The tokenizer; an error that says what to do if the model came without one.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| {
            Error::new(
                crate::ErrorKind::FailedPrecondition,
                "the model has no tokenizer: put its `tokenizer.json` beside the ONNX file, or give token ids",
            )
        })
    }

    /// The bundle that the model came from, if it did.
    pub fn bundle(&self) -> Option<&Bundle> {
        self.bundle.as_ref()
    }

    /// What names this model: the [bundle's fingerprint](Bundle::fingerprint), or of an ONNX model a SHA-256 over
    /// its operators and samples of its constants. 64 hexadecimal digits.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Bytes that the model holds now, as [`OpenOptions::memory_limit`] counts them.
    pub fn memory_used(&self) -> usize {
        self.plan.budget().used()
    }

    /// Checks the weights' hash, if the model is a bundle that was opened with the check deferred.
    pub fn verify_weights(&self) -> Result<()> {
        self.bundle.as_ref().map_or(Ok(()), |b| b.verify_weights())
    }

    fn set_tokenizer(&mut self, t: Tokenizer) -> Result<()> {
        if t.vocab_size() > self.info.vocab {
            return Err(Error::invalid(format!(
                "the tokenizer has ids up to {}, the model's embedding table {} rows: they do not belong together",
                t.vocab_size().saturating_sub(1),
                self.info.vocab
            )));
        }
        self.tokenizer = Some(t);
        Ok(())
    }
}
