//! `validate`: two models on the same sets, and gates.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use pocketbert::bundle::JsonText;
use pocketbert::kernels::Isa;
use pocketbert::{Error, Result};

use super::read_heads;
use crate::calibration::Calibration;
use crate::data::{Role, read_sets};
use crate::eval::{How, Subject};
use crate::gates::{self, Verdict};
use crate::report::{Facts, html, number};
use crate::slices::Slice;
use crate::validate::{Plan, Pool, Sources, validate};

/// Arguments of `validate`.
#[derive(Args)]
pub struct ValidateArgs {
    /// The FP32 model: an ONNX file with tokenizer.json beside it, a hub folder, or a bundle.
    #[arg(long)]
    reference: PathBuf,
    /// The model to judge: a bundle, or anything that opens.
    #[arg(long)]
    model: PathBuf,
    /// The list of sets (see docs/quantization.md).
    #[arg(long)]
    sets: PathBuf,
    /// The heads, where neither model is a bundle.
    #[arg(long)]
    heads: Option<PathBuf>,
    /// Only sets of these heads.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only sets of this role: dev or test.
    #[arg(long)]
    role: Option<String>,
    /// Device-like slices besides: `all`, or names such as `typos,dictated`.
    #[arg(long, value_delimiter = ',')]
    slices: Vec<String>,
    /// At most so many texts of each set in each slice.
    #[arg(long)]
    slice_limit: Option<usize>,
    /// HEAD:LABEL where LABEL is right for harmless texts: the same sentences about many kinds of people.
    #[arg(long)]
    identity: Vec<String>,
    /// Bounds that must hold, such as `accuracy_drop<=0.1pt, flips<=0.3%, kl<=2e-4`.
    #[arg(long)]
    gate: Option<String>,
    /// A file of such bounds, one or more a line; `#` begins a comment.
    #[arg(long)]
    gates: Option<PathBuf>,
    /// Texts on which the layers of the two models are compared; 0 for none.
    #[arg(long, default_value_t = 32)]
    layers: usize,
    /// At most so many texts of each set.
    #[arg(long)]
    limit: Option<usize>,
    /// Seed of slices and resampling.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder where raw outputs are kept by hash, so that FP32 runs once.
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Runs at a time.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Write a report as one HTML file.
    #[arg(long)]
    html: Option<PathBuf>,
    /// What `calibrate` wrote: the report then shows what calibration saw of each layer.
    #[arg(long)]
    calibration: Option<PathBuf>,
    /// Write the result as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the model, a bundle, again with the result inside; may be the same file. Not done if a gate fails.
    #[arg(long)]
    store: Option<PathBuf>,
}

