//! How noise grows through the layers: what each node reads in the reference and in the model, as the engine's tap
//! shows it on the same texts.

use std::collections::HashMap;

use pocketbert::bundle::Head;
use pocketbert::kernels::Isa;
use pocketbert::model::{Batch, Plan as Engine, RunOptions};
use pocketbert::text::{Encoding, Tokenizer};
use pocketbert::{Error, Result};
use serde::Serialize;

use super::{Plan, decibel};
use crate::eval::{picks, push};

/// Bins of the histograms.
pub const BINS: usize = 96;
/// Tokens that run together: all inputs of all nodes of the reference are held meanwhile.
const TOKENS: usize = 128;

/// What a node reads in both models.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LayerNoise {
    /// The node.
    pub name: String,
    /// Its operator.
    pub op: String,
    /// Values compared.
    pub values: u64,
    /// Signal to noise in decibel.
    pub sqnr: f64,
    /// Least and largest value in the reference.
    pub reference_range: (f32, f32),
    /// In the model.
    pub model_range: (f32, f32),
    /// Least and largest value that the histograms show; what lies outside is in the bins at the ends.
    pub shown: (f32, f32),
    /// How often values occur in the reference.
    pub reference_histogram: Vec<u64>,
    /// In the model.
    pub model_histogram: Vec<u64>,
    #[serde(skip)]
    signal: f64,
    #[serde(skip)]
    noise: f64,
}

impl LayerNoise {
    fn add(&mut self, x: &[f32], y: &[f32]) {
        if self.values == 0 {
            // The first texts say what is shown, with room for others.
            let most = x.iter().fold(0.0f32, |m, v| m.max(v.abs())).max(1e-6) * 1.1;
            let (low, high) = range(x);
            self.shown = ((low * 1.1).max(-most), (high * 1.1).min(most).max(low + 1e-6));
            self.reference_histogram = vec![0; BINS];
            self.model_histogram = vec![0; BINS];
            self.reference_range = (f32::INFINITY, f32::NEG_INFINITY);
            self.model_range = self.reference_range;
        }
        self.values += x.len() as u64;
        for (a, b) in x.iter().zip(y) {
            self.signal += f64::from(*a).powi(2);
            self.noise += (f64::from(*a) - f64::from(*b)).powi(2);
        }
        let (low, high) = self.shown;
        let sides = [
            (x, &mut self.reference_histogram, &mut self.reference_range),
            (y, &mut self.model_histogram, &mut self.model_range),
        ];
        for (values, histogram, seen) in sides {
            let (a, b) = range(values);
            *seen = (seen.0.min(a), seen.1.max(b));
            for v in values {
                let at = ((v - low) / (high - low) * BINS as f32).clamp(0.0, BINS as f32 - 1.0);
                if let Some(n) = histogram.get_mut(at as usize) {
                    *n += 1;
                }
            }
        }
    }
}

fn range(x: &[f32]) -> (f32, f32) {
    x.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)))
}

/// Compares the layers on a few texts of every set, `p.layers` at most.
pub fn compare(p: &Plan, sets: &[(&Head, Vec<Encoding>)]) -> Result<Vec<LayerNoise>> {
    let each = p.layers.div_ceil(sets.len().max(1));
    let texts: Vec<Encoding> =
        sets.iter().flat_map(|(_, e)| e.iter().take(each)).take(p.layers).cloned().collect();
    let names: Vec<&str> = sets.iter().map(|(h, _)| h.output.as_str()).collect();
    let engines = (p.reference.model.plan(), p.model.model.plan());
    between(engines, &names, &texts, p.model.model.tokenizer()?, p.how.isa)
}

/// Compares the nodes that lead to the outputs `names`.
pub fn between(
    (a, b): (&Engine, &Engine),
    names: &[&str],
    texts: &[Encoding],
    tokenizer: &Tokenizer,
    isa: Isa,
) -> Result<Vec<LayerNoise>> {
    let wanted = |e: &Engine| -> Vec<usize> {
        e.outputs()
            .iter()
            .enumerate()
            .filter(|(_, o)| names.contains(&o.name.as_str()))
            .map(|x| x.0)
            .collect()
    };
    let bar = crate::progress::bar("layers", texts.len());
    let mut layers: Vec<LayerNoise> = vec![];
    let mut index: HashMap<String, usize> = HashMap::new();
    let mut start = 0;
    while start < texts.len() {
        crate::check_stop()?;
        let (mut end, mut tokens) = (start, 0);
        while end < texts.len() && (end == start || tokens + texts[end].len() <= TOKENS) {
            tokens += texts[end].len();
            end += 1;
        }
        let part = &texts[start..end];
        let mut batch = Batch::new();
        part.iter().for_each(|e| push(&mut batch, e));
        batch.picks = Some(picks(tokenizer, part, 0).0);
        let run = || RunOptions { isa, threads: 1, stop: Default::default(), stats: None };
        let mut seen: HashMap<String, (String, Vec<f32>)> = HashMap::new();
        let mut keep = |name: &str, op: &str, x: &[f32]| {
            seen.insert(name.to_string(), (op.to_string(), x.to_vec()));
        };
        a.run_tapped(&batch, &wanted(a), run(), Some(&mut keep))?;
        let mut beside = |name: &str, _: &str, y: &[f32]| {
            let Some((op, x)) = seen.get(name).filter(|(_, x)| x.len() == y.len() && !x.is_empty()) else {
                return;
            };
            let at = *index.entry(name.to_string()).or_insert_with(|| {
                layers.push(LayerNoise { name: name.to_string(), op: op.clone(), ..LayerNoise::default() });
                layers.len() - 1
            });
            if let Some(l) = layers.get_mut(at) {
                l.add(x, y);
            }
        };
        b.run_tapped(&batch, &wanted(b), run(), Some(&mut beside))?;
        bar.add(part.len());
        start = end;
    }
    for l in &mut layers {
        l.sqnr = decibel(l.noise / l.signal.max(1e-30));
        if !l.sqnr.is_finite() {
            return Err(Error::data_loss(format!(
                "layer `{}` reads values that are not finite: the model is broken, or its weights are",
                l.name
            )));
        }
    }
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_by_hand() {
        let mut l = LayerNoise::default();
        l.add(&[1.0, -1.0, 2.0, 0.0], &[1.1, -1.0, 2.0, 0.0]);
        l.add(&[3.0], &[3.0]);
        assert_eq!(l.values, 5);
        // Signal 15, noise 0.01.
        assert!((decibel(l.noise / l.signal) - 31.76).abs() < 0.01);
        assert_eq!(l.reference_range, (-1.0, 3.0));
        // The value beyond what the first texts had is in the last bin.
        assert_eq!(l.reference_histogram.last(), Some(&1));
        assert_eq!(l.reference_histogram.iter().sum::<u64>(), 5);
        assert_eq!(l.model_histogram.iter().sum::<u64>(), 5);
    }
}
