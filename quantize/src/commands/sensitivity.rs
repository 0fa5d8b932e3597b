//! `sensitivity`: what each linear layer costs when it alone is quantized, and what it would bring to spare it.

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
use crate::weights::{self, Method, Rounding};

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
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Write the result as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
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
    /// Signal to noise of all raw outputs in decibel, this layer alone in int8: weights, then activations too.
    sqnr_weights: f64,
    sqnr: f64,
    /// Mean divergence over the outputs that are scores of a text or token.
    kl_weights: f64,
    kl: f64,
    /// All layers in int8 but this one.
    kl_all_but: f64,
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
    let graph = lower_onnx_file(&a.model, false)?.graph;
    // A decoder that is tied to a table has no weights of its own.
    let mut tied = graph.clone();
    crate::tie::tie(&mut tied)?;
    let mut encodings = vec![];
    for e in sample(&read_examples(&a.texts, None)?, a.samples, 1) {
        encodings.extend(encode(&tokenizer, &e, false, 128)?);
    }
    let reference = answers(graph.clone(), &encodings, a.threads)?;
    let quantized = |keep: Vec<String>, weights_only: bool| -> Result<(f64, f64)> {
        let mut g = graph.clone();
        let m = Method { keep, ..method.clone() };
        weights::quantize(&mut g, &m, calibration.as_ref(), a.threads)?;
        if weights_only {
            weights::to_float(&mut g)?;
        }
        Ok(distance(&reference, &answers(g, &encodings, a.threads)?))
    };
    let all: Vec<String> = tied
        .nodes
        .iter()
        .filter(|n| n.op == "Linear" && n.str("activation").is_none())
        .map(|n| n.name.clone())
        .collect();
    let noise = {
        let mut g = graph.clone();
        weights::quantize(&mut g, &method, calibration.as_ref(), a.threads)?;
        let engines = (Plan::new(graph.clone())?, Plan::new(g)?);
        let outputs = engines.0.outputs().to_vec();
        let names: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
        layers::between((&engines.0, &engines.1), &names, &encodings, &tokenizer, Isa::best())?
    };
    let (whole, kl) = quantized(vec![], false)?;
    println!("all layers in int8: SQNR {whole:.1} dB, KL {kl:.2e}\n");
    println!(
        "{:<52}{:>11}{:>9}{:>9}{:>11}{:>11}{:>11}{:>9}",
        "layer alone in int8", "shape", "input dB", "SQNR", "KL", "weights", "all but", "loud"
    );
    let bar = crate::progress::bar("layers", all.len());
    let mut lines = vec![];
    for n in graph.nodes.iter().filter(|n| all.contains(&n.name)) {
        crate::check_stop()?;
        bar.add(1);
        if a.only.as_ref().is_some_and(|o| !n.name.contains(o)) {
            continue;
        }
        let others: Vec<String> = all.iter().filter(|x| **x != n.name).cloned().collect();
        let (sqnr_weights, kl_weights) = quantized(others.clone(), true)?;
        let (sqnr, kl) = quantized(others, false)?;
        let (_, kl_all_but) = quantized(vec![n.name.clone()], false)?;
        let seen = calibration.as_ref().and_then(|c| c.layer(&n.name));
        let line = Line {
            layer: n.name.clone(),
            shape: (n.int("k").unwrap_or(0), n.int("n").unwrap_or(0)),
            range: seen.map(|l| (l.min.0, l.max.0)),
            loudness: seen.map(|l| l.loudness()),
            input: noise.iter().find(|l| l.name == n.name).cloned(),
            sqnr_weights,
            sqnr,
            kl_weights,
            kl,
            kl_all_but,
        };
        println!(
            "{:<52}{:>11}{:>9}{:>9.1}{:>11.1e}{:>11.1e}{:>11.1e}{:>9}",
            line.layer,
            format!("{}x{}", line.shape.0, line.shape.1),
            line.input.as_ref().map_or(String::new(), |i| format!("{:.1}", i.sqnr)),
            line.sqnr,
            line.kl,
            line.kl_weights,
            line.kl_all_but,
            line.loudness.map_or(String::new(), |l| format!("{l:.1}"))
        );
        lines.push(line);
    }
    if let Some(path) = &a.json {
        let text = serde_json::to_string_pretty(&lines).map_err(|e| Error::internal(e.to_string()))?;
        crate::files::write_whole(path, text.as_bytes())?;
    }
    Ok(())
}

/// An output's channels per row, whether it is scores, and its values.
type Answer = (usize, bool, Vec<f32>);

fn answers(g: Graph, encodings: &[Encoding], threads: usize) -> Result<Vec<Answer>> {
    let plan = Plan::new(g)?;
    let wanted: Vec<usize> = (0..plan.outputs().len()).collect();
    let mut out: Vec<Answer> =
        plan.outputs().iter().map(|o| (o.channels, o.channels > 1 && o.channels < 512, vec![])).collect();
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
