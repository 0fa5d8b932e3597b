//! [`Windows`]: a text of any length as overlapping encodings, made one after another.
//!
//! The text is tokenised in pieces of a few kilobytes (cut where [`super::chunk`] says that nothing changes),
//! and of its tokens only those of one window and one piece are held. So memory does not grow with the text.

use std::borrow::Borrow;
use std::ops::Range;

use super::chunk::Chunks;
use super::encoding::{EncodeOptions, Encoding, Tokens, Truncation};
use super::spans::Span;
use super::template::Piece;
use super::tokenizer::{Tokenizer, check_size, guarded};
use crate::{Error, Result};

/// Bytes that are tokenised at once. The `tokenizers` crate needs up to 600 times as many.
const PIECE: usize = 4 << 10;

/// One stretch of a text, with special tokens (and the question, if there is one) around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// What the model takes. Offsets and word numbers count from the start of the whole text.
    pub encoding: Encoding,
    /// Number of the window, from 0.
    pub index: usize,
    /// Number, in the whole text, of the text's first token in here.
    pub first: usize,
    /// Where in `encoding` the text's tokens are.
    pub tokens: Range<usize>,
    /// The part of `tokens` that this window sees best: an overlap belongs half to the window before it and half
    /// to the one after it, divided between two words where it holds a word's start. Over all windows each
    /// token of the text is owned once.
    pub own: Range<usize>,
    /// Whether the text ends in here.
    pub last: bool,
}

impl Window {
    /// Bytes of the text from the first token in here to the last (of [`Tokenizer::word_windows`]: within their
    /// words). Empty if there is none.
    pub fn span(&self) -> Span {
        let spans = self.encoding.offsets.get(self.tokens.clone()).unwrap_or_default();
        spans.first().zip(spans.last()).map_or_else(Span::default, |(a, b)| Span::new(a.start, b.end))
    }

    /// Numbers of the words in here. Empty if there is no token.
    pub fn words(&self) -> Range<usize> {
        let words = self.encoding.word_ids.get(self.tokens.clone()).unwrap_or_default();
        let number = |w: Option<&Option<u32>>| w.copied().flatten().map(|w| w as usize);
        match (number(words.first()), number(words.last())) {
            (Some(a), Some(b)) => a..b + 1,
            _ => 0..0,
        }
    }
}

impl Borrow<Encoding> for Window {
    fn borrow(&self) -> &Encoding {
        &self.encoding
    }
}

enum Source<'a> {
    Text { text: &'a str, chunks: Chunks<'a>, words: u32 },
    Words { words: &'a [&'a str], next: usize },
}

/// Second halves of pairs, tokenised once; see [`Tokenizer::windows_before`].
pub(crate) struct Afters(Vec<Tokens>);

/// The windows of a text; see [`Tokenizer::windows`].
///
/// After an error there is nothing more.
pub struct Windows<'a> {
    tokenizer: &'a Tokenizer,
    pieces: &'a [Piece],
    source: Source<'a>,
    /// The other half of a pair, the same in every window.
    other: Option<Tokens>,
    /// The text is the first half.
    text_first: bool,
    /// Tokens of the text in one window.
    room: usize,
    stride: usize,
    /// Tokens from number `first` on.
    buffer: Tokens,
    first: usize,
    owned: usize,
    index: usize,
    ended: bool,
    done: bool,
}

impl std::fmt::Debug for Windows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Windows").field("room", &self.room).field("stride", &self.stride).finish()
    }
}

