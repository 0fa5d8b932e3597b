//! What texts and answers looked like at calibration, as a bundle's manifest carries it in `drift_baseline`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bundle::JsonText;
use crate::bundle::manifest::Manifest;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Model;

/// The version of the format that is written and read.
const VERSION: u32 = 1;
/// The most texts of a baseline, and the largest count: exact in every JSON reader.
const MAX_COUNT: u64 = 1 << 53;

/// Upper bounds, inclusive, of the bins of tokens per text; one more bin holds longer ones.
pub(super) const TOKENS: [usize; 17] = [4, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];
/// Upper bounds, inclusive, of the bins of the share of unknown tokens in a text.
pub(super) const UNKNOWN: [f64; 7] = [0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 1.0];
/// Upper bounds, inclusive, of the bins of confidence.
pub(super) const CONFIDENCE: [f32; 15] =
    [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0];

/// Bins of a head of so many labels.
pub(super) fn label_bins(labels: usize) -> usize {
    if labels == 0 { 0 } else { labels.saturating_add(1) }
}

/// Counts of one head's texts and answers, by bin. The bins are those of `docs/bundle-format.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadBaseline {
    /// How many texts.
    pub texts: u64,
    /// Texts by number of tokens, in 18 bins.
    pub token_length: Vec<u64>,
    /// Texts by share of unknown tokens, in 7 bins.
    pub unknown_rate: Vec<u64>,
    /// Answers by confidence, in 15 bins; empty for a head without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confidence: Vec<u64>,
    /// Answers by label, and at the end the texts without any; empty for a head without labels. A text may have
    /// several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<u64>,
}

/// The baselines of a bundle's heads.
///
/// ```
/// use pocketbert::TextClassifier;
/// use pocketbert::metrics::Baseline;
/// # fn main() -> pocketbert::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
/// let classifier = TextClassifier::open(path)?;
/// classifier.metrics().collect_baseline()?;
/// classifier.classify_batch(&["play some jazz", "rain in Paris tomorrow"])?;
/// let mut baseline = Baseline::default();
/// baseline.insert("intent", classifier.metrics().baseline().unwrap_or_default());
/// let text = baseline.to_json()?; // for `Manifest::drift_baseline`
/// # let m = classifier.model()?.bundle().unwrap().manifest();
/// assert_eq!(Baseline::read(&text, m)?, baseline);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    version: u32,
    heads: BTreeMap<String, HeadBaseline>,
}

impl Default for Baseline {
    fn default() -> Self {
        Baseline { version: VERSION, heads: BTreeMap::new() }
    }
}

impl Baseline {
    /// The baseline in the model's bundle, if it has one.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn of(model: &Model) -> Result<Option<Baseline>> {
        let Some(manifest) = model.bundle().map(|b| b.manifest()) else { return Ok(None) };
        manifest.drift_baseline.as_ref().map(|j| Baseline::read(j, manifest)).transpose()
    }

    /// Reads and checks a baseline of the bundle with this manifest.
    ///
    /// # Errors
    /// `DataLoss` if it contradicts itself or the manifest, `Unimplemented` for a later version.
    pub fn read(json: &JsonText, manifest: &Manifest) -> Result<Baseline> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let here = |e: Error| e.context("`drift_baseline`");
        let Version { version } = json.parse().map_err(here)?;
        if version != VERSION {
            return Err(Error::unimplemented(format!(
                "`drift_baseline` has version {version}: it needs a newer PocketBERT (this one reads {VERSION})"
            )));
        }
        let b: Baseline = json.parse().map_err(here)?;
        for (name, h) in &b.heads {
            let head = manifest.heads.iter().find(|h| h.name == *name);
            let labels = head.map(|h| h.labels.len());
            let checked = match labels {
                Some(n) => h.check(n),
                None => Err(Error::data_loss("the bundle has no such head")),
            };
            // Names of any length and content may be here: those of a head are known to be fit for a message.
            let at = if head.is_some() { name.as_str() } else { "?" };
            checked.map_err(|e| here(e.context(format_args!("head `{at}`"))))?;
        }
        Ok(b)
    }

    /// Sets what a head's texts and answers looked like.
    pub fn insert(&mut self, head: impl Into<String>, counts: HeadBaseline) {
        self.heads.insert(head.into(), counts);
    }

    /// The counts of a head.
    ///
    /// # Errors
    /// `NotFound` if there are none.
    pub fn head(&self, name: &str) -> Result<&HeadBaseline> {
        self.heads.get(name).ok_or_else(|| {
            let names: Vec<_> = self.heads.keys().map(|n| format!("`{n}`")).collect();
            let has = if names.is_empty() { "none".to_string() } else { names.join(", ") };
            Error::new(ErrorKind::NotFound, format!("there is no baseline for head `{name}`; it has {has}"))
        })
    }

    /// The heads by name.
    pub fn heads(&self) -> &BTreeMap<String, HeadBaseline> {
        &self.heads
    }

    /// As the manifest's `drift_baseline` holds it.
    ///
    /// # Errors
    /// `InvalidArgument` for counts of another form than [`HeadBaseline`] says.
    pub fn to_json(&self) -> Result<JsonText> {
        for (name, h) in &self.heads {
            h.check(h.labels.len().saturating_sub(1))
                .map_err(|e| Error::invalid(format!("head `{name}`: {}", e.message())))?;
        }
        JsonText::new(self)
    }
}

impl HeadBaseline {
    /// The rules, for a head of `labels` labels.
    pub(super) fn check(&self, labels: usize) -> Result<()> {
        let bad = |m: String| Err(Error::data_loss(m));
        if self.texts == 0 || self.texts > MAX_COUNT {
            return bad(format!("{} texts; 1 to {MAX_COUNT} are allowed", self.texts));
        }
        let axes: [(&str, &[u64], usize); 4] = [
            ("token_length", &self.token_length, TOKENS.len() + 1),
            ("unknown_rate", &self.unknown_rate, UNKNOWN.len()),
            ("confidence", &self.confidence, if self.confidence.is_empty() { 0 } else { CONFIDENCE.len() }),
            ("labels", &self.labels, if self.labels.is_empty() { 0 } else { label_bins(labels) }),
        ];
        for (name, counts, n) in axes {
            if counts.len() != n {
                return bad(format!("`{name}` has {} counts, not {n}", counts.len()));
            }
            let sum = counts.iter().try_fold(0u64, |s, &c| s.checked_add(c)).unwrap_or(u64::MAX);
            let fits = match name {
                "labels" => sum <= MAX_COUNT,
                "confidence" => sum <= self.texts,
                _ => sum == self.texts,
            };
            if !fits {
                return bad(format!("the counts of `{name}` do not add up"));
            }
        }
        Ok(())
    }
}
