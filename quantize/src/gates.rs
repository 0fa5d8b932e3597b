//! Gates: `accuracy_drop<=0.1pt, flips<=0.3%, kl<=2e-4`, judged on a validation's result.

use pocketbert::{Error, Result};
use serde::Serialize;

use crate::validate::{SetResult, pool};

/// A bound on a figure, for all sets or for those of one head, set or slice.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    text: String,
    figure: Figure,
    scope: Option<String>,
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Figure {
    AccuracyDrop,
    Flips,
    Kl,
    WorstSliceDrop,
    Ece,
}

/// What a gate found.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The gate as it was written.
    pub gate: String,
    /// The figure, in the gate's unit.
    pub value: f64,
    /// Where it was worst, or what it is over.
    pub at: String,
    /// Whether the bound holds.
    pub passed: bool,
}

/// Reads a list of gates separated by commas.
pub fn parse(text: &str) -> Result<Vec<Gate>> {
    text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(one).collect()
}

fn one(text: &str) -> Result<Gate> {
    let bad = |why: &str| {
        Error::invalid(format!(
            "gate `{text}`: {why}; write for example `flips<=0.3%`, `kl[intent]<=2e-4`, `accuracy_drop<=0.1pt`"
        ))
    };
    let (left, right) = text.split_once("<=").ok_or_else(|| bad("no `<=`"))?;
    let (name, scope) = match left.trim().split_once('[') {
        Some((n, s)) => (n, Some(s.strip_suffix(']').ok_or_else(|| bad("no `]`"))?.trim().to_string())),
        None => (left.trim(), None),
    };
    let (figure, unit) = match name.trim() {
        "accuracy_drop" => (Figure::AccuracyDrop, "pt"),
        "worst_slice_drop" => (Figure::WorstSliceDrop, "pt"),
        "flips" => (Figure::Flips, "%"),
        "kl" => (Figure::Kl, ""),
        "ece" => (Figure::Ece, ""),
        _ => return Err(bad("known are accuracy_drop, flips, kl, worst_slice_drop and ece")),
    };
    let right = right.trim();
    let number = right.strip_suffix(unit).unwrap_or(right).trim();
    let bound: f64 = number.parse().map_err(|_| bad("the bound is no number in the right unit"))?;
    if !bound.is_finite() || bound < 0.0 {
        return Err(bad("the bound must be a number from 0"));
    }
    Ok(Gate { text: text.to_string(), figure, scope, bound })
}

/// Judges `results`. A gate that meets no set is an error: it would pass unseen.
pub fn judge(gates: &[Gate], results: &[SetResult]) -> Result<Vec<Verdict>> {
    gates.iter().map(|g| g.judge(results)).collect()
}

impl Gate {
    fn judge(&self, results: &[SetResult]) -> Result<Verdict> {
        let sliced = matches!(self.figure, Figure::WorstSliceDrop);
        let inside = |r: &&SetResult| match &self.scope {
            None => sliced || r.slice.is_empty(),
            Some(s) => [&r.head, &r.name, &r.slice].contains(&s),
        };
        let scoped: Vec<&SetResult> = results.iter().filter(inside).collect();
        let worst = |all: Vec<(f64, String)>| all.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
        let found = match self.figure {
            // Only sets whose texts flip as a whole are pooled, unless the gate names others.
            Figure::Flips | Figure::Kl => {
                let texts: Vec<&SetResult> =
                    scoped.iter().copied().filter(|r| self.scope.is_some() || r.mcnemar.is_some()).collect();
                let p = pool(texts.iter().copied());
                let value = if self.figure == Figure::Kl {
                    p.kl
                } else {
                    100.0 * p.flips as f64 / p.units.max(1) as f64
                };
                (!texts.is_empty()).then(|| (value, format!("{} of {}", p.flips, p.units)))
            }
            Figure::AccuracyDrop => {
                let mut heads: Vec<&str> = scoped.iter().map(|r| r.head.as_str()).collect();
                heads.dedup();
                worst(
                    heads
                        .into_iter()
                        .map(|h| {
                            let p = pool(scoped.iter().copied().filter(|r| r.head == h));
                            (p.quality.0 - p.quality.1, h.to_string())
                        })
                        .collect(),
                )
            }
            Figure::WorstSliceDrop => worst(
                scoped
                    .iter()
                    .filter(|r| r.mcnemar.is_some())
                    .map(|r| (r.quality.reference - r.quality.model, format!("{} {}", r.name, r.slice)))
                    .collect(),
            ),
            // At this many texts even a perfectly calibrated model shows an error: the lower bound is judged.
            Figure::Ece => worst(
                scoped
                    .iter()
                    .filter_map(|r| r.ece_interval.map(|e| (e.0, format!("{} {}", r.name, r.slice))))
                    .collect(),
            ),
        };
        let (value, at) = found
            .ok_or_else(|| Error::invalid(format!("gate `{}` meets no set: it could not fail", self.text)))?;
        Ok(Verdict { gate: self.text.clone(), value, at, passed: value <= self.bound })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::Quality;

    fn set(head: &str, units: usize, flips: usize, from: f64, to: f64) -> SetResult {
        SetResult {
            head: head.into(),
            name: format!("{head} test"),
            texts: units,
            units,
            flips,
            kl_mean: Some(1e-4),
            mcnemar: Some(1.0),
            quality: Quality { reference: from, model: to, ..Quality::default() },
            ..SetResult::default()
        }
    }

    #[test]
    fn bounds_hold_or_fail() {
        let sets = [set("a", 900, 2, 90.0, 90.0), set("b", 100, 1, 80.0, 79.5)];
        let v = judge(&parse("flips<=0.3%, kl<=2e-4, accuracy_drop<=0.1pt, flips[b]<=0.5%").unwrap(), &sets)
            .unwrap();
        assert_eq!(v.iter().map(|v| v.passed).collect::<Vec<_>>(), [true, true, false, false]);
        assert_eq!(v[2].at, "b");
        assert!((v[2].value - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_gate_that_cannot_be_judged_is_an_error() {
        for bad in ["flips<0.3%", "speed<=1", "kl<=x", "flips[a<=1%", "kl<=-1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(judge(&parse("flips[nobody]<=1%").unwrap(), &[set("a", 10, 0, 1.0, 1.0)]).is_err());
    }
}
