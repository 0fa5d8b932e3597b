//! Snapshots for others to read: JSON, the Prometheus text format, OpenTelemetry attributes.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Distribution, DriftReport, Snapshot, Stages};

/// Bounds of the Prometheus histogram of times: 2^14 ns (16 µs) to 2^33 ns (8.6 s). Powers of two are bounds of our
/// own buckets, so the counts are exact.
const TIME_BOUNDS: std::ops::RangeInclusive<u32> = 14..=33;
/// Bounds of the histogram of tokens: 2 to 8,192.
const TOKEN_BOUNDS: std::ops::RangeInclusive<u32> = 1..=13;
const QUANTILES: [(&str, f64); 3] = [("0.5", 0.5), ("0.95", 0.95), ("0.99", 0.99)];

/// Snapshots as a JSON array of one object each; times in nanoseconds.
///
/// ```
/// # use pocketbert::{TextClassifier, metrics};
/// # fn main() -> pocketbert::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
/// let classifier = TextClassifier::open(path)?;
/// classifier.classify("rain in Paris")?;
/// let json = metrics::to_json(&[classifier.metrics().snapshot()]);
/// assert!(json.contains(r#""task":"text-classification""#) && !json.contains("Paris"));
/// # Ok(()) }
/// ```
pub fn to_json(snapshots: &[Snapshot]) -> String {
    Value::Array(snapshots.iter().map(object).collect()).to_string()
}

fn object(s: &Snapshot) -> Value {
    let times: serde_json::Map<String, Value> =
        s.warm.stages().into_iter().map(|(n, d)| (n.to_string(), spread(d))).collect();
    json!({
        "task": s.task,
        "model": s.model,
        "version": s.version,
        "head": s.head,
        "load_ns": s.load.map(nanos),
        "cold_ns": s.cold.map(|c| json!({
            "tokenise": nanos(c.tokenise), "run": nanos(c.run), "decode": nanos(c.decode), "total": nanos(c.total),
        })),
        "warm_ns": times,
        "calls": s.calls,
        "texts": s.texts,
        "tokens": spread(&s.tokens),
        "unknown_tokens": s.unknown_tokens,
        "unknown_rate": s.unknown_rate(),
        "truncated": s.truncated,
        "truncation_rate": s.truncation_rate(),
        "judged": s.judged,
        "low_confidence": s.low_confidence,
        "low_confidence_below": f64::from(s.low_confidence_below),
        "low_confidence_rate": s.low_confidence_rate(),
        "errors": s.errors,
        "drift": s.drift.as_ref().map(drift),
    })
}