impl Tokenizer {
    /// Reads `text` in windows of `size` tokens, special tokens included; each starts `stride` tokens of the
    /// text after the one before (`None`: half of what one window holds of the text). With a `question`, that
    /// is the first half of a pair in every window, and the text the second.
    ///
    /// A text without tokens has one window. The tokens are those of [`Tokenizer::encode`], whatever the text's
    /// length.
    ///
    /// ```
    /// # fn main() -> pocketbert::Result<()> {
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
    /// # let model = pocketbert::model::Model::open(path, &Default::default())?;
    /// let tokenizer = model.tokenizer()?;
    /// let text = "play some jazz music ".repeat(100);
    /// for w in tokenizer.windows(&text, None, 128, Some(96))? {
    ///     assert!(w?.encoding.len() <= 128);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for a window without room for the text and for a stride that is 0 or would skip tokens;
    /// those of [`Tokenizer::encode`] for the question, and from the iterator for the text.
    pub fn windows<'a>(
        &'a self,
        text: &'a str,
        question: Option<&str>,
        size: usize,
        stride: Option<usize>,
    ) -> Result<Windows<'a>> {
        check_size(text.len().saturating_add(question.map_or(0, str::len)))?;
        let source = Source::Text { text, chunks: Chunks::sized(text, self.cuts(), PIECE), words: 0 };
        let question = question.map(|q| self.whole(q, size)).transpose()?;
        self.windows_of(source, question, false, size, stride)
    }

    /// Tokenises the second halves of pairs for [`windows_before`](Tokenizer::windows_before) with windows of `size`.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub(crate) fn afters<'s>(&self, texts: impl Iterator<Item = &'s str>, size: usize) -> Result<Afters> {
        texts.map(|t| self.whole(t, size)).collect::<Result<_>>().map(Afters)
    }

    /// [`Tokenizer::windows`] of a text that is the first half of pairs. Each window has room for the longest of
    /// `afters` and comes with that one; [`beside`](Tokenizer::beside) gives it with another.
    ///
    /// # Errors
    /// As [`Tokenizer::windows`].
    pub(crate) fn windows_before<'a>(
        &'a self,
        text: &'a str,
        afters: &Afters,
        size: usize,
        stride: Option<usize>,
    ) -> Result<Windows<'a>> {
        let source = Source::Text { text, chunks: Chunks::sized(text, self.cuts(), PIECE), words: 0 };
        let longest = afters.0.iter().max_by_key(|t| t.len()).cloned().unwrap_or_default();
        check_size(text.len())?;
        self.windows_of(source, Some(longest), true, size, stride)
    }

    /// The pair of the text in `window` and the `i`th of `afters`.
    ///
    /// # Errors
    /// `Unimplemented` if the tokenizer has no form for pairs.
    pub(crate) fn beside(&self, window: &Window, afters: &Afters, i: usize) -> Result<Encoding> {
        let opts = EncodeOptions { max_length: usize::MAX, ..EncodeOptions::default() };
        let (pieces, _) = self.plan(true, &opts)?;
        let (e, of) = (&window.encoding, window.tokens.clone());
        let text = Tokens {
            ids: e.ids.get(of.clone()).unwrap_or_default().to_vec(),
            spans: e.offsets.get(of.clone()).unwrap_or_default().to_vec(),
            words: e.word_ids.get(of).unwrap_or_default().iter().map(|w| w.unwrap_or(0)).collect(),
        };
        let after = afters.0.get(i).ok_or_else(|| Error::internal("a pair without its second half"))?;
        Ok(self.wrap(pieces, &text, after, true))
    }

    /// All tokens of a text that has to fit into a window of `size`. More than fit are as bad as all of them, so no
    /// need to see them all.
    fn whole(&self, text: &str, size: usize) -> Result<Tokens> {
        guarded("encoding a question", || {
            let chunks = Chunks::new(text, self.cuts());
            let all = self.collect(text, chunks, size.saturating_add(1), Truncation::Head, Some(size))?;
            Ok(all.finish(usize::MAX, Truncation::Head).0)
        })
    }

    /// [`Tokenizer::windows`] of text that the caller has split into words: `word_ids` are indices into `words`,
    /// offsets are bytes within the word, as of [`Tokenizer::encode_words`].
    ///
    /// # Errors
    /// As [`Tokenizer::windows`].
    pub fn word_windows<'a>(
        &'a self,
        words: &'a [&'a str],
        size: usize,
        stride: Option<usize>,
    ) -> Result<Windows<'a>> {
        check_size(words.iter().fold(words.len(), |sum, w| sum.saturating_add(w.len())))?;
        self.windows_of(Source::Words { words, next: 0 }, None, false, size, stride)
    }

    fn windows_of<'a>(
        &'a self,
        source: Source<'a>,
        other: Option<Tokens>,
        text_first: bool,
        size: usize,
        stride: Option<usize>,
    ) -> Result<Windows<'a>> {
        let opts = EncodeOptions { max_length: usize::MAX, ..EncodeOptions::default() };
        let (pieces, _) = self.plan(other.is_some(), &opts)?;
        let specials = self.special_tokens(other.is_some()).unwrap_or(0);
        let asked = other.as_ref().map_or(0, Tokens::len);
        let room = size.checked_sub(specials).and_then(|n| n.checked_sub(asked)).filter(|&n| n > 0);
        let room = room.ok_or_else(|| {
            let whose = if text_first { "label's sentence" } else { "question" };
            let and = match asked {
                0 => String::new(),
                n => format!(" and the {whose}'s {n}{}", if n > size { " or more" } else { "" }),
            };
            let shorter = format!(" or a shorter {whose}");
            Error::invalid(format!(
                "a window of {size} tokens has no room for the text beside {specials} special tokens{and}: \
                 use a larger window{}",
                if asked > 0 { shorter.as_str() } else { "" }
            ))
        })?;
        let stride = stride.unwrap_or(room.div_ceil(2));
        if stride == 0 || stride > room {
            return Err(Error::invalid(format!(
                "a window of {size} tokens holds {room} tokens of the text, so a stride of {stride} {}: use 1 to {room}",
                if stride == 0 { "gets nowhere" } else { "would skip some" }
            )));
        }
        Ok(Windows {
            tokenizer: self,
            pieces,
            source,
            other,
            text_first,
            room,
            stride,
            buffer: Tokens::default(),
            first: 0,
            owned: 0,
            index: 0,
            ended: false,
            done: false,
        })
    }
}

