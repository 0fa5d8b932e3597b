//! Normalizers, pre-tokenizers and models: judged against an allow-list and built by constructor.
//!
//! Why a constructor and not the crate's deserialiser: that one tries types until a set of fields fits, so
//! `"type"` does not bind it; it also panics on a bad `Precompiled` map and on BPE merges whose second token
//! is shorter than the prefix (`tokenizers` 0.23.2, `normalizers/mod.rs`, `models/bpe/model.rs`).

use serde_json::{Map, Value};
use tokenizers::models::bpe::BPE;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{self as norm, NormalizerWrapper, replace::ReplacePattern};
use tokenizers::pre_tokenizers::{
    self as pre, PreTokenizerWrapper, metaspace::PrependScheme, split::SplitPattern,
};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{Model as _, ModelWrapper};

use super::json::{self, shorten};
use super::limits::*;
use crate::{Error, Result};

/// A component's object with the name under which errors speak of it.
pub(super) struct Part<'v> {
    pub what: &'static str,
    pub kind: &'v str,
    fields: &'v Map<String, Value>,
}

impl<'v> Part<'v> {
    pub(super) fn new(what: &'static str, v: &'v Value) -> Result<Self> {
        let fields = v
            .as_object()
            .ok_or_else(|| Error::data_loss(format!("{what} in `tokenizer.json` is not an object")))?;
        let kind = fields.get("type").and_then(Value::as_str).ok_or_else(|| {
            Error::data_loss(format!(
                "{what} in `tokenizer.json` has no `type`; save it with a recent `tokenizers`"
            ))
        })?;
        Ok(Part { what, kind, fields })
    }

    pub(super) fn field(&self, name: &str) -> &'v Value {
        self.fields.get(name).unwrap_or(&Value::Null)
    }

    pub(super) fn bad(&self, name: &str, want: &str) -> Error {
        Error::data_loss(format!("{} `{}`: `{name}` must be {want}", self.what, shorten(self.kind)))
    }

    fn flag(&self, name: &str, default: Option<bool>) -> Result<bool> {
        match (self.field(name), default) {
            (Value::Bool(b), _) => Ok(*b),
            (Value::Null, Some(d)) => Ok(d),
            _ => Err(self.bad(name, "true or false")),
        }
    }

    fn text(&self, name: &str) -> Result<&'v str> {
        self.field(name).as_str().ok_or_else(|| self.bad(name, "a string"))
    }

    /// The literal of `{"String": "…"}`; a regular expression from a file is refused.
    fn pattern(&self) -> Result<&'v str> {
        let p = self.field("pattern");
        if p.get("Regex").is_some() {
            return Err(Error::unimplemented(format!(
                "{} `{}` brings a regular expression, whose matching time has no bound; \
                 use a tokenizer with literal patterns",
                self.what, self.kind
            )));
        }
        match p.get("String").and_then(Value::as_str) {
            Some(s) if !s.is_empty() && s.len() <= MAX_TOKEN_BYTES => Ok(s),
            _ => Err(self.bad("pattern", "a literal string, not empty")),
        }
    }

    fn behavior(&self, default: Option<SplitDelimiterBehavior>) -> Result<SplitDelimiterBehavior> {
        use SplitDelimiterBehavior::*;
        Ok(match (self.field("behavior").as_str(), default) {
            (Some("Removed"), _) => Removed,
            (Some("Isolated"), _) => Isolated,
            (Some("MergedWithPrevious"), _) => MergedWithPrevious,
            (Some("MergedWithNext"), _) => MergedWithNext,
            (Some("Contiguous"), _) => Contiguous,
            (None, Some(d)) if self.field("behavior").is_null() => d,
            _ => return Err(self.bad("behavior", "one of the five split behaviours")),
        })
    }

    fn list(&self, name: &str) -> Result<&'v [Value]> {
        match self.field(name).as_array() {
            Some(l) => Ok(l),
            None => Err(self.bad(name, "a list")),
        }
    }

    pub(super) fn unsupported(&self, supported: &str) -> Error {
        Error::unimplemented(format!(
            "{} `{}` is not supported; this version reads {supported}",
            self.what,
            shorten(self.kind)
        ))
    }
}

