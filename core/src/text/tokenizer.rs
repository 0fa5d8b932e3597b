//! [`Tokenizer`]: built from checked parts, run on chunks of a text.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use serde_json::Value;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, TokenizerImpl};
use tokenizers::{
    DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
};

use super::chunk::{Chunks, Cuts, marks};
use super::component::{self, Walk};
use super::encoding::{
    Collector, Cut, EncodeOptions, Encoding, Tokens, Truncated, Truncation, longest_first,
};
use super::json::{self, shorten};
use super::limits::{MAX_FILE_BYTES, MAX_RUN_BYTES, MAX_TEXT_BYTES};
use super::spans::Span;
use super::template::{Piece, Template};
use crate::{Error, ErrorKind, Result};

type Inner =
    TokenizerImpl<ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

static CAUGHT: AtomicU64 = AtomicU64::new(0);

/// Panics of the `tokenizers` crate that were caught since the process started. Each is a defect: there or
/// in our checks.
pub fn caught_panics() -> u64 {
    CAUGHT.load(Ordering::Relaxed)
}

/// The last net around the crate: its code is checked for panics that a file or text can reach, but it is
/// not ours.
pub(super) fn guarded<T>(what: &str, f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| {
        CAUGHT.fetch_add(1, Ordering::Relaxed);
        Err(Error::internal(format!("the `tokenizers` crate panicked while {what}; please report this file")))
    })
}

/// A text tokenizer, read from a `tokenizer.json`. Share it between threads by reference or `Arc`.
pub struct Tokenizer {
    inner: Inner,
    /// Added tokens that the crate spells as the normalizer changed them.
    respelled: HashMap<u32, String>,
    template: Template,
    cuts: Cuts,
    kind: &'static str,
    unk: Option<u32>,
    pad: Option<u32>,
    mask: Option<u32>,
    vocab_size: usize,
    file_max_length: Option<usize>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("kind", &self.kind).field("vocab_size", &self.vocab_size).finish()
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. The bytes are untrusted.
    ///
    /// Truncation and padding that the file sets are not applied ([`EncodeOptions`] rule); the former can be
    /// asked for with [`Tokenizer::file_max_length`]. Decoders are ignored.
    ///
    /// # Errors
    /// `DataLoss` if the file is damaged or contradicts itself, `Unimplemented` if a component is not on the
    /// allow-list, `ResourceExhausted` over a limit. The message names the component.
    pub fn from_bytes(json: &[u8]) -> Result<Tokenizer> {
        guarded("reading `tokenizer.json`", || build(json::read(json)?))
    }

    /// Encodes one text, or two as a pair.
    ///
    /// Empty text, or nothing but white space, gives the special tokens alone (`[CLS] [SEP]`).
    ///
    /// # Errors
    /// `InvalidArgument` if `max_length` is less than the number of special tokens; `OutOfRange` for
    /// [`Truncation::Refuse`] and a text that is too long; `ResourceExhausted` for a text over
    /// [`MAX_TEXT_BYTES`]; `Unimplemented` for a pair if the file's template takes one text only.
    pub fn encode(&self, text: &str, pair: Option<&str>, opts: &EncodeOptions) -> Result<Encoding> {
        check_size(text.len().saturating_add(pair.map_or(0, str::len)))?;
        let (pieces, room) = self.plan(pair.is_some(), opts)?;
        guarded("encoding a text", || {
            // The early stop gives a lower bound of the length, which is not enough to tell which half of a
            // pair is the longer one.
            let stop = (pair.is_none() && opts.truncation == Truncation::Head).then_some(room);
            let first = self.collect(text, Chunks::new(text, self.cuts), room, opts.truncation, stop)?;
            let second = match pair {
                Some(p) => Some(self.collect(p, Chunks::new(p, self.cuts), room, opts.truncation, None)?),
                None => None,
            };
            let ends = (text.len(), pair.map_or(0, str::len));
            self.assemble(pieces, first, second, ends, room, opts, |t, i| t.spans[i])
        })
    }

