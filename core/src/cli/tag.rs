//! `pocketbert tag`.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::args::{Cut, Engine, Open};
use super::feed::{Texts, stream};
use super::io::visible;
use super::window::Windowed;
use super::{Outcome, load, window};
use crate::error::Error;
use crate::tasks::{Aggregation, TagOptions, Tagged, TokenClassifier};
use crate::text::Span;

const HELP: &str = "\
Examples:
  pocketbert tag \"Angela Merkel visited Paris\"              names, of the default model's first tagging head
  pocketbert tag \"play jazz by Miles Davis\" --head slots
  pocketbert tag --file notes.txt --json > spans.jsonl       one text a line
  pocketbert tag --file book.txt --long --json               the whole file is one text, read in windows
  pocketbert tag \"New York is big\" --aggregation none        every token by itself

With --json, `bytes`, `chars` and `utf16` are where a span starts and ends in the text, in those units.
The model is --model, else $POCKETBERT_MODEL, else models/everyday.pbert.";

#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub struct Tag {
    /// The text; `-` for one text a line from standard input
    #[arg(conflicts_with = "file")]
    pub text: Option<String>,
    /// Read one text a line from this file
    #[arg(long, short, value_name = "F")]
    pub file: Option<PathBuf>,
    /// Bundle, .onnx file or model folder
    #[arg(long, short, value_name = "B")]
    pub model: Option<PathBuf>,
    /// Head of the model that answers
    #[arg(long, value_name = "H")]
    pub head: Option<String>,
    /// How tokens become spans: none, simple, first, average, max
    #[arg(long, value_name = "A", default_value = "first", value_parser = aggregation)]
    pub aggregation: Aggregation,
    /// The text is words with white space between them, split for good
    #[arg(long)]
    pub words: bool,
    /// Leave out spans with a smaller score than this (0 to 1)
    #[arg(long, value_name = "P")]
    pub threshold: Option<f32>,
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

fn aggregation(s: &str) -> Result<Aggregation, String> {
    window::by_name(s, &Aggregation::ALL)
}

pub fn tag(a: &Tag) -> Outcome {
    let texts = match a.windows.long {
        true => Texts::one(window::whole(a.text.as_deref(), a.file.as_deref())?),
        false => Texts::open(a.text.as_deref(), a.file.as_deref())?,
    };
    let path = a.model.clone().map_or_else(load::default_model, Ok)?;
    let model = Arc::new(load::open(&path, &a.open, false)?);
    let tagger = TokenClassifier::from_model(model, a.head.as_deref())?;
    let options = TagOptions {
        aggregation: a.aggregation,
        threshold: a.threshold,
        truncation: a.truncation.into(),
        call: a.engine.call(),
        ..TagOptions::default()
    };
    let long = a.windows.options();
    let mut out = BufWriter::new(std::io::stdout().lock());
    let many = texts.many();
    let head = &tagger.head()?.name;
    let write = |text: &str, answer: Tagged| {
        let joined;
        let shown = match a.words {
            true => {
                joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
                joined.as_str()
            }
            false => text,
        };
        if a.json {
            write_json(&mut out, head, &answer, shown)?;
        } else if many {
            let parts =
                answer.entities.iter().map(|e| format!("{} [{}]", visible(e.of(shown)), visible(&e.label)));
            writeln!(out, "{}", parts.collect::<Vec<_>>().join("\t"))?;
        } else {
            write_table(&mut out, &answer, shown)?;
        }
        Ok(out.flush()?)
    };
    let one = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        match (a.words, a.windows.long) {
            (true, true) => tagger.tag_words_long(&words, &options, &long),
            (true, false) => tagger.tag_words(&words, &options),
            (false, _) => tagger.tag_long(text, &options, &long),
        }
    };
    let what = "texts tagged:";
    match a.words || a.windows.long {
        true => texts.answer(what, |feed| stream(feed, |t| t.iter().map(|t| one(t)).collect()), write),
        false => texts.answer(what, |feed| tagger.stream(feed, &options), write),
    }
}

fn write_json(out: &mut impl Write, head: &str, a: &Tagged, text: &str) -> Outcome {
    #[derive(Serialize)]
    struct Entity<'a> {
        label: &'a str,
        score: f32,
        text: &'a str,
        bytes: [usize; 2],
        chars: [usize; 2],
        utf16: [usize; 2],
        #[serde(skip_serializing_if = "Option::is_none")]
        words: Option<[usize; 2]>,
    }
    #[derive(Serialize)]
    struct Line<'a> {
        head: &'a str,
        entities: Vec<Entity<'a>>,
        tokens: usize,
        truncated: bool,
        model_version: &'a str,
    }
    let two = |s: Span| [s.start, s.end];
    let entity = |e| {
        let e: &crate::tasks::Entity = e;
        Entity {
            label: &e.label,
            score: e.score,
            text: e.of(text),
            bytes: two(e.bytes),
            chars: two(e.chars),
            utf16: two(e.utf16),
            words: e.words.map(two),
        }
    };
    let entities = a.entities.iter().map(entity).collect();
    let line = Line {
        head,
        entities,
        tokens: a.token_count,
        truncated: a.truncated,
        model_version: &a.model_version,
    };
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)?;
    Ok(())
}

fn write_table(out: &mut impl Write, a: &Tagged, text: &str) -> Outcome {
    let width = a.entities.iter().map(|e| visible(&e.label).chars().count()).max().unwrap_or(0);
    for e in &a.entities {
        writeln!(out, "{:width$}  {:.4}  {}", visible(&e.label), e.score, visible(e.of(text)))?;
    }
    if a.entities.is_empty() {
        writeln!(out, "(no span)")?;
    }
    if a.truncated {
        let e =
            Error::invalid(format!("the text was cut to {} tokens: --long reads all of it", a.token_count));
        let _ = writeln!(std::io::stderr(), "pocketbert: {e}");
    }
    Ok(())
}
