//! Texts to tokens, as the model reads them.

use pocketbert::text::{EncodeOptions, SpanMapper};

use crate::call::{TooLong, opt_size};
use crate::error::{Result, guard};
use crate::model::Model;
use crate::span::TextSpan;

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Token {
    /// Its id.
    pub id: i32,
    /// As the vocabulary spells it.
    pub text: String,
    /// Where it is; empty at 0 for added special tokens.
    pub span: TextSpan,
    /// Added by the tokenizer.
    pub special: bool,
}

/// A text as the model reads it.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Tokens {
    /// The tokens in order.
    pub tokens: Vec<Token>,
    /// How many of them the vocabulary lacks.
    pub unknown: i32,
    /// The text was cut.
    pub truncated: bool,
}

#[uniffi::export]
impl Model {
    /// The tokens of `text`, special tokens included.
    pub fn tokenize(&self, text: String, too_long: TooLong, max_tokens: Option<i32>) -> Result<Tokens> {
        guard(|| {
            let model = self.open()?;
            let tokenizer = model.tokenizer()?;
            let most = model.info().max_length;
            let max_length = opt_size("max_tokens", max_tokens)?.map_or(most, |m| m.min(most));
            let options =
                EncodeOptions { max_length, truncation: too_long.into(), ..EncodeOptions::default() };
            let e = tokenizer.encode(&text, None, &options)?;
            let spans = SpanMapper::new(&text);
            let tokens =
                e.ids.iter().zip(&e.offsets).zip(&e.special).map(|((&id, &bytes), &special)| Token {
                    id: i32::try_from(id).unwrap_or(i32::MAX),
                    text: tokenizer.token(id).unwrap_or_default(),
                    span: TextSpan::new(bytes, spans.utf16(bytes)),
                    special,
                });
            Ok(Tokens {
                tokens: tokens.collect(),
                unknown: crate::call::count(e.unknown),
                truncated: e.truncated.is_some(),
            })
        })
    }
}
