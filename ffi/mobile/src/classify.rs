//! Texts to labels.

use pocketbert::tasks::TextInput;
use pocketbert::{ClassifyOptions as CoreOptions, TextClassifier as Core};

use crate::call::{CallOptions, TextPair, TooLong, Windowing, count, float_bytes, opt_size, strs};
use crate::error::{Result, guard};
use crate::lazy::{Lazy, common_methods, core_task};

/// How to classify.
#[derive(Clone, Debug, Default, uniffi::Record)]
pub struct ClassifyOptions {
    /// Keep this many labels; absent: all.
    pub top_k: Option<i32>,
    /// Leave out labels that are less probable; absent: the bundle's thresholds.
    pub threshold: Option<f32>,
    /// Only these.
    pub allow: Vec<String>,
    /// All but these.
    pub deny: Vec<String>,
    /// Judge labels by themselves; absent: as the bundle says.
    pub multi_label: Option<bool>,
    /// What to keep of a long text.
    pub too_long: TooLong,
    /// Most tokens.
    pub max_tokens: Option<i32>,
    /// How the call runs.
    pub call: CallOptions,
}

impl ClassifyOptions {
    fn core(&self) -> pocketbert::Result<CoreOptions> {
        Ok(CoreOptions {
            top_k: opt_size("top_k", self.top_k)?,
            threshold: self.threshold,
            allow: self.allow.clone(),
            deny: self.deny.clone(),
            multi_label: self.multi_label,
            truncation: self.too_long.into(),
            max_length: opt_size("max_tokens", self.max_tokens)?,
            call: self.call.core()?,
        })
    }
}

/// A label, by its number: the facade knows the head's labels.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct ScoredLabel {
    /// Its number in the head.
    pub index: i32,
    /// 0 to 1; of a regression head the value.
    pub probability: f32,
}

/// The answer to one text.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Classification {
    /// The most probable first.
    pub labels: Vec<ScoredLabel>,
    /// Logits of all labels by index: little-endian f32.
    pub logits: Vec<u8>,
    /// Tokens that the model saw.
    pub token_count: i32,
    /// The text was cut.
    pub truncated: bool,
    /// The model's version.
    pub model_version: String,
}

impl From<pocketbert::Classification> for Classification {
    fn from(c: pocketbert::Classification) -> Self {
        Classification {
            labels: c
                .labels
                .iter()
                .map(|l| ScoredLabel { index: count(l.index), probability: l.probability })
                .collect(),
            logits: float_bytes(&c.logits),
            token_count: count(c.token_count),
            truncated: c.truncated,
            model_version: c.model_version,
        }
    }
}

core_task!(Core);

/// Classifies texts.
#[derive(Debug, uniffi::Object)]
pub struct TextClassifier(Lazy<Core>);

common_methods!(TextClassifier);

#[uniffi::export]
impl TextClassifier {
    /// The head's labels by index.
    pub fn labels(&self) -> Result<Vec<String>> {
        guard(|| Ok(self.0.get()?.head()?.labels.clone()))
    }

    /// The head's name.
    pub fn head_name(&self) -> Result<String> {
        guard(|| Ok(self.0.get()?.head()?.name.clone()))
    }

    /// One text.
    pub fn classify(&self, text: String, options: ClassifyOptions) -> Result<Classification> {
        guard(|| Ok(self.0.get()?.classify_with(&text, &options.core()?)?.into()))
    }

    /// A pair of texts.
    pub fn classify_pair(&self, pair: TextPair, options: ClassifyOptions) -> Result<Classification> {
        guard(|| Ok(self.0.get()?.classify_pair(&pair.text, &pair.pair, &options.core()?)?.into()))
    }

    /// Several texts, in their order.
    pub fn classify_batch(
        &self,
        texts: Vec<String>,
        options: ClassifyOptions,
    ) -> Result<Vec<Classification>> {
        guard(|| {
            let answers = self.0.get()?.classify_batch_with(&strs(&texts), &options.core()?)?;
            Ok(answers.into_iter().map(Into::into).collect())
        })
    }

    /// Several pairs, in their order.
    pub fn classify_pairs(
        &self,
        pairs: Vec<TextPair>,
        options: ClassifyOptions,
    ) -> Result<Vec<Classification>> {
        guard(|| {
            let inputs: Vec<TextInput> =
                pairs.iter().map(|p| (p.text.as_str(), p.pair.as_str()).into()).collect();
            let answers = self.0.get()?.classify_inputs(&inputs, &options.core()?)?;
            Ok(answers.into_iter().map(Into::into).collect())
        })
    }

    /// A text of any length, read in windows.
    pub fn classify_long(
        &self,
        text: String,
        options: ClassifyOptions,
        windows: Windowing,
    ) -> Result<Classification> {
        guard(|| Ok(self.0.get()?.classify_long(&text, &options.core()?, &windows.core()?)?.into()))
    }
}
