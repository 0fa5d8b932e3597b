//! Input lines to runs, and runs to the values of each line: what `run` and `self-test` share.

use serde::{Deserialize, Serialize};

use crate::cancel::Stop;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::Isa;
use crate::model::{Batch, Model, OutputInfo, RunOptions};
use crate::text::{EncodeOptions, Tokenizer};

/// Most tokens of one input line, padding included.
const MAX_LINE_TOKENS: usize = 1 << 17;
/// Most values of the answer to one line: half a gigabyte.
const MAX_LINE_VALUES: usize = 1 << 27;
/// Tokens that go into one run; more are split over several, which changes no answer.
const TOKENS_PER_RUN: usize = 8192;
/// The same for outputs that are as wide as a vocabulary.
const VALUES_PER_RUN: usize = 1 << 24;

/// An input line as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    text: Option<String>,
    pair: Option<String>,
    ids: Option<Vec<Vec<i64>>>,
    mask: Option<Vec<Vec<i64>>>,
    types: Option<Vec<Vec<i64>>>,
}

/// An input line, checked: one or more sequences.
#[derive(Debug, PartialEq)]
pub struct Input {
    /// Token ids as given, masked ones included.
    pub ids: Vec<Vec<i64>>,
    mask: Option<Vec<Vec<i64>>>,
    types: Option<Vec<Vec<i64>>>,
    /// The text was cut to fit.
    pub truncated: bool,
}

/// One output of one line.
#[derive(Debug, PartialEq, Serialize)]
pub struct Values {
    /// `[batch, sequence, channels]`, `[batch, channels]` or `[batch, sequence]`.
    pub shape: Vec<usize>,
    /// Row-major.
    pub data: Vec<f32>,
}

/// An output to compute, under the name that answers give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Head of a bundle, or the graph's output.
    pub name: String,
    /// Index into the plan's outputs.
    pub index: usize,
}

/// The outputs of `model` by head (for a bundle) and by name; only `head`, if given. Without it, outputs that can
/// be had for picked tokens alone are left out.
pub fn wanted(model: &Model, head: Option<&str>) -> Result<Vec<Wanted>> {
    let outputs = model.plan().outputs();
    let mut all = vec![];
    let heads = model.bundle().map_or(&[][..], |b| &b.manifest().heads[..]);
    for h in heads {
        if let Some(index) = outputs.iter().position(|o| o.name == h.output) {
            all.push(Wanted { name: h.name.clone(), index });
        }
    }
    for (index, o) in outputs.iter().enumerate() {
        if !all.iter().any(|w| w.index == index) {
            all.push(Wanted { name: o.name.clone(), index });
        }
    }
    let Some(head) = head else {
        // A vocabulary of values per token is for those who ask for it by name.
        if all.iter().any(|w| !outputs[w.index].picked) {
            all.retain(|w| !outputs[w.index].picked);
        }
        return Ok(all);
    };
    let names: Vec<_> = all.iter().map(|w| format!("`{}`", w.name)).collect();
    match all.iter().find(|w| w.name == head) {
        Some(w) => Ok(vec![w.clone()]),
        None => Err(Error::new(
            ErrorKind::NotFound,
            format!("the model has no head or output `{head}`: choose one of {}", names.join(", ")),
        )),
    }
}

impl Input {
    /// Tokenises or checks what a line asks for.
    pub fn new(r: Request, model: &Model, special_tokens: bool) -> Result<Input> {
        let info = model.info();
        match (r.text, r.ids) {
            (Some(text), None) => {
                if r.mask.is_some() || r.types.is_some() {
                    return Err(Error::invalid("`mask` and `types` go with `ids`, not with `text`"));
                }
                Input::text(model.tokenizer()?, info.max_length, &text, r.pair.as_deref(), special_tokens)
            }
            (None, Some(ids)) => {
                if r.pair.is_some() {
                    return Err(Error::invalid("`pair` goes with `text`, not with `ids`"));
                }
                let input = Input { ids, mask: r.mask, types: r.types, truncated: false };
                input.check(info.max_length, info.vocab)?;
                Ok(input)
            }
            _ => Err(Error::invalid("give either `text` or `ids`")),
        }
    }

