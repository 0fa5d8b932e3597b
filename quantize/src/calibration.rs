//! What the inputs of every linear layer look like on real texts: ranges, loud channels, and the products
//! `X^T X` that error-compensating rounding needs. Collected once from the FP32 model, kept in one file.

use std::collections::HashMap;
use std::path::Path;

use pocketbert::kernels::pack::{PackedF32, pack_f32};
use pocketbert::kernels::{Activation, Isa, gemm_f32};
use pocketbert::model::{Batch, Plan, RunOptions};
use pocketbert::text::Encoding;
use pocketbert::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::eval::push;

/// Rows that are multiplied at a time.
const ROWS: usize = 384;
/// Bins of a histogram.
const BINS: usize = 2048;
const MAGIC: &[u8; 8] = b"PBCALIB2";

/// What calibration knows of one layer's input.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Layer {
    /// The layer.
    pub name: String,
    /// Channels.
    pub k: usize,
    /// Rows seen.
    pub rows: u64,
    /// Least value, and the mean over runs of each run's least value.
    pub min: (f32, f32),
    /// Largest value, and the mean over runs.
    pub max: (f32, f32),
    /// Runs seen.
    pub runs: u32,
    /// Values from `-reach` to `reach` in equal bins.
    pub histogram: Vec<u64>,
    /// End of the histogram; a power of two.
    pub reach: f32,
    /// Per channel: the least and the largest value; at most and at least zero.
    #[serde(skip)]
    pub low: Vec<f32>,
    #[serde(skip)]
    pub high: Vec<f32>,
    /// Per channel: the largest magnitude.
    #[serde(skip)]
    pub loudest: Vec<f32>,
    /// Per channel: the mean.
    #[serde(skip)]
    pub mean: Vec<f32>,
    /// Lower triangle, diagonal included, of the sum of `x x^T` over the rows.
    #[serde(skip)]
    pub products: Vec<f32>,
}

impl Layer {
    /// The sum of `x_i x_j`.
    pub fn product(&self, i: usize, j: usize) -> f32 {
        let (i, j) = if i < j { (j, i) } else { (i, j) };
        self.products[i * (i + 1) / 2 + j]
    }
}

/// Calibration of a model.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Calibration {
    /// SHA-256 of the FP32 model.
    pub model_sha256: String,
    /// SHA-256 of the file of texts.
    pub texts_sha256: String,
    /// Texts, tokens, seed.
    pub texts: usize,
    /// Tokens seen.
    pub tokens: usize,
    /// Seed that drew the texts.
    pub seed: u64,
    /// Layers in the order in which they run.
    pub layers: Vec<Layer>,
}

/// Rows of a layer that wait to be multiplied.
#[derive(Default)]
struct Pending {
    rows: Vec<f32>,
    at: usize,
}

struct Collector {
    layers: Vec<Layer>,
    index: HashMap<String, usize>,
    pending: Vec<Pending>,
    sizes: HashMap<String, usize>,
    threads: usize,
    isa: Isa,
}

impl Collector {
    fn see(&mut self, name: &str, x: &[f32]) -> Result<()> {
        let Some(&k) = self.sizes.get(name) else { return Ok(()) };
        let at = match self.index.get(name) {
            Some(&at) => at,
            None => {
                let layer = Layer {
                    name: name.to_string(),
                    k,
                    histogram: vec![0; BINS],
                    reach: 1.0 / 1024.0,
                    low: vec![0.0; k],
                    high: vec![0.0; k],
                    loudest: vec![0.0; k],
                    mean: vec![0.0; k],
                    products: vec![0.0; k * (k + 1) / 2],
                    ..Layer::default()
                };
                self.layers.push(layer);
                self.pending.push(Pending::default());
                self.index.insert(name.to_string(), self.layers.len() - 1);
                self.layers.len() - 1
            }
        };
        self.layers[at].look(x)?;
        self.pending[at].at = at;
        self.pending[at].rows.extend_from_slice(x);
        if self.pending[at].rows.len() >= ROWS * k {
            self.multiply(at)?;
        }
        Ok(())
    }