/// What the walk over a chain of components has used up.
pub(super) struct Walk {
    left: usize,
    growth: usize,
    byte_level: bool,
    /// Facts that decide where a text may be cut: see [`super::chunk`].
    pub bert_like: bool,
    pub spaces_around_cjk: bool,
}

impl Walk {
    pub(super) fn new() -> Self {
        Walk { left: MAX_CHAIN, growth: 1, byte_level: false, bert_like: true, spaces_around_cjk: false }
    }

    fn step(&mut self, depth: usize) -> Result<()> {
        self.left = self.left.checked_sub(1).filter(|_| depth <= MAX_DEPTH).ok_or_else(|| {
            Error::exhausted(format!(
                "`tokenizer.json` chains more than {MAX_CHAIN} components or nests them deeper than {MAX_DEPTH}"
            ))
        })?;
        Ok(())
    }

    fn grow(&mut self, part: &Part<'_>, from: usize, to: usize) -> Result<()> {
        self.growth = self.growth.saturating_mul(to.div_ceil(from.max(1)).max(1));
        if self.growth > MAX_GROWTH {
            return Err(Error::exhausted(format!(
                "{} `{}` makes a text more than {MAX_GROWTH} times as long",
                part.what, part.kind
            )));
        }
        Ok(())
    }
}

/// The normalizer that `v` describes; `null` is none.
pub(super) fn normalizer(v: &Value, walk: &mut Walk, depth: usize) -> Result<Option<NormalizerWrapper>> {
    if v.is_null() {
        return Ok(None);
    }
    walk.step(depth)?;
    let p = Part::new("normalizer", v)?;
    Ok(Some(match p.kind {
        "BertNormalizer" => {
            let accents = match p.field("strip_accents") {
                Value::Null => None,
                Value::Bool(b) => Some(*b),
                _ => return Err(p.bad("strip_accents", "true, false or null")),
            };
            let cjk = p.flag("handle_chinese_chars", None)?;
            // A later Bert normalizer sees characters that an earlier component may have made.
            walk.spaces_around_cjk = depth == 0 && cjk;
            norm::BertNormalizer::new(p.flag("clean_text", None)?, cjk, accents, p.flag("lowercase", None)?)
                .into()
        }
        "NFC" => norm::NFC.into(),
        "NFD" => norm::NFD.into(),
        "NFKC" => {
            walk.bert_like = false;
            norm::NFKC.into()
        }
        "NFKD" => {
            walk.bert_like = false;
            norm::NFKD.into()
        }
        "Nmt" => {
            walk.bert_like = false;
            norm::Nmt.into()
        }
        "Lowercase" => norm::Lowercase.into(),
        "StripAccents" => norm::StripAccents.into(),
        "Strip" => {
            walk.bert_like = false;
            norm::Strip::new(p.flag("strip_left", None)?, p.flag("strip_right", None)?).into()
        }
        "Replace" => {
            walk.bert_like = false;
            let (from, to) = (p.pattern()?, p.text("content")?);
            walk.grow(&p, from.len(), to.len())?;
            norm::Replace::new(ReplacePattern::String(from.to_owned()), to)
                .map_err(|_| p.bad("pattern", "a shorter literal string"))?
                .into()
        }
        "Prepend" => {
            walk.bert_like = false;
            let s = p.text("prepend")?;
            if s.len() > 16 {
                return Err(p.bad("prepend", "at most 16 bytes"));
            }
            norm::Prepend::new(s.to_owned()).into()
        }
        "ByteLevel" => {
            walk.bert_like = false;
            walk.grow(&p, 1, 2)?;
            norm::ByteLevel.into()
        }
        "Sequence" => {
            let mut chain = Vec::new();
            for n in p.list("normalizers")? {
                chain.extend(normalizer(n, walk, depth + 1)?);
            }
            norm::Sequence::new(chain).into()
        }
        _ => {
            return Err(p.unsupported(
                "BertNormalizer, NFC, NFD, NFKC, NFKD, Nmt, Lowercase, StripAccents, Strip, Replace, Prepend, \
                 ByteLevel and Sequence (SentencePiece tokenizers are not supported)",
            ));
        }
    }))
}

