//! `calibrate`: what the inputs of linear layers look like, collected once.

use std::path::PathBuf;

use clap::Args;
use pocketbert::model::{Plan, lower_onnx_file};
use pocketbert::text::Tokenizer;
use pocketbert::{Error, Result};

use crate::calibration::{Calibration, collect};
use crate::data::{read_examples, sample};
use crate::eval::encode;
use crate::{files, read, tie, weights};

/// Arguments of `calibrate`.
#[derive(Args, Clone)]
pub struct CalibrateArgs {
    /// The FP32 or FP16 ONNX model, or a hub folder with one.
    model: PathBuf,
    /// Its tokenizer.json; the one beside the model by default.
    #[arg(long)]
    tokenizer: Option<PathBuf>,
    /// Texts like those that the model will see: .jsonl, .tsv, .csv, .conll or .txt. Never test data.
    #[arg(long)]
    texts: PathBuf,
    /// How many of them to use.
    #[arg(long, default_value_t = 300)]
    samples: usize,
    /// Draws them.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Most tokens of a text.
    #[arg(long, default_value_t = 320)]
    max_length: usize,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// The file to write.
    #[arg(long)]
    out: PathBuf,
}

/// Fewer texts than this say nothing about a layer's inputs.
const LEAST: usize = 16;

/// Runs it.
pub fn run(a: &CalibrateArgs) -> Result<()> {
    let a = &CalibrateArgs { model: files::model_file(&a.model)?, ..a.clone() };
    files::writable(&a.out)?;
    let rows = sample(&read_examples(&a.texts, None)?, a.samples, a.seed);
    if rows.len() < LEAST {
        return Err(Error::invalid(format!(
            "{} texts are too few to calibrate on: give at least {LEAST}, best some hundreds",
            rows.len()
        )));
    }
    let file = a.tokenizer.clone().unwrap_or_else(|| a.model.with_file_name("tokenizer.json"));
    let tokenizer = Tokenizer::from_bytes(&read(&file)?)?;
    let lowered = lower_onnx_file(&a.model, false)?;
    // A decoder that is tied to a table has no weights of its own, and its scores over the vocabulary tell nothing.
    let max = a.max_length.min(lowered.max_length);
    let mut graph = lowered.graph;
    tie::tie(&mut graph)?;
    tie::without_decoders(&mut graph)?;
    let sizes = weights::layers(&graph);
    if sizes.is_empty() {
        return Err(Error::invalid("the model has no float linear layer: it is quantized already"));
    }
    let mut encodings = vec![];
    for r in &rows {
        encodings.extend(encode(&tokenizer, r, false, max)?);
    }
    let tokens = encodings.iter().map(|e| e.len()).sum();
    let plan = Plan::new(graph)?;
    let layers = collect(&plan, &encodings, sizes, a.threads)?;
    let c = Calibration {
        model_sha256: files::sha256(&a.model)?,
        texts_sha256: files::sha256(&a.texts)?,
        texts: rows.len(),
        tokens,
        seed: a.seed,
        layers,
    };
    c.write(&a.out)?;
    eprintln!("wrote {} ({} layers, {} texts, {tokens} tokens)", a.out.display(), c.layers.len(), c.texts);
    Ok(())
}
