//! `pocketbert-quantize`: from an FP32 encoder to a bundle.

mod graph;
mod tie;
mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use pocketbert::bundle::manifest::{EntryRef, FORMAT_VERSION, ModelCard, SelfTest, TokenizerRef};
use pocketbert::bundle::{Bundle, BundleWriter, Head, JsonText, Manifest, OpenOptions as BundleOptions};
use pocketbert::kernels::Isa;
use pocketbert::model::record::{mask_places, recorded};
use pocketbert::model::{Batch, Model, OpenOptions, RunOptions, constants_sha256, lower_onnx_file};
use pocketbert::text::{EncodeOptions, Tokenizer};
use pocketbert::{Error, Result};
use serde::Deserialize;
use sha2::{Digest, Sha256};

const EXAMPLES: &str = "\
Examples:
  # the default bundle, from the files that models/everyday/export.py writes
  pocketbert-quantize quantize out/model.onnx --heads out/heads.json --tokenizer out/tokenizer.json \\
      --name everyday --model-version 1.0.0 --license Apache-2.0 \\
      --self-test models/self-test.jsonl --out models/everyday.pbert";

/// Quantizes an FP32 encoder of the BERT family to int8 and writes a PocketBERT bundle.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Quantize a model and write a bundle.
    Quantize(QuantizeArgs),
}

