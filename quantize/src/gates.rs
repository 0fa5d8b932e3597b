//! Gates: `accuracy_drop<=0.1pt, flips<=0.3%, kl<=2e-4`, judged on a validation's result.

use pocketbert::{Error, Result};
use serde::Serialize;

use crate::stats::Rate;
use crate::validate::{Operating, SetResult, Validation, pool};

/// A bound on a figure, for all sets or for those of one head, set, slice or label.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    text: String,
    figure: Figure,
    scope: Vec<String>,
    most: bool,
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Figure {
    AccuracyDrop,
    MacroF1Drop,
    WorstSliceDrop,
    Flips,
    ThresholdFlips,
    Kl,
    KlMax,
    Ece,
    McNemar,
    PrecisionDrop,
    RecallDrop,
    FprRise,
    FnrRise,
    IdentityGap,
    IdentityGapRise,
    Cosine,
    Sqnr,
    LayerSqnr,
    OtherBits,
}

/// Name, unit, figure.
const FIGURES: [(&str, &str, Figure); 19] = [
    ("accuracy_drop", "pt", Figure::AccuracyDrop),
    ("macro_f1_drop", "pt", Figure::MacroF1Drop),
    ("worst_slice_drop", "pt", Figure::WorstSliceDrop),
    ("flips", "%", Figure::Flips),
    ("threshold_flips", "%", Figure::ThresholdFlips),
    ("kl", "", Figure::Kl),
    ("kl_max", "", Figure::KlMax),
    ("ece", "", Figure::Ece),
    ("mcnemar", "", Figure::McNemar),
    ("precision_drop", "pt", Figure::PrecisionDrop),
    ("recall_drop", "pt", Figure::RecallDrop),
    ("fpr_rise", "pt", Figure::FprRise),
    ("fnr_rise", "pt", Figure::FnrRise),
    ("identity_gap", "pt", Figure::IdentityGap),
    ("identity_gap_rise", "pt", Figure::IdentityGapRise),
    ("cosine", "", Figure::Cosine),
    ("sqnr", "dB", Figure::Sqnr),
    ("layer_sqnr", "dB", Figure::LayerSqnr),
    ("other_bits", "", Figure::OtherBits),
];

/// What a gate found.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The gate as it was written.
    pub gate: String,
    /// The figure, in the gate's unit.
    pub value: f64,
    /// Its 95 % interval, where there is one.
    pub interval: Option<(f64, f64)>,
    /// Where it was worst, or what it is over.
    pub at: String,
    /// Whether the bound holds.
    pub passed: bool,
}

/// A value, its interval, and where it was found.
type Found = (f64, Option<(f64, f64)>, String);
/// A value of one set and its interval.
type Value = (f64, Option<(f64, f64)>);

/// Reads a list of gates separated by commas or lines; `#` begins a comment.
pub fn parse(text: &str) -> Result<Vec<Gate>> {
    let bare = text.lines().map(|l| l.split('#').next().unwrap_or(""));
    bare.flat_map(|l| l.split(',')).map(str::trim).filter(|t| !t.is_empty()).map(one).collect()
}

fn one(text: &str) -> Result<Gate> {
    let bad = |why: &str| {
        Error::invalid(format!(
            "gate `{text}`: {why}; write for example `flips<=0.3%`, `kl[intent]<=2e-4`, `accuracy_drop<=0.1pt`"
        ))
    };
    let (left, right, most) = match (text.split_once("<="), text.split_once(">=")) {
        (Some((l, r)), _) => (l, r, true),
        (None, Some((l, r))) => (l, r, false),
        _ => return Err(bad("no `<=` or `>=`")),
    };
    let (name, scope) = match left.trim().split_once('[') {
        Some((n, s)) => (n, s.strip_suffix(']').ok_or_else(|| bad("no `]`"))?),
        None => (left.trim(), ""),
    };
    let scope: Vec<String> =
        scope.split('/').map(|s| s.trim().to_string()).filter(|s| !s.is_empty()).collect();
    let Some((_, unit, figure)) = FIGURES.iter().find(|f| f.0 == name.trim()) else {
        let known: Vec<&str> = FIGURES.iter().map(|f| f.0).collect();
        return Err(bad(&format!("known are {}", known.join(", "))));
    };
    let right = right.trim();
    let number = right.strip_suffix(unit).unwrap_or(right).trim();
    let bound: f64 = number.parse().map_err(|_| bad("the bound is no number in the right unit"))?;
    if !bound.is_finite() || bound < 0.0 {
        return Err(bad("the bound must be a number from 0"));
    }
    Ok(Gate { text: text.to_string(), figure: *figure, scope, most, bound })
}

