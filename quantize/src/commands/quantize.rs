//! `quantize`: an FP32 model becomes a bundle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use pocketbert::bundle::manifest::{EntryRef, FORMAT_VERSION, ModelCard, SelfTest, TokenizerRef};
use pocketbert::bundle::{Bundle, BundleWriter, Head, JsonText, Manifest, OpenOptions as BundleOptions};
use pocketbert::kernels::Isa;
use pocketbert::model::graph::Graph;
use pocketbert::model::record::{mask_places, recorded};
use pocketbert::model::{Batch, Model, OpenOptions, RunOptions, constants_sha256, lower_onnx_file};
use pocketbert::text::{EncodeOptions, Tokenizer};
use pocketbert::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{auto, read_heads};
use crate::calibration::Calibration;
use crate::weights::{Activations, Method, Range, Rounding};
use crate::{eval, files, gates, graph, read, weights};

/// Arguments of `quantize`.
#[derive(Args, Clone)]
pub struct QuantizeArgs {
    /// The FP32 or FP16 ONNX model, or a hub folder with one.
    pub(super) model: PathBuf,
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
    /// How to quantize; single options below change it.
    #[arg(long, value_enum, default_value_t = Preset::Exact)]
    preset: Preset,
    /// What `calibrate` wrote.
    #[arg(long)]
    calibration: Option<PathBuf>,
    /// How activations become integers.
    #[arg(long, value_enum)]
    activations: Option<Activations>,
    /// How static ranges are chosen.
    #[arg(long, value_enum)]
    range: Option<Range>,
    /// Loud channels per layer under a scale of their own: 0, 64, 128, ….
    #[arg(long)]
    loud: Option<usize>,
    /// How weights are rounded.
    #[arg(long, value_enum)]
    rounding: Option<Rounding>,
    /// Damping of GPTQ.
    #[arg(long)]
    damping: Option<f64>,
    /// GPTQ rounds channels with large inputs first.
    #[arg(long)]
    act_order: Option<bool>,
    /// Search smaller scales per output channel.
    #[arg(long)]
    clip: Option<bool>,
    /// Move mean errors into the bias.
    #[arg(long)]
    bias_correction: Option<bool>,
    /// Both products of attention in int8.
    #[arg(long)]
    pub(super) attention: Option<bool>,
    /// Layers that stay in f32.
    #[arg(long, value_delimiter = ',')]
    keep: Vec<String>,
    /// Layers whose weights become f16 and whose product stays in f32.
    #[arg(long, value_delimiter = ',')]
    half: Vec<String>,
    /// Move the loudness of activations into weights where that can be folded: the share that moves, 0 to 1.
    #[arg(long)]
    migrate: Option<f64>,
    /// Make outlier channels behind layer norms smaller for linear layers; all else reads them multiplied back.
    #[arg(long)]
    outliers: Option<bool>,
    /// Search the cheapest method that passes `--gate` on the dev sets of `--sets`; the test sets are judged once, at
    /// the end. Exit status 1 if nothing passes.
    #[arg(long, requires_all = ["sets", "gate", "calibration"], conflicts_with_all = ["preset", "activations", "range", "loud", "rounding", "clip", "bias_correction", "keep", "half", "migrate", "outliers", "recipe"])]
    auto: bool,
    /// For `--auto`: the list of sets.
    #[arg(long)]
    sets: Option<PathBuf>,
    /// For `--auto`: what must hold, as in `validate`.
    #[arg(long)]
    pub(super) gate: Option<String>,
    /// For `--auto`: at most this many texts of each set.
    #[arg(long)]
    pub(super) limit: Option<usize>,
    /// For `--auto`: where raw outputs are kept.
    #[arg(long)]
    pub(super) cache: Option<PathBuf>,
    /// The recipe of an earlier run, for the same bytes again; takes the place of the options above.
    #[arg(long, conflicts_with_all = ["preset", "activations", "range", "loud", "rounding", "damping", "act_order", "clip", "bias_correction", "attention", "keep", "half", "migrate", "outliers"])]
    recipe: Option<PathBuf>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    pub(super) threads: usize,
    /// The bundle to write; its recipe is written beside it.
    #[arg(long)]
    pub(super) out: PathBuf,
    /// Also write the int8 model as standard ONNX, for other runtimes.
    #[arg(long)]
    pub(super) onnx: Option<PathBuf>,
}

