//! `--gate "p95<=30ms, rss<=90MB"`: rules, and which of them a measurement misses.

use crate::error::{Error, Result};

/// What a gate can speak of, in milliseconds or bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// As in a rule: `p95`, `p95@64`, `rss`.
    pub name: String,
    /// `None`: this system does not tell.
    pub value: Option<f64>,
}

impl Metric {
    pub fn new(name: impl Into<String>, value: impl Into<Option<f64>>) -> Metric {
        Metric { name: name.into(), value: value.into() }
    }
}

/// Parsed rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate(Vec<Rule>);

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    text: String,
    metric: String,
    limit: f64,
    or_equal: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Time,
    Memory,
}

/// Names without `@length`, and what they are measured in.
const METRICS: [(&str, Kind); 14] = [
    ("p50", Kind::Time),
    ("p95", Kind::Time),
    ("p99", Kind::Time),
    ("mean", Kind::Time),
    ("cpu50", Kind::Time),
    ("cpu95", Kind::Time),
    ("cpu99", Kind::Time),
    ("open", Kind::Time),
    ("open_cpu", Kind::Time),
    ("first", Kind::Time),
    ("first_cpu", Kind::Time),
    ("rss", Kind::Memory),
    ("dirty", Kind::Memory),
    ("per1000", Kind::Time),
];
/// Metrics that `@length` may follow.
const PER_LENGTH: usize = 7;

const UNITS: [(&str, Kind, f64); 9] = [
    ("us", Kind::Time, 1e-3),
    ("µs", Kind::Time, 1e-3),
    ("ms", Kind::Time, 1.0),
    ("s", Kind::Time, 1e3),
    ("KB", Kind::Memory, 1e3),
    ("MB", Kind::Memory, 1e6),
    ("KiB", Kind::Memory, 1024.0),
    ("MiB", Kind::Memory, 1_048_576.0),
    ("GB", Kind::Memory, 1e9),
];

impl Gate {
    /// Reads rules separated by commas.
    pub fn parse(text: &str) -> Result<Gate> {
        let rules: Vec<_> =
            text.split(',').map(str::trim).filter(|r| !r.is_empty()).map(Rule::parse).collect();
        if rules.is_empty() {
            return Err(Error::invalid("`--gate` holds no rule: write one like `p95<=30ms`"));
        }
        Ok(Gate(rules.into_iter().collect::<Result<_>>()?))
    }

    /// An error if a rule speaks of what will not be measured.
    pub fn check_names(&self, measured: impl Fn(&str) -> bool) -> Result<()> {
        match self.0.iter().find(|r| !measured(&r.metric)) {
            Some(r) => {
                Err(Error::invalid(format!("gate `{}`: this run does not measure `{}`", r.text, r.metric)))
            }
            None => Ok(()),
        }
    }

    /// A sentence for each rule that does not hold. What could not be measured does not hold.
    pub fn misses(&self, metrics: &[Metric]) -> Vec<String> {
        let miss = |r: &Rule| {
            let value = metrics.iter().find(|m| m.name == r.metric).and_then(|m| m.value);
            match value {
                None => Some(format!("`{}`: `{}` cannot be measured on this system", r.text, r.metric)),
                Some(v) if v < r.limit || (r.or_equal && v == r.limit) => None,
                Some(v) => Some(format!("`{}`: it is {}", r.text, shown(v, kind(&r.metric)))),
            }
        };
        self.0.iter().filter_map(miss).collect()
    }
}

fn kind(metric: &str) -> Option<Kind> {
    let (name, length) = match metric.split_once('@') {
        Some((n, l)) => (n, Some(l)),
        None => (metric, None),
    };
    let at = METRICS.iter().position(|m| m.0 == name)?;
    match length {
        Some(l) if at >= PER_LENGTH || l.parse::<usize>().is_err() => None,
        _ => Some(METRICS[at].1),
    }
}

fn shown(v: f64, kind: Option<Kind>) -> String {
    match kind {
        Some(Kind::Memory) => format!("{:.2}MB", v / 1e6),
        _ => format!("{v:.3}ms"),
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Rule> {
        let bad = |why: &str| Error::invalid(format!("gate `{text}`: {why}"));
        let (metric, rest) =
            text.split_once('<').ok_or_else(|| bad("write `metric<=limit` or `metric<limit`"))?;
        let metric = metric.trim();
        let kind = kind(metric).ok_or_else(|| {
            let names: Vec<_> = METRICS.iter().map(|m| m.0).collect();
            bad(&format!("unknown metric `{metric}`; there are {}", names.join(", ")))
        })?;
        let (or_equal, rest) = match rest.strip_prefix('=') {
            Some(r) => (true, r),
            None => (false, rest),
        };
        let rest = rest.trim();
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (number, unit) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| bad("the limit is no number"))?;
        let unit = unit.trim();
        let (_, of, factor) = UNITS
            .into_iter()
            .find(|u| u.0 == unit)
            .ok_or_else(|| bad("the limit needs a unit: us, ms, s, KB, MB, KiB, MiB or GB"))?;
        if of != kind {
            return Err(bad("the unit does not fit the metric"));
        }
        Ok(Rule { text: text.into(), metric: metric.into(), limit: number * factor, or_equal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn misses(gate: &str, metrics: &[(&str, Option<f64>)]) -> Vec<String> {
        let metrics: Vec<_> = metrics.iter().map(|(n, v)| Metric::new(*n, *v)).collect();
        Gate::parse(gate).unwrap().misses(&metrics)
    }

    #[test]
    fn limits_hold_in_every_unit() {
        let m = [("p95", Some(30.0)), ("rss", Some(90e6)), ("open", Some(60.0)), ("p50@64", Some(2.0))];
        assert!(misses("p95<=30ms, rss<=90MB,open <= 0.06 s", &m).is_empty());
        assert!(misses("p50@64<2.1ms, rss<=87891KiB, p95<30001us,", &m).is_empty());
        assert_eq!(misses("p95<30ms, rss<90MB, open<=60ms", &m).len(), 2);
        assert_eq!(misses("rss<=85MiB", &m), ["`rss<=85MiB`: it is 90.00MB"]);
        assert_eq!(misses("open<=59.9ms", &m), ["`open<=59.9ms`: it is 60.000ms"]);
    }

    #[test]
    fn what_cannot_be_measured_does_not_pass() {
        assert_eq!(misses("dirty<=1GB", &[("dirty", None)]).len(), 1);
        assert_eq!(misses("p50<=1s", &[("p50", Some(f64::NAN))]).len(), 1);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            " , ",
            "p95",
            "p95>1ms",
            "p95<=ms",
            "p95<=1",
            "p95<=1MB",
            "rss<=1ms",
            "foo<=1ms",
            "rss@4<=1MB",
            "p50@x<1ms",
            "p95<=1.2.3ms",
        ] {
            assert!(Gate::parse(bad).is_err(), "{bad}");
        }
    }
}
