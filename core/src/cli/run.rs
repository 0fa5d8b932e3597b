//! `pocketbert run`: JSON lines in, JSON lines out.

use std::io::{BufWriter, Write};

use serde::Serialize;
use serde::ser::SerializeMap;

use super::args::Run;
use super::forward::{How, Input, Request, Values, Wanted, forward, wanted};
use super::io::Lines;
use super::progress::Progress;
use super::{Outcome, load};
use crate::error::Error;
use crate::kernels::Isa;
use crate::model::Model;

/// Answers to lines that are read ahead hold at most this many values, whatever `--batch` says.
const VALUES_AHEAD: usize = 1 << 24;

pub fn run(a: &Run) -> Outcome {
    let mut lines = Lines::open(a.input.as_deref())?;
    let model = load::open(&a.model, &a.open, a.reference_semantics)?;
    let wanted = wanted(&model, a.head.as_deref())?;
    let how = How {
        isa: a.engine.kernel.unwrap_or_else(Isa::best),
        threads: a.engine.threads,
        per_tensor: a.reference_semantics,
    };
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let progress = Progress::beside_answers("lines answered:");
    let mut answers = Answers { model: &model, wanted, how, odd: 0 };
    let mut waiting = vec![];
    let mut ahead = 0;
    // What was read before a bad line is answered before the error.
    let error = loop {
        let line = match lines.next() {
            Ok(Some(l)) => l,
            Ok(None) => break None,
            Err(e) => break Some(e),
        };
        match parse(&line, &model, !a.no_special_tokens) {
            Ok(input) => {
                match input.values(&model, &answers.wanted) {
                    Ok(n) => ahead += n,
                    Err(e) => break Some(lines.at(e)),
                }
                waiting.push(input);
            }
            Err(e) => break Some(lines.at(e)),
        }
        if waiting.len() >= a.batch || ahead >= VALUES_AHEAD {
            answers.write(&mut out, &waiting, &lines)?;
            progress.add(waiting.len() as u64);
            waiting.clear();
            ahead = 0;
        }
    };
    answers.write(&mut out, &waiting, &lines)?;
    drop(progress);
    if answers.odd > 0 {
        let mut err = std::io::stderr().lock();
        let _ = writeln!(
            err,
            "pocketbert: warning: {} values are not finite and were written as null",
            answers.odd
        );
    }
    error.map_or(Ok(()), |e| Err(e.into()))
}

fn parse(line: &str, model: &Model, special_tokens: bool) -> Result<Input, Error> {
    const EXPECTED: &str = "expected an object with `text` (and `pair`) or `ids` (and `mask`, `types`)";
    if !line.trim_start().starts_with('{') {
        return Err(Error::invalid(format!("not a JSON object; {EXPECTED}")));
    }
    let request: Request = serde_json::from_str(line).map_err(|e| match e.classify() {
        // These messages may quote the line, and texts do not belong into logs.
        serde_json::error::Category::Data => {
            Error::invalid(format!("a field of another name or type up to column {}; {EXPECTED}", e.column()))
        }
        _ => Error::invalid(format!("not JSON: {e}; {EXPECTED}")),
    })?;
    Input::new(request, model, special_tokens)
}

struct Answers<'a> {
    model: &'a Model,
    wanted: Vec<Wanted>,
    how: How,
    /// Values that were not finite.
    odd: u64,
}

impl Answers<'_> {
    fn write(&mut self, out: &mut impl Write, inputs: &[Input], lines: &Lines) -> Outcome {
        if inputs.is_empty() {
            return Ok(());
        }
        let values = forward(self.model, inputs, &self.wanted, self.how).map_err(|e| match inputs.len() {
            1 => lines.at(e),
            n => e.context(format_args!("in the {n} lines up to {}", lines.number())),
        })?;
        for (input, values) in inputs.iter().zip(&values) {
            self.odd += values.iter().flat_map(|v| &v.data).filter(|x| !x.is_finite()).count() as u64;
            let outputs = Outputs { names: &self.wanted, values };
            serde_json::to_writer(
                &mut *out,
                &Answer { ids: &input.ids, outputs, truncated: input.truncated },
            )?;
            out.write_all(b"\n")?;
        }
        out.flush()?;
        Ok(())
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    ids: &'a [Vec<i64>],
    outputs: Outputs<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

struct Outputs<'a> {
    names: &'a [Wanted],
    values: &'a [Values],
}

impl Serialize for Outputs<'_> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(self.names.len()))?;
        for (w, v) in self.names.iter().zip(self.values) {
            // serde_json prints an f32 with as few digits as read back to the same bits.
            map.serialize_entry(&w.name, v)?;
        }
        map.end()
    }
}
