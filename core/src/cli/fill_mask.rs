//! `pocketbert fill-mask`.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::args::{Cut, Engine, Open, positive};
use super::feed::Texts;
use super::io::visible;
use super::window::Windowed;
use super::{Outcome, load, window};
use crate::tasks::{FillMaskOptions, MaskFill, MaskFiller};

const HELP: &str = "\
Examples:
  pocketbert fill-mask \"Play some [MASK] music.\"
  pocketbert fill-mask \"The film was [MASK].\" --targets good,bad
  pocketbert fill-mask --file gaps.txt --json > filled.jsonl
  pocketbert fill-mask --file book.txt --long           the whole file is one text; masks see the window around them

Several masks of a text are filled each for itself. Targets are tokens as the vocabulary spells them.
The model is --model, else $POCKETBERT_MODEL, else models/everyday.pbert.";

#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub struct FillMask {
    /// The text, with `[MASK]` where a token is missing; `-` for one text a line from standard input
    #[arg(conflicts_with = "file")]
    pub text: Option<String>,
    /// Read one text a line from this file
    #[arg(long, short, value_name = "F")]
    pub file: Option<PathBuf>,
    /// Bundle, .onnx file or model folder
    #[arg(long, short, value_name = "B")]
    pub model: Option<PathBuf>,
    /// Head of the bundle, or output of the ONNX model
    #[arg(long, value_name = "H")]
    pub head: Option<String>,
    /// Show this many candidates per mask at most
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = positive)]
    pub top_k: usize,
    /// Choose among these tokens only
    #[arg(long, value_name = "TOKENS", value_delimiter = ',')]
    pub targets: Vec<String>,
    /// What to keep of a text that is too long
    #[arg(long, value_enum, default_value_t, conflicts_with = "long")]
    pub truncation: Cut,
    #[command(flatten)]
    pub windows: Windowed,
    /// One JSON object per text
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: Engine,
    #[command(flatten)]
    pub open: Open,
}

pub fn fill_mask(a: &FillMask) -> Outcome {
    let texts = match a.windows.long {
        true => None,
        false => Some(Texts::open(a.text.as_deref(), a.file.as_deref())?),
    };
    let path = match &a.model {
        Some(p) => p.clone(),
        None => load::default_model()?,
    };
    let model = Arc::new(load::open(&path, &a.open, false)?);
    let filler = MaskFiller::from_model(model, a.head.as_deref())?;
    let options = FillMaskOptions {
        top_k: a.top_k,
        targets: a.targets.clone(),
        truncation: a.truncation.into(),
        max_length: None,
        call: a.engine.call(),
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let many = texts.as_ref().is_some_and(Texts::many);
    let mut write = |_: &str, answer: MaskFill| {
        match a.json {
            true => write_json(&mut out, &answer)?,
            false => write_text(&mut out, &answer, many)?,
        }
        Ok(out.flush()?)
    };
    if let Some(texts) = texts {
        return texts.answer("texts filled:", |feed| filler.stream(feed, &options), write);
    }
    let text = window::whole(a.text.as_deref(), a.file.as_deref())?;
    write(&text, filler.fill_long(&text, &options, &a.windows.options())?)
}

fn write_json(out: &mut impl Write, a: &MaskFill) -> Outcome {
    #[derive(Serialize)]
    struct Candidate<'a> {
        token: &'a str,
        id: u32,
        probability: f32,
        logit: f32,
        filled: &'a str,
    }
    #[derive(Serialize)]
    struct Mask<'a> {
        start: usize,
        end: usize,
        candidates: Vec<Candidate<'a>>,
    }
    #[derive(Serialize)]
    struct Line<'a> {
        masks: Vec<Mask<'a>>,
        tokens: usize,
        truncated: bool,
        model_version: &'a str,
    }
    let masks = a.masks.iter().map(|m| {
        let candidates = m.candidates.iter().map(|c| Candidate {
            token: &c.token,
            id: c.id,
            probability: c.probability,
            logit: c.logit,
            filled: &c.filled,
        });
        Mask { start: m.span.start, end: m.span.end, candidates: candidates.collect() }
    });
    let line = Line {
        masks: masks.collect(),
        tokens: a.token_count,
        truncated: a.truncated,
        model_version: &a.model_version,
    };
    writeln!(out, "{}", serde_json::to_string(&line)?)?;
    Ok(())
}

fn write_text(out: &mut impl Write, a: &MaskFill, many: bool) -> Outcome {
    for (i, m) in a.masks.iter().enumerate() {
        if many {
            // All masks of a text on one line.
            let parts: Vec<_> =
                m.candidates.iter().map(|c| format!("{} {:.4}", visible(&c.token), c.probability)).collect();
            let end = if i + 1 == a.masks.len() { "\n" } else { "\t|\t" };
            write!(out, "{}{end}", parts.join("\t"))?;
            continue;
        }
        if i > 0 {
            writeln!(out)?;
        }
        let width = m.candidates.iter().map(|c| c.token.chars().count()).max().unwrap_or(0);
        for c in &m.candidates {
            let token = visible(&c.token);
            writeln!(out, "{:.4}  {token:width$}  {}", c.probability, visible(&c.filled))?;
        }
    }
    if a.truncated {
        let _ = writeln!(std::io::stderr(), "pocketbert: the text was cut to {} tokens", a.token_count);
    }
    Ok(())
}
