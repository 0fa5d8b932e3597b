//! Tokens for the gaps of a text.

use pocketbert::text::SpanMapper;
use pocketbert::{FillMaskOptions as CoreOptions, MaskFiller as Core};

use crate::call::{CallOptions, TooLong, Windowing, count, opt_size, size, strs};
use crate::error::{Result, guard};
use crate::lazy::{Lazy, common_methods, core_task};
use crate::span::TextSpan;

/// How to fill.
#[derive(Clone, Debug, uniffi::Record)]
pub struct FillMaskOptions {
    /// Candidates per mask.
    pub top_k: i32,
    /// Only these tokens; empty: all.
    pub targets: Vec<String>,
    /// What to keep of a long text.
    pub too_long: TooLong,
    /// Most tokens.
    pub max_tokens: Option<i32>,
    /// How the call runs.
    pub call: CallOptions,
}

impl FillMaskOptions {
    fn core(&self) -> pocketbert::Result<CoreOptions> {
        Ok(CoreOptions {
            top_k: size("top_k", self.top_k)?,
            targets: self.targets.clone(),
            truncation: self.too_long.into(),
            max_length: opt_size("max_tokens", self.max_tokens)?,
            call: self.call.core()?,
        })
    }
}

/// A token for a mask.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Candidate {
    /// As the vocabulary spells it.
    pub token: String,
    /// Its id.
    pub id: i32,
    /// 0 to 1.
    pub probability: f32,
    /// The text with this mask replaced.
    pub filled: String,
}

/// A mask.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct FilledMask {
    /// Where it is.
    pub span: TextSpan,
    /// The most probable first.
    pub candidates: Vec<Candidate>,
}

/// The answer to one text.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct MaskFill {
    /// In the order of the text.
    pub masks: Vec<FilledMask>,
    /// Tokens that the model saw.
    pub token_count: i32,
    /// The text was cut.
    pub truncated: bool,
    /// The model's version.
    pub model_version: String,
}

fn fill(text: &str, m: pocketbert::MaskFill) -> MaskFill {
    let spans = SpanMapper::new(text);
    let masks = m.masks.into_iter().map(|mask| FilledMask {
        span: TextSpan::new(mask.span, spans.utf16(mask.span)),
        candidates: mask
            .candidates
            .into_iter()
            .map(|c| Candidate {
                token: c.token,
                id: i32::try_from(c.id).unwrap_or(i32::MAX),
                probability: c.probability,
                filled: c.filled,
            })
            .collect(),
    });
    MaskFill {
        masks: masks.collect(),
        token_count: count(m.token_count),
        truncated: m.truncated,
        model_version: m.model_version,
    }
}

core_task!(Core);

/// Fills masks.
#[derive(Debug, uniffi::Object)]
pub struct MaskFiller(Lazy<Core>);

common_methods!(MaskFiller);

#[uniffi::export]
impl MaskFiller {
    /// What to write where a token is missing.
    pub fn mask_token(&self) -> Result<String> {
        guard(|| self.0.get()?.mask_token())
    }

    /// One text.
    pub fn fill(&self, text: String, options: FillMaskOptions) -> Result<MaskFill> {
        guard(|| Ok(fill(&text, self.0.get()?.fill_with(&text, &options.core()?)?)))
    }

    /// Several texts, in their order.
    pub fn fill_batch(&self, texts: Vec<String>, options: FillMaskOptions) -> Result<Vec<MaskFill>> {
        guard(|| {
            let all = self.0.get()?.fill_batch_with(&strs(&texts), &options.core()?)?;
            Ok(all.into_iter().zip(&texts).map(|(m, t)| fill(t, m)).collect())
        })
    }
    /// A text of any length, read in windows.
    pub fn fill_long(&self, text: String, options: FillMaskOptions, windows: Windowing) -> Result<MaskFill> {
        guard(|| Ok(fill(&text, self.0.get()?.fill_long(&text, &options.core()?, &windows.core()?)?)))
    }
}
