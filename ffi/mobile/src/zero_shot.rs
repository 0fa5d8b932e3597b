//! Labels that are given with the call.

use pocketbert::{ZeroShotClassifier as Core, ZeroShotOptions as CoreOptions};

use crate::call::{CallOptions, TooLong, Windowing, count, opt_size, strs};
use crate::error::{Result, guard};
use crate::lazy::{Lazy, common_methods, core_task};

/// How to classify.
#[derive(Clone, Debug, uniffi::Record)]
pub struct ZeroShotOptions {
    /// The sentence that a label makes, with one `{}`; absent: the usual one.
    pub template: Option<String>,
    /// Judge every label by itself.
    pub multi_label: bool,
    /// Keep this many labels; absent: all.
    pub top_k: Option<i32>,
    /// Leave out labels that are less probable.
    pub threshold: Option<f32>,
    /// What to keep of a long text.
    pub too_long: TooLong,
    /// Most tokens.
    pub max_tokens: Option<i32>,
    /// How the call runs.
    pub call: CallOptions,
}

impl ZeroShotOptions {
    fn core(&self) -> pocketbert::Result<CoreOptions> {
        let default = CoreOptions::default();
        Ok(CoreOptions {
            template: self.template.clone().unwrap_or(default.template),
            multi_label: self.multi_label,
            top_k: opt_size("top_k", self.top_k)?,
            threshold: self.threshold,
            truncation: self.too_long.into(),
            max_length: opt_size("max_tokens", self.max_tokens)?,
            call: self.call.core()?,
        })
    }
}

/// A label, by its number among those given.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct ZeroShotLabel {
    /// Its index.
    pub index: i32,
    /// 0 to 1.
    pub probability: f32,
}

/// The answer to one text.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct ZeroShot {
    /// The most probable first.
    pub labels: Vec<ZeroShotLabel>,
    /// The text was cut.
    pub truncated: bool,
    /// The model's version.
    pub model_version: String,
}

impl From<pocketbert::ZeroShot> for ZeroShot {
    fn from(z: pocketbert::ZeroShot) -> Self {
        let labels =
            z.labels.iter().map(|l| ZeroShotLabel { index: count(l.index), probability: l.probability });
        ZeroShot { labels: labels.collect(), truncated: z.truncated, model_version: z.model_version }
    }
}

core_task!(Core);

/// Classifies by given labels.
#[derive(Debug, uniffi::Object)]
pub struct ZeroShotClassifier(Lazy<Core>);

common_methods!(ZeroShotClassifier);

#[uniffi::export]
impl ZeroShotClassifier {
    /// One text.
    pub fn classify(&self, text: String, labels: Vec<String>, options: ZeroShotOptions) -> Result<ZeroShot> {
        guard(|| Ok(self.0.get()?.classify_with(&text, &strs(&labels), &options.core()?)?.into()))
    }

    /// Several texts, in their order.
    pub fn classify_batch(
        &self,
        texts: Vec<String>,
        labels: Vec<String>,
        options: ZeroShotOptions,
    ) -> Result<Vec<ZeroShot>> {
        guard(|| {
            let all = self.0.get()?.classify_batch_with(&strs(&texts), &strs(&labels), &options.core()?)?;
            Ok(all.into_iter().map(Into::into).collect())
        })
    }
    /// A text of any length, read in windows.
    pub fn classify_long(
        &self,
        text: String,
        labels: Vec<String>,
        options: ZeroShotOptions,
        windows: Windowing,
    ) -> Result<ZeroShot> {
        guard(|| {
            let (options, windows) = (options.core()?, windows.core()?);
            Ok(self.0.get()?.classify_long(&text, &strs(&labels), &options, &windows)?.into())
        })
    }
}
