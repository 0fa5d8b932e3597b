//! `sensitivity`: what each part of a model costs when it alone is quantized, and what it would bring to spare it.

use std::path::PathBuf;

use clap::Args;
use pocketbert::kernels::Isa;
use pocketbert::model::graph::Graph;
use pocketbert::model::{Batch, Plan, RunOptions, lower_onnx_file};
use pocketbert::text::{Encoding, Tokenizer};
use pocketbert::{Error, Result};
use serde::Serialize;

use crate::calibration::Calibration;
use crate::data::{read_examples, sample};
use crate::eval::{encode, push};
use crate::stats;
use crate::validate::layers::{self, LayerNoise};
use crate::weights::{self, Method, Part, Rounding, take};

/// Arguments of `sensitivity`.
#[derive(Args)]
pub struct SensitivityArgs {
    /// The FP32 ONNX model.
    model: PathBuf,
    /// Its tokenizer.json.
    #[arg(long)]
    tokenizer: PathBuf,
    /// Texts, as for `calibrate`.
    #[arg(long)]
    texts: PathBuf,
    /// How many of them to use.
    #[arg(long, default_value_t = 64)]
    samples: usize,
    /// What `calibrate` wrote: adds ranges, and loud channels and GPTQ if asked for.
    #[arg(long)]
    calibration: Option<PathBuf>,
    /// Loud channels per layer.
    #[arg(long, default_value_t = 0)]
    loud: usize,
    /// GPTQ weights.
    #[arg(long)]
    gptq: bool,
    /// Only layers whose names hold this.
    #[arg(long)]
    only: Option<String>,
    /// Judge by these outputs alone; by default all.
    #[arg(long, value_delimiter = ',')]
    output: Vec<String>,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Write the result as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Signal to noise of the raw outputs in decibel, and the mean divergence over those that are scores.
#[derive(Clone, Copy, Debug, Serialize)]
struct Cost {
    sqnr: f64,
    kl: f64,
}

#[derive(Debug, Serialize)]
struct Line {
    layer: String,
    /// Input channels, outputs.
    shape: (i64, i64),
    /// Least and largest input at calibration.
    range: Option<(f32, f32)>,
    /// Largest magnitude of a channel beside that of the median channel.
    loudness: Option<f32>,
    /// What it reads with all layers in int8, beside FP32: SQNR, ranges, histograms.
    input: Option<LayerNoise>,
    /// This layer alone in int8.
    alone: Cost,
    /// Of it only the weights.
    weights: Cost,
    /// Of it only what it reads.
    activations: Cost,
    /// All in int8 but this layer.
    all_but: Cost,
}

#[derive(Debug, Serialize)]
struct Found {
    /// Kinds of parts, each alone in int8, and all together.
    parts: Vec<(&'static str, Cost)>,
    layers: Vec<Line>,
}

/// The float model, the int8 one, and what FP32 answers.
struct Bench {
    float: Graph,
    int8: Graph,
    encodings: Vec<Encoding>,
    reference: Vec<Answer>,
    outputs: Vec<String>,
    threads: usize,
}

impl Bench {
    fn cost(&self, g: Graph) -> Result<Cost> {
        crate::check_stop()?;
        let (sqnr, kl) =
            distance(&self.reference, &answers(g, &self.encodings, &self.outputs, self.threads)?);
        Ok(Cost { sqnr, kl })
    }

    /// The float model with these nodes in int8.
    fn with(&self, names: &[&str], part: Part) -> Result<Cost> {
        let mut g = self.float.clone();
        for n in names {
            take(&mut g, &self.int8, n, part)?;
        }
        self.cost(g)
    }

    /// The int8 model with this node in floats.
    fn but(&self, name: &str) -> Result<Cost> {
        let mut g = self.int8.clone();
        take(&mut g, &self.float, name, Part::Whole)?;
        self.cost(g)
    }