    /// Encodes text that the caller has split into words already: `word_ids` are indices into `words`, and
    /// offsets are bytes within the word. A word that normalises to nothing has no token.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_words(&self, words: &[&str], opts: &EncodeOptions) -> Result<Encoding> {
        check_size(words.iter().fold(words.len(), |sum, w| sum.saturating_add(w.len())))?;
        let (pieces, room) = self.plan(false, opts)?;
        guarded("encoding words", || {
            let mut all = Collector::new(room, opts.truncation);
            for (i, word) in words.iter().enumerate() {
                if opts.truncation == Truncation::Head && all.total > room {
                    all.exact = false;
                    break;
                }
                let number = i as u32;
                for chunk in Chunks::new(word, self.cuts) {
                    let (at, part) = chunk?;
                    self.run(word, at, part, |id, span, _| all.push(id, span, number))?;
                }
            }
            let number = |t: &Tokens, i: usize| Span::new(t.words[i] as usize, t.words[i] as usize + 1);
            self.assemble(pieces, all, None, (words.len(), 0), room, opts, number)
        })
    }

    /// Highest token id plus one: the rows that the embedding table must have at least.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The token with this id.
    pub fn token(&self, id: u32) -> Option<String> {
        self.respelled.get(&id).cloned().or_else(|| self.inner.id_to_token(id))
    }

    /// The id of this token, exactly as the vocabulary spells it.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Id of the unknown token, if the model has one.
    pub fn unk_id(&self) -> Option<u32> {
        self.unk
    }

    /// Id of the special token that opens a text (`[CLS]`, `<s>`).
    pub fn cls_id(&self) -> Option<u32> {
        self.template.cls
    }

    /// Id of the special token that ends a text (`[SEP]`, `</s>`).
    pub fn sep_id(&self) -> Option<u32> {
        self.template.sep
    }

    /// Id of the padding token: as the file's padding says, else `[PAD]` or `<pad>`.
    pub fn pad_id(&self) -> Option<u32> {
        self.pad
    }

    /// Id of `[MASK]` or `<mask>`.
    pub fn mask_id(&self) -> Option<u32> {
        self.mask
    }

    /// `WordPiece`, `WordLevel` or `BPE`.
    pub fn model_kind(&self) -> &'static str {
        self.kind
    }

    /// The length to which the file's own truncation would cut. Not applied here.
    pub fn file_max_length(&self) -> Option<usize> {
        self.file_max_length
    }

    /// Special tokens added around one text or a pair; `None` if the file's template has no pair form.
    pub fn special_tokens(&self, pair: bool) -> Option<usize> {
        if pair { self.template.pair.as_deref() } else { Some(self.template.single.as_slice()) }
            .map(Template::specials)
    }

    /// Highest type id that an encoding can have: 1 for BERT pairs.
    pub fn max_type_id(&self) -> u32 {
        let all = self.template.single.iter().chain(self.template.pair.iter().flatten());
        let type_id = |p: &Piece| match *p {
            Piece::Sequence { type_id, .. } | Piece::Special { type_id, .. } => type_id,
        };
        all.map(type_id).max().unwrap_or(0)
    }

    /// The template and the room it leaves for text.
    pub(super) fn plan(&self, pair: bool, opts: &EncodeOptions) -> Result<(&[Piece], usize)> {
        let pieces = if pair {
            self.template.pair.as_deref().ok_or_else(|| {
                Error::unimplemented("the post-processor of `tokenizer.json` has no form for a pair of texts")
            })?
        } else {
            self.template.single.as_slice()
        };
        let specials = if opts.add_special_tokens { Template::specials(pieces) } else { 0 };
        let room = opts.max_length.checked_sub(specials).ok_or_else(|| {
            Error::invalid(format!(
                "`max_length` is {}, but the special tokens alone are {specials}",
                opts.max_length
            ))
        })?;
        Ok((pieces, room))
    }

    /// Tokenises `chunks` of `text`, stopping once more than `stop` tokens are there.
    pub(super) fn collect(
        &self,
        text: &str,
        chunks: Chunks<'_>,
        room: usize,
        truncation: Truncation,
        stop: Option<usize>,
    ) -> Result<Collector> {
        let mut all = Collector::new(room, truncation);
        let mut base = 0u32;
        for chunk in chunks {
            if stop.is_some_and(|s| all.total > s) {
                all.exact = false;
                break;
            }
            let (at, part) = chunk?;
            let mut next = base;
            self.run(text, at, part, |id, span, word| {
                let word = base.saturating_add(word);
                next = next.max(word.saturating_add(1));
                all.push(id, span, word);
            })?;
            base = next;
        }
        Ok(all)
    }

    /// Tokenises `part`, which starts at byte `at` of `text`.
    pub(super) fn run(
        &self,
        text: &str,
        at: usize,
        part: &str,
        mut emit: impl FnMut(u32, Span, u32),
    ) -> Result<()> {
        if part.len() > MAX_RUN_BYTES {
            return Err(Error::exhausted(format!(
                "a text of {} bytes is too long for this tokenizer in one piece, the limit is {MAX_RUN_BYTES}",
                part.len()
            )));
        }
        let e = self.inner.encode(part, false).map_err(|e| {
            Error::internal(format!("the `tokenizers` crate could not encode: {}", shorten(&e.to_string())))
        })?;
        let words = e.get_word_ids();
        for (i, (&id, &(start, end))) in e.get_ids().iter().zip(e.get_offsets()).enumerate() {
            let mut span = Span::new(at.saturating_add(start), at.saturating_add(end)).widened(text);
            if self.template.trim_offsets {
                span = trimmed(text, span, e.get_tokens().get(i).map_or("", String::as_str));
            }
            emit(id, span, words.get(i).copied().flatten().unwrap_or(0));
        }
        Ok(())
    }

    /// Cuts to length and puts the special tokens around. `place` is where token `i` stands, in the units
    /// of a [`Cut`]; `ends` are the lengths of the texts in those.
    #[allow(clippy::too_many_arguments)] // two call sites, and the parts belong to nothing else
    fn assemble(
        &self,
        pieces: &[Piece],
        first: Collector,
        second: Option<Collector>,
        ends: (usize, usize),
        room: usize,
        opts: &EncodeOptions,
        place: impl Fn(&Tokens, usize) -> Span,
    ) -> Result<Encoding> {
        let (total, exact) = (first.total + second.as_ref().map_or(0, |s| s.total), first.exact);
        if opts.truncation == Truncation::Refuse && total > room {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!(
                    "the text has {total} tokens and there is room for {room}; shorten it or allow truncation"
                ),
            ));
        }
        let (keep, keep_second) = match &second {
            Some(s) => longest_first(first.total, s.total, room),
            None => (first.total.min(room), 0),
        };
        let mut cuts = Vec::new();
        let mut finish = |c: Collector, keep: usize, sequence: u8, end: usize| {
            let (tokens, cut) = c.finish(keep, opts.truncation);
            if let Some(at) = cut {
                let from =
                    at.checked_sub(1).filter(|&i| i < tokens.len()).map_or(0, |i| place(&tokens, i).end);
                let to = if at < tokens.len() { place(&tokens, at).start } else { end };
                cuts.push(Cut { sequence, bytes: Span::new(from, to.max(from)) });
            }
            tokens
        };
        let first = finish(first, keep, 0, ends.0);
        let second = second.map(|s| finish(s, keep_second, 1, ends.1)).unwrap_or_default();
        let kept = first.len() + second.len();

        let mut out = self.wrap(pieces, &first, &second, opts.add_special_tokens);
        if total > kept {
            out.truncated = Some(Truncated { dropped_tokens: total - kept, exact, cuts });
        }
        Ok(out)
    }

    /// Tokens of one or two texts in their template.
    pub(super) fn wrap(&self, pieces: &[Piece], first: &Tokens, second: &Tokens, special: bool) -> Encoding {
        let mut out = Encoding::default();
        for piece in pieces {
            match *piece {
                Piece::Special { id, type_id } if special => {
                    out.ids.push(id);
                    out.type_ids.push(type_id);
                    out.offsets.push(Span::default());
                    out.special.push(true);
                    out.word_ids.push(None);
                    out.sequence_ids.push(None);
                }
                Piece::Special { .. } => {}
                Piece::Sequence { which, type_id } => {
                    let t = if which == 0 { first } else { second };
                    let to = out.ids.len() + t.len();
                    out.unknown += t.ids.iter().filter(|&&id| Some(id) == self.unk).count();
                    out.ids.extend_from_slice(&t.ids);
                    out.type_ids.resize(to, type_id);
                    out.offsets.extend_from_slice(&t.spans);
                    out.special.resize(to, false);
                    out.word_ids.extend(t.words.iter().map(|&w| Some(w)));
                    out.sequence_ids.resize(to, Some(which));
                }
            }
        }
        out
    }

    pub(super) fn cuts(&self) -> Cuts {
        self.cuts
    }
}

