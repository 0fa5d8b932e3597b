//! `pocketbert answer`.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::args::{Engine, Open, positive};
use super::feed::{Texts, stream};
use super::io::visible;
use super::{Outcome, load, window};
use crate::error::{Error, Result};
use crate::tasks::{AnswerOptions, Answers, LongOptions, QuestionAnswerer};
use crate::text::Span;

const HELP: &str = "\
Examples:
  pocketbert answer \"When was it built?\" \"The tower was built in 1889.\"
  pocketbert answer \"Who wrote the letter?\" --file letters.txt --top-k 3      a text of any length
  cat page.txt | pocketbert answer \"What is it about?\" -
  pocketbert answer --pairs questions.jsonl --json > answers.jsonl
                                      lines of {\"question\": \"…\", \"context\": \"…\"}

A context that does not fit is read in windows; --window and --stride say which. With --json, `bytes`, `chars` and
`utf16` are where an answer starts and ends in the context.
The model is --model, else $POCKETBERT_MODEL, else models/everyday.pbert.";

#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub struct Answer {
    /// The question
    #[arg(required_unless_present = "pairs", conflicts_with = "pairs")]
    pub question: Option<String>,
    /// The context; `-`, or none, for all of standard input
    #[arg(conflicts_with_all = ["file", "pairs"])]
    pub context: Option<String>,
    /// Take the context from this file, all of it
    #[arg(long, short, value_name = "F")]
    pub file: Option<PathBuf>,
    /// Read questions and contexts from this file of JSON lines (`-`: standard input)
    #[arg(long, value_name = "F.jsonl", conflicts_with = "file")]
    pub pairs: Option<PathBuf>,
    /// Bundle, .onnx file or model folder
    #[arg(long, short, value_name = "B")]
    pub model: Option<PathBuf>,
    /// Head of the model that answers
    #[arg(long, value_name = "H")]
    pub head: Option<String>,
    /// Show this many answers at most, none overlapping another
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    pub top_k: usize,
    /// The longest answer, in tokens
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = positive)]
    pub max_tokens: usize,
    /// Do not widen answers to whole words
    #[arg(long)]
    pub parts_of_words: bool,
    /// Say that there is no answer if the null answer is better by more than this
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub no_answer: Option<f32>,
    /// Tokens of a window, question and special tokens included [default: what the model takes]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub window: Option<usize>,
    /// Tokens from the start of a window to the start of the next [default: half of its room]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub stride: Option<usize>,
    /// One JSON object per question
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: Engine,
    #[command(flatten)]
    pub open: Open,
}

#[derive(Deserialize)]
struct Pair {
    question: String,
    context: String,
}

pub fn answer(a: &Answer) -> Outcome {
    let pairs = a.pairs.as_deref().map(|p| Texts::lines(Some(p))).transpose()?;
    let one = match (&a.question, &pairs) {
        (Some(q), None) => {
            let context = window::whole(a.context.as_deref(), a.file.as_deref())?;
            Some(Pair { question: q.clone(), context })
        }
        _ => None,
    };
    let path = a.model.clone().map_or_else(load::default_model, Ok)?;
    let model = Arc::new(load::open(&path, &a.open, false)?);
    let qa = QuestionAnswerer::from_model(model, a.head.as_deref())?;
    let options = AnswerOptions {
        top_k: a.top_k,
        max_tokens: a.max_tokens,
        whole_words: !a.parts_of_words,
        no_answer: a.no_answer,
        long: LongOptions { window: a.window, stride: a.stride, ..LongOptions::default() },
        call: a.engine.call(),
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    if let Some(p) = one {
        let found = qa.answer_with(&p.question, &p.context, &options)?;
        write_answer(&mut out, a.json, &found, &p.context)?;
    }
    if let Some(pairs) = pairs {
        let run = |lines: &[&str]| {
            let pairs = lines.iter().map(|l| pair_of(l)).collect::<Result<Vec<_>>>()?;
            let refs: Vec<_> = pairs.iter().map(|p| (p.question.as_str(), p.context.as_str())).collect();
            let found = qa.answer_batch_with(&refs, &options)?;
            Ok(pairs.into_iter().zip(found).collect())
        };
        pairs.answer(
            "questions answered:",
            |feed| stream(feed, run),
            |_, (pair, found)| {
                write_answer(&mut out, a.json, &found, &pair.context)?;
                Ok(out.flush()?)
            },
        )?;
    }
    out.flush()?;
    Ok(())
}

fn pair_of(line: &str) -> Result<Pair> {
    serde_json::from_str(line).map_err(|e| {
        // The message of serde_json may quote the line, and texts do not belong into logs.
        let column = e.column();
        Error::invalid(format!(
            "expected an object with `question` and `context`; column {column} does not fit"
        ))
    })
}

fn write_answer(out: &mut impl Write, json: bool, a: &Answers, context: &str) -> Outcome {
    #[derive(Serialize)]
    struct One<'a> {
        text: &'a str,
        score: f32,
        logit: f32,
        bytes: [usize; 2],
        chars: [usize; 2],
        utf16: [usize; 2],
    }
    #[derive(Serialize)]
    struct Line<'a> {
        answers: Vec<One<'a>>,
        no_answer: bool,
        null_margin: f32,
        null_score: f32,
        windows: usize,
        model_version: &'a str,
    }
    if !json {
        if a.no_answer {
            writeln!(out, "(no answer)")?;
            return Ok(());
        }
        for x in &a.answers {
            writeln!(out, "{:.4}  {}", x.score, visible(x.of(context)))?;
        }
        return Ok(());
    }
    let two = |s: Span| [s.start, s.end];
    let one = |x: &'_ crate::tasks::Answer| -> (f32, f32, [usize; 2], [usize; 2], [usize; 2]) {
        (x.score, x.logit, two(x.bytes), two(x.chars), two(x.utf16))
    };
    let answers = a.answers.iter().map(|x| {
        let (score, logit, bytes, chars, utf16) = one(x);
        One { text: x.of(context), score, logit, bytes, chars, utf16 }
    });
    let line = Line {
        answers: answers.collect(),
        no_answer: a.no_answer,
        null_margin: a.null_margin,
        null_score: a.null_score,
        windows: a.windows,
        model_version: &a.model_version,
    };
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)?;
    Ok(())
}
