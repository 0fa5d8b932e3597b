//! `pocketbert zero-shot`.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::args::{Cut, Engine, Open, positive};
use super::feed::Texts;
use super::io::visible;
use super::window::Windowed;
use super::{Outcome, load, window};
use crate::tasks::{LongOptions, ZeroShot as Answer, ZeroShotClassifier, ZeroShotOptions};

const HELP: &str = "\
Examples:
  pocketbert zero-shot \"my card never arrived\" --labels \"card delivery,exchange rate,new pin\"
  pocketbert zero-shot \"…\" --labels \"a,b\" --multi-label --threshold 0.5
  pocketbert zero-shot --file mails.txt --labels \"order,complaint\" --template \"The sender writes about {}.\" --json
  pocketbert zero-shot --file book.txt --long --labels war,peace     the whole file is one text, read in windows

Each label makes a sentence about the text, and the model says whether the text entails it: one run per label.
The default model's head learned requests and their topics; it is no model of natural-language inference.
The model is --model, else $POCKETBERT_MODEL, else models/everyday.pbert.";

#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub struct ZeroShot {
    /// The text; `-` for one text a line from standard input
    #[arg(conflicts_with = "file")]
    pub text: Option<String>,
    /// Read one text a line from this file
    #[arg(long, short, value_name = "F")]
    pub file: Option<PathBuf>,
    /// The labels to choose among
    #[arg(long, value_name = "LABELS", value_delimiter = ',', required = true)]
    pub labels: Vec<String>,
    /// Sentence that a label makes; `{}` is where it goes
    #[arg(long, value_name = "T", default_value = crate::tasks::zero_shot::TEMPLATE)]
    pub template: String,
    /// Judge every label by itself instead of against the others
    #[arg(long)]
    pub multi_label: bool,
    /// Bundle, .onnx file or model folder
    #[arg(long, short, value_name = "B")]
    pub model: Option<PathBuf>,
    /// Head of the bundle, or output of the ONNX model
    #[arg(long, value_name = "H")]
    pub head: Option<String>,
    /// Show this many labels at most
    #[arg(long, value_name = "N", value_parser = positive)]
    pub top_k: Option<usize>,
    /// Leave out labels less probable than this (0 to 1)
    #[arg(long, value_name = "P")]
    pub threshold: Option<f32>,
    /// What to keep of a text that is too long
    #[arg(long, value_enum, default_value_t, conflicts_with = "long")]
    pub truncation: Cut,
    #[command(flatten)]
    pub windows: Windowed,
    /// With --long, how windows become one answer: mean, weighted, max, vote
    #[arg(long, value_name = "M", default_value = "weighted", value_parser = super::args::merge, requires = "long")]
    pub merge: crate::tasks::WindowMerge,
    /// One JSON object per text
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: Engine,
    #[command(flatten)]
    pub open: Open,
}

pub fn zero_shot(a: &ZeroShot) -> Outcome {
    let texts = match a.windows.long {
        true => None,
        false => Some(Texts::open(a.text.as_deref(), a.file.as_deref())?),
    };
    let path = match &a.model {
        Some(p) => p.clone(),
        None => load::default_model()?,
    };
    let model = Arc::new(load::open(&path, &a.open, false)?);
    let classifier = ZeroShotClassifier::from_model(model, a.head.as_deref())?;
    let options = ZeroShotOptions {
        template: a.template.clone(),
        multi_label: a.multi_label,
        top_k: a.top_k,
        threshold: a.threshold,
        truncation: a.truncation.into(),
        max_length: None,
        call: a.engine.call(),
    };
    let labels: Vec<&str> = a.labels.iter().map(|l| l.trim()).collect();
    let mut out = BufWriter::new(std::io::stdout().lock());
    let many = texts.as_ref().is_some_and(Texts::many);
    let mut write = |_: &str, answer: Answer| {
        match a.json {
            true => write_json(&mut out, &answer)?,
            false => write_text(&mut out, &answer, many)?,
        }
        Ok(out.flush()?)
    };
    if let Some(texts) = texts {
        return texts.answer("texts judged:", |feed| classifier.stream(feed, &labels, &options), write);
    }
    let long = LongOptions { merge: a.merge, ..a.windows.options() };
    let text = window::whole(a.text.as_deref(), a.file.as_deref())?;
    write(&text, classifier.classify_long(&text, &labels, &options, &long)?)
}

fn write_json(out: &mut impl Write, a: &Answer) -> Outcome {
    #[derive(Serialize)]
    struct Label<'a> {
        label: &'a str,
        index: usize,
        probability: f32,
        entailment: f32,
        contradiction: f32,
    }
    #[derive(Serialize)]
    struct Line<'a> {
        labels: Vec<Label<'a>>,
        truncated: bool,
        model_version: &'a str,
    }
    let labels = a.labels.iter().map(|l| Label {
        label: &l.label,
        index: l.index,
        probability: l.probability,
        entailment: l.entailment,
        contradiction: l.contradiction,
    });
    let line = Line { labels: labels.collect(), truncated: a.truncated, model_version: &a.model_version };
    writeln!(out, "{}", serde_json::to_string(&line)?)?;
    Ok(())
}

fn write_text(out: &mut impl Write, a: &Answer, many: bool) -> Outcome {
    let names: Vec<String> = a.labels.iter().map(|l| visible(&l.label)).collect();
    if many {
        let parts: Vec<_> =
            a.labels.iter().zip(&names).map(|(l, n)| format!("{n} {:.4}", l.probability)).collect();
        writeln!(out, "{}", parts.join("\t"))?;
        return Ok(());
    }
    let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
    for (l, name) in a.labels.iter().zip(&names) {
        writeln!(out, "{name:width$}  {:.4}", l.probability)?;
    }
    if a.labels.is_empty() {
        writeln!(out, "(no label passes)")?;
    }
    if a.truncated {
        let _ = writeln!(std::io::stderr(), "pocketbert: the text was cut to fit");
    }
    Ok(())
}
