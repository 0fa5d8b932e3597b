//! `pocketbert rerank`.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::args::{Cut, Engine, Open, positive};
use super::io::{Lines, visible};
use super::{Outcome, load};
use crate::error::{Error, Result};
use crate::tasks::{LongOptions, RerankOptions, Reranker, WindowMerge};

const HELP: &str = "\
Examples:
  pocketbert rerank \"will it rain\" \"add this song\" \"weather for Paris\"
  pocketbert rerank \"when was it built\" --file paragraphs.txt --top-k 3
  grep -h built *.txt | pocketbert rerank \"when was it built\" - --json
  pocketbert rerank \"…\" --file d.txt --model ms-marco-MiniLM/     a cross-encoder ranks pairs
  pocketbert rerank \"…\" --file articles.txt --long               long documents by their best window

One document a line: its score, its number (from 1) and itself, the best first. Scores are cosines of vectors; of a
head that reads pairs what it gives. The model is --model, else $POCKETBERT_MODEL, else models/everyday.pbert.";

#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub struct Rerank {
    /// What is searched for
    pub query: String,
    /// The documents; `-`, or none, for one a line from standard input
    #[arg(conflicts_with = "file")]
    pub documents: Vec<String>,
    /// Read one document a line from this file
    #[arg(long, short, value_name = "F")]
    pub file: Option<PathBuf>,
    /// Bundle, .onnx file or model folder
    #[arg(long, short, value_name = "B")]
    pub model: Option<PathBuf>,
    /// Head that makes vectors or scores pairs
    #[arg(long, value_name = "H")]
    pub head: Option<String>,
    /// Show this many documents at most [default: all]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub top_k: Option<usize>,
    /// What to keep of a text that is too long
    #[arg(long, value_enum, default_value_t)]
    pub truncation: Cut,
    /// Read documents that are longer than the model in overlapping windows; --truncation is for the query
    #[arg(long)]
    pub long: bool,
    /// Tokens of a window, special tokens (and, of a head that reads pairs, the query) included [default: what the
    /// model takes]
    #[arg(long, value_name = "N", requires = "long", value_parser = positive)]
    pub window: Option<usize>,
    /// Tokens from the start of a window to the start of the next [default: half a window]
    #[arg(long, value_name = "N", requires = "long", value_parser = positive)]
    pub stride: Option<usize>,
    /// With --long, how the scores of windows become one: max, mean, weighted
    #[arg(long, value_name = "M", default_value = "max", value_parser = super::args::merge, requires = "long")]
    pub merge: WindowMerge,
    /// One JSON object per document
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: Engine,
    #[command(flatten)]
    pub open: Open,
}

/// Bytes of documents that are held together.
const MAX_BYTES: usize = 256 << 20;

pub fn rerank(a: &Rerank) -> Outcome {
    let documents = match &a.documents[..] {
        [] => read(&mut Lines::open(a.file.as_deref())?)?,
        [one] if one == "-" => read(&mut Lines::open(None)?)?,
        all => all.to_vec(),
    };
    let path = match &a.model {
        Some(p) => p.clone(),
        None => load::default_model()?,
    };
    let model = Arc::new(load::open(&path, &a.open, false)?);
    let ranker = Reranker::from_model(model, a.head.as_deref())?;
    let options = RerankOptions {
        top_k: a.top_k,
        truncation: a.truncation.into(),
        max_length: None,
        call: a.engine.call(),
    };
    let refs: Vec<&str> = documents.iter().map(String::as_str).collect();
    let ranked = match a.long {
        true => {
            let long = LongOptions { window: a.window, stride: a.stride, merge: a.merge, progress: None };
            ranker.rank_long(&a.query, &refs, &options, &long)?
        }
        false => ranker.rank_with(&a.query, &refs, &options)?,
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    for r in &ranked {
        let document = refs.get(r.index).copied().unwrap_or_default();
        match a.json {
            true => {
                #[derive(Serialize)]
                struct Line<'a> {
                    score: f32,
                    index: usize,
                    document: &'a str,
                }
                let line = Line { score: r.score, index: r.index, document };
                writeln!(out, "{}", serde_json::to_string(&line)?)?;
            }
            false => writeln!(out, "{:.4}  {}  {}", r.score, r.index + 1, visible(document))?,
        }
    }
    out.flush()?;
    Ok(())
}

fn read(lines: &mut Lines) -> Result<Vec<String>> {
    let (mut all, mut bytes) = (vec![], 0usize);
    while let Some(l) = lines.next()? {
        bytes = bytes.saturating_add(l.len());
        if bytes > MAX_BYTES {
            return Err(lines.at(Error::exhausted(format!("the documents are more than {MAX_BYTES} bytes"))));
        }
        all.push(l);
    }
    Ok(all)
}