pub(super) fn check_size(bytes: usize) -> Result<()> {
    if bytes > MAX_TEXT_BYTES {
        return Err(Error::exhausted(format!("the text has {bytes} bytes, the limit is {MAX_TEXT_BYTES}")));
    }
    Ok(())
}

/// `span` without the spaces that its token carries at either end (`Ġ` in byte-level spelling); a span of
/// spaces shrinks to its end.
fn trimmed(text: &str, span: Span, token: &str) -> Span {
    let Some(s) = span.of(text) else { return span };
    let space = |c: &char| *c == 'Ġ' || c.is_whitespace();
    let front = token.chars().take_while(space).count();
    let back = token.chars().rev().take_while(space).count();
    let white = |c: &char| c.is_whitespace();
    let skip: usize = s.chars().take(front).take_while(white).map(char::len_utf8).sum();
    let drop: usize = s[skip..].chars().rev().take(back).take_while(white).map(char::len_utf8).sum();
    Span::new(span.start + skip, span.end - drop)
}

fn build(file: json::File) -> Result<Tokenizer> {
    let mut walk = Walk::new();
    let normalizer = component::normalizer(&file.normalizer, &mut walk, 0)?;
    let pre_tokenizer = component::pre_tokenizer(&file.pre_tokenizer, &mut walk, 0)?;
    let built = component::model(file.model)?;

    let plain =
        file.added.iter().all(|a| !a.lstrip && !a.rstrip && a.content.bytes().all(|b| b.is_ascii_graphic()));
    let word_model = built.kind != "BPE"; // each word gives a token at least, so words can be counted on
    let bert = plain && word_model && walk.bert_like && splits_at_white_space(&file.pre_tokenizer);
    let marks = match starts_with_bert(&file.pre_tokenizer) {
        true => marks(file.added.iter().map(|a| a.content.as_str())),
        false => 0,
    };
    let visible = file.added.iter().all(|a| !a.rstrip && a.content.bytes().all(|b| b.is_ascii_graphic()));
    let bytes = visible && built.kind == "BPE" && file.normalizer.is_null() && is_gpt2(&file.pre_tokenizer);

    let failed =
        |e: tokenizers::Error| Error::data_loss(format!("`tokenizer.json`: {}", shorten(&e.to_string())));
    let mut inner = Inner::new(built.model);
    if let Some(n) = normalizer {
        inner.with_normalizer(Some(n)).map_err(failed)?;
    }
    if let Some(p) = pre_tokenizer {
        inner.with_pre_tokenizer(Some(p));
    }
    let mut max_id = built.max_id;
    let mut wanted = Vec::with_capacity(file.added.len());
    let mut tokens = Vec::with_capacity(file.added.len());
    for a in file.added {
        if a.content.is_empty() {
            return Err(Error::data_loss("an added token in `tokenizer.json` is empty"));
        }
        max_id = max_id.max(a.id);
        wanted.push((a.content.clone(), a.id));
        let token = AddedToken::from(a.content, a.special);
        tokens.push(
            token.normalized(a.normalized).single_word(a.single_word).lstrip(a.lstrip).rstrip(a.rstrip),
        );
    }
    inner.add_tokens(tokens).map_err(failed)?;
    // The crate numbers tokens that are not in the vocabulary by itself; the model was trained with the file's.
    // It also gives an added token back as the normalizer changed it.
    let mut respelled = HashMap::new();
    for (content, id) in wanted {
        if inner.token_to_id(&content) != Some(id) {
            return Err(Error::data_loss(format!(
                "added token `{}` says id {id}, but its place in the vocabulary is {}; save the file anew",
                shorten(&content),
                inner.token_to_id(&content).map_or_else(|| "unknown".to_owned(), |i| i.to_string())
            )));
        }
        if inner.id_to_token(id).as_ref() != Some(&content) {
            respelled.insert(id, content);
        }
    }
    // Each word gives a token at least where every byte is one, so words can be counted across a cut.
    let all_bytes =
        || ByteLevel::alphabet().iter().all(|c| inner.token_to_id(c.encode_utf8(&mut [0; 4])).is_some());
    let cuts = match bert {
        true => Cuts::Bert { cjk: walk.spaces_around_cjk, marks },
        false if bytes && all_bytes() => Cuts::Bytes,
        false => Cuts::Never,
    };
    let template = Template::read(&file.post_processor, &|id| inner.id_to_token(id).is_some())?;

    let number = |v: Option<&Value>| v.and_then(Value::as_u64);
    let first = |names: [&str; 2]| names.iter().find_map(|n| inner.token_to_id(n));
    let pad = number(file.padding.get("pad_id")).and_then(|id| u32::try_from(id).ok());
    let pad = pad.filter(|&id| inner.id_to_token(id).is_some()).or_else(|| first(["[PAD]", "<pad>"]));
    let mask = first(["[MASK]", "<mask>"]);
    let file_max_length = number(file.truncation.get("max_length")).and_then(|n| usize::try_from(n).ok());
    Ok(Tokenizer {
        respelled,
        template,
        cuts,
        kind: built.kind,
        unk: built.unk.map(|(_, id)| id),
        pad,
        mask,
        vocab_size: max_id as usize + 1,
        file_max_length,
        inner,
    })
}