/// Judges a validation. A gate that meets no set is an error: it would pass unseen.
pub fn judge(gates: &[Gate], v: &Validation) -> Result<Vec<Verdict>> {
    gates.iter().map(|g| g.judge(v)).collect()
}

/// The worst of several, or none of none; `NaN` is the worst of all.
fn worst(most: bool, all: impl IntoIterator<Item = Found>) -> Option<Found> {
    let key = |f: &Found| if f.0.is_nan() { f64::INFINITY } else { f.0 * if most { 1.0 } else { -1.0 } };
    all.into_iter().max_by(|a, b| key(a).total_cmp(&key(b)))
}

fn place(r: &SetResult) -> String {
    if r.slice.is_empty() { r.name.clone() } else { format!("{}, {}", r.name, r.slice) }
}

/// The interval of the drop of a single set.
fn single<'a>(mut sets: impl Iterator<Item = &'a SetResult>) -> Option<(f64, f64)> {
    let first = sets.next()?;
    sets.next().is_none().then_some(first.quality.drop_interval)
}

fn percent(r: Rate, at: String) -> Found {
    (100.0 * r.value, Some((100.0 * r.interval.0, 100.0 * r.interval.1)), at)
}

impl Gate {
    fn judge(&self, v: &Validation) -> Result<Verdict> {
        let found = self.find(v).ok_or_else(|| {
            Error::invalid(format!(
                "gate `{}` meets no set: it could not fail. A scope is made of heads, sets, slices and labels, such as \
                 `[intent/CLINC test/typos]`",
                self.text
            ))
        })?;
        let (value, interval, at) = found;
        let passed = if self.most { value <= self.bound } else { value >= self.bound };
        Ok(Verdict { gate: self.text.clone(), value, interval, at, passed })
    }