fn drift(d: &DriftReport) -> Value {
    let axes: serde_json::Map<String, Value> = d
        .axes
        .iter()
        .map(|a| {
            let v = json!({"psi": a.psi, "js": a.js, "limit": a.limit, "drifted": a.drifted()});
            (a.axis.name().to_string(), v)
        })
        .collect();
    json!({"window": d.window, "texts": d.texts, "score": d.score(), "drifted": d.drifted(), "axes": axes})
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

fn spread(d: &Distribution) -> Value {
    json!({
        "count": d.count(),
        "sum": d.sum(),
        "mean": d.mean(),
        "p50": d.quantile(0.5),
        "p95": d.quantile(0.95),
        "p99": d.quantile(0.99),
        "max": d.quantile(1.0),
    })
}

impl Snapshot {
    /// Adds the numbers of another object of the same task, head and version. Of the times of opening and of the
    /// first call the longer ones stay, of drift the latest window.
    pub fn merge(&mut self, other: &Snapshot) {
        self.load = self.load.max(other.load);
        self.cold = match (self.cold, other.cold) {
            (Some(a), Some(b)) => Some(if b.total > a.total { b } else { a }),
            (a, b) => a.or(b),
        };
        self.warm.tokenise.merge(&other.warm.tokenise);
        self.warm.run.merge(&other.warm.run);
        self.warm.decode.merge(&other.warm.decode);
        self.warm.total.merge(&other.warm.total);
        self.tokens.merge(&other.tokens);
        for (to, n) in [
            (&mut self.calls, other.calls),
            (&mut self.texts, other.texts),
            (&mut self.unknown_tokens, other.unknown_tokens),
            (&mut self.truncated, other.truncated),
            (&mut self.judged, other.judged),
            (&mut self.low_confidence, other.low_confidence),
        ] {
            *to = to.saturating_add(n);
        }
        for (&kind, &n) in &other.errors {
            let e = self.errors.entry(kind).or_default();
            *e = e.saturating_add(n);
        }
        if other.drift.as_ref().map(|d| d.window) > self.drift.as_ref().map(|d| d.window) {
            self.drift.clone_from(&other.drift);
        }
    }

    fn same_series(&self, other: &Snapshot) -> bool {
        let key = |s: &Snapshot| [s.task.clone(), s.model.clone(), s.version.clone(), s.head.clone()];
        key(self) == key(other)
    }

    /// The numbers as OpenTelemetry attributes, for a span, a log record or an event of the app's own exporter.
    /// Names follow the semantic conventions (`gen_ai.*`) where they have one, else they begin with `pocketbert.`;
    /// times are in seconds, as the conventions want. What is not known is left out.
    pub fn attributes(&self) -> Vec<(String, AttributeValue)> {
        use AttributeValue::{Bool, F64, I64, Text};
        let int = |n: u64| I64(i64::try_from(n).unwrap_or(i64::MAX));
        let mut all: Vec<(String, AttributeValue)> = vec![
            ("gen_ai.provider.name".into(), Text("pocketbert".into())),
            ("gen_ai.operation.name".into(), Text(self.task.replace('-', "_"))),
        ];
        let mut put = |name: &str, v: Option<AttributeValue>| all.extend(v.map(|v| (name.to_string(), v)));
        let word = |s: &String| Some(Text(s.clone())).filter(|_| !s.is_empty());
        let seconds = |d: Option<Duration>| d.map(|d| F64(d.as_secs_f64()));
        put("gen_ai.request.model", word(&self.model));
        put("pocketbert.model.version", word(&self.version));
        put("pocketbert.head.name", word(&self.head));
        put("gen_ai.usage.input_tokens", Some(int(self.tokens.sum())));
        put("pocketbert.calls", Some(int(self.calls)));
        put("pocketbert.texts", Some(int(self.texts)));
        put("pocketbert.open.duration", seconds(self.load));
        put("pocketbert.cold.duration", seconds(self.cold.map(|c| c.total)));
        for (stage, d) in self.warm.stages() {
            for (name, q) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
                let v = d.quantile(q).map(|ns| F64(ns as f64 / 1e9));
                put(&format!("pocketbert.{stage}.duration.{name}"), v);
            }
        }
        put("pocketbert.unknown_token.rate", self.unknown_rate().map(F64));
        put("pocketbert.truncation.rate", self.truncation_rate().map(F64));
        put("pocketbert.low_confidence.rate", self.low_confidence_rate().map(F64));
        for (kind, n) in &self.errors {
            put(&format!("pocketbert.errors.{}", kind.to_lowercase()), Some(int(*n)));
        }
        if let Some(d) = &self.drift {
            put("pocketbert.drift.score", Some(F64(d.score())));
            put("pocketbert.drift.detected", Some(Bool(d.drifted())));
        }
        all
    }
}

/// The value of an OpenTelemetry attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// A string.
    Text(String),
    /// A 64-bit signed integer.
    I64(i64),
    /// A double.
    F64(f64),
    /// A boolean.
    Bool(bool),
}

