//! `pocketbert tokenize`.

use std::io::{BufWriter, Write};

use serde_json::json;

use super::args::{Open, Tokenize};
use super::io::{Lines, visible};
use super::{Outcome, load};
use crate::error::{Error, Result};
use crate::text::{EncodeOptions, Encoding, MAX_FILE_BYTES, Tokenizer};

pub fn tokenize(a: &Tokenize) -> Outcome {
    // Files that are quick to refuse come before a model that takes long to open.
    let lines = match a.text.as_deref() {
        None | Some("-") => Some(Lines::open(None)?),
        Some(_) => None,
    };
    let alone;
    let model;
    let (tokenizer, limit) = if a.model.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
        alone = read(&a.model)?;
        (&alone, alone.file_max_length().unwrap_or(512))
    } else {
        model = load::open(&a.model, &Open { defer_hash: true, copy: false }, false)?;
        (model.tokenizer()?, model.info().max_length)
    };
    let options = EncodeOptions {
        max_length: a.max_length.unwrap_or(limit),
        truncation: a.truncation.into(),
        add_special_tokens: !a.no_special_tokens,
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut answer = |text: &str| -> Outcome {
        let e = tokenizer.encode(text, a.pair.as_deref(), &options)?;
        let view = View { tokenizer, text, pair: a.pair.as_deref(), e: &e };
        if a.json {
            view.json(&mut out)?
        } else {
            view.table(&mut out)?
        }
        out.flush()?;
        Ok(())
    };
    let Some(mut lines) = lines else { return answer(a.text.as_deref().unwrap_or_default()) };
    while let Some(text) = lines.next()? {
        answer(&text).map_err(|f| match f {
            super::Failure::Bad(e) => lines.at(e).into(),
            other => other,
        })?;
    }
    Ok(())
}

fn read(path: &std::path::Path) -> Result<Tokenizer> {
    let size = std::fs::metadata(path).map_err(|e| Error::io(path.display(), &e))?.len();
    if size > MAX_FILE_BYTES as u64 {
        return Err(Error::exhausted(format!("`{}` is larger than {MAX_FILE_BYTES} bytes", path.display())));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io(path.display(), &e))?;
    Tokenizer::from_bytes(&bytes).map_err(|e| e.context(path.display()))
}

struct View<'a> {
    tokenizer: &'a Tokenizer,
    text: &'a str,
    pair: Option<&'a str>,
    e: &'a Encoding,
}

impl View<'_> {
    fn token(&self, i: usize) -> String {
        self.tokenizer.token(self.e.ids[i]).unwrap_or_default()
    }

    /// What token `i` covers; `None` for added special tokens.
    fn covered(&self, i: usize) -> Option<&str> {
        let text = match self.e.sequence_ids[i]? {
            0 => self.text,
            _ => self.pair?,
        };
        self.e.offsets[i].of(text)
    }

    fn unknown(&self, i: usize) -> bool {
        !self.e.special[i] && Some(self.e.ids[i]) == self.tokenizer.unk_id()
    }

    fn json(&self, out: &mut impl Write) -> Outcome {
        let e = self.e;
        let spans: Vec<_> = e.offsets.iter().map(|s| [s.start, s.end]).collect();
        let unknown: Vec<usize> = (0..e.len()).filter(|&i| self.unknown(i)).collect();
        let truncated = e.truncated.as_ref().map(|t| {
            let cuts: Vec<_> = t
                .cuts
                .iter()
                .map(|c| json!({"sequence": c.sequence, "start": c.bytes.start, "end": c.bytes.end}))
                .collect();
            json!({"dropped_tokens": t.dropped_tokens, "exact": t.exact, "cuts": cuts})
        });
        let answer = json!({
            "tokens": (0..e.len()).map(|i| self.token(i)).collect::<Vec<_>>(),
            "ids": e.ids,
            "type_ids": e.type_ids,
            "spans": spans,
            "sequences": e.sequence_ids,
            "special": e.special,
            "unknown": unknown,
            "truncated": truncated,
        });
        serde_json::to_writer(&mut *out, &answer)?;
        out.write_all(b"\n")?;
        Ok(())
    }

    fn table(&self, out: &mut impl Write) -> Outcome {
        let e = self.e;
        let tokens: Vec<String> = (0..e.len()).map(|i| visible(&self.token(i))).collect();
        let width = tokens.iter().map(|t| t.chars().count()).max().unwrap_or(0).clamp(5, 40);
        writeln!(out, "{:>5}  {:width$}  {:>6}  {:>11}  text", "#", "token", "id", "bytes")?;
        for (i, token) in tokens.iter().enumerate() {
            let (span, text) = match self.covered(i) {
                Some(t) => (format!("{}..{}", e.offsets[i].start, e.offsets[i].end), visible(t)),
                None => ("-".into(), "(special)".into()),
            };
            let note = if self.unknown(i) { "  <- unknown" } else { "" };
            writeln!(out, "{i:>5}  {token:width$}  {:>6}  {span:>11}  {text}{note}", e.ids[i])?;
        }
        write!(out, "{} tokens, {} unknown", e.len(), e.unknown)?;
        match &e.truncated {
            None => writeln!(out, ", nothing cut")?,
            Some(t) => {
                let least = if t.exact { "" } else { "at least " };
                writeln!(out, ", cut: {least}{} tokens left out", t.dropped_tokens)?;
                for c in &t.cuts {
                    let which = if c.sequence == 0 { "text" } else { "pair" };
                    writeln!(out, "  bytes {}..{} of the {which} are not seen", c.bytes.start, c.bytes.end)?;
                }
            }
        }
        Ok(())
    }
}
