//! Golden cases: texts with the bits that every CPU, batch and language must answer.
//!
//! `golden/texts.jsonl` holds the inputs, `golden/<model>.jsonl` the answers of `models/<model>.pbert`: token
//! ids, and per head the output's shape with its bits, or with their SHA-256 where there are more than
//! [`FEW`]. `golden/<model>-tasks.jsonl` holds what tasks are asked, with their answers: see [`tasks`].
//! `cargo run --release -p pocketbert-tests --bin golden` writes them with the generic kernels.

pub mod tasks;

use std::collections::BTreeMap;
use std::path::PathBuf;

use pocketbert::kernels::Isa;
use pocketbert::model::{Batch, Model, Output, RunOptions};
use pocketbert::text::EncodeOptions;
use pocketbert::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Up to this many values are written out; of more, their hash.
pub const FEW: usize = 8;

/// An input.
#[derive(Clone, Debug, Deserialize)]
pub struct Text {
    /// Unique name.
    pub id: String,
    /// The text.
    pub text: String,
    /// The second text of a pair.
    pub pair: Option<String>,
    /// Heads it is meant for.
    pub heads: Vec<String>,
}

/// An input's answer by one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The input's name.
    pub id: String,
    /// Token ids.
    pub ids: Vec<u32>,
    /// By head.
    pub outputs: BTreeMap<String, Answer>,
}

/// A head's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// `[channels]`, or `[tokens, channels]`.
    pub shape: Vec<usize>,
    /// IEEE 754 bits as hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bits: Vec<String>,
    /// SHA-256 of the little-endian values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// The folder of the repository.
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), |p| p.to_path_buf())
}

/// Opens `models/<name>.pbert`.
pub fn model(name: &str) -> Result<Model> {
    Model::open(root().join(format!("models/{name}.pbert")), &Default::default())
}

fn lines<T: for<'a> Deserialize<'a>>(file: &str) -> Result<Vec<T>> {
    let path = root().join("tests/golden").join(file);
    let all = std::fs::read_to_string(&path).map_err(|e| Error::io(path.display(), &e))?;
    all.lines()
        .map(|l| serde_json::from_str(l).map_err(|e| Error::data_loss(format!("`{file}`: {e}"))))
        .collect()
}

/// All inputs.
pub fn texts() -> Result<Vec<Text>> {
    lines("texts.jsonl")
}

/// The recorded answers of a model.
pub fn cases(model: &str) -> Result<Vec<Case>> {
    lines(&format!("{model}.jsonl"))
}

/// A text as the model reads it: ids and types.
pub fn encode(model: &Model, t: &Text) -> Result<(Vec<u32>, Vec<i64>)> {
    let options = EncodeOptions { max_length: model.info().max_length, ..EncodeOptions::default() };
    let e = model.tokenizer()?.encode(&t.text, t.pair.as_deref(), &options)?;
    Ok((e.ids, e.type_ids.iter().map(|&t| i64::from(t)).collect()))
}

/// How to run.
pub fn options(isa: Isa, threads: usize) -> RunOptions<'static> {
    RunOptions { isa, threads, stop: Default::default(), stats: None }
}

/// Runs every output on one batch.
pub fn run(model: &Model, batch: &Batch, isa: Isa, threads: usize) -> Result<Vec<Output>> {
    let all: Vec<usize> = (0..model.plan().outputs().len()).collect();
    model.plan().run(batch, &all, options(isa, threads))
}

/// One sequence's part of each output: by name, its shape and values.
pub fn split(outputs: &[Output], batch: &Batch, sequence: usize) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let at = |i: usize| batch.offsets[i] as usize;
    let (a, b) = (at(sequence), at(sequence + 1));
    outputs
        .iter()
        .map(|o| {
            let c = o.info.channels;
            let (shape, range) = if o.info.per_token {
                (vec![b - a, c], a * c..b * c)
            } else {
                (vec![c], sequence * c..(sequence + 1) * c)
            };
            (o.info.name.clone(), (shape, o.data[range].to_vec()))
        })
        .collect()
}

/// The answers of `model` to `t`, for the heads that it has of those that `t` is meant for.
pub fn answer(model: &Model, t: &Text, isa: Isa) -> Result<Case> {
    let (ids, types) = encode(model, t)?;
    let mut batch = Batch::new();
    batch.push(ids.iter().map(|&i| i64::from(i)), Some(&types), None);
    let out = split(&run(model, &batch, isa, 1)?, &batch, 0);
    let outputs = out
        .into_iter()
        .filter(|(name, _)| t.heads.contains(name))
        .map(|(name, (shape, data))| {
            let few = data.len() <= FEW;
            let bits =
                if few { data.iter().map(|x| format!("{:08x}", x.to_bits())).collect() } else { vec![] };
            let sha256 = (!few).then(|| {
                let mut h = Sha256::new();
                data.iter().for_each(|x| h.update(x.to_le_bytes()));
                h.finalize().iter().map(|b| format!("{b:02x}")).collect()
            });
            (name, Answer { shape, bits, sha256 })
        })
        .collect();
    Ok(Case { id: t.id.clone(), ids, outputs })
}
