//! Post-processors as one list of pieces: where the special tokens stand around one or two sequences.

use serde_json::Value;

use super::component::Part;
use super::limits::*;
use crate::{Error, Result};

/// One piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// All tokens of sequence 0 or 1, under a type id.
    Sequence { which: u8, type_id: u32 },
    /// One special token.
    Special { id: u32, type_id: u32 },
}

/// What stands around one sequence and around two.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub single: Vec<Piece>,
    /// `None`: the file's template cannot hold two sequences.
    pub pair: Option<Vec<Piece>>,
    /// Whether spans leave out the spaces that byte-level tokens carry.
    pub trim_offsets: bool,
    /// Names of the first and last special token around one sequence: what BERT calls CLS and SEP.
    pub cls: Option<u32>,
    pub sep: Option<u32>,
}

impl Default for Template {
    fn default() -> Self {
        Template {
            single: vec![Piece::Sequence { which: 0, type_id: 0 }],
            pair: Some(vec![
                Piece::Sequence { which: 0, type_id: 0 },
                Piece::Sequence { which: 1, type_id: 1 },
            ]),
            trim_offsets: false,
            cls: None,
            sep: None,
        }
    }
}

impl Template {
    /// Reads `v`; every special token must be known to `known(id)`.
    pub(super) fn read(v: &Value, known: &dyn Fn(u32) -> bool) -> Result<Template> {
        let mut out = Template::default();
        let mut set = false;
        out.fill(v, &mut set, 0)?;
        for piece in out.single.iter().chain(out.pair.iter().flatten()) {
            if let Piece::Special { id, .. } = piece
                && !known(*id)
            {
                return Err(Error::data_loss(format!(
                    "post-processor: special token id {id} is not in the vocabulary"
                )));
            }
        }
        let special = |p: &Piece| match p {
            Piece::Special { id, .. } => Some(*id),
            Piece::Sequence { .. } => None,
        };
        out.cls = out.single.first().and_then(special);
        out.sep = out.single.last().and_then(special);
        Ok(out)
    }

    /// Special tokens around one sequence, or two.
    pub(super) fn specials(pieces: &[Piece]) -> usize {
        pieces.iter().filter(|p| matches!(p, Piece::Special { .. })).count()
    }

    fn fill(&mut self, v: &Value, set: &mut bool, depth: usize) -> Result<()> {
        if v.is_null() {
            return Ok(());
        }
        let p = Part::new("post-processor", v)?;
        if p.kind != "ByteLevel" && p.kind != "Sequence" && std::mem::replace(set, true) {
            return Err(Error::unimplemented(
                "post-processor `Sequence` with more than one template is not supported; keep one",
            ));
        }
        match p.kind {
            "TemplateProcessing" => self.template(&p)?,
            "BertProcessing" => {
                let (cls, sep) = (named(&p, "cls")?, named(&p, "sep")?);
                self.single = pieces(&[Ok(cls), Err(0), Ok(sep)], &[0, 0, 0]);
                self.pair = Some(pieces(&[Ok(cls), Err(0), Ok(sep), Err(1), Ok(sep)], &[0, 0, 0, 1, 1]));
            }
            "RobertaProcessing" => {
                let (cls, sep) = (named(&p, "cls")?, named(&p, "sep")?);
                self.single = pieces(&[Ok(cls), Err(0), Ok(sep)], &[0; 3]);
                self.pair = Some(pieces(&[Ok(cls), Err(0), Ok(sep), Ok(sep), Err(1), Ok(sep)], &[0; 6]));
                self.trim_offsets |= p.field("trim_offsets").as_bool().unwrap_or(true);
            }
            "ByteLevel" => self.trim_offsets |= p.field("trim_offsets").as_bool().unwrap_or(true),
            "Sequence" => {
                let list = p.field("processors").as_array().ok_or_else(|| p.bad("processors", "a list"))?;
                if depth >= MAX_DEPTH || list.len() > MAX_CHAIN {
                    return Err(Error::exhausted("post-processor `Sequence` is too long or too deep"));
                }
                for inner in list {
                    self.fill(inner, set, depth + 1)?;
                }
            }
            _ => {
                return Err(p.unsupported(
                    "TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel and Sequence",
                ));
            }
        }
        Ok(())
    }

    fn template(&mut self, p: &Part<'_>) -> Result<()> {
        let count = |pieces: &[Piece], n: u8| {
            pieces.iter().filter(|p| matches!(p, Piece::Sequence { which, .. } if *which == n)).count()
        };
        let single = template_pieces(p, "single")?;
        if count(&single, 0) != 1 || count(&single, 1) != 0 {
            return Err(p.bad("single", "a template that holds sequence A once"));
        }
        let pair = template_pieces(p, "pair")?;
        self.single = single;
        self.pair = (count(&pair, 0) == 1 && count(&pair, 1) == 1).then_some(pair);
        Ok(())
    }
}

/// `Ok(id)` for a special token, `Err(which)` for a sequence, with their type ids.
fn pieces(parts: &[std::result::Result<u32, u8>], types: &[u32]) -> Vec<Piece> {
    let piece = |(part, &type_id): (&std::result::Result<u32, u8>, &u32)| match *part {
        Ok(id) => Piece::Special { id, type_id },
        Err(which) => Piece::Sequence { which, type_id },
    };
    parts.iter().zip(types).map(piece).collect()
}

/// `["[CLS]", 101]`.
fn named(p: &Part<'_>, name: &str) -> Result<u32> {
    let id = p.field(name).get(1).and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
    id.ok_or_else(|| p.bad(name, "a token and its id"))
}

fn template_pieces(p: &Part<'_>, name: &str) -> Result<Vec<Piece>> {
    let bad = || p.bad(name, "a list of `Sequence` and `SpecialToken` pieces that `special_tokens` knows");
    let number = |v: Option<&Value>| v.and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let mut out = Vec::new();
    for v in p.field(name).as_array().ok_or_else(bad)? {
        if let Some(s) = v.get("Sequence") {
            let which = match s.get("id").and_then(Value::as_str) {
                Some("A") => 0,
                Some("B") => 1,
                _ => return Err(bad()),
            };
            out.push(Piece::Sequence { which, type_id: number(s.get("type_id")).ok_or_else(bad)? });
        } else {
            let s = v.get("SpecialToken").ok_or_else(bad)?;
            let type_id = number(s.get("type_id")).ok_or_else(bad)?;
            let key = s.get("id").and_then(Value::as_str).ok_or_else(bad)?;
            // A name may stand for several ids.
            let ids = p.field("special_tokens").get(key).and_then(|t| t.get("ids")).and_then(Value::as_array);
            for id in ids.ok_or_else(bad)? {
                out.push(Piece::Special { id: number(Some(id)).ok_or_else(bad)?, type_id });
            }
        }
        if out.len() > MAX_PIECES {
            return Err(Error::exhausted(format!(
                "post-processor: `{name}` has more than {MAX_PIECES} pieces"
            )));
        }
    }
    Ok(out)
}