    /// Adds the products of the waiting rows.
    fn multiply(&mut self, at: usize) -> Result<()> {
        let rows = std::mem::take(&mut self.pending[at].rows);
        let layer = &mut self.layers[at];
        let (k, m) = (layer.k, rows.len() / layer.k);
        if m == 0 {
            return Ok(());
        }
        let mut packed = vec![0.0; k.next_multiple_of(16) * m];
        pack_f32(|r, c| rows[r * k + c], k, m, &mut packed)?;
        let packed = PackedF32::new(k, m, &packed)?;
        let mut transposed = vec![0.0; k * m];
        for (r, row) in rows.chunks_exact(k).enumerate() {
            row.iter().enumerate().for_each(|(c, v)| transposed[c * m + r] = *v);
        }
        // Bands of the triangle, so that the upper half costs little and nothing of size k x k lies around.
        let band = 256usize;
        let bands: Vec<usize> = (0..k).step_by(band).collect();
        let isa = self.isa;
        let next = std::sync::atomic::AtomicUsize::new(0);
        let sum = std::sync::Mutex::new(&mut layer.products);
        crate::threads::each(self.threads, || {
            while let Some(&from) = bands.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                let to = (from + band).min(k);
                // Columns up to `to` are whole panels of the packed rows.
                let n = to.next_multiple_of(16).min(k);
                let columns = PackedF32::new(n, m, &packed.data()[..n.next_multiple_of(16) * m])?;
                let mut out = vec![0.0; (to - from) * n];
                gemm_f32(
                    isa,
                    &transposed[from * m..to * m],
                    to - from,
                    &columns,
                    None,
                    Activation::None,
                    &mut out,
                )?;
                let mut sum = sum.lock().unwrap_or_else(|e| e.into_inner());
                for i in from..to {
                    let row = &out[(i - from) * n..][..=i];
                    let sums = &mut sum[i * (i + 1) / 2..][..=i];
                    sums.iter_mut().zip(row).for_each(|(s, v)| *s += v);
                }
            }
            Ok(())
        })
    }
}

impl Layer {
    fn look(&mut self, x: &[f32]) -> Result<()> {
        if x.iter().any(|v| !v.is_finite()) {
            return Err(Error::data_loss(format!(
                "the input of layer `{}` holds values that are not finite: the model is broken, or its weights are",
                self.name
            )));
        }
        let (mut low, mut high) = (0.0f32, 0.0f32);
        for row in x.chunks_exact(self.k) {
            self.rows += 1;
            for (c, &v) in row.iter().enumerate() {
                self.low[c] = self.low[c].min(v);
                self.high[c] = self.high[c].max(v);
                self.loudest[c] = self.loudest[c].max(v.abs());
                self.mean[c] += (v - self.mean[c]) / self.rows as f32;
                (low, high) = (low.min(v), high.max(v));
            }
        }
        self.runs += 1;
        let share = 1.0 / self.runs as f32;
        self.min = (self.min.0.min(low), self.min.1 + (low - self.min.1) * share);
        self.max = (self.max.0.max(high), self.max.1 + (high - self.max.1) * share);
        while self.reach < high.max(-low) {
            // Twice as wide: two bins become one.
            self.reach *= 2.0;
            let old = std::mem::replace(&mut self.histogram, vec![0; BINS]);
            for (i, n) in old.into_iter().enumerate() {
                self.histogram[BINS / 4 + i / 2] += n;
            }
        }
        let scale = BINS as f32 / (2.0 * self.reach);
        for &v in x {
            let bin = ((v + self.reach) * scale) as usize;
            self.histogram[bin.min(BINS - 1)] += 1;
        }
        Ok(())
    }

    /// The loudest channel's largest magnitude beside that of the median channel.
    pub fn loudness(&self) -> f32 {
        let mut l = self.loudest.clone();
        l.sort_by(f32::total_cmp);
        l.last().unwrap_or(&0.0) / l.get(l.len() / 2).unwrap_or(&1.0).max(1e-9)
    }

    /// The range that holds all but `1 - share` of the values, half of it on either side.
    pub fn percentile(&self, share: f64) -> (f32, f32) {
        let total: u64 = self.histogram.iter().sum();
        let out = ((1.0 - share) / 2.0 * total as f64) as u64;
        let width = 2.0 * self.reach / BINS as f32;
        // The first bin from either end with which more than `out` values are seen.
        let edge = |bins: Vec<usize>| {
            let mut seen = 0;
            bins.into_iter()
                .find(|&i| {
                    seen += self.histogram[i];
                    seen > out
                })
                .unwrap_or(0)
        };
        let low = edge((0..BINS).collect());
        let high = edge((0..BINS).rev().collect());
        let low = (-self.reach + low as f32 * width).max(self.min.0);
        let high = (-self.reach + (high + 1) as f32 * width).min(self.max.0);
        (low.min(0.0), high.max(0.0))
    }

