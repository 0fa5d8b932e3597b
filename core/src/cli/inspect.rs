//! `pocketbert inspect`: facts, and the census of a real run.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::args::Inspect;
use super::io::visible;
use super::measure::{Clock, Times, memory};
use super::{Outcome, load};
use crate::cancel::Stop;
use crate::error::Result;
use crate::kernels::Isa;
use crate::model::{Batch, Model, NodeStats, RunOptions};
use crate::text::EncodeOptions;

/// What the census runs on where there is a tokenizer.
const TEXT: &str = "The quick brown fox jumps over the lazy dog, and 42 others look on in Zürich.";

pub fn inspect(a: &Inspect) -> Outcome {
    let clock = Clock::start();
    let model = load::open(&a.model, &a.open, a.reference_semantics)?;
    let open = clock.stop();
    let isa = a.kernel.unwrap_or_else(Isa::best);
    let nodes = census(&model, isa)?;
    let report = Report { path: &a.model, model: &model, open, isa, warnings: warnings(&nodes, isa), nodes };
    let mut out = BufWriter::new(std::io::stdout().lock());
    if a.json {
        report.json(&mut out)?
    } else {
        report.text(&mut out)?
    }
    out.flush()?;
    if !a.json {
        let mut err = std::io::stderr().lock();
        for w in &report.warnings {
            let _ = writeln!(err, "WARNING: SLOW PATH: {w}");
        }
    }
    Ok(())
}

/// Token ids to try a model on: of a short text, or any that it has.
pub fn sample(model: &Model) -> Result<Vec<i64>> {
    if let Ok(t) = model.tokenizer() {
        let options = EncodeOptions { max_length: model.info().max_length, ..EncodeOptions::default() };
        let e = t.encode(TEXT, None, &options)?;
        if !e.is_empty() {
            return Ok(e.ids.into_iter().map(i64::from).collect());
        }
    }
    let (n, vocab) = (model.info().max_length.clamp(1, 24), model.info().vocab.max(1) as i64);
    Ok((0..n as i64).map(|i| (i * 7919 + 13) % vocab).collect())
}

/// Runs every output once, counting.
pub fn census(model: &Model, isa: Isa) -> Result<Vec<NodeStats>> {
    let mut batch = Batch::new();
    batch.push(sample(model)?, None, None);
    let wanted: Vec<usize> = (0..model.plan().outputs().len()).collect();
    let mut nodes = vec![];
    let options = RunOptions { isa, threads: 1, stop: Stop::default(), stats: Some(&mut nodes) };
    model.plan().run(&batch, &wanted, options)?;
    Ok(nodes)
}

/// What runs slower than it could.
fn warnings(nodes: &[NodeStats], isa: Isa) -> Vec<String> {
    let mut w = vec![];
    let list = |names: Vec<&str>| {
        let more = if names.len() > 3 { ", …" } else { "" };
        let first: Vec<_> = names.iter().take(3).map(|n| format!("`{}`", visible(n))).collect();
        format!("{}{more}", first.join(", "))
    };
    let foreign: Vec<_> = nodes.iter().filter(|n| !n.ours).map(|n| n.name.as_str()).collect();
    if !foreign.is_empty() {
        w.push(format!("{} nodes run on tract's operators: {}", foreign.len(), list(foreign)));
    }
    let linear = |dtype: &'static str| nodes.iter().filter(move |n| n.op == "Linear" && n.dtype == dtype);
    let float: Vec<_> = linear("f32").map(|n| n.name.as_str()).collect();
    if linear("i8").next().is_some() && !float.is_empty() {
        w.push(format!("{} linear layers of this int8 model are f32: {}", float.len(), list(float)));
    }
    let slow: Vec<_> = nodes
        .iter()
        .filter(|n| n.kernels.iter().any(|(k, _)| k.contains(Isa::Generic.name())))
        .map(|n| n.name.as_str())
        .collect();
    if !slow.is_empty() {
        let why = match (isa, Isa::best()) {
            (Isa::Generic, Isa::Generic) => {
                "this CPU has none of the instructions that there are kernels for".into()
            }
            (Isa::Generic, best) => format!("`--kernel` asked for it; this CPU can run `{best}`"),
            (other, _) => format!("there is no `{other}` kernel for them"),
        };
        w.push(format!("{} nodes ran on the generic kernel ({why}): {}", slow.len(), list(slow)));
    }
    w
}