/// Runs it; false if a gate failed.
pub fn run(a: &ValidateArgs) -> Result<bool> {
    let mut gates = gates::parse(a.gate.as_deref().unwrap_or(""))?;
    if let Some(path) = &a.gates {
        let text = String::from_utf8(crate::read(path)?)
            .map_err(|_| Error::invalid(format!("`{}` is no text", path.display())))?;
        gates.extend(gates::parse(&text).map_err(|e| e.context(path.display()))?);
    }
    let identity = a.identity.iter().map(|i| match i.split_once(':') {
        Some((h, l)) => Ok((h.to_string(), l.to_string())),
        None => Err(Error::invalid(format!("`--identity {i}`: give HEAD:LABEL"))),
    });
    let identity = identity.collect::<Result<Vec<_>>>()?;
    let slices = slices(&a.slices)?;
    let role = match a.role.as_deref() {
        None => None,
        Some("dev") => Some(Role::Dev),
        Some("test") => Some(Role::Test),
        Some(r) => return Err(Error::invalid(format!("`--role {r}`: give dev or test"))),
    };
    let mut sets = read_sets(&a.sets)?;
    sets.retain(|s| {
        s.role != Role::Calibrate
            && role.is_none_or(|r| r == s.role)
            && (a.only.is_empty() || a.only.contains(&s.head))
    });
    if sets.is_empty() {
        return Err(Error::invalid(format!("`{}` names no such set", a.sets.display())));
    }
    let (reference, model) = (Subject::open(&a.reference)?, Subject::open(&a.model)?);
    if a.store.is_some() && model.model.bundle().is_none() {
        return Err(Error::invalid("`--store` needs a bundle as `--model`"));
    }
    let heads = match (&a.heads, model.model.bundle(), reference.model.bundle()) {
        (Some(h), ..) => read_heads(h)?,
        (None, Some(b), _) | (None, None, Some(b)) => b.manifest().heads.clone(),
        _ => return Err(Error::invalid("neither model is a bundle: give `--heads`")),
    };
    let plan = Plan {
        reference: &reference,
        model: &model,
        heads: &heads,
        sets,
        limit: a.limit,
        slices,
        slice_limit: a.slice_limit,
        identity,
        layers: a.layers,
        seed: a.seed,
        how: How { isa: Isa::best(), threads: a.threads, cache: a.cache.clone() },
    };
    let found = validate(&plan)?;
    summary(&found.pooled);
    let verdicts = gates::judge(&gates, &found)?;
    say(&verdicts);
    let sources = Sources {
        reference: (a.reference.clone(), reference.sha256.clone()),
        model: (a.model.clone(), model.sha256.clone()),
    };
    let passed = verdicts.iter().all(|v| v.passed);
    let calibration = a.calibration.as_deref().map(Calibration::read).transpose()?;
    let facts =
        Facts::new(&model.model, (&a.model, &a.reference), &verdicts, &sources, calibration.as_ref())?;
    if let Some(path) = &a.html {
        crate::files::write_whole(path, html(&found, &facts)?.as_bytes())?;
        eprintln!("wrote {}", path.display());
    }
    let mut all = serde_json::to_value(&found).map_err(|e| Error::internal(e.to_string()))?;
    all["sources"] = serde_json::json!(sources);
    all["gates"] = serde_json::json!(verdicts);
    all["facts"] = serde_json::to_value(&facts).map_err(|e| Error::internal(e.to_string()))?;
    if let Some(path) = &a.json {
        let text = serde_json::to_string_pretty(&all).map_err(|e| Error::internal(e.to_string()))?;
        crate::files::write_whole(path, text.as_bytes())?;
        eprintln!("wrote {}", path.display());
    }
    if let (Some(path), Some(bundle)) = (&a.store, model.model.bundle()) {
        if passed {
            let kept = JsonText::new(&crate::report::for_bundle(&all))?;
            super::bundle::rewrite(bundle, path, |m| m.validation = Some(kept))?;
            eprintln!("wrote {} with the result inside", path.display());
        } else {
            eprintln!("`{}` was not written: a gate failed", path.display());
        }
    }
    Ok(passed)
}

/// The verdicts, one a line; a gate that fails in red on a terminal.
fn say(verdicts: &[Verdict]) {
    let red = std::io::stderr().is_terminal();
    for v in verdicts {
        let interval =
            v.interval.map_or(String::new(), |(a, b)| format!(", 95 %: {} to {}", number(a), number(b)));
        let word = if v.passed { "PASS" } else { "FAIL" };
        let text = format!("{word} {}: {}{interval} ({})", v.gate, number(v.value), v.at);
        match (v.passed, red) {
            (false, true) => eprintln!("\x1b[31m{text}\x1b[0m"),
            _ => eprintln!("{text}"),
        }
    }
}

fn slices(names: &[String]) -> Result<Vec<Slice>> {
    if names.iter().any(|n| n == "all") {
        return Ok(Slice::ALL.to_vec());
    }
    let find = |n: &String| {
        Slice::ALL.into_iter().find(|s| s.name() == n).ok_or_else(|| {
            let known: Vec<&str> = Slice::ALL.iter().map(|s| s.name()).collect();
            Error::invalid(format!("no slice `{n}`: give all, or some of {}", known.join(", ")))
        })
    };
    names.iter().map(find).collect()
}

/// What all sets say together.
fn summary(p: &Pool) {
    if p.texts > 0 {
        eprintln!(
            "all texts with labels: {} flips of {} ({:.3} %, 95 %: {:.3} to {:.3} %), mean KL {:.2e}, accuracy {:.2} -> {:.2}",
            p.flips,
            p.units,
            100.0 * p.flips as f64 / p.units.max(1) as f64,
            100.0 * p.flips_interval.0,
            100.0 * p.flips_interval.1,
            p.kl,
            p.quality.0,
            p.quality.1
        );
    }
}
