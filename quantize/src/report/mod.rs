//! What a validation found: a page for people, and the part that a bundle carries.

mod facts;
mod page;
mod plots;
mod tables;

use serde_json::{Map, Value, json};

pub use facts::{Facts, census};
pub use page::html;

/// Figures of a set that a bundle carries.
const KEPT: [&str; 24] = [
    "head",
    "name",
    "slice",
    "role",
    "sha256",
    "texts",
    "units",
    "flips",
    "flips_interval",
    "quality",
    "macro_f1",
    "macro_f1_drop_interval",
    "kl_mean",
    "kl_interval",
    "kl_max",
    "error_mean",
    "error_max",
    "sqnr",
    "sqnr_interval",
    "ece",
    "mcnemar",
    "cosine",
    "cosine_interval",
    "operating",
];

/// The part of a validation's result that a bundle carries: figures and hashes, no texts.
pub fn for_bundle(all: &Value) -> Value {
    let pick = |v: &Value, keys: &[&str]| -> Value {
        let kept = keys.iter().filter(|k| !v[**k].is_null()).map(|k| (k.to_string(), short(&v[*k])));
        Value::Object(kept.collect::<Map<_, _>>())
    };
    let list = |name: &str, keys: &[&str]| -> Vec<Value> {
        all[name].as_array().into_iter().flatten().map(|v| pick(v, keys)).collect()
    };
    let mut out = json!({
        "reference_sha256": all["sources"]["reference"][1],
        "model_sha256": all["sources"]["model"][1],
        "gates": list("gates", &["gate", "value", "interval", "at", "passed"]),
        "sets": list("sets", &KEPT),
    });
    for name in ["pooled", "slices", "identity", "invariance"] {
        if !all[name].is_null() {
            out[name] = short(&all[name]);
        }
    }
    let layers = list("layers", &["name", "op", "sqnr", "reference_range", "model_range"]);
    if !layers.is_empty() {
        out["layers"] = json!(layers);
    }
    out
}

/// `v` with six significant digits: more says nothing.
fn short(v: &Value) -> Value {
    match v {
        Value::Number(n) if n.is_f64() => {
            let x: f64 = format!("{:.5e}", n.as_f64().unwrap_or(0.0)).parse().unwrap_or(0.0);
            json!(x)
        }
        Value::Array(a) => a.iter().map(short).collect(),
        Value::Object(o) => Value::Object(o.iter().map(|(k, v)| (k.clone(), short(v))).collect()),
        other => other.clone(),
    }
}

/// Text as HTML shows it.
fn esc(t: &str) -> String {
    t.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// `digits` after the point; what rounds to zero has no sign.
fn fixed(x: f64, digits: usize) -> String {
    let text = format!("{x:.digits$}");
    match text.strip_prefix('-') {
        Some(rest) if !rest.contains(|c: char| c.is_ascii_digit() && c != '0') => rest.to_string(),
        _ => text,
    }
}

/// A change: two digits after the point and its sign, if it is not zero.
fn change(x: f64) -> String {
    let text = fixed(x, 2);
    if x > 0.0 && text != "0.00" { format!("+{text}") } else { text }
}

/// Powers of ten, short.
fn power(x: f64) -> String {
    if x == 0.0 { "0".into() } else { format!("{x:.1e}") }
}

/// Three digits after the point, or powers of ten where that would say nothing.
pub fn number(x: f64) -> String {
    match x.abs() {
        0.0 => "0".into(),
        a if a < 0.01 => format!("{x:.1e}"),
        _ => format!("{x:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_no_sign() {
        assert_eq!(fixed(-0.0, 2), "0.00");
        assert_eq!(fixed(-0.004, 2), "0.00");
        assert_eq!(fixed(-0.006, 2), "-0.01");
        assert_eq!(fixed(-10.0, 0), "-10");
        assert_eq!(
            (change(0.001), change(0.5), change(-0.5)),
            ("0.00".into(), "+0.50".into(), "-0.50".into())
        );
        assert_eq!((power(0.0), power(2e-4)), ("0".into(), "2.0e-4".into()));
    }

    #[test]
    fn texts_stay_out_of_bundles() {
        let all = json!({
            "sources": {"reference": ["a.onnx", "00"], "model": ["b.pbert", "11"]},
            "gates": [],
            "sets": [{"head": "h", "flips": 1, "sqnr": 1.234_567_891, "examples": [{"text": "secret"}],
                      "nearest": [{"text": "secret"}], "by_label": [1]}],
            "layers": [{"name": "l", "sqnr": 30.0, "reference_histogram": [1, 2]}],
        });
        let kept = for_bundle(&all);
        assert!(!kept.to_string().contains("secret") && !kept.to_string().contains("histogram"));
        assert_eq!((&kept["sets"][0]["flips"], &kept["reference_sha256"]), (&json!(1), &json!("00")));
        assert_eq!(kept["sets"][0]["sqnr"], json!(1.23457));
        assert_eq!(kept["layers"][0]["sqnr"], json!(30.0));
    }
}