struct Report<'a> {
    path: &'a Path,
    model: &'a Model,
    open: Times,
    isa: Isa,
    nodes: Vec<NodeStats>,
    warnings: Vec<String>,
}

impl Report<'_> {
    fn bit_exact(&self) -> bool {
        !self.nodes.is_empty() && self.nodes.iter().all(|n| n.ours)
    }

    fn format(&self) -> &'static str {
        match (self.model.bundle(), self.path.is_dir()) {
            (Some(_), _) => "bundle",
            (None, true) => "folder",
            (None, false) => "onnx",
        }
    }

    /// Operators with their datatype, and how many there are.
    fn operators(&self) -> BTreeMap<(&str, &str), usize> {
        let mut count = BTreeMap::new();
        for n in &self.nodes {
            *count.entry((n.op.as_str(), n.dtype)).or_insert(0) += 1;
        }
        count
    }

    fn json(&self, out: &mut impl Write) -> Outcome {
        let info = self.model.info();
        let outputs: Vec<_> = self
            .model
            .plan()
            .outputs()
            .iter()
            .map(|o| {
                json!({"name": o.name, "per_token": o.per_token, "channels": if o.flat { None } else { Some(o.channels) }})
            })
            .collect();
        let bundle = self.model.bundle().map(|b| {
            let m = b.manifest();
            let entries: Vec<_> = b
                .entries()
                .map(|e| json!({"name": e.name(), "size": e.bytes().len(), "sha256": e.sha256()}))
                .collect();
            let heads: Vec<_> = m
                .heads
                .iter()
                .map(|h| {
                    json!({"name": h.name, "task": h.task, "output": h.output, "labels": h.labels,
                           "problem_type": h.problem_type, "temperature": h.temperature})
                })
                .collect();
            json!({
                "format_version": m.format_version,
                "fingerprint": b.fingerprint(),
                "license": m.model.license,
                "description": m.model.description,
                "family": m.model.family,
                "parent_sha256": m.model.parent_sha256,
                "default_head": m.head(None).map(|h| &h.name),
                "heads": heads,
                "entries": entries,
                "self_test_cases": m.self_test.len(),
                "validation": m.validation,
            })
        });
        let tokenizer = self.model.tokenizer().ok().map(|t| {
            json!({"kind": t.model_kind(), "vocabulary": t.vocab_size(), "file_max_length": t.file_max_length()})
        });
        let operators: Vec<Value> = self
            .operators()
            .into_iter()
            .map(|((op, dtype), count)| json!({"operator": op, "dtype": dtype, "count": count}))
            .collect();
        let census: Vec<Value> = self
            .nodes
            .iter()
            .map(|n| {
                let kernels: serde_json::Map<String, Value> =
                    n.kernels.iter().map(|(k, c)| (k.clone(), json!(c))).collect();
                json!({"node": n.name, "operator": n.op, "dtype": n.dtype, "ours": n.ours, "kernels": kernels})
            })
            .collect();
        let report = json!({
            "path": self.path.to_string_lossy(),
            "format": self.format(),
            "name": info.name,
            "version": info.version,
            "file_bytes": file_bytes(self.path),
            "max_length": info.max_length,
            "vocabulary": info.vocab,
            "labels": info.labels,
            "bit_exact": self.bit_exact(),
            "kernel": self.isa.name(),
            "kernels_here": Isa::available().iter().map(|k| k.name()).collect::<Vec<_>>(),
            "open": self.open,
            "memory": memory(),
            "tokenizer": tokenizer,
            "outputs": outputs,
            "bundle": bundle,
            "operators": operators,
            "warnings": self.warnings,
            "census": census,
        });
        serde_json::to_writer_pretty(&mut *out, &report)?;
        out.write_all(b"\n")?;
        Ok(())
    }

    fn text(&self, out: &mut impl Write) -> Outcome {
        let info = self.model.info();
        let version =
            if info.version.is_empty() { String::new() } else { format!(" {}", visible(&info.version)) };
        writeln!(out, "model       {}{version} ({})", visible(&info.name), self.format())?;
        if let Some(n) = file_bytes(self.path) {
            writeln!(out, "file        {}", bytes(n))?;
        }
        writeln!(out, "input       up to {} tokens, {} ids", info.max_length, info.vocab)?;
        if let Ok(t) = self.model.tokenizer() {
            writeln!(out, "tokenizer   {}, {} ids", t.model_kind(), t.vocab_size())?;
        } else {
            writeln!(out, "tokenizer   none")?;
        }
        for o in self.model.plan().outputs() {
            let shape = match (o.per_token, o.flat) {
                (true, false) => format!("[batch, sequence, {}]", o.channels),
                (true, true) => "[batch, sequence]".into(),
                (false, false) => format!("[batch, {}]", o.channels),
                (false, true) => "[batch]".into(),
            };
            writeln!(out, "output      {} {shape}", visible(&o.name))?;
        }
        if let Some(b) = self.model.bundle() {
            let m = b.manifest();
            let default = m.head(None).map(|h| h.name.clone());
            for h in &m.heads {
                let star = if Some(&h.name) == default.as_ref() { ", default" } else { "" };
                let task = json!(h.task);
                let task = task.as_str().unwrap_or_default();
                writeln!(out, "head        {} ({task}, {} labels{star})", visible(&h.name), h.labels.len())?;
            }
            for e in b.entries() {
                writeln!(out, "entry       {:<16} {:>12}", visible(e.name()), bytes(e.bytes().len() as u64))?;
            }
            writeln!(out, "self-test   {} cases", m.self_test.len())?;
            writeln!(out, "fingerprint {}", b.fingerprint())?;
        }
        let cpu = self.open.cpu_ms.map_or(String::new(), |c| format!(", {c:.1} ms CPU"));
        writeln!(out, "opened in   {:.1} ms{cpu}", self.open.wall_ms)?;
        let m = memory();
        if let (Some(r), Some(d)) = (m.resident, m.private_dirty) {
            writeln!(out, "memory      {} resident, {} private dirty", bytes(r), bytes(d))?;
        }
        writeln!(out, "kernels     {}", self.isa)?;
        writeln!(out, "bit_exact: {}", if self.bit_exact() { "yes" } else { "no" })?;
        writeln!(out, "\noperators")?;
        for ((op, dtype), count) in self.operators() {
            writeln!(out, "  {count:>4} x {op} ({dtype})")?;
        }
        writeln!(out, "\ncensus of one run")?;
        let cell = |n: &NodeStats| visible(&n.name);
        let width = self.nodes.iter().map(|n| cell(n).chars().count()).max().unwrap_or(0).clamp(4, 72);
        writeln!(out, "  {:width$}  {:14} {:5} kernels that ran", "node", "operator", "type")?;
        for n in &self.nodes {
            let kernels: Vec<_> = n.kernels.iter().map(|(k, c)| format!("{k} x{c}")).collect();
            let kernels = match (n.ours, kernels.is_empty()) {
                (false, _) => "tract's own".into(),
                (true, true) => "-".into(),
                _ => kernels.join(", "),
            };
            writeln!(out, "  {:width$}  {:14} {:5} {kernels}", cell(n), n.op, n.dtype)?;
        }
        Ok(())
    }
}

fn file_bytes(path: &Path) -> Option<u64> {
    let m = std::fs::metadata(path).ok()?;
    m.is_file().then_some(m.len())
}

fn bytes(n: u64) -> String {
    match n {
        0..10_000 => format!("{n} bytes"),
        10_000..10_000_000 => format!("{:.1} KB", n as f64 / 1e3),
        _ => format!("{:.1} MB", n as f64 / 1e6),
    }
}