    /// One text, or a pair.
    pub fn text(
        t: &Tokenizer,
        max_length: usize,
        text: &str,
        pair: Option<&str>,
        special: bool,
    ) -> Result<Input> {
        let options = EncodeOptions { max_length, add_special_tokens: special, ..EncodeOptions::default() };
        let e = t.encode(text, pair, &options)?;
        if e.is_empty() {
            return Err(Error::invalid("the text has no tokens"));
        }
        let widen = |v: &[u32]| vec![v.iter().map(|&i| i64::from(i)).collect::<Vec<i64>>()];
        Ok(Input {
            ids: widen(&e.ids),
            mask: None,
            types: Some(widen(&e.type_ids)),
            truncated: e.truncated.is_some(),
        })
    }

    fn check(&self, max_length: usize, vocab: usize) -> Result<()> {
        if self.ids.is_empty() {
            return Err(Error::invalid("`ids` has no rows"));
        }
        for (i, row) in self.ids.iter().enumerate() {
            if row.is_empty() {
                return Err(Error::invalid(format!("row {i} of `ids` is empty")));
            }
            if row.len() > max_length {
                return Err(Error::new(
                    ErrorKind::OutOfRange,
                    format!("row {i} of `ids` has {} tokens, the model takes {max_length}", row.len()),
                ));
            }
            if let Some(id) = row.iter().find(|id| usize::try_from(**id).map_or(true, |id| id >= vocab)) {
                return Err(Error::new(
                    ErrorKind::OutOfRange,
                    format!(
                        "row {i} of `ids` holds {id}, the model's vocabulary ends at {}",
                        vocab.saturating_sub(1)
                    ),
                ));
            }
        }
        for (name, matrix) in [("mask", &self.mask), ("types", &self.types)] {
            let Some(m) = matrix else { continue };
            if m.len() != self.ids.len() || m.iter().zip(&self.ids).any(|(a, b)| a.len() != b.len()) {
                return Err(Error::invalid(format!("`{name}` must have the rows and lengths of `ids`")));
            }
        }
        if self.mask.iter().flatten().flatten().any(|m| !(0..=1).contains(m)) {
            return Err(Error::invalid("`mask` may hold 0 and 1 only"));
        }
        if let Some(i) = self.mask.iter().flatten().position(|row| !row.contains(&1)) {
            return Err(Error::invalid(format!("row {i} of `mask` masks every token: leave one")));
        }
        let longest = self.ids.iter().map(Vec::len).max().unwrap_or(0);
        if longest.saturating_mul(self.ids.len()) > MAX_LINE_TOKENS {
            return Err(Error::exhausted(format!(
                "{} rows of up to {longest} tokens are too many for one line: split it (limit {MAX_LINE_TOKENS} tokens)",
                self.ids.len()
            )));
        }
        Ok(())
    }

    /// How many values the answer has; an error if they are too many for one line.
    pub fn values(&self, model: &Model, wanted: &[Wanted]) -> Result<usize> {
        let (rows, longest) = (self.ids.len(), self.ids.iter().map(Vec::len).max().unwrap_or(0));
        let one = |o: &OutputInfo| {
            rows.saturating_mul(if o.per_token { longest } else { 1 }).saturating_mul(o.channels)
        };
        let infos = wanted.iter().filter_map(|w| model.plan().outputs().get(w.index));
        let all = infos.map(one).fold(0usize, usize::saturating_add);
        if all > MAX_LINE_VALUES {
            return Err(Error::exhausted(format!(
                "the answer would have {all} values, the limit is {MAX_LINE_VALUES}: split the line, or choose a `--head`"
            )));
        }
        Ok(all)
    }

    /// The token types of a text.
    pub fn types(&self) -> Option<&[i64]> {
        self.types.as_ref()?.first().map(Vec::as_slice)
    }

    /// Length of a row up to its last token that is not masked.
    fn used(&self, row: usize) -> usize {
        let mask = self.mask.as_ref().and_then(|m| m.get(row));
        mask.map_or(self.ids[row].len(), |m| m.iter().rposition(|&x| x == 1).map_or(0, |i| i + 1))
    }
}

