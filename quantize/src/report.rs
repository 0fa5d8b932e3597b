//! What a validation found, for a bundle.

use serde_json::{Value, json};

/// The part of a validation's result that a bundle carries: figures and hashes, no texts.
pub fn for_bundle(all: &Value) -> Value {
    let keep = [
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
        "kl_mean",
        "kl_max",
        "error_mean",
        "error_max",
        "ece",
        "mcnemar",
        "cosine",
        "operating",
    ];
    let empty = vec![];
    let sets: Vec<Value> = all["sets"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .map(|s| {
            let kept = keep.iter().filter(|k| !s[**k].is_null()).map(|k| (k.to_string(), s[*k].clone()));
            Value::Object(kept.collect())
        })
        .collect();
    json!({
        "reference_sha256": all["sources"]["reference"][1],
        "model_sha256": all["sources"]["model"][1],
        "gates": all["gates"],
        "sets": sets,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_out_of_bundles() {
        let all = json!({
            "sources": {"reference": ["a.onnx", "00"], "model": ["b.pbert", "11"]},
            "gates": [],
            "sets": [{"head": "h", "flips": 1, "examples": [{"text": "secret"}]}],
        });
        let kept = for_bundle(&all);
        assert!(!kept.to_string().contains("secret"));
        assert_eq!((&kept["sets"][0]["flips"], &kept["reference_sha256"]), (&json!(1), &json!("00")));
    }
}
