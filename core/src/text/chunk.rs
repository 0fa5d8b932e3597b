//! Where a text may be cut so that the parts tokenise as the whole would.
//!
//! For BERT-style files the answer is: before an ASCII space or line feed, before a CJK ideograph where the
//! normalizer puts spaces around those, and before a punctuation mark where the pre-tokenizer makes each one a
//! word. Then
//! - no added token spans the cut (such files are taken as BERT-style only if no added token absorbs white
//!   space and all consist of visible ASCII, of which normalising makes no white space; a mark that occurs in
//!   one is no place to cut);
//! - normalising is local: cleaning, lower-casing and the CJK rule look at one character, and canonical
//!   (de)composition never reorders or composes across the start of a space, an ideograph or these marks;
//! - the pre-tokenizer splits there, so no word spans the cut;
//! - the part after the cut starts with a character that stays, so characters that are removed (accents,
//!   controls) are accounted to the same neighbour as in the whole text.
//!
//! For byte-level BPE in GPT-2's form (RoBERTa) it is: before a space between two characters that are no white
//! space. Its regular expression ends a word there, and takes the space into the next one, whatever stands
//! further away; nothing is normalised; and no added token reaches over the cut, since all consist of visible
//! ASCII and none absorbs white space to its right.
//!
//! Cutting bounds the memory (the `tokenizers` crate needs up to 600 bytes per byte of text) and lets a
//! call that wants the first 512 tokens stop after a few kilobytes.

use super::limits::MAX_RUN_BYTES;
use crate::{Error, Result};

/// Target size of the first chunk: 512 tokens of English are about 2.5 kB.
const FIRST: usize = 4 << 10;
/// Target size of later chunks.
const LATER: usize = 64 << 10;

/// How a tokenizer's texts may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cuts {
    /// Nowhere: a text goes through in one piece.
    Never,
    /// Before spaces; if `cjk`, before ideographs; before the ASCII characters whose bits are set in `marks`
    /// and, unless that is 0, before common CJK marks.
    Bert { cjk: bool, marks: u128 },
    /// Before a space that stands alone between two characters that are no white space (byte-level BPE).
    Bytes,
}

/// The parts of a text in order, each with its offset.
pub(super) struct Chunks<'t> {
    text: &'t str,
    at: usize,
    cuts: Cuts,
    /// Size that the next chunk aims at; doubles up to `most`.
    target: usize,
    most: usize,
}

impl<'t> Chunks<'t> {
    pub(super) fn new(text: &'t str, cuts: Cuts) -> Self {
        Chunks { text, at: 0, cuts, target: FIRST, most: LATER }
    }

    /// Same, with chunks of about `target` bytes.
    pub(super) fn sized(text: &'t str, cuts: Cuts, target: usize) -> Self {
        Chunks { text, at: 0, cuts, target, most: target }
    }

    fn end(&self) -> usize {
        let from = self.text.ceil_char_boundary(self.at.saturating_add(self.target));
        let (cjk, marks) = match self.cuts {
            Cuts::Bert { cjk, marks } => (cjk, marks),
            Cuts::Bytes => return self.lone_space(from),
            Cuts::Never => return self.text.len(),
        };
        let rest = self.text.get(from..).unwrap_or("");
        let here = |c: char| match c {
            ' ' | '\n' => true,
            _ if c.is_ascii() => marks >> (c as u32) & 1 == 1,
            '、' | '。' | '，' | '！' | '？' => marks != 0,
            _ => cjk && is_ideograph(c),
        };
        rest.find(here).map_or(self.text.len(), |i| from + i)
    }

    /// The first space from `from` on that has visible neighbours on both sides.
    fn lone_space(&self, from: usize) -> usize {
        let mut before = self.text.get(..from).and_then(|t| t.chars().next_back());
        let mut rest = self.text.get(from..).unwrap_or("").char_indices().peekable();
        while let Some((i, c)) = rest.next() {
            let visible = |c: char| !c.is_whitespace();
            if c == ' ' && before.is_some_and(visible) && rest.peek().is_some_and(|n| visible(n.1)) {
                return from + i;
            }
            before = Some(c);
        }
        self.text.len()
    }
}

impl<'t> Iterator for Chunks<'t> {
    type Item = Result<(usize, &'t str)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.text.len() {
            return None;
        }
        let (start, end) = (self.at, self.end());
        self.at = end;
        self.target = self.target.saturating_mul(2).min(self.most);
        if end - start > MAX_RUN_BYTES {
            return Some(Err(Error::exhausted(format!(
                "the text has a stretch of {} bytes without a place to cut it, the limit is {MAX_RUN_BYTES}; \
                 split it first",
                end - start
            ))));
        }
        Some(Ok((start, self.text.get(start..end).unwrap_or(""))))
    }
}

/// The ASCII punctuation that occurs in none of `added`, as bits for [`Cuts::Bert`].
pub(super) fn marks<'a>(added: impl Iterator<Item = &'a str>) -> u128 {
    let bit = |b: u8| if b.is_ascii_punctuation() { 1u128 << b } else { 0 };
    let used = added.flat_map(str::bytes).fold(0, |all, b| all | bit(b));
    (0..128).fold(0, |all, b| all | bit(b)) & !used
}

/// The ideographs (a subset of those the `BertNormalizer` puts spaces around).
fn is_ideograph(c: char) -> bool {
    matches!(c as u32, 0x4E00..=0x9FFF | 0x3400..=0x4DBF | 0x20000..=0x2A6DF)
}
