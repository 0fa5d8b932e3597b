//! Places in a text, in the units of C and of other languages.

use pocketbert::text::Span;

/// A half-open range in a text.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct pocketbert_span {
    /// The first unit inside.
    pub start: usize,
    /// The first unit after.
    pub end: usize,
}

impl From<Span> for pocketbert_span {
    fn from(s: Span) -> Self {
        pocketbert_span { start: s.start, end: s.end }
    }
}

/// One place in three units.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct pocketbert_place {
    /// In bytes: what C slices by.
    pub bytes: pocketbert_span,
    /// In characters (code points): Python.
    pub chars: pocketbert_span,
    /// In UTF-16 code units: Java, Kotlin, JavaScript, NSString, Qt.
    pub utf16: pocketbert_span,
}

impl pocketbert_place {
    pub(crate) fn new(bytes: Span, chars: Span, utf16: Span) -> Self {
        pocketbert_place { bytes: bytes.into(), chars: chars.into(), utf16: utf16.into() }
    }
}
