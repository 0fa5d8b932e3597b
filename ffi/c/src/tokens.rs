//! Texts as the model reads them: token ids, with where each comes from.

use std::ffi::c_char;

use pocketbert::error::{Error, Result};
use pocketbert::text::{EncodeOptions, Encoding};

use crate::args::{self, At, Out, Sized, Strings, element};
use crate::boundary::call;
use crate::call::{some, truncation};
use crate::error::Failure;
use crate::handle::{self, Kind, Object};
use crate::model::{of, pocketbert_model};
use crate::spans::pocketbert_span;
use crate::status::pocketbert_status;

/// How to tokenise. Fill it with `pocketbert_tokenize_options_default`.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_tokenize_options {
    /// `sizeof(pocketbert_tokenize_options)`.
    pub struct_size: u32,
    /// A `pocketbert_truncation`.
    pub truncation: i32,
    /// The most tokens, special tokens included; 0, the default: the model's.
    pub max_length: u32,
    /// Not 0: leave the special tokens out.
    pub no_special_tokens: u32,
}

// SAFETY: numbers; the size is first.
unsafe impl Sized for pocketbert_tokenize_options {
    const NAME: &'static str = "pocketbert_tokenize_options";
    fn standard() -> Self {
        let struct_size = size_of::<Self>() as u32;
        pocketbert_tokenize_options { struct_size, truncation: 0, max_length: 0, no_special_tokens: 0 }
    }
}

/// Fills in the defaults: what a task gives to the model.
///
/// # Safety
/// `options` is good for writing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_tokenize_options_default(
    options: *mut pocketbert_tokenize_options,
) -> pocketbert_status {
    // SAFETY: the caller's promise.
    call("pocketbert_tokenize_options_default", || unsafe { args::standard(options) })
}

/// The tokens of a text, or of a pair.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[derive(Debug)]
pub struct pocketbert_tokens {
    _private: (),
}

/// All tokens. Arrays have `count` entries and are good until the tokens are freed.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_tokens_view {
    /// How many.
    pub count: usize,
    /// Their ids.
    pub ids: *const u32,
    /// Their type ids.
    pub types: *const u32,
    /// Where each comes from, in bytes of its text; 0 to 0 for special tokens.
    pub spans: *const pocketbert_span,
    /// How many of them are the unknown token.
    pub unknown: usize,
    /// Not 0: the text was cut to fit.
    pub truncated: i32,
    /// Zero.
    pub reserved: i32,
}

#[derive(Debug)]
struct Tokens {
    encoding: Encoding,
    spans: Vec<pocketbert_span>,
    strings: Strings,
    names: Vec<At>,
}

impl Object for Tokens {
    type C = pocketbert_tokens;
    const KIND: Kind = Kind::Tokens;
}

/// Tokenises a text, or with `pair` not NULL a pair: `*tokens`, to be freed with `pocketbert_tokens_free`. `options` may be
/// NULL.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_tokenize(
    model: *const pocketbert_model,
    text: *const c_char,
    length: usize,
    pair: *const c_char,
    pair_length: usize,
    options: *const pocketbert_tokenize_options,
    tokens: *mut *mut pocketbert_tokens,
) -> pocketbert_status {
    call("pocketbert_tokenize", || -> Result<(), Failure> {
        let m = of(model)?;
        // SAFETY: the caller's promise.
        let (out, o) = unsafe { (Out::new("tokens", tokens)?, args::options(options)?) };
        // SAFETY: the caller's promise.
        let text = unsafe { args::text("text", text, length) }?;
        let pair = match pair.is_null() {
            true => None,
            // SAFETY: the caller's promise.
            false => Some(unsafe { args::text("pair", pair, pair_length) }?),
        };
        let truncation = truncation(o.truncation)?;
        let encode = || -> Result<EncodeOptions> {
            let most = m.engine.model()?.info().max_length;
            Ok(EncodeOptions {
                max_length: some(o.max_length).unwrap_or(most),
                truncation,
                add_special_tokens: o.no_special_tokens == 0,
            })
        };
        let encode = if options.is_null() { None } else { Some(encode()?) };
        let (encoding, texts) = m.engine.tokenize(text, pair, encode.as_ref())?;
        let mut strings = Strings::default();
        let names = texts.iter().map(|t| strings.push(t)).collect::<Result<_>>()?;
        let spans = encoding.offsets.iter().map(|&s| s.into()).collect();
        out.set(handle::insert(Tokens { encoding, spans, strings, names })?);
        Ok(())
    })
}

/// Writes where all tokens are.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_tokens_get(
    tokens: *const pocketbert_tokens,
    view: *mut pocketbert_tokens_view,
) -> pocketbert_status {
    call("pocketbert_tokens_get", || {
        let t = handle::get::<Tokens>(tokens)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("view", view) }?;
        let e = &t.encoding;
        out.set(pocketbert_tokens_view {
            count: e.ids.len(),
            ids: e.ids.as_ptr(),
            types: e.type_ids.as_ptr(),
            spans: t.spans.as_ptr(),
            unknown: e.unknown,
            truncated: i32::from(e.truncated.is_some()),
            reserved: 0,
        });
        Ok::<_, Error>(())
    })
}

/// Writes token `index` as the vocabulary spells it: a string that is good until the tokens are freed.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_tokens_spelling(
    tokens: *const pocketbert_tokens,
    index: usize,
    spelling: *mut *const c_char,
) -> pocketbert_status {
    call("pocketbert_tokens_spelling", || {
        let t = handle::get::<Tokens>(tokens)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("spelling", spelling) }?;
        out.set(t.strings.c_str(*element("token", &t.names, index)?));
        Ok::<_, Error>(())
    })
}

/// Frees tokens, and all that was read from them.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_tokens_free(tokens: *mut pocketbert_tokens) -> pocketbert_status {
    call("pocketbert_tokens_free", || handle::remove::<Tokens>(tokens).map(drop))
}
