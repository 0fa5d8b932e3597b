//! What comes out of a tokenizer, and how it is made to fit a length.

use super::spans::Span;

/// Which part of a text that is too long is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Truncation {
    /// The start, as Hugging Face does by default.
    #[default]
    Head,
    /// The end.
    Tail,
    /// Both ends: half of the tokens from the start (one more if odd), the rest from the end.
    HeadTail,
    /// Nothing: a text that is too long is an error of kind `OutOfRange`.
    Refuse,
}

/// How to encode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Most ids in the result, special tokens included.
    pub max_length: usize,
    /// What to keep of a text that is too long. Of a pair the longer half is cut first.
    pub truncation: Truncation,
    /// Whether the file's special tokens are put around the text.
    pub add_special_tokens: bool,
}

impl Default for EncodeOptions {
    /// 512 tokens, the start kept, special tokens added.
    fn default() -> Self {
        EncodeOptions { max_length: 512, truncation: Truncation::Head, add_special_tokens: true }
    }
}

/// One or two texts as a model takes them. All vectors have one entry per token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Type ids: 0 for the first text of a BERT pair, 1 for the second.
    pub type_ids: Vec<u32>,
    /// Bytes of the text (of the second text for its tokens; of its word after `encode_words`) that became
    /// the token: always inside it and between characters. `0..0` for special tokens that were added.
    pub offsets: Vec<Span>,
    /// Whether the token was added by the template.
    pub special: Vec<bool>,
    /// Number of the word (as the pre-tokenizer splits; the caller's word after `encode_words`), counted per
    /// text from its start. `None` for added special tokens.
    pub word_ids: Vec<Option<u32>>,
    /// 0 or 1: the text that the token came from. `None` for added special tokens.
    pub sequence_ids: Vec<Option<u8>>,
    /// How many of the kept tokens are the unknown token.
    pub unknown: usize,
    /// What was left out, if anything was.
    pub truncated: Option<Truncated>,
}

impl Encoding {
    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no token (only without special tokens).
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// What truncation left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// Tokens left out; a lower bound unless `exact`.
    pub dropped_tokens: usize,
    /// Whether all of the text was tokenised. A long single text of which only the start is kept is read no
    /// further than needed, so there the count is a lower bound.
    pub exact: bool,
    /// The stretch that was left out of each text that was cut.
    pub cuts: Vec<Cut>,
}

/// The stretch of one text that the model does not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// 0 or 1: which text.
    pub sequence: u8,
    /// Bytes of that text from the end of the last token before the cut (or its start) to the start of the
    /// first token after it (or its end). After `encode_words`: numbers of words, a word cut in the middle
    /// counted as seen.
    pub bytes: Span,
}

/// Tokens of one text, before special tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens {
    pub ids: Vec<u32>,
    pub spans: Vec<Span>,
    pub words: Vec<u32>,
}

impl Tokens {
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn push(&mut self, id: u32, span: Span, word: u32) {
        self.ids.push(id);
        self.spans.push(span);
        self.words.push(word);
    }

    pub(super) fn remove(&mut self, range: std::ops::Range<usize>) {
        self.ids.drain(range.clone());
        self.spans.drain(range.clone());
        self.words.drain(range);
    }

    /// A copy of some of them.
    pub(super) fn slice(&self, range: std::ops::Range<usize>) -> Tokens {
        let part = |v: &[u32]| v.get(range.clone()).unwrap_or_default().to_vec();
        let spans = self.spans.get(range.clone()).unwrap_or_default().to_vec();
        Tokens { ids: part(&self.ids), spans, words: part(&self.words) }
    }

    fn append(&mut self, mut other: Tokens) {
        self.ids.append(&mut other.ids);
        self.spans.append(&mut other.spans);
        self.words.append(&mut other.words);
    }
}

/// Takes the tokens of one text as they come and holds on to those that truncation may keep, so that a text
/// of megabytes needs memory for twice `budget` tokens only.
#[derive(Debug)]
pub(super) struct Collector {
    head: Tokens,
    tail: Tokens,
    head_room: usize,
    tail_room: usize,
    /// Tokens seen.
    pub total: usize,
    /// Whether every token of the text was seen.
    pub exact: bool,
}

impl Collector {
    pub(super) fn new(budget: usize, truncation: Truncation) -> Self {
        let (head_room, tail_room) = match truncation {
            Truncation::Head | Truncation::Refuse => (budget, 0),
            Truncation::Tail => (0, budget),
            Truncation::HeadTail => (budget, budget),
        };
        Collector {
            head: Tokens::default(),
            tail: Tokens::default(),
            head_room,
            tail_room,
            total: 0,
            exact: true,
        }
    }

    pub(super) fn push(&mut self, id: u32, span: Span, word: u32) {
        self.total += 1;
        if self.head.len() < self.head_room {
            self.head.push(id, span, word);
        } else if self.tail_room > 0 {
            self.tail.push(id, span, word);
            if self.tail.len() >= self.tail_room.saturating_mul(2).max(1024) {
                let excess = self.tail.len().saturating_sub(self.tail_room);
                self.tail.remove(0..excess);
            }
        }
    }

    /// `keep` of the tokens, at most the budget, and where they were cut: the index of the first token after
    /// the gap.
    pub(super) fn finish(self, keep: usize, truncation: Truncation) -> (Tokens, Option<usize>) {
        let Collector { mut head, tail, total, .. } = self;
        head.append(tail);
        if total <= keep {
            return (head, None);
        }
        let first = match truncation {
            Truncation::Head | Truncation::Refuse => keep,
            Truncation::Tail => 0,
            Truncation::HeadTail => keep.div_ceil(2),
        };
        let last = keep - first;
        let end = head.len().saturating_sub(last);
        head.remove(first.min(end)..end);
        (head, Some(first))
    }
}

/// How many tokens two texts of `a` and `b` tokens keep when `room` are allowed: the longer is cut first,
/// then both to half, the longer getting the odd one. As `truncate_encodings` of `tokenizers` 0.23.2 does.
pub(super) fn longest_first(a: usize, b: usize, room: usize) -> (usize, usize) {
    if a.saturating_add(b) <= room {
        return (a, b);
    }
    let short = a.min(b);
    let half = room / 2;
    let (short, long) = if short <= half { (short, room - short) } else { (half, room - half) };
    if a > b { (long, short) } else { (short, long) }
}