#[derive(Args)]
struct QuantizeArgs {
    /// The FP32 or FP16 ONNX model.
    model: PathBuf,
    /// The heads, as in a bundle's manifest: a JSON list, or an object with the list under "heads".
    #[arg(long)]
    heads: PathBuf,
    /// The model's tokenizer.json.
    #[arg(long)]
    tokenizer: PathBuf,
    /// Name of the model.
    #[arg(long)]
    name: String,
    /// Version of the model; answers carry it.
    #[arg(long)]
    model_version: String,
    /// Licence, best as an SPDX expression.
    #[arg(long, default_value = "")]
    license: String,
    /// What the model is, in a sentence.
    #[arg(long, default_value = "")]
    description: String,
    /// Architecture.
    #[arg(long, default_value = "distilbert")]
    family: String,
    /// The head that is used when none is named.
    #[arg(long)]
    default_head: Option<String>,
    /// Longest input in tokens; the model's own limit by default.
    #[arg(long)]
    max_length: Option<usize>,
    /// Lines of {"text": …, "pair": …} whose answers the bundle carries, bit for bit.
    #[arg(long)]
    self_test: Option<PathBuf>,
    /// SHA-256 of the checkpoint that the model was exported from; that of the ONNX file by default.
    #[arg(long)]
    parent_sha256: Option<String>,
    /// The bundle to write.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> ExitCode {
    let Cli { command: Command::Quantize(args) } = Cli::parse();
    match quantize(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(2)
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Heads {
    List(Vec<Head>),
    Object { heads: Vec<Head> },
}

#[derive(Deserialize)]
struct Case {
    text: String,
    #[serde(default)]
    pair: Option<String>,
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::io(path.display(), &e))
}

fn quantize(a: &QuantizeArgs) -> Result<()> {
    // Everything that can be wrong with small files is found before the long work.
    let heads = match serde_json::from_slice(&read(&a.heads)?)
        .map_err(|e| Error::invalid(format!("`{}`: {e}", a.heads.display())))?
    {
        Heads::List(heads) | Heads::Object { heads } => heads,
    };
    let tokenizer_json = read(&a.tokenizer)?;
    let tokenizer = Tokenizer::from_bytes(&tokenizer_json)?;
    let cases = match &a.self_test {
        None => vec![],
        Some(p) => String::from_utf8_lossy(&read(p)?)
            .lines()
            .filter(|l| !l.trim().is_empty())
            .map(|l| {
                serde_json::from_str::<Case>(l).map_err(|e| Error::invalid(format!("`{}`: {e}", p.display())))
            })
            .collect::<Result<Vec<_>>>()?,
    };
    let parent = match &a.parent_sha256 {
        Some(s) => s.clone(),
        None => hex(&Sha256::digest(read(&a.model)?)),
    };

    eprintln!("reading {}", a.model.display());
    let mut lowered = lower_onnx_file(&a.model, false)?;
    if tokenizer.vocab_size() > lowered.vocab {
        return Err(Error::invalid(format!(
            "the tokenizer has ids up to {}, the model's embedding table {} rows: they do not belong together",
            tokenizer.vocab_size().saturating_sub(1),
            lowered.vocab
        )));
    }
    let summary = weights::quantize(&mut lowered.graph)?;
    eprintln!(
        "quantized {} linear layers and {} tables; {} decoders read a table",
        summary.linears, summary.tables, summary.tied
    );
    let (onnx, weights) = graph::serialize(&lowered.graph, "weights.bin");

    let entry = |name: &str| EntryRef { entry: name.to_string() };
    let recipe = JsonText::new(&serde_json::json!({
        "tool": "pocketbert-quantize",
        "weights": "int8, symmetric per output channel, nearest",
        "activations": "uint8, per token, with zero point",
        "embeddings": "int8, symmetric per row",
    }))?;
    let mut manifest = Manifest {
        format_version: FORMAT_VERSION,
        features: vec![],
        model: ModelCard {
            name: a.name.clone(),
            version: a.model_version.clone(),
            license: a.license.clone(),
            description: a.description.clone(),
            family: a.family.clone(),
            parent_sha256: Some(parent),
            recipe: Some(recipe),
        },
        graph: entry("model.onnx"),
        weights: entry("weights.bin"),
        tokenizer: TokenizerRef {
            entry: "tokenizer.json".into(),
            max_length: a.max_length.unwrap_or(lowered.max_length).min(lowered.max_length),
        },
        heads,
        default_head: a.default_head.clone(),
        entries: BTreeMap::new(),
        activation_ranges: None,
        drift_baseline: None,
        validation: None,
        constants_sha256: Some(constants_sha256(&lowered.graph)),
        self_test: vec![],
    };
    let write = |m: &Manifest| {
        let mut w = BundleWriter::new(m.clone());
        w.add("model.onnx", onnx.as_slice());
        w.add("weights.bin", weights.as_slice());
        w.add("tokenizer.json", tokenizer_json.as_slice());
        w
    };
    // The self-test's bits come from the bundle as it will ship, run by the kernels that define them.
    if !cases.is_empty() {
        let bytes = write(&manifest).to_vec()?;
        let model = Model::from_bundle(Bundle::open_bytes(bytes, &BundleOptions::default())?)?;
        manifest.self_test = self_test(&model, &manifest, &cases)?;
    }
    write(&manifest).write_to(&a.out)?;
    // What was written opens.
    let model = Model::open(&a.out, &OpenOptions::default())?;
    let size = std::fs::metadata(&a.out).map_err(|e| Error::io(a.out.display(), &e))?.len();
    eprintln!(
        "wrote {} ({:.1} MB, {} heads, {} self-test cases, up to {} tokens)",
        a.out.display(),
        size as f64 / 1e6,
        manifest.heads.len(),
        manifest.self_test.len(),
        model.info().max_length
    );
    Ok(())
}

fn self_test(model: &Model, manifest: &Manifest, cases: &[Case]) -> Result<Vec<SelfTest>> {
    let tokenizer = model.tokenizer()?;
    let options = EncodeOptions { max_length: model.info().max_length, ..EncodeOptions::default() };
    let mut out = vec![];
    for c in cases {
        let e = tokenizer.encode(&c.text, c.pair.as_deref(), &options)?;
        let mut batch = Batch::new();
        let types: Vec<i64> = e.type_ids.iter().map(|&t| i64::from(t)).collect();
        batch.push(e.ids.iter().map(|&i| i64::from(i)), Some(&types), None);
        let masks = mask_places(tokenizer, &e.ids);
        batch.picks = Some(masks.clone());
        let outputs = model.plan().outputs();
        let all: Vec<usize> = (0..outputs.len()).collect();
        let run = RunOptions { isa: Isa::Generic, threads: 1, stop: Default::default(), stats: None };
        let answers = model.plan().run(&batch, &all, run)?;
        let mut by_head = BTreeMap::new();
        for h in &manifest.heads {
            let Some(o) = answers.iter().find(|o| o.info.name == h.output) else { continue };
            if let Some(r) = recorded(o, h.task, e.ids.len(), &masks) {
                by_head.insert(h.name.clone(), r);
            }
        }
        out.push(SelfTest {
            text: c.text.clone(),
            pair: c.pair.clone(),
            ids: e.ids.clone(),
            outputs: by_head,
        });
    }
    Ok(out)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