/// Whether a (checked) pre-tokenizer is GPT-2's alone, with its regular expression.
fn is_gpt2(v: &Value) -> bool {
    v.get("type").and_then(Value::as_str) == Some("ByteLevel")
        && v.get("use_regex").and_then(Value::as_bool).unwrap_or(true)
}

/// Whether a (checked) pre-tokenizer first of all runs BERT's, which makes each punctuation mark a word.
fn starts_with_bert(v: &Value) -> bool {
    match v.get("type").and_then(Value::as_str) {
        Some("Sequence") => v.get("pretokenizers").and_then(|l| l.get(0)).is_some_and(starts_with_bert),
        kind => kind == Some("BertPreTokenizer"),
    }
}

/// Whether a (checked) pre-tokenizer first of all splits at white space and drops it.
fn splits_at_white_space(v: &Value) -> bool {
    match v.get("type").and_then(Value::as_str) {
        Some("BertPreTokenizer" | "Whitespace" | "WhitespaceSplit") => true,
        Some("Sequence") => v.get("pretokenizers").and_then(|l| l.get(0)).is_some_and(splits_at_white_space),
        _ => false,
    }
}

/// `model_max_length` of a `tokenizer_config.json`; `None` if it is absent or the huge number that
/// Hugging Face writes for "no limit".
///
/// # Errors
/// `DataLoss` if the bytes are not such a file, `ResourceExhausted` if they are too many.
pub fn model_max_length(json: &[u8]) -> Result<Option<usize>> {
    #[derive(Deserialize)]
    struct Config {
        model_max_length: Option<serde_json::Number>,
    }
    if json.len() > MAX_FILE_BYTES {
        return Err(Error::exhausted(format!(
            "`tokenizer_config.json` has more than {MAX_FILE_BYTES} bytes"
        )));
    }
    let config: Config = serde_json::from_slice(json).map_err(|e| {
        Error::data_loss(format!("`tokenizer_config.json` cannot be read: {}", shorten(&e.to_string())))
    })?;
    // No model has a million positions.
    let n = config.model_max_length.and_then(|n| n.as_f64()).filter(|n| (1.0..1e6).contains(n));
    Ok(n.map(|n| n as usize))
}
