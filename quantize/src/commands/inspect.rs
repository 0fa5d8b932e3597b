//! `inspect`: what a model is, and the proof that it carries.

use std::collections::HashSet;
use std::path::PathBuf;

use clap::Args;
use pocketbert::Result;
use pocketbert::model::graph::Graph;
use pocketbert::model::tensor::DType;
use pocketbert::model::{Model, bundle_graph, lower_onnx_file};
use serde_json::{Value, json};

use crate::report::census;

/// Arguments of `inspect`.
#[derive(Args)]
pub struct InspectArgs {
    /// A bundle, an ONNX file with tokenizer.json beside it, or a hub folder.
    model: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// List every linear layer.
    #[arg(long)]
    layers: bool,
}

/// Runs it.
pub fn run(a: &InspectArgs) -> Result<()> {
    let model = Model::open(&a.model, &Default::default())?;
    let graph = match model.bundle() {
        Some(b) => Some(bundle_graph(b)?),
        None if a.model.is_file() => Some(lower_onnx_file(&a.model, false)?.graph),
        None => None,
    };
    let layers = graph.as_ref().map(layers).unwrap_or_default();
    let facts = facts(&model, &layers, a)?;
    if a.json {
        println!("{}", serde_json::to_string_pretty(&facts).unwrap_or_default());
        return Ok(());
    }
    print(&facts, a.layers);
    Ok(())
}

/// Every node that holds weights: name, operator, type and number of its largest constant, bytes of all.
fn layers(g: &Graph) -> Vec<Value> {
    let mut out = vec![];
    let mut counted = HashSet::new();
    for n in &g.nodes {
        let (mut bytes, mut largest) = (0usize, None);
        for (v, t) in n.inputs.iter().flatten().filter_map(|v| Some((v, g.constant(*v)?))) {
            // A table that is read twice is there once.
            if counted.insert(*v) {
                bytes += t.bytes().len();
            }
            if largest.is_none_or(|(b, _)| t.bytes().len() > b) {
                largest = Some((t.bytes().len(), t.dtype));
            }
        }
        let Some((_, dtype)) = largest.filter(|_| matches!(n.op.as_str(), "Linear" | "Lookup" | "Unembed"))
        else {
            continue;
        };
        out.push(json!({
            "name": n.name, "op": n.op, "inputs": n.int("k"), "outputs": n.int("n"),
            "weights": if dtype == DType::I8 { "i8" } else { "f32" }, "bytes": bytes,
        }));
    }
    out
}

fn facts(model: &Model, layers: &[Value], a: &InspectArgs) -> Result<Value> {
    let info = model.info();
    let outputs: Vec<Value> = model
        .plan()
        .outputs()
        .iter()
        .map(|o| json!({"name": o.name, "channels": o.channels, "per_token": o.per_token}))
        .collect();
    let mut all = json!({
        "file": a.model.display().to_string(),
        "size": std::fs::metadata(&a.model).map_or(0, |m| m.len()),
        "max_length": info.max_length,
        "vocabulary": info.vocab,
        "outputs": outputs,
        "census": census(model)?,
        "layers": layers,
    });
    if let Some(b) = model.bundle() {
        let m = b.manifest();
        let entries: Vec<Value> = b
            .entries()
            .map(|e| json!({"name": e.name(), "size": e.bytes().len(), "sha256": e.sha256()}))
            .collect();
        // What the manifest says, less what is long.
        let mut said = serde_json::to_value(m).unwrap_or_default();
        if let Some(o) = said.as_object_mut() {
            ["self_test", "entries", "drift_baseline", "activation_ranges"].iter().for_each(|k| {
                o.remove(*k);
            });
        }
        all["manifest"] = said;
        all["entries"] = json!(entries);
        all["self_tests"] = json!(m.self_test.len());
        all["drift_baseline"] = json!(m.drift_baseline.is_some());
    }
    Ok(all)
}