impl Windows<'_> {
    /// Tokens of the text that one window holds.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Tokens of the text from the start of one window to the start of the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Reads on until the buffer holds a window and one token more, or the text ends.
    fn fill(&mut self) -> Result<()> {
        let Windows { tokenizer, source, buffer, room, ended, .. } = self;
        guarded("encoding a long text", || {
            while buffer.len() <= *room && !*ended {
                match source {
                    Source::Text { text, chunks, words } => {
                        let Some(chunk) = chunks.next() else {
                            *ended = true;
                            break;
                        };
                        let (at, part) = chunk?;
                        let base = *words;
                        tokenizer.run(text, at, part, |id, span, word| {
                            let word = base.saturating_add(word);
                            *words = (*words).max(word.saturating_add(1));
                            buffer.push(id, span, word);
                        })?;
                    }
                    Source::Words { words, next } => {
                        let Some(word) = words.get(*next) else {
                            *ended = true;
                            break;
                        };
                        let number = u32::try_from(*next).unwrap_or(u32::MAX);
                        *next += 1;
                        for chunk in Chunks::sized(word, tokenizer.cuts(), PIECE) {
                            let (at, part) = chunk?;
                            tokenizer.run(word, at, part, |id, span, _| buffer.push(id, span, number))?;
                        }
                    }
                }
            }
            Ok(())
        })
    }

    /// Where, in the buffer, the part that this window owns ends and that of the next begins.
    fn divide(&self) -> usize {
        let middle = self.stride + (self.room - self.stride).div_ceil(2);
        let word = |i: usize| self.buffer.words.get(i);
        let start = (middle..self.room).find(|&i| i > 0 && word(i) != word(i - 1));
        start.unwrap_or(middle)
    }

    fn window(&mut self) -> Result<Window> {
        self.fill()?;
        let last = self.buffer.len() <= self.room;
        let n = self.buffer.len().min(self.room);
        let text = self.buffer.slice(0..n);
        let encoding = match &self.other {
            Some(second) if self.text_first => self.tokenizer.wrap(self.pieces, &text, second, true),
            Some(question) => self.tokenizer.wrap(self.pieces, question, &text, true),
            None => self.tokenizer.wrap(self.pieces, &text, &Tokens::default(), true),
        };
        let which = Some(u8::from(self.other.is_some() && !self.text_first));
        let start = encoding.sequence_ids.iter().position(|&s| s == which).unwrap_or(0);
        let end = if last { n } else { self.divide() };
        let from = self.owned.saturating_sub(self.first);
        let window = Window {
            encoding,
            index: self.index,
            first: self.first,
            tokens: start..start + n,
            own: start + from..start + end,
            last,
        };
        self.owned = self.first + end;
        self.index += 1;
        self.done = last;
        if !last {
            self.buffer.remove(0..self.stride);
            self.first += self.stride;
        }
        Ok(window)
    }
}

impl Iterator for Windows<'_> {
    type Item = Result<Window>;

    fn next(&mut self) -> Option<Result<Window>> {
        if self.done {
            return None;
        }
        let window = self.window();
        self.done |= window.is_err();
        Some(window)
    }
}