/// Named methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Preset {
    /// Without data: activations per token, weights to nearest.
    Exact,
    /// Nearest to FP32: the 64 loudest channels apart, GPTQ. Needs a calibration.
    Closest,
    /// One range per layer, as other engines do. Needs a calibration.
    Static,
}

impl QuantizeArgs {
    fn method(&self, recipe: Option<&Recipe>) -> Result<Method> {
        if let Some(r) = recipe {
            r.method.check()?;
            return Ok(r.method.clone());
        }
        let mut m = match self.preset {
            Preset::Exact => Method::default(),
            Preset::Closest => Method { loud: 64, rounding: Rounding::Gptq, ..Method::default() },
            Preset::Static => Method { activations: Activations::Static, ..Method::default() },
        };
        m.activations = self.activations.unwrap_or(m.activations);
        m.range = self.range.unwrap_or(m.range);
        m.loud = self.loud.unwrap_or(m.loud);
        m.rounding = self.rounding.unwrap_or(m.rounding);
        m.damping = self.damping.unwrap_or(m.damping);
        m.act_order = self.act_order.unwrap_or(m.act_order);
        m.clip = self.clip.unwrap_or(m.clip);
        m.bias_correction = self.bias_correction.unwrap_or(m.bias_correction);
        m.attention = self.attention.unwrap_or(m.attention);
        m.migrate = self.migrate.unwrap_or(m.migrate);
        m.outliers = self.outliers.unwrap_or(m.outliers);
        m.keep = self.keep.clone();
        m.half = self.half.clone();
        m.check()?;
        if m.calibrated() && self.calibration.is_none() {
            return Err(Error::invalid(
                "this method needs `--calibration`: run `pocketbert-quantize calibrate` first",
            ));
        }
        Ok(m)
    }
}

/// How a bundle was made: method and hashes of what went in.
#[derive(Debug, Serialize, Deserialize)]
struct Recipe {
    tool: String,
    model_sha256: String,
    calibration_sha256: Option<String>,
    tokenizer_sha256: String,
    method: Method,
    /// How `--auto` came to the method.
    #[serde(skip_serializing_if = "Option::is_none")]
    auto: Option<auto::Record>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    #[serde(default)]
    pair: Option<String>,
}

/// Runs it; false if `--auto` found nothing that passes the gate.
pub fn run(a: &QuantizeArgs) -> Result<bool> {
    let a = &QuantizeArgs { model: files::model_file(&a.model)?, ..a.clone() };
    // Everything that can be wrong with small files is found before the long work.
    let heads = read_heads(&a.heads)?;
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
        None => files::sha256(&a.model)?,
    };

    let earlier = a.recipe.as_deref().map(Recipe::read).transpose()?;
    let mut method = a.method(earlier.as_ref())?;
    let gates = gates::parse(a.gate.as_deref().unwrap_or(""))?;
    let sets = match (&a.sets, a.auto) {
        (Some(s), true) => auto::Sets::read(s, &heads, a.limit)?,
        _ => auto::Sets::default(),
    };
    let calibration = a.calibration.as_deref().map(Calibration::read).transpose()?;
    let model_sha256 = files::sha256(&a.model)?;
    if let Some(c) = &calibration
        && c.model_sha256 != model_sha256
    {
        return Err(Error::invalid("the calibration was made from another model: run `calibrate` again"));
    }
    files::writable(&a.out)?;
    a.onnx.as_deref().map(files::writable).transpose()?;

    eprintln!("reading {}", a.model.display());
    let mut lowered = lower_onnx_file(&a.model, false)?;
    if tokenizer.vocab_size() > lowered.vocab {
        return Err(Error::invalid(format!(
            "the tokenizer has ids up to {}, the model's embedding table {} rows: they do not belong together",
            tokenizer.vocab_size().saturating_sub(1),
            lowered.vocab
        )));
    }
    let max_length = a.max_length.unwrap_or(lowered.max_length).min(lowered.max_length);
    let shell = Shell { args: a, heads: &heads, tokenizer: &tokenizer_json, max_length, parent: &parent };
    let mut record = earlier.and_then(|r| r.auto);
    if let (true, Some(seen)) = (a.auto, &calibration) {
        let reference = eval::Subject::open(&a.model)?;
        let judge = auto::Judge {
            shell: &shell,
            graph: &lowered.graph,
            calibration: seen,
            reference: &reference,
            gates: &gates,
            sets: &sets,
        };
        let (found, how) = judge.search(a)?;
        (method, record) = (found, Some(how));
    }
    let recipe = Recipe {
        tool: format!("pocketbert-quantize {}", env!("CARGO_PKG_VERSION")),
        model_sha256,
        calibration_sha256: a.calibration.as_deref().map(files::sha256).transpose()?,
        tokenizer_sha256: files::sha256(&a.tokenizer)?,
        method,
        auto: record,
    };
    let summary = weights::quantize(&mut lowered.graph, &recipe.method, calibration.as_ref(), a.threads)?;
    // Megabytes of products are not needed any more.
    drop(calibration);
    eprintln!(
        "quantized {} linear layers and {} tables; {} decoders read a table; {} layers stay in floats; {} scales moved",
        summary.linears, summary.tables, summary.tied, summary.kept, summary.migrated
    );
    let entries = Entries::new(&lowered.graph);
    let mut manifest = shell.manifest(&lowered.graph, Some(JsonText::new(&recipe)?));
    // The self-test's bits come from the bundle as it will ship, run by the kernels that define them.
    if !cases.is_empty() {
        let bytes = shell.writer(&manifest, &entries).to_vec()?;
        let model = Model::from_bundle(Bundle::open_bytes(bytes, &BundleOptions::default())?)?;
        manifest.self_test = self_test(&model, &manifest, &cases)?;
    }
    let standard = a.onnx.as_ref().map(|_| crate::onnx::write(&lowered.graph)).transpose()?;
    shell.writer(&manifest, &entries).write_to(&a.out)?;
    if let (Some(path), Some(bytes)) = (&a.onnx, &standard) {
        files::write_whole(path, bytes)?;
    }
    let text = toml::to_string_pretty(&recipe).map_err(|e| Error::internal(e.to_string()))?;
    files::write_whole(&a.out.with_extension("recipe.toml"), text.as_bytes())?;
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
    match recipe.auto.filter(|_| a.auto) {
        Some(record) => auto::last_word(a, &heads, &gates, &sets, record.passed),
        None => Ok(true),
    }
}