/// A string that somebody else wrote, without what could move a terminal's cursor.
fn text(v: &Value) -> String {
    let s = v.as_str().map_or_else(|| v.to_string(), str::to_string);
    s.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn print(f: &Value, all_layers: bool) {
    let line = |name: &str, value: String| println!("{name:<14}{value}");
    let list = |v: &Value| -> Vec<Value> { v.as_array().cloned().unwrap_or_default() };
    line("file", format!("{}, {:.1} MB", text(&f["file"]), f["size"].as_f64().unwrap_or(0.0) / 1e6));
    let m = &f["manifest"];
    if m.is_object() {
        let card = &m["model"];
        line(
            "model",
            format!("{} {} ({})", text(&card["name"]), text(&card["version"]), text(&card["license"])),
        );
        if card["parent_sha256"].is_string() {
            line("made from", text(&card["parent_sha256"]));
        }
        if !card["recipe"].is_null() {
            line("recipe", text(&card["recipe"]));
        }
        for h in list(&m["heads"]) {
            let thresholds = h["thresholds"].as_object().filter(|t| !t.is_empty());
            line(
                "head",
                format!(
                    "{}: {}, {} labels, temperature {}{}",
                    text(&h["name"]),
                    text(&h["task"]),
                    list(&h["labels"]).len(),
                    h["temperature"].as_f64().unwrap_or(1.0) as f32,
                    thresholds.map_or(String::new(), |t| format!(", thresholds {}", text(&json!(t))))
                ),
            );
        }
        for e in list(&f["entries"]) {
            line("entry", format!("{} {} bytes", text(&e["name"]), e["size"]));
        }
        line("self-test", format!("{} cases; drift baseline: {}", f["self_tests"], f["drift_baseline"]));
    } else {
        for o in list(&f["outputs"]) {
            line("output", format!("{} ({} channels)", text(&o["name"]), o["channels"]));
        }
    }
    for c in list(&f["census"]) {
        let kernels: Vec<String> = list(&c["kernels"]).iter().map(text).collect();
        line(
            "runs",
            format!("{}x {} {} {}", c["count"], text(&c["op"]), text(&c["dtype"]), kernels.join(" ")),
        );
    }
    for kind in ["i8", "f32"] {
        let own: Vec<Value> = list(&f["layers"]).into_iter().filter(|l| l["weights"] == kind).collect();
        if !own.is_empty() {
            let bytes: f64 = own.iter().filter_map(|l| l["bytes"].as_f64()).sum();
            line("layers", format!("{} with {kind} weights, {:.1} MB", own.len(), bytes / 1e6));
        }
        for l in own.iter().filter(|_| all_layers) {
            line("", format!("{} {} {} x {}", text(&l["name"]), text(&l["op"]), l["inputs"], l["outputs"]));
        }
    }
    validation(&m["validation"]);
}

/// The validation that a bundle carries.
fn validation(v: &Value) {
    if v.is_null() {
        println!("\nno validation inside: `validate --store` puts one in");
        return;
    }
    println!("\nvalidated beside {}", text(&v["reference_sha256"]));
    for g in v["gates"].as_array().into_iter().flatten() {
        let word = if g["passed"] == true { "PASS" } else { "FAIL" };
        println!("  {word} {}: {} ({})", text(&g["gate"]), text(&g["value"]), text(&g["at"]));
    }
    let share =
        |f: &Value, of: &Value| 100.0 * f.as_f64().unwrap_or(0.0) / of.as_f64().unwrap_or(1.0).max(1.0);
    let p = &v["pooled"];
    if p.is_object() {
        println!(
            "  all texts with labels: {} flips of {} ({:.3} %), mean KL {}",
            p["flips"],
            p["units"],
            share(&p["flips"], &p["units"]),
            p["kl"]
        );
    }
    for s in v["sets"].as_array().into_iter().flatten().filter(|s| s["slice"] == "" || s["slice"].is_null()) {
        let q = &s["quality"];
        println!(
            "  {:<12}{:<20}{:>6} texts  {:>7.2} -> {:>6.2}  flips {:.2} %",
            text(&s["head"]),
            text(&s["name"]),
            text(&s["texts"]),
            q["reference"].as_f64().unwrap_or(0.0),
            q["model"].as_f64().unwrap_or(0.0),
            share(&s["flips"], &s["units"])
        );
    }
    for s in v["slices"].as_array().into_iter().flatten() {
        println!(
            "  {:<32}flips {:.2} % of {}",
            text(&s[0]),
            share(&s[1]["flips"], &s[1]["units"]),
            s[1]["units"]
        );
    }
}