/// The pre-tokenizer that `v` describes; `null` is none.
pub(super) fn pre_tokenizer(v: &Value, walk: &mut Walk, depth: usize) -> Result<Option<PreTokenizerWrapper>> {
    if v.is_null() {
        return Ok(None);
    }
    walk.step(depth)?;
    let p = Part::new("pre-tokenizer", v)?;
    Ok(Some(match p.kind {
        "BertPreTokenizer" => pre::bert::BertPreTokenizer.into(),
        "Whitespace" => pre::whitespace::Whitespace.into(),
        "WhitespaceSplit" => pre::whitespace::WhitespaceSplit.into(),
        "Punctuation" => {
            let b = p.behavior(Some(SplitDelimiterBehavior::Isolated))?;
            pre::punctuation::Punctuation::new(b).into()
        }
        "Digits" => pre::digits::Digits::new(p.flag("individual_digits", None)?).into(),
        "Metaspace" => {
            let mut chars = p.text("replacement")?.chars();
            let (Some(c), None) = (chars.next(), chars.next()) else {
                return Err(p.bad("replacement", "one character"));
            };
            let prefix = p.flag("add_prefix_space", Some(true))?;
            let scheme = match (p.field("prepend_scheme").as_str(), prefix) {
                (Some("always"), true) => PrependScheme::Always,
                (Some("first"), true) => PrependScheme::First,
                (Some("never"), _) => PrependScheme::Never,
                (None, true) => PrependScheme::Always,
                (None, false) => PrependScheme::Never,
                _ => {
                    return Err(
                        p.bad("prepend_scheme", "`always`, `first` or `never`, as `add_prefix_space` says")
                    );
                }
            };
            pre::metaspace::Metaspace::new(c, scheme, p.flag("split", Some(true))?).into()
        }
        "ByteLevel" => {
            // Each one re-encodes the bytes of the one before: twice is a mistake and doubles the text.
            if std::mem::replace(&mut walk.byte_level, true) {
                return Err(Error::data_loss("pre-tokenizer `ByteLevel` appears twice"));
            }
            let (prefix, trim) = (p.flag("add_prefix_space", None)?, p.flag("trim_offsets", Some(true))?);
            pre::byte_level::ByteLevel::new(prefix, trim, p.flag("use_regex", Some(true))?).into()
        }
        "Split" => {
            let (pattern, invert) = (p.pattern()?.to_owned(), p.flag("invert", None)?);
            pre::split::Split::new(SplitPattern::String(pattern), p.behavior(None)?, invert)
                .map_err(|_| p.bad("pattern", "a shorter literal string"))?
                .into()
        }
        "Sequence" => {
            let mut chain = Vec::new();
            for t in p.list("pretokenizers")? {
                chain.extend(pre_tokenizer(t, walk, depth + 1)?);
            }
            pre::sequence::Sequence::new(chain).into()
        }
        _ => {
            return Err(p.unsupported(
                "BertPreTokenizer, Whitespace, WhitespaceSplit, Punctuation, Digits, Metaspace, ByteLevel, Split \
                 with a literal and Sequence",
            ));
        }
    }))
}

/// A model with what the tokenizer needs to know about it.
pub(super) struct BuiltModel {
    pub model: ModelWrapper,
    pub kind: &'static str,
    pub unk: Option<(String, u32)>,
    pub max_id: u32,
}

