//! `pocketbert summarize`.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::args::{Engine, Open, positive};
use super::io::visible;
use super::{Outcome, load, window};
use crate::tasks::{Centrality, Summarizer, SummaryOptions};

const HELP: &str = "\
Examples:
  pocketbert summarize --file article.txt                 its three main sentences, in their order
  pocketbert summarize --file article.txt --sentences 1 --json
  cat article.txt | pocketbert summarize - --by lead      the baseline: the first ones

All input is one text. Sentences are picked, never written.
The model is --model, else $POCKETBERT_MODEL, else models/everyday.pbert.";

#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub struct Summarize {
    /// The text; `-` for all of standard input
    #[arg(conflicts_with = "file")]
    pub text: Option<String>,
    /// Take the text from this file, all of it
    #[arg(long, short, value_name = "F")]
    pub file: Option<PathBuf>,
    /// Bundle, .onnx file or model folder
    #[arg(long, short, value_name = "B")]
    pub model: Option<PathBuf>,
    /// Head of the model that makes vectors
    #[arg(long, value_name = "H")]
    pub head: Option<String>,
    /// How many sentences to keep
    #[arg(long, short = 'n', value_name = "N", default_value_t = 3, value_parser = positive)]
    pub sentences: usize,
    /// How they are chosen: centroid, lexrank, lead
    #[arg(long, value_name = "HOW", default_value = "centroid", value_parser = centrality)]
    pub by: Centrality,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: Engine,
    #[command(flatten)]
    pub open: Open,
}

fn centrality(s: &str) -> Result<Centrality, String> {
    window::by_name(s, &Centrality::ALL)
}

pub fn summarize(a: &Summarize) -> Outcome {
    #[derive(Serialize)]
    struct Sentence<'a> {
        index: usize,
        score: f32,
        text: &'a str,
        bytes: [usize; 2],
        chars: [usize; 2],
        utf16: [usize; 2],
    }
    #[derive(Serialize)]
    struct Line<'a> {
        sentences: Vec<Sentence<'a>>,
        of: usize,
    }
    let text = window::whole(a.text.as_deref(), a.file.as_deref())?;
    let path = a.model.clone().map_or_else(load::default_model, Ok)?;
    let model = Arc::new(load::open(&path, &a.open, false)?);
    let summarizer = Summarizer::from_model(model, a.head.as_deref())?;
    let options = SummaryOptions { sentences: a.sentences, centrality: a.by, call: a.engine.call() };
    let summary = summarizer.summarize(&text, &options)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let sentence = |s: &crate::tasks::SummarySentence| Sentence {
        index: s.index,
        score: s.score,
        text: s.bytes.of(&text).unwrap_or(""),
        bytes: [s.bytes.start, s.bytes.end],
        chars: [s.chars.start, s.chars.end],
        utf16: [s.utf16.start, s.utf16.end],
    };
    if a.json {
        let line = Line { sentences: summary.sentences.iter().map(sentence).collect(), of: summary.of };
        serde_json::to_writer(&mut out, &line)?;
        writeln!(out)?;
    } else {
        for s in &summary.sentences {
            writeln!(out, "{}", visible(s.bytes.of(&text).unwrap_or("")))?;
        }
    }
    out.flush()?;
    Ok(())
}
