//! Texts to vectors.

use pocketbert::bundle::manifest::Pooling as CorePooling;
use pocketbert::tasks::Role as CoreRole;
use pocketbert::{EmbedOptions as CoreOptions, TextEmbedder as Core};

use crate::call::{CallOptions, TooLong, Windowing, opt_size, strs};
use crate::error::{Result, guard};
use crate::lazy::{Lazy, common_methods, core_task};
use crate::vector::{Vector, VectorFormat};

/// How rows of tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Pooling {
    /// The first token's row.
    First,
    /// The mean.
    Mean,
    /// The largest value of each channel.
    Max,
}

/// What a text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, uniffi::Enum)]
pub enum Role {
    /// Any text.
    #[default]
    Text,
    /// What is searched for.
    Query,
    /// What is searched in.
    Document,
}

/// How to embed.
#[derive(Clone, Debug, uniffi::Record)]
pub struct EmbedOptions {
    /// How rows become one vector; absent: as the bundle says.
    pub pooling: Option<Pooling>,
    /// Divide by the length; absent: as the bundle says.
    pub normalize: Option<bool>,
    /// Keep the first dimensions; absent: all.
    pub dims: Option<i32>,
    /// How numbers are kept.
    pub format: VectorFormat,
    /// Which of the bundle's prefixes is put in front.
    pub role: Role,
    /// This prefix instead.
    pub prefix: Option<String>,
    /// What to keep of a long text.
    pub too_long: TooLong,
    /// Most tokens.
    pub max_tokens: Option<i32>,
    /// How the call runs.
    pub call: CallOptions,
}

impl EmbedOptions {
    fn core(&self) -> pocketbert::Result<CoreOptions> {
        Ok(CoreOptions {
            pooling: self.pooling.map(|p| match p {
                Pooling::First => CorePooling::Cls,
                Pooling::Mean => CorePooling::Mean,
                Pooling::Max => CorePooling::Max,
            }),
            normalize: self.normalize,
            dims: opt_size("dims", self.dims)?,
            format: self.format.into(),
            role: match self.role {
                Role::Text => CoreRole::Text,
                Role::Query => CoreRole::Query,
                Role::Document => CoreRole::Document,
            },
            prefix: self.prefix.clone(),
            truncation: self.too_long.into(),
            max_length: opt_size("max_tokens", self.max_tokens)?,
            call: self.call.core()?,
        })
    }
}

core_task!(Core);

/// Makes vectors of texts.
#[derive(Debug, uniffi::Object)]
pub struct TextEmbedder(Lazy<Core>);

common_methods!(TextEmbedder);

#[uniffi::export]
impl TextEmbedder {
    /// The head's name.
    pub fn head_name(&self) -> Result<String> {
        guard(|| Ok(self.0.get()?.head()?.name.clone()))
    }

    /// Dimensions of the head's vectors.
    pub fn dims(&self) -> Result<i32> {
        guard(|| Ok(crate::call::count(self.0.get()?.head()?.dims)))
    }

    /// One text.
    pub fn embed(&self, text: String, options: EmbedOptions) -> Result<Vector> {
        guard(|| Ok(Vector::of(&self.0.get()?.embed_with(&text, &options.core()?)?)))
    }

    /// Several texts, in their order.
    pub fn embed_batch(&self, texts: Vec<String>, options: EmbedOptions) -> Result<Vec<Vector>> {
        guard(|| {
            let all = self.0.get()?.embed_batch_with(&strs(&texts), &options.core()?)?;
            Ok(all.iter().map(Vector::of).collect())
        })
    }

    /// A text of any length, read in windows.
    pub fn embed_long(&self, text: String, options: EmbedOptions, windows: Windowing) -> Result<Vector> {
        guard(|| Ok(Vector::of(&self.0.get()?.embed_long(&text, &options.core()?, &windows.core()?)?)))
    }
}
