//! Text in, token ids out: tokenizer files, truncation, and spans that point back into the text.
//!
//! - [`Tokenizer`] reads a Hugging Face `tokenizer.json` as untrusted bytes: it is parsed by our own
//!   bounded reader, every component is compared with an allow-list, and only then are the parts of the
//!   [`tokenizers`] crate built, one by one, through their constructors. A file never chooses a type by
//!   itself, never supplies a regular expression, and never reaches the crate's own deserialiser.
//! - [`Encoding`] is what a model eats (ids, type ids) and what an answer needs (byte [`Span`]s, word and
//!   sequence numbers, what was cut).
//! - [`Windows`] reads a text of any length in overlapping stretches, tokenised as they are needed.
//! - [`sentences`] finds where sentences begin and end.
//! - [`SpanMapper`] turns byte spans into character (code point) and UTF-16 spans.
//!
//! # Threads
//! Nothing here starts a thread. The `tokenizers` crate runs rayon only in its `*_batch` and training
//! functions; this module calls neither. A [`Tokenizer`] is `Send + Sync` and holds no cache, so threads
//! share one without waiting for each other, and no text stays behind after a call.
//!
//! # Text that spells a special token
//! As in Hugging Face, the characters `[SEP]` inside a text become the special token. Texts from strangers
//! can thus end a sequence early; they cannot do more than that.

mod chunk;
mod component;
mod encoding;
mod json;
mod limits;
mod sentences;
mod spans;
mod template;
mod tokenizer;
mod windows;

#[cfg(test)]
mod tests;

pub use encoding::{Cut, EncodeOptions, Encoding, Truncated, Truncation};
pub use limits::{MAX_FILE_BYTES, MAX_TEXT_BYTES};
pub use sentences::sentences;
pub use spans::{Span, SpanMapper};
pub use tokenizer::{Tokenizer, caught_panics, model_max_length};
pub(crate) use windows::Afters;
pub use windows::{Window, Windows};