    /// The range, a share of the whole one, whose 256 steps err least in the mean square.
    pub fn least_error(&self) -> (f32, f32) {
        self.best(|centre, n, low, high| {
            let step = f64::from(high - low) / 255.0;
            let clipped = centre.clamp(f64::from(low), f64::from(high));
            // Inside, the error of rounding is uniform.
            n as f64 * ((centre - clipped).powi(2) + step * step / 12.0)
        })
    }

    /// The range that loses least entropy: the divergence of the clipped and rounded histogram from the whole one
    /// (Migacz 2017, as in TensorRT), for both signs.
    pub fn entropy(&self) -> (f32, f32) {
        let total: f64 = self.histogram.iter().sum::<u64>() as f64;
        let centre =
            |i: usize| (i as f64 + 0.5) * 2.0 * f64::from(self.reach) / BINS as f64 - f64::from(self.reach);
        let mut best = (f64::INFINITY, (self.min.0, self.max.0));
        for percent in (30..=100).step_by(2) {
            let f = percent as f32 / 100.0;
            let (low, high) = (self.min.0 * f, self.max.0 * f);
            if high <= low {
                continue;
            }
            let step = f64::from(high - low) / 255.0;
            let slot = |i: usize| {
                (((centre(i).clamp(f64::from(low), f64::from(high)) - f64::from(low)) / step) as usize)
                    .min(255)
            };
            let (mut mass, mut used) = (vec![0f64; 256], vec![0f64; 256]);
            for (i, n) in self.histogram.iter().enumerate().filter(|(_, n)| **n > 0) {
                mass[slot(i)] += *n as f64;
                used[slot(i)] += 1.0;
            }
            let mut divergence = 0.0;
            for (i, n) in self.histogram.iter().enumerate().filter(|(_, n)| **n > 0) {
                let p = *n as f64 / total;
                let q = mass[slot(i)] / used[slot(i)] / total;
                // What is clipped is far from where it lands.
                let outside = centre(i) < f64::from(low) || centre(i) > f64::from(high);
                divergence += p * (p / q).ln() + if outside { p } else { 0.0 };
            }
            if divergence < best.0 {
                best = (divergence, (low, high));
            }
        }
        best.1
    }

    fn best(&self, cost: impl Fn(f64, u64, f32, f32) -> f64) -> (f32, f32) {
        let width = 2.0 * f64::from(self.reach) / BINS as f64;
        let mut best = (f64::INFINITY, (self.min.0, self.max.0));
        for percent in (20..=100).step_by(2) {
            let f = percent as f32 / 100.0;
            let (low, high) = (self.min.0 * f, self.max.0 * f);
            let mut sum = 0.0;
            for (i, n) in self.histogram.iter().enumerate().filter(|(_, n)| **n > 0) {
                sum += cost((i as f64 + 0.5) * width - f64::from(self.reach), *n, low, high);
            }
            if sum < best.0 {
                best = (sum, (low, high));
            }
        }
        best.1
    }
}

/// Runs `encodings` through the FP32 `plan` and looks at the inputs of the linear layers in `sizes` (name, channels).
pub fn collect(
    plan: &Plan,
    encodings: &[Encoding],
    sizes: HashMap<String, usize>,
    threads: usize,
) -> Result<Vec<Layer>> {
    let isa = Isa::best();
    let mut c = Collector { layers: vec![], index: HashMap::new(), pending: vec![], sizes, threads, isa };
    let wanted: Vec<usize> = (0..plan.outputs().len()).collect();
    let bar = crate::progress::bar("calibrating", encodings.len());
    let mut start = 0;
    while start < encodings.len() {
        crate::check_stop()?;
        // No scores over the vocabulary: their product is not calibrated, and dear.
        let mut batch = Batch { picks: Some(vec![]), ..Batch::new() };
        let mut end = start;
        while end < encodings.len() && (end == start || batch.ids.len() + encodings[end].len() <= 320) {
            push(&mut batch, &encodings[end]);
            end += 1;
        }
        let run = RunOptions { isa, threads, stop: Default::default(), stats: None };
        let mut failed = Ok(());
        let mut tap = |name: &str, op: &str, x: &[f32]| {
            if op == "Linear" && failed.is_ok() {
                failed = c.see(name, x);
            }
        };
        plan.run_tapped(&batch, &wanted, run, Some(&mut tap))?;
        failed?;
        bar.add(end - start);
        start = end;
    }
    for at in 0..c.layers.len() {
        c.multiply(at)?;
    }
    Ok(c.layers)
}