/// Snapshots in the Prometheus text exposition format, version 0.0.4; those of the same task, head and version are
/// merged. Times are in seconds.
pub fn to_prometheus(snapshots: &[Snapshot]) -> String {
    let mut all: Vec<Snapshot> = vec![];
    for s in snapshots {
        match all.iter_mut().find(|a| a.same_series(s)) {
            Some(a) => a.merge(s),
            None => all.push(s.clone()),
        }
    }
    let mut page = Page { out: String::new(), series: all.iter().map(|s| (labels(s), s)).collect() };
    page.counter("calls", "Calls that answered.", |s| s.calls);
    page.counter("texts", "Texts that were answered.", |s| s.texts);
    page.counter("unknown_tokens", "Tokens that the vocabulary lacks.", |s| s.unknown_tokens);
    page.counter("truncated_texts", "Texts that were cut to fit.", |s| s.truncated);
    page.counter("judged_texts", "Texts whose answer has a confidence.", |s| s.judged);
    page.counter("low_confidence_texts", "Texts whose answer is not sure.", |s| s.low_confidence);
    page.family("errors_total", "counter", "Calls that failed, by kind of error.", |s| {
        s.errors.iter().map(|(k, n)| (label("kind", k), *n as f64)).collect()
    });
    page.family("open_duration_seconds", "gauge", "Opening the model.", |s| {
        s.load.map(|d| (String::new(), d.as_secs_f64())).into_iter().collect()
    });
    page.family("cold_call_duration_seconds", "gauge", "The first call, by stage.", |s| {
        s.cold.iter().flat_map(stages).collect()
    });
    page.family(
        "call_duration_quantile_seconds",
        "gauge",
        "Quantiles of calls after the first, by stage.",
        |s| {
            let of = |(stage, d): (&'static str, &Distribution)| {
                QUANTILES.map(|(name, q)| {
                    let at = format!("{},{}", label("stage", stage), label("quantile", name));
                    Some((at, d.quantile(q)? as f64 / 1e9))
                })
            };
            s.warm.stages().into_iter().flat_map(of).flatten().collect()
        },
    );
    page.histogram("call_duration_seconds", "Calls after the first, by stage.", TIME_BOUNDS, 1e9, |s| {
        s.warm.stages().map(|(n, d)| (label("stage", n), d)).to_vec()
    });
    page.histogram("text_tokens", "Tokens per text.", TOKEN_BOUNDS, 1.0, |s| {
        vec![(String::new(), &s.tokens)]
    });
    type Pick = fn(&super::AxisScore) -> f64;
    let axes: [(&str, &str, Pick); 3] = [
        ("drift_psi", "Population stability index of the latest window, by axis.", |a| a.psi),
        ("drift_js_bits", "Jensen-Shannon divergence of the latest window, by axis.", |a| a.js),
        ("drift_limit_psi", "Index above which an axis counts as drifted.", |a| a.limit),
    ];
    for (name, help, pick) in axes {
        page.family(name, "gauge", help, |s| {
            let of = |d: &DriftReport| {
                d.axes.iter().map(|a| (label("axis", a.axis.name()), pick(a))).collect::<Vec<_>>()
            };
            s.drift.as_ref().map(of).unwrap_or_default()
        });
    }
    page.out
}

fn stages(c: &Stages) -> [(String, f64); 4] {
    [("tokenise", c.tokenise), ("run", c.run), ("decode", c.decode), ("total", c.total)]
        .map(|(n, d)| (label("stage", n), d.as_secs_f64()))
}

/// `name="value"`, escaped as the format wants it.
fn label(name: &str, value: &str) -> String {
    let mut out = format!("{name}=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn labels(s: &Snapshot) -> String {
    let pairs = [("task", &s.task), ("model", &s.model), ("version", &s.version), ("head", &s.head)];
    pairs.map(|(n, v)| label(n, v)).join(",")
}

struct Page<'a> {
    out: String,
    series: Vec<(String, &'a Snapshot)>,
}

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, value: fn(&Snapshot) -> u64) {
        self.family(&format!("{name}_total"), "counter", help, |s| vec![(String::new(), value(s) as f64)]);
    }

    /// A family: of each series some samples, with what they add to its labels. Nothing at all without samples.
    fn family(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl Fn(&Snapshot) -> Vec<(String, f64)>,
    ) {
        let mut lines = String::new();
        for (labels, s) in &self.series {
            for (more, value) in samples(s) {
                // Writing to a string cannot fail.
                let _ = writeln!(lines, "pocketbert_{name}{{{}}} {value}", join(labels, &more));
            }
        }
        if !lines.is_empty() {
            let _ = writeln!(self.out, "# HELP pocketbert_{name} {help}\n# TYPE pocketbert_{name} {kind}");
            self.out.push_str(&lines);
        }
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        bounds: std::ops::RangeInclusive<u32>,
        unit: f64,
        pick: impl Fn(&Snapshot) -> Vec<(String, &Distribution)>,
    ) {
        let _ = writeln!(self.out, "# HELP pocketbert_{name} {help}\n# TYPE pocketbert_{name} histogram");
        for (labels, s) in &self.series {
            for (more, d) in pick(s) {
                let labels = join(labels, &more);
                for b in bounds.clone() {
                    let le = (1u64 << b) as f64 / unit;
                    let n = d.at_most_power(b);
                    let _ = writeln!(self.out, "pocketbert_{name}_bucket{{{labels},le=\"{le}\"}} {n}");
                }
                let n = d.count();
                let _ = writeln!(self.out, "pocketbert_{name}_bucket{{{labels},le=\"+Inf\"}} {n}");
                let _ = writeln!(self.out, "pocketbert_{name}_sum{{{labels}}} {}", d.sum() as f64 / unit);
                let _ = writeln!(self.out, "pocketbert_{name}_count{{{labels}}} {n}");
            }
        }
    }
}

fn join(labels: &str, more: &str) -> String {
    if more.is_empty() { labels.to_string() } else { format!("{labels},{more}") }
}