    fn named(&self, op: &str) -> Vec<&str> {
        self.int8.nodes.iter().filter(|n| n.op == op).map(|n| n.name.as_str()).collect()
    }
}

/// Runs it.
pub fn run(a: &SensitivityArgs) -> Result<()> {
    let calibration = a.calibration.as_deref().map(Calibration::read).transpose()?;
    let method = Method {
        loud: a.loud,
        rounding: if a.gptq { Rounding::Gptq } else { Rounding::Nearest },
        ..Method::default()
    };
    if method.calibrated() && calibration.is_none() {
        return Err(Error::invalid("`--loud` and `--gptq` need `--calibration`"));
    }
    let tokenizer = Tokenizer::from_bytes(&crate::read(&a.tokenizer)?)?;
    let mut float = lower_onnx_file(&a.model, false)?.graph;
    // A decoder that is tied to a table has no weights of its own.
    crate::tie::tie(&mut float)?;
    let known: Vec<&str> = float.outputs.iter().map(|&v| float.names[v].as_str()).collect();
    if let Some(o) = a.output.iter().find(|o| !known.contains(&o.as_str())) {
        return Err(Error::invalid(format!("no output `{o}`: give some of {}", known.join(", "))));
    }
    let outputs = match a.output.is_empty() {
        true => known.iter().map(|s| s.to_string()).collect(),
        false => a.output.clone(),
    };
    let mut encodings = vec![];
    for e in sample(&read_examples(&a.texts, None)?, a.samples, 1) {
        encodings.extend(encode(&tokenizer, &e, false, 128)?);
    }
    let mut int8 = float.clone();
    weights::quantize(&mut int8, &method, calibration.as_ref(), a.threads)?;
    let reference = answers(float.clone(), &encodings, &outputs, a.threads)?;
    let noise = {
        let engines = (Plan::new(float.clone())?, Plan::new(int8.clone())?);
        let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
        layers::between((&engines.0, &engines.1), &names, &encodings, &tokenizer, Isa::best())?
    };
    let bench = Bench { float, int8, encodings, reference, outputs, threads: a.threads };
    let all: Vec<&str> = {
        let sizes = weights::layers(&bench.float);
        bench.float.nodes.iter().map(|n| n.name.as_str()).filter(|n| sizes.contains_key(*n)).collect()
    };
    let parts = vec![
        ("everything", bench.cost(bench.int8.clone())?),
        ("embedding tables", bench.with(&bench.named("Lookup"), Part::Whole)?),
        ("attention", bench.with(&bench.named("Attention"), Part::Whole)?),
        ("linear layers", bench.with(&all, Part::Whole)?),
        ("their weights", bench.with(&all, Part::Weights)?),
        ("their activations", bench.with(&all, Part::Activations)?),
    ];
    println!("{:<52}{:>9}{:>11}", "in int8", "SQNR", "KL");
    for (name, c) in &parts {
        println!("{name:<52}{:>9.1}{:>11.1e}", c.sqnr, c.kl);
    }
    println!(
        "\n{:<52}{:>11}{:>9}{:>9}{:>11}{:>11}{:>12}{:>11}{:>9}",
        "layer alone in int8", "shape", "input dB", "SQNR", "KL", "weights", "activations", "all but", "loud"
    );
    let bar = crate::progress::bar("layers", all.len());
    let mut lines = vec![];
    for n in bench.float.nodes.iter().filter(|n| all.contains(&n.name.as_str())) {
        bar.add(1);
        if a.only.as_ref().is_some_and(|o| !n.name.contains(o)) {
            continue;
        }
        let seen = calibration.as_ref().and_then(|c| c.layer(&n.name));
        let line = Line {
            layer: n.name.clone(),
            shape: (n.int("k").unwrap_or(0), n.int("n").unwrap_or(0)),
            range: seen.map(|l| (l.min.0, l.max.0)),
            loudness: seen.map(|l| l.loudness()),
            input: noise.iter().find(|l| l.name == n.name).cloned(),
            alone: bench.with(&[&n.name], Part::Whole)?,
            weights: bench.with(&[&n.name], Part::Weights)?,
            activations: bench.with(&[&n.name], Part::Activations)?,
            all_but: bench.but(&n.name)?,
        };
        println!(
            "{:<52}{:>11}{:>9}{:>9.1}{:>11.1e}{:>11.1e}{:>12.1e}{:>11.1e}{:>9}",
            line.layer,
            format!("{}x{}", line.shape.0, line.shape.1),
            line.input.as_ref().map_or(String::new(), |i| format!("{:.1}", i.sqnr)),
            line.alone.sqnr,
            line.alone.kl,
            line.weights.kl,
            line.activations.kl,
            line.all_but.kl,
            line.loudness.map_or(String::new(), |l| format!("{l:.1}"))
        );
        lines.push(line);
    }
    if let Some(path) = &a.json {
        let found = Found { parts, layers: lines };
        let text = serde_json::to_string_pretty(&found).map_err(|e| Error::internal(e.to_string()))?;
        crate::files::write_whole(path, text.as_bytes())?;
    }
    Ok(())
}

/// An output's channels per row, whether it is scores, and its values.
type Answer = (usize, bool, Vec<f32>);

fn answers(g: Graph, encodings: &[Encoding], names: &[String], threads: usize) -> Result<Vec<Answer>> {
    let plan = Plan::new(g)?;
    let wanted: Vec<usize> =
        plan.outputs().iter().enumerate().filter(|(_, o)| names.contains(&o.name)).map(|x| x.0).collect();
    let mut out: Vec<Answer> = wanted
        .iter()
        .map(|&i| &plan.outputs()[i])
        .map(|o| (o.channels, o.channels > 1 && o.channels < 512, vec![]))
        .collect();
    for part in encodings.chunks(8) {
        crate::check_stop()?;
        let mut batch = Batch { picks: Some(vec![]), ..Batch::new() };
        part.iter().for_each(|e| push(&mut batch, e));
        let run = RunOptions { isa: Isa::best(), threads, stop: Default::default(), stats: None };
        for (o, r) in out.iter_mut().zip(plan.run(&batch, &wanted, run)?) {
            o.2.extend(r.data);
        }
    }
    Ok(out)
}

/// Signal to noise over all values in decibel, mean divergence over rows of scores.
fn distance(a: &[Answer], b: &[Answer]) -> (f64, f64) {
    let (mut signal, mut noise, mut kl, mut rows) = (0.0, 0.0, 0.0, 0usize);
    for ((c, scores, x), (_, _, y)) in a.iter().zip(b) {
        for (x, y) in x.iter().zip(y) {
            signal += f64::from(*x).powi(2);
            noise += (f64::from(*x) - f64::from(*y)).powi(2);
        }
        if *scores {
            for (x, y) in x.chunks_exact(*c).zip(y.chunks_exact(*c)) {
                kl += stats::kl(x, y);
                rows += 1;
            }
        }
    }
    (10.0 * (signal / noise.max(1e-30)).log10(), kl / rows.max(1) as f64)
}
