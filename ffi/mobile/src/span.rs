//! Spans as facades get them.

use pocketbert::text::Span;

use crate::call::count;

/// Where something is in a text: half-open, in bytes and in UTF-16 code units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct TextSpan {
    /// First byte of the UTF-8 form.
    pub byte_start: i32,
    /// The byte after it.
    pub byte_end: i32,
    /// First UTF-16 code unit.
    pub utf16_start: i32,
    /// The code unit after it.
    pub utf16_end: i32,
}

impl TextSpan {
    /// From both forms.
    pub(crate) fn new(bytes: Span, utf16: Span) -> TextSpan {
        TextSpan {
            byte_start: count(bytes.start),
            byte_end: count(bytes.end),
            utf16_start: count(utf16.start),
            utf16_end: count(utf16.end),
        }
    }
}

#[cfg(test)]
mod tests {
    use pocketbert::text::SpanMapper;

    use super::*;

    #[test]
    fn units_of_bytes() {
        let mapper = SpanMapper::new("a😀é!");
        let s = TextSpan::new(Span::new(5, 7), mapper.utf16(Span::new(5, 7)));
        assert_eq!((s.byte_start, s.byte_end, s.utf16_start, s.utf16_end), (5, 7, 3, 4));
    }
}