/// The model, its vocabulary moved out of `raw`.
pub(super) fn model(raw: json::Model) -> Result<BuiltModel> {
    let json::Model { settings, vocab, max_id, merges } = raw;
    let v = Value::Object(settings);
    let p = Part::new("model", &v)?;
    let kind = match p.kind {
        "WordPiece" => "WordPiece",
        "WordLevel" => "WordLevel",
        "BPE" => "BPE",
        _ => return Err(p.unsupported("WordPiece, WordLevel and BPE")),
    };
    let vocab = vocab.ok_or_else(|| p.bad("vocab", "there"))?;
    if vocab.is_empty() {
        return Err(p.bad("vocab", "more than empty"));
    }
    let unk = match p.field("unk_token") {
        Value::Null => None,
        Value::String(s) => match vocab.get(s) {
            Some(id) => Some((s.clone(), *id)),
            None => return Err(p.bad("unk_token", "in the vocabulary")),
        },
        _ => return Err(p.bad("unk_token", "a string")),
    };
    let need_unk = || unk.clone().ok_or_else(|| p.bad("unk_token", "there"));
    let model: ModelWrapper = match kind {
        "WordPiece" => {
            let chars =
                p.field("max_input_chars_per_word").as_u64().filter(|n| (1..=MAX_WORD_CHARS).contains(n));
            let chars = chars
                .ok_or_else(|| p.bad("max_input_chars_per_word", &format!("from 1 to {MAX_WORD_CHARS}")))?;
            let prefix = p.text("continuing_subword_prefix")?;
            if prefix.len() > MAX_TOKEN_BYTES {
                return Err(p.bad("continuing_subword_prefix", "shorter"));
            }
            WordPiece::builder()
                .unk_token(need_unk()?.0)
                .continuing_subword_prefix(prefix.to_owned())
                .max_input_chars_per_word(chars as usize)
                .vocab(vocab)
                .build()
                .map_err(|e| p.bad("vocab", &shorten(&format!("usable: {e}"))))?
                .into()
        }
        "WordLevel" => WordLevel::builder()
            .unk_token(need_unk()?.0)
            .vocab(vocab)
            .build()
            .map_err(|e| p.bad("vocab", &shorten(&format!("usable: {e}"))))?
            .into(),
        _ => bpe(&p, vocab, merges.ok_or_else(|| p.bad("merges", "there"))?, &unk)?,
    };
    debug_assert!(model.get_vocab_size() > 0);
    Ok(BuiltModel { model, kind, unk, max_id })
}

fn bpe(
    p: &Part<'_>,
    vocab: tokenizers::models::bpe::Vocab,
    merges: tokenizers::models::bpe::Merges,
    unk: &Option<(String, u32)>,
) -> Result<ModelWrapper> {
    let affix = |name: &str| match p.field(name) {
        Value::Null => Ok(None),
        Value::String(s) if s.len() <= MAX_TOKEN_BYTES => Ok((!s.is_empty()).then(|| s.clone())),
        _ => Err(p.bad(name, "a short string or null")),
    };
    let (prefix, suffix) = (affix("continuing_subword_prefix")?, affix("end_of_word_suffix")?);
    for (i, (a, b)) in merges.iter().enumerate() {
        // What the crate would index by: `b` without the prefix, and the two in one vocabulary entry.
        let rest = prefix.as_deref().map_or(Some(b.as_str()), |p| b.strip_prefix(p));
        let known = rest.is_some_and(|rest| {
            vocab.contains_key(a) && vocab.contains_key(b) && vocab.contains_key(&format!("{a}{rest}"))
        });
        if !known {
            return Err(Error::data_loss(format!(
                "model `BPE`: merge {i} names a token outside the vocabulary"
            )));
        }
    }
    // No cache: the crate keeps one per thread for ever, with the user's words in it. No dropout: it makes
    // answers random and has its use in training only.
    let mut b = BPE::builder().cache_capacity(0).vocab_and_merges(vocab, merges);
    b = b.fuse_unk(p.flag("fuse_unk", Some(false))?).byte_fallback(p.flag("byte_fallback", Some(false))?);
    b = b.ignore_merges(p.flag("ignore_merges", Some(false))?);
    if let Some((u, _)) = unk {
        b = b.unk_token(u.clone());
    }
    if let Some(s) = prefix {
        b = b.continuing_subword_prefix(s);
    }
    if let Some(s) = suffix {
        b = b.end_of_word_suffix(s);
    }
    Ok(b.build().map_err(|e| p.bad("merges", &shorten(&format!("usable: {e}"))))?.into())
}
