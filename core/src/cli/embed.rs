//! `pocketbert embed`.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::args::{Cut, Engine, Open, positive};
use super::feed::Texts;
use super::window::Windowed;
use super::{Outcome, load, window};
use crate::bundle::manifest::Pooling;
use crate::error::{Error, Result};
use crate::tasks::{EmbedOptions, Embedding, LongOptions, Role, TextEmbedder, VectorFormat};

const HELP: &str = "\
Examples:
  pocketbert embed \"what a lovely film\"                       768 numbers as one JSON line
  pocketbert embed --file titles.txt --format i8 > vectors.jsonl
  pocketbert embed --file book.txt --long                      one vector of the whole file, read in windows
  pocketbert embed --compare \"a cat sat here\" \"there sat a cat\"    how near the two are, -1 to 1
  pocketbert embed \"Where is it?\" --role query --dims 256
  pocketbert embed \"…\" --model all-MiniLM-L6-v2/ --pooling mean  a folder with model.onnx and tokenizer.json

A line is {\"dims\": 768, \"format\": \"f32\", \"origin\": \"…\", \"values\": […]}; with --format i8 `values` are steps and
`scale` is their size. Only vectors of the same `origin` can be compared.
The model is --model, else $POCKETBERT_MODEL, else models/everyday.pbert.";

#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub struct Embed {
    /// The text; `-` for one text a line from standard input
    #[arg(conflicts_with = "file")]
    pub text: Option<String>,
    /// Read one text a line from this file
    #[arg(long, short, value_name = "F")]
    pub file: Option<PathBuf>,
    /// Tell how near two texts are, by the cosine of their vectors
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["text", "file", "long"])]
    pub compare: Vec<String>,
    /// Bundle, .onnx file or model folder
    #[arg(long, short, value_name = "B")]
    pub model: Option<PathBuf>,
    /// Head of the bundle, or output of the ONNX model
    #[arg(long, value_name = "H")]
    pub head: Option<String>,
    /// Keep this many dimensions, the first ones [default: all]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub dims: Option<usize>,
    /// How numbers are kept: f32, f16, i8
    #[arg(long, value_name = "T", default_value = "f32", value_parser = format)]
    pub format: VectorFormat,
    /// What rows of tokens become: cls, mean, max [default: as the bundle says, else mean]
    #[arg(long, value_name = "P", value_parser = pooling)]
    pub pooling: Option<Pooling>,
    /// Leave the vector's length as it is
    #[arg(long)]
    pub no_normalize: bool,
    /// Which prefix of the bundle to put in front: text (none), query, document
    #[arg(long, value_name = "R", default_value = "text", value_parser = role)]
    pub role: Role,
    /// Put this in front instead
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    /// What to keep of a text that is too long
    #[arg(long, value_enum, default_value_t, conflicts_with = "long")]
    pub truncation: Cut,
    #[command(flatten)]
    pub windows: Windowed,
    /// With --long, how windows become one answer: mean, weighted, max
    #[arg(long, value_name = "M", default_value = "weighted", value_parser = super::args::merge, requires = "long")]
    pub merge: crate::tasks::WindowMerge,
    /// With --compare: one JSON object. (Vectors always are.)
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: Engine,
    #[command(flatten)]
    pub open: Open,
}

fn format(s: &str) -> std::result::Result<VectorFormat, String> {
    VectorFormat::parse(s).map_err(|e| e.to_string())
}

fn pooling(s: &str) -> std::result::Result<Pooling, String> {
    match s {
        "cls" => Ok(Pooling::Cls),
        "mean" => Ok(Pooling::Mean),
        "max" => Ok(Pooling::Max),
        _ => Err("use `cls`, `mean` or `max`".into()),
    }
}

fn role(s: &str) -> std::result::Result<Role, String> {
    match s {
        "text" => Ok(Role::Text),
        "query" => Ok(Role::Query),
        "document" => Ok(Role::Document),
        _ => Err("use `text`, `query` or `document`".into()),
    }
}

pub fn embed(a: &Embed) -> Outcome {
    let texts = match &a.compare[..] {
        [] if a.windows.long => None,
        [] => Some(Texts::open(a.text.as_deref(), a.file.as_deref())?),
        _ => None,
    };
    let path = match &a.model {
        Some(p) => p.clone(),
        None => load::default_model()?,
    };
    let model = Arc::new(load::open(&path, &a.open, false)?);
    let embedder = TextEmbedder::from_model(model, a.head.as_deref())?;
    let options = EmbedOptions {
        pooling: a.pooling,
        normalize: a.no_normalize.then_some(false),
        dims: a.dims,
        format: a.format,
        role: a.role,
        prefix: a.prefix.clone(),
        truncation: a.truncation.into(),
        max_length: None,
        call: a.engine.call(),
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    if let [first, second] = &a.compare[..] {
        let v = embedder.embed_batch_with(&[first, second], &options)?;
        let [x, y] = &v[..] else { return Err(Error::internal("two texts, but not two vectors").into()) };
        let cosine = x.cosine(y)?;
        match a.json {
            true => writeln!(out, "{{\"cosine\":{}}}", serde_json::to_string(&cosine)?)?,
            false => writeln!(out, "{cosine:.4}")?,
        }
        out.flush()?;
        return Ok(());
    }
    let mut write = |_: &str, v: Embedding| {
        writeln!(out, "{}", line(&v)?)?;
        Ok(out.flush()?)
    };
    if let Some(texts) = texts {
        return texts.answer("texts embedded:", |feed| embedder.stream(feed, &options), write);
    }
    let long = LongOptions { merge: a.merge, ..a.windows.options() };
    let text = window::whole(a.text.as_deref(), a.file.as_deref())?;
    write(&text, embedder.embed_long(&text, &options, &long)?)
}

fn line(e: &Embedding) -> Result<String> {
    #[derive(Serialize)]
    struct Line<'a> {
        dims: usize,
        format: &'a str,
        origin: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        scale: Option<f32>,
        values: Numbers<'a>,
    }
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Numbers<'a> {
        Floats(Vec<f32>),
        Steps(&'a [i8]),
    }
    let (scale, values) = match e.steps() {
        Some((steps, scale)) => (Some(scale), Numbers::Steps(steps)),
        None => (None, Numbers::Floats(e.values())),
    };
    let format = e.format().name();
    let line = Line { dims: e.dims(), format, origin: e.origin().to_string(), scale, values };
    serde_json::to_string(&line).map_err(|e| Error::internal(e.to_string()))
}
