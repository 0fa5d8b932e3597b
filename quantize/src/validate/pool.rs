//! Several sets as one.

use serde::Serialize;

use super::SetResult;
use crate::stats;

/// Several sets as one: how a gate sees them.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Pool {
    /// Texts.
    pub texts: usize,
    /// What can flip.
    pub units: usize,
    /// Flips.
    pub flips: usize,
    /// Wilson's interval of their share.
    pub flips_interval: (f64, f64),
    /// Mean divergence, each text or token once.
    pub kl: f64,
    /// Its interval, where divergences are of texts.
    pub kl_interval: Option<(f64, f64)>,
    /// Mean quality of both over texts, in percent.
    pub quality: (f64, f64),
    /// The interval of its fall in points, where all texts have labels.
    pub drop_interval: Option<(f64, f64)>,
    /// Exact McNemar test, where all texts have labels.
    pub mcnemar: Option<f64>,
}

/// Pools `sets`; the quality is weighted by texts.
pub fn pool<'a>(sets: impl Iterator<Item = &'a SetResult>, seed: u64) -> Pool {
    let (mut p, mut of) = (Pool::default(), 0usize);
    let (mut kls, mut right) = (vec![], vec![]);
    for r in sets {
        p.texts += r.texts;
        p.units += r.units;
        p.flips += r.flips;
        if let Some(k) = r.kl_mean {
            p.kl += k * r.units as f64;
            of += r.units;
        }
        kls.extend_from_slice(&r.kls);
        right.extend_from_slice(&r.right);
        p.quality.0 += r.quality.reference * r.texts as f64;
        p.quality.1 += r.quality.model * r.texts as f64;
    }
    p.kl /= of.max(1) as f64;
    let n = p.texts.max(1) as f64;
    p.quality = (p.quality.0 / n, p.quality.1 / n);
    p.flips_interval = stats::wilson(p.flips, p.units);
    if !kls.is_empty() && kls.len() == of {
        p.kl_interval = Some(stats::mean_interval(&kls, seed));
    }
    if !right.is_empty() && right.len() == p.texts {
        let drop: Vec<f64> =
            right.iter().map(|x: &(bool, bool)| 100.0 * (f64::from(x.0) - f64::from(x.1))).collect();
        p.drop_interval = Some(stats::mean_interval(&drop, seed));
        let count = |a: bool| right.iter().filter(|x| x.0 == a && x.1 != a).count();
        p.mcnemar = Some(stats::mcnemar(count(true), count(false)));
    }
    p
}