/// How to run lines.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Kernels.
    pub isa: Isa,
    /// Threads per run.
    pub threads: usize,
    /// Scales span a line's whole batch: one run per line, with its masked tokens, as ONNX has it.
    pub per_tensor: bool,
}

/// Runs `lines`; for each the values of `wanted` in its order.
///
/// Masked tokens at the end of a row are left out and get zeros, unless scales are per tensor: then they
/// take part, since they count for the scale.
pub fn forward(model: &Model, lines: &[Input], wanted: &[Wanted], how: How) -> Result<Vec<Vec<Values>>> {
    let mut indices: Vec<usize> = wanted.iter().map(|w| w.index).collect();
    indices.sort_unstable();
    indices.dedup();
    let infos = model.plan().outputs();
    let width: usize = indices.iter().filter_map(|&i| infos.get(i)).map(|o| o.channels).sum();
    let room = TOKENS_PER_RUN.min(VALUES_PER_RUN / width.max(1));
    // Each row's values, output by output.
    let mut rows: Vec<Vec<Vec<f32>>> = vec![];
    let mut batch = Batch::new();
    for line in lines {
        for (r, ids) in line.ids.iter().enumerate() {
            let n = if how.per_tensor { ids.len() } else { line.used(r) };
            if !how.per_tensor && !batch.is_empty() && batch.ids.len() + n > room {
                flush(model, &mut batch, &indices, how, &mut rows)?;
            }
            let part = |m: &Option<Vec<Vec<i64>>>| m.as_ref().map(|m| m[r][..n].to_vec());
            batch.push(ids[..n].iter().copied(), part(&line.types).as_deref(), part(&line.mask).as_deref());
        }
        if how.per_tensor {
            flush(model, &mut batch, &indices, how, &mut rows)?;
        }
    }
    flush(model, &mut batch, &indices, how, &mut rows)?;
    let mut rows = rows.into_iter();
    Ok(lines
        .iter()
        .map(|line| {
            let mine: Vec<_> = rows.by_ref().take(line.ids.len()).collect();
            wanted
                .iter()
                .map(|w| {
                    let column = indices.iter().position(|&i| i == w.index).unwrap_or(0);
                    gather(&infos[w.index], line, &mine, column)
                })
                .collect()
        })
        .collect())
}

/// Puts the rows of one output of one line together.
fn gather(info: &OutputInfo, line: &Input, rows: &[Vec<Vec<f32>>], column: usize) -> Values {
    let (b, c) = (rows.len(), info.channels);
    let s = line.ids.iter().map(Vec::len).max().unwrap_or(0);
    let (shape, width) = match (info.per_token, info.flat) {
        (true, false) => (vec![b, s, c], s * c),
        (true, true) => (vec![b, s], s),
        (false, false) => (vec![b, c], c),
        (false, true) => (vec![b], 1),
    };
    let mut data = Vec::with_capacity(b * width);
    for row in rows {
        data.extend_from_slice(&row[column]);
        data.resize(data.len() - row[column].len() + width, 0.0);
    }
    Values { shape, data }
}

/// Runs what is packed and splits the values by sequence.
fn flush(
    model: &Model,
    batch: &mut Batch,
    indices: &[usize],
    how: How,
    rows: &mut Vec<Vec<Vec<f32>>>,
) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let options = RunOptions { isa: how.isa, threads: how.threads, stop: Stop::default(), stats: None };
    let outputs = model.plan().run(batch, indices, options)?;
    for (i, w) in batch.offsets.windows(2).enumerate() {
        let mut row = Vec::with_capacity(outputs.len());
        for o in &outputs {
            let c = if o.info.flat { 1 } else { o.info.channels };
            let range = match o.info.per_token {
                true => w[0] as usize * c..w[1] as usize * c,
                false => i * c..(i + 1) * c,
            };
            let part = o.data.get(range).ok_or_else(|| {
                Error::internal(format!("output `{}` has fewer values than its shape says", o.info.name))
            })?;
            row.push(part.to_vec());
        }
        rows.push(row);
    }
    *batch = Batch::new();
    Ok(())
}
