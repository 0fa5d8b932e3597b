//! What a report shows besides the sets: files, sizes, census, recipe.

use std::collections::BTreeMap;
use std::path::Path;

use pocketbert::Result;
use pocketbert::kernels::Isa;
use pocketbert::model::{Batch, Model, RunOptions};
use serde::Serialize;

use crate::calibration::Calibration;
use crate::eval::{picks, push};
use crate::gates::Verdict;
use crate::validate::Sources;

/// What the census runs on.
const TEXT: &str = "The quick brown fox jumps over the lazy dog, and 42 others look on.";

/// Operators that ran, by kind and datatype.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Census {
    /// Operator.
    pub op: String,
    /// `i8` or `f32`.
    pub dtype: String,
    /// How many.
    pub count: usize,
    /// Kernels that ran in them.
    pub kernels: Vec<String>,
}

/// Runs every output once on a short text and counts what ran.
pub fn census(model: &Model) -> Result<Vec<Census>> {
    let t = model.tokenizer()?;
    let o = pocketbert::text::EncodeOptions { max_length: model.info().max_length, ..Default::default() };
    let e = t.encode(TEXT, None, &o)?;
    let mut batch = Batch::new();
    push(&mut batch, &e);
    batch.picks = Some(picks(t, std::slice::from_ref(&e), 0).0);
    let mut nodes = vec![];
    let wanted: Vec<usize> = (0..model.plan().outputs().len()).collect();
    let run = RunOptions { isa: Isa::best(), threads: 1, stop: Default::default(), stats: Some(&mut nodes) };
    model.plan().run(&batch, &wanted, run)?;
    let mut counts: BTreeMap<(String, &str), (usize, Vec<String>)> = BTreeMap::new();
    for n in nodes {
        let c = counts.entry((n.op, n.dtype)).or_default();
        c.0 += 1;
        c.1.extend(n.kernels.into_iter().map(|k| k.0));
    }
    Ok(counts
        .into_iter()
        .map(|((op, dtype), (count, mut kernels))| {
            kernels.sort();
            kernels.dedup();
            Census { op, dtype: dtype.to_string(), count, kernels }
        })
        .collect())
}

/// What a report shows besides the sets.
#[derive(Serialize)]
pub struct Facts<'a> {
    /// Gates.
    #[serde(skip)]
    pub verdicts: &'a [Verdict],
    /// Files and hashes.
    #[serde(skip)]
    pub sources: &'a Sources,
    /// Name and version of the model.
    pub model: (String, String),
    /// Bytes of the model's file and of the reference's.
    pub sizes: (u64, u64),
    /// Bytes of the entries of a bundle.
    pub entries: Vec<(String, u64)>,
    /// The bundle's recipe.
    pub recipe: Option<serde_json::Value>,
    /// What ran.
    pub census: Vec<Census>,
    /// What calibration saw of the layers.
    #[serde(skip)]
    pub calibration: Option<&'a Calibration>,
}

impl<'a> Facts<'a> {
    /// Collects them.
    pub fn new(
        model: &Model,
        files: (&Path, &Path),
        verdicts: &'a [Verdict],
        sources: &'a Sources,
        calibration: Option<&'a Calibration>,
    ) -> Result<Facts<'a>> {
        let size = |p: &Path| std::fs::metadata(p).map_or(0, |m| m.len());
        let bundle = model.bundle();
        let recipe = bundle.and_then(|b| b.manifest().model.recipe.as_ref());
        Ok(Facts {
            verdicts,
            sources,
            model: bundle.map_or_else(
                || (files.0.display().to_string(), String::new()),
                |b| (b.manifest().model.name.clone(), b.manifest().model.version.clone()),
            ),
            sizes: (size(files.0), size(files.1)),
            entries: bundle
                .map(|b| b.entries().map(|e| (e.name().to_string(), e.bytes().len() as u64)).collect())
                .unwrap_or_default(),
            recipe: recipe.and_then(|r| serde_json::from_str(r.as_str()).ok()),
            census: census(model)?,
            calibration,
        })
    }
}