    /// The sets inside the scope; what of the scope is left over must be a label.
    fn scoped<'a>(&self, v: &'a Validation, sliced: bool) -> (Vec<&'a SetResult>, Option<&str>) {
        let named = |part: &String| v.sets.iter().any(|r| [&r.head, &r.name, &r.slice].contains(&part));
        let label = self.scope.iter().find(|p| !named(p)).map(String::as_str);
        let slice = self.scope.iter().any(|p| v.sets.iter().any(|r| r.slice == **p));
        let inside = |r: &&SetResult| {
            (sliced || slice || r.slice.is_empty())
                && self.scope.iter().filter(|p| named(p)).all(|p| [&r.head, &r.name, &r.slice].contains(&p))
        };
        (v.sets.iter().filter(inside).collect(), label)
    }

    fn find(&self, v: &Validation) -> Option<Found> {
        let (sets, label) = self.scoped(v, false);
        // A misspelt scope is taken for a label and meets nothing.
        let points = |of: fn(&Operating) -> (Rate, Rate)| {
            let all = sets.iter().flat_map(|r| r.operating.iter().map(move |o| (r, o)));
            let all = all.filter(|(_, o)| label.is_none_or(|l| l == o.label));
            worst(
                self.most,
                all.map(|(r, o)| {
                    let (a, b) = of(o);
                    (100.0 * (b.value - a.value), None, format!("{}, {}", place(r), o.label))
                }),
            )
        };
        if let Some(l) = label {
            let of = |r: &&SetResult| r.by_label.iter().find(|b| b.label == l).map(|b| (place(r), b.clone()));
            let found = sets.iter().filter_map(of);
            return match self.figure {
                Figure::Flips => {
                    worst(self.most, found.map(|(at, b)| percent(b.flips, format!("{at}, {l}"))))
                }
                Figure::AccuracyDrop => worst(
                    self.most,
                    found.map(|(at, b)| {
                        (100.0 * (b.reference.value - b.model.value), None, format!("{at}, {l}"))
                    }),
                ),
                Figure::ThresholdFlips => worst(
                    self.most,
                    sets.iter()
                        .flat_map(|r| r.operating.iter().filter(|o| o.label == l).map(move |o| (r, o)))
                        .map(|(r, o)| percent(o.flips, format!("{}, {l}", place(r)))),
                ),
                Figure::PrecisionDrop => points(|o| (o.model.precision, o.reference.precision)),
                Figure::RecallDrop => points(|o| (o.model.recall, o.reference.recall)),
                Figure::FprRise => points(|o| (o.reference.fpr, o.model.fpr)),
                Figure::FnrRise => points(|o| (o.reference.fnr, o.model.fnr)),
                _ => None,
            };
        }
        let each = |f: &dyn Fn(&SetResult) -> Option<Value>| {
            worst(self.most, sets.iter().filter_map(|r| f(r).map(|(x, i)| (x, i, place(r)))))
        };
        match self.figure {
            // Only sets whose texts have labels are pooled, unless the gate names others.
            Figure::Flips | Figure::Kl => {
                let open = !self.scope.is_empty();
                let texts = || sets.iter().copied().filter(|r| open || r.mcnemar.is_some());
                texts().next()?;
                let p = pool(texts(), 1);
                Some(match self.figure {
                    Figure::Kl => (p.kl, p.kl_interval, format!("{} texts", p.texts)),
                    _ => percent(Rate::new(p.flips, p.units), format!("{} of {}", p.flips, p.units)),
                })
            }
            Figure::AccuracyDrop => {
                // Sets that say what is right; flips of others are judged, their accuracy is not known.
                let known = || {
                    let judged = |r: &&SetResult| r.mcnemar.is_some() || r.quality.interval != (0.0, 0.0);
                    sets.iter().copied().filter(judged)
                };
                let mut heads: Vec<&str> = known().map(|r| r.head.as_str()).collect();
                heads.sort_unstable();
                heads.dedup();
                worst(
                    self.most,
                    heads.into_iter().map(|h| {
                        let p = pool(known().filter(|r| r.head == h), 1);
                        let interval = p.drop_interval.or_else(|| single(known().filter(|r| r.head == h)));
                        (p.quality.0 - p.quality.1, interval, h.to_string())
                    }),
                )
            }
            Figure::MacroF1Drop => each(&|r| r.macro_f1.map(|(a, b)| (a - b, r.macro_f1_drop_interval))),
            // Each slice over all sets that have it; with a scope, over those inside.
            Figure::WorstSliceDrop => {
                let (sets, _) = self.scoped(v, true);
                let mut slices: Vec<&str> =
                    sets.iter().map(|r| r.slice.as_str()).filter(|s| !s.is_empty()).collect();
                slices.sort_unstable();
                slices.dedup();
                worst(
                    self.most,
                    slices.into_iter().map(|s| {
                        let own = sets.iter().copied().filter(|r| r.slice == s && r.mcnemar.is_some());
                        let p = pool(own, 1);
                        (p.quality.0 - p.quality.1, p.drop_interval, format!("{s}, {} texts", p.texts))
                    }),
                )
            }
            Figure::ThresholdFlips => worst(
                self.most,
                sets.iter()
                    .flat_map(|r| r.operating.iter().map(move |o| (r, o)))
                    .map(|(r, o)| percent(o.flips, format!("{}, {}", place(r), o.label))),
            ),
            Figure::KlMax => each(&|r| r.kl_max.map(|k| (k, None))),
            // At this many texts even a perfectly calibrated model shows an error: the lower end is judged.
            Figure::Ece => each(&|r| r.ece.map(|e| (e[2].interval.0, Some(e[2].interval)))),
            Figure::McNemar => each(&|r| r.mcnemar.map(|p| (p, None))),
            Figure::PrecisionDrop => points(|o| (o.model.precision, o.reference.precision)),
            Figure::RecallDrop => points(|o| (o.model.recall, o.reference.recall)),
            Figure::FprRise => points(|o| (o.reference.fpr, o.model.fpr)),
            Figure::FnrRise => points(|o| (o.reference.fnr, o.model.fnr)),
            Figure::IdentityGap | Figure::IdentityGapRise => worst(
                self.most,
                v.identity.iter().filter(|i| self.scope.is_empty() || self.scope.contains(&i.head)).map(
                    |i| match self.figure {
                        Figure::IdentityGap => (i.model_gap, Some(i.model_gap_interval), i.head.clone()),
                        _ => (i.model_gap - i.reference_gap, Some(i.rise_interval), i.head.clone()),
                    },
                ),
            ),
            Figure::Cosine => each(&|r| r.cosine.map(|c| (c.0, r.cosine_interval))),
            Figure::Sqnr => each(&|r| Some((r.sqnr, Some(r.sqnr_interval)))),
            Figure::LayerSqnr => worst(self.most, v.layers.iter().map(|l| (l.sqnr, None, l.name.clone()))),
            Figure::OtherBits => {
                let i = v.invariance.as_ref()?;
                Some((i.other_bits() as f64, None, format!("{} texts, {} ways", i.texts, i.ways.len())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::{LabelResult, Quality};

    fn set(head: &str, slice: &str, units: usize, flips: usize, from: f64, to: f64) -> SetResult {
        SetResult {
            head: head.into(),
            name: format!("{head} test"),
            slice: slice.into(),
            texts: units,
            units,
            flips,
            kl_mean: Some(1e-4),
            mcnemar: Some(1.0),
            quality: Quality { reference: from, model: to, ..Quality::default() },
            by_label: vec![LabelResult {
                label: "yes".into(),
                reference: Rate::new(9, 10),
                model: Rate::new(8, 10),
                flips: Rate::new(1, 10),
            }],
            ..SetResult::default()
        }
    }

    fn of(sets: Vec<SetResult>) -> Validation {
        Validation { sets, ..Validation::default() }
    }

    #[test]
    fn bounds_hold_or_fail() {
        let v = of(vec![set("a", "", 900, 2, 90.0, 90.0), set("b", "", 100, 1, 80.0, 79.5)]);
        let v = judge(&parse("flips<=0.3%, kl<=2e-4, accuracy_drop<=0.1pt, flips[b]<=0.5%").unwrap(), &v)
            .unwrap();
        assert_eq!(v.iter().map(|v| v.passed).collect::<Vec<_>>(), [true, true, false, false]);
        assert_eq!(v[2].at, "b");
        assert!((v[2].value - 0.5).abs() < 1e-9);
    }

    #[test]
    fn scopes_are_heads_sets_slices_and_labels() {
        let v = of(vec![
            set("a", "", 1000, 1, 90.0, 90.0),
            set("a", "typos", 1000, 8, 90.0, 89.2),
            set("b", "typos", 1000, 2, 90.0, 90.0),
            set("b", "cut", 1000, 2, 90.0, 90.2),
        ]);
        let value = |g: &str| judge(&parse(g).unwrap(), &v).unwrap()[0].value;
        assert!((value("flips<=1%") - 0.1).abs() < 1e-9, "slices are not pooled with texts as they are");
        assert!((value("flips[typos]<=1%") - 0.5).abs() < 1e-9);
        assert!((value("flips[a/typos]<=1%") - 0.8).abs() < 1e-9);
        assert!((value("flips[b/b test/cut]<=1%") - 0.2).abs() < 1e-9);
        assert!((value("flips[a/yes]<=20%") - 10.0).abs() < 1e-9);
        assert!((value("accuracy_drop[a/yes]<=20pt") - 10.0).abs() < 1e-9);
        // Over both heads: 0.4 for typos, -0.2 for cut.
        assert!((value("worst_slice_drop<=0.5pt") - 0.4).abs() < 1e-9);
        assert!((value("worst_slice_drop[a]<=0.5pt") - 0.8).abs() < 1e-9);
        assert!(judge(&parse("mcnemar>=0.05").unwrap(), &v).unwrap()[0].passed);
    }

    #[test]
    fn a_gate_that_cannot_be_judged_is_an_error() {
        for bad in ["flips<0.3%", "speed<=1", "kl<=x", "flips[a<=1%", "kl<=-1", "flips<=NaN%"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let v = of(vec![set("a", "", 10, 0, 1.0, 1.0)]);
        for empty in ["flips[nobody]<=1%", "worst_slice_drop<=1pt", "identity_gap<=1pt", "cosine>=0.9"] {
            assert!(judge(&parse(empty).unwrap(), &v).is_err(), "{empty}");
        }
        assert_eq!(parse("flips<=0.3% # pooled\n# all\nkl<=1").unwrap().len(), 2);
    }
}
