//! Spans in bytes, and their translation to characters and UTF-16 code units.

/// A half-open range `start..end` in units that the context names (bytes unless said otherwise).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// First unit inside.
    pub start: usize,
    /// First unit after.
    pub end: usize,
}

impl Span {
    /// `start..end`.
    pub fn new(start: usize, end: usize) -> Self {
        Span { start, end }
    }

    /// Number of units.
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether nothing is inside.
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// The part of `text` under this span of bytes; `None` if it is outside or splits a character.
    pub fn of(self, text: &str) -> Option<&str> {
        text.get(self.start..self.end)
    }

    /// This span with the combining marks right behind it, as far as byte `limit`. Tokenizers that strip accents
    /// leave those at a word's end out of its last token.
    pub(crate) fn with_marks(self, text: &str, limit: usize) -> Span {
        let mut end = self.end;
        for c in text.get(self.end..).unwrap_or("").chars() {
            if !is_mark(c) || end + c.len_utf8() > limit {
                break;
            }
            end += c.len_utf8();
        }
        Span { start: self.start, end }
    }

    /// The nearest byte span that lies inside `text`, starts and ends between characters, and covers
    /// every character that `self` touched.
    pub(super) fn widened(self, text: &str) -> Span {
        let start = text.floor_char_boundary(self.start.min(text.len()));
        let end = text.ceil_char_boundary(self.end.min(text.len()));
        Span { start, end: end.max(start) }
    }
}

/// Combining diacritics and variation selectors: the blocks of Unicode 16 that hold nothing else.
fn is_mark(c: char) -> bool {
    matches!(
        c as u32,
        0x300..=0x36F | 0x483..=0x489 | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF | 0xFE00..=0xFE0F
            | 0xFE20..=0xFE2F
    )
}

/// Every `STEP` bytes a mark is kept, so a look-up counts at most `STEP` bytes.
const STEP: usize = 256;

/// Translates byte positions of one text into code points and UTF-16 code units.
///
/// Built once per text in one pass; a look-up then counts at most 256 bytes. Java, JavaScript, Kotlin and
/// `NSString` count UTF-16 units; Python counts code points. A byte position inside a character counts as
/// that character's start when it opens a span and as its end when it closes one, so that a span never
/// splits a character (nor a surrogate pair).
///
/// ```
/// use pocketbert::text::{Span, SpanMapper};
/// let map = SpanMapper::new("a😀b");
/// assert_eq!(map.utf16(Span::new(5, 6)), Span::new(3, 4));
/// assert_eq!(map.chars(Span::new(5, 6)), Span::new(2, 3));
/// ```
#[derive(Clone, Debug)]
pub struct SpanMapper<'t> {
    text: &'t str,
    /// Code points and UTF-16 units before byte `i * STEP` (characters that start there are not counted).
    marks: Vec<(usize, usize)>,
    ascii: bool,
}

impl<'t> SpanMapper<'t> {
    /// Reads `text` once.
    pub fn new(text: &'t str) -> Self {
        if text.is_ascii() {
            return SpanMapper { text, marks: Vec::new(), ascii: true };
        }
        let mut marks = Vec::with_capacity(text.len() / STEP + 1);
        let (mut chars, mut units) = (0, 0);
        for (i, b) in text.bytes().enumerate() {
            if i % STEP == 0 {
                marks.push((chars, units));
            }
            let (c, u) = weight(b);
            chars += c;
            units += u;
        }
        SpanMapper { text, marks, ascii: false }
    }

    /// A byte span as a span of code points (Rust `char`s, Python `str` indices).
    pub fn chars(&self, bytes: Span) -> Span {
        let s = bytes.widened(self.text);
        Span::new(self.before(s.start).0, self.before(s.end).0)
    }

    /// A byte span as a span of UTF-16 code units.
    pub fn utf16(&self, bytes: Span) -> Span {
        let s = bytes.widened(self.text);
        Span::new(self.before(s.start).1, self.before(s.end).1)
    }

    /// Code points and UTF-16 units before byte `at`, a character boundary within the text.
    fn before(&self, at: usize) -> (usize, usize) {
        if self.ascii {
            return (at, at);
        }
        let mark = (at / STEP).min(self.marks.len().saturating_sub(1));
        let (mut chars, mut units) = self.marks.get(mark).copied().unwrap_or((0, 0));
        for &b in self.text.as_bytes().get(mark * STEP..at).unwrap_or(&[]) {
            let (c, u) = weight(b);
            chars += c;
            units += u;
        }
        (chars, units)
    }
}

/// What a UTF-8 byte adds to the counts: a lead byte carries its whole character.
fn weight(b: u8) -> (usize, usize) {
    match b {
        0x80..=0xBF => (0, 0),
        0xF0..=0xFF => (1, 2),
        _ => (1, 1),
    }
}