impl Recipe {
    fn read(path: &Path) -> Result<Recipe> {
        let text = String::from_utf8_lossy(&read(path)?).into_owned();
        toml::from_str(&text).map_err(|e| Error::invalid(format!("`{}`: {e}", path.display())))
    }
}

/// What stands in a bundle besides the weights.
pub(super) struct Shell<'a> {
    args: &'a QuantizeArgs,
    pub(super) heads: &'a [Head],
    tokenizer: &'a [u8],
    max_length: usize,
    parent: &'a str,
}

/// The two entries of a graph.
struct Entries {
    onnx: Vec<u8>,
    weights: Vec<u8>,
}

impl Entries {
    fn new(g: &Graph) -> Entries {
        let (onnx, weights) = graph::serialize(g, "weights.bin");
        Entries { onnx, weights }
    }
}

impl Shell<'_> {
    fn manifest(&self, g: &Graph, recipe: Option<JsonText>) -> Manifest {
        let a = self.args;
        let entry = |name: &str| EntryRef { entry: name.to_string() };
        Manifest {
            format_version: FORMAT_VERSION,
            features: vec![],
            model: ModelCard {
                name: a.name.clone(),
                version: a.model_version.clone(),
                license: a.license.clone(),
                description: a.description.clone(),
                family: a.family.clone(),
                parent_sha256: Some(self.parent.to_string()),
                recipe,
            },
            graph: entry("model.onnx"),
            weights: entry("weights.bin"),
            tokenizer: TokenizerRef { entry: "tokenizer.json".into(), max_length: self.max_length },
            heads: self.heads.to_vec(),
            default_head: a.default_head.clone(),
            entries: BTreeMap::new(),
            activation_ranges: None,
            drift_baseline: None,
            validation: None,
            constants_sha256: Some(constants_sha256(g)),
            self_test: vec![],
        }
    }

    fn writer<'e>(&'e self, m: &Manifest, e: &'e Entries) -> BundleWriter<'e> {
        let mut w = BundleWriter::new(m.clone());
        w.add("model.onnx", e.onnx.as_slice());
        w.add("weights.bin", e.weights.as_slice());
        w.add("tokenizer.json", self.tokenizer);
        w
    }

    /// `g` as it would ship, open.
    pub(super) fn open(&self, g: &Graph) -> Result<Model> {
        let bytes = self.writer(&self.manifest(g, None), &Entries::new(g)).to_vec()?;
        Model::from_bundle(Bundle::open_bytes(bytes, &BundleOptions::default())?)
    }
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
