//! What can be chosen, as in `recipe.toml`.

use pocketbert::{Error, Result};
use serde::{Deserialize, Serialize};

/// How activations become integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Activations {
    /// Each token by its own range.
    #[default]
    PerToken,
    /// Each token by its largest magnitude.
    PerTokenSymmetric,
    /// One range per layer, chosen by calibration.
    Static,
    /// The same with zero in its middle.
    StaticSymmetric,
}

/// How a static range is chosen from the calibration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Range {
    /// All values seen.
    #[default]
    MinMax,
    /// The mean over runs of each run's range.
    MovingAverage,
    /// 99.99 % of the values.
    Percentile,
    /// Least mean square error.
    Mse,
    /// Least loss of entropy.
    Entropy,
}

/// How weights become integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Rounding {
    /// To nearest, ties to even.
    #[default]
    Nearest,
    /// Later weights make up for the errors of earlier ones (GPTQ).
    Gptq,
    /// GPTQ, then single weights move by a step while that makes the layer's output err less (AdaRound's objective).
    Adaround,
}

/// How linear layers are quantized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Method {
    /// Activations.
    pub activations: Activations,
    /// Range of static activations.
    pub range: Range,
    /// Channels of a layer's input with the largest magnitudes, under a scale of their own: a multiple of 64.
    pub loud: usize,
    /// Weights.
    pub rounding: Rounding,
    /// Added to the diagonal of `X^T X` for GPTQ, as a share of its mean.
    pub damping: f64,
    /// GPTQ rounds the channels with the largest products first.
    pub act_order: bool,
    /// Searches a smaller scale per output channel that errs less.
    pub clip: bool,
    /// Moves the mean error of each output into its bias.
    pub bias_correction: bool,
    /// Both products of attention in int8.
    pub attention: bool,
    /// Scale migration: the share of a channel's loudness that goes from activations to weights, 0 to 1; 0: none.
    pub migrate: f64,
    /// Outlier channels behind layer norms become smaller for linear layers; all else reads them multiplied back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub outliers: bool,
    /// Layers that stay in f32, by name.
    pub keep: Vec<String>,
    /// Layers whose weights become f16 and whose product stays in f32, by name.
    pub half: Vec<String>,
}

impl Default for Method {
    fn default() -> Self {
        Method {
            activations: Activations::PerToken,
            range: Range::MinMax,
            loud: 0,
            rounding: Rounding::Nearest,
            damping: 0.01,
            act_order: false,
            clip: false,
            bias_correction: false,
            attention: true,
            migrate: 0.0,
            outliers: false,
            keep: vec![],
            half: vec![],
        }
    }
}

impl Method {
    /// Whether a layer has one range for all tokens.
    pub fn fixed_ranges(&self) -> bool {
        matches!(self.activations, Activations::Static | Activations::StaticSymmetric)
    }

    /// Refuses what cannot be, before any work.
    pub fn check(&self) -> Result<()> {
        let bad = |why: String| Err(Error::invalid(why));
        if !self.loud.is_multiple_of(64) {
            return bad(format!("`loud = {}`: give a multiple of 64", self.loud));
        }
        if !(0.0..=1.0).contains(&self.migrate) {
            return bad(format!("`migrate = {}`: give a share from 0 to 1", self.migrate));
        }
        if !(self.damping > 0.0 && self.damping <= 1.0) {
            return bad(format!("`damping = {}`: give a share above 0, at most 1", self.damping));
        }
        if self.fixed_ranges() && self.loud > 0 {
            return bad(
                "loud channels have a range per token: leave out `loud`, or take other activations".into()
            );
        }
        if self.fixed_ranges() && (self.migrate > 0.0 || self.outliers) && self.range != Range::MinMax {
            return bad(
                "after scale migration only min-max ranges are known: leave out `range`, or `migrate` and `outliers`".into(),
            );
        }
        if let Some(l) = self.half.iter().find(|l| self.keep.contains(l)) {
            return bad(format!("layer `{l}` cannot be both f32 and f16"));
        }
        Ok(())
    }

    /// Whether it needs a calibration.
    pub fn calibrated(&self) -> bool {
        self.fixed_ranges()
            || self.loud > 0
            || self.rounding != Rounding::Nearest
            || self.bias_correction
            || self.migrate > 0.0
            || self.outliers
    }
}