impl Calibration {
    /// Writes the file: magic, length of the JSON head, head, then each layer's numbers.
    pub fn write(&self, path: &Path) -> Result<()> {
        let head = serde_json::to_vec(self).map_err(|e| Error::internal(e.to_string()))?;
        crate::files::write_with(path, |out| {
            out.write_all(MAGIC)?;
            out.write_all(&(head.len() as u64).to_le_bytes())?;
            out.write_all(&head)?;
            for l in &self.layers {
                for x in l.low.iter().chain(&l.high).chain(&l.mean).chain(&l.products) {
                    out.write_all(&x.to_le_bytes())?;
                }
            }
            Ok(())
        })
    }

    /// Reads it.
    pub fn read(path: &Path) -> Result<Calibration> {
        let bytes = crate::read(path)?;
        let bad =
            || Error::data_loss(format!("`{}` is no calibration file, or is cut short", path.display()));
        let rest = bytes.strip_prefix(MAGIC.as_slice()).ok_or_else(bad)?;
        let (n, rest) = rest.split_first_chunk::<8>().ok_or_else(bad)?;
        let n = usize::try_from(u64::from_le_bytes(*n)).map_err(|_| bad())?;
        let (head, mut rest) = rest.split_at_checked(n).ok_or_else(bad)?;
        let mut c: Calibration = serde_json::from_slice(head).map_err(|_| bad())?;
        for l in &mut c.layers {
            let triangle = l.k.checked_add(1).and_then(|k1| l.k.checked_mul(k1)).ok_or_else(bad)? / 2;
            for (part, n) in
                [(&mut l.low, l.k), (&mut l.high, l.k), (&mut l.mean, l.k), (&mut l.products, triangle)]
            {
                let (data, after) =
                    n.checked_mul(4).and_then(|n| rest.split_at_checked(n)).ok_or_else(bad)?;
                *part = data.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
                rest = after;
            }
            l.loudest = l.low.iter().zip(&l.high).map(|(a, b)| b.max(-a)).collect();
            if l.histogram.len() != BINS {
                return Err(bad());
            }
        }
        if rest.is_empty() { Ok(c) } else { Err(bad()) }
    }

    /// The layer called `name`.
    pub fn layer(&self, name: &str) -> Option<&Layer> {
        self.layers.iter().find(|l| l.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_and_ranges_of_known_rows() {
        let mut c = Collector {
            layers: vec![],
            index: HashMap::new(),
            pending: vec![],
            sizes: HashMap::from([("l".to_string(), 20)]),
            threads: 2,
            isa: Isa::Generic,
        };
        let rows: Vec<f32> = (0..500 * 20).map(|i| ((i * 37 % 101) as f32 - 50.0) / 10.0).collect();
        for part in rows.chunks(20 * 123) {
            c.see("l", part).unwrap();
        }
        c.see("other", &rows).unwrap();
        c.multiply(0).unwrap();
        let l = &c.layers[0];
        assert_eq!((c.layers.len(), l.rows), (1, 500));
        for (i, j) in [(0, 0), (3, 17), (19, 19), (18, 2)] {
            let want: f64 = rows.chunks(20).map(|r| f64::from(r[i]) * f64::from(r[j])).sum();
            assert!((f64::from(l.product(i, j)) - want).abs() < 1e-2, "{i} {j}");
        }
        assert_eq!((l.min.0, l.max.0), (-5.0, 5.0));
        assert_eq!(l.histogram.iter().sum::<u64>(), 10_000);
        let (low, high) = l.percentile(0.9);
        assert!((low + 4.5).abs() < 0.15 && (high - 4.5).abs() < 0.15, "{low} {high}");
        // Nothing stands out, so nothing is worth clipping.
        let (low, high) = l.least_error();
        assert!(low < -4.5 && high > 4.5, "{low} {high}");
    }

    #[test]
    fn a_file_comes_back_and_a_cut_one_does_not() {
        let l = Layer {
            name: "l".into(),
            k: 2,
            histogram: vec![0; BINS],
            low: vec![-1.0, -0.5],
            high: vec![0.5, 2.0],
            mean: vec![0.5, 0.25],
            products: vec![1.0, 2.0, 3.0],
            ..Layer::default()
        };
        let c = Calibration { layers: vec![l], ..Calibration::default() };
        let path = std::env::temp_dir().join(format!("pocketbert-calibration-{}", std::process::id()));
        c.write(&path).unwrap();
        let back = Calibration::read(&path).unwrap();
        assert_eq!(back.layers[0].products, [1.0, 2.0, 3.0]);
        assert_eq!(back.layers[0].loudest, [1.0, 2.0]);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(Calibration::read(&path).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
