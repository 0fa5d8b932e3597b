//! The numbers of a task: snapshots as text, and drift.

use pocketbert::metrics::{Baseline, DriftOptions, to_json, to_prometheus};

use crate::error::invalid;
use crate::lazy::CoreTask;

/// One axis of a window.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct DriftAxis {
    /// `token_length`, `unknown_rate`, `confidence` or `label_mix`.
    pub name: String,
    /// Population stability index.
    pub psi: f64,
    /// Jensen-Shannon divergence in bits.
    pub js: f64,
    /// The index above which it counts as drifted.
    pub limit: f64,
    /// Whether it did.
    pub drifted: bool,
}

/// What a window of texts looked like beside the bundle's baseline.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Drift {
    /// Number of the window, from 1.
    pub window: i64,
    /// Texts in it.
    pub texts: i64,
    /// The largest index.
    pub score: f64,
    /// Whether any axis drifted.
    pub drifted: bool,
    /// The axes.
    pub axes: Vec<DriftAxis>,
}

pub(crate) fn json(task: &impl CoreTask) -> pocketbert::Result<String> {
    Ok(to_json(&task.snapshots()))
}

pub(crate) fn prometheus(task: &impl CoreTask) -> pocketbert::Result<String> {
    Ok(to_prometheus(&task.snapshots()))
}

pub(crate) fn configure(
    task: &impl CoreTask,
    enabled: bool,
    low_confidence: Option<f32>,
) -> pocketbert::Result<()> {
    let m = task.metrics();
    if let Some(c) = low_confidence {
        m.set_low_confidence(c)?;
    }
    m.enable(enabled);
    Ok(())
}

pub(crate) fn watch(
    task: &impl CoreTask,
    model: &pocketbert::model::Model,
    window: Option<i64>,
    threshold: Option<f64>,
) -> pocketbert::Result<bool> {
    let Some(baseline) = Baseline::of(model)? else { return Ok(false) };
    let mut options = DriftOptions::default();
    if let Some(w) = window {
        options.window = u64::try_from(w).map_err(|_| invalid("`window` is negative"))?;
    }
    if let Some(t) = threshold {
        options.threshold = t;
    }
    task.metrics().watch(&baseline, &options, |r| log::warn!("{r}"))?;
    Ok(true)
}

pub(crate) fn drift(task: &impl CoreTask) -> Option<Drift> {
    let r = task.metrics().snapshot().drift?;
    Some(Drift {
        window: i64::try_from(r.window).unwrap_or(i64::MAX),
        texts: i64::try_from(r.texts).unwrap_or(i64::MAX),
        score: r.score(),
        drifted: r.drifted(),
        axes: r
            .axes
            .iter()
            .map(|a| DriftAxis {
                name: a.axis.name().to_string(),
                psi: a.psi,
                js: a.js,
                limit: a.limit,
                drifted: a.drifted(),
            })
            .collect(),
    })
}
